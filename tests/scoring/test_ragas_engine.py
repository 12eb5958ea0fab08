"""The engine `ragas` without ragas: a fake of the worker program says what it is told to."""

import asyncio
import subprocess
import sys
import threading
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from budeval.domain.score_job import Engine
from budeval.domain.scoring import MetricOutcome, MetricStatus, Usage
from budeval.scoring.engines.base import Order
from budeval.scoring.engines.ragas import engine as engine_module
from budeval.scoring.engines.ragas import process
from budeval.scoring.engines.ragas.engine import RagasEngine
from budeval.scoring.engines.registry import scoring_engines
from budeval.scoring.failures import EndpointBusyError, EngineGoneError
from budeval.scoring.ledger import Ledger, MemoryLedger
from budeval.scoring.limiter import Limiters
from budeval.scoring.metrics import METRICS
from budeval.scoring.settings import ScoringSettings
from tests.scoring.asking import FULL, embedder_settings, judge_settings
from tests.scoring.fake_judge import FakeJudge, Reply, embeddings, refusal, says

ROOT = Path(__file__).resolve().parents[2]
FAKE_WORKER = Path(__file__).with_name("fake_ragas_worker.py")
WORKER = ROOT / "budeval" / "scoring" / "engines" / "ragas" / "worker.py"
KEY = "sk-very-secret"


@pytest.fixture
def engine(fake: FakeJudge, monkeypatch: pytest.MonkeyPatch) -> Iterator[RagasEngine]:
    """On the fake worker."""
    monkeypatch.setattr(engine_module, "_WORKER", FAKE_WORKER)
    made = RagasEngine(Limiters([_judge(fake), embedder_settings(fake)]), Path(sys.executable))
    yield made
    made.close()


def _judge(fake: FakeJudge) -> Any:
    return judge_settings(fake, api_key=KEY)


def _order(fake: FakeJudge, what: str, metric: str = "answer_correctness") -> Order:
    """The worker does what the question says."""
    sample = FULL.model_copy(update={"question": what})
    return Order(metric, sample, _judge(fake), embedder_settings(fake))


def _scored(engine: RagasEngine, order: Order, ledger: Ledger | None = None) -> MetricOutcome:
    return asyncio.run(engine.score(order, ledger or MemoryLedger()))


class CountingLedger(MemoryLedger):
    """Counts what failed, as the stored one does."""

    failures = 0

    async def lose(self, usage: Usage) -> None:
        """See `Ledger`."""
        self.failures += 1
        await super().lose(usage)


def test_a_value_is_an_outcome(engine: RagasEngine, fake: FakeJudge) -> None:
    """As natively: cut to [0, 1], with the definition's own value beside it."""
    assert _scored(engine, _order(fake, "value 0.25")).value == 0.25
    negative = _scored(engine, _order(fake, "value -0.25"))
    assert (negative.value, negative.raw_value) == (0.0, -0.25)


def test_judgements_come_from_our_own_judge(engine: RagasEngine, fake: FakeJudge) -> None:
    """With its key, its model, and what it cost."""
    fake.will_say(says({"statements": ["a", "b"]}))

    outcome = _scored(engine, _order(fake, "split"))

    assert outcome.value == 0.2
    assert outcome.usage == Usage(calls=1, prompt_tokens=100, completion_tokens=10)
    (request,) = fake.requests
    assert request["headers"]["Authorization"] == f"Bearer {KEY}"
    assert (request["body"]["model"], fake.prompts()) == ("m", ["Split!"])


def test_embeddings_come_from_our_own_embedder(engine: RagasEngine, fake: FakeJudge) -> None:
    """As vectors of length 1."""
    fake.embeddings.append(embeddings([1.0, 0.0], [3.0, 4.0]))

    outcome = _scored(engine, _order(fake, "embed", "semantic_similarity"))

    assert outcome.value == pytest.approx(0.6)
    assert outcome.usage == Usage(embedding_calls=1, prompt_tokens=7)


def test_what_was_paid_for_is_not_asked_again(engine: RagasEngine, fake: FakeJudge) -> None:
    """The answers are in the ledger; the same question is paid for as often as it is put on purpose."""
    fake.will_say(*[says({"question": f"q{at}", "noncommittal": 0}) for at in range(3)])
    ledger = MemoryLedger()

    outcomes = [_scored(engine, _order(fake, "three times"), ledger) for _ in range(2)]

    assert [outcome.value for outcome in outcomes] == [0.3, 0.3]
    assert [outcome.usage.calls for outcome in outcomes] == [3, 3]
    assert len(fake.requests) == 3


@pytest.mark.parametrize(("what", "reason"), [("no number", "not_a_number"), ("raise", "engine_error")])
def test_what_is_no_value_has_a_reason(engine: RagasEngine, fake: FakeJudge, what: str, reason: str) -> None:
    """NaN and exceptions never leave the engine as they are."""
    outcome = _scored(engine, _order(fake, what))

    assert (outcome.status, outcome.reason_code) == (MetricStatus.FAILED, reason)
    assert outcome.value is None


