"""What callers do to jobs that are there: end, repeat and delete them, also where that is cut off."""

import copy
import itertools
import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from budeval.domain.notification import WorkflowStatus
from budeval.domain.score_job import JobOutcome
from budeval.errors import ArtifactError, RequestError, SidecarError
from budeval.runtime.listing import Listing
from budeval.runtime.workflow_engine import WorkflowSnapshot
from budeval.scoring.artifacts import Artifact
from tests.scoring.desk import Desk
from tests.scoring.fake_cut_dapr import FakeCutDapr
from tests.scoring.fake_judge import YES, FakeJudge, refusal
from tests.scoring.measured import score
from tests.scoring.replies import for_context_recall
from tests.scoring.service import ON_A_JOB, Service, refused
from tests.scoring.strict import document


@pytest.fixture
def dapr() -> FakeCutDapr:
    """Stays until a test has it go."""
    return FakeCutDapr()


@pytest.fixture
def service(fake: FakeJudge, tmp_path: Path, dapr: FakeCutDapr) -> Service:
    """Open to this machine, without tokens."""
    return Service(Desk(fake, tmp_path, dapr))


def test_a_cancelled_job_keeps_what_is_scored(service: Service, fake: FakeJudge) -> None:
    """The order is accepted, its workflow woken, and the job ends as cancelled; again changes nothing."""
    job_id = service.accepted()
    service.run_first_metric(job_id)

    answer = service.post(job_id, "cancel")
    again = service.post(job_id, "cancel")
    service.run(job_id)
    after = service.post(job_id, "cancel")

    assert [one.status_code for one in (answer, again, after)] == [202, 202, 202]
    assert service.desk.workflows.raised == [(f"score-{job_id}", "cancel_scoring")] * 2
    state = after.json()
    assert (state["status"], state["outcome"], state["run_id"]) == ("failed", "cancelled", None)
    assert [(said["status"], said["reason_code"]) for said in state["metrics"]] == [
        ("scored", None),
        ("failed", "cancelled"),
    ]
    assert fake.requests == []


