"""On the same judgements the engines give the same values, but for what docs/scoring-engines.md explains.

ragas is the real one, in its own environment (`make ragas`): behind our engine, and as its users run it.
"""

import asyncio
import json
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from budeval.domain.scoring import MetricOutcome, MetricStatus, Sample
from budeval.scoring.engines.base import Order, ScoringEngine
from budeval.scoring.engines.native import NativeEngine
from budeval.scoring.engines.ragas.engine import RagasEngine
from budeval.scoring.engines.ragas.shapes import SHAPES
from budeval.scoring.ledger import MemoryLedger
from budeval.scoring.limiter import Limiters
from budeval.scoring.metrics import METRICS
from tests.scoring.asking import FULL, embedder_settings, judge_settings
from tests.scoring.fake_judge import FakeJudge, embeddings, says, served
from tests.scoring.fake_opinionated_judge import FakeOpinionatedJudge, Plan
from tests.scoring.plans import PLANS, VALUES

pytestmark = pytest.mark.e2e

ROOT = Path(__file__).resolve().parents[2]
PYTHON = ROOT / ".venv-ragas" / "bin" / "python"
WORKER = ROOT / "budeval" / "scoring" / "engines" / "ragas" / "worker.py"
PLAIN = ROOT / "benchmarks" / "scoring" / "plain_ragas.py"
EPSILON = 1e-9
"""More than what ragas adds to the denominator of average precision makes of it."""
_CLASSES = {
    "faithfulness": "Faithfulness",
    "context_recall": "ContextRecall",
    "context_precision": "ContextPrecision",
    "context_utilization": "ContextUtilization",
    "answer_relevancy": "AnswerRelevancy",
    "answer_correctness": "AnswerCorrectness",
}
"""semantic_similarity is left out: as ragas is, it blocks the event loop that its own client needs."""


class Engines:
    """Both, asked in the same way."""

    def __init__(self, ragas: RagasEngine) -> None:
        self._ragas = ragas

    def both(self, fake: FakeJudge, metric: str, sample: Sample) -> tuple[MetricOutcome, MetricOutcome]:
        """The outcomes, native first."""
        return self.native(fake, metric, sample), self.ragas(fake, metric, sample)

    def judge_calls(self, metric: str, contexts: int) -> tuple[int, int]:
        """What each says that it asks at most, native first."""
        native = NativeEngine(Limiters([]))
        return native.judge_calls(metric, contexts), self._ragas.judge_calls(metric, contexts)

    def native(self, fake: FakeJudge, metric: str, sample: Sample) -> MetricOutcome:
        """Of the native engine."""
        return _scored(NativeEngine(_limiters(fake)), fake, metric, sample)

    def ragas(self, fake: FakeJudge, metric: str, sample: Sample) -> MetricOutcome:
        """Of ragas."""
        # One process for all tests: it takes seconds to import ragas. Each has an endpoint of its own.
        self._ragas._switchboard._limiters = _limiters(fake)
        return _scored(self._ragas, fake, metric, sample)


def _limiters(fake: FakeJudge) -> Limiters:
    return Limiters([judge_settings(fake), embedder_settings(fake)])


def _scored(engine: ScoringEngine, fake: FakeJudge, metric: str, sample: Sample) -> MetricOutcome:
    order = Order(metric, sample, judge_settings(fake), embedder_settings(fake))
    return asyncio.run(engine.score(order, MemoryLedger()))


@pytest.fixture(scope="module")
def engines() -> Iterator[Engines]:
    """With ragas' environment."""
    assert PYTHON.exists(), "`make ragas` makes the environment of ragas"
    ragas = RagasEngine(Limiters([]), PYTHON)
    yield Engines(ragas)
    ragas.close()


@pytest.fixture
def judge() -> Iterator[FakeOpinionatedJudge]:
    """It judges all plans."""
    fake = FakeOpinionatedJudge(PLANS)
    with served(fake):
        yield fake


def _by_ragas_names(sample: Sample) -> dict[str, Any]:
    return {
        "user_input": sample.question,
        "response": sample.answer,
        "reference": sample.ground_truth,
        "retrieved_contexts": list(sample.contexts),
    }


