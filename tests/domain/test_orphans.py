"""Whether an evaluation owns what bears the service's mark."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from budeval.domain.orphans import REASONS, Marked, Standing, Why, why_orphan

_NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
_LONG_AGO = timedelta(hours=1)
_RUNS = Standing(attempt=1)


def _marked(age: timedelta = timedelta(0), **changes: Any) -> Marked:
    """Of the first deployment of a run."""
    given = {
        "kind": "Job",
        "name": "r-1",
        "uid": "u",
        "created": _NOW - age,
        "eval_id": "e-1",
        "run_id": "r-1",
        "deployment": 1,
        "owners": [],
    }
    return Marked.model_validate({**given, **changes})


@pytest.mark.parametrize(
    ("standing", "why"),
    [
        (_RUNS, None),
        (None, Why.UNKNOWN_EVALUATION),
        (Standing(ended=True), Why.ENDED_EVALUATION),
        (Standing(ended=True, deleted=True), Why.DELETED_EVALUATION),
    ],
)
@pytest.mark.parametrize("age", [timedelta(0), _LONG_AGO])
def test_a_run_belongs_to_its_evaluation_until_that_ends(
    standing: Standing | None, why: Why | None, age: timedelta
) -> None:
    """However old it is: its evaluation's record came before it."""
    assert why_orphan(_marked(age), standing, _NOW) == why


@pytest.mark.parametrize(
    ("attempt", "deployment", "why"),
    [
        (1, 1, None),
        (1, 2, None),
        (2, 1, Why.ATTEMPT_OVER),
        (2, 2, Why.ATTEMPT_OVER),
        (2, 3, None),
        (2, 4, None),
        (3, 4, Why.ATTEMPT_OVER),
        (3, None, None),
    ],
)
def test_an_earlier_attempts_job_is_nobodys(attempt: int, deployment: int | None, why: Why | None) -> None:
    """Each attempt may deploy a run twice; what says no number is left to its evaluation."""
    assert why_orphan(_marked(deployment=deployment), Standing(attempt=attempt), _NOW) == why


@pytest.mark.parametrize(
    ("eval_id", "standing", "why"),
    [
        ("e-1", _RUNS, None),
        ("e-1", None, Why.UNKNOWN_EVALUATION),
        ("e-1", Standing(ended=True), Why.ENDED_EVALUATION),
        (None, None, Why.NO_EVALUATION),
    ],
)
def test_a_program_at_the_claim_has_ten_minutes(
    eval_id: str | None, standing: Standing | None, why: Why | None
) -> None:
    """It may be removing the files of an evaluation that has ended, or be pushing a dataset."""
    young, old = (
        _marked(timedelta(minutes=minutes), eval_id=eval_id, run_id=None, deployment=None)
        for minutes in (9, 11)
    )

    assert why_orphan(young, standing, _NOW) is None
    assert why_orphan(old, standing, _NOW) == why


def test_each_reason_is_told_in_words() -> None:
    """A new one needs a sentence."""
    assert set(REASONS) == set(Why)
