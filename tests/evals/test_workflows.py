"""The bodies of workflows, replayed by the SDK's own executor."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from budeval.errors import ClusterError
from budeval.evals.workflows import evaluate_model, verify_cluster, watch_cluster
from tests.evals import purity
from tests.evals.replay import (
    INSTANCE,
    Body,
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

_BODIES: dict[str, Body] = {body.__name__: body for body in (verify_cluster, evaluate_model, watch_cluster)}
_LEAST_TURNS = 5
_HISTORIES = sorted((Path(__file__).parent / "histories").glob("*.json"))
_TARGET = {"cluster": "local", "namespace": "team-a"}
_USABLE = {
    "target": _TARGET,
    "ok": True,
    "code": None,
    "message": "Evaluations can run.",
    "server_version": "v1.34.4",
    "claim": "a-claim",
    "claim_phase": "Bound",
}
_UNUSABLE = {**_USABLE, "ok": False, "code": "FORBIDDEN", "message": "You may not.", "claim_phase": None}
_UNREACHABLE = ClusterError("nobody answers", code="CLUSTER_UNREACHABLE", retryable=True)


def _only_call(replay: Replay) -> Call:
    (decision,) = replay.decisions
    assert isinstance(decision, Call)
    return decision


def _only_timer(replay: Replay) -> Timer:
    (decision,) = replay.decisions
    assert isinstance(decision, Timer)
    return decision


def _carry_out(replay: Replay, results: dict[str, Any]) -> list[Call]:
    """Let every activity succeed, until the workflow ends; the calls in their order."""
    calls = []
    while not isinstance(replay.decisions[0], End):
        calls.append(_only_call(replay))
        replay.complete(calls[-1], results.get(calls[-1].activity))
    return calls


def _fail_until_given_up(replay: Replay, error: Exception) -> list[float]:
    """Let the activity that is called now fail each time; the seconds between the tries."""
    activity = _only_call(replay).activity
    waits: list[float] = []
    while True:
        call = _only_call(replay)
        if call.activity != activity:
            return waits
        replay.fail(call, error)
        if isinstance(replay.decisions[0], Timer):
            waits.append(_only_timer(replay).seconds)
            replay.fire(_only_timer(replay))


def _announcements(calls: list[Call]) -> list[dict[str, Any]]:
    return [call.argument for call in calls if call.activity == "announce"]


@pytest.mark.parametrize("found", [_USABLE, _UNUSABLE], ids=["usable", "unusable"])
def test_verifying_calls_its_activities_in_order(found: dict[str, Any]) -> None:
    """Announce the start, look at the cluster, keep the outcome, and only then announce it."""
    replay = Replay(verify_cluster, _TARGET)

    calls = _carry_out(replay, {"verify_cluster_connection": found})

    assert [call.activity for call in calls] == [
        "announce",
        "verify_cluster_connection",
        "save_verification",
        "announce",
    ]
    assert calls[1].argument == _TARGET
    assert calls[2].argument == {"workflow_id": INSTANCE, "verification": found}


def test_a_usable_cluster_completes_the_workflow() -> None:
    """The workflow's result is what was found."""
    replay = Replay(verify_cluster, _TARGET)

    _carry_out(replay, {"verify_cluster_connection": _USABLE})

    assert replay.decisions == [End("COMPLETED", result=_USABLE)]


def test_an_unusable_cluster_fails_the_workflow() -> None:
    """A reason why not is never a success: the failure is `CODE: message`."""
    replay = Replay(verify_cluster, _TARGET)

    _carry_out(replay, {"verify_cluster_connection": _UNUSABLE})

    assert replay.decisions == [End("FAILED", failure="FORBIDDEN: You may not.")]


