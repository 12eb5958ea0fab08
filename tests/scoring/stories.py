"""Instances of `score_sample` from their first turn to their last, on the SDK's own executor.

Each turn brings one thing: an activity that returns or fails, a timer that fires, an event.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from dapr.ext.workflow._durabletask.internal import helpers

from budeval.domain.score_job import ScoreJob
from budeval.runtime.workflow_engine import NonRetryableError
from budeval.scoring.course import Course
from budeval.scoring.failures import EndpointBusyError
from budeval.scoring.workflows import CANCEL_EVENT, score_sample
from tests.evals.replay import Call, Decision, End, Replay, Timer

Json = dict[str, Any]

METRICS = ("faithfulness", "context_recall")
BUSY = EndpointBusyError("judge j answered 503", "judge_unavailable")
MISTAKE = NonRetryableError("INTERNAL: KeyError in score_metric")
SETTLED: Json = {"outcome": "completed", "advise": True, "code": "INTERNAL", "message": ""}
UNSCORED: Json = {
    "outcome": "failed",
    "advise": False,
    "code": "NOTHING_SCORED",
    "message": "No metric has a value.",
}
CANCELLED: Json = {"outcome": "cancelled", "advise": False, "code": "CANCELLED", "message": "On request."}


def course(**changes: Any) -> Json:
    """The input of a generation; `changes` are of the job."""
    job = ScoreJob.model_validate(
        {"job_id": "0123456789ab", "metrics": METRICS, "judge": "j", "timeout_s": 300, **changes}
    )
    return Course(job=job).model_dump(mode="json")


@dataclass
class Story:
    """One generation; what happened is remembered."""

    argument: Json = field(default_factory=course)
    settled: Json = field(default_factory=lambda: dict(SETTLED))
    failing: dict[str, list[Exception]] = field(default_factory=dict)
    """How the first tries fail, by metric or activity."""
    hanging: frozenset[str] = frozenset()
    """Metrics that never come to an end."""
    cancelled_at: str | None = None
    """The activity before whose end the job is cancelled."""
    calls: list[Call] = field(default_factory=list)
    waits: list[float] = field(default_factory=list)
    """Seconds of the timers that fired."""

    def run(self) -> End:
        """To the end of the generation."""
        self.replay = Replay(score_sample, self.argument)
        pending = list(self.replay.decisions)
        while not isinstance(end := pending[-1], End):
            pending += self._next(pending)
        return end

    def activities(self) -> list[str]:
        """Their names, each try of them."""
        return [call.activity for call in self.calls]

    def argument_of(self, activity: str) -> Any:
        """Of its only call."""
        (argument,) = [call.argument for call in self.calls if call.activity == activity]
        return argument

    def _next(self, pending: list[Decision]) -> list[Decision]:
        """What the workflow decides when the next of what is pending has happened."""
        calls = [one for one in pending if isinstance(one, Call) and _name(one) not in self.hanging]
        if calls and calls[0].activity == self.cancelled_at:
            self.cancelled_at = None
            return self.cancel()
        if calls:
            pending.remove(calls[0])
            return self._carry_out(calls[0])
        timer = min((one for one in pending if isinstance(one, Timer)), key=lambda one: one.seconds)
        pending.remove(timer)
        self.waits.append(timer.seconds)
        return self.replay.fire(timer)

    def cancel(self) -> list[Decision]:
        """The event comes."""
        return self.replay._turn(helpers.new_event_raised_event(CANCEL_EVENT, json.dumps({})))

    def _carry_out(self, call: Call) -> list[Decision]:
        self.calls.append(call)
        failures = self.failing.get(_name(call))
        if failures:
            return self.replay.fail(call, failures.pop(0))
        answers: Json = {
            "score_metric": "scored",
            "write_artifacts": {"scores": {}},
            "settle_job": self.settled,
        }
        return self.replay.complete(call, answers.get(call.activity))


def _name(call: Call) -> str:
    metric: str | None = call.argument.get("metric")
    return metric or call.activity


def many(samples: int) -> Json:
    """The input of a job of many samples with one metric."""
    return course(kind="samples", samples=samples, metrics=METRICS[:1])


RECORDED: dict[str, Callable[[], Story]] = {
    "completed": Story,
    "failed": lambda: Story(settled=UNSCORED),
    "retried": lambda: Story(failing={"faithfulness": [BUSY, BUSY]}),
    "broken": lambda: Story(failing={"faithfulness": [MISTAKE]}),
    "late": lambda: Story(hanging=frozenset({"context_recall"})),
    "cancelled": lambda: Story(settled=CANCELLED, cancelled_at="score_metric"),
    "unadvised": lambda: Story(settled={**SETTLED, "advise": False}),
    "unwritten": lambda: Story(
        settled={**UNSCORED, "code": "ARTIFACTS_UNAVAILABLE"},
        failing={"write_artifacts": [NonRetryableError("ARTIFACTS_UNAVAILABLE: no")]},
    ),
    "continued": lambda: Story(many(40)),
}
"""The stories whose histories are kept, by name."""
