"""How much one endpoint is asked at once, by all jobs of the process together.

Activities run in threads of their own with an event loop each, so nothing here belongs to a loop: waiters are
`concurrent.futures` ones, which any loop can await and any thread can release.
"""

import asyncio
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Iterable
from concurrent.futures import Future
from contextlib import asynccontextmanager

from budeval.scoring.settings import EndpointSettings

MAX_PAUSE = 300.0
"""Seconds. An endpoint that asks for more would hold up every job, perhaps by mistake."""


class Limiter:
    """So many requests at once, first come first served, and none during a pause."""

    def __init__(self, concurrency: int) -> None:
        self._lock = threading.Lock()
        self._free = concurrency
        self._waiting: deque[Future[None]] = deque()
        self._paused_until = 0.0

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[None]:
        """Room for one request: waits for it, and until a pause is over."""
        await self._enter()
        try:
            # Others may prolong the pause meanwhile, from threads that no event of this loop can wait for.
            while (left := self._paused_until - time.monotonic()) > 0:  # noqa: ASYNC110
                await asyncio.sleep(left)
            yield
        finally:
            self._leave()

    def pause(self, seconds: float) -> None:
        """Let nobody begin a request for that long, at most `MAX_PAUSE`. Never shortens a pause."""
        with self._lock:
            self._paused_until = max(self._paused_until, time.monotonic() + min(seconds, MAX_PAUSE))

    async def _enter(self) -> None:
        with self._lock:
            if self._free:
                self._free -= 1
                return
            turn: Future[None] = Future()
            self._waiting.append(turn)
        try:
            await asyncio.wrap_future(turn)
        except asyncio.CancelledError:
            # The turn may have come in the same moment: then it is the next one's.
            if not turn.cancel():
                self._leave()
            raise

    def _leave(self) -> None:
        """Hand the room to the first who still waits."""
        with self._lock:
            while self._waiting:
                turn = self._waiting.popleft()
                if turn.set_running_or_notify_cancel():
                    turn.set_result(None)
                    return
            self._free += 1


def least_concurrency(endpoints: Iterable[EndpointSettings]) -> dict[str, int]:
    """How many requests each address takes at once: the smallest number of all aliases that have it."""
    least: dict[str, int] = {}
    for endpoint in endpoints:
        least[endpoint.base_url] = min(
            endpoint.concurrency, least.get(endpoint.base_url, endpoint.concurrency)
        )
    return least


class Limiters:
    """The limiter of each endpoint; made once for the process."""

    def __init__(self, endpoints: Iterable[EndpointSettings]) -> None:
        least = least_concurrency(endpoints)
        self._limiters = {url: Limiter(concurrency) for url, concurrency in least.items()}

    def of(self, endpoint: EndpointSettings) -> Limiter:
        """The one limiter of all aliases with the same address.

        Raises:
            KeyError: the endpoint was not among those given.
        """
        return self._limiters[endpoint.base_url]
