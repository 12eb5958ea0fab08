"""The activity that scores: one metric of one sample, whatever is cut off, and nothing paid for twice."""

import asyncio
import logging
import traceback
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import partial
from typing import Any, TypeVar
from weakref import WeakValueDictionary

from budeval.domain.score_job import Engine, ScoreJob, ScoreRecord
from budeval.domain.scoring import MetricOutcome, MetricStatus, Usage, mean_of_repeats
from budeval.errors import BudevalError, ScoringError, SidecarError
from budeval.scoring.course import CANCELLED, DEADLINE
from budeval.scoring.engines.base import Order, ScoringEngine
from budeval.scoring.failures import EndpointBusyError
from budeval.scoring.metrics import METRICS
from budeval.scoring.provenance import maker_of
from budeval.scoring.settings import ScoringSettings
from budeval.scoring.store import OF_ADVICE, ScoreStore, StoredOutcome
from budeval.scoring.stored_ledger import Place, StoredLedger, Unwritten

T = TypeVar("T")

_log = logging.getLogger(__name__)

_MOST_FAILURES = 6
"""How often one metric of one sample may come to nothing: by its endpoints, or by a mistake of ours."""
_AT_ONCE = 8
_LATE = {DEADLINE: "Its time was up before it had a value.", CANCELLED: "The job was cancelled before."}


