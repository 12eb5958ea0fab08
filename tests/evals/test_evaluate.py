"""The course of an evaluation, driven by hand: what it does when, and what it tells."""

from datetime import datetime, timedelta
from typing import Any

import pytest

from budeval.domain.cluster import FROM_REQUEST, ClusterTarget
from budeval.domain.evaluation import Evaluation
from budeval.errors import EvaluationError
from budeval.evals.evaluate import Course, EvaluationCourse, Step
from budeval.runtime.step_error import StepError
from tests.evals import purity, samples

_START = datetime(2026, 1, 1)  # noqa: DTZ001 - the SDK's clock is naive
_RUNS = ("good", "other")


def _evaluation(runs: tuple[str, ...] = _RUNS) -> Evaluation:
    made = [{"run_id": run_id, "dataset_id": "d"} for run_id in runs]
    return samples.evaluation(runs=made, timeouts={"start": 100, "run": 1000})


def _seen(state: str, **more: Any) -> dict[str, Any]:
    job = {} if state == "gone" else {"job": "j", "uid": "u"}
    return {"state": state, **job, **more}


class FakeTurn:
    """The world of one evaluation: answers activities from a script, lets time pass while it waits."""

    def __init__(self, looks: list[dict[str, dict[str, Any]]]) -> None:
        self.now = _START
        self.calls: list[str] = []
        self.events: list[dict[str, Any]] = []
        self.orders: dict[str, list[dict[str, Any]]] = {}
        self.failing: dict[str, StepError] = {}
        self.answers: dict[str, Any] = {
            "verify_evaluation_cluster": {"ok": True, "message": "fine"},
            "prepare_engine": "an engine",
            "extract_eval_results": "Extracted 2 scores from 2 runs",
            "report_results": {
                "summary": "Extracted 2 scores from 2 runs",
                "outcome": "COMPLETED",
                "error": "",
                "code": "",
                "message": "",
                "shown": "",
            },
            "workflow_output": {"extraction_results": []},
        }
        self.event: dict[str, Any] | None = None
        self.healed_after: datetime | None = None
        self.said: list[str] = []
        self._looks = looks
        self._tick = 0

    def call(self, activity: str, argument: Any) -> Step:
        """Answer at once."""
        self.calls.append(activity)
        self.orders.setdefault(activity, []).append(argument)
        if activity in self.failing:
            raise self.failing[activity]
        if activity == "announce_event":
            self.events.append(argument["announcement"])
        yield from ()
        return self._answer(activity, argument)

    def _answer(self, activity: str, argument: Any) -> Any:
        if activity == "deploy_eval_job" and activity not in self.answers:
            return [{"run_id": run_id, "job": run_id, "code": None} for run_id in argument["run_ids"]]
        if activity in {"check_jobs_status", "read_snapshot"}:
            look = self._looks[min(self._tick, len(self._looks) - 1)]
            self._tick += 1
            runs = [{"run_id": run_id, **seen} for run_id, seen in look.items()]
            return {"tick": self._tick, "runs": runs}
        return self.answers.get(activity)

    def wait(self, _event: str, limit: timedelta) -> Step:
        """Woken at once where there is an event; otherwise time passes, and troubles with it."""
        if self.event is None:
            yield from self.pause(limit)
        return self.event

    def pause(self, time: timedelta) -> Step:
        """Time passes, and troubles with it."""
        yield from ()
        self.now += time
        if self.healed_after and self.now > self.healed_after:
            self.failing.clear()

    def say(self, status: str) -> None:
        """Heard by those who ask Dapr."""
        self.said.append(status)

    def run(self, course: Course) -> Any:
        """One generation to its end."""
        body = EvaluationCourse(self, course).run()
        try:
            while True:
                next(body)
        except StopIteration as end:
            return end.value

    def told(self) -> list[tuple[str, str]]:
        """(event, status) of what was announced, progress left out."""
        payloads = [event["notification"]["payload"] for event in self.events]
        told = [(payload["event"], payload["content"]["status"]) for payload in payloads]
        return [item for item in told if item[0] != "eta"]

    def numbers(self) -> list[int]:
        """Of all events, in the order in which they were announced."""
        return [event["number"] for event in self.events]


