"""The workflow `score_sample` on the SDK's own executor: what Dapr is asked for, turn by turn."""

from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from dapr.ext.workflow._durabletask.task import CompletableTask

from budeval.errors import ArtifactError, SidecarError
from budeval.scoring.course import SAMPLES_PER_GENERATION, Course
from budeval.scoring.failures import EndpointBusyError
from budeval.scoring.workflows import CANCEL_EVENT, score_sample
from tests.evals import purity
from tests.evals.replay import (
    INSTANCE,
    Call,
    Decision,
    End,
    Replay,
    Timer,
    decisions,
    execute,
    read_history,
    turns,
)
from tests.scoring.stories import (
    BUSY,
    CANCELLED,
    METRICS,
    MISTAKE,
    RECORDED,
    SETTLED,
    UNSCORED,
    Json,
    Story,
    course,
    many,
)

_HISTORIES = sorted((Path(__file__).parent / "histories").glob("*.json"))
_FOR_EVER = 1e9
"""Seconds, beyond which a timer is none: the SDK's sign of a wait for an event that has no end."""
_END = ["write_artifacts", "settle_job", "announce_scores"]
_ADVICE = ["advise", "announce_scores"]
_ORDER = {"job_id": "0123456789ab", "attempt": 1}
_DEADLINE = "2026-01-01T00:05:00"


def _begun(**changes: Any) -> Replay:
    """An instance whose metrics are under way."""
    replay = Replay(score_sample, course(**changes))
    (begin,) = replay.decisions
    assert isinstance(begin, Call)
    replay.complete(begin)
    return replay


def _scoring(replay: Replay) -> list[Call]:
    return [one for one in replay.decisions if isinstance(one, Call) and one.activity == "score_metric"]


def test_the_activities_of_a_job_are_called_in_order() -> None:
    """With ids and numbers only: texts have no place in a history."""
    story = Story()

    end = story.run()

    assert story.activities() == ["begin_scoring", "score_metric", "score_metric", *_END, *_ADVICE, "end_job"]
    assert story.argument_of("begin_scoring") == story.argument_of("end_job") == _ORDER
    assert story.argument_of("write_artifacts") == story.argument_of("advise") == {**_ORDER, "late": False}
    assert story.argument_of("settle_job") == {**_ORDER, "result": {"scores": {}}, "problem": None}
    assert (end.status, end.result) == ("COMPLETED", SETTLED)


def test_all_metrics_are_asked_for_at_once_under_a_deadline() -> None:
    """Each with the same deadline, that of a timer of Dapr's, which no restart forgets."""
    replay = _begun()

    calls = _scoring(replay)
    (limit,) = [one.seconds for one in replay.decisions if isinstance(one, Timer) and one.seconds < _FOR_EVER]
    assert [call.argument for call in calls] == [
        {**_ORDER, "sample": 1, "metric": metric, "deadline": _DEADLINE} for metric in METRICS
    ]
    assert limit == 300


def test_events_are_numbered_on_from_the_last_attempt() -> None:
    """A repetition of a job does not say anything under an old id."""
    argument = {**course(attempt=2), "announced": 4}
    story = Story(argument)

    story.run()

    told = [call.argument for call in story.calls if call.activity == "announce_scores"]
    assert [(one["number"], one["advice"], one["attempt"]) for one in told] == [(5, False, 2), (6, True, 2)]


def test_a_job_without_a_score_fails_its_workflow() -> None:
    """After its end was written and told; with the reason as `CODE: message`."""
    story = Story(settled=UNSCORED)

    end = story.run()

    assert story.activities()[-1] == "end_job"
    assert "advise" not in story.activities()
    assert (end.status, end.result) == ("FAILED", None)
    assert end.failure == "NOTHING_SCORED: No metric has a value."


def test_a_busy_endpoint_is_asked_again_ever_more_rarely() -> None:
    """That metric alone; the others do not wait for it."""
    story = Story(failing={"faithfulness": [BUSY] * 7})

    end = story.run()

    tried = [call.argument["metric"] for call in story.calls if call.activity == "score_metric"]
    assert tried == ["faithfulness", "context_recall", *["faithfulness"] * 7]
    assert story.waits == [1, 2, 4, 8, 15, 15, 15]
    assert "give_up_metrics" not in story.activities()
    assert end.status == "COMPLETED"


