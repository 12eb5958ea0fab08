"""The workflows as Dapr runs them. Bodies only decide; `evaluate` holds the longer one's steps.

Dapr replays them from the top at each turn, so clock, ids, state, messages and clusters are reached through
activities alone.
"""

from contextlib import suppress
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
from budeval.domain.steps import VERIFY
from budeval.errors import ClusterError, code_and_message
from budeval.evals.evaluate import Course, EvaluationCourse
from budeval.runtime.workflow_turn import SIDECAR_RETRY, DaprTurn, Step

# A cluster that is down for a moment; a longer outage is told to the caller.
_CLUSTER_RETRY = wf.RetryPolicy(
    first_retry_interval=timedelta(seconds=2), max_number_of_attempts=3, backoff_coefficient=2.0
)
# A look that fails is made up for by the next one, and by the evaluations' own.
_TICK_RETRY = _CLUSTER_RETRY
_TICKS_PER_GENERATION = 20
SHORTEST_PAUSE_SECONDS = 2.0
_LONGEST_PAUSE_SECONDS = 15.0
_TROUBLE_PAUSE_SECONDS = 60.0
_OF_CLUSTER = {
    "verify_evaluation_cluster",
    "deploy_eval_job",
    "check_jobs_status",
    "extract_eval_results",
    "cleanup_evaluation",
}


def evaluate_model(ctx: wf.DaprWorkflowContext, argument: dict[str, Any]) -> Step:
    """One evaluation, from the verified cluster to the last notification. Fails when no run has a score."""
    outcome = yield from EvaluationCourse(_Turn(ctx), Course.model_validate(argument)).run()
    if isinstance(outcome, Course):
        ctx.continue_as_new(outcome.model_dump(mode="json"), save_events=True)
        return None
    return outcome


class _Turn(DaprTurn):
    """What an evaluation's course may do."""

    retries = dict.fromkeys(_OF_CLUSTER, _CLUSTER_RETRY)

    def wait(self, event: str, limit: timedelta) -> Step:
        with suppress(TimeoutError):
            return (yield self._ctx.wait_for_external_event(event, timeout=limit)) or {}
        return None


def watch_cluster(ctx: wf.DaprWorkflowContext, argument: dict[str, Any]) -> Step:
    """Look at a cluster again and again, for all evaluations that wait there; ends when none does.

    Argument: {watch_id, pause}, carried from generation to generation.
    """
    watch_id, pause = argument["watch_id"], argument["pause"]
    for _ in range(_TICKS_PER_GENERATION):
        try:
            order = {"watch_id": watch_id}
            found = yield ctx.call_activity("watch_tick", input=order, retry_policy=_TICK_RETRY)
        except wf.TaskFailedError:
            found = {"closed": False, "changed": False, "trouble": "INTERNAL"}
        if found["closed"]:
            return
        pause = _next_pause(pause, changed=found["changed"], trouble=bool(found["trouble"]))
        yield ctx.create_timer(timedelta(seconds=pause))
    ctx.continue_as_new({"watch_id": watch_id, "pause": pause})


def _next_pause(pause: float, *, changed: bool, trouble: bool) -> float:
    """2 s after a change, then ever longer up to 15 s; up to a minute for a cluster in trouble."""
    if changed:
        return SHORTEST_PAUSE_SECONDS
    return min(pause * 1.5, _TROUBLE_PAUSE_SECONDS if trouble else _LONGEST_PAUSE_SECONDS)


def verify_cluster(ctx: wf.DaprWorkflowContext, target: dict[str, Any]) -> Step:
    """Verify a cluster, keep the outcome, announce it. Fails when the cluster cannot be used."""
    aim = ClusterTarget.model_validate(target)
    announcer = _Announcer(ctx, "verify_cluster")
    text = f"Verifying namespace {aim.namespace} of cluster {aim.cluster}"
    yield announcer.announce(WorkflowStatus.RUNNING, text)
    verification = yield from _verify(ctx, target)
    result = verification.model_dump(mode="json")
    outcome = {"workflow_id": ctx.instance_id, "verification": result}
    yield ctx.call_activity("save_verification", input=outcome, retry_policy=SIDECAR_RETRY)
    status = WorkflowStatus.COMPLETED if verification.ok else WorkflowStatus.FAILED
    yield announcer.announce(status, verification.message, result)
    if not verification.ok:
        raise ClusterError(verification.message, code=str(verification.code), retryable=False)
    return result


def _verify(ctx: wf.DaprWorkflowContext, target: dict[str, Any]) -> Step:
    try:
        found = yield ctx.call_activity(VERIFY, input=target, retry_policy=_CLUSTER_RETRY)
    except wf.TaskFailedError as error:
        code, message = code_and_message(error.details.message)
        return ClusterVerification(
            target=ClusterTarget.model_validate(target), ok=False, code=code, message=message, claim=""
        )
    return ClusterVerification.model_validate(found)


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
            type=self._workflow, event=VERIFY, workflow_id=self._ctx.instance_id, content=content
        )
        announcement = Announcement(
            subject=self._ctx.instance_id,
            number=self._number,
            notification=NotificationRequest(payload=payload),
        )
        return self._ctx.call_activity(
            "announce", input=announcement.model_dump(mode="json"), retry_policy=SIDECAR_RETRY
        )
