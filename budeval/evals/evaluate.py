"""The course of one evaluation, step by step; the body of the workflow `evaluate_model`.

It only decides: Dapr replays it from the top at each turn, so clock, state, messages and clusters are reached
through activities alone. A long evaluation is several generations of the workflow, each with a short history:
what the next one must know is its input, a `Course`.
"""

from collections.abc import Callable, Generator
from collections.abc import Set as AbstractSet
from datetime import datetime, timedelta
from typing import Any, Protocol

from pydantic import BaseModel

from budeval.domain import steps
from budeval.domain.cluster import FROM_REQUEST
from budeval.domain.evaluation import DEPLOYMENTS, Evaluation, Outcome
from budeval.domain.monitoring import MonitorState
from budeval.domain.notification import WorkflowStatus, last_status
from budeval.domain.observation import CANCELLED, RunObservation, refused
from budeval.errors import EvaluationError
from budeval.evals.announcer import Announcer, failure_result
from budeval.runtime.step_error import StepError

Step = Generator[Any, Any, Any]

RUNS_CHANGED = "runs_changed"
"""Event that the watcher raises: a newer snapshot is there."""
_WAKES_PER_GENERATION = 12
_FIRST_CHECK_SECONDS = 15
_LONGEST_CHECK_SECONDS = 120
_ASSUMED_MINUTES_PER_RUN = 3
_LONGEST_PATIENCE_SECONDS = 3600
_OURS = {"RUNNER_CRASH", "SIDECAR_UNAVAILABLE"}
"""Troubles of the service that may pass."""
_PASSING = {"CLUSTER_UNREACHABLE", "API_TIMEOUT"} | _OURS
"""Those, and troubles of a cluster that may pass."""


class Course(BaseModel):
    """The input of a generation."""

    evaluation: Evaluation
    announced: int = 0
    monitor: MonitorState | None = None
    """None before monitoring."""
    check_after: int = _FIRST_CHECK_SECONDS
    """Seconds of silence after which the evaluation looks for itself."""


class Turn(Protocol):
    """What a workflow's body may do; `workflows` gives it the real thing."""

    @property
    def now(self) -> datetime:
        """UTC without a zone; the same in every replay."""

    def call(self, activity: str, argument: Any) -> Step:
        """Run an activity, with retries. Raises StepError when it has failed for good."""

    def wait(self, event: str, limit: timedelta) -> Step:
        """The event's data, None where it did not come in time."""

    def say(self, status: str) -> None:
        """What Dapr's own workflow API shows as custom status."""