@pytest.mark.parametrize("what", ["split", "attribute"])
@pytest.mark.parametrize("texts", [[], [" "], ["", "\n"]])
def test_without_statements_there_is_no_value(
    engine: RagasEngine, fake: FakeJudge, what: str, texts: list[str]
) -> None:
    """As natively, where ragas itself gives NaN, takes the answer for perfect, or has blanks judged."""
    fake.will_say(_stating(what, texts))

    outcome = _scored(engine, _order(fake, what))

    assert (outcome.status, outcome.reason_code) == (MetricStatus.UNDETERMINED, "no_statements")
    assert outcome.usage.calls == 1
    assert _scored(engine, _order(fake, "value 1")).value == 1.0


@pytest.mark.parametrize("what", ["split", "verdicts", "attribute", "compare", "three times"])
def test_placeholders_are_no_statements(engine: RagasEngine, fake: FakeJudge, what: str) -> None:
    """As natively: the judge is asked once more, and then has failed."""
    fake.will_say(*[_stating(what, ["..."])] * 2)

    outcome = _scored(engine, _order(fake, what))

    assert (outcome.status, outcome.reason_code) == (MetricStatus.FAILED, "judge_output_invalid")
    assert outcome.usage.calls == 2


@pytest.mark.parametrize("what", ["split", "verdicts", "attribute", "compare"])
def test_ragas_gets_statements_that_state_something(engine: RagasEngine, fake: FakeJudge, what: str) -> None:
    """Blanks and placeholders among them are left out; the fake worker counts what it gets."""
    fake.will_say(_stating(what, ["...", "It was in 1969.", " "]))

    assert _scored(engine, _order(fake, what)).value in {0.1, 1.0}


def _stating(what: str, texts: list[str]) -> Reply:
    """The judge's reply to what the fake worker asks for, all said for true."""
    items = [{"statement": text, "reason": "r", "verdict": 1, "attributed": 1} for text in texts]
    answers: dict[str, Any] = {
        "split": {"statements": texts},
        "verdicts": {"statements": items},
        "attribute": {"classifications": items},
        "compare": {"TP": items, "FP": [], "FN": []},
        "three times": {"question": texts[-1] if texts else "", "noncommittal": 0},
    }
    return says(answers[what])


@pytest.mark.parametrize("verdict", [2, -1, "maybe", None])
def test_a_verdict_is_yes_or_no(engine: RagasEngine, fake: FakeJudge, verdict: Any) -> None:
    """Ragas would count a 2 twice; here the judge is asked once more, and then has failed."""
    fake.will_say(*[says({"statements": [{"statement": "s", "reason": "r", "verdict": verdict}]})] * 2)

    outcome = _scored(engine, _order(fake, "verdicts", "faithfulness"))

    assert (outcome.status, outcome.reason_code) == (MetricStatus.FAILED, "judge_output_invalid")
    assert outcome.usage.calls == 2


def test_no_verdicts_are_no_answer(engine: RagasEngine, fake: FakeJudge) -> None:
    """Ragas gives NaN."""
    fake.will_say(*[says({"statements": []})] * 2)

    assert _scored(engine, _order(fake, "verdicts")).reason_code == "judge_output_invalid"


def test_a_judge_that_is_busy_is_the_workflows_to_ask_again(engine: RagasEngine, fake: FakeJudge) -> None:
    """The worker hears that nobody waits, and takes the next order."""
    fake.will_say(refusal(429, "slow down"))
    ledger = CountingLedger()

    with pytest.raises(EndpointBusyError, match="RATE_LIMITED"):
        _scored(engine, _order(fake, "split"), ledger)

    assert (ledger.failures, ledger.lost.calls) == (1, 1)
    assert _scored(engine, _order(fake, "value 1")).value == 1.0


@pytest.mark.parametrize("what", ["die", "babble", "die at once"])
def test_a_process_that_ends_is_started_again(engine: RagasEngine, fake: FakeJudge, what: str) -> None:
    """Whoever waited may try again; that counts as a failure, so that no sample ends it for ever."""
    ledger = CountingLedger()

    with pytest.raises(EngineGoneError) as gone:
        _scored(engine, _order(fake, what), ledger)

    assert (gone.value.reason_code, gone.value.retryable) == ("engine_unavailable", True)
    assert ledger.failures == 1
    assert _scored(engine, _order(fake, "value 1")).value == 1.0


def test_why_it_ended_is_told(engine: RagasEngine, fake: FakeJudge) -> None:
    """Its status, and its last words."""
    with pytest.raises(EngineGoneError, match="status 1: out of luck"):
        _scored(engine, _order(fake, "die"))