def _all(state: str, **more: Any) -> dict[str, dict[str, Any]]:
    return {run_id: _seen(state, **more) for run_id in _RUNS}


_STARTED = [
    ("evaluate_model_status", "STARTED"),
    ("verify_cluster_connection", "RUNNING"),
    ("verify_cluster_connection", "COMPLETED"),
    ("preparing_eval_engine", "RUNNING"),
    ("preparing_eval_engine", "COMPLETED"),
    ("deploy_eval_job", "RUNNING"),
    ("deploy_eval_job", "COMPLETED"),
    ("monitor_eval_job_progress", "RUNNING"),
]


def test_a_whole_evaluation_is_told_step_by_step() -> None:
    """Each step RUNNING, then COMPLETED, once, numbered without a gap; clean-up before the last word."""
    turn = FakeTurn([_all("running"), _all("succeeded")])

    output = turn.run(Course(evaluation=_evaluation()))

    assert turn.told() == [
        *_STARTED,
        ("monitor_eval_job_progress", "COMPLETED"),
        ("extract_results", "RUNNING"),
        ("extract_results", "COMPLETED"),
        ("results", "COMPLETED"),
        ("evaluate_model_status", "COMPLETED"),
    ]
    assert turn.numbers() == list(range(1, len(turn.events) + 1))
    assert turn.calls[-5:] == [
        "leave_watcher",
        "cleanup_evaluation",
        "end_evaluation",
        "announce_event",
        "workflow_output",
    ]
    assert output == {"extraction_results": []}
    assert {event["notification"]["payload"]["workflow_id"] for event in turn.events} == {"theirs"}


_FAILED_REPORT = {
    "summary": "Extracted 0 scores from 2 runs",
    "outcome": "FAILED",
    "error": "OOM: too much",
    "code": "OOM",
    "message": "too much",
    "shown": '{"extraction_status": "failed"}',
}


def _failing(turn: FakeTurn, evaluation: Evaluation | None = None) -> EvaluationError:
    turn.answers["report_results"] = _FAILED_REPORT
    with pytest.raises(EvaluationError) as raised:
        turn.run(Course(evaluation=evaluation or _evaluation()))
    return raised.value


@pytest.mark.parametrize(
    ("activity", "step", "before"),
    [
        ("verify_evaluation_cluster", "verify_cluster_connection", 1),
        ("prepare_engine", "preparing_eval_engine", 3),
        ("deploy_eval_job", "deploy_eval_job", 5),
    ],
)
def test_a_step_that_fails_ends_the_evaluation(activity: str, step: str, before: int) -> None:
    """The step FAILED, monitoring FAILED as callers expect it, every run in the results, then the end."""
    turn = FakeTurn([_all("running")])
    turn.failing[activity] = StepError("FORBIDDEN", "You may not.")

    error = _failing(turn)

    assert turn.told() == [
        *_STARTED[:before],
        (step, "RUNNING"),
        (step, "FAILED"),
        ("monitor_eval_job_progress", "FAILED"),
        ("results", "COMPLETED"),
        ("evaluate_model_status", "FAILED"),
    ]
    assert turn.numbers() == list(range(1, len(turn.events) + 1))
    assert turn.said[-1] == '{"extraction_status": "failed"}'
    (recorded,) = turn.orders["record_failure"]
    assert (recorded["code"], recorded["message"]) == ("FORBIDDEN", "You may not.")
    assert error.code == "OOM"  # the first run's reason, as the report has it


def test_nothing_is_cleaned_up_where_nothing_was_made() -> None:
    """A cluster that refuses us would refuse the clean-up too."""
    turn = FakeTurn([_all("running")])
    turn.failing["verify_evaluation_cluster"] = StepError("FORBIDDEN", "You may not.")

    _failing(turn)

    assert "cleanup_evaluation" not in turn.calls


def test_the_course_does_nothing_itself() -> None:
    """No file, socket, process, environment, clock or chance: what a replay could not repeat."""
    turn = FakeTurn([_all("running", **_progress(10)), _all("running", **_progress(50)), _all("succeeded")])
    course = Course(evaluation=_evaluation())

    with purity.noticed() as calls:
        turn.run(course)

    assert turn.told()[-1] == ("evaluate_model_status", "COMPLETED")
    assert calls == []


