"""One RAG sample, what each metric says of it, and how that is weighed into one number.

Every metric that was asked for ends as exactly one of four statuses, with the reason; NaN is none of them.
"""

import math
from collections.abc import Mapping, Sequence
from enum import StrEnum
from statistics import fmean, stdev
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat

Share = Annotated[FiniteFloat, Field(ge=0, le=1)]


class MetricStatus(StrEnum):
    """How a metric ended."""

    SCORED = "scored"
    UNDETERMINED = "undetermined"
    """The judge answered well, but the definition gives no value, as faithfulness of no statements."""
    SKIPPED = "skipped"
    """The sample lacks what it needs."""
    FAILED = "failed"


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Sample(_Frozen):
    """A question, what was retrieved for it, what was answered, and what should have been."""

    question: str
    contexts: tuple[str, ...] = ()
    """What was retrieved, in the order of retrieval; none of them blank."""
    answer: str | None = None
    ground_truth: str | None = None
    reference_contexts: tuple[str, ...] = ()
    """What should have been retrieved."""
    context_ids: tuple[str, ...] = ()
    reference_context_ids: tuple[str, ...] = ()


class Usage(_Frozen):
    """What a metric cost."""

    calls: int = 0
    """Requests to the judge, repetitions too."""
    embedding_calls: int = 0
    prompt_tokens: int = 0
    """Of judge and embedder, as the endpoint counts them; 0 where it does not."""
    completion_tokens: int = 0

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(**{name: getattr(self, name) + getattr(other, name) for name in type(self).model_fields})

    def beyond(self, other: "Usage") -> "Usage":
        """What is more in it than in another."""
        names = type(self).model_fields
        return Usage(**{name: max(getattr(self, name) - getattr(other, name), 0) for name in names})


class MetricOutcome(_Frozen):
    """What one metric says of one sample."""

    metric: str
    status: MetricStatus
    value: Share | None = None
    """Only where `status` is scored."""
    raw_value: FiniteFloat | None = None
    """As the definition gives it, before it is cut to [0, 1]: a cosine may be negative. Of repeats their
    mean."""
    reason_code: str | None = None
    """Why there is no value; stable, as `no_statements`."""
    message: str | None = None
    """The reason for people."""
    usage: Usage = Usage()
    latency_ms: int = 0
    evidence: tuple[dict[str, Any], ...] = ()
    """What the value rests on: statements, contexts, questions, each with its verdict or similarity."""
    repeats: tuple[Share, ...] = ()
    """Where it was scored several times: the values, whose mean `value` is. Evidence is that of the first."""
    repeats_without_value: tuple[str, ...] = ()
    """Where it was: the reason codes of the other times, which do not count in the mean."""
    stdev: Annotated[FiniteFloat, Field(ge=0)] | None = None
    """Of `repeats`: the sample standard deviation (n - 1); None with fewer than two."""


class Maker(_Frozen):
    """Who made an outcome: values of one maker can be compared."""

    engine_version: str
    metric_version: str
    """Natively that of its definition and its prompts."""
    judge_model: str | None = None
    """As the endpoint calls it; None where the metric needs none."""
    embedding_model: str | None = None


def scored(metric: str, value: float, **rest: Any) -> MetricOutcome:
    """The outcome of a metric with a value, cut to [0, 1].

    Raises:
        ValueError: the value is not finite.
    """
    if not math.isfinite(value):
        raise ValueError(f"{metric} is {value}")
    share = min(max(value, 0.0), 1.0)
    return MetricOutcome(metric=metric, status=MetricStatus.SCORED, value=share, raw_value=value, **rest)


def mean_of_repeats(outcomes: Sequence[MetricOutcome]) -> MetricOutcome:
    """One outcome for several of the same metric on the same sample, with what all of them cost.

    The values that are there count, and it is told why others are missing; where none is, the first outcome
    tells why.
    """
    usage = sum((outcome.usage for outcome in outcomes), Usage())
    cost = {"usage": usage, "latency_ms": sum(outcome.latency_ms for outcome in outcomes)}
    there = [outcome for outcome in outcomes if outcome.value is not None]
    if not there:
        return outcomes[0].model_copy(update=cost)
    values = tuple(outcome.value for outcome in there if outcome.value is not None)
    raw_values = [outcome.raw_value for outcome in there if outcome.raw_value is not None]
    told = {
        "value": fmean(values),
        "raw_value": fmean(raw_values),
        "repeats": values,
        "repeats_without_value": tuple(
            outcome.reason_code or "" for outcome in outcomes if outcome.value is None
        ),
        "stdev": stdev(values) if len(values) > 1 else None,
    }
    return there[0].model_copy(update={**told, **cost})


def weighted_score(
    values: Mapping[str, float | None], weights: Mapping[str, float]
) -> tuple[float | None, float]:
    """One number for a sample, and how much of what was asked for it rests on.

    Args:
        values: of every metric that was asked for; None where there is none.
        weights: of metrics, none negative; those not named weigh 1 where no weight is given at all, else 0.

    Returns:
        The weighted mean of the values that are there (4 decimals; None where they weigh nothing), and the
        share of their weight in that of all.
    """
    # By the heaviest: the sum of large weights would not be finite.
    heaviest = max(weights.values(), default=1.0) or 1.0
    weighs = {metric: weights.get(metric, 0.0) / heaviest if weights else 1.0 for metric in values}
    there = {metric: value for metric, value in values.items() if value is not None}
    weight, total = sum(weighs[metric] for metric in there), sum(weighs.values())
    if not weight:
        return None, 0.0
    mean = sum(weighs[metric] * value for metric, value in there.items()) / weight
    return round(mean, 4), weight / total
