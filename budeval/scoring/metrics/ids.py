"""Retrieval by identifiers alone, each counted once whatever its rank.

https://docs.ragas.io/en/v0.4.3/concepts/metrics/available_metrics/context_precision/ and context_recall there
"""

from collections.abc import Set as AbstractSet

from budeval.domain.scoring import Sample
from budeval.scoring.metrics.metric import Metric, Need, Panel, Value


async def _precision(sample: Sample, _panel: Panel) -> Value:
    return _share_in(set(sample.context_ids), set(sample.reference_context_ids))


async def _recall(sample: Sample, _panel: Panel) -> Value:
    return _share_in(set(sample.reference_context_ids), set(sample.context_ids))


def _share_in(ids: AbstractSet[str], others: AbstractSet[str]) -> Value:
    evidence = tuple({"id": name, "found": name in others} for name in sorted(ids))
    return Value(len(ids & others) / len(ids), evidence)


ID_CONTEXT_PRECISION = Metric(
    name="id_based_context_precision",
    description="The share of retrieved context ids that are among the reference ids.",
    needs=(Need.IDS,),
    measure=_precision,
)
ID_CONTEXT_RECALL = Metric(
    name="id_based_context_recall",
    description="The share of reference context ids that were retrieved.",
    needs=(Need.IDS,),
    measure=_recall,
)
