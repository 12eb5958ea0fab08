"""What a crash has cut is finished later."""

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from budeval.domain.evaluation import EvaluationRecord, Outcome
from budeval.domain.notification import WorkflowStatus
from budeval.errors import RequestError, SidecarError
from budeval.evals.arrivals import Arrivals
from budeval.evals.reconciler import Reconciler
from budeval.evals.store import EvaluationStore
from budeval.runtime.logs import SubjectFormatter
from budeval.runtime.sealing import Sealer, new_key
from budeval.runtime.vault import Vault
from budeval.runtime.workflow_engine import WorkflowSnapshot
from tests.evals import samples
from tests.runtime.fake_dapr import FakeDapr

_DAY = "2026-01-01"


class FakeEngine:
    """Remembers what was started and closed; knows the workflows that it is told of."""

    def __init__(self) -> None:
        self.started: list[str] = []
        self.closed: list[tuple[str, str]] = []
        self.ended: list[tuple[str, Any]] = []
        self.expired: list[str] = []
        self.purged: list[str] = []
        self.workflows: dict[str, WorkflowSnapshot] = {}
        self.away = False

    def has(self, eval_id: str, status: str, failure: str | None = None) -> None:
        """There is a workflow."""
        self.workflows[f"eval-{eval_id}"] = WorkflowSnapshot(
            workflow_id=f"eval-{eval_id}",
            name="evaluate_model",
            status=WorkflowStatus(status),
            failure=failure,
        )

    def find(self, workflow_id: str) -> WorkflowSnapshot | None:
        """One of them."""
        return self.workflows.get(workflow_id)

    def purge(self, workflow_id: str) -> None:
        """Forget one of them."""
        self.purged.append(workflow_id)

    def close_broken(self, record: EvaluationRecord, reason: str) -> None:
        """End it."""
        self.closed.append((record.evaluation.eval_id, reason))

    def end_evaluation(self, order: dict[str, Any]) -> None:
        """End it as it ended."""
        self.ended.append((order["eval_id"], order["outcome"]))

    def expire(self, record: EvaluationRecord) -> None:
        """Its time is up."""
        self.expired.append(record.evaluation.eval_id)

    def __call__(self, record: EvaluationRecord) -> None:
        """Start it."""
        if self.away:
            raise SidecarError("the engine is away")
        self.started.append(record.evaluation.eval_id)


def _create(store: EvaluationStore, eval_id: str, ended: str | None = None) -> None:
    evaluation = samples.evaluation(eval_id)
    store.add_to_index(eval_id, _DAY)
    store.activate(eval_id)
    store.create(EvaluationRecord(evaluation=evaluation, digest="d", created=_DAY, ended=ended))


def _reconciler(store: EvaluationStore, engine: FakeEngine) -> Reconciler:
    vault = Vault(store._sidecar, Sealer(new_key()))
    arrivals = Arrivals(store._sidecar, store, vault)
    return Reconciler(store, engine, engine, engine, engine.expire, arrivals)


@pytest.mark.parametrize(
    ("status", "failure", "reason"),
    [
        ("FAILED", "INTERNAL: KeyError in report_results", "INTERNAL: KeyError in report_results"),
        ("TERMINATED", None, "INTERNAL: its workflow is TERMINATED"),
    ],
)
def test_what_its_workflow_has_left_is_closed(status: str, failure: str | None, reason: str) -> None:
    """It broke, or somebody terminated it: nobody else would end the evaluation."""
    store, engine = EvaluationStore(FakeDapr().client()), FakeEngine()
    _create(store, "broken")
    engine.has("broken", status, failure)

    _reconciler(store, engine).look()

    assert engine.closed == [("broken", reason)]
    assert engine.started == []


@pytest.mark.parametrize("status", ["RUNNING", "PENDING", "SUSPENDED"])
def test_what_is_under_way_is_left_alone(status: str) -> None:
    """Its workflow goes on."""
    store, engine = EvaluationStore(FakeDapr().client()), FakeEngine()
    _create(store, "running")
    engine.has("running", status)

    _reconciler(store, engine).look()

    assert (engine.started, engine.closed) == ([], [])


