"""Requests that are cut off while they come in: nothing of them stays, and nobody else is harmed."""

from collections.abc import Callable

import pytest

from budeval.domain.evaluation import EvaluationRecord, Outcome
from budeval.domain.notification import WorkflowStatus
from budeval.errors import RequestError, SidecarError
from budeval.evals.lifecycle import Lifecycle
from budeval.evals.reconciler import Reconciler
from budeval.evals.schema import RetryRequest
from budeval.evals.store import EvaluationStore
from budeval.runtime.sealing import Sealer
from budeval.runtime.vault import Vault
from budeval.runtime.workflow_engine import WorkflowSnapshot
from tests.evals.intake_desk import ID, KEY, ROWS, WRITES, Desk

_UNTIL_THE_RECORD = WRITES.index("eval")
_CUTS = pytest.mark.parametrize("cut", range(len(WRITES)), ids=[f"{n}-{key}" for n, key in enumerate(WRITES)])
_MOMENTS = pytest.mark.parametrize("moment", range(len(WRITES)))


class FakeEngine:
    """Knows the workflows that it is told of, and remembers what was started."""

    def __init__(self) -> None:
        self.started: list[EvaluationRecord] = []

    def find(self, workflow_id: str) -> WorkflowSnapshot | None:
        """Whether it was started."""
        if workflow_id not in {record.evaluation.instance_id for record in self.started}:
            return None
        running = WorkflowStatus.RUNNING
        return WorkflowSnapshot(workflow_id=workflow_id, name="evaluate_model", status=running)

    def purge(self, workflow_id: str) -> None:
        """Nothing is purged here."""
        raise AssertionError(workflow_id)

    def close_broken(self, record: EvaluationRecord, reason: str) -> None:
        """Nothing breaks here."""
        raise AssertionError((record, reason))

    def end_evaluation(self, order: dict[str, object]) -> None:
        """Nothing ends here."""
        raise AssertionError(order)


def _look(desk: Desk, engine: FakeEngine | None = None) -> Callable[[], None]:
    """One of the reconciler's, as after a restart."""
    knows = engine or FakeEngine()
    store = EvaluationStore(desk.dapr.client())
    reconciler = Reconciler(store, knows, knows.started.append, knows, _unexpected, desk.arrivals())
    return reconciler.look


def _unexpected(record: EvaluationRecord) -> None:
    raise AssertionError(record)


def _cut_off(desk: Desk, writes: int) -> None:
    """A request comes in, and the service dies after so many writes."""
    desk.dapr.writes_left = writes
    with pytest.raises(SidecarError):
        desk.accept()
    desk.dapr.writes_left = None
    desk.dapr.written.clear()


def _is_whole(desk: Desk) -> bool:
    """The evaluation is there with all that it needs; nothing is kept beside it, and it is looked after."""
    store = EvaluationStore(desk.dapr.client())
    record = store.load(ID)
    digest = record.evaluation.runs[0].own
    assert digest
    assert digest.digest
    assert desk.opened() == {"api_key": KEY}
    assert store.rows(record.rows_kept_as, digest.digest) == ROWS
    kept = [len(desk.kept(kind)) for kind in ("sealed", "dataset")]
    return (kept, store.active(), desk.arrivals().all()) == ([1, 1], [ID], [])


@_CUTS
def test_the_same_request_completes_what_was_cut(desk: Desk, cut: int) -> None:
    """Until the record is there nothing has happened; then the same request does all of it, once."""
    _cut_off(desk, cut)
    assert (f"eval-{ID}" in desk.dapr.state) is (cut > _UNTIL_THE_RECORD)
    assert desk.started == []

    record = desk.accept()

    assert desk.started == [record]
    assert desk.listed() == [ID]
    desk.let_time_pass()
    _look(desk)()
    assert _is_whole(desk)


@_CUTS
def test_what_was_cut_is_removed_if_nobody_asks_again(desk: Desk, cut: int) -> None:
    """Secrets and rows, ten minutes later; what has its record by then is an evaluation, and goes on."""
    _cut_off(desk, cut)
    engine = FakeEngine()
    look = _look(desk, engine)
    before = (desk.kept("sealed"), desk.kept("dataset"))

    look()
    assert (desk.kept("sealed"), desk.kept("dataset")) == before
    desk.let_time_pass()
    look()

    if cut > _UNTIL_THE_RECORD:
        assert [record.evaluation.eval_id for record in engine.started] == [ID]
        assert _is_whole(desk)
    else:
        assert engine.started == []
        assert (desk.kept("sealed"), desk.kept("dataset"), desk.kept("eval")) == ([], [], [])
        assert (desk.arrivals().all(), EvaluationStore(desk.dapr.client()).active()) == ([], [])


@_MOMENTS
def test_a_request_that_is_just_coming_in_is_not_harmed(desk: Desk, moment: int) -> None:
    """Whenever the reconciler looks meanwhile, or several times."""
    desk.dapr.meanwhile = {moment: _look(desk)}

    record = desk.accept()

    assert desk.started == [record]
    assert _is_whole(desk)


