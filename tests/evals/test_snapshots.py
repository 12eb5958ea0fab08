"""What of a look at the runs is kept."""

import base64
import json
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
_IN_BASE64 = base64.b64encode(_KEY.encode()).decode()
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

    def look(self, *, ago: int = 0, **facts: Any) -> Json:
        """A look that began a second after the one before; without facts no Job is there. The run in it.

        `ago`: it began so many looks earlier, and ends only now.
        """
        self.looks += 1
        made = {"run_id": "r-1", "name": "j", "uid": "u", "created": _NOON, **facts}
        found = {"r-1": JobFacts.model_validate(made)} if facts else {}
        begun = _NOON + timedelta(seconds=self.looks - ago)
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
    """Endpoints echo it, engines print it, and pods end with it in their last words; or with its base64."""
    said = f'{{"code": "ENDPOINT_ERROR", "message": "401 for {_KEY}"}}'
    container = {"exit_code": 3, "termination": said}
    run = desk.look(
        failed="BackoffLimitExceeded", pod={**_RUNNING, "container": container}, log=f"{_KEY}! {_IN_BASE64}"
    )

    assert run["message"] == "401 for ***"
    assert desk.store.log("e-1", "r-1") == f"***! ***{_IN_BASE64[-2:]}"


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


def test_no_log_is_kept_of_what_has_ended(desk: Desk) -> None:
    """Its key is destroyed: that is no trouble any more."""
    desk.look(complete=True, log="at its end")
    desk.store.end("e-1", Outcome.COMPLETED)
    desk.vault.destroy(desk.store.load("e-1").sealed_as)

    desk.look(complete=True, log=f"later {_KEY}")

    assert desk.store.log("e-1", "r-1") == "at its end"


def test_a_look_that_ends_late_changes_nothing(desk: Desk) -> None:
    """It is told what one that began after it has seen."""
    newest = desk.look(pod=_RUNNING)

    assert desk.look(ago=2) == newest
    assert desk.snapshots.newest("e-1")["tick"] == 1


def test_the_log_of_a_look_that_ends_late_is_not_kept(desk: Desk) -> None:
    """The end of a log would be lost: that of a settled run is not read again."""
    desk.look(complete=True, log="begun, and done")

    desk.look(ago=2, pod=_RUNNING, log="begun")

    assert desk.store.log("e-1", "r-1") == "begun, and done"


def test_a_key_is_taken_out_before_a_message_is_cut(desk: Desk) -> None:
    """What is left of it at the limit would not be found."""
    said = json.dumps({"code": "ENDPOINT_ERROR", "message": f"{'.' * 990}{_KEY}"})
    container = {"exit_code": 3, "termination": said}

    run = desk.look(failed="BackoffLimitExceeded", pod={**_RUNNING, "container": container})

    assert run["message"].strip(".") == "***"


def test_a_run_whose_job_is_lost_is_gone(desk: Desk) -> None:
    """Blocked or running: there was a Job, and there is none any more. Its samples stay."""
    blocked = {**_RUNNING, "phase": "Pending", "unschedulable": "no node"}
    assert desk.look(pod=blocked)["state"] == "blocked"
    assert desk.look()["state"] == "gone"

    desk.look(pod=_RUNNING, log=_LINE)
    gone = desk.look()
    assert (gone["state"], gone["progress"]["done"]) == ("gone", 3)


def test_a_refusal_changes_no_other_run(desk: Desk) -> None:
    """Those that were made stay as they were seen."""
    others = [{"run_id": "r-1", "state": "running"}, {"run_id": "r-2", "state": "gone"}]
    desk.store.save_snapshot("e-1", datetime(2026, 1, 1, tzinfo=UTC), lambda _before: others)

    desk.snapshots.keep_refusals("e-1", [refused("r-2", "SPEC_INVALID", "no")])

    runs = {item["run_id"]: item for item in desk.snapshots.newest("e-1")["runs"]}
    assert runs["r-1"] == others[0]
    assert (runs["r-2"]["state"], runs["r-2"]["code"]) == ("failed", "SPEC_INVALID")


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


@pytest.mark.parametrize("word", ["succeeded", "complete", "progress", "run_id_1"])
def test_a_key_that_is_one_of_our_words_tears_nothing(desk: Desk, word: str) -> None:
    """Its letters are taken out of what was said, not out of what is known."""
    desk.vault.put(desk.store.load("e-1").sealed_as, {"api_key": word})

    seen = desk.look(complete=True, pod=_RUNNING, log=f"{word} {_LINE}")

    assert seen["state"] == "succeeded"
    assert (seen["progress"], desk.store.log("e-1", "r-1")) == (None, f"*** {_LINE}")
