"""The workflow `evaluate_model` on the SDK's own executor: what Dapr is asked for, turn by turn."""

import json
from dataclasses import dataclass, field
from typing import Any

import pytest
from dapr.ext.workflow._durabletask.internal import helpers

from budeval.errors import ClusterError, SidecarError
from budeval.evals.evaluate import Course
from budeval.evals.workflows import evaluate_model
from tests.evals import samples
from tests.evals.replay import INSTANCE, Call, Decision, End, Replay, Timer, decisions, execute

Json = dict[str, Any]

_AWAY = ClusterError("nobody answers", code="CLUSTER_UNREACHABLE", retryable=True)


def _course() -> Json:
    evaluation = samples.evaluation(timeouts={"start": 600, "run": 1000})
    return Course(evaluation=evaluation).model_dump(mode="json")


@dataclass
class Story:
    """Lets activities succeed and time pass, until the workflow ends; what it did is remembered."""

    states: list[str]
    """What each look sees; the last one for ever."""
    failing: dict[str, Exception] = field(default_factory=dict)
    argument: Json = field(default_factory=_course)
    calls: list[Call] = field(default_factory=list)
    timers: list[float] = field(default_factory=list)
    ticks: int = 0

    def run(self) -> End:
        """To the end of this generation."""
        self.replay = Replay(evaluate_model, self.argument)
        while not isinstance(decision := self._next(), End):
            if isinstance(decision, Timer):
                self.timers.append(decision.seconds)
                self.replay.fire(decision)
            else:
                self._carry_out(decision)
        return decision

    def activities(self) -> list[str]:
        """Announcements left out."""
        return [call.activity for call in self.calls if call.activity != "announce_event"]

    def numbers(self) -> list[int]:
        """Of the announcements, once each: a repetition is the same announcement."""
        orders = [call.argument for call in self.calls if call.activity == "announce_event"]
        return list(dict.fromkeys(order["announcement"]["number"] for order in orders))

    def _next(self) -> Decision:
        (decision,) = self.replay.decisions
        return decision

    def _carry_out(self, call: Call) -> None:
        self.calls.append(call)
        if call.activity in self.failing:
            self.replay.fail(call, self.failing[call.activity])
        else:
            self.replay.complete(call, self._answer(call))

    def _answer(self, call: Call) -> Any:
        if call.activity in {"check_jobs_status", "read_snapshot"}:
            state = self.states[min(self.ticks, len(self.states) - 1)]
            self.ticks += 1
            return {"tick": self.ticks, "runs": [{"run_id": "r-1", "state": state, "job": "j", "uid": "u"}]}
        summary = "Extracted 1 scores from 1 runs"
        report = {
            "summary": summary,
            "outcome": "COMPLETED",
            "error": "",
            "code": "",
            "message": "",
            "shown": "",
        }
        return {
            "verify_evaluation_cluster": {"ok": True, "message": "fine"},
            "prepare_engine": "an engine",
            "deploy_eval_job": [{"run_id": "r-1", "job": "j", "code": None, "message": None}],
            "extract_eval_results": summary,
            "report_results": report,
            "workflow_output": {"extraction_results": []},
        }.get(call.activity)


def test_an_evaluation_calls_its_activities_in_order() -> None:
    """One after the other; while it waits for the watcher there is nothing but a timer."""
    story = Story(["running", "succeeded"])

    end = story.run()

    assert story.activities() == [
        "verify_evaluation_cluster",
        "prepare_engine",
        "deploy_eval_job",
        "register_with_watcher",
        "check_jobs_status",
        "register_with_watcher",
        "check_jobs_status",
        "extract_eval_results",
        "report_results",
        "leave_watcher",
        "cleanup_evaluation",
        "end_evaluation",
        "workflow_output",
    ]
    assert story.timers == [15, 30]
    assert (end.status, end.result) == ("COMPLETED", {"extraction_results": []})
    assert story.numbers() == list(range(1, len(story.numbers()) + 1))


def test_silence_is_broken_ever_more_rarely() -> None:
    """15 s at first, two minutes at last; then the next generation goes on with numbers and state."""
    story = Story(["running"])

    end = story.run()

    assert story.timers[:5] == [15, 30, 60, 120, 120]
    assert end.status == "CONTINUED_AS_NEW"
    course = Course.model_validate(end.result)
    assert course.announced == story.numbers()[-1]
    assert course.monitor is not None
    assert course.monitor.runs["r-1"].seen.state == "running"

    after = Story(["succeeded"], argument=end.result, ticks=story.ticks)
    ended = after.run()

    assert ended.status == "COMPLETED"
    assert "deploy_eval_job" not in after.activities()
    assert after.numbers()[0] == story.numbers()[-1] + 1