@pytest.mark.parametrize(
    ("found", "status"), [(_USABLE, "COMPLETED"), (_UNUSABLE, "FAILED")], ids=["usable", "unusable"]
)
def test_the_outcome_is_announced(found: dict[str, Any], status: str) -> None:
    """Consumers get RUNNING, then the outcome with all that was found, numbered without a gap."""
    replay = Replay(verify_cluster, _TARGET)

    calls = _carry_out(replay, {"verify_cluster_connection": found})

    first, last = _announcements(calls)
    assert [(one["subject"], one["number"]) for one in (first, last)] == [(INSTANCE, 1), (INSTANCE, 2)]
    payloads = [one["notification"]["payload"] for one in (first, last)]
    assert [payload["content"]["status"] for payload in payloads] == ["RUNNING", status]
    assert {payload["workflow_id"] for payload in payloads} == {INSTANCE}
    assert {payload["type"] for payload in payloads} == {"verify_cluster"}
    assert {payload["event"] for payload in payloads} == {"verify_cluster_connection"}
    assert payloads[0]["content"]["result"] is None
    assert payloads[1]["content"]["result"] == found
    assert payloads[1]["content"]["message"] == found["message"]


def test_a_cluster_that_stays_away_is_given_up() -> None:
    """After three tries, with growing pauses, the outcome is saved and announced like any other."""
    replay = Replay(verify_cluster, _TARGET)
    replay.complete(_only_call(replay))

    waits = _fail_until_given_up(replay, _UNREACHABLE)
    calls = _carry_out(replay, {})

    outcome = calls[0].argument["verification"]
    (announced,) = _announcements(calls)
    assert waits == [2.0, 4.0]
    assert [call.activity for call in calls] == ["save_verification", "announce"]
    assert (outcome["ok"], outcome["code"], outcome["message"]) == (
        False,
        "CLUSTER_UNREACHABLE",
        "nobody answers",
    )
    assert announced["number"] == 2
    assert announced["notification"]["payload"]["content"]["status"] == "FAILED"
    assert announced["notification"]["payload"]["content"]["result"] == outcome
    assert replay.decisions == [End("FAILED", failure="CLUSTER_UNREACHABLE: nobody answers")]


@pytest.mark.parametrize("text", ["something broke", "note: no code", "", "Code: like one"])
def test_a_failure_without_a_code_is_internal(text: str) -> None:
    """Only our own errors carry a code; any other exception is INTERNAL, its text kept."""
    replay = Replay(verify_cluster, _TARGET)
    replay.complete(_only_call(replay))

    _fail_until_given_up(replay, RuntimeError(text))
    _carry_out(replay, {})

    assert replay.decisions == [End("FAILED", failure=f"INTERNAL: {text}")]


def test_a_cluster_that_comes_back_is_used() -> None:
    """One failed try leaves no trace in the outcome."""
    replay = Replay(verify_cluster, _TARGET)
    replay.complete(_only_call(replay))
    replay.fail(_only_call(replay), _UNREACHABLE)
    replay.fire(_only_timer(replay))

    calls = _carry_out(replay, {"verify_cluster_connection": _USABLE})

    assert [call.activity for call in calls] == [
        "verify_cluster_connection",
        "save_verification",
        "announce",
    ]
    assert replay.decisions == [End("COMPLETED", result=_USABLE)]


@pytest.mark.parametrize("before", [0, 2, 3], ids=["first-announcement", "outcome", "last-announcement"])
def test_a_sidecar_that_is_away_is_waited_for(before: int) -> None:
    """Nothing is skipped while state store or broker is away: the step is tried for about an hour."""
    replay = Replay(verify_cluster, _TARGET)
    for _ in range(before):
        call = _only_call(replay)
        replay.complete(call, _USABLE if call.activity == "verify_cluster_connection" else None)
    step = _only_call(replay)

    waited = 0.0
    while waited < 3000:
        replay.fail(_only_call(replay), ConnectionError("the sidecar is away"))
        waited += _only_timer(replay).seconds
        replay.fire(_only_timer(replay))

    again = _only_call(replay)
    assert (again.activity, again.argument) == (step.activity, step.argument)


def test_a_target_that_is_not_one_fails_the_workflow_at_once() -> None:
    """An input that this version does not understand leads to no activity."""
    replay = Replay(verify_cluster, {"cluster": "../escape", "namespace": "team-a"})

    (end,) = replay.decisions
    assert isinstance(end, End)
    assert end.status == "FAILED"
    assert "cluster" in str(end.failure)


