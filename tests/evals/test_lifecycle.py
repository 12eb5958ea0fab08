"""What callers do to evaluations that are there."""

import pytest

from budeval.domain.evaluation import EvaluationRecord, Outcome
from budeval.errors import RequestError, SidecarError
from budeval.evals.lifecycle import Lifecycle
from budeval.evals.store import EvaluationStore
from tests.evals import samples
from tests.runtime.fake_dapr import FakeDapr


class FakeEngine:
    """Remembers what was raised."""

    def __init__(self) -> None:
        self.raised: list[tuple[str, str, object]] = []
        self.away = False

    def raise_event(self, workflow_id: str, event: str, data: object) -> None:
        """To an instance."""
        self.raised.append((workflow_id, event, data))
        if self.away:
            raise SidecarError("no such instance")


@pytest.fixture
def engine() -> FakeEngine:
    """That answers."""
    return FakeEngine()


@pytest.fixture
def store() -> EvaluationStore:
    """With one evaluation."""
    made = EvaluationStore(FakeDapr().client())
    made.create(EvaluationRecord(evaluation=samples.evaluation("e-1"), digest="d", created="2026-01-01"))
    return made


@pytest.mark.parametrize("away", [False, True])
def test_a_cancellation_is_kept_and_the_workflow_woken(
    store: EvaluationStore, engine: FakeEngine, *, away: bool
) -> None:
    """That it could not be woken loses nothing: it finds the order by itself."""
    engine.away = away

    Lifecycle(store, engine).cancel("e-1", extract=True)

    assert engine.raised == [("eval-e-1", "runs_changed", {"cancel": True})]
    cancellation = store.load("e-1").cancellation
    assert cancellation
    assert cancellation.extract


def test_what_was_cancelled_stays_so(store: EvaluationStore, engine: FakeEngine) -> None:
    """The same again is no error, and wakes nobody."""
    store.end("e-1", Outcome.CANCELLED)

    Lifecycle(store, engine).cancel("e-1", extract=False)

    assert engine.raised == []


def test_what_has_ended_otherwise_cannot_be_cancelled(store: EvaluationStore, engine: FakeEngine) -> None:
    """It says how it ended."""
    store.end("e-1", Outcome.PARTIAL)

    with pytest.raises(RequestError, match="has ended: PARTIAL") as refused:
        Lifecycle(store, engine).cancel("e-1", extract=False)

    assert (refused.value.code, refused.value.status) == ("EVALUATION_ENDED", 409)


def test_what_is_not_there_cannot_be_cancelled(store: EvaluationStore, engine: FakeEngine) -> None:
    """404, and no record comes of it."""
    with pytest.raises(RequestError) as refused:
        Lifecycle(store, engine).cancel("other", extract=False)

    assert (refused.value.code, refused.value.status) == ("EVALUATION_UNKNOWN", 404)
    assert store.find("other") is None
