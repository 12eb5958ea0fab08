"""What happens, step by step.

Bodies only decide: Dapr replays them from the top at each turn, so clock, ids, state, messages and clusters
are reached through activities alone.
"""

from collections.abc import Generator
from datetime import timedelta
from typing import Any

from dapr.ext import workflow as wf

from budeval.domain.cluster import ClusterTarget, ClusterVerification
from budeval.domain.notification import (
    Announcement,
    NotificationContent,
    NotificationPayload,
    NotificationRequest,
    WorkflowStatus,
)
from budeval.errors import ClusterError

Step = Generator[Any, Any, Any]

VERIFY_STEP = "verify_cluster_connection"

# A cluster that is down for a moment; a longer outage is told to the caller.
_CLUSTER_RETRY = wf.RetryPolicy(
    first_retry_interval=timedelta(seconds=2), max_number_of_attempts=3, backoff_coefficient=2.0
)
# State store or broker away: nothing may be lost, so for as long as an hour.
_SIDECAR_RETRY = wf.RetryPolicy(
    first_retry_interval=timedelta(seconds=1),
    max_number_of_attempts=130,
    backoff_coefficient=2.0,
    max_retry_interval=timedelta(seconds=30),
)


def verify_cluster(ctx: wf.DaprWorkflowContext, target: dict[str, Any]) -> Step:
    """Verify a cluster, keep the outcome, announce it. Fails when the cluster cannot be used."""
    aim = ClusterTarget.model_validate(target)
    announcer = _Announcer(ctx, "verify_cluster")
    text = f"Verifying namespace {aim.namespace} of cluster {aim.cluster}"
    yield announcer.announce(WorkflowStatus.RUNNING, text)
    verification = yield from _verify(ctx, target)
    result = verification.model_dump(mode="json")
    outcome = {"workflow_id": ctx.instance_id, "verification": result}
    yield ctx.call_activity("save_verification", input=outcome, retry_policy=_SIDECAR_RETRY)
    status = WorkflowStatus.COMPLETED if verification.ok else WorkflowStatus.FAILED
    yield announcer.announce(status, verification.message, result)
    if not verification.ok:
        raise ClusterError(verification.message, code=str(verification.code), retryable=False)
    return result


def _verify(ctx: wf.DaprWorkflowContext, target: dict[str, Any]) -> Step:
    try:
        found = yield ctx.call_activity(VERIFY_STEP, input=target, retry_policy=_CLUSTER_RETRY)
    except wf.TaskFailedError as error:
        code, message = _code_and_message(error)
        return ClusterVerification(
            target=ClusterTarget.model_validate(target), ok=False, code=code, message=message, claim=""
        )
    return ClusterVerification.model_validate(found)


def _code_and_message(error: wf.TaskFailedError) -> tuple[str, str]:
    """Our errors write themselves as `CODE: message`, and that text is what crosses the sidecar."""
    code, separator, message = error.details.message.partition(": ")
    return (code, message) if separator and code.isupper() else ("INTERNAL", error.details.message)


class _Announcer:
    """Numbers the announcements of one workflow, in its body, so that a replay gives the same numbers."""

    def __init__(self, ctx: wf.DaprWorkflowContext, workflow: str) -> None:
        self._ctx = ctx
        self._workflow = workflow
        self._number = 0

    def announce(self, status: WorkflowStatus, message: str, result: dict[str, Any] | None = None) -> Any:
        self._number += 1
        content = NotificationContent(
            title="Verifying the cluster", message=message, status=status, result=result
        )
        payload = NotificationPayload(
            type=self._workflow, event=VERIFY_STEP, workflow_id=self._ctx.instance_id, content=content
        )
        announcement = Announcement(
            subject=self._ctx.instance_id,
            number=self._number,
            notification=NotificationRequest(payload=payload),
        )
        return self._ctx.call_activity(
            "announce", input=announcement.model_dump(mode="json"), retry_policy=_SIDECAR_RETRY
        )
