"""What a Job, its pod and its events mean for a run."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from budeval.domain.observation import JobFacts, RunObservation, RunState, observe

_CREATED = datetime(2026, 1, 1, tzinfo=UTC)
_QUOTA = (
    'FailedCreate: Error creating: pods "j-x" is forbidden: exceeded quota: team, used: cpu=4, limited: 4'
)
_SECURITY = 'FailedCreate: Error creating: pods "j-x" is forbidden: violates PodSecurity "restricted:latest"'


def _seen(**facts: Any) -> RunObservation:
    whole = {"run_id": "r", "name": "j", "uid": "u", "created": _CREATED, **facts}
    return observe("r", JobFacts.model_validate(whole))


def _pod(phase: str, container: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    return {"name": "j-x", "phase": phase, "container": container or {}, **more}


def _failed(container: dict[str, Any] | None = None, **pod: Any) -> RunObservation:
    return _seen(failed="BackoffLimitExceeded", pod=_pod("Failed", container, **pod))


def _waiting(reason: str, *events: str) -> RunObservation:
    container = {"waiting": reason, "message": "the kubelet's words"}
    return _seen(pod=_pod("Pending", container), events=list(events))


def test_a_job_that_is_not_listed_is_gone() -> None:
    """Nothing is known of it but that."""
    seen = observe("r", None)

    assert (seen.run_id, seen.state, seen.code) == ("r", RunState.GONE, "JOB_GONE")
    assert (seen.job, seen.uid, seen.pod) == (None, None, None)


def test_a_complete_job_has_succeeded() -> None:
    """Whatever else was seen on the way; times, names and progress are taken over."""
    ended = datetime(2026, 1, 1, 1, tzinfo=UTC)
    seen = _seen(
        complete=True,
        started=_CREATED,
        ended=ended,
        pod=_pod("Succeeded", {"exit_code": 0, "termination": '{"code": "OLD", "message": "old"}'}),
        events=["FailedMount: once"],
        log='BUDEVAL1-PROGRESS {"done": 3, "total": 3, "phase": "done"}\n',
    )

    assert (seen.state, seen.code, seen.message) == (RunState.SUCCEEDED, None, None)
    assert (seen.job, seen.uid, seen.pod) == ("j", "u", "j-x")
    assert (seen.started, seen.ended) == (_CREATED, ended)
    assert seen.progress is not None
    assert seen.progress.phase == "done"


def test_a_deadline_is_the_cause_whatever_the_pod_left() -> None:
    """It was killed for it: its exit status and last words are consequences."""
    container = {"exit_code": 143, "termination": '{"code": "STOPPED", "message": "signal"}'}

    seen = _seen(failed="DeadlineExceeded", pod=_pod("Failed", container))

    assert (seen.state, seen.code) == (RunState.FAILED, "DEADLINE")
    assert "timeouts.run" in str(seen.message)


def test_a_deadline_needs_no_pod() -> None:
    """Kubernetes removes the pod of a Job that took too long."""
    assert _seen(failed="DeadlineExceeded").code == "DEADLINE"


def test_out_of_memory_is_told_as_such() -> None:
    """Not as exit status 137, and not as what was said before."""
    container = {"exit_code": 137, "reason": "OOMKilled", "termination": '{"code": "X", "message": "x"}'}

    seen = _failed(container)

    assert (seen.state, seen.code) == (RunState.FAILED, "OOM")
    assert "resources.memory" in str(seen.message)


def test_the_pods_own_diagnosis_wins_over_its_exit_status() -> None:
    """The script knows best why it gave up."""
    said = json.dumps({"code": "ENDPOINT_AUTH_FAILED", "message": "401. Check api_key.", "more": 1})

    seen = _failed({"exit_code": 3, "termination": said})

    assert (seen.state, seen.code) == (RunState.FAILED, "ENDPOINT_AUTH_FAILED")
    assert seen.message == "401. Check api_key."


@pytest.mark.parametrize(
    "garbage",
    [
        "",
        "Killed\n",
        '{"code": "OOM", "mess',
        '["code", "message"]',
        "null",
        '{"code": "X"}',
        '{"code": 7, "message": "x"}',
        '{"code": "X", "message": null}',
    ],
)
def test_last_words_that_are_no_diagnosis_are_passed_over(garbage: str) -> None:
    """Anything can write there; then the exit status is what is known."""
    seen = _failed({"exit_code": 9, "termination": garbage})

    assert (seen.state, seen.code) == (RunState.FAILED, "JOB_FAILED")
    assert "exit status 9" in str(seen.message)


@given(st.text(max_size=100))
def test_no_last_words_confuse_an_observation(text: str) -> None:
    """A failed Job has a state, a code and a message in any case."""
    seen = _failed({"exit_code": 1, "termination": text})

    assert seen.state is RunState.FAILED
    assert seen.code
    assert seen.message


@pytest.mark.parametrize("reason", ["Evicted", "NodeLost", "Shutdown", "Terminated"])
def test_a_pod_that_was_taken_off_its_node_is_gone(reason: str) -> None:
    """Not the run's fault: it may be deployed again."""
    seen = _failed({"exit_code": 137}, reason=reason, message="The node was low on memory.")

    assert (seen.state, seen.code) == (RunState.GONE, "JOB_GONE")
    assert "low on memory" in str(seen.message)
    assert (seen.uid, seen.pod) == ("u", "j-x")


