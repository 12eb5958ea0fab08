"""The workflow of scoring as Dapr runs it. Its body only decides; `course` holds the steps."""

from datetime import timedelta
from typing import Any, ClassVar

from dapr.ext import workflow as wf

from budeval.runtime.step_error import StepError
from budeval.runtime.workflow_turn import DaprTurn, Step, step_error
from budeval.scoring.course import CANCELLED, DEADLINE, Course, ScoringCourse

CANCEL_EVENT = "cancel_scoring"

# The one owner of retries: neither clients nor metrics try a busy endpoint again. How long it asks to be left
# alone is the limiter's to keep; the activity counts its tries, and the deadline ends those of all else.
_SCORING_RETRY = wf.RetryPolicy(
    first_retry_interval=timedelta(seconds=1),
    max_number_of_attempts=10_000,
    backoff_coefficient=2.0,
    max_retry_interval=timedelta(seconds=15),
)
# A disk or an object store that is away for a while.
_ARTIFACT_RETRY = wf.RetryPolicy(
    first_retry_interval=timedelta(seconds=1),
    max_number_of_attempts=8,
    backoff_coefficient=2.0,
    max_retry_interval=timedelta(seconds=30),
)


def score_sample(ctx: wf.DaprWorkflowContext, argument: dict[str, Any]) -> Step:
    """One job of scoring, of one sample or of many. Fails when nothing is scored."""
    outcome = yield from ScoringCourse(_Turn(ctx), Course.model_validate(argument)).run()
    if isinstance(outcome, Course):
        ctx.continue_as_new(outcome.model_dump(mode="json"), save_events=True)
        return None
    return outcome


class _Turn(DaprTurn):
    """What a job's course may do."""

    retries: ClassVar = {"write_artifacts": _ARTIFACT_RETRY}

    def score(self, orders: list[dict[str, Any]], limit: timedelta) -> Step:
        tasks = [
            self._ctx.call_activity("score_metric", input=order, retry_policy=_SCORING_RETRY)
            for order in orders
        ]
        # Waited for once in a generation: a waiter that loses would swallow the next event of its name.
        cancelled = self._ctx.wait_for_external_event(CANCEL_EVENT)
        yield wf.when_any([wf.when_all(tasks), self._ctx.create_timer(limit), cancelled])
        late = (CANCELLED, "It was cancelled.") if cancelled.is_complete else (DEADLINE, "Its time is up.")
        return [_failure_of(task, late) for task in tasks]


def _failure_of(task: Any, late: tuple[str, str]) -> StepError | None:
    if not task.is_complete:
        return StepError(*late)
    return step_error(task.get_exception()) if task.is_failed else None
