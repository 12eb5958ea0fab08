"""What a Job, its pod and its events mean for a run. Pure: what the status playbook publishes goes in."""

import json
import re
from datetime import datetime
from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field

from budeval.domain.progress import RunProgress, last_progress

_MESSAGE_LIMIT = 1000
_CODE = re.compile(r"[A-Z][A-Z0-9_]{0,39}")
_NEVER_HEALS = {"InvalidImageName", "ErrImageNeverPull"}
_IMAGE_PULL = {"ErrImagePull", "ImagePullBackOff", "ImageInspectError", "RegistryUnavailable"}
_CONTAINER_CONFIG = {"CreateContainerConfigError", "CreateContainerError", "RunContainerError"}


class RunState(StrEnum):
    """Where a run is."""

    PENDING = "pending"
    BLOCKED = "blocked"
    """It cannot start; `code` says why."""
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    """Its Job is complete; whether it has scores, only extraction tells."""
    FAILED = "failed"
    GONE = "gone"
    """There is no such Job."""
    CANCELLED = "cancelled"
    """It was ended on request."""


TERMINAL = {RunState.SUCCEEDED, RunState.FAILED, RunState.CANCELLED}
CANCELLED = "CANCELLED"
"""The code of what was ended on request."""


class ContainerFacts(BaseModel):
    """A container's state, or the one it had last."""

    waiting: str | None = None
    message: str | None = None
    exit_code: int | None = None
    reason: str | None = None
    """Of its end, as `OOMKilled`."""
    termination: str | None = None
    """What it wrote to its termination log."""


class PodFacts(BaseModel):
    """The newest pod of a Job."""

    name: str
    phase: str
    reason: str | None = None
    message: str | None = None
    unschedulable: str | None = None
    """The scheduler's words where no node takes it."""
    image: str | None = None
    image_id: str | None = None
    """The image's digest, as the node tells it."""
    container: ContainerFacts = ContainerFacts()


class JobFacts(BaseModel):
    """A Job with what belongs to it."""

    run_id: str
    name: str
    uid: str
    created: datetime
    started: datetime | None = None
    ended: datetime | None = None
    complete: bool = False
    failed: str | None = None
    """Reason of the `Failed` condition, as `BackoffLimitExceeded`."""
    failed_message: str | None = None
    pod: PodFacts | None = None
    events: list[str] = Field(default_factory=list)
    """`Reason: message` of warnings about the Job or its pod, newest last."""
    log: str | None = None
    """The tail of the pod's log."""
    log_unread: bool = False
    """The pod has a log that could not be read this time."""


class RunObservation(BaseModel):
    """What was seen of a run."""

    model_config = ConfigDict(frozen=True)

    run_id: str
    state: RunState
    code: str | None = None
    message: str | None = None
    job: str | None = None
    uid: str | None = None
    pod: str | None = None
    started: datetime | None = None
    ended: datetime | None = None
    progress: RunProgress | None = None
    image: str | None = Field(default=None, exclude_if=lambda image: image is None)
    image_id: str | None = Field(default=None, exclude_if=lambda image: image is None)
    log_unread: bool = Field(default=False, exclude_if=lambda unread: not unread)
    """Its log could not be read; the next look tries again, also after its end."""


def refused(run_id: str, code: str, message: str) -> RunObservation:
    """A run of which no Job could be made: a quota may become free, everything else has failed."""
    state = RunState.BLOCKED if code == "QUOTA_EXCEEDED" else RunState.FAILED
    return RunObservation(run_id=run_id, state=state, code=code, message=message[:_MESSAGE_LIMIT])


def cancelled(run_id: str, before: RunObservation | None, message: str) -> RunObservation:
    """A run that was ended on request, with what was seen of it before."""
    seen = before or RunObservation(run_id=run_id, state=RunState.CANCELLED)
    return seen.model_copy(update={"state": RunState.CANCELLED, "code": CANCELLED, "message": message})


def observe(run_id: str, facts: JobFacts | None) -> RunObservation:
    """The run's state by its Job's facts, None where the cluster lists no such Job."""
    if facts is None:
        text = "The Job is not on the cluster any more: somebody deleted it, or the node was lost."
        return RunObservation(run_id=run_id, state=RunState.GONE, code="JOB_GONE", message=text)
    state, code, message = _diagnose(facts)
    return RunObservation(
        run_id=run_id,
        state=state,
        code=code,
        message=message[:_MESSAGE_LIMIT] if message else None,
        job=facts.name,
        uid=facts.uid,
        pod=facts.pod.name if facts.pod else None,
        started=facts.started,
        ended=facts.ended,
        progress=last_progress(facts.log or ""),
        image=facts.pod.image if facts.pod else None,
        image_id=facts.pod.image_id if facts.pod else None,
        log_unread=facts.log_unread,
    )


