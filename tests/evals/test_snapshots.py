"""What of a look at the runs is kept."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from budeval.domain.evaluation import EvaluationRecord, Outcome
from budeval.domain.observation import JobFacts, refused
from budeval.errors import SealError
from budeval.evals.snapshots import Snapshots
from budeval.evals.store import EvaluationStore
from budeval.runtime.sealing import Sealer, new_key
from budeval.runtime.vault import Vault
from tests.evals import samples
from tests.runtime.fake_dapr import FakeDapr

_KEY = "sk-very-secret"
_NOON = datetime.now(UTC) + timedelta(hours=1)  # after what is refused now
_RUNNING = {"phase": "Running", "name": "p"}
_LINE = 'BUDEVAL1-PROGRESS {"done": 3, "total": 4, "phase": "infer"}\n'

Json = dict[str, Any]


class Desk:
    """One evaluation of one run, and looks at it."""

    def __init__(self) -> None:
        sidecar = FakeDapr().client()
        self.store = EvaluationStore(sidecar)
        self.vault = Vault(sidecar, Sealer(new_key()))
        self.snapshots = Snapshots(self.store, self.vault)
        evaluation = samples.evaluation("e-1", runs=[{"run_id": "r-1", "dataset_id": "d"}])
        record = EvaluationRecord(evaluation=evaluation, digest="d" * 64, created="2026-01-01T00:00:00+00:00")
        self.store.create(record)
        self.vault.put(record.sealed_as, {"api_key": _KEY})
        self.looks = 0

    def look(self, **facts: Any) -> Json:
        """A look that began a second after the one before; without facts no Job is there. The run in it."""
        self.looks += 1
        made = {"run_id": "r-1", "name": "j", "uid": "u", "created": _NOON, **facts}
        found = {"r-1": JobFacts.model_validate(made)} if facts else {}
        begun = _NOON + timedelta(seconds=self.looks)
        snapshot = self.snapshots.keep(self.store.load("e-1"), found, begun)
        return dict(snapshot["runs"][0]) if snapshot["runs"] else {}


@pytest.fixture
def desk() -> Desk:
    """Nobody has looked yet."""
    return Desk()


def test_nothing_was_seen_at_first(desk: Desk) -> None:
    """Of one that is not there neither."""
    assert desk.snapshots.newest("e-1") == desk.snapshots.newest("e-2") == {"tick": 0, "runs": []}
    assert desk.snapshots.settled("e-1") == []


def test_how_a_run_ended_stays(desk: Desk) -> None:
    """A look after clean-up finds no Job; a success stays one, with its samples."""
    desk.look(pod=_RUNNING, log=_LINE)
    ended = desk.look(complete=True, pod={**_RUNNING, "phase": "Succeeded"}, log=_LINE)

    assert (ended["state"], ended["progress"]["done"]) == ("succeeded", 3)
    assert desk.look() == ended
    assert desk.snapshots.settled("e-1") == [["e-1", "r-1"]]


def test_samples_stay_when_a_log_does_not_tell_them(desk: Desk) -> None:
    """It was rotated, or could not be read."""
    desk.look(pod=_RUNNING, log=_LINE)

    assert desk.look(pod=_RUNNING, log="more and more")["progress"]["done"] == 3
    assert desk.look(complete=True)["progress"]["done"] == 3


def test_the_key_is_in_nothing_that_is_kept(desk: Desk) -> None:
    """Endpoints echo it, engines print it, and pods end with it in their last words."""
    said = f'{{"code": "ENDPOINT_ERROR", "message": "401 for {_KEY}"}}'
    container = {"exit_code": 3, "termination": said}
    run = desk.look(failed="BackoffLimitExceeded", pod={**_RUNNING, "container": container}, log=f"{_KEY}!")

    assert run["message"] == "401 for ***"
    assert desk.store.log("e-1", "r-1") == "***!"


def test_without_the_key_nothing_is_kept(desk: Desk) -> None:
    """For nobody could take it out of the log."""
    desk.vault.destroy(desk.store.load("e-1").sealed_as)

    with pytest.raises(SealError):
        desk.look(pod=_RUNNING, log=_KEY)

    assert desk.store.log("e-1", "r-1") is None
    assert desk.snapshots.newest("e-1")["tick"] == 0


def test_an_evaluation_that_has_ended_is_left_as_it_is(desk: Desk) -> None:
    """A watcher's last look may come after it."""
    ended = desk.look(complete=True)
    desk.store.end("e-1", Outcome.COMPLETED)

    assert desk.look() == ended
    assert desk.snapshots.newest("e-1")["tick"] == 1


def test_a_run_without_a_job_waits_for_one(desk: Desk) -> None:
    """A quota refused it: it is blocked and not gone, until it has one."""
    desk.snapshots.keep_refusals("e-1", [refused("r-1", "QUOTA_EXCEEDED", "full")])

    assert desk.snapshots.newest("e-1")["runs"][0]["state"] == "blocked"
    assert desk.look()["code"] == "QUOTA_EXCEEDED"
    assert desk.look(pod=_RUNNING)["state"] == "running"


def test_a_run_that_was_refused_has_failed(desk: Desk) -> None:
    """Whatever is seen later; without refusals nothing is noted."""
    desk.snapshots.keep_refusals("e-1", [])
    assert desk.snapshots.newest("e-1")["tick"] == 0

    desk.snapshots.keep_refusals("e-1", [refused("r-1", "SPEC_INVALID", "no")])

    assert (desk.look()["state"], desk.look()["code"]) == ("failed", "SPEC_INVALID")