def test_a_refused_run_does_not_stop_the_others() -> None:
    """It has failed with its reason; the other is watched and extracted."""
    turn = FakeTurn([{"good": _seen("succeeded"), "other": _seen("gone")}])
    turn.answers["deploy_eval_job"] = [
        {"run_id": "good", "job": "good", "code": None, "message": None},
        {"run_id": "other", "job": None, "code": "SPEC_INVALID", "message": "no"},
    ]

    turn.run(Course(evaluation=_evaluation()))

    (order,) = turn.orders["extract_eval_results"]
    states = {run["run_id"]: (run["state"], run["code"]) for run in order["runs"]}
    assert states == {"good": ("succeeded", None), "other": ("failed", "SPEC_INVALID")}
    assert ("monitor_eval_job_progress", "COMPLETED") in turn.told()


def test_all_runs_refused_fail_the_deployment() -> None:
    """Nothing is watched then."""
    turn = FakeTurn([_all("running")])
    turn.answers["deploy_eval_job"] = [
        {"run_id": run_id, "job": None, "code": "SPEC_INVALID", "message": "no"} for run_id in _RUNS
    ]

    _failing(turn)

    assert ("deploy_eval_job", "FAILED") in turn.told()
    assert "check_jobs_status" not in turn.calls


def test_all_runs_failing_is_told_by_monitoring_and_still_extracted() -> None:
    """What the runs left behind is evidence."""
    turn = FakeTurn([_all("failed", code="OOM", message="too much")])

    _failing(turn)

    assert ("monitor_eval_job_progress", "FAILED") in turn.told()
    monitored = next(
        event["notification"]["payload"]["content"]
        for event in turn.events
        if event["notification"]["payload"]["event"] == "monitor_eval_job_progress"
        and event["notification"]["payload"]["content"]["status"] == "FAILED"
    )
    assert monitored["result"]["evaluation_id"] == "e-1"
    assert monitored["result"]["failed_jobs"] == 2
    assert monitored["result"]["error_category"] == "OOM"
    assert "extract_eval_results" in turn.calls


def test_an_extraction_that_fails_is_no_success() -> None:
    """The step FAILED, and the evaluation with it; the Jobs are cleaned up all the same."""
    turn = FakeTurn([_all("succeeded")])
    turn.failing["extract_eval_results"] = StepError("LOG_CORRUPT", "torn")

    _failing(turn)

    assert turn.told()[-3:] == [
        ("extract_results", "FAILED"),
        ("results", "COMPLETED"),
        ("evaluate_model_status", "FAILED"),
    ]
    assert "cleanup_evaluation" in turn.calls


def test_a_clean_up_that_fails_changes_nothing_but_the_receipt() -> None:
    """The outcome stands; what is left is recorded."""
    turn = FakeTurn([_all("succeeded")])
    turn.failing["cleanup_evaluation"] = StepError("FORBIDDEN", "not any more")

    turn.run(Course(evaluation=_evaluation()))

    assert turn.told()[-1] == ("evaluate_model_status", "COMPLETED")
    (order,) = turn.orders["record_leftovers"]
    assert order == {"eval_id": "e-1", "attempt": 1, "problem": "FORBIDDEN: not any more"}


_CANCELLED = StepError("CANCELLED", "on request")


def _cancelled(turn: FakeTurn, activity: str, *, extract: bool = False) -> Any:
    turn.failing[activity] = _CANCELLED
    turn.answers["read_cancellation"] = {"extract": extract, "runs": []}
    turn.answers["report_results"] = {**turn.answers["report_results"], "outcome": "CANCELLED"}
    return turn.run(Course(evaluation=_evaluation()))