def test_who_is_woken_reads_the_snapshot_at_once() -> None:
    """The timer that still runs then is of no consequence."""
    story = Story(["succeeded"])
    story.replay = Replay(evaluate_model, story.argument)
    while isinstance(decision := story._next(), Call):
        story._carry_out(decision)

    story.replay._turn(helpers.new_event_raised_event("runs_changed", json.dumps({"check": False})))

    assert [decision.activity for decision in story.replay.decisions if isinstance(decision, Call)] == [
        "read_snapshot"
    ]


def test_an_event_that_comes_early_is_not_lost() -> None:
    """The watcher may be faster than the evaluation that has just registered."""
    story = Story(["succeeded"])
    story.replay = Replay(evaluate_model, story.argument)
    while isinstance(decision := story._next(), Call) and decision.activity != "register_with_watcher":
        story._carry_out(decision)
    first = story._next()
    assert isinstance(first, Call)
    story.replay._turn(helpers.new_event_raised_event("runs_changed", json.dumps({"check": False})))

    story.replay.complete(first)
    while isinstance(decision := story._next(), Call) and decision.activity == "announce_event":
        story._carry_out(decision)

    assert isinstance(decision, Call)
    assert decision.activity == "read_snapshot"


@pytest.mark.parametrize("activity", ["verify_evaluation_cluster", "deploy_eval_job", "extract_eval_results"])
def test_a_cluster_is_tried_until_patience_ends(activity: str) -> None:
    """For `timeouts.start`; then the step has failed, and the evaluation."""
    story = Story(["succeeded"], failing={activity: _AWAY})

    story.run()

    tries = [decision for decision in story.activities() if decision == activity]
    assert len(tries) % 3 == 0
    waited = sum(seconds for seconds in story.timers if seconds > 0)
    assert 600 <= waited < 900
    (failure,) = [call.argument for call in story.calls if call.activity == "record_failure"]
    assert (failure["code"], failure["message"]) == ("CLUSTER_UNREACHABLE", "nobody answers")
    said = [call.argument["announcement"] for call in story.calls if call.activity == "announce_event"]
    contents = [one["notification"]["payload"]["content"] for one in said]
    assert "CLUSTER_UNREACHABLE: nobody answers" in {content["message"] for content in contents}


def test_a_broker_that_is_away_is_waited_for() -> None:
    """Nothing that was to be told is left out: the same announcement is tried again and again."""
    story = Story(["succeeded"])
    story.replay = Replay(evaluate_model, story.argument)
    waits = []
    for _ in range(20):
        call = story._next()
        assert isinstance(call, Call)
        assert call.argument["announcement"]["number"] == 1
        story.replay.fail(call, SidecarError("away"))
        timer = story._next()
        assert isinstance(timer, Timer)
        waits.append(timer.seconds)
        story.replay.fire(timer)

    assert waits[:5] == [1, 2, 4, 8, 16]
    assert max(waits) == 30


def test_a_failed_evaluation_fails_its_workflow() -> None:
    """With the first run's reason, as `CODE: message`; its output does not pretend otherwise."""
    story = Story(["failed"])
    answer = story._answer

    def failed(call: Call) -> Any:
        report = {"outcome": "FAILED", "error": "OOM: too much", "code": "OOM", "message": "too much"}
        return (
            {"summary": "s", "shown": "{}", **report} if call.activity == "report_results" else answer(call)
        )

    story._answer = failed  # type: ignore[method-assign]
    end = story.run()

    assert (end.status, end.result) == ("FAILED", None)
    assert "OOM: too much" in str(end.failure)
    assert "cleanup_evaluation" in story.activities()
    assert "workflow_output" not in story.activities()


def test_a_replay_of_everything_decides_the_same() -> None:
    """As after a restart of the service in the last turn."""
    story = Story(["running", "succeeded"])
    story.run()
    whole = [event for event in story.replay.history if not event.HasField("executionCompleted")]

    assert decisions(execute(evaluate_model, INSTANCE, [], whole)) == story.replay.decisions


def test_no_history_holds_rows_or_keys() -> None:
    """Arguments are ids and facts; an evaluation has no field for anything else."""
    story = Story(["running", "succeeded"])
    story.run()

    for call in story.calls:
        if call.activity not in {"announce_event", "verify_evaluation_cluster"}:
            assert set(call.argument) <= {"eval_id", "run_ids", "attempt", "runs", "outcome"}