def test_a_process_that_says_nothing_is_ended(
    engine: RagasEngine, fake: FakeJudge, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next order gets another one."""
    assert _scored(engine, _order(fake, "value 1")).value == 1.0
    with monkeypatch.context() as patience:
        patience.setattr(process, "PATIENCE", 0.2)
        with pytest.raises(EngineGoneError, match="said nothing"):
            _scored(engine, _order(fake, "hang"))

    assert _scored(engine, _order(fake, "value 1")).value == 1.0


def test_an_order_that_is_cancelled_ends_nothing_else(engine: RagasEngine, fake: FakeJudge) -> None:
    """Its request ends; the process stays, and serves the next."""
    fake.will_say(Reply(hangs=True))
    before = _scored(engine, _order(fake, "pid")).value

    async def cancelled() -> None:
        task = asyncio.create_task(engine.score(_order(fake, "split"), MemoryLedger()))
        while not fake.requests:  # noqa: ASYNC110 - another thread fills it
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancelled())

    assert _scored(engine, _order(fake, "pid")).value == before


def test_event_loops_share_the_process(engine: RagasEngine, fake: FakeJudge) -> None:
    """Activities may run in threads, each with a loop of its own."""
    pids: list[float | None] = []
    threads = [
        threading.Thread(target=lambda: pids.append(_scored(engine, _order(fake, "pid")).value))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    assert len(pids) == 4
    assert len(set(pids)) == 1


def test_the_process_has_none_of_our_secrets(
    engine: RagasEngine, fake: FakeJudge, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its environment is what it needs, and says that ragas must not report its use."""
    monkeypatch.setenv("BUDEVAL_SCORING_JUDGES", KEY)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)

    names = (_scored(engine, _order(fake, "environment")).message or "").split()

    assert "RAGAS_DO_NOT_TRACK" in names
    assert not [name for name in names if "BUDEVAL" in name or "KEY" in name]


def test_after_the_end_of_the_service_there_is_no_process(engine: RagasEngine, fake: FakeJudge) -> None:
    """Orders that still come are refused, and are no failures of theirs."""
    pid = round((_scored(engine, _order(fake, "pid")).value or 0) * 1e9)
    ledger = CountingLedger()

    engine.close()

    assert not Path(f"/proc/{pid}").exists()
    with pytest.raises(EngineGoneError, match="the service stops"):
        _scored(engine, _order(fake, "value 1"), ledger)
    assert ledger.failures == 0


def test_a_python_that_is_not_there_is_refused_at_the_start(tmp_path: Path) -> None:
    """The error names the setting."""
    with pytest.raises(ValidationError, match="ragas_python"):
        ScoringSettings(ragas_python=tmp_path / "python")


def test_a_python_that_is_none_is_told(fake: FakeJudge, tmp_path: Path) -> None:
    """As a failure that passes once it is mended."""
    (tmp_path / "python").touch()
    engine = RagasEngine(Limiters([_judge(fake), embedder_settings(fake)]), tmp_path / "python")

    with pytest.raises(EngineGoneError, match="cannot be started"):
        _scored(engine, _order(fake, "value 1"))


def test_what_a_sample_lacks_is_skipped_without_asking(engine: RagasEngine, fake: FakeJudge) -> None:
    """With the same reason as natively."""
    sample = FULL.model_copy(update={"ground_truth": " "})
    order = Order("answer_correctness", sample, _judge(fake), embedder_settings(fake))

    outcome = _scored(engine, order)

    assert (outcome.status, outcome.reason_code) == (MetricStatus.SKIPPED, "missing_ground_truth")


def test_there_is_an_engine_where_there_is_a_python(fake: FakeJudge) -> None:
    """With the native metrics; without one there is the native engine alone."""
    limiters = Limiters([_judge(fake)])

    alone = scoring_engines(ScoringSettings(), limiters)
    both = scoring_engines(ScoringSettings(ragas_python=Path(sys.executable)), limiters)

    assert list(alone) == [Engine.NATIVE]
    assert both[Engine.RAGAS].metrics.keys() == METRICS.keys()
    assert both[Engine.RAGAS].version == "ragas 0.4.3"
    for engine in both.values():
        engine.close()


def _with_the_real_worker(program: str) -> subprocess.CompletedProcess[str]:
    """Run a program that finds the worker's functions in `worker`."""
    text = f"import runpy, sys; worker = runpy.run_path({str(WORKER)!r}); {program}"
    return subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=False)


def test_what_libraries_print_is_not_taken_for_the_workers_words() -> None:
    """It goes to standard error."""
    done = _with_the_real_worker(
        "orders, line = worker['_own_pipes'](); print('noise', flush=True); line.say({'id': 1})"
    )

    assert done.stdout == '{"id": 1}\n'
    assert done.stderr == "noise\n"


@pytest.mark.parametrize(
    "reach",
    ["socket.create_connection(('127.0.0.1', 9))", "socket.getaddrinfo('localhost', 80)"],
)
def test_the_worker_has_no_network(reach: str) -> None:
    """Whatever a library tries."""
    done = _with_the_real_worker(f"sys.addaudithook(worker['_forbid_network']); import socket; {reach}")

    assert "PermissionError" in done.stderr


def test_the_extra_is_what_the_environment_is_locked_from() -> None:
    """`budeval[ragas]` and requirements/ragas.in name the same."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    lines = (ROOT / "requirements" / "ragas.in").read_text().splitlines()

    assert extras["ragas"] == [line for line in lines if not line.startswith("#")]
