"""What a workflow's body may do, on Dapr's context: the part that all bodies share."""

from collections.abc import Generator, Mapping
from datetime import datetime, timedelta
from typing import Any, ClassVar

from dapr.ext import workflow as wf

from budeval.errors import code_and_message
from budeval.runtime.step_error import StepError

Step = Generator[Any, Any, Any]

# State store or broker away: nothing may be lost, so for days.
SIDECAR_RETRY = wf.RetryPolicy(
    first_retry_interval=timedelta(seconds=1),
    max_number_of_attempts=10_000,
    backoff_coefficient=2.0,
    max_retry_interval=timedelta(seconds=30),
)


class DaprTurn:
    """One generation's way out of its body."""

    retries: ClassVar[Mapping[str, wf.RetryPolicy]] = {}
    """By activity, where it is not that of the sidecar."""

    def __init__(self, ctx: wf.DaprWorkflowContext) -> None:
        self._ctx = ctx

    @property
    def now(self) -> datetime:
        """UTC without a zone; the same in every replay."""
        now: datetime = self._ctx.current_utc_datetime
        return now

    def call(self, activity: str, argument: Any) -> Step:
        """Run an activity, with retries. Raises StepError when it has failed for good."""
        retry = self.retries.get(activity, SIDECAR_RETRY)
        try:
            return (yield self._ctx.call_activity(activity, input=argument, retry_policy=retry))
        except wf.TaskFailedError as error:
            raise step_error(error) from error

    def say(self, status: str) -> None:
        """What Dapr's own workflow API shows as custom status."""
        self._ctx.set_custom_status(status)


def step_error(error: wf.TaskFailedError) -> StepError:
    """A failure as it came through Dapr."""
    return StepError(*code_and_message(error.details.message))
