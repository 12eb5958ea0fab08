"""The course of one scoring job, step by step; the body of the workflow `score_sample`.

It only decides: Dapr replays it from the top at each turn, so clock, state, endpoints and files are reached
through activities alone. Many samples are several generations of the workflow, each with a short history.
"""

from collections.abc import Generator
from datetime import datetime, timedelta
from typing import Any, Protocol

from pydantic import BaseModel

from budeval.domain.score_job import JobOutcome, ScoreJob
from budeval.errors import ScoringError
from budeval.runtime.step_error import StepError

Step = Generator[Any, Any, Any]

SAMPLES_PER_GENERATION = 32
DEADLINE = "DEADLINE"
CANCELLED = "CANCELLED"


class Course(BaseModel):
    """The input of a generation."""

    job: ScoreJob
    announced: int = 0
    """Number of the last event before this attempt."""
    deadline: datetime | None = None
    """UTC without a zone. None before the first generation has begun."""
    next: int = 1
    """Number of the sample to go on with."""


class Turn(Protocol):
    """What a workflow's body may do; `workflows` gives it the real thing."""

    @property
    def now(self) -> datetime:
        """UTC without a zone; the same in every replay."""

    def call(self, activity: str, argument: Any) -> Step:
        """Run an activity, with retries. Raises StepError when it has failed for good."""

    def score(self, orders: list[dict[str, Any]], limit: timedelta) -> Step:
        """Run `score_metric` for all orders at once, each with retries, until a limit or a cancellation.

        Returns:
            For each order None, or StepError: why it gave nothing, DEADLINE and CANCELLED too.
        """

    def say(self, status: str) -> None:
        """What Dapr's own workflow API shows as custom status."""


class ScoringCourse:
    """One generation of a job."""

    def __init__(self, turn: Turn, course: Course) -> None:
        self._turn = turn
        self._course = course
        self._job = course.job
        self._order: dict[str, Any] = {"job_id": course.job.job_id, "attempt": course.job.attempt}

    def run(self) -> Step:
        """To the end, or to the next generation.

        Returns:
            The workflow's output, or a Course to continue with.

        Raises:
            ScoringError: the job has failed; it was told.
        """
        if self._course.deadline is None:
            yield from self._turn.call("begin_scoring", self._order)
        deadline = self._course.deadline or self._turn.now + timedelta(seconds=self._job.timeout_s)
        last = min(self._course.next + SAMPLES_PER_GENERATION - 1, self._job.samples)
        self._turn.say(f"scoring {self._course.next} to {last} of {self._job.samples}")
        over = yield from self._score(range(self._course.next, last + 1), deadline)
        if last < self._job.samples and not over:
            yield from self._turn.call("note_progress", {**self._order, "done": last})
            return self._course.model_copy(update={"deadline": deadline, "next": last + 1})
        return (yield from self._finish(late=over))

    def _score(self, numbers: range, deadline: datetime) -> Step:
        """Samples by every metric; whether there is time for no more."""
        orders = [
            {**self._order, "sample": number, "metric": metric, "deadline": deadline.isoformat()}
            for number in numbers
            for metric in self._job.metrics
        ]
        limit = max(deadline - self._turn.now, timedelta(0))
        failures = yield from self._turn.score(orders, limit)
        given_up = [
            {"sample": order["sample"], "metric": order["metric"], "code": why.code, "message": why.message}
            for order, why in zip(orders, failures, strict=True)
            if why
        ]
        if given_up:
            yield from self._turn.call("give_up_metrics", {**self._order, "given_up": given_up})
        return any(item["code"] in {DEADLINE, CANCELLED} for item in given_up)

    def _finish(self, *, late: bool) -> Step:
        """Write, settle, tell; the advice comes when all that is known."""
        self._turn.say("writing")
        order = {**self._order, "late": late}
        written: dict[str, Any] = {"result": None, "problem": None}
        try:
            written["result"] = yield from self._turn.call("write_artifacts", order)
        except StepError as error:
            written["problem"] = str(error)
        settled = yield from self._turn.call("settle_job", {**self._order, **written})
        yield from self._tell(1, advice=False)
        if settled["advise"]:
            self._turn.say("advising")
            yield from self._turn.call("advise", order)
            yield from self._tell(2, advice=True)
        yield from self._turn.call("end_job", self._order)
        if settled["outcome"] == JobOutcome.FAILED:
            raise ScoringError(settled["message"], code=settled["code"])
        return settled

    def _tell(self, number: int, *, advice: bool) -> Step:
        """How the job ended, or what became of the advice."""
        event = {**self._order, "number": self._course.announced + number, "advice": advice}
        yield from self._turn.call("announce_scores", event)