def test_a_job_that_failed_without_a_pod_tells_its_own_reason() -> None:
    """The condition's message where there is one, otherwise its reason."""
    with_message = _seen(failed="BackoffLimitExceeded", failed_message="Job has reached the limit")
    without = _seen(failed="PodFailurePolicy")

    assert (with_message.code, with_message.message) == ("JOB_FAILED", "Job has reached the limit")
    assert "PodFailurePolicy" in str(without.message)


@pytest.mark.parametrize(
    ("events", "state", "code"),
    [
        ([], RunState.PENDING, None),
        (["Suspended: Job suspended"], RunState.PENDING, None),
        ([_QUOTA], RunState.BLOCKED, "QUOTA_EXCEEDED"),
        ([_SECURITY], RunState.FAILED, "POD_REJECTED"),
        (["FailedCreate: violates PodSecurity"], RunState.FAILED, "POD_REJECTED"),
        ([_SECURITY, _QUOTA], RunState.BLOCKED, "QUOTA_EXCEEDED"),
        ([_QUOTA, _SECURITY], RunState.FAILED, "POD_REJECTED"),
        (["FailedCreate: failed calling webhook: timeout"], RunState.BLOCKED, "POD_REJECTED"),
    ],
)
def test_without_a_pod_the_newest_refusal_tells_why(
    events: list[str], state: RunState, code: str | None
) -> None:
    """A quota may be free again, a webhook may answer; what policy forbids never comes."""
    seen = _seen(events=events)

    assert (seen.state, seen.code, seen.pod) == (state, code, None)


@pytest.mark.parametrize(
    ("said", "state", "code"),
    [
        ("0/1 nodes are available: 1 Insufficient memory.", RunState.BLOCKED, "UNSCHEDULABLE"),
        ('persistentvolumeclaim "data" not found', RunState.FAILED, "NAMESPACE_OR_PVC_MISSING"),
        ('persistentvolumeclaim "data" is being deleted', RunState.BLOCKED, "UNSCHEDULABLE"),
        (
            "0/1 nodes are available: pod has unbound immediate PersistentVolumeClaims.",
            RunState.BLOCKED,
            "UNSCHEDULABLE",
        ),
    ],
)
def test_a_pod_that_no_node_takes_tells_what_the_scheduler_says(
    said: str, state: RunState, code: str
) -> None:
    """Nodes may come; a claim that is not there has to be created by somebody."""
    seen = _seen(pod=_pod("Pending", unschedulable=said))

    assert (seen.state, seen.code) == (state, code)
    assert said in str(seen.message)


@pytest.mark.parametrize(
    ("reason", "state", "code"),
    [
        ("ErrImagePull", RunState.BLOCKED, "IMAGE_PULL"),
        ("ImagePullBackOff", RunState.BLOCKED, "IMAGE_PULL"),
        ("RegistryUnavailable", RunState.BLOCKED, "IMAGE_PULL"),
        ("InvalidImageName", RunState.FAILED, "IMAGE_PULL"),
        ("ErrImageNeverPull", RunState.FAILED, "IMAGE_PULL"),
        ("CreateContainerConfigError", RunState.BLOCKED, "CONTAINER_CONFIG"),
        ("CreateContainerError", RunState.BLOCKED, "CONTAINER_CONFIG"),
        ("RunContainerError", RunState.BLOCKED, "CONTAINER_CONFIG"),
    ],
)
def test_a_container_that_waits_tells_why(reason: str, state: RunState, code: str) -> None:
    """What can heal blocks, what cannot has failed; the kubelet's words are passed on."""
    seen = _waiting(reason)

    assert (seen.state, seen.code) == (state, code)
    assert reason in str(seen.message)
    assert "the kubelet's words" in str(seen.message)


@pytest.mark.parametrize("event", ["FailedMount: no such claim", "FailedAttachVolume: in use elsewhere"])
def test_a_volume_that_is_not_mounted_blocks(event: str) -> None:
    """The container only says that it is being created; the event says why it is not."""
    seen = _waiting("ContainerCreating", "FailedMount: older", event, "Other: newer")

    assert (seen.state, seen.code, seen.message) == (RunState.BLOCKED, "VOLUME_MOUNT", event)


def test_a_pod_that_is_being_prepared_is_pending() -> None:
    """Nothing is wrong with it."""
    seen = _waiting("ContainerCreating")

    assert (seen.state, seen.code, seen.message) == (RunState.PENDING, None, None)


def test_a_running_pod_tells_its_progress() -> None:
    """Its log's newest progress line counts, and old trouble does not any more."""
    seen = _seen(
        started=_CREATED,
        pod=_pod("Running"),
        events=["FailedMount: before it came up"],
        log='hello\nBUDEVAL1-PROGRESS {"done": 5, "total": 10, "phase": "infer"}\ntorn',
    )

    assert (seen.state, seen.code) == (RunState.RUNNING, None)
    assert seen.progress is not None
    assert (seen.progress.done, seen.progress.total) == (5, 10)


def test_a_running_pod_without_a_log_has_no_progress() -> None:
    """That is not the same as none of its samples being done."""
    assert _seen(pod=_pod("Running")).progress is None


def test_long_messages_are_cut() -> None:
    """Observations travel in histories."""
    said = json.dumps({"code": "RESULT_MISSING", "message": "x" * 3000})

    assert _failed({"termination": said}).message == "x" * 1000
