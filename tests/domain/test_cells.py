"""The cell contract."""

from typing import Any

import pytest

from budeval.domain.cells import completeness, headline, unscored


def _cell(state: str = "scored", **more: Any) -> dict[str, Any]:
    return {"dataset": "d", "state": state, "score": 50.0, "unit": "percent", "primary": True, **more}


def test_each_cell_counts_once_in_its_state() -> None:
    """Groups follow from their datasets; what nobody asked for counts for nothing."""
    cells = [_cell(), _cell("missing"), _cell("failed"), _cell("not_a_number")]
    cells += [_cell(group=True), _cell("missing", unexpected=True)]

    assert completeness(cells) == {
        "requested": 4,
        "scored": 1,
        "failed": 1,
        "missing": 1,
        "not_a_number": 1,
        "ratio": 0.25,
    }


def test_without_a_plan_completeness_is_not_known() -> None:
    """Only what was found is there to count."""
    assert completeness([_cell()], planned=False)["ratio"] is None
    assert completeness([])["ratio"] is None


def test_the_headline_is_the_mean_of_primary_metrics_in_percent() -> None:
    """Shares are made percentages; other metrics, groups and the unexpected are left out."""
    cells = [_cell(score=30.0), _cell(score=0.5, unit="fraction"), _cell(score=99.0, primary=False)]
    cells += [_cell(score=1.0, group=True), _cell(score=0.0, unexpected=True)]

    found = headline(cells)

    assert found is not None
    assert (found["score"], found["unit"], found["datasets"]) == (pytest.approx(40.0), "percent", 2)
    assert "primary" in found["rule"]


@pytest.mark.parametrize(
    "cells",
    [
        [],
        [_cell(), _cell("missing", score=None, primary=False)],
        [_cell(), _cell(unit=None)],
        [_cell(), _cell(unit="count")],
        [_cell(primary=False)],
    ],
    ids=["none", "incomplete", "no-unit", "count", "no-primary"],
)
def test_there_is_no_headline_where_it_would_mislead(cells: list[dict[str, Any]]) -> None:
    """Rather none than one that leaves something out."""
    assert headline(cells) is None


@pytest.mark.parametrize(("failed", "state"), [(True, "failed"), (False, "missing")])
def test_a_run_of_which_nothing_is_known_has_a_cell(*, failed: bool, state: str) -> None:
    """With the reason."""
    cell = unscored("sums", "OOM", failed=failed)

    assert (cell["dataset_id"], cell["state"], cell["reason"], cell["score"]) == ("sums", state, "OOM", None)
