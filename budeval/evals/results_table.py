"""The results of an evaluation as a table for programs and spreadsheets."""

from typing import Any

from budeval.domain.csv_text import csv_text
from budeval.evals.answers import EvaluationResults

_RUN_COLUMNS = ("eval_id", "run_id", "status", "outcome", "dataset_id")
_SCORE_COLUMNS = (
    "dataset",
    "version",
    "metric",
    "mode",
    "score",
    "unit",
    "model",
    "samples",
    "stderr",
    "interval_low",
    "interval_high",
    "primary",
)
_REASON_COLUMNS = ("code", "error")


def results_csv(results: EvaluationResults) -> str:
    """A row for each score, and for each run that has none."""
    rows = [_row(result, score) for result in results.results for score in result.get("scores") or [{}]]
    return csv_text((*_RUN_COLUMNS, *_SCORE_COLUMNS, *_REASON_COLUMNS), rows)


def interval_of(score: dict[str, Any]) -> tuple[Any, Any]:
    """Low and high; None for both where a score has none."""
    interval = score.get("interval")
    return (interval[0], interval[1]) if isinstance(interval, list) and len(interval) == 2 else (None, None)  # noqa: PLR2004 - a pair


def _row(result: dict[str, Any], score: dict[str, Any]) -> dict[str, Any]:
    low, high = interval_of(score)
    # The run's own fields last: a score's `status` or `code` must not hide them.
    run = {name: result.get(name) for name in (*_RUN_COLUMNS, *_REASON_COLUMNS)}
    return score | {"interval_low": low, "interval_high": high} | run
