"""The tables of a run for spreadsheets."""

import json
from typing import Any

from budeval.domain.csv_text import csv_text
from budeval.domain.score_run import ScoredSample, ScoreRun
from budeval.domain.scoring import MetricOutcome, MetricStatus
from budeval.scoring.artifacts.encoding import utf8

_SAMPLE_COLUMNS = ("sample_id", "question", "answer", "contexts", "ground_truth", "error")
"""The original's, which its metrics follow."""
_OWN_COLUMNS = ("weighted_score", "weight_coverage", "latency_ms")


def scores_table(run: ScoreRun) -> bytes:
    """A row for each sample: the original's columns, then ours, with all else that is told of each metric."""
    of_metrics = [f"{metric}_{what}" for metric in run.metrics for what in ("status", "reason")]
    deviations = [f"{metric}_stdev" for metric in run.metrics]
    columns = (*_SAMPLE_COLUMNS, *run.metrics, *_OWN_COLUMNS, *of_metrics, *deviations)
    return utf8(csv_text(columns, map(_score_row, run.samples)))


def invalid_table(run: ScoreRun) -> bytes:
    """A row for each line that was no sample."""
    rows = ({"sample_id": line.sample_id, "error": line.error, "raw": line.raw} for line in run.invalid)
    return utf8(csv_text(("sample_id", "error", "raw"), rows))


def errors_of(sample: ScoredSample) -> str:
    """What failed, as the original words it: `metric: reason`, joined by ` | `."""
    failed = [outcome for outcome in sample.outcomes if outcome.status is MetricStatus.FAILED]
    return " | ".join(f"{outcome.metric}: {_reason(outcome)}" for outcome in failed)


def _score_row(scored: ScoredSample) -> dict[str, object]:
    sample = scored.sample
    contexts = json.dumps(sample.contexts, ensure_ascii=False) if sample.contexts else ""
    row: dict[str, object] = {
        "sample_id": scored.sample_id,
        "question": sample.question,
        "answer": sample.answer,
        "contexts": contexts,
        "ground_truth": sample.ground_truth,
        "error": errors_of(scored),
    }
    for outcome in scored.outcomes:
        row |= _cells(outcome)
    own: dict[str, Any] = scored.model_dump(include=set(_OWN_COLUMNS))
    return row | own


def _cells(outcome: MetricOutcome) -> dict[str, object]:
    return {
        outcome.metric: outcome.value,
        f"{outcome.metric}_status": outcome.status.value,
        f"{outcome.metric}_reason": outcome.reason_code,
        f"{outcome.metric}_stdev": outcome.stdev,
    }


def _reason(outcome: MetricOutcome) -> str:
    return f"{outcome.reason_code} {outcome.message or ''}".rstrip()
