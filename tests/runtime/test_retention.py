"""What ended long ago is forgotten."""

from datetime import UTC, datetime, timedelta

import pytest

from budeval.domain.evaluation import EvaluationRecord
from budeval.errors import RequestError, SidecarError
from budeval.evals.store import EvaluationStore
from budeval.runtime.retention import Retention
from tests.evals import samples
from tests.runtime.fake_dapr import FakeDapr

_KEEP = timedelta(days=30)
_NOW = datetime.now(UTC)


def _ago(days: float) -> str:
    return (_NOW - timedelta(days=days)).isoformat(timespec="seconds")


def _create(store: EvaluationStore, eval_id: str, created: str, ended: str | None) -> None:
    store.add_to_index(eval_id, created[:10])
    evaluation = samples.evaluation(eval_id)
    store.create(EvaluationRecord(evaluation=evaluation, digest="d", created=created, ended=ended))


@pytest.fixture
def store() -> EvaluationStore:
    """Five evaluations: three of one day long ago, of which one runs, one of another, one of today."""
    store = EvaluationStore(FakeDapr().client())
    _create(store, "long-ago", _ago(50), _ago(49))
    _create(store, "runs", _ago(50), None)
    _create(store, "ended-late", _ago(50), _ago(29))
    _create(store, "alone", _ago(40), _ago(40))
    _create(store, "today", _ago(0), _ago(0))
    return store


def test_what_ended_long_ago_is_forgotten(store: EvaluationStore) -> None:
    """Counted from its end. A day is taken from the list when all of it is."""
    Retention(store, store.bury, _KEEP).sweep()

    left, _ = store.newest(None, 10)
    assert [brief.eval_id for brief in store.briefs(left)] == ["today", "ended-late", "runs"]
    assert store.days() == [_ago(50)[:10], _ago(0)[:10]]
    for eval_id in ("long-ago", "alone"):
        with pytest.raises(RequestError, match="was deleted"):
            store.load(eval_id)


def test_a_sweep_that_was_cut_off_goes_on(store: EvaluationStore) -> None:
    """And one that has nothing to do changes nothing."""
    forgotten = []

    def at_first_away(record: EvaluationRecord) -> None:
        forgotten.append(record.evaluation.eval_id)
        if len(forgotten) == 2:
            raise SidecarError("away")
        store.bury(record)

    retention = Retention(store, at_first_away, _KEEP)
    with pytest.raises(SidecarError):
        retention.sweep()
    retention.sweep()
    retention.sweep()

    assert forgotten == ["long-ago", "alone", "alone"]


def test_requests_that_never_happened_hold_no_day(store: EvaluationStore) -> None:
    """They are on the list without a record."""
    store.add_to_index("cut-off", _ago(45)[:10])

    Retention(store, store.bury, _KEEP).sweep()

    assert _ago(45)[:10] not in store.days()


def test_one_that_cannot_be_forgotten_stops_nobody() -> None:
    """It stays on the list, and the next sweep tries again: the oldest would be met first each time."""
    dapr = FakeDapr()
    store = EvaluationStore(dapr.client())
    for eval_id in ("poisoned", "old"):
        _create(store, eval_id, _ago(50), _ago(49))
    dapr.state["eval-poisoned"]["evaluation"]["runs"][0]["limit"] = 1e22

    Retention(store, store.bury, _KEEP).sweep()

    assert store.days() == [_ago(50)[:10]]
    with pytest.raises(RequestError, match="was deleted"):
        store.load("old")


def test_what_was_begun_anew_stays_listed(store: EvaluationStore) -> None:
    """It was retried between the look at it and its end; a later sweep comes to it."""

    def refuse(record: EvaluationRecord) -> None:
        raise RequestError(record.evaluation.eval_id, status=409, code="EVALUATION_RUNNING")

    days = store.days()
    Retention(store, refuse, _KEEP).sweep()

    assert store.days() == days
