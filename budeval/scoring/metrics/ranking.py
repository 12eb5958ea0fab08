"""Whether useful contexts come first: context_precision, and without a ground truth context_utilization.

Both are average precision over the verdicts on the contexts as retrieved:
sum over k of (precision@k * verdict k) / number of useful contexts.
https://docs.ragas.io/en/v0.4.3/concepts/metrics/available_metrics/context_precision/
"""

from collections.abc import Sequence

from budeval.domain.scoring import Sample
from budeval.scoring.metrics.metric import Metric, Need, Panel, Task, Value
from budeval.scoring.metrics.verdicts import SHAPE, judged, numbered

_USEFUL = Task(
    "The numbered contexts were retrieved for a question. Judge each by itself: is it useful for arriving at "
    f"the given answer? {SHAPE}"
)


def average_precision(verdicts: Sequence[bool]) -> float:
    """In [0, 1]; 0 where nothing is useful, and exactly 1 where all is."""
    precisions: list[float] = []
    for rank, useful in enumerate(verdicts, 1):
        if useful:
            precisions.append((len(precisions) + 1) / rank)
    return sum(precisions) / len(precisions) if precisions else 0.0


async def _context_precision(sample: Sample, panel: Panel) -> Value:
    return await _usefulness(sample, sample.ground_truth, panel)


async def _context_utilization(sample: Sample, panel: Panel) -> Value:
    return await _usefulness(sample, sample.answer, panel)


async def _usefulness(sample: Sample, answer: str | None, panel: Panel) -> Value:
    prompt = _USEFUL.on(question=sample.question, answer=answer, contexts=numbered(sample.contexts))
    verdicts = await judged(panel, prompt, len(sample.contexts))
    evidence = tuple({"context": rank, "useful": verdict} for rank, verdict in enumerate(verdicts, 1))
    return Value(average_precision(verdicts), evidence)


CONTEXT_PRECISION = Metric(
    name="context_precision",
    description="Whether the contexts that are useful for the ground truth were retrieved first.",
    needs=(Need.QUESTION, Need.CONTEXTS, Need.GROUND_TRUTH),
    measure=_context_precision,
    tasks=(_USEFUL,),
)
CONTEXT_UTILIZATION = Metric(
    name="context_utilization",
    description="Whether the contexts that are useful for the given answer were retrieved first.",
    needs=(Need.QUESTION, Need.CONTEXTS, Need.ANSWER),
    measure=_context_utilization,
    tasks=(_USEFUL,),
)
