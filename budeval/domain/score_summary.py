"""The samples of a run together: how each metric ended, and the mean of those that have a value."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from budeval.domain.bounded_mean import Mean, mean_of
from budeval.domain.score_run import ScoreRun
from budeval.domain.scoring import MetricOutcome, MetricStatus, Usage


@dataclass(frozen=True)
class MetricSummary:
    """One metric over all samples."""

    metric: str
    statuses: dict[MetricStatus, int]
    """How many samples ended how; ways in which none did are left out."""
    mean: Mean | None
    """Of those that are scored; None where none is."""


@dataclass(frozen=True)
class RunSummary:
    """All samples of a run together."""

    metrics: tuple[MetricSummary, ...]
    """In the order of the request."""
    weighted: Mean | None
    """Of the samples' weighted scores; None where none has one."""
    weight_coverage: float
    """Mean of the samples' coverage, 4 decimals: how much of what was asked for `weighted` rests on."""
    usage: Usage
    latency_ms: int
    """Of all samples, one after the other."""


def summary_of(run: ScoreRun) -> RunSummary:
    """What the samples of a run say together."""
    outcomes = [outcome for sample in run.samples for outcome in sample.outcomes]
    weighted = [sample.weighted_score for sample in run.samples if sample.weighted_score is not None]
    coverage = fmean(sample.weight_coverage for sample in run.samples) if run.samples else 0.0
    return RunSummary(
        metrics=tuple(_metric_summary(metric, outcomes) for metric in run.metrics),
        weighted=mean_of(weighted),
        weight_coverage=round(coverage, 4),
        usage=sum((outcome.usage for outcome in outcomes), Usage()),
        latency_ms=sum(sample.latency_ms for sample in run.samples),
    )


def _metric_summary(metric: str, outcomes: Sequence[MetricOutcome]) -> MetricSummary:
    own = [outcome for outcome in outcomes if outcome.metric == metric]
    values = [outcome.value for outcome in own if outcome.value is not None]
    counts = Counter(outcome.status for outcome in own)
    statuses = {status: counts[status] for status in MetricStatus if counts[status]}
    return MetricSummary(metric=metric, statuses=statuses, mean=mean_of(values))
