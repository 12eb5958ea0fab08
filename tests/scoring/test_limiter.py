"""One limiter holds back all that ask one endpoint, from whatever thread and event loop."""

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable

import pytest

from budeval.scoring import limiter as limiter_module
from budeval.scoring.failures import EndpointBusyError
from budeval.scoring.judge import Judge
from budeval.scoring.limiter import Limiter, Limiters
from budeval.scoring.replies import Answer
from budeval.scoring.settings import EmbedderSettings, JudgeSettings
from tests.scoring.asking import judge_settings
from tests.scoring.fake_judge import FakeJudge, refusal, says


class _Mood(Answer):
    happy: bool


def _in_threads(count: int, work: Callable[[], Awaitable[None]]) -> None:
    """Run it in that many threads, each with an event loop of its own; the first failure is raised."""
    failures: list[BaseException] = []

    async def whole() -> None:
        await work()

    def run() -> None:
        try:
            asyncio.run(whole())
        except BaseException as error:  # noqa: BLE001 - raised below
            failures.append(error)

    threads = [threading.Thread(target=run) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert not any(thread.is_alive() for thread in threads)
    if failures:
        raise failures[0]


@pytest.mark.parametrize("concurrency", [1, 3])
def test_never_more_at_once_than_allowed(concurrency: int) -> None:
    """Over 8 threads with 20 requests each; and all of them come to their turn."""
    limiter = Limiter(concurrency)
    lock = threading.Lock()
    inside: list[int] = [0]
    seen: list[int] = []

    async def one() -> None:
        async with limiter.slot():
            with lock:
                inside[0] += 1
                seen.append(inside[0])
            await asyncio.sleep(0)
            with lock:
                inside[0] -= 1

    async def work() -> None:
        await asyncio.gather(*(one() for _ in range(20)))

    _in_threads(8, work)

    assert len(seen) == 160
    assert max(seen) <= concurrency


def test_first_come_first_served() -> None:
    """In the order of asking."""
    order: list[int] = []

    async def run() -> None:
        limiter = Limiter(1)

        async def one(number: int) -> None:
            async with limiter.slot():
                order.append(number)
                await asyncio.sleep(0)

        await asyncio.gather(*(one(number) for number in range(5)))

    asyncio.run(run())

    assert order == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("turns", range(-1, 4))
def test_who_gives_up_leaves_the_turn_to_the_next(turns: int) -> None:
    """Cancelled before its turn, or in the very moment of it."""

    async def run() -> None:
        limiter = Limiter(1)
        holder = limiter.slot()
        await holder.__aenter__()

        async def take() -> None:
            async with limiter.slot():
                pass

        gives_up, next_one = asyncio.create_task(take()), asyncio.create_task(take())
        await asyncio.sleep(0)
        if turns < 0:
            gives_up.cancel()
            await asyncio.sleep(0)
        await holder.__aexit__(None, None, None)
        for _ in range(turns):
            await asyncio.sleep(0)
        gives_up.cancel()
        await asyncio.wait_for(next_one, 30)
        await asyncio.gather(gives_up, return_exceptions=True)
        await asyncio.wait_for(take(), 30)

    asyncio.run(run())


def test_the_waiting_of_a_loop_that_ends_holds_nobody_up() -> None:
    """An activity that is stopped takes its loop with it."""
    limiter = Limiter(1)

    async def hold_and_leave_waiters() -> None:
        async with limiter.slot():
            waiter = asyncio.create_task(limiter.slot().__aenter__())
            await asyncio.sleep(0)
            assert not waiter.done()

    asyncio.run(hold_and_leave_waiters())

    async def again() -> None:
        async with asyncio.timeout(30), limiter.slot():
            pass

    asyncio.run(again())


def test_a_pause_holds_for_everybody_and_is_not_shortened() -> None:
    """Whoever comes meanwhile waits for its end."""
    limiter = Limiter(4)
    begun = time.monotonic()
    limiter.pause(0.2)
    limiter.pause(0.0)
    left: list[float] = []

    async def work() -> None:
        async with limiter.slot():
            left.append(time.monotonic() - begun)

    _in_threads(3, work)

    assert min(left) >= 0.2


def test_a_pause_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """An endpoint cannot stop all jobs for a year."""
    monkeypatch.setattr(limiter_module, "MAX_PAUSE", 0.05)
    limiter = Limiter(1)
    limiter.pause(3e7)

    async def work() -> None:
        async with asyncio.timeout(30), limiter.slot():
            pass

    asyncio.run(work())


def test_a_rate_limit_pauses_the_others(fake: FakeJudge) -> None:
    """The next request, of another client in another thread, comes after Retry-After."""
    limiter = Limiter(2)
    arrived: list[float] = []
    fake.will_say(refusal(429, "slow down", Retry_After="0.3"), says({"happy": True}))

    async def work() -> None:
        async with Judge(judge_settings(fake), limiter) as judge:
            try:
                await judge.ask("How?", _Mood)
            finally:
                arrived.append(time.monotonic())

    with pytest.raises(EndpointBusyError):
        _in_threads(1, work)
    _in_threads(1, work)

    assert arrived[1] - arrived[0] >= 0.25


def test_the_server_sees_no_more_than_the_limit(fake: FakeJudge) -> None:
    """Over real HTTP, from several threads."""
    limiter = Limiter(2)
    fake.thinks = 0.02
    fake.will_say(*[says({"happy": True}) for _ in range(24)])

    async def work() -> None:
        async with Judge(judge_settings(fake), limiter) as judge:
            await asyncio.gather(*(judge.ask("How?", _Mood) for _ in range(4)))

    _in_threads(6, work)

    assert len(fake.requests) == 24
    assert fake.most_at_once == 2


def test_one_limiter_for_each_address() -> None:
    """Two aliases of one server share it, and the smaller number."""
    judge = JudgeSettings(alias="a", base_url="http://x/v1", model="m", concurrency=5)
    same = EmbedderSettings(alias="b", base_url="http://x/v1", model="e", concurrency=1)
    other = JudgeSettings(alias="c", base_url="http://y/v1", model="m")
    limiters = Limiters([judge, same, other])

    assert limiters.of(judge) is limiters.of(same)
    assert limiters.of(judge) is not limiters.of(other)
    assert limiters.of(judge)._free == 1