def test_a_mistake_ends_its_own_metric_only() -> None:
    """It is not tried again, the others come to their end, and it has the reason that is its own."""
    story = Story(failing={"faithfulness": [MISTAKE]})

    end = story.run()

    assert story.activities().count("score_metric") == 2
    assert story.argument_of("give_up_metrics")["given_up"] == [
        {"sample": 1, "metric": "faithfulness", "code": "INTERNAL", "message": "KeyError in score_metric"}
    ]
    assert story.argument_of("write_artifacts")["late"] is False
    assert end.status == "COMPLETED"


def test_the_deadline_gives_up_what_has_not_ended() -> None:
    """And only that; then the job goes on to its end."""
    story = Story(hanging=frozenset({"context_recall"}))

    end = story.run()

    assert story.waits == [300]
    (given_up,) = story.argument_of("give_up_metrics")["given_up"]
    assert (given_up["sample"], given_up["metric"], given_up["code"]) == (1, "context_recall", "DEADLINE")
    assert story.argument_of("write_artifacts")["late"] is True
    assert end.status == "COMPLETED"


def test_the_deadline_ends_retries_too() -> None:
    """An endpoint that stays busy has no more time than one that hangs."""
    replay = _begun(metrics=METRICS[:1], timeout_s=2)
    (call,) = _scoring(replay)
    (limit,) = [one for one in replay.decisions if isinstance(one, Timer) and one.seconds < _FOR_EVER]
    replay.fail(call, EndpointBusyError("away", "judge_unavailable"))

    replay.fire(limit)

    (give_up,) = replay.decisions
    assert isinstance(give_up, Call)
    assert (give_up.activity, give_up.argument["given_up"][0]["code"]) == ("give_up_metrics", "DEADLINE")


@pytest.mark.parametrize("before", ["begin_scoring", "score_metric"])
def test_a_cancellation_is_acted_upon_at_once(before: str) -> None:
    """Also where it comes before anything was asked for; nothing is waited for any more."""
    story = Story(settled=CANCELLED, hanging=frozenset({"context_recall"}), cancelled_at=before)

    end = story.run()

    codes = {item["code"] for item in story.argument_of("give_up_metrics")["given_up"]}
    assert codes == {"CANCELLED"}
    assert story.waits == []
    assert story.activities()[-4:] == [*_END, "end_job"]
    assert end.status == "COMPLETED"


def test_what_was_scored_before_a_cancellation_is_not_given_up() -> None:
    """It stays known."""
    replay = _begun()
    first, _ = _scoring(replay)
    replay.complete(first, "scored")

    story = Story(settled=CANCELLED)
    story.replay = replay
    (give_up,) = story.cancel()

    assert isinstance(give_up, Call)
    assert [item["metric"] for item in give_up.argument["given_up"]] == ["context_recall"]


def test_advice_may_be_left_out() -> None:
    """As the settled job says."""
    story = Story(settled={**SETTLED, "advise": False})

    story.run()

    assert story.activities()[-4:] == [*_END, "end_job"]


def test_a_place_that_takes_no_artifacts_is_given_up_after_minutes() -> None:
    """The job fails with its reason, and says so like any other."""
    story = Story(settled=UNSCORED, failing={"write_artifacts": [ArtifactError("the disk is full")] * 9})

    end = story.run()

    assert story.activities().count("write_artifacts") == 8
    assert story.waits == [1, 2, 4, 8, 16, 30, 30]
    assert story.argument_of("settle_job") == {
        **_ORDER,
        "result": None,
        "problem": "ARTIFACTS_UNAVAILABLE: the disk is full",
    }
    assert end.status == "FAILED"


@pytest.mark.parametrize("activity", ["begin_scoring", "settle_job", "announce_scores", "end_job"])
def test_a_sidecar_that_is_away_is_waited_for(activity: str) -> None:
    """For as long as it takes; nothing is left out."""
    story = Story(failing={activity: [SidecarError("away")] * 40})

    end = story.run()

    assert sum(story.waits) > 1000
    assert max(story.waits) == 30
    assert end.status == "COMPLETED"


def test_many_samples_are_several_generations() -> None:
    """Each continues with number, deadline and events of the one before."""
    argument = {**many(2 * SAMPLES_PER_GENERATION + 1), "announced": 3}
    first = Story(argument)
    end = first.run()
    assert end.status == "CONTINUED_AS_NEW"
    second = Story(end.result)
    again = second.run()
    last = Story(again.result)

    ended = last.run()

    assert first.activities() == [
        "begin_scoring",
        *["score_metric"] * SAMPLES_PER_GENERATION,
        "note_progress",
    ]
    assert first.argument_of("note_progress") == {**_ORDER, "done": SAMPLES_PER_GENERATION}
    assert second.activities() == [*["score_metric"] * SAMPLES_PER_GENERATION, "note_progress"]
    carried = Course.model_validate(again.result)
    assert (carried.next, carried.announced) == (2 * SAMPLES_PER_GENERATION + 1, 3)
    assert carried.deadline == datetime(2026, 1, 1, 0, 5)  # noqa: DTZ001 - the SDK's clock is naive
    numbers = [
        call.argument["sample"]
        for story in (first, second, last)
        for call in story.calls
        if call.activity == "score_metric"
    ]
    assert numbers == list(range(1, 2 * SAMPLES_PER_GENERATION + 2))
    assert ended.status == "COMPLETED"