def test_a_cancelled_evaluation_frees_its_pods_before_anything_else() -> None:
    """Then every run says so, and the last word is TERMINATED; Dapr's workflow has an output."""
    turn = FakeTurn([_all("running")])

    output = _cancelled(turn, "check_jobs_status")

    assert turn.told() == [
        *_STARTED,
        ("monitor_eval_job_progress", "TERMINATED"),
        ("results", "COMPLETED"),
        ("evaluate_model_status", "TERMINATED"),
    ]
    after = turn.calls[turn.calls.index("check_jobs_status") + 1 :]
    assert [call for call in after if call != "announce_event"] == [
        "read_cancellation",
        "cleanup_evaluation",
        "record_failure",
        "report_results",
        "leave_watcher",
        "cleanup_evaluation",
        "end_evaluation",
        "workflow_output",
    ]
    (order,) = turn.orders["record_failure"]
    assert {run["state"] for run in order["runs"]} == {"cancelled"}
    assert output == {"extraction_results": []}


def test_the_scores_of_a_cancelled_evaluation_are_read_if_asked_for() -> None:
    """Of what had ended by the last look, and of what had not."""
    turn = FakeTurn([_all("running")])
    turn.failing["check_jobs_status"] = _CANCELLED
    runs = [{"run_id": _RUNS[0], **_seen("succeeded")}, {"run_id": _RUNS[1], **_seen("running")}]
    turn.answers["read_cancellation"] = {"extract": True, "runs": runs}
    turn.answers["report_results"] = {**turn.answers["report_results"], "outcome": "CANCELLED"}

    turn.run(Course(evaluation=_evaluation()))

    (order,) = turn.orders["extract_eval_results"]
    assert [run["state"] for run in order["runs"]] == ["succeeded", "cancelled"]
    assert "record_failure" not in turn.calls


def test_scores_of_a_cancelled_evaluation_that_cannot_be_read_are_told() -> None:
    """It ends all the same."""
    turn = FakeTurn([_all("running")])
    turn.failing["extract_eval_results"] = StepError("LOG_CORRUPT", "torn")

    _cancelled(turn, "check_jobs_status", extract=True)

    (order,) = turn.orders["record_failure"]
    assert order["code"] == "CANCELLED"
    assert order["message"].endswith("Its scores could not be read: LOG_CORRUPT: torn")


@pytest.mark.parametrize("activity", ["verify_evaluation_cluster", "prepare_engine"])
def test_an_evaluation_cancelled_early_has_nothing_to_clean_up(activity: str) -> None:
    """Nothing was made."""
    turn = FakeTurn([_all("running")])

    _cancelled(turn, activity)

    assert "cleanup_evaluation" not in turn.calls
    assert turn.told()[-1] == ("evaluate_model_status", "TERMINATED")


def test_a_cancellation_does_not_wait_for_an_outage_to_end() -> None:
    """An event ends the pause between two tries; the next one learns why."""
    turn = FakeTurn([_all("running")])
    turn.failing["deploy_eval_job"] = StepError("CLUSTER_UNREACHABLE", "nobody answers")
    waits: list[timedelta] = []

    def woken(_event: str, limit: timedelta) -> Step:
        waits.append(limit)
        turn.failing["deploy_eval_job"] = _CANCELLED
        yield from ()
        return {"cancel": True}

    turn.wait = woken  # type: ignore[method-assign]
    turn.answers["read_cancellation"] = {"extract": False, "runs": []}
    turn.answers["report_results"] = {**turn.answers["report_results"], "outcome": "CANCELLED"}

    turn.run(Course(evaluation=_evaluation()))

    assert len(waits) == 1
    assert ("deploy_eval_job", "TERMINATED") in turn.told()


def test_a_cluster_that_is_away_for_a_while_ends_nothing() -> None:
    """Its Jobs go on without us; the trouble is told once."""
    turn = FakeTurn([_all("succeeded")])
    turn.failing["check_jobs_status"] = StepError("CLUSTER_UNREACHABLE", "nobody answers")
    turn.healed_after = _START + timedelta(seconds=60)

    turn.run(Course(evaluation=_evaluation()))

    told = [event["notification"]["payload"]["content"]["result"] for event in turn.events]
    assert [one["cluster"]["code"] for one in told if one and "cluster" in one] == ["CLUSTER_UNREACHABLE"]
    assert turn.told()[-1] == ("evaluate_model_status", "COMPLETED")


