"""Whom a metric asks: clients of the endpoints of an order, opened in the event loop that scores it."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import NamedTuple

from budeval.scoring.dialect import Dialects
from budeval.scoring.embedder import Embedder
from budeval.scoring.engines.base import Order
from budeval.scoring.judge import Judge
from budeval.scoring.limiter import Limiters
from budeval.scoring.metrics import Metric


class Clients(NamedTuple):
    """Open ones; None where the metric needs none or the order has none."""

    judge: Judge | None = None
    embedder: Embedder | None = None


class Switchboard:
    """Connects orders to endpoints; one for each engine, made once for the process."""

    def __init__(self, limiters: Limiters) -> None:
        self._limiters = limiters
        self._dialects: Dialects = {}

    @asynccontextmanager
    async def connected(self, order: Order, metric: Metric) -> AsyncIterator[Clients]:
        """Clients for the time of one order."""
        async with AsyncExitStack() as clients:
            judge = embedder = None
            if order.judge and metric.needs_judge:
                limiter = self._limiters.of(order.judge)
                client = Judge(order.judge, limiter, self._dialects, order.seed)
                judge = await clients.enter_async_context(client)
            if order.embedder and metric.needs_embedder:
                limiter = self._limiters.of(order.embedder)
                embedder = await clients.enter_async_context(Embedder(order.embedder, limiter))
            yield Clients(judge, embedder)
