"""Our own metrics, asked for by our own clients."""

import asyncio

from budeval.domain.scoring import MetricOutcome
from budeval.scoring.engines.base import Order
from budeval.scoring.engines.clients import Switchboard
from budeval.scoring.ledger import Ledger
from budeval.scoring.limiter import Limiters
from budeval.scoring.metrics import METRICS
from budeval.scoring.score import score_metric


class NativeEngine:
    """Engine `native`; one for the process."""

    def __init__(self, limiters: Limiters) -> None:
        self._switchboard = Switchboard(limiters)

    @property
    def version(self) -> str:
        """Of how outcomes are made; each metric has a version of its own beside it."""
        return "1"

    @property
    def metrics(self) -> dict[str, str]:
        """See `ScoringEngine`."""
        return {name: metric.version for name, metric in METRICS.items()}

    def judge_calls(self, metric: str, contexts: int) -> int:  # noqa: ARG002 - they share a call
        """See `ScoringEngine`."""
        return len(METRICS[metric].tasks)

    def close(self) -> None:
        """See `ScoringEngine`. It runs nothing."""

    async def score(self, order: Order, ledger: Ledger) -> MetricOutcome:
        """See `ScoringEngine`."""
        metric = METRICS[order.metric]
        if not metric.needs_judge and not metric.needs_embedder:
            # Pure computation, up to a second: others share this event loop.
            return await asyncio.to_thread(
                lambda: asyncio.run(score_metric(order.metric, order.sample, None, None))
            )
        async with self._switchboard.connected(order, metric) as clients:
            return await score_metric(order.metric, order.sample, clients.judge, clients.embedder, ledger)
