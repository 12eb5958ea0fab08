"""What a crash has cut is finished later."""

import pytest

from budeval.domain.evaluation import EvaluationRecord
from budeval.errors import SidecarError
from budeval.evals.reconciler import Reconciler
from budeval.evals.store import EvaluationStore
from tests.evals import samples
from tests.runtime.fake_dapr import FakeDapr

_DAY = "2026-01-01"


class FakeStart:
    """Remembers what was started."""

    def __init__(self) -> None:
        self.started: list[str] = []
        self.away = False

    def __call__(self, record: EvaluationRecord) -> None:
        """Start it."""
        if self.away:
            raise SidecarError("the engine is away")
        self.started.append(record.evaluation.eval_id)


def _create(store: EvaluationStore, eval_id: str, ended: str | None = None) -> None:
    evaluation = samples.evaluation(eval_id)
    store.add_to_index(eval_id, _DAY)
    store.create(EvaluationRecord(evaluation=evaluation, digest="d", created=_DAY, ended=ended))


def test_only_what_has_a_record_and_has_not_ended_is_started() -> None:
    """What is on the list without a record never happened."""
    store, start = EvaluationStore(FakeDapr().client()), FakeStart()
    _create(store, "ended", ended=_DAY)
    _create(store, "running")
    store.add_to_index("cut", _DAY)
    _create(store, "accepted")

    Reconciler(store, start).look()

    assert sorted(start.started) == ["accepted", "running"]


def test_an_empty_list_is_nothing_to_do() -> None:
    """As in a new installation."""
    start = FakeStart()

    Reconciler(EvaluationStore(FakeDapr().client()), start).look()

    assert start.started == []


@pytest.mark.parametrize("lost", ["store", "engine"])
def test_who_does_not_answer_is_told(lost: str) -> None:
    """The thread looks again a minute later."""
    dapr, start = FakeDapr(), FakeStart()
    store = EvaluationStore(dapr.client())
    _create(store, "running")
    dapr.unreachable, start.away = lost == "store", lost == "engine"

    with pytest.raises(SidecarError):
        Reconciler(store, start).look()


def test_it_looks_as_soon_as_it_is_started(monkeypatch: pytest.MonkeyPatch) -> None:
    """And no more once it is stopped; a look that fails does not end it."""
    monkeypatch.setattr("budeval.evals.reconciler._EVERY_SECONDS", 0.01)
    store, start = EvaluationStore(FakeDapr().client()), FakeStart()
    _create(store, "running")
    looks = []

    def at_first_away(record: EvaluationRecord) -> None:
        looks.append(record)
        if len(looks) == 1:
            raise SidecarError("away")
        if len(looks) == 2:
            raise ValueError("a bug")
        start(record)
        reconciler.stop()

    reconciler = Reconciler(store, at_first_away)
    reconciler.start()
    reconciler._thread.join(10)

    assert not reconciler._thread.is_alive()
    assert start.started == ["running"]