class MeasuringActivities:
    """Those of `score_sample` that score. They run in the worker's event loop, so they hold no thread."""

    def __init__(
        self, store: ScoreStore, engines: Mapping[Engine, ScoringEngine], settings: ScoringSettings
    ) -> None:
        self._store = store
        self._engines = engines
        self._settings = settings
        self._aside = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="scoring")
        self._running: dict[str, set[asyncio.Task[MetricOutcome]]] = {}
        self._unwritten: Unwritten = {}
        self._turns: WeakValueDictionary[tuple[str, int, str], asyncio.Lock] = WeakValueDictionary()

    def stop(self, job_id: str) -> None:
        """End what runs for a job that was cancelled; from any thread."""
        running = defaultdict(list)
        for task in list(self._running.get(job_id, ())):
            running[task.get_loop()].append(task)
        for loop, tasks in running.items():
            # All at once: the room that one leaves at its judge's would be taken by the next.
            loop.call_soon_threadsafe(_cancel, tasks)

    async def score_metric(self, order: dict[str, Any]) -> str:
        """{job_id, attempt, sample, metric, deadline} -> its status; the outcome is stored first."""
        place = order["job_id"], order["sample"], order["metric"]
        # A sidecar that comes back gives out again what still runs here, and would have it paid for twice.
        async with self._turn_at(*place):
            stored = await self.apart(lambda: self._store.outcome(*place))
            if stored is None or not stored.stands_in(order["attempt"]):
                stored = await self._measured(order)
        return stored.outcome.status

    def _turn_at(self, job_id: str, number: int, metric: str) -> asyncio.Lock:
        """Whoever has it is the only one here that scores a metric of a sample."""
        return self._turns.setdefault((job_id, number, metric), asyncio.Lock())

    async def _measured(self, order: dict[str, Any]) -> StoredOutcome:
        record = await self.apart(lambda: self._store.load(order["job_id"]))
        if not record.is_at(order["attempt"]):  # Dapr may run late what it has run before
            text = f"Attempt {order['attempt']} of scoring job {order['job_id']} is over."
            raise ScoringError(text, code="ATTEMPT_OVER")
        outcome = await self._scored(record, order)
        return await self.apart(lambda: self._keep(record, order["sample"], outcome))

    def _keep(self, record: ScoreRecord, number: int, outcome: MetricOutcome) -> StoredOutcome:
        job, engine = record.job, self._engines.get(record.job.engine)
        maker = maker_of(job, outcome.metric, engine, self._settings) if engine else None
        fresh = StoredOutcome(attempt=job.attempt, outcome=outcome, maker=maker)
        stored = self._store.keep_outcome(job.job_id, number, fresh)
        # What has failed may be scored again, and shall not pay again for what was answered.
        if stored.outcome.status is not MetricStatus.FAILED:
            self._store.forget_ledgers(job.job_id, number, outcome.metric, job.repeats)
            for place in _places(job, number, outcome.metric, job.repeats):
                self._unwritten.pop(place, None)
        return stored

    async def _scored(self, record: ScoreRecord, order: dict[str, Any]) -> MetricOutcome:
        """Until its deadline, and unless the job is cancelled."""
        job, ledgers = record.job, await self._ledgers(record.job, order["sample"], order["metric"])
        spent = partial(_spent, ledgers)
        if record.cancelled:
            return given_up(order["metric"], CANCELLED, spent())
        deadline = datetime.fromisoformat(order["deadline"]).replace(tzinfo=UTC)
        left = (deadline - datetime.now(UTC)).total_seconds()
        task = asyncio.ensure_future(self._repeated(job, order, ledgers))
        running = self._running.setdefault(job.job_id, set())
        running.add(task)
        try:
            return await asyncio.wait_for(task, max(left, 0))
        except TimeoutError:
            return given_up(order["metric"], DEADLINE, spent())
        except asyncio.CancelledError:
            if not await self._is_cancelled(job.job_id):
                raise  # the worker ends: the next one does it again
            return given_up(order["metric"], CANCELLED, spent())
        finally:
            running.discard(task)
            if not running:
                self._running.pop(job.job_id, None)

    async def _is_cancelled(self, job_id: str) -> bool:
        record = await self.apart(lambda: self._store.load(job_id))
        return record.cancelled is not None

    async def _ledgers(self, job: ScoreJob, number: int, metric: str) -> list[StoredLedger]:
        repeats = job.repeats if METRICS[metric].needs_judge else 1
        return await self.apart(lambda: self._stored_ledgers(job, number, metric, repeats))

    def _stored_ledgers(self, job: ScoreJob, number: int, metric: str, repeats: int) -> list[StoredLedger]:
        places = _places(job, number, metric, repeats)
        return [StoredLedger.load(self._store, place, self._aside, self._unwritten) for place in places]

    async def ledger_of_advice(self, job: ScoreJob) -> StoredLedger:
        """What was paid for the advice on a job so far."""
        place = Place(job.job_id, *OF_ADVICE, job.attempt)
        return await self.apart(lambda: StoredLedger.load(self._store, place, self._aside, self._unwritten))

    async def _repeated(
        self, job: ScoreJob, order: dict[str, Any], ledgers: list[StoredLedger]
    ) -> MetricOutcome:
        (stored,) = await self.apart(lambda: self._store.samples(job.job_id, [order["sample"]]))
        metric = METRICS[order["metric"]]
        try:
            judge = self._settings.judge(job.judge) if metric.needs_judge else None
            embedder = self._settings.embedder(job.embedder) if metric.needs_embedder else None
        except KeyError as error:  # they were changed since the request
            text = f"The settings have no endpoint {error} any more."
            return _failed(metric.name, "ENDPOINT_UNKNOWN", text, _spent(ledgers))
        engine = self._engines.get(job.engine)
        if engine is None:
            text = f"The engine {job.engine} is not installed here any more."
            return _failed(metric.name, "ENGINE_UNKNOWN", text, _spent(ledgers))
        if len(ledgers) == 1:
            return await self._once(
                job, engine, Order(metric.name, stored.sample, judge, embedder), ledgers[0]
            )
        outcomes = []
        for repeat, ledger in enumerate(ledgers, 1):
            # Each further time with a seed of its own: the same request may get the same answer from a cache.
            seed = repeat if repeat > 1 else None
            asked = Order(metric.name, stored.sample, judge, embedder, seed)
            outcomes.append(ledger.failed or await self._one_of_many(job, engine, asked, ledger))
        return mean_of_repeats(outcomes)

    async def _one_of_many(
        self, job: ScoreJob, engine: ScoringEngine, asked: Order, ledger: StoredLedger
    ) -> MetricOutcome:
        """What has failed for good is kept: another one may have to be waited for, and begin all anew."""
        outcome = await self._once(job, engine, asked, ledger)
        if outcome.status is MetricStatus.FAILED:
            await ledger.fail(outcome)
        return outcome

    async def _once(
        self, job: ScoreJob, engine: ScoringEngine, asked: Order, ledger: StoredLedger
    ) -> MetricOutcome:
        before = ledger.failures
        fault: BudevalError
        usage = Usage()
        try:
            return await engine.score(asked, ledger)
        except SidecarError:
            raise  # the state store is away, which is nobody's failure
        except EndpointBusyError as error:
            fault, usage = error, error.usage
        except Exception as error:  # noqa: BLE001 - uncounted it would be tried, and paid for, to the deadline
            fault = _unforeseen(error, asked.metric)
        if ledger.failures == before:  # it was not an endpoint that gave nothing, but the engine
            await ledger.lose(usage)
        if not job.store_inputs:
            fault = _unquoted(fault)
        if ledger.failures < _MOST_FAILURES:
            raise fault
        return _failed(asked.metric, fault.code, fault.message, ledger.spent)

    async def give_up_metrics(self, order: dict[str, Any]) -> None:
        """{job_id, given_up: [{sample, metric, code, message}]} -> failed, where nothing else is known."""
        record = await self.apart(lambda: self._store.load(order["job_id"]))
        if not record.is_at(order.get("attempt")):  # see `_measured`
            return
        if record.cancelled:
            self.stop(order["job_id"])
        await asyncio.gather(*(self._give_up(record, item) for item in order["given_up"]))

    async def _give_up(self, record: ScoreRecord, item: dict[str, Any]) -> None:
        job, number, metric, code = record.job, item["sample"], item["metric"], item["code"]
        # What still runs here ends by the same deadline or cancellation, and then says what it has spent.
        async with self._turn_at(job.job_id, number, metric):
            ledgers = await self.apart(lambda: self._stored_ledgers(job, number, metric, job.repeats))
            outcome = _failed(metric, code, _LATE.get(code, item["message"]), _spent(ledgers))
            await self.apart(lambda: self._keep(record, number, outcome))

    async def apart(self, call: Callable[[], T]) -> T:
        """A call of the sidecar, which blocks, in a thread of our own."""
        return await asyncio.get_running_loop().run_in_executor(self._aside, call)


