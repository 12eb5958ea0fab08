"""How far native and ragas agree, on the same samples and with the same real judge."""

from collections import Counter
from collections.abc import Sequence
from statistics import fmean
from typing import Any

from scipy import stats

from benchmarks.scoring import running
from benchmarks.scoring.local_model import LocalModel
from benchmarks.scoring.running import Endpoints
from benchmarks.scoring.samples import OF_THE_REFERENCE, samples
from budeval.domain.scoring import MetricOutcome
from budeval.scoring.engines.base import ScoringEngine

_METRICS = (*OF_THE_REFERENCE, "semantic_similarity", "context_utilization", "answer_correctness")
_SAME = 0.01
_LEAST_FOR_RANKS = 5
"""Pairs below which a rank correlation says nothing."""


def measure(model: LocalModel) -> dict[str, Any]:
    """The outcomes of both, and for each metric how they compare."""
    with model.endpoints.ragas() as ragas:
        engines = (model.endpoints.native(), ragas)
        return {
            "judge": model.endpoints.judge.model,
            "samples": [sample.question for sample in samples()],
            "metrics": [
                _compared(metric, *(_outcomes(engine, model.endpoints, metric) for engine in engines))
                for metric in _METRICS
            ],
        }


def _outcomes(engine: ScoringEngine, endpoints: Endpoints, metric: str) -> list[MetricOutcome]:
    seconds, outcomes = running.scored(engine, endpoints, samples(), [metric])
    print(f"  {metric} by {engine.version}: {seconds:.0f} s", flush=True)
    return [outcome for (outcome,) in outcomes]


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