@pytest.mark.parametrize("plan", PLANS, ids=lambda plan: plan.sample.question)
@pytest.mark.parametrize("metric", VALUES)
def test_the_same_judgements_give_the_same_value(
    engines: Engines, judge: FakeOpinionatedJudge, metric: str, plan: Plan
) -> None:
    """That of the definition, worked out by hand; and the same before it is cut to [0, 1]."""
    native, ragas = engines.both(judge, metric, plan.sample)

    assert native.value == pytest.approx(VALUES[metric][PLANS.index(plan)], abs=EPSILON)
    assert ragas.value == pytest.approx(native.value, abs=EPSILON)
    assert ragas.raw_value == pytest.approx(native.raw_value, abs=EPSILON)


def test_ragas_as_its_users_run_it_gives_them_too(judge: FakeOpinionatedJudge) -> None:
    """With its own clients and prompts as it sends them, and without our engine in between."""
    samples = [_by_ragas_names(plan.sample) for plan in PLANS]
    job = {"base_url": judge.url, "samples": samples, "metrics": list(_CLASSES.values())}
    given = json.dumps({**job, "shape": "together", "in_flight": 8})

    done = subprocess.run([PYTHON, "-I", PLAIN], input=given, capture_output=True, text=True, check=True)

    found = json.loads(done.stdout)
    assert found["errors"] == []
    for metric, name in _CLASSES.items():
        values = [max(item[name], 0.0) for item in found["values"]]
        assert values == pytest.approx(list(VALUES[metric]), abs=EPSILON)


@pytest.mark.parametrize("metric", VALUES)
def test_calls_are_estimated_as_the_engine_makes_them(
    engines: Engines, judge: FakeOpinionatedJudge, metric: str
) -> None:
    """At most so many where nothing is repeated, and exactly so many for the last sample."""
    for plan in PLANS:
        outcomes = engines.both(judge, metric, plan.sample)
        estimates = engines.judge_calls(metric, len(plan.sample.contexts))
        calls = tuple(outcome.usage.calls for outcome in outcomes)
        assert all(made <= estimate for made, estimate in zip(calls, estimates, strict=True))
    assert calls == estimates


@pytest.mark.parametrize("metric", _CLASSES)
def test_native_asks_the_judge_no_more_often(
    engines: Engines, judge: FakeOpinionatedJudge, metric: str
) -> None:
    """For any sample; less often where independent judgements can share a call."""
    native, ragas = zip(*(engines.both(judge, metric, plan.sample) for plan in PLANS), strict=True)

    calls = [(one.usage.calls, other.usage.calls) for one, other in zip(native, ragas, strict=True)]
    assert all(one <= other for one, other in calls)
    if metric in {"answer_relevancy", "answer_correctness"}:
        assert all(one < other for one, other in calls)


_TEXTS = [
    ("Paris", "Paris"),
    ("Paris", "paris"),
    ("kitten", "sitting"),
    ("abcd", "ab"),
    ("北京是首都", "北京是中国首都"),
    ("حدث", "لم يحدث"),
]


@pytest.mark.parametrize(("answer", "truth"), _TEXTS)
@pytest.mark.parametrize("metric", ["exact_match", "non_llm_string_similarity"])
def test_texts_are_compared_alike(
    engines: Engines, fake: FakeJudge, metric: str, answer: str, truth: str
) -> None:
    """Letter by letter, in any script."""
    native, ragas = engines.both(fake, metric, Sample(question="q", answer=answer, ground_truth=truth))

    assert ragas.value == pytest.approx(native.value, abs=EPSILON)


_RETRIEVED = [
    (["a"], ["a"]),
    (["b"], ["a"]),
    (["a", "b"], ["a"]),
    (["a", "b", "c"], ["c", "d"]),
    (["a", "a", "b"], ["a"]),
    (["a", "b"], ["a", "b", "c", "d", "e"]),
]


@pytest.mark.parametrize(("retrieved", "reference"), _RETRIEVED)
@pytest.mark.parametrize(
    "metric",
    [
        "id_based_context_precision",
        "id_based_context_recall",
        "non_llm_context_precision_with_reference",
        "non_llm_context_recall",
    ],
)
def test_retrieval_is_compared_alike(
    engines: Engines, fake: FakeJudge, metric: str, retrieved: list[str], reference: list[str]
) -> None:
    """By ids, and by texts that are equal or wholly different."""
    sample = Sample(
        question="q",
        contexts=tuple(letter * 4 for letter in retrieved),
        reference_contexts=tuple(letter * 4 for letter in reference),
        context_ids=tuple(retrieved),
        reference_context_ids=tuple(reference),
    )

    native, ragas = engines.both(fake, metric, sample)

    assert native.status is MetricStatus.SCORED
    assert ragas.value == pytest.approx(native.value, abs=EPSILON)


