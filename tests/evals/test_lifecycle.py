"""What callers do to evaluations that are there."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from budeval.config import Settings
from budeval.domain.cluster import FROM_REQUEST
from budeval.domain.evaluation import EvaluationRecord, Outcome
from budeval.domain.notification import (
    Announcement,
    NotificationContent,
    NotificationPayload,
    NotificationRequest,
    WorkflowStatus,
)
from budeval.errors import RequestError, SidecarError
from budeval.evals.arrivals import Arrivals
from budeval.evals.clusters import Clusters
from budeval.evals.intake import Intake
from budeval.evals.lifecycle import Lifecycle
from budeval.evals.schema import RetryRequest
from budeval.evals.store import EvaluationStore
from budeval.runtime.listing import Listing
from budeval.runtime.sealing import Sealer
from budeval.runtime.vault import Vault
from budeval.runtime.workflow_engine import WorkflowSnapshot
from tests.evals import samples
from tests.runtime.fake_dapr import FakeDapr

_KEY = RetryRequest.model_validate({"api_key": "sk-new-secret"})


@dataclass
class Desk:
    """A lifecycle with all that is behind it, and one evaluation of two runs. It is its own fake engine."""

    seal_key: str
    cluster: str = "first"
    dapr: FakeDapr = field(default_factory=FakeDapr)
    started: list[EvaluationRecord] = field(default_factory=list)
    raised: list[tuple[str, str, object]] = field(default_factory=list)
    away: bool = False
    workflow: WorkflowStatus | None = WorkflowStatus.COMPLETED

    def __post_init__(self) -> None:
        sidecar = self.dapr.client()
        self.sidecar = sidecar
        self.store = EvaluationStore(sidecar)
        self.vault = Vault(sidecar, Sealer(self.seal_key))
        clusters = Clusters(None, lambda _eval_id: None, Path("/nowhere"))
        referred = {"key": "sk-referred"}
        start = self.started.append
        self.arrivals = Arrivals(sidecar, self.store, self.vault)
        intake = Intake(Settings(), self.store, self.arrivals, clusters, {}, lambda _name: referred, start)
        self.lifecycle = Lifecycle(self.store, self, sidecar, intake, self.arrivals, start)
        runs = [{"run_id": run_id, "dataset_id": run_id} for run_id in ("r-1", "r-2")]
        target = {"cluster": self.cluster, "namespace": "team-a", "eval_id": "e-1"}
        evaluation = samples.evaluation("e-1", runs=runs, target=target)
        self.store.create(EvaluationRecord(evaluation=evaluation, digest="d" * 20, created="2026-01-01"))

    def find(self, workflow_id: str) -> WorkflowSnapshot | None:
        """The workflow of the newest attempt."""
        if self.workflow is None:
            return None
        return WorkflowSnapshot(workflow_id=workflow_id, name="evaluate_model", status=self.workflow)

    def raise_event(self, workflow_id: str, event: str, data: Any) -> None:
        """To an instance."""
        self.raised.append((workflow_id, event, data))
        if self.away:
            raise SidecarError("no such instance")

    def ended(self, *outcomes: str, whole: Outcome = Outcome.PARTIAL) -> None:
        """With results, and two events."""
        results = [{"run_id": f"r-{n}", "outcome": outcome} for n, outcome in enumerate(outcomes, 1)]
        self.store.save_results("e-1", results)
        self.store.update_workflow_data_in_statestore("eval-e-1", {"extraction_results": results})
        for number in (1, 2):
            content = NotificationContent(title="t", message="m", status=WorkflowStatus.RUNNING)
            payload = NotificationPayload(type="t", event="e", workflow_id="w", content=content)
            told = NotificationRequest(payload=payload)
            self.sidecar.announce([], Announcement(subject="eval-e-1", number=number, notification=told))
        self.store.end("e-1", whole)

    def refused(self, request: RetryRequest = _KEY) -> RequestError:
        """Of a retry."""
        with pytest.raises(RequestError) as refused:
            self.lifecycle.retry("e-1", request)
        assert self.started == []
        return refused.value


@pytest.fixture
def desk(seal_keys: str) -> Desk:
    """With an evaluation that runs."""
    return Desk(seal_keys)


def test_whose_time_is_up_is_cancelled_with_its_scores(desk: Desk) -> None:
    """And the reason; a retry has its time anew."""
    desk.lifecycle.expire(desk.store.load("e-1"))

    assert desk.raised == [("eval-e-1", "runs_changed", {"cancel": True})]
    cancellation = desk.store.load("e-1").cancellation
    assert cancellation
    assert (cancellation.extract, "timeouts.evaluation" in cancellation.why) == (True, True)
    desk.ended("COMPLETED", "CANCELLED", whole=Outcome.CANCELLED)
    desk.lifecycle.retry("e-1", _KEY)
    assert desk.store.load("e-1").begun
    assert desk.store.load("e-1").cancellation is None


@pytest.mark.parametrize("away", [False, True])
def test_a_cancellation_is_kept_and_the_workflow_woken(desk: Desk, *, away: bool) -> None:
    """That it could not be woken loses nothing: it finds the order by itself."""
    desk.away = away

    desk.lifecycle.cancel("e-1", extract=True)

    assert desk.raised == [("eval-e-1", "runs_changed", {"cancel": True})]
    cancellation = desk.store.load("e-1").cancellation
    assert cancellation
    assert cancellation.extract


def test_what_was_cancelled_stays_so(desk: Desk) -> None:
    """The same again is no error, and wakes nobody."""
    desk.store.end("e-1", Outcome.CANCELLED)

    desk.lifecycle.cancel("e-1", extract=False)

    assert desk.raised == []


def test_what_has_ended_otherwise_cannot_be_cancelled(desk: Desk) -> None:
    """It says how it ended."""
    desk.store.end("e-1", Outcome.PARTIAL)

    with pytest.raises(RequestError, match="has ended: PARTIAL") as refused:
        desk.lifecycle.cancel("e-1", extract=False)

    assert (refused.value.code, refused.value.status) == ("EVALUATION_ENDED", 409)


def test_what_is_not_there_cannot_be_cancelled(desk: Desk) -> None:
    """404, and no record comes of it."""
    with pytest.raises(RequestError) as refused:
        desk.lifecycle.cancel("other", extract=False)

    assert (refused.value.code, refused.value.status) == ("EVALUATION_UNKNOWN", 404)
    assert desk.store.find("other") is None


def test_a_retry_takes_the_runs_without_a_whole_result(desk: Desk) -> None:
    """As another attempt of the evaluation: its events go on, its secrets are new, old looks are gone."""
    desk.ended("COMPLETED", "PARTIAL")
    desk.sidecar.save_state("observed-e-1", {"runs": [], "tick": 7})

    desk.lifecycle.retry("e-1", _KEY)

    (record,) = desk.started
    assert (record.evaluation.attempt, record.evaluation.instance_id) == (2, "eval-e-1-a2")
    assert ([run.run_id for run in record.current.runs], record.announced) == (["r-2"], 2)
    assert (record.ended, record.outcome, record.cancellation) == (None, None, None)
    assert [item["run_id"] for item in record.extraction_results or []] == ["r-1"]
    assert desk.vault.open(record.sealed_as) == {"api_key": "sk-new-secret"}
    assert desk.store.snapshot("e-1") is None
    assert desk.store.active() == ["e-1"]
    (brief,) = desk.store.briefs(["e-1"])
    assert (brief.ended, brief.attempt) == (None, 2)


def test_a_cancelled_evaluation_can_be_retried(desk: Desk) -> None:
    """It is not cancelled any more; without results all of its runs are repeated."""
    desk.store.cancel("e-1", extract=False)
    desk.store.end("e-1", Outcome.CANCELLED)
    desk.workflow = None

    desk.lifecycle.retry("e-1", RetryRequest.model_validate({"secret_ref": {"name": "s"}}))

    (record,) = desk.started
    assert record.cancellation is None
    assert len(record.current.runs) == 2
    assert desk.vault.open(record.sealed_as) == {"api_key": "sk-referred"}


@pytest.mark.parametrize("workflow", [WorkflowStatus.RUNNING, WorkflowStatus.PENDING])
def test_what_has_not_said_its_last_word_cannot_be_retried(desk: Desk, workflow: WorkflowStatus) -> None:
    """The record ends before: two attempts would number the same events."""
    desk.ended("FAILED", "FAILED")
    desk.workflow = workflow

    assert (desk.refused().code, desk.refused().status) == ("EVALUATION_RUNNING", 409)


def test_what_dapr_holds_still_after_its_end_can_be_retried(desk: Desk) -> None:
    """Nobody waits for a last word that will not come."""
    desk.ended("COMPLETED", "FAILED")
    desk.workflow = WorkflowStatus.UNKNOWN

    desk.lifecycle.retry("e-1", _KEY)

    assert [record.evaluation.attempt for record in desk.started] == [2]


def test_what_runs_cannot_be_retried(desk: Desk) -> None:
    """Nor can it be retried twice at once."""
    assert desk.refused().code == "EVALUATION_RUNNING"
    desk.ended("FAILED", "FAILED")
    desk.store.retry("e-1", 1, ["r-1"], 2, "a-2")
    assert desk.refused().code == "EVALUATION_RUNNING"
    with pytest.raises(RequestError, match="has not ended"):
        desk.store.retry("e-1", 1, ["r-1"], 2, "a-2")


def test_what_is_complete_has_nothing_to_retry(desk: Desk) -> None:
    """Said, and nothing begun."""
    desk.ended("COMPLETED", "COMPLETED", whole=Outcome.COMPLETED)

    assert (desk.refused().code, desk.refused().status) == ("NOTHING_TO_RETRY", 409)


def test_a_kubeconfig_that_was_destroyed_must_come_again(seal_keys: str) -> None:
    """And only then."""
    desk = Desk(seal_keys, cluster=FROM_REQUEST)
    desk.ended("FAILED", "FAILED")
    bad = RetryRequest.model_validate({"api_key": "k", "kubeconfig": "{}"})
    good = RetryRequest.model_validate({"api_key": "k", "kubeconfig": samples.kubeconfig("a-token")})

    assert (desk.refused().code, desk.refused().param) == ("KUBECONFIG_REQUIRED", "kubeconfig")
    assert desk.refused(bad).code == "KUBECONFIG_INVALID"
    desk.lifecycle.retry("e-1", good)

    assert "a-token" in desk.vault.open(desk.started[0].sealed_as)["kubeconfig"]
    other = Desk(seal_keys)
    other.ended("FAILED", "FAILED")
    assert other.refused(good).param == "kubeconfig"


def test_an_end_of_an_earlier_attempt_ends_nothing(desk: Desk) -> None:
    """Somebody who looked before the retry repeats what was cut off of the last end."""
    desk.ended("FAILED", "FAILED")
    desk.lifecycle.retry("e-1", _KEY)

    assert desk.store.end("e-1", Outcome.FAILED, attempt=1) is False
    assert desk.store.load("e-1").ended is None
    assert desk.store.end("e-1", Outcome.FAILED, attempt=2) is True


def test_a_cancellation_of_another_attempt_does_nothing(desk: Desk) -> None:
    """A repetition that comes late is told from a new wish."""
    desk.ended("COMPLETED", "FAILED")
    desk.lifecycle.retry("e-1", _KEY)

    with pytest.raises(RequestError) as refused:
        desk.lifecycle.cancel("e-1", extract=False, attempt=1)

    assert (refused.value.status, refused.value.code, refused.value.param) == (409, "ATTEMPT_OVER", "attempt")
    assert desk.store.load("e-1").cancellation is None
    desk.lifecycle.cancel("e-1", extract=False, attempt=2)
    assert desk.store.load("e-1").cancellation


def test_a_retry_of_another_attempt_begins_none(desk: Desk) -> None:
    """The same."""
    desk.ended("COMPLETED", "FAILED")

    refused = desk.refused(RetryRequest.model_validate({"api_key": "sk-new-secret", "attempt": 2}))

    assert refused.code == "ATTEMPT_OVER"
    desk.lifecycle.retry("e-1", RetryRequest.model_validate({"api_key": "sk-new-secret", "attempt": 1}))
    assert desk.store.load("e-1").evaluation.attempt == 2


def test_whose_time_is_up_is_an_attempt(desk: Desk) -> None:
    """Not the one that was begun since."""
    overdue = desk.store.load("e-1")
    desk.ended("COMPLETED", "FAILED")
    desk.lifecycle.retry("e-1", _KEY)

    with pytest.raises(RequestError, match="is at attempt 2, not 1"):
        desk.lifecycle.expire(overdue)

    assert desk.store.load("e-1").cancellation is None


def test_a_retry_needs_room(desk: Desk) -> None:
    """It is work like another; nothing of it is kept."""
    desk.ended("COMPLETED", "FAILED")
    for number in range(Settings().max_active_evaluations):
        desk.store.activate(f"other-{number}")

    refused = desk.refused()

    assert (refused.status, refused.code) == (429, "QUEUE_FULL")
    assert not [key for key in desk.dapr.state if key.startswith(("arriving-", "sealed-"))]


@pytest.mark.parametrize("step", ["before", "after"])
def test_a_retry_at_the_end_of_the_attempt_before_is_looked_after(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """The end takes off the list what has ended, whatever it was when it was asked."""
    desk.ended("COMPLETED", "FAILED")
    desk.store.activate("e-1")
    take_off = Listing._take_off

    def meanwhile(store: Listing, eval_id: str) -> None:
        monkeypatch.setattr(Listing, "_take_off", take_off)
        if step == "after":
            take_off(store, eval_id)
        desk.lifecycle.retry("e-1", _KEY)
        if step == "before":
            take_off(store, eval_id)

    monkeypatch.setattr(Listing, "_take_off", meanwhile)
    desk.store.deactivate("e-1")

    assert desk.store.load("e-1").ended is None
    assert desk.store.active() == ["e-1"]


def test_a_retry_is_on_the_list_once_its_record_is_there(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """The end of the attempt before takes it off just before the retry writes its record."""
    desk.ended("COMPLETED", "FAILED")
    begin = desk.store.retry

    def taken_off_before_its_record(*arguments: Any) -> EvaluationRecord:
        activate = desk.store.activate

        def and_off(eval_id: str) -> None:
            monkeypatch.setattr(desk.store, "activate", activate)
            activate(eval_id)
            desk.store.deactivate(eval_id)

        monkeypatch.setattr(desk.store, "activate", and_off)
        return begin(*arguments)

    monkeypatch.setattr(desk.store, "retry", taken_off_before_its_record)
    desk.lifecycle.retry("e-1", _KEY)

    assert desk.store.active() == ["e-1"]