def _places(job: ScoreJob, number: int, metric: str, repeats: int) -> list[Place]:
    return [Place(job.job_id, number, metric, repeat, job.attempt) for repeat in range(1, repeats + 1)]


def _cancel(tasks: Iterable[asyncio.Task[Any]]) -> None:
    for task in tasks:
        task.cancel()


def given_up(metric: str, code: str, usage: Usage) -> MetricOutcome:
    """What is said of a metric that had no value when its time was up, or its job was cancelled."""
    return _failed(metric, code, _LATE[code], usage)


def _unforeseen(error: Exception, metric: str) -> BudevalError:
    """A mistake of ours, by its name and place alone: its words may quote keys and texts."""
    kind, places = type(error).__name__, "".join(traceback.format_tb(error.__traceback__))
    _log.error("an internal error metric=%s error=%s\n%s", metric, kind, places.rstrip())
    return BudevalError(f"An internal error ({kind}). The service's log has where it was.")


def _unquoted(fault: BudevalError) -> BudevalError:
    """By its code alone. Dapr keeps what a failed try says in the history, which outlasts the texts."""
    return BudevalError("What was said is not kept: it may quote texts (store_inputs).", code=fault.code)


def _spent(ledgers: list[StoredLedger]) -> Usage:
    return sum((ledger.spent for ledger in ledgers), Usage())


def _failed(metric: str, code: str, message: str, usage: Usage) -> MetricOutcome:
    return MetricOutcome(
        metric=metric, status=MetricStatus.FAILED, reason_code=code.lower(), message=message, usage=usage
    )