@pytest.mark.parametrize(
    ("code", "looks"), [("CLUSTER_UNREACHABLE", 3), ("AUTH_FAILED", 1)], ids=["too-long", "refused"]
)
def test_a_cluster_that_stays_away_or_refuses_fails_monitoring(code: str, looks: int) -> None:
    """Unreachable: after the time that the request allows for a start. Refused: at once."""
    turn = FakeTurn([_all("running")])
    turn.failing["check_jobs_status"] = StepError(code, "no")

    _failing(turn)

    assert turn.calls.count("check_jobs_status") >= looks
    assert ("monitor_eval_job_progress", "FAILED") in turn.told()
    assert turn.orders["record_failure"][0]["code"] == code


@pytest.mark.parametrize("activity", ["deploy_eval_job", "extract_eval_results", "cleanup_evaluation"])
@pytest.mark.parametrize(
    "code", ["CLUSTER_UNREACHABLE", "API_TIMEOUT", "RUNNER_CRASH", "SIDECAR_UNAVAILABLE"]
)
def test_an_outage_at_any_step_ends_nothing(activity: str, code: str) -> None:
    """Of the cluster or of the service's own parts: it is told once, and the step is done when it is over."""
    turn = FakeTurn([_all("succeeded")])
    turn.failing[activity] = StepError(code, "nobody answers")
    turn.healed_after = _START + timedelta(seconds=90)

    turn.run(Course(evaluation=_evaluation()))

    told = [event["notification"]["payload"]["content"]["result"] for event in turn.events]
    assert [one["cluster"]["code"] for one in told if one and "cluster" in one] == [code]
    assert turn.told()[-1] == ("evaluate_model_status", "COMPLETED")
    assert "record_leftovers" not in turn.calls


def test_a_cluster_of_the_request_that_is_away_at_the_start_is_told_at_once() -> None:
    """It may never have been there; nothing was made yet."""
    turn = FakeTurn([_all("running")])
    turn.failing["verify_evaluation_cluster"] = StepError("CLUSTER_UNREACHABLE", "nobody answers")
    target = ClusterTarget(cluster=FROM_REQUEST, namespace="budeval", eval_id=_evaluation().eval_id)

    _failing(turn, _evaluation().model_copy(update={"target": target}))

    assert turn.now == _START


def test_runs_that_wait_for_a_quota_on_jobs_get_theirs_later() -> None:
    """They are blocked meanwhile, and asked for again at each look; the other run goes on."""
    blocked = _seen("blocked", job=None, uid=None, code="QUOTA_EXCEEDED", message="full")
    turn = FakeTurn([{"good": _seen("running"), "other": blocked}] * 2 + [_all("succeeded")])
    answers = [
        [_deployed("good"), _deployed("other", "QUOTA_EXCEEDED")],
        [_deployed("other", "QUOTA_EXCEEDED")],
        [_deployed("other")],
    ]
    answer = turn._answer
    turn._answer = lambda activity, argument: (  # type: ignore[method-assign]
        answers.pop(0) if activity == "deploy_eval_job" else answer(activity, argument)
    )

    turn.run(Course(evaluation=_evaluation()))

    attempts = [(order["run_ids"], order["attempt"]) for order in turn.orders["deploy_eval_job"]]
    assert attempts == [(["good", "other"], 1), (["other"], 1), (["other"], 1)]
    (order,) = turn.orders["extract_eval_results"]
    assert {run["state"] for run in order["runs"]} == {"succeeded"}


def _deployed(run_id: str, code: str | None = None) -> dict[str, Any]:
    return {"run_id": run_id, "job": None if code else run_id, "code": code, "message": code}


def test_a_blocked_run_is_given_up_after_its_time() -> None:
    """Not before: `timeouts.start` is 100 s here."""
    turn = FakeTurn([_all("blocked", code="UNSCHEDULABLE", message="no node")])

    _failing(turn)

    (order,) = turn.orders["extract_eval_results"]
    assert {run["code"] for run in order["runs"]} == {"UNSCHEDULABLE"}
    assert turn.now - _START >= timedelta(seconds=100)
    assert turn.now - _START < timedelta(seconds=400)