def test_a_cancellation_stands_though_nobody_could_be_woken(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The record has it, and whoever scores looks there."""

    def away(*_given: object) -> None:
        raise SidecarError("the engine is away")

    monkeypatch.setattr(service.desk.workflows, "raise_event", away)
    job_id = service.accepted()

    assert service.post(job_id, "cancel").status_code == 202
    service.run(job_id)
    assert service.state(job_id)["outcome"] == "cancelled"


def test_what_has_ended_cannot_be_cancelled(service: Service) -> None:
    """409: its scores are there."""
    job_id = service.accepted()
    service.run(job_id)

    assert refused(service.post(job_id, "cancel")) == (409, "SCORE_ENDED", "job_id")
    assert service.state(job_id)["outcome"] == "completed"


def test_a_retry_scores_what_has_failed(service: Service, fake: FakeJudge) -> None:
    """As another attempt of the same job and the same run; nobody asks for the other values again."""
    fake.will_say(*for_context_recall(YES), refusal(401, "no"))
    job_id = service.accepted(metrics=["context_recall", "context_precision"])
    service.run(job_id)
    before = service.state(job_id)

    answer = service.post(job_id, "retry")
    begun = service.desk.started[-1]
    fake.will_say(refusal(403, "no"))
    service.run(job_id)

    assert answer.status_code == 202
    assert (answer.json()["status"], answer.json()["attempt"], answer.json()["outcome"]) == (
        "queued",
        2,
        None,
    )
    assert (answer.json()["scores"], answer.json()["finished_at"]) == ({}, None)
    assert (begun.job.instance_id, begun.announced) == (f"score-{job_id}-a2", 2)
    state = service.state(job_id)
    assert (before["outcome"], state["outcome"]) == ("completed_with_errors", "completed_with_errors")
    assert (state["run_id"], state["scores"]) == (before["run_id"], before["scores"])
    assert "answered 403" in state["metrics"][1]["message"]
    assert len(fake.requests) == 3


def test_a_cancelled_job_can_be_taken_up_again(service: Service) -> None:
    """Also where all was scored already: it has no run yet."""
    job_id = service.accepted(metrics=["exact_match"])
    service.run_first_metric(job_id)
    service.post(job_id, "cancel")
    service.run(job_id)

    answer = service.post(job_id, "retry")
    service.run(job_id)

    assert answer.status_code == 202
    assert service.state(job_id)["outcome"] == "completed"
    assert service.state(job_id)["scores"] == {"exact_match": 0.0}


@pytest.mark.parametrize("step", ["before", "after"])
def test_a_retry_at_the_end_of_the_attempt_before_is_looked_after(
    service: Service, fake: FakeJudge, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """The end takes off the list what has ended, whatever it was when it was asked."""
    fake.will_say(refusal(401, "no"))
    job_id = service.accepted(metrics=["context_recall"])
    service.run(job_id)
    take_off = Listing._take_off

    def meanwhile(store: Listing, item_id: str) -> None:
        monkeypatch.setattr(Listing, "_take_off", take_off)
        if step == "after":
            take_off(store, item_id)
        assert service.post(job_id, "retry").status_code == 202
        if step == "before":
            take_off(store, item_id)

    monkeypatch.setattr(Listing, "_take_off", meanwhile)
    service.desk.store.deactivate(job_id)

    assert service.desk.store.active() == [job_id]


def test_a_retry_is_on_the_list_once_its_record_is_there(
    service: Service, fake: FakeJudge, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The end of the attempt before takes it off just before the retry writes its record."""
    fake.will_say(refusal(401, "no"))
    job_id = service.accepted(metrics=["context_recall"])
    service.run(job_id)
    store = service.desk.store
    activate = store.activate

    def and_off(item_id: str) -> None:
        monkeypatch.setattr(store, "activate", activate)
        activate(item_id)
        store.deactivate(item_id)

    monkeypatch.setattr(store, "activate", and_off)

    assert service.post(job_id, "retry").status_code == 202
    assert store.active() == [job_id]


def test_a_cancelled_retry_leaves_the_job_as_it_was(service: Service, fake: FakeJudge) -> None:
    """Scores, run, artifacts and advice stand; that it was cancelled is told, also to who listens."""
    fake.will_say(*for_context_recall(YES), refusal(401, "no"))
    job_id = service.accepted(metrics=["context_recall", "context_precision"], advise=True)
    service.run(job_id)
    before, run_before = service.state(job_id), service.desk.artifacts.sizes(f"score-{job_id}")
    service.post(job_id, "retry")

    answers = [service.post(job_id, "cancel")]
    service.run(job_id)
    answers.append(service.post(job_id, "cancel"))

    assert [answer.status_code for answer in answers] == [202, 202]
    after = service.state(job_id)
    same = before.keys() - {"error", "attempt", "metrics"}
    assert {name: after[name] for name in same} == {name: before[name] for name in same}
    assert (after["outcome"], after["run_id"]) == ("completed_with_errors", f"score-{job_id}")
    assert after["error"].startswith("CANCELLED: The retry was cancelled")
    assert service.desk.artifacts.sizes(f"score-{job_id}") == run_before
    told = json.loads(service.desk.dapr.messages[-1].content)["payload"]["content"]
    assert (told["message"], told["result"]["scores"]) == (after["error"], before["scores"])
    assert len(service.desk.adviser.runs) == 1


def _with_a_failed_metric(service: Service, fake: FakeJudge) -> str:
    """A job that has a run and something to retry, which the judge answers then."""
    fake.will_say(refusal(401, "no"), *for_context_recall(YES))
    job_id = service.accepted(metrics=["context_recall", "exact_match"], advise=True)
    service.run(job_id)
    return job_id


def _cannot_be_written(service: Service, job_id: str) -> str:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(service.desk.artifacts, "commit", _full)
        service.run(job_id)
    return "ARTIFACTS_UNAVAILABLE: the disk is full"


def _full(*_given: object) -> None:
    raise ArtifactError("the disk is full")


def _breaks(service: Service, job_id: str) -> str:
    reason = "INTERNAL: its workflow is TERMINATED"
    service.desk.activities.close_broken(service.desk.store.load(job_id), reason)
    return reason


@pytest.mark.parametrize("fails", [_cannot_be_written, _breaks])
def test_a_retry_that_fails_leaves_the_job_as_it_was(
    service: Service, fake: FakeJudge, fails: Callable[[Service, str], str]
) -> None:
    """Scores, run, artifacts and advice stand; why it failed is told, and it can be retried again."""
    job_id = _with_a_failed_metric(service, fake)
    before, run_before = service.state(job_id), service.desk.artifacts.sizes(f"score-{job_id}")
    service.post(job_id, "retry")

    problem = fails(service, job_id)

    after = service.state(job_id)
    same = before.keys() - {"error", "attempt", "metrics"}
    assert {name: after[name] for name in same} == {name: before[name] for name in same}
    assert (after["outcome"], after["error"]) == ("completed_with_errors", problem)
    assert service.desk.artifacts.sizes(f"score-{job_id}") == run_before
    assert service.post(job_id, "retry").status_code == 202


@pytest.mark.parametrize("retried", [False, True], ids=["first", "retry"])
def test_a_cancellation_while_the_run_is_written_comes_too_late(
    service: Service, fake: FakeJudge, monkeypatch: pytest.MonkeyPatch, *, retried: bool
) -> None:
    """A try may have written it and been cut off: record and run have the same scores."""
    job_id = _with_a_failed_metric(service, fake) if retried else service.accepted()
    if retried:
        service.post(job_id, "retry")
    commit = service.desk.artifacts.commit

    def cut_off(*given: Any) -> None:
        monkeypatch.setattr(service.desk.artifacts, "commit", commit)
        commit(*given)
        service.post(job_id, "cancel")
        raise SidecarError("the worker ends")

    monkeypatch.setattr(service.desk.artifacts, "commit", cut_off)
    service.run(job_id)

    state = service.state(job_id)
    assert (state["outcome"], state["error"]) == ("completed", None)
    written = document(service.desk, f"score-{job_id}", Artifact.METADATA)
    assert (state["weighted_score"], state["run_id"]) == (written["weighted_score"], written["run_id"])


def test_a_run_is_not_written_again_once_its_job_is_settled(service: Service, fake: FakeJudge) -> None:
    """Whose retry was cancelled has the run of the attempt before, also where Dapr runs the writing late."""
    job_id = _with_a_failed_metric(service, fake)
    run_before = document(service.desk, f"score-{job_id}", Artifact.METADATA)
    service.post(job_id, "retry")
    score(service.desk, service.desk.store.load(job_id))
    service.post(job_id, "cancel")
    service.run(job_id)

    order = {"job_id": job_id, "attempt": 2, "late": True}
    answer = service.desk.activities.write_artifacts(order)

    assert answer
    assert answer["scores"] == service.state(job_id)["scores"]
    assert document(service.desk, f"score-{job_id}", Artifact.METADATA) == run_before


def test_a_cancelled_retry_that_had_scored_all_can_be_taken_up_again(
    service: Service, fake: FakeJudge
) -> None:
    """What it has scored is not in the run yet."""
    fake.will_say(refusal(401, "no"), *for_context_recall(YES))
    job_id = service.accepted(metrics=["context_recall", "exact_match"])
    service.run(job_id)
    service.post(job_id, "retry")
    service.run_first_metric(job_id)
    service.post(job_id, "cancel")
    service.run(job_id)
    cancelled = service.state(job_id)

    answer = service.post(job_id, "retry")
    service.run(job_id)

    assert (cancelled["scores"], cancelled["metrics"][0]["value"]) == (
        {"context_recall": None, "exact_match": 0.0},
        1.0,
    )
    assert answer.status_code == 202
    after = service.state(job_id)
    assert (after["outcome"], after["error"], after["attempt"]) == ("completed", None, 3)
    assert after["scores"] == {"context_recall": 1.0, "exact_match": 0.0}


def test_a_retry_of_a_job_without_a_run_leaves_none_where_it_is_cancelled(service: Service) -> None:
    """There is nothing that could stand."""
    job_id = service.accepted(metrics=["exact_match"])
    for actions in (("cancel",), ("retry", "cancel")):
        for action in actions:
            service.post(job_id, action)
        service.run(job_id)

    state = service.state(job_id)

    assert (state["outcome"], state["run_id"], state["scores"]) == ("cancelled", None, {})
    assert service.desk.artifacts.sizes(f"score-{job_id}") is None


def test_a_retry_needs_something_to_do(service: Service) -> None:
    """409 while it runs, and where no metric has failed."""
    job_id = service.accepted()
    running = service.post(job_id, "retry")
    service.run(job_id)
    done = service.post(job_id, "retry")

    assert refused(running) == (409, "SCORE_RUNNING", "job_id")
    assert refused(done) == (409, "NOTHING_TO_RETRY", "job_id")
    assert len(service.desk.started) == 1


@pytest.mark.parametrize(("method", "path"), [("POST", "/scores/{}/retry"), ("DELETE", "/scores/{}")])
def test_a_workflow_that_still_runs_keeps_its_job(service: Service, method: str, path: str) -> None:
    """Its last turn is not done though the record has ended: it would write into what was deleted."""
    job_id = service.accepted()
    service.run(job_id)
    snapshot = WorkflowSnapshot(
        workflow_id=f"score-{job_id}", name="score_sample", status=WorkflowStatus.RUNNING
    )
    service.desk.workflows.instances[f"score-{job_id}"] = snapshot

    answer = service.caller.request(method, path.format(job_id))

    assert refused(answer) == (409, "SCORE_RUNNING", "job_id")


def test_what_was_deleted_is_gone(service: Service) -> None:
    """With its run, histories and texts; 410 to whoever asks, 409 to who brings its key again."""
    job_id = service.accepted(key="k")
    running = service.caller.request("DELETE", f"/scores/{job_id}")
    service.run(job_id)

    done = service.caller.request("DELETE", f"/scores/{job_id}")

    assert refused(running) == (409, "SCORE_RUNNING", "job_id")
    assert (done.status_code, done.json()) == (200, {"job_id": job_id, "deleted": True})
    for method, path in ON_A_JOB:
        answer = service.caller.request(method, path.format(job_id))
        assert refused(answer) == (410, "SCORE_DELETED", "job_id")
    assert refused(service.score(key="k"))[:2] == (409, "SCORE_DELETED")
    assert service.caller.get("/scores").json()["scores"] == []
    assert service.desk.artifacts.sizes(f"score-{job_id}") is None
    assert service.desk.workflows.purged == [f"score-{job_id}"]
    left = [key for key in service.desk.dapr.state if job_id in key]
    assert left == [f"score-{job_id}"]


def test_of_a_job_of_several_attempts_all_histories_go(service: Service, fake: FakeJudge) -> None:
    """Each attempt had one."""
    fake.will_say(refusal(401, "no"), refusal(401, "no"))
    job_id = service.accepted(metrics=["faithfulness"])
    service.run(job_id)
    service.post(job_id, "retry")
    service.run(job_id)

    service.caller.request("DELETE", f"/scores/{job_id}")

    assert service.desk.workflows.purged == [f"score-{job_id}", f"score-{job_id}-a2"]


@pytest.mark.parametrize("takes_the_last", [False, True], ids=["refused", "answer-lost"])
def test_a_deletion_that_was_cut_off_goes_on(
    service: Service, dapr: FakeCutDapr, *, takes_the_last: bool
) -> None:
    """With the same again, wherever it was; then nothing is left but what says that it was deleted."""
    job_id = service.accepted(repeats=2)
    service.run(job_id)
    before, dapr.takes_the_last = copy.deepcopy(dapr.state), takes_the_last

    for at in itertools.count():
        dapr.state, dapr.left = copy.deepcopy(before), at
        with suppress(SidecarError):
            service.desk.lifecycle.delete(job_id)
        whole, dapr.left = dapr.left >= 0, None
        with suppress(RequestError):  # it was done, and only the answer was lost
            service.desk.lifecycle.delete(job_id)
        assert [key for key in dapr.state if job_id in key] == [f"score-{job_id}"]
        assert refused(service.caller.get(f"/scores/{job_id}"))[:2] == (410, "SCORE_DELETED")
        if whole:
            break
    assert at > 8


def test_a_retry_that_was_cut_off_has_happened_or_not(
    service: Service, fake: FakeJudge, dapr: FakeCutDapr
) -> None:
    """Wherever it was: the job has ended and can be retried, or the reconciler starts its attempt."""
    fake.will_say(refusal(401, "no"))
    job_id = service.accepted(metrics=["faithfulness"])
    service.run(job_id)
    before = copy.deepcopy(dapr.state)

    for at in itertools.count():
        service.desk.started.clear()
        dapr.state, dapr.left = copy.deepcopy(before), at
        with suppress(SidecarError):
            service.desk.lifecycle.retry(job_id)
        whole, dapr.left = dapr.left >= 0, None
        record = service.desk.store.load(job_id)
        if record.job.attempt == 1:
            assert (record.outcome, service.desk.started) == (JobOutcome.FAILED, [])
            assert service.desk.lifecycle.retry(job_id).job.attempt == 2
        else:
            assert (record.outcome, record.ended) == (None, None)
        assert service.desk.store.active() == [job_id]
        if whole:
            break
    assert at > 5


def test_of_two_retries_one_is_begun(
    service: Service, fake: FakeJudge, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both saw the end of the first attempt; the second to write is told that it runs."""
    fake.will_say(refusal(401, "no"))
    job_id = service.accepted(metrics=["faithfulness"])
    service.run(job_id)
    activate = service.desk.store.activate

    def overtaken(item_id: str) -> None:
        monkeypatch.setattr(service.desk.store, "activate", activate)
        service.desk.lifecycle.retry(job_id)
        activate(item_id)

    monkeypatch.setattr(service.desk.store, "activate", overtaken)
    answer = service.post(job_id, "retry")

    assert refused(answer) == (409, "SCORE_RUNNING", "job_id")
    assert service.desk.store.load(job_id).job.attempt == 2


def test_what_is_being_deleted_is_not_retried(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """A deletion of many samples takes its time."""
    job_id = service.accepted()
    service.run_first_metric(job_id)
    service.post(job_id, "cancel")
    service.run(job_id)
    answers = []
    monkeypatch.setattr(
        service.desk.artifacts, "remove", lambda _run_id: answers.append(service.post(job_id, "retry"))
    )

    done = service.caller.request("DELETE", f"/scores/{job_id}")

    assert [refused(answer) for answer in answers] == [(410, "SCORE_DELETED", "job_id")]
    assert done.status_code == 200


def test_a_retry_needs_room(service: Service) -> None:
    """It is work like another."""
    job_id = service.accepted()
    service.run_first_metric(job_id)
    service.post(job_id, "cancel")
    service.run(job_id)
    for number in range(service.desk.settings.max_active_jobs):
        service.desk.store.activate(f"{number:012x}")

    assert refused(service.post(job_id, "retry"))[:2] == (429, "QUEUE_FULL")
