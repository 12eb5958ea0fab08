"""A mistake that nobody foresaw is a failure like others: counted, told by its name, and not paid for on."""

import asyncio
import logging
from pathlib import Path
from typing import Any

import pytest

from budeval.domain.score_job import Engine, ScoreRecord
from budeval.domain.scoring import MetricOutcome, MetricStatus, Usage
from budeval.errors import BudevalError, SidecarError
from budeval.scoring.engines.base import Order
from budeval.scoring.engines.native import NativeEngine
from budeval.scoring.ledger import Ledger
from budeval.scoring.limiter import Limiters
from tests.scoring.asking import judge_settings
from tests.scoring.desk import Desk
from tests.scoring.fake_cut_dapr import FakeCutDapr
from tests.scoring.fake_judge import NO, YES, FakeJudge, Reply, says, verdicts
from tests.scoring.measured import accepted, ledgers, order, outcome, score
from tests.scoring.replies import for_faithfulness

KEY = "sk-very-secret"
_HALF = "\\ud83d"


class FakeBrokenEngine(NativeEngine):
    """Scores as the native engine, and then makes a mistake that has a key in its words."""

    def __init__(self, fake: FakeJudge, mistake: type[Exception], times: int) -> None:
        super().__init__(Limiters([judge_settings(fake)]))
        self._mistake = mistake
        self._left = times

    async def score(self, order: Order, ledger: Ledger) -> MetricOutcome:
        """See `ScoringEngine`."""
        found = await super().score(order, ledger)
        self._left -= 1
        if self._left >= 0:
            raise self._mistake(f"Bearer {KEY}")
        return found


@pytest.fixture
def desk(fake: FakeJudge, tmp_path: Path) -> Desk:
    """On a sidecar that can be broken."""
    return Desk(fake, tmp_path, FakeCutDapr())


def _failed_tries(desk: Desk, record: ScoreRecord) -> list[BudevalError]:
    """What was raised, until there was an outcome; the workflow would go on to the deadline."""
    told = []
    for _ in range(20):
        try:
            score(desk, record)
        except BudevalError as error:
            told.append(error)
        else:
            return told
    pytest.fail("there is no outcome")


@pytest.mark.parametrize(
    "reply",
    [
        f'{{"statements": [{{"statement": "It {_HALF} was", "attributed": true}}]}}',
        f'{{"statements": [{{"statement": "It was", "attributed": true, "{_HALF}": "{_HALF}"}}]}}',
        '{"statements": [{"statement": "It \ud83d was", "attributed": true}]}',
    ],
    ids=["value", "name", "raw"],
)
def test_half_a_character_is_paid_for_once(desk: Desk, fake: FakeJudge, reply: str) -> None:
    """The answer goes into the store, which takes UTF-8 alone, and so does the outcome."""
    fake.will_say(says(reply))
    record = accepted(desk, "context_recall")

    assert score(desk, record) == "scored"

    assert (outcome(desk, record).value, len(fake.requests)) == (1.0, 1)


def test_an_answer_with_half_a_character_is_kept(desk: Desk, fake: FakeJudge) -> None:
    """Whoever goes on after a fault does not pay for it again."""
    split = says(f'{{"statements": ["It {_HALF} was"]}}')
    fake.will_say(split, Reply(503, b"{}"), verdicts(NO))
    record = accepted(desk, "faithfulness")

    assert len(_failed_tries(desk, record)) == 1

    assert outcome(desk, record).evidence == ({"statement": "It \ufffd was", "supported": False},)
    assert len(set(fake.prompts())) == 2
    assert len(fake.requests) == 3


@pytest.mark.parametrize("finish", ["stop", "length"])
def test_what_cannot_be_read_is_told_though_it_has_half_a_character(
    desk: Desk, fake: FakeJudge, finish: str
) -> None:
    """The message quotes it."""
    fake.will_say(*[says("No \ud83d idea", finish)] * 2)
    record = accepted(desk, "faithfulness")

    assert score(desk, record) == "failed"

    assert "No \ufffd idea" in str(outcome(desk, record).message)
    assert len(fake.requests) == 2


