"""The advice is written, and its model paid, once in an attempt, whatever Dapr gives out again."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from budeval.domain.score_job import AdviceStatus, ScoreRecord
from budeval.errors import SidecarError
from budeval.scoring.advice import Adviser, Writer
from budeval.scoring.artifacts import Artifact
from budeval.scoring.limiter import Limiter
from budeval.scoring.store import ScoreStore
from tests.scoring.asking import judge_settings
from tests.scoring.bodies import request
from tests.scoring.desk import Desk
from tests.scoring.fake_judge import FakeJudge, refusal, says
from tests.scoring.measured import ledgers

_WORDS = says({"assessment": "First words.", "steps": []})


@pytest.fixture
def desk(fake: FakeJudge, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    """With a model for the advice, which says something once."""
    fake.will_say(_WORDS, refusal(503, "busy"))
    desk = Desk(fake, tmp_path)
    adviser = Adviser(desk.artifacts, Writer(judge_settings(fake), Limiter(4)))
    monkeypatch.setattr(desk.activities, "_adviser", adviser)
    return desk


@pytest.fixture
def advising(desk: Desk) -> ScoreRecord:
    """A job whose scores are there, and whose advice is to come."""
    record = desk.intake.accept(request(metrics=["exact_match"], answer="No idea."), "default")
    job_id = record.job.job_id
    desk.activities.begin_scoring({"job_id": job_id})
    for metric in record.job.metrics:
        order = {**_order(record), "sample": 1, "metric": metric, "deadline": "2999-01-01T00:00:00"}
        asyncio.run(desk.measuring.score_metric(order))
    result = desk.activities.write_artifacts(_order(record))
    desk.activities.settle_job({**_order(record), "result": result, "problem": None})
    return desk.store.load(job_id)


def _order(record: ScoreRecord) -> dict[str, Any]:
    return {"job_id": record.job.job_id, "attempt": record.job.attempt, "late": False}


def _advise(desk: Desk, record: ScoreRecord) -> None:
    asyncio.run(desk.activities.advise(_order(record)))


def _advice(desk: Desk, record: ScoreRecord) -> tuple[AdviceStatus | None, bool]:
    """Its status, and whether the page has the model's words."""
    page = desk.artifacts.open(record.job.run_id, Artifact.ADVICE)
    assert page
    with page:
        return desk.store.load(record.job.job_id).advice, b"First words." in page.read()


def test_what_is_given_out_again_does_nothing(desk: Desk, fake: FakeJudge, advising: ScoreRecord) -> None:
    """Before the end of its job, and after it."""
    _advise(desk, advising)
    assert ledgers(desk) == []
    _advise(desk, advising)
    desk.activities.end_job(_order(advising))
    _advise(desk, advising)

    assert (len(fake.requests), _advice(desk, advising)) == (1, (AdviceStatus.GENERATED, True))


def test_what_still_runs_is_waited_for(desk: Desk, fake: FakeJudge, advising: ScoreRecord) -> None:
    """As after a sidecar came back."""
    fake.thinks = 0.2

    async def both() -> None:
        await asyncio.gather(*(desk.activities.advise(_order(advising)) for _ in range(2)))

    asyncio.run(both())

    assert (len(fake.requests), _advice(desk, advising)) == (1, (AdviceStatus.GENERATED, True))


def test_a_death_before_the_note_costs_nothing(
    desk: Desk, fake: FakeJudge, advising: ScoreRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the model has said is in a ledger: the page is written again with the same words."""
    with monkeypatch.context() as patch:
        patch.setattr(desk.activities, "_change", _away)
        with pytest.raises(SidecarError):
            _advise(desk, advising)
    assert len(ledgers(desk)) == 1

    _advise(desk, advising)

    assert (len(fake.requests), _advice(desk, advising)) == (1, (AdviceStatus.GENERATED, True))
    assert ledgers(desk) == []


def test_the_ledger_goes_with_the_job(
    desk: Desk, advising: ScoreRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It quotes the model, which quotes texts; whoever died before its end may have left it."""
    monkeypatch.setattr(desk.activities, "_change", _away)
    with pytest.raises(SidecarError):
        _advise(desk, advising)
    assert len(ledgers(desk)) == 1

    desk.store.forget_texts(advising)

    assert ledgers(desk) == []


def test_a_ledger_that_a_death_has_left_goes_with_the_repetition(
    desk: Desk, advising: ScoreRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The advice is noted: nobody would look at it any more, and the next attempt would count its cost."""
    with monkeypatch.context() as patch:
        patch.setattr(ScoreStore, "forget_advice_ledger", _away)
        with pytest.raises(SidecarError):
            _advise(desk, advising)
    assert len(ledgers(desk)) == 1

    _advise(desk, advising)

    assert ledgers(desk) == []


def test_words_that_cannot_be_stored_are_waited_for(
    desk: Desk, fake: FakeJudge, advising: ScoreRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The state store is away: that is no failure of the model, and Dapr tries again."""
    with monkeypatch.context() as patch:
        patch.setattr(ScoreStore, "save_ledger", _away)
        with pytest.raises(SidecarError):
            _advise(desk, advising)
    fake.chat.clear()
    fake.will_say(_WORDS)

    _advise(desk, advising)

    assert _advice(desk, advising) == (AdviceStatus.GENERATED, True)


def _away(*_given: Any) -> Any:
    raise SidecarError("away")