def test_a_generation_after_the_deadline_waits_for_nothing() -> None:
    """What it asked for is given up in the next turn, and there is no further generation."""
    argument = {**many(3 * SAMPLES_PER_GENERATION), "deadline": "2025-12-31T23:59:00", "next": 33}
    story = Story(argument, hanging=frozenset(METRICS))

    end = story.run()

    assert story.waits == [0]
    assert len(story.argument_of("give_up_metrics")["given_up"]) == SAMPLES_PER_GENERATION
    assert story.argument_of("write_artifacts")["late"] is True
    assert end.status == "COMPLETED"


def test_an_input_that_is_none_fails_the_workflow_at_once() -> None:
    """One that this version does not understand leads to no activity."""
    (end,) = Replay(score_sample, {"job": {"job_id": "../escape"}}).decisions

    assert isinstance(end, End)
    assert end.status == "FAILED"
    assert "job_id" in str(end.failure)


@pytest.mark.parametrize("name", RECORDED)
def test_a_replay_of_everything_decides_the_same(name: str) -> None:
    """As after a restart of the service in the last turn."""
    story = RECORDED[name]()
    story.run()
    whole = [event for event in story.replay.history if not event.HasField("executionCompleted")]

    assert decisions(execute(score_sample, INSTANCE, [], whole)) == story.replay.decisions


@pytest.mark.parametrize("path", _HISTORIES, ids=lambda path: path.stem)
def test_earlier_histories_still_fit(path: Path) -> None:
    """Instances that an earlier version began are continued by this one with the same decisions.

    If this fails, instances that run during an update would fail, too: give the workflow another name, or
    tell the versions apart (`is_patched`).
    """
    history = read_history(path)
    instance = history[1].executionStarted.workflowInstance.instanceId
    recorded = turns(history)

    decided: list[list[Decision]] = [
        decisions(execute(score_sample, instance, old, new)) for old, new, _ in recorded
    ]

    assert decided == [told for _, _, told in recorded]
    assert len(decided) >= 5


def test_each_story_has_a_history() -> None:
    """So that a change which would break instances under way is noticed."""
    assert {path.stem for path in _HISTORIES} == set(RECORDED)


class FakeContext:
    """Gives the body what the SDK would: tasks of the SDK's own, and nothing around them."""

    current_utc_datetime = datetime(2026, 1, 1, tzinfo=UTC).replace(tzinfo=None)

    def __init__(self) -> None:
        self.called: list[str] = []
        self.next: Json | None = None

    def call_activity(self, activity: str, *, input: Any, retry_policy: Any) -> CompletableTask[Any]:  # noqa: A002, ARG002
        """Has succeeded already."""
        self.called.append(activity)
        task: CompletableTask[Any] = CompletableTask()
        task.complete(SETTLED if activity == "settle_job" else None)
        return task

    def create_timer(self, _wait: timedelta) -> CompletableTask[Any]:
        """Never fires."""
        return CompletableTask()

    def wait_for_external_event(self, name: str) -> CompletableTask[Any]:
        """Never comes."""
        assert name == CANCEL_EVENT
        return CompletableTask()

    def set_custom_status(self, status: str) -> None:
        """Shown by nobody."""

    def continue_as_new(self, argument: Json, *, save_events: bool) -> None:
        """Taken down; an event that came meanwhile is for the next generation."""
        assert save_events
        self.next = argument


def _run_body(argument: Json) -> FakeContext:
    context = FakeContext()
    body = score_sample(context, argument)
    with suppress(StopIteration):
        task = next(body)
        while True:
            task = body.send(task.get_result())
    return context


@pytest.mark.parametrize(
    ("argument", "last"), [(course(), "end_job"), (many(40), "note_progress")], ids=["sample", "generation"]
)
def test_the_body_does_nothing_itself(argument: Json, last: str) -> None:
    """No file, socket, process, environment, clock or chance: what a replay could not repeat."""
    with purity.noticed() as calls:
        context = _run_body(argument)

    assert context.called[-1] == last
    assert (context.next is None) == (last == "end_job")
    assert calls == []
