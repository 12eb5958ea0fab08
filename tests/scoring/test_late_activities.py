"""Dapr runs activities at least once, and perhaps late: when the job is at another attempt by then."""

import asyncio
import copy
import inspect
from pathlib import Path
from typing import Any

import pytest

from budeval.domain.score_job import Phase, ScoreRecord
from budeval.errors import ScoringError
from budeval.scoring.artifacts import Artifact
from tests.scoring.desk import Desk
from tests.scoring.fake_judge import FakeJudge, refusal
from tests.scoring.measured import accepted, order

_METRICS = ("context_recall", "exact_match")
_PROBLEM = "INTERNAL: KeyError in settle_job"
_GIVEN_UP = [{"sample": 1, "metric": "context_recall", "code": "DEADLINE", "message": "late"}]
_ARGUMENTS: dict[str, dict[str, Any]] = {
    "begin_scoring": {},
    "note_progress": {"done": 1},
    "give_up_metrics": {"given_up": _GIVEN_UP},
    "write_artifacts": {"late": True},
    "settle_job": {"result": None, "problem": _PROBLEM},
    "announce_scores": {"number": 7, "advice": False},
    "advise": {"late": True},
    "end_job": {},
}
"""Of the activities that any order may be late of; `score_metric` has a test of its own."""
_PHASES = {"advise": Phase.ADVISING}
"""Those in which alone an activity does anything."""


@pytest.fixture
def desk(fake: FakeJudge, tmp_path: Path) -> Desk:
    """With a judge that refuses everything."""
    fake.will_say(*[refusal(401, "no")] * 3)
    return Desk(fake, tmp_path)


def _in_the_third_attempt(desk: Desk, phase: Phase | None = None) -> ScoreRecord:
    """A job that has ended twice, and was retried; it is as far as a phase, or has just begun."""
    job_id = accepted(desk, *_METRICS).job.job_id
    for _ in range(2):
        desk.run(desk.store.load(job_id))
        desk.lifecycle.retry(job_id)
    return desk.store.update(job_id, lambda record: record.model_copy(update={"phase": phase}))


def _seen(desk: Desk, record: ScoreRecord) -> list[Any]:
    """All that activities change: state, run, events, advice and what was paid for."""
    run = desk.artifacts.open(record.job.run_id, Artifact.METADATA)
    assert run
    with run:
        written = run.read()
    messages, advised = len(desk.dapr.messages), len(desk.adviser.runs)
    return [copy.deepcopy(desk.dapr.state), written, messages, advised]


def _run(desk: Desk, name: str, argument: dict[str, Any]) -> Any:
    done = dict(desk.activities.all())[name](argument)
    return asyncio.run(done) if inspect.iscoroutine(done) else done


@pytest.mark.parametrize("name", _ARGUMENTS)
def test_what_comes_late_does_nothing_to_the_next_attempt(desk: Desk, name: str) -> None:
    """Neither to its record nor to its values, run, events and advice."""
    record = _in_the_third_attempt(desk, _PHASES.get(name))
    before = _seen(desk, record)

    _run(desk, name, {"job_id": record.job.job_id, "attempt": 1, **_ARGUMENTS[name]})

    assert _seen(desk, record) == before


@pytest.mark.parametrize("whose", [{"attempt": 3}, {}], ids=["its-own", "whichever"])
@pytest.mark.parametrize("name", _ARGUMENTS)
def test_what_is_of_the_attempt_is_done(desk: Desk, name: str, whose: dict[str, int]) -> None:
    """Also where the order names no attempt."""
    record = _in_the_third_attempt(desk, _PHASES.get(name))
    before = _seen(desk, record)

    _run(desk, name, {"job_id": record.job.job_id, **whose, **_ARGUMENTS[name]})

    assert _seen(desk, record) != before


def test_a_metric_that_is_scored_late_is_not_paid_for(desk: Desk, fake: FakeJudge) -> None:
    """Its deadline is over: it would fail the metric in the attempt that is there."""
    record = _in_the_third_attempt(desk)
    before, asked = _seen(desk, record), len(fake.requests)

    with pytest.raises(ScoringError, match="ATTEMPT_OVER: Attempt 1"):
        _run(desk, "score_metric", order(record, seconds=-60, attempt=1))

    assert (_seen(desk, record), len(fake.requests)) == (before, asked)


def test_a_job_whose_workflow_broke_is_ended_at_its_own_attempt_only(desk: Desk) -> None:
    """Who closes it may have read it before a retry."""
    record = _in_the_third_attempt(desk)
    desk.run(record)
    desk.lifecycle.retry(record.job.job_id)
    before = _seen(desk, record)

    desk.activities.close_broken(record, _PROBLEM)
    assert _seen(desk, record) == before
    desk.activities.close_broken(desk.store.load(record.job.job_id), _PROBLEM)

    ended = desk.store.load(record.job.job_id)
    assert (ended.job.attempt, bool(ended.outcome), bool(ended.ended)) == (4, True, True)
