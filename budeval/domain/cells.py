"""The cell contract: whatever was asked for ends in exactly one of four states, with the reason.

A cell is a (run, dataset, metric) and, where an engine judges several models, a model. What was asked for is
known before the engine starts; what is found beyond that is marked `unexpected` and counts for nothing.
"""

from collections import Counter
from collections.abc import Iterable
from statistics import fmean
from typing import Any

Cell = dict[str, Any]

STATES = ("scored", "failed", "missing", "not_a_number")
HEADLINE_RULE = "mean of the datasets' primary metrics, in percent; only if every requested cell is scored"
_PERCENT_OF = {"percent": 1.0, "fraction": 100.0}


def unscored(dataset_id: str, code: str, *, failed: bool) -> Cell:
    """The cell of a run of which nothing could be read.

    Args:
        dataset_id: as it was submitted.
        code: why.
        failed: the run itself has failed; otherwise its results are missing.
    """
    state = "failed" if failed else "missing"
    named = {"dataset": dataset_id, "dataset_id": dataset_id, "metric": "-", "score": None}
    return {**named, "primary": False, "group": False, "state": state, "reason": code}


def requested(cells: Iterable[Cell]) -> list[Cell]:
    """Those that were asked for. Groups follow from their datasets."""
    return [cell for cell in cells if not cell.get("group") and not cell.get("unexpected")]


def completeness(cells: Iterable[Cell], *, planned: bool = True) -> dict[str, Any]:
    """How much of what was asked for is scored.

    Args:
        cells: of one run, or of all.
        planned: whether it is known what was asked for.

    Returns:
        `requested` and the number in each state; `ratio` of scored to requested, None where not known.
    """
    asked = requested(cells)
    states = Counter(cell["state"] for cell in asked)
    ratio = states["scored"] / len(asked) if asked and planned else None
    return {"requested": len(asked), **{state: states[state] for state in STATES}, "ratio": ratio}


def headline(cells: Iterable[Cell], *, planned: bool = True) -> dict[str, Any] | None:
    """One number for all, by `HEADLINE_RULE`; None where a cell is unscored or a metric is no share.

    Also None where it is not known what was asked for: what is missing would not be missed.
    """
    asked = requested(cells)
    primary = [cell for cell in asked if cell.get("primary")]
    if not planned or not primary or any(cell["state"] != "scored" for cell in asked):
        return None
    if any(cell.get("unit") not in _PERCENT_OF for cell in primary):
        return None
    score = fmean(cell["score"] * _PERCENT_OF[cell["unit"]] for cell in primary)
    return {"score": score, "unit": "percent", "datasets": len(primary), "rule": HEADLINE_RULE}
