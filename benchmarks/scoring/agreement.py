"""How far native and ragas agree, on the same samples and with the same real judge."""

from collections import Counter
from collections.abc import Sequence
from statistics import fmean
from typing import Any

from scipy import stats

from benchmarks.scoring import running
from benchmarks.scoring.local_model import LocalModel
from benchmarks.scoring.samples import JUDGED, samples
from budeval.domain.scoring import MetricOutcome

_METRICS = (*JUDGED, "semantic_similarity")
_SAME = 0.01
_LEAST_FOR_RANKS = 5
"""Pairs below which a rank correlation says nothing."""


def measure(model: LocalModel) -> dict[str, Any]:
    """The outcomes of both, and for each metric how they compare."""
    chosen, endpoints = samples(), model.endpoints
    _, native = running.scored(endpoints.native(), endpoints, chosen, _METRICS)
    with endpoints.ragas() as engine:
        _, ragas = running.scored(engine, endpoints, chosen, _METRICS)
    columns = zip(_METRICS, zip(*native, strict=True), zip(*ragas, strict=True), strict=True)
    return {
        "judge": endpoints.judge.model,
        "samples": [sample.question for sample in chosen],
        "metrics": [_compared(metric, ours, theirs) for metric, ours, theirs in columns],
    }


def _compared(metric: str, native: Sequence[MetricOutcome], ragas: Sequence[MetricOutcome]) -> dict[str, Any]:
    pairs = [
        (one.value, other.value)
        for one, other in zip(native, ragas, strict=True)
        if one.value is not None and other.value is not None
    ]
    differences = [abs(one - other) for one, other in pairs]
    return {
        "metric": metric,
        "both_scored": len(pairs),
        "same": sum(difference < _SAME for difference in differences),
        "mean_difference": fmean(differences) if differences else None,
        "rank_correlation": _rank_correlation(pairs),
        "native": _summary(native),
        "ragas": _summary(ragas),
    }


def _rank_correlation(pairs: Sequence[tuple[float, float]]) -> float | None:
    """Spearman's; None where one of both always says the same, or too few pairs are there."""
    ours, theirs = [one for one, _ in pairs], [other for _, other in pairs]
    if len(pairs) < _LEAST_FOR_RANKS or len(set(ours)) == 1 or len(set(theirs)) == 1:
        return None
    return float(stats.spearmanr(ours, theirs).statistic)


def _summary(outcomes: Sequence[MetricOutcome]) -> dict[str, Any]:
    values = [outcome.value for outcome in outcomes if outcome.value is not None]
    return {
        "mean": fmean(values) if values else None,
        "ended": Counter(outcome.reason_code or "scored" for outcome in outcomes),
        "calls": sum(outcome.usage.calls for outcome in outcomes),
        "prompt_tokens": sum(outcome.usage.prompt_tokens for outcome in outcomes),
        "completion_tokens": sum(outcome.usage.completion_tokens for outcome in outcomes),
        "values": [outcome.value for outcome in outcomes],
    }