class EvaluationCourse:
    """One generation of an evaluation."""

    def __init__(self, turn: Turn, course: Course) -> None:
        self._turn = turn
        self._course = course
        self._evaluation = course.evaluation
        self._announcer = Announcer(course.evaluation, course.announced)
        self._step = steps.VERIFY
        self._order = {"eval_id": course.evaluation.eval_id, "attempt": course.evaluation.attempt}
        """What activities must know: which attempt they are of, should they run late."""

    def run(self) -> Step:
        """To the end, or to the next generation.

        Returns:
            The workflow's output, or a Course to continue with.

        Raises:
            EvaluationError: the evaluation has failed; everything was told and cleaned up.
        """
        try:
            state = self._course.monitor or (yield from self._begin())
            if not (yield from self._monitor(state)):
                return self._next_generation()
            yield from self._extract()
        except StepError as error:
            yield from (self._stop(error) if error.code == CANCELLED else self._fail(error))
        return (yield from self._end())

    def _begin(self) -> Step:
        """Everything before monitoring; returns its state."""
        yield from self._tell(
            self._announcer.status(WorkflowStatus.STARTED, f"{len(self._evaluation.runs)} runs")
        )
        yield from self._tell(self._announcer.eta(self._minutes_left(None)))
        yield from self._announced(steps.VERIFY, "Reaching the cluster", self._verify)
        yield from self._announced(steps.PREPARE, "Warming up eval engine", self._prepare)
        yield from self._announced(steps.DEPLOY, "Deploying the evaluation's Jobs", self._deploy)
        text = f"Watching {len(self._evaluation.runs)} runs"
        yield from self._tell(self._announcer.step(steps.MONITOR, WorkflowStatus.RUNNING, text))
        return self._course.monitor

    def _announced(self, step: str, message: str, work: Callable[[], Step]) -> Step:
        """A step between its two announcements."""
        self._step = step
        self._turn.say(step)
        yield from self._tell(self._announcer.step(step, WorkflowStatus.RUNNING, message))
        done = yield from work()
        yield from self._tell(self._announcer.step(step, WorkflowStatus.COMPLETED, done))

    def _verify(self) -> Step:
        target = {
            **self._order,
            "target": self._evaluation.target.model_dump(mode="json"),
            "claim": self._evaluation.claim,
        }
        # Of a cluster that the request brought nobody knows whether it was ever there: that is told soon.
        passing = _OURS if self._evaluation.target.cluster == FROM_REQUEST else _PASSING
        found = yield from self._patiently("verify_evaluation_cluster", target, passing)
        if not found["ok"]:
            raise StepError(found["code"], found["message"])
        return found["message"]

    def _prepare(self) -> Step:
        return (yield from self._turn.call("prepare_engine", self._order))

    def _deploy(self) -> Step:
        state = self._course.monitor = MonitorState(since=self._turn.now)
        yield from self._deploy_runs(state, [run.run_id for run in self._evaluation.runs], attempt=1)
        failed = state.failed
        if len(failed) == len(self._evaluation.runs):
            raise StepError(failed[0].code or "SPEC_INVALID", failed[0].message or "No Job could be made.")
        waiting = sum(len(run_ids) for run_ids in state.unplaced().values())
        deployed = len(self._evaluation.runs) - len(failed) - waiting
        yield from self._turn.call("register_with_watcher", {"eval_id": self._evaluation.eval_id})
        return f"{deployed} of {len(self._evaluation.runs)} Jobs deployed"

    def _deploy_runs(self, state: MonitorState, run_ids: list[str], attempt: int) -> Step:
        """Runs that are refused have failed, or wait for a quota; the others go on.

        `attempt` is 1, or 2 for what is deployed again; Jobs are numbered through all attempts.
        """
        number = (self._evaluation.attempt - 1) * DEPLOYMENTS + attempt
        order = {"eval_id": self._evaluation.eval_id, "run_ids": run_ids, "attempt": number}
        deployed = yield from self._patiently("deploy_eval_job", order)
        refusals = [
            refused(item["run_id"], item["code"], item["message"]) for item in deployed if item["code"]
        ]
        state.fold(refusals, self._turn.now, self._evaluation.timeouts)

    def _monitor(self, state: MonitorState) -> Step:
        """Whether all runs have ended; False where the next generation shall go on."""
        self._step = steps.MONITOR
        self._turn.say(steps.MONITOR)
        for _ in range(_WAKES_PER_GENERATION):
            event = yield from self._turn.wait(RUNS_CHANGED, self._patience(state))
            if event is None or event.get("check"):
                yield from self._check(state)
            else:
                yield from self._turn_to_snapshot(state)
            if self._all_ended(state):
                yield from self._tell_monitoring_ended(state)
                return True
        return False

    def _patience(self, state: MonitorState) -> timedelta:
        """How long to wait for the watcher: until the next own check, or until a blocked run is given up."""
        limit = timedelta(seconds=self._course.check_after)
        deadline = state.next_deadline(self._turn.now, self._evaluation.timeouts)
        return min(limit, deadline) if deadline else limit

    def _turn_to_snapshot(self, state: MonitorState) -> Step:
        """Woken by the watcher: the newest snapshot counts, whatever the event was about."""
        snapshot = yield from self._turn.call("read_snapshot", self._order)
        if snapshot["tick"] > state.tick:
            self._course.check_after = _FIRST_CHECK_SECONDS
            yield from self._take_in(state, snapshot)

    def _check(self, state: MonitorState) -> Step:
        """Not woken: look ourselves, and see to it that there is a watcher."""
        self._course.check_after = min(self._course.check_after * 2, _LONGEST_CHECK_SECONDS)
        try:
            snapshot = yield from self._turn.call("check_jobs_status", self._order)
        except StepError as error:
            yield from self._endure(state, error)
            return
        yield from self._take_in(state, snapshot)
        if not self._all_ended(state):
            yield from self._turn.call("register_with_watcher", {"eval_id": self._evaluation.eval_id})

    def _all_ended(self, state: MonitorState) -> bool:
        return len(state.runs) == len(self._evaluation.runs) and state.finished

    def _take_in(self, state: MonitorState, snapshot: dict[str, Any]) -> Step:
        """Fold a snapshot in, deploy what is gone, tell what is new."""
        state.unreachable_since = None
        state.tick = snapshot["tick"]
        seen = [RunObservation.model_validate(item) for item in snapshot["runs"]]
        state.fold(seen, self._turn.now, self._evaluation.timeouts)
        gone = state.to_redeploy()
        if gone:
            state.redeployed(gone)
            yield from self._deploy_runs(state, gone, attempt=DEPLOYMENTS)
        for attempt, run_ids in state.to_place(self._turn.now).items():
            yield from self._deploy_runs(state, run_ids, attempt)
        news = state.news(self._turn.now)
        if news and not self._all_ended(state):
            yield from self._tell(self._announcer.eta(self._minutes_left(state), news))

    def _minutes_left(self, state: MonitorState | None) -> int:
        """By what was seen so far, otherwise a guess."""
        estimated = state.eta_minutes(self._turn.now) if state else None
        return estimated or _ASSUMED_MINUTES_PER_RUN * len(self._evaluation.runs)

    def _endure(self, state: MonitorState, error: StepError) -> Step:
        """A cluster that is away for a while ends no evaluation: its Jobs go on without us."""
        first = state.unreachable_since is None
        state.unreachable_since = state.unreachable_since or self._turn.now
        if error.code not in _PASSING or self._out_of_patience(state.unreachable_since):
            raise error
        if first:
            yield from self._tell_trouble(error)

    def _patiently(self, activity: str, order: dict[str, Any], passing: AbstractSet[str] = _PASSING) -> Step:
        """An activity that an outage only delays: what runs on the cluster goes on without us."""
        since, pause, told = self._turn.now, _FIRST_CHECK_SECONDS, False
        while True:
            try:
                return (yield from self._turn.call(activity, order))
            except StepError as error:
                if error.code not in passing or self._out_of_patience(since):
                    raise
                if not told:
                    yield from self._tell_trouble(error)
            told = True
            # A cancellation shall not wait for the end of an outage; the watcher's hints are no loss here.
            yield from self._turn.wait(RUNS_CHANGED, timedelta(seconds=pause))
            pause = min(pause * 2, _LONGEST_CHECK_SECONDS)

    def _out_of_patience(self, since: datetime) -> bool:
        patience = min(self._evaluation.timeouts.start, _LONGEST_PATIENCE_SECONDS)
        return self._turn.now - since > timedelta(seconds=patience)

    def _tell_trouble(self, error: StepError) -> Step:
        state = self._course.monitor
        trouble: dict[str, Any] = {"cluster": {"code": error.code, "message": error.message}}
        trouble |= {"runs": state.view()} if state else {}
        yield from self._tell(self._announcer.eta(self._minutes_left(state), trouble))

    def _tell_monitoring_ended(self, state: MonitorState) -> Step:
        failed = state.failed
        if len(failed) == len(state.runs):
            result = failure_result(self._evaluation, _reasons(failed))
            text = f"All {len(failed)} runs failed. {failed[0].code}: {failed[0].message}"
            event = self._announcer.step(steps.MONITOR, WorkflowStatus.FAILED, text, result)
        else:
            text = f"{len(state.runs) - len(failed)} of {len(state.runs)} runs succeeded"
            event = self._announcer.step(
                steps.MONITOR, WorkflowStatus.COMPLETED, text, {"runs": state.view()}
            )
        yield from self._tell(event)

    def _next_generation(self) -> Course:
        return self._course.model_copy(update={"announced": self._announcer.announced})

    def _extract(self) -> Step:
        text = f"Extracting results from {len(self._evaluation.runs)} runs"
        yield from self._announced(steps.EXTRACT, text, self._extract_results)

    def _extract_results(self) -> Step:
        order = {**self._order, "runs": self._seen()}
        return (yield from self._patiently("extract_eval_results", order))

    def _seen(self) -> list[dict[str, Any]]:
        stories = self._course.monitor.runs.values() if self._course.monitor else []
        return [story.seen.model_dump(mode="json") for story in stories]

    def _fail(self, error: StepError) -> Step:
        """The step failed, and with it every run that has no result: said in the steps, kept as results."""
        yield from self._tell(
            self._announcer.step(self._step, WorkflowStatus.FAILED, str(error), self._failure(error))
        )
        if self._step not in {steps.MONITOR, steps.EXTRACT}:
            event = self._announcer.step(
                steps.MONITOR, WorkflowStatus.FAILED, str(error), self._failure(error)
            )
            yield from self._tell(event)
        order = {**self._order, "code": error.code, "message": error.message, "runs": self._seen()}
        yield from self._turn.call("record_failure", order)

    def _stop(self, error: StepError) -> Step:
        """Cancelled: what runs is ended at once, and its scores are read if that was asked for."""
        yield from self._tell(self._announcer.step(self._step, WorkflowStatus.TERMINATED, error.message))
        state = self._course.monitor
        order: dict[str, Any] = {**self._order, "code": error.code, "message": error.message, "runs": []}
        if state:
            wish = yield from self._turn.call("read_cancellation", {"eval_id": self._evaluation.eval_id})
            yield from self._clean_up()
            # What had ended by the last look has ended by itself.
            seen = [RunObservation.model_validate(item) for item in wish["runs"]]
            state.fold(seen, self._turn.now, self._evaluation.timeouts)
            state.cancel([run.run_id for run in self._evaluation.runs], error.message)
            order["runs"] = self._seen()
            if wish["extract"] and (yield from self._read_what_is_there(order)):
                return
        yield from self._turn.call("record_failure", order)

    def _read_what_is_there(self, order: dict[str, Any]) -> Step:
        """Whether the scores of a cancelled evaluation could be read."""
        try:
            yield from self._patiently("extract_eval_results", order)
        except StepError as error:
            order["message"] = f"{order['message']} Its scores could not be read: {error}"
            return False
        return True

    def _failure(self, error: StepError) -> dict[str, Any]:
        runs = [(run.run_id, error.code, error.message) for run in self._evaluation.runs]
        return failure_result(self._evaluation, runs)

    def _end(self) -> Step:
        """Report, clean up, say the last word."""
        eval_id = self._evaluation.eval_id
        report = yield from self._turn.call("report_results", {"eval_id": eval_id})
        yield from self._tell(self._announcer.results(report["summary"]))
        if self._course.monitor:  # otherwise nothing was made
            yield from self._turn.call("leave_watcher", {"eval_id": eval_id})
            yield from self._clean_up()
        failed = report["outcome"] == Outcome.FAILED
        status = last_status(Outcome(report["outcome"]))
        text = report["error"] if failed else report["summary"]
        # Before the last word: whoever hears it finds the record ended.
        yield from self._turn.call("end_evaluation", {**self._order, "outcome": report["outcome"]})
        yield from self._tell(self._announcer.status(status, text, attach="metadata"))
        if failed:
            # A failed workflow has no output: there Dapr's own API shows the results, in short.
            self._turn.say(report["shown"])
            raise EvaluationError(report["message"], code=report["code"])
        return (yield from self._turn.call("workflow_output", {"eval_id": eval_id}))

    def _clean_up(self) -> Step:
        """What is left on the cluster is told in the receipt; it does not change how the evaluation ended."""
        try:
            yield from self._patiently("cleanup_evaluation", self._order)
        except StepError as error:
            order = {**self._order, "problem": str(error)}
            yield from self._turn.call("record_leftovers", order)

    def _tell(self, event: dict[str, Any]) -> Step:
        yield from self._turn.call("announce_event", event)


def _reasons(failed: list[RunObservation]) -> list[tuple[str, str, str]]:
    return [(seen.run_id, seen.code or "JOB_FAILED", seen.message or "") for seen in failed]