def test_a_job_that_vanished_is_deployed_once_more_and_then_given_up() -> None:
    """Two listings without it, a second attempt, and no third."""
    running = {"good": _seen("succeeded"), "other": _seen("running")}
    gone = {"good": _seen("succeeded"), "other": _seen("gone", code="JOB_GONE", message="not there")}
    turn = FakeTurn([running, gone])
    course = Course(evaluation=_evaluation())

    while isinstance(outcome := turn.run(course), Course):
        course = Course.model_validate(outcome.model_dump(mode="json"))

    attempts = [(order["run_ids"], order["attempt"]) for order in turn.orders["deploy_eval_job"]]
    assert attempts == [(["good", "other"], 1), (["other"], 2)]
    (order,) = turn.orders["extract_eval_results"]
    states = {run["run_id"]: (run["state"], run["code"]) for run in order["runs"]}
    assert states == {"good": ("succeeded", None), "other": ("failed", "JOB_GONE")}


def test_the_next_generation_goes_on_with_the_numbers() -> None:
    """A long evaluation is several generations; nobody who listens notices."""
    turn = FakeTurn([_all("running")] * 30 + [_all("succeeded")])
    course = Course(evaluation=_evaluation())
    generations = 1

    while isinstance(outcome := turn.run(course), Course):
        course = Course.model_validate(outcome.model_dump(mode="json"))
        generations += 1

    assert generations > 1
    assert turn.numbers() == list(range(1, len(turn.events) + 1))
    assert turn.told().count(("monitor_eval_job_progress", "RUNNING")) == 1
    assert turn.calls.count("verify_evaluation_cluster") == 1


def _progress(done: int) -> dict[str, Any]:
    return {"progress": {"done": done, "total": 100, "phase": "infer"}, "started": "2026-01-01T00:00:00Z"}


def test_progress_is_told_in_whole_minutes_that_never_rise() -> None:
    """At an even pace the minutes only go down, and the message is a number."""
    turn = FakeTurn([_all("running", **_progress(done)) for done in range(0, 100, 4)] + [_all("succeeded")])
    course = Course(evaluation=_evaluation())

    while isinstance(outcome := turn.run(course), Course):
        course = Course.model_validate(outcome.model_dump(mode="json"))

    etas = [
        event["notification"]["payload"]["content"]
        for event in turn.events
        if event["notification"]["payload"]["event"] == "eta"
    ]
    percents = [eta["result"]["percent"] for eta in etas if eta["result"]]
    assert all(eta["message"].isdigit() for eta in etas)
    assert percents == sorted(percents)
    assert len(percents) > 5


def test_a_wake_up_reads_the_snapshot_and_does_not_ask_the_cluster() -> None:
    """The watcher has looked; only silence, or its wish, makes the evaluation look itself."""
    turn = FakeTurn([_all("succeeded")])
    turn.event = {"check": False}

    turn.run(Course(evaluation=_evaluation()))

    assert "read_snapshot" in turn.calls
    assert "check_jobs_status" not in turn.calls


def test_the_watcher_can_ask_for_a_look_of_ones_own() -> None:
    """As when it was refused: each member finds out with its own credential."""
    turn = FakeTurn([_all("succeeded")])
    turn.event = {"check": True}

    turn.run(Course(evaluation=_evaluation()))

    assert "check_jobs_status" in turn.calls
    assert "read_snapshot" not in turn.calls


def test_a_cluster_that_is_away_when_a_run_is_deployed_again_ends_nothing() -> None:
    """A node that is lost often takes the API server's peace with it: the other runs go on."""
    running = {"good": _seen("running"), "other": _seen("running")}
    gone = {"good": _seen("running"), "other": _seen("gone", code="JOB_GONE", message="not there")}
    ended = {"good": _seen("succeeded"), "other": _seen("succeeded", uid="u2")}
    turn = FakeTurn([running, gone, gone, gone, ended])
    call, tries = turn.call, []

    def away_once(activity: str, argument: Any) -> Step:
        if activity == "deploy_eval_job" and argument["attempt"] == 2:
            tries.append(argument["run_ids"])
            if len(tries) == 1:
                raise StepError("CLUSTER_UNREACHABLE", "nobody answers")
        return (yield from call(activity, argument))

    turn.call = away_once  # type: ignore[method-assign]
    turn.run(Course(evaluation=_evaluation()))

    assert tries == [["other"], ["other"]]
    assert turn.told()[-1] == ("evaluate_model_status", "COMPLETED")
    assert "record_failure" not in turn.orders