def test_what_ends_during_the_look_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """The record was read before its workflow's end, which writes it first."""
    store, engine = EvaluationStore(FakeDapr().client()), FakeEngine()
    _create(store, "ending")
    engine.has("ending", "COMPLETED")
    find = engine.find

    def ends(workflow_id: str) -> WorkflowSnapshot | None:
        store.end("ending", Outcome.COMPLETED)
        return find(workflow_id)

    monkeypatch.setattr(engine, "find", ends)

    _reconciler(store, engine).look()

    assert engine.closed == []


def test_only_what_has_a_record_and_has_not_ended_is_started() -> None:
    """What is on the list without a record never happened."""
    store, start = EvaluationStore(FakeDapr().client()), FakeEngine()
    _create(store, "ended", ended=_DAY)
    _create(store, "running")
    store.activate("cut")
    _create(store, "accepted")

    _reconciler(store, start).look()

    assert sorted(start.started) == ["accepted", "running"]


def test_a_retry_that_was_cut_off_before_its_line_is_started(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its line says that it has ended, as the attempt before has."""
    dapr, engine = FakeDapr(), FakeEngine()
    store = EvaluationStore(dapr.client())
    _create(store, "e-1")
    _end(store, "e-1")
    with monkeypatch.context() as patch, suppress(SidecarError):
        patch.setattr(store, "save_brief", _away)
        store.retry("e-1", 1, ["r-1"], 3, "again")

    _reconciler(store, engine).look()

    assert (engine.started, engine.ended) == (["e-1"], [])
    (line,) = store.briefs(["e-1"])
    assert (line.attempt, line.ended) == (2, None)


def _away(*_: Any) -> None:
    raise SidecarError("away")


class SlowEngine(FakeEngine):
    """Something happens while it is asked about a workflow."""

    def __init__(self, happens: Callable[[], object]) -> None:
        super().__init__()
        self._happens = happens

    def find(self, workflow_id: str) -> WorkflowSnapshot | None:
        """As it was when it was asked."""
        found = super().find(workflow_id)
        self._happens()
        return found


def _end(store: EvaluationStore, eval_id: str) -> None:
    store.end(eval_id, Outcome.FAILED)


def _retried(store: EvaluationStore) -> None:
    _end(store, "e-1")
    with suppress(RequestError):
        store.retry("e-1", 1, ["r-1"], 3, "again")


def _deleted(store: EvaluationStore) -> None:
    record = store.find("e-1")
    assert record
    _end(store, "e-1")
    store.bury(record)


@pytest.mark.parametrize("happens", [_retried, _deleted])
@pytest.mark.parametrize("status", ["COMPLETED", None])
def test_what_has_happened_during_a_look_counts(
    happens: Callable[[EvaluationStore], None], status: str | None
) -> None:
    """The last workflow, or that there was none, says nothing of the next attempt, or of a tombstone."""
    store = EvaluationStore(FakeDapr().client())
    _create(store, "e-1")
    done: list[str] = []

    def once() -> None:
        if not done:
            done.append(happens.__name__)
            happens(store)

    engine = SlowEngine(once)
    if status:
        engine.has("e-1", status)
    _reconciler(store, engine).look()

    assert done
    assert (engine.started, engine.closed, engine.expired, engine.purged) == ([], [], [], [])


def test_each_record_is_read_when_its_turn_comes() -> None:
    """Those before it may take minutes, in which it ends, is retried or deleted."""
    store, engine = EvaluationStore(FakeDapr().client()), FakeEngine()
    for eval_id in ("e-1", "e-2"):
        _create(store, eval_id)
        engine.has(eval_id, "COMPLETED")
    closed: list[str] = []

    def close(record: EvaluationRecord, _reason: str) -> None:
        closed.append(record.evaluation.eval_id)
        for eval_id in ("e-1", "e-2"):
            _end(store, eval_id)

    engine.close_broken = close  # type: ignore[method-assign, assignment]
    _reconciler(store, engine).look()

    assert len(closed) == 1


def test_without_lines_the_records_tell() -> None:
    """The service died between the two."""
    dapr, start = FakeDapr(), FakeEngine()
    store = EvaluationStore(dapr.client())
    _create(store, "ended", ended=_DAY)
    _create(store, "running")
    for eval_id in ("ended", "running"):
        del dapr.state[f"brief-{eval_id}"]

    _reconciler(store, start).look()

    assert start.started == ["running"]


def test_one_that_cannot_be_settled_stops_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would be met first with each look, and those behind it never."""
    store, engine = EvaluationStore(FakeDapr().client()), FakeEngine()
    for eval_id in ("cut", "broken"):  # the newest is looked at first
        _create(store, eval_id)
    engine.has("broken", "FAILED")

    def fails(_record: EvaluationRecord, _reason: str) -> None:
        raise ValueError("a bug")

    monkeypatch.setattr(engine, "close_broken", fails)

    with suppress(ValueError):
        _reconciler(store, engine).look()

    assert engine.started == ["cut"]


def test_an_empty_list_is_nothing_to_do() -> None:
    """As in a new installation."""
    start = FakeEngine()

    _reconciler(EvaluationStore(FakeDapr().client()), start).look()

    assert start.started == []


@pytest.mark.parametrize("lost", ["store", "engine"])
def test_who_does_not_answer_is_told(lost: str) -> None:
    """The thread looks again a minute later."""
    dapr, start = FakeDapr(), FakeEngine()
    store = EvaluationStore(dapr.client())
    _create(store, "running")
    dapr.unreachable, start.away = lost == "store", lost == "engine"

    with pytest.raises(SidecarError):
        _reconciler(store, start).look()


@pytest.mark.parametrize(
    ("begun", "limit", "cancelled", "expired"),
    [
        ("2026-01-01T00:00:00+00:00", 60, False, ["late"]),
        ("2026-01-01T00:00:00+00:00", 60, True, []),
        ("2026-01-01T00:00:00+00:00", None, False, []),
        ("2999-01-01T00:00:00+00:00", 60, False, []),
        (None, 60, False, ["late"]),
    ],
)
def test_whose_time_is_up_is_ended(
    begun: str | None, limit: int | None, expired: list[str], *, cancelled: bool
) -> None:
    """Counted from the attempt's begin; once is enough."""
    store, engine = EvaluationStore(FakeDapr().client()), FakeEngine()
    evaluation = samples.evaluation("late", timeouts={"evaluation": limit})
    created = "2026-01-01T00:00:00+00:00"
    store.activate("late")
    store.create(EvaluationRecord(evaluation=evaluation, digest="d", created=created, begun=begun))
    engine.has("late", "RUNNING")
    if cancelled:
        store.cancel("late", extract=False)

    _reconciler(store, engine).look()

    assert engine.expired == expired


def test_an_end_that_was_cut_off_is_finished() -> None:
    """The record has ended, but its secrets may be there."""
    store, engine = EvaluationStore(FakeDapr().client()), FakeEngine()
    _create(store, "ended")
    store.end("ended", Outcome.PARTIAL)

    _reconciler(store, engine).look()

    assert engine.ended == [("ended", Outcome.PARTIAL)]
    assert (engine.started, engine.closed) == ([], [])


def test_it_looks_at_old_evaluations_that_have_not_ended() -> None:
    """However many came after them; an evaluation may run for days."""
    store, engine = EvaluationStore(FakeDapr().client()), FakeEngine()
    _create(store, "old")
    for number in range(60):
        _create(store, f"new-{number}")
        store.end(f"new-{number}", Outcome.COMPLETED)
        store.deactivate(f"new-{number}")

    _reconciler(store, engine).look()

    assert (engine.started, store.active()) == (["old"], ["old"])


def test_a_request_without_a_record_is_forgotten_after_two_looks() -> None:
    """At the first it may just have been coming in."""
    store, engine = EvaluationStore(FakeDapr().client()), FakeEngine()
    store.activate("cut")
    reconciler = _reconciler(store, engine)

    reconciler.look()
    assert store.active() == ["cut"]
    reconciler.look()

    assert store.active() == []


def test_what_comes_in_during_the_second_look_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its record was written after the look had read the records: it would never be looked at again."""
    store, engine = EvaluationStore(FakeDapr().client()), FakeEngine()
    store.activate("late")
    reconciler = _reconciler(store, engine)
    reconciler.look()
    read = store.load_all

    def load_before_it_comes_in(eval_ids: list[str]) -> list[EvaluationRecord]:
        records = read(eval_ids)
        if not records:
            _create(store, "late")
        return records

    monkeypatch.setattr(store, "load_all", load_before_it_comes_in)
    reconciler.look()

    assert store.active() == ["late"]


def test_a_record_that_cannot_be_read_stops_nobody() -> None:
    """It is neither settled nor forgotten, with its line or without: nobody knows what it is."""
    dapr, engine = FakeDapr(), FakeEngine()
    store = EvaluationStore(dapr.client())
    for eval_id in ("cut", "poisoned", "without-a-line"):
        _create(store, eval_id)
    for eval_id in ("poisoned", "without-a-line"):
        dapr.state[f"eval-{eval_id}"]["evaluation"]["runs"][0]["limit"] = 1e22
    del dapr.state["brief-without-a-line"]
    reconciler = _reconciler(store, engine)

    for _ in range(3):
        reconciler.look()

    assert set(engine.started) == {"cut"}
    assert sorted(store.active()) == ["cut", "poisoned", "without-a-line"]


def _nine_times_held_still(store: EvaluationStore, eval_id: str) -> tuple[FakeEngine, Reconciler]:
    """Those who look after an evaluation whose workflow is held still: the tenth look gives it up."""
    engine = FakeEngine()
    _create(store, eval_id)
    engine.has(eval_id, "UNKNOWN")
    reconciler = _reconciler(store, engine)
    for _ in range(9):
        reconciler.look()
    return engine, reconciler


def test_a_workflow_that_is_held_still_is_given_up_in_time(caplog: pytest.LogCaptureFixture) -> None:
    """Dapr says so where a history is too large; until then the sidecar may come back with a larger limit."""
    engine, reconciler = _nine_times_held_still(EvaluationStore(FakeDapr().client()), "stalled")
    assert (engine.closed, engine.purged) == ([], [])
    assert "WORKFLOW_STALLED" in caplog.text
    reconciler.look()

    ((closed, reason),) = engine.closed
    assert (closed, engine.purged) == ("stalled", ["eval-stalled"])
    assert reason.startswith("WORKFLOW_STALLED: ")
    assert engine.started == []


def test_a_workflow_that_goes_on_again_is_left_alone() -> None:
    """The looks that found it held still count no more."""
    store, engine = EvaluationStore(FakeDapr().client()), FakeEngine()
    _create(store, "resumed")
    reconciler = _reconciler(store, engine)

    for status in [*["UNKNOWN"] * 9, "RUNNING", *["UNKNOWN"] * 9]:
        engine.has("resumed", status)
        reconciler.look()

    assert (engine.closed, engine.purged) == ([], [])


def test_a_stalled_workflow_whose_evaluation_ends_meanwhile_is_left_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The record was read before its end."""
    store = EvaluationStore(FakeDapr().client())
    engine, reconciler = _nine_times_held_still(store, "ending")
    find = engine.find

    def ends(workflow_id: str) -> WorkflowSnapshot | None:
        store.end("ending", Outcome.COMPLETED)
        return find(workflow_id)

    monkeypatch.setattr(engine, "find", ends)
    reconciler.look()

    assert (engine.closed, engine.purged) == ([], [])


def test_what_cannot_be_settled_is_named(caplog: pytest.LogCaptureFixture) -> None:
    """Or nobody finds the record that cannot be read."""
    caplog.handler.setFormatter(SubjectFormatter("%(message)s"))
    dapr = FakeDapr()
    store = EvaluationStore(dapr.client())
    _create(store, "e-1")
    dapr.state["eval-e-1"]["evaluation"]["runs"] = "none"

    _reconciler(store, FakeEngine()).look()

    assert "it could not be settled eval_id=e-1" in caplog.text.splitlines()


def test_a_line_that_a_deletion_has_left_is_looked_at_once() -> None:
    """It would hold a place in the queue for ever."""
    store = EvaluationStore(FakeDapr().client())
    _create(store, "e-1")
    record = store.load("e-1")
    store.bury(record)
    store.save_brief(record)

    _reconciler(store, FakeEngine()).look()

    assert store.active() == []