@_CUTS
@_MOMENTS
def test_a_request_that_comes_again_is_not_harmed(desk: Desk, cut: int, moment: int) -> None:
    """The reconciler removes what the first time has left just while it comes in for the second time."""
    _cut_off(desk, cut)
    desk.let_time_pass()
    desk.dapr.meanwhile = {moment: _look(desk)}

    record = desk.accept()
    _look(desk)()

    assert desk.started == [record]
    assert _is_whole(desk)


@_CUTS
def test_a_removal_that_is_cut_off_is_completed_by_the_next(desk: Desk, cut: int) -> None:
    """The entry goes last: it says what there is."""
    _cut_off(desk, cut)
    desk.let_time_pass()
    for path in ("/v1.0/state/store/sealed-", "/v1.0/state/store/dataset-"):
        desk.dapr.refused = {path: 503}
        if cut <= _UNTIL_THE_RECORD and cut:
            with pytest.raises(SidecarError):
                _look(desk)()
            assert len(desk.arrivals().all()) == 1
    desk.dapr.refused = {}

    _look(desk)()

    assert desk.arrivals().all() == []
    assert len(desk.kept("sealed")) == (cut > _UNTIL_THE_RECORD)


def test_who_comes_second_takes_nothing_from_the_first(desk: Desk) -> None:
    """Twice the same request at the same moment: one record, its own secrets and rows, and nothing else."""
    rival: list[EvaluationRecord] = []
    desk.dapr.meanwhile = {_UNTIL_THE_RECORD: lambda: rival.append(desk.accept())}

    record = desk.accept()

    assert rival == [record]
    assert _is_whole(desk)


def test_rows_of_an_older_version_are_found(desk: Desk) -> None:
    """Of an evaluation that was taken in before there were arrivals; they are kept under its id alone."""
    record = desk.accept()
    store = EvaluationStore(desk.dapr.client())
    old = record.model_copy(update={"arrival": None})

    digest = store.save_rows(old.rows_kept_as, "old rows")

    assert f"dataset-{ID}-{digest}" in desk.dapr.state
    assert old.sealed_as == f"{ID}.{record.digest[:16]}"


# Retries


def _ended(desk: Desk) -> EvaluationStore:
    """An evaluation that has ended, without its secrets."""
    record, store = desk.accept(), EvaluationStore(desk.dapr.client())
    Vault(desk.dapr.client(), Sealer(desk.seal_key)).destroy(record.sealed_as)
    store.end(ID, Outcome.FAILED)
    store.deactivate(ID)
    desk.dapr.written.clear()
    desk.started.clear()
    return store


def _retry(desk: Desk, store: EvaluationStore) -> None:
    """With another key."""
    begins = Lifecycle(
        store, _Ended(), desk.dapr.client(), desk.intake(), desk.arrivals(), desk.started.append
    )
    begins.retry(ID, RetryRequest.model_validate({"api_key": "sk-again"}))


class _Ended:
    """An engine whose workflows are over."""

    def find(self, _workflow_id: str) -> None:
        """It was purged."""

    def raise_event(self, *_arguments: object) -> None:
        """Nobody waits."""


_RETRY_WRITES = ("arriving", "sealed", "active", "eval", "brief", "active", "arriving")


def test_a_retry_notes_its_secrets_first(desk: Desk) -> None:
    """And keeps them under a name of its own: nobody who ends the attempt before destroys them."""
    store = _ended(desk)
    before = store.load(ID).sealed_as

    _retry(desk, store)

    assert [key.split("-")[0] for key in desk.dapr.written] == list(_RETRY_WRITES)
    record = store.load(ID)
    assert desk.opened() == {"api_key": "sk-again"}
    assert record.sealed_as != before
    assert record.rows_kept_as == desk.started[0].rows_kept_as
    assert desk.arrivals().all() == []


@pytest.mark.parametrize("cut", range(len(_RETRY_WRITES)))
def test_a_retry_that_is_cut_off_leaves_no_secrets(desk: Desk, cut: int) -> None:
    """Unless the record tells of it: then it goes on with them."""
    store = _ended(desk)
    desk.dapr.writes_left = cut
    with pytest.raises(SidecarError):
        _retry(desk, store)
    desk.dapr.writes_left = None
    desk.let_time_pass()
    engine = FakeEngine()
    engine.end_evaluation = lambda order: store.deactivate(str(order["eval_id"]))  # type: ignore[method-assign]
    _look(desk, engine)()

    begun = cut > _RETRY_WRITES.index("eval")
    assert (len(desk.kept("sealed")), store.load(ID).evaluation.attempt) == ((1, 2) if begun else (0, 1))
    assert desk.arrivals().all() == []
    if begun:
        assert desk.opened() == {"api_key": "sk-again"}


def test_a_retry_that_comes_too_late_leaves_no_secrets(desk: Desk) -> None:
    """Somebody else has begun one just before."""
    store = _ended(desk)
    desk.dapr.meanwhile = {_RETRY_WRITES.index("eval"): lambda: _retry(desk, store)}

    with pytest.raises(RequestError, match="has not ended"):
        _retry(desk, store)

    assert len(desk.kept("sealed")) == 1
    assert desk.opened() == {"api_key": "sk-again"}
    assert desk.arrivals().all() == []
