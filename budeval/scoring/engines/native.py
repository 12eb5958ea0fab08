"""Our own metrics, asked for by our own clients."""

import asyncio
from contextlib import AsyncExitStack

from budeval.domain.scoring import MetricOutcome
from budeval.scoring.dialect import Dialects
from budeval.scoring.embedder import Embedder
from budeval.scoring.engines.base import Order
from budeval.scoring.judge import Judge
from budeval.scoring.ledger import Ledger
from budeval.scoring.limiter import Limiters
from budeval.scoring.metrics import METRICS
from budeval.scoring.score import score_metric


class NativeEngine:
    """Engine `native`; one for the process."""

    def __init__(self, limiters: Limiters) -> None:
        self._limiters = limiters
        self._dialects: Dialects = {}

    @property
    def version(self) -> str:
        """Of how outcomes are made; each metric has a version of its own beside it."""
        return "1"

    @property
    def metrics(self) -> dict[str, str]:
        """See `ScoringEngine`."""
        return {name: metric.version for name, metric in METRICS.items()}

    async def score(self, order: Order, ledger: Ledger) -> MetricOutcome:
        """See `ScoringEngine`."""
        metric = METRICS[order.metric]
        if not metric.needs_judge and not metric.needs_embedder:
            # Pure computation, up to a second: others share this event loop.
            return await asyncio.to_thread(
                lambda: asyncio.run(score_metric(order.metric, order.sample, None, None))
            )
        async with AsyncExitStack() as clients:
            judge = embedder = None
            if order.judge and metric.needs_judge:
                limiter = self._limiters.of(order.judge)
                judge = await clients.enter_async_context(Judge(order.judge, limiter, self._dialects))
            if order.embedder and metric.needs_embedder:
                limiter = self._limiters.of(order.embedder)
                embedder = await clients.enter_async_context(Embedder(order.embedder, limiter))
            return await score_metric(order.metric, order.sample, judge, embedder, ledger)