Diagnosis = tuple[RunState, str | None, str | None]


def _diagnose(facts: JobFacts) -> Diagnosis:
    if facts.complete:
        return RunState.SUCCEEDED, None, None
    if facts.failed:
        return _why_failed(facts)
    if facts.pod is None:
        return _why_no_pod(facts)
    if facts.pod.phase == "Pending":
        return _why_pending(facts, facts.pod)
    return RunState.RUNNING, None, None


def _why_failed(facts: JobFacts) -> Diagnosis:
    container = facts.pod.container if facts.pod else ContainerFacts()
    if facts.failed == "DeadlineExceeded":
        text = "The run took longer than its time limit (timeouts.run). Raise it, or limit the samples."
        return RunState.FAILED, "DEADLINE", text
    if container.reason == "OOMKilled":
        text = "The run needed more memory than its limit. Raise resources.memory of the run."
        return RunState.FAILED, "OOM", text
    said = _termination(container.termination)
    if said:
        return RunState.FAILED, said["code"], said["message"]
    if facts.pod and facts.pod.reason in {"Evicted", "NodeLost", "Shutdown", "Terminated"}:
        return (
            RunState.GONE,
            "JOB_GONE",
            f"The pod was taken off its node: {facts.pod.message or facts.pod.reason}",
        )
    if container.exit_code is not None:
        text = f"The run's program ended with exit status {container.exit_code}; its log tells more."
        return RunState.FAILED, "JOB_FAILED", text
    return RunState.FAILED, "JOB_FAILED", facts.failed_message or f"The Job failed: {facts.failed}."


def _termination(text: str | None) -> dict[str, str] | None:
    """The pod's own diagnosis: `{"code": …, "message": …}`, as the in-pod scripts write it."""
    try:
        document = json.loads(text or "")
    except (ValueError, RecursionError):
        return None
    known = isinstance(document, dict) and all(
        isinstance(document.get(key), str) for key in ("code", "message")
    )
    return document if known and _CODE.fullmatch(document["code"]) else None


def _why_no_pod(facts: JobFacts) -> Diagnosis:
    refusals = [event for event in facts.events if event.startswith("FailedCreate")]
    if not refusals:
        return RunState.PENDING, None, None
    newest = refusals[-1]
    if "exceeded quota" in newest:
        return (
            RunState.BLOCKED,
            "QUOTA_EXCEEDED",
            f"{newest}. Wait for other Jobs to end, or raise the quota.",
        )
    if "violates PodSecurity" in newest or "is forbidden" in newest:
        return RunState.FAILED, "POD_REJECTED", f"{newest}. The namespace refuses the pod."
    return RunState.BLOCKED, "POD_REJECTED", newest


def _why_pending(facts: JobFacts, pod: PodFacts) -> Diagnosis:
    waiting, message = pod.container.waiting, pod.container.message
    if pod.unschedulable:
        return _why_unschedulable(pod.unschedulable)
    if waiting in _NEVER_HEALS | _IMAGE_PULL:
        state = RunState.FAILED if waiting in _NEVER_HEALS else RunState.BLOCKED
        return (
            state,
            "IMAGE_PULL",
            f"{waiting}: {message or 'no reason given'}. Name an image that the nodes can pull.",
        )
    if waiting in _CONTAINER_CONFIG:
        return RunState.BLOCKED, "CONTAINER_CONFIG", f"{waiting}: {message}"
    mounts = [event for event in facts.events if event.startswith(("FailedMount", "FailedAttachVolume"))]
    if mounts:
        return RunState.BLOCKED, "VOLUME_MOUNT", mounts[-1]
    return RunState.PENDING, None, None


def _why_unschedulable(said: str) -> Diagnosis:
    if "persistentvolumeclaim" in said and "not found" in said:
        return RunState.FAILED, "NAMESPACE_OR_PVC_MISSING", f"{said}. Create the claim."
    return RunState.BLOCKED, "UNSCHEDULABLE", f"{said} Free or add nodes, or ask for less."