@pytest.mark.parametrize(
    "mistake", [ValueError, UnicodeError, TypeError, RecursionError, TimeoutError, OSError]
)
def test_a_mistake_is_counted(
    desk: Desk, fake: FakeJudge, mistake: type[Exception], caplog: pytest.LogCaptureFixture
) -> None:
    """Six are one, as of an endpoint; what was answered is in the ledger, so only the first has a cost."""
    desk.engines[Engine.NATIVE] = FakeBrokenEngine(fake, mistake, times=99)
    fake.will_say(*for_faithfulness(YES))
    record = accepted(desk, "faithfulness")

    with caplog.at_level(logging.ERROR):
        told = _failed_tries(desk, record)

    text = f"An internal error ({mistake.__name__}). The service's log has where it was."
    assert [str(error) for error in told] == [f"INTERNAL: {text}"] * 5
    assert all(error.retryable and error.__cause__ is error.__context__ is None for error in told)
    found = outcome(desk, record)
    assert (found.status, found.reason_code, found.message) == (MetricStatus.FAILED, "internal", text)
    assert found.usage == Usage(calls=2, prompt_tokens=200, completion_tokens=20)
    assert len(fake.requests) == 2
    assert "in score" in caplog.text
    assert KEY not in caplog.text


def test_a_mistake_that_passes_leaves_a_score(desk: Desk, fake: FakeJudge) -> None:
    """As a fault of an endpoint that passes."""
    desk.engines[Engine.NATIVE] = FakeBrokenEngine(fake, ValueError, times=5)
    fake.will_say(*for_faithfulness(YES))
    record = accepted(desk, "faithfulness")

    assert len(_failed_tries(desk, record)) == 5

    assert (outcome(desk, record).value, len(fake.requests)) == (1.0, 2)


def test_the_next_attempt_counts_mistakes_anew(desk: Desk, fake: FakeJudge) -> None:
    """After a repair of the service the job is scored with what was answered before."""
    desk.engines[Engine.NATIVE] = FakeBrokenEngine(fake, ValueError, times=6)
    fake.will_say(*for_faithfulness(YES))
    record = accepted(desk, "faithfulness")
    _failed_tries(desk, record)
    again = record.model_copy(update={"job": record.job.model_copy(update={"attempt": 2})})
    desk.store.update(record.job.job_id, lambda _: again)

    assert score(desk, again) == "scored"
    assert len(fake.requests) == 2


def test_an_answer_that_cannot_be_stored_is_not_paid_for_without_end(
    desk: Desk, fake: FakeJudge, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the reason: the failures can be, and end it."""
    real = desk.store.save_ledger

    def save(*place: Any) -> None:
        if place[-1]["paid"]:
            raise UnicodeEncodeError("utf-8", "\ud83d", 0, 1, "surrogates not allowed")
        real(*place)

    monkeypatch.setattr(desk.store, "save_ledger", save)
    fake.will_say(*for_faithfulness(YES)[:1] * 20)
    record = accepted(desk, "faithfulness")

    assert len(_failed_tries(desk, record)) == 5

    assert (outcome(desk, record).reason_code, len(fake.requests)) == ("internal", 6)


def test_a_sidecar_that_is_away_is_no_failure(desk: Desk, fake: FakeJudge) -> None:
    """However often: it is waited for to the deadline, as what was scored could not be stored anyhow."""
    assert isinstance(desk.dapr, FakeCutDapr)
    fake.will_say(*for_faithfulness(YES)[:1] * 20)
    record = accepted(desk, "faithfulness")
    stored = dict(desk.dapr.state)

    for _ in range(10):
        desk.dapr.left = 4  # outcome, record, ledger, sample: then the answer cannot be stored
        with pytest.raises(SidecarError):
            score(desk, record)

    assert desk.dapr.refused_at.startswith("score-ledger-")
    assert desk.dapr.state == stored


@pytest.mark.parametrize("status", ["scored", "failed"])
def test_what_is_given_out_twice_is_scored_once(desk: Desk, fake: FakeJudge, status: str) -> None:
    """As by a sidecar that came back: the second waits for the first, and takes what that has left."""
    fake.thinks = 0.2
    fake.will_say(*(for_faithfulness(YES) if status == "scored" else [says("?")] * 2))
    record = accepted(desk, "faithfulness")

    async def both() -> list[str]:
        return await asyncio.gather(*(desk.measuring.score_metric(order(record)) for _ in range(2)))

    assert asyncio.run(both()) == [status] * 2
    assert len(fake.requests) == 2


def test_what_was_given_out_twice_goes_on_where_the_first_was_cut_off(desk: Desk, fake: FakeJudge) -> None:
    """By a fault: the second has the answers that were stored by then."""
    fake.thinks = 0.2
    fake.will_say(for_faithfulness(YES)[0], Reply(503, b"{}"), verdicts(YES))
    record = accepted(desk, "faithfulness")

    async def both() -> list[Any]:
        tries = [desk.measuring.score_metric(order(record)) for _ in range(2)]
        return await asyncio.gather(*tries, return_exceptions=True)

    first, second = asyncio.run(both())
    assert (first.reason_code, second) == ("judge_unavailable", "scored")
    assert len(fake.requests) == 3
    assert ledgers(desk) == []