def test_every_metric_is_compared_here() -> None:
    """A new one needs samples, too."""
    compared = {*VALUES, "exact_match", "non_llm_string_similarity"}
    compared |= {"id_based_context_precision", "id_based_context_recall"}
    compared |= {"non_llm_context_precision_with_reference", "non_llm_context_recall"}

    assert compared == METRICS.keys()


def test_average_precision_of_useful_contexts_only(engines: Engines, judge: FakeOpinionatedJudge) -> None:
    """A difference: exactly 1, where ragas divides by a little more."""
    native, ragas = engines.both(judge, "context_precision", PLANS[-1].sample)

    assert native.value == 1.0
    assert ragas.value is not None
    assert 0 < 1 - ragas.value < EPSILON


@pytest.mark.parametrize("metric", ["faithfulness", "context_recall", "answer_correctness"])
def test_texts_without_statements(engines: Engines, metric: str) -> None:
    """No difference between our engines, though ragas itself gives NaN, or takes the answer for perfect."""
    plan = replace(PLANS[0], answer=(), truth=())
    fake = FakeOpinionatedJudge([plan])
    with served(fake):
        outcomes = engines.both(fake, metric, plan.sample)

    assert {outcome.status for outcome in outcomes} == {MetricStatus.UNDETERMINED}
    assert {outcome.reason_code for outcome in outcomes} == {"no_statements"}


def test_an_answer_that_only_some_questions_call_noncommittal(engines: Engines, fake: FakeJudge) -> None:
    """A difference: ragas asks with each question, and one that says no is enough."""
    fake.vectors = {FULL.question: [1.0, 0.0], "q": [1.0, 0.0]}
    fake.will_say(*[says({"question": "q", "noncommittal": flag}) for flag in (1, 1, 0)])
    ragas = engines.ragas(fake, "answer_relevancy", FULL)
    fake.will_say(says({"questions": ["q", "q", "q"], "noncommittal": True}))
    native = engines.native(fake, "answer_relevancy", FULL)

    assert (native.value, ragas.value) == (0.0, 1.0)


@pytest.mark.parametrize("metric", ["semantic_similarity", "answer_relevancy"])
def test_a_zero_embedding(engines: Engines, fake: FakeJudge, metric: str) -> None:
    """No difference between our engines, though ragas itself gives NaN or 0."""
    fake.embeddings.extend([embeddings([0.0, 0.0])] * 2)
    fake.will_say(*[says({"question": "q", "noncommittal": 0})] * 3)

    outcome = engines.ragas(fake, metric, FULL)

    assert (outcome.status, outcome.reason_code) == (MetricStatus.FAILED, "embedding_zero_norm")


def test_contexts_that_are_exactly_half_alike(engines: Engines, fake: FakeJudge) -> None:
    """A difference: ragas' precision counts them, its recall does not; natively both do."""
    sample = Sample(question="q", contexts=("abxx",), reference_contexts=("abcd",))

    precision = engines.both(fake, "non_llm_context_precision_with_reference", sample)
    recall = engines.both(fake, "non_llm_context_recall", sample)

    assert [outcome.value for outcome in precision] == pytest.approx([1.0, 1.0], abs=EPSILON)
    assert [outcome.value for outcome in recall] == [1.0, 0.0]


def test_one_text_in_two_encodings(engines: Engines, fake: FakeJudge) -> None:
    """A difference: to ragas they are different texts."""
    sample = Sample(question="q", answer="Caf\u00e9", ground_truth="Cafe\u0301")

    assert [outcome.value for outcome in engines.both(fake, "exact_match", sample)] == [1.0, 0.0]