@pytest.mark.parametrize("found", [_USABLE, _UNUSABLE], ids=["usable", "unusable"])
def test_a_replay_of_everything_decides_nothing_new(found: dict[str, Any]) -> None:
    """A worker that takes over at the last turn comes to the same end, and calls no activity again."""
    replay = Replay(verify_cluster, _TARGET)
    _carry_out(replay, {"verify_cluster_connection": found})
    whole = [event for event in replay.history if not event.HasField("executionCompleted")]

    again = decisions(execute(verify_cluster, INSTANCE, [], whole))

    assert again == replay.decisions


@pytest.mark.parametrize("path", _HISTORIES, ids=lambda path: path.stem)
def test_histories_of_real_runs_still_fit(path: Path) -> None:
    """Instances that an earlier version began are continued by this one with the same decisions.

    The histories were taken from the state store of a real sidecar. If this fails, instances that run during
    an update would fail, too: give the workflow another name, or tell the versions apart (`is_patched`).
    """
    history = read_history(path)
    started = history[1].executionStarted
    body = _BODIES[started.name]
    recorded = turns(history)

    decided: list[list[Decision]] = [
        decisions(execute(body, started.workflowInstance.instanceId, old, new)) for old, new, _ in recorded
    ]

    told = [told for _, _, told in recorded]
    assert [_as_far_as_told(*pair) for pair in zip(decided, told, strict=True)] == told
    assert len(decided) >= _LEAST_TURNS


def _as_far_as_told(decided: list[Decision], told: list[Decision]) -> list[Decision]:
    """Without what arguments say beyond those of then: Dapr compares the activities' names alone."""
    return [*map(_without_news, decided, told), *decided[len(told) :]]


def _without_news(decision: Decision, told: Decision) -> Decision:
    match decision, told:
        case Call(argument=dict(now)), Call(argument=dict(then)):
            return replace(decision, argument={name: value for name, value in now.items() if name in then})
    return decision


def test_each_workflow_has_a_history() -> None:
    """Of a real run, so that a change that would break instances under way is noticed."""
    recorded = {read_history(path)[1].executionStarted.name for path in _HISTORIES}

    assert recorded == set(_BODIES)


class FakeContext:
    """Gives the body what the SDK would, without the SDK."""

    instance_id = INSTANCE
    is_replaying = False

    def call_activity(self, activity: str, *, input: Any, retry_policy: Any) -> str:  # noqa: A002, ARG002
        """The activity's name stands for the task."""
        return activity

    def create_timer(self, _wait: timedelta) -> str:
        """Fires at once."""
        return "timer"

    def continue_as_new(self, argument: Any) -> None:
        """Taken down."""
        self.next = argument


def _run_body(found: dict[str, Any]) -> list[str]:
    """From the first to the last step; the activities that were called."""
    called = []
    body = verify_cluster(FakeContext(), _TARGET)
    with suppress(StopIteration, ClusterError):
        called.append(next(body))
        while True:
            called.append(body.send(found if called[-1] == "verify_cluster_connection" else None))
    return called


@pytest.mark.parametrize("found", [_USABLE, _UNUSABLE], ids=["usable", "unusable"])
def test_the_body_does_nothing_itself(found: dict[str, Any]) -> None:
    """No file, socket, process, environment, clock or chance: what a replay could not repeat."""
    with purity.noticed() as calls:
        called = _run_body(found)

    assert called == ["announce", "verify_cluster_connection", "save_verification", "announce"]
    assert calls == []


def test_watching_does_nothing_itself_either() -> None:
    """A whole generation of a watcher: looks and timers in turn, then the next generation's input."""
    context = FakeContext()
    body = watch_cluster(context, {"watch_id": "w", "delivered": {}, "pause": 2.0})
    tick = {"closed": False, "changed": False, "trouble": None}
    called = []

    with purity.noticed() as calls, suppress(StopIteration):
        called.append(next(body))
        while True:
            called.append(body.send(tick if called[-1] == "watch_tick" else None))

    assert called == ["watch_tick", "timer"] * 20
    assert context.next == {"watch_id": "w", "pause": 15.0}
    assert calls == []


@pytest.mark.parametrize("offence", purity.OFFENCES.values(), ids=purity.OFFENCES.keys())
def test_a_body_that_did_something_would_be_noticed(offence: Callable[[], object]) -> None:
    """The guard of the test above sees each kind of offence."""
    with purity.noticed() as calls:
        offence()

    assert calls != []
