"""Plays the sidecar for one workflow: hands the SDK's own executor what Dapr would, turn by turn."""

import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from dapr.ext import workflow as wf
from dapr.ext.workflow._durabletask.internal import helpers
from dapr.ext.workflow._durabletask.internal import protos as pb
from dapr.ext.workflow._durabletask.worker import _OrchestrationExecutor, _Registry
from google.protobuf import json_format  # type: ignore[import-untyped]

INSTANCE = "verify-1"
_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - protobuf's times are naive

Body = Callable[..., Any]


@dataclass(frozen=True)
class Call:
    """The workflow calls an activity."""

    number: int
    activity: str
    argument: Any


@dataclass(frozen=True)
class Timer:
    """The workflow waits: before it tries again, for the next look, or for an event at most so long."""

    number: int
    seconds: float


@dataclass(frozen=True)
class End:
    """The workflow ended."""

    status: str
    result: Any = None
    failure: str | None = None


Decision = Call | Timer | End


class Replay:
    """One instance of a workflow, with its history so far."""

    def __init__(self, body: Body, argument: Any) -> None:
        self._body = body
        self._now = datetime(2026, 1, 1)  # noqa: DTZ001 - the SDK's clock is naive
        self.history: list[Any] = []
        start = helpers.new_execution_started_event(body.__name__, INSTANCE, json.dumps(argument))
        self.decisions = self._turn(start)

    def complete(self, call: Call, result: Any = None) -> list[Decision]:
        """The activity returned; what the workflow decides now."""
        encoded = None if result is None else json.dumps(result)
        return self._turn(helpers.new_task_completed_event(call.number, encoded))

    def fail(self, call: Call, error: Exception) -> list[Decision]:
        """The activity raised; what the workflow decides now."""
        return self._turn(helpers.new_task_failed_event(call.number, error))

    def fire(self, timer: Timer) -> list[Decision]:
        """The time has come; what the workflow decides now."""
        self._now += timedelta(seconds=timer.seconds)
        return self._turn(helpers.new_timer_fired_event(timer.number, self._now))

    def _turn(self, event: Any) -> list[Decision]:
        new = [helpers.new_workflow_started_event(self._now), event]
        actions = execute(self._body, INSTANCE, self.history, new)
        self.history += [*new, *(_confirmation(action) for action in actions)]
        self.decisions = [_decision(action, self._now) for action in actions]
        return self.decisions


def execute(body: Body, instance: str, old: list[Any], new: list[Any]) -> list[Any]:
    """The actions that a workflow takes when it is replayed over `old` and then sees `new`."""
    registry = _Registry()
    registry.add_named_orchestrator(
        body.__name__, lambda ctx, argument: body(wf.DaprWorkflowContext(ctx), argument)
    )
    executor = _OrchestrationExecutor(registry, logging.getLogger(__name__))
    return list(executor.execute(instance, old, new).actions)


def decisions(actions: list[Any]) -> list[Decision]:
    """Actions in words that can be compared; timers by the time at which they fire."""
    return [_decision(action, _EPOCH) for action in actions]


def read_history(path: Path) -> list[Any]:
    """A history as Dapr had it in its state store, each event in protobuf's JSON."""
    return [json_format.ParseDict(event, pb.HistoryEvent()) for event in json.loads(path.read_text())]


def turns(history: list[Any]) -> list[tuple[list[Any], list[Any], list[Decision]]]:
    """What each turn knew, what it saw anew, and what was then decided, as the history tells it."""
    starts = [at for at, event in enumerate(history) if event.HasField("workflowStarted")]
    found = []
    for start, end in zip(starts, [*starts[1:], len(history)], strict=True):
        turn = history[start:end]
        told = [decided for event in turn if (decided := _recorded_decision(event))]
        seen = [event for event in turn if not _recorded_decision(event)]
        found.append((history[:start], seen, told))
    return found


def _decision(action: Any, now: datetime) -> Decision:
    if action.HasField("scheduleTask"):
        task = action.scheduleTask
        return Call(action.id, task.name, _decoded(task.input))
    if action.HasField("createTimer"):
        return Timer(action.id, (action.createTimer.fireAt.ToDatetime() - now).total_seconds())
    return _end(action.completeWorkflow)


def _recorded_decision(event: Any) -> Decision | None:
    if event.HasField("taskScheduled"):
        return Call(event.eventId, event.taskScheduled.name, _decoded(event.taskScheduled.input))
    if event.HasField("timerCreated"):
        return Timer(event.eventId, (event.timerCreated.fireAt.ToDatetime() - _EPOCH).total_seconds())
    return _end(event.executionCompleted) if event.HasField("executionCompleted") else None


def _end(completion: Any) -> End:
    status = helpers.get_orchestration_status_str(completion.workflowStatus)
    failure = completion.failureDetails.errorMessage or None
    return End(status, _decoded(completion.result), failure)


def _decoded(text: Any) -> Any:
    return json.loads(text.value) if text.value else None


def _confirmation(action: Any) -> Any:
    if action.HasField("scheduleTask"):
        task = action.scheduleTask
        return helpers.new_task_scheduled_event(action.id, task.name, task.input.value)
    if action.HasField("createTimer"):
        # To the nanosecond: by its time the SDK knows the timer of a wait that has no end.
        return helpers.new_timer_created_event(action.id, action.createTimer.fireAt)
    completed = pb.ExecutionCompletedEvent(
        workflowStatus=action.completeWorkflow.workflowStatus,
        result=action.completeWorkflow.result,
        failureDetails=action.completeWorkflow.failureDetails,
    )
    return pb.HistoryEvent(eventId=action.id, executionCompleted=completed)