def test_statements_that_the_judge_leaves_out(engines: Engines, fake: FakeJudge) -> None:
    """A difference: to ragas they are not there; natively the judge is asked again, and then has failed."""
    fake.will_say(
        says({"statements": ["one", "two"]}),
        says({"statements": [{"statement": "one", "reason": "r", "verdict": 1}]}),
    )
    ragas = engines.ragas(fake, "faithfulness", FULL)
    one = says({"verdicts": [{"number": 1, "verdict": True}]})
    fake.will_say(says({"statements": ["one", "two"]}), one, one)
    native = engines.native(fake, "faithfulness", FULL)

    assert (ragas.value, native.reason_code) == (1.0, "judge_output_invalid")


def test_statements_that_are_neither_right_nor_wrong(engines: Engines, fake: FakeJudge) -> None:
    """Ragas by itself takes three empty lists for a perfect answer; here the judge has failed."""
    nothing: dict[str, Any] = {"TP": [], "FP": [], "FN": []}
    fake.will_say(*[says({"statements": ["one"]})] * 2, *[says(nothing)] * 2)

    outcome = engines.ragas(fake, "answer_correctness", FULL)

    assert (outcome.status, outcome.reason_code) == (MetricStatus.FAILED, "judge_output_invalid")


def test_blank_texts_are_missing(engines: Engines, fake: FakeJudge) -> None:
    """No difference between our engines, though to ragas itself nothing is an exact match of nothing."""
    sample = Sample(question="q", answer=" ", ground_truth=" ")

    outcomes = engines.both(fake, "exact_match", sample)

    assert {outcome.reason_code for outcome in outcomes} == {"missing_answer"}


def test_blank_contexts_are_left_out(engines: Engines, fake: FakeJudge) -> None:
    """No difference between our engines: they are not paid for, and take no rank."""
    sample = FULL.model_copy(update={"contexts": (" ", "It was in 1969.")})
    fake.will_say(says({"reason": "so", "verdict": 1}))

    outcome = engines.ragas(fake, "context_precision", sample)

    assert outcome.value == pytest.approx(1.0, abs=EPSILON)
    assert outcome.usage.calls == 1


def test_semantic_similarity_takes_two_requests(engines: Engines, judge: FakeOpinionatedJudge) -> None:
    """With its own client ragas sends three or four, and blocks the event loop meanwhile."""
    outcome = engines.ragas(judge, "semantic_similarity", PLANS[0].sample)

    assert outcome.usage.embedding_calls == 2


_SCHEMAS = """
import json
from ragas.metrics.collections.faithfulness import util as f
from ragas.metrics.collections.answer_relevancy import util as r
from ragas.metrics.collections.context_precision import util as p
from ragas.metrics.collections.context_recall import util as c
from ragas.metrics.collections.answer_correctness import util as a
models = [f.StatementGeneratorOutput, f.NLIStatementOutput, r.AnswerRelevanceOutput, p.ContextPrecisionOutput,
          c.ContextRecallOutput, a.ClassificationWithReason, a.StatementGeneratorOutput]
print(json.dumps([(model.__name__, model.model_json_schema()) for model in models]))
"""
_BESIDE_THE_SHAPE = {"description", "title", "additionalProperties", "minItems", "minimum", "maximum"}


def _shape(schema: Any) -> Any:
    """A schema without what people read, and without our own limits."""
    if isinstance(schema, dict):
        return {name: _shape(part) for name, part in schema.items() if name not in _BESIDE_THE_SHAPE}
    return [_shape(part) for part in schema] if isinstance(schema, list) else schema


def test_the_shapes_are_ragas_own() -> None:
    """What judges are asked for in its name is what it asks for."""
    done = subprocess.run([PYTHON, "-I", "-c", _SCHEMAS], capture_output=True, text=True, check=True)

    theirs = json.loads(done.stdout)

    assert {name for name, _ in theirs} == SHAPES.keys()
    for name, schema in theirs:
        assert _shape(SHAPES[name].model_json_schema()) == _shape(schema)


def test_the_process_goes_with_its_parent() -> None:
    """Its pipe closes, however the service ends."""
    done = subprocess.run(
        [PYTHON, "-I", WORKER, "0.4.3"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
        timeout=120,
    )

    assert (done.returncode, done.stdout) == (0, b"")


def test_another_version_of_ragas_is_refused() -> None:
    """Its values could not be compared."""
    done = subprocess.run(
        [PYTHON, "-I", WORKER, "0.5.0"], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )

    assert done.returncode == 1
    assert "ragas 0.4.3 is installed there, 0.5.0 is needed" in done.stderr
