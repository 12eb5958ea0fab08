"""One metric of one sample, whatever happens: a typed outcome, or an error that a retry may cure."""

import time

from budeval.domain.scoring import MetricOutcome, MetricStatus, Sample
from budeval.scoring.embedder import Embedder
from budeval.scoring.failures import JudgeError
from budeval.scoring.judge import Judge
from budeval.scoring.ledger import Ledger, MemoryLedger
from budeval.scoring.metrics import METRICS, Metric
from budeval.scoring.requirements import lacking, without_blanks


async def score_metric(
    name: str,
    sample: Sample,
    judge: Judge | None,
    embedder: Embedder | None,
    ledger: Ledger | None = None,
) -> MetricOutcome:
    """One of our own metrics, by its name: see `score_by`.

    Raises:
        EndpointBusyError: worth trying again, which is the workflow's to do; with what was spent.
        KeyError: there is no such metric.
    """
    return await score_by(METRICS[name], sample, judge, embedder, ledger)


async def score_by(
    metric: Metric,
    sample: Sample,
    judge: Judge | None,
    embedder: Embedder | None,
    ledger: Ledger | None = None,
) -> MetricOutcome:
    """Skipped where something is lacking, failed where an endpoint gives nothing for good.

    Args:
        metric: whoever measures it.
        sample: blank entries of its lists are left out.
        judge: open; None where there is none.
        embedder: open; None where there is none.
        ledger: of this metric of this sample; None for one that nobody repeats.

    Raises:
        EndpointBusyError: worth trying again, which is the workflow's to do; with what was spent.
    """
    lack = lacking(metric, sample, has_judge=judge is not None, has_embedder=embedder is not None)
    if lack:
        return MetricOutcome(metric=metric.name, status=MetricStatus.SKIPPED, reason_code=lack)
    begun = time.monotonic()
    try:
        return await metric.score(without_blanks(sample), judge, embedder, ledger or MemoryLedger())
    except JudgeError as error:
        if error.retryable:
            raise
        return MetricOutcome(
            metric=metric.name,
            status=MetricStatus.FAILED,
            reason_code=error.reason_code,
            message=error.message,
            usage=error.usage,
            latency_ms=round((time.monotonic() - begun) * 1000),
        )
