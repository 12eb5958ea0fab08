"""Scoring without Dapr's processes: real activities on a fake sidecar, and a fake of what runs workflows."""

import asyncio
import inspect
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from budeval.domain.score_job import AdviceStatus, Engine, ScoreRecord
from budeval.domain.score_run import ScoreRun
from budeval.errors import BudevalError, ScoringError, code_and_message
from budeval.runtime.step_error import StepError
from budeval.runtime.workflow_engine import WorkflowSnapshot
from budeval.scoring.activities import ScoringActivities
from budeval.scoring.artifacts import artifact_store
from budeval.scoring.assembling import Assembly
from budeval.scoring.course import Course, ScoringCourse
from budeval.scoring.engines.base import ScoringEngine
from budeval.scoring.engines.native import NativeEngine
from budeval.scoring.intake import ScoreIntake
from budeval.scoring.ledger import Ledger
from budeval.scoring.lifecycle import ScoreLifecycle
from budeval.scoring.limiter import Limiters
from budeval.scoring.measuring import MeasuringActivities
from budeval.scoring.settings import ScoringSettings
from budeval.scoring.store import ScoreStore
from budeval.scoring.views import ScoreViews
from tests.runtime.fake_dapr import FakeDapr
from tests.scoring.asking import embedder_settings, judge_settings
from tests.scoring.fake_judge import FakeJudge

_TRIES = 8


class FakeAdviser:
    """Says nothing of any run."""

    def __init__(self) -> None:
        self.runs: list[ScoreRun] = []
        self.fails = False

    async def advise(self, run: ScoreRun, ledger: Ledger) -> AdviceStatus:  # noqa: ARG002
        """As the real one does."""
        self.runs.append(run)
        if self.fails:
            raise RuntimeError("no advice")
        return AdviceStatus.RULES_ONLY


class FakeEngine:
    """Knows instances and what was raised to them."""

    def __init__(self) -> None:
        self.instances: dict[str, WorkflowSnapshot] = {}
        self.raised: list[tuple[str, str]] = []
        self.purged: list[str] = []

    def find(self, workflow_id: str) -> WorkflowSnapshot | None:
        """As the real one does."""
        return self.instances.get(workflow_id)

    def raise_event(self, workflow_id: str, event: str, data: Any) -> None:  # noqa: ARG002
        """As the real one does."""
        self.raised.append((workflow_id, event))

    def purge(self, workflow_id: str) -> None:
        """As the real one does."""
        self.purged.append(workflow_id)


class FakeTurn:
    """Runs activities as Dapr would, but at once: each again until it succeeds, or fails for good."""

    def __init__(self, desk: "Desk") -> None:
        self._activities = dict(desk.activities.all())
        self.said: list[str] = []
        self.calls: list[str] = []
        self.answers: list[Any] = []
        """What activities returned, and what failed tries of them raised: as their arguments it stands in the
        history."""
        self.late: str | None = None
        """DEADLINE or CANCELLED: what ends scoring before anything has begun."""
        self.crash_after: int | None = None
        """Number of activities after which the process dies."""

    @property
    def now(self) -> datetime:
        """The real time, which the activities compare with."""
        return datetime.now(UTC).replace(tzinfo=None)

    def call(self, activity: str, argument: Any) -> Any:
        """As the real one does."""
        yield from ()
        outcome = self._run(activity, argument)
        if isinstance(outcome, StepError):
            raise outcome
        return outcome

    def score(self, orders: list[dict[str, Any]], limit: timedelta) -> Any:  # noqa: ARG002
        """As the real one does, one after the other."""
        yield from ()
        if self.late:
            return [StepError(self.late, "late") for _ in orders]
        outcomes = [self._run("score_metric", order) for order in orders]
        return [outcome if isinstance(outcome, StepError) else None for outcome in outcomes]

    def say(self, status: str) -> None:
        """As the real one does."""
        self.said.append(status)

    def _run(self, name: str, argument: Any) -> Any:
        outcome = self._tried(name, argument)
        self.answers.append(str(outcome) if isinstance(outcome, StepError) else outcome)
        return outcome

    def _tried(self, name: str, argument: Any) -> Any:
        if self.crash_after is not None and len(self.calls) >= self.crash_after:
            raise KeyboardInterrupt
        self.calls.append(name)
        activity = self._activities[name]
        for _ in range(_TRIES):
            try:
                done = activity(argument)
                return asyncio.run(done) if inspect.iscoroutine(done) else done
            except BudevalError as error:
                self.answers.append(str(error))
                failed = StepError(*code_and_message(str(error)))
                if not error.retryable:
                    break
        return failed


class Desk:
    """All of scoring, on a fake judge."""

    def __init__(
        self, fake: FakeJudge, directory: Path, dapr: FakeDapr | None = None, **settings: Any
    ) -> None:
        self.dapr = dapr or FakeDapr()
        sidecar = self.dapr.client()
        given = {"judges": (judge_settings(fake),), "embedders": (embedder_settings(fake),)}
        self.settings = ScoringSettings(artifacts=str(directory), **{**given, **settings})
        self.store = ScoreStore(sidecar)
        limiters = Limiters([*self.settings.judges, *self.settings.embedders])
        self.engines: dict[Engine, ScoringEngine] = {Engine.NATIVE: NativeEngine(limiters)}
        self.assembly = Assembly(self.store, self.engines, self.settings)
        self.artifacts = artifact_store(self.settings.artifacts)
        self.adviser = FakeAdviser()
        self.measuring = MeasuringActivities(self.store, self.engines, self.settings)
        self.activities = ScoringActivities(
            self.store, sidecar, "topic", self.assembly, self.artifacts, self.adviser, self.measuring
        )
        self.workflows = FakeEngine()
        self.started: list[ScoreRecord] = []
        self.intake = ScoreIntake(self.settings, self.store, self.engines, self.started.append)
        self.lifecycle = ScoreLifecycle(
            self.store,
            self.workflows,
            sidecar,
            self.started.append,
            self.measuring.stop,
            self.artifacts,
            self.intake.require_room,
        )
        self.views = ScoreViews(self.store, self.assembly)

    def run(self, record: ScoreRecord, change: Callable[[FakeTurn], None] = lambda _turn: None) -> FakeTurn:
        """The workflow of a job to its end, over all generations."""
        turn = FakeTurn(self)
        change(turn)
        course: Any = Course(job=record.job, announced=record.announced)
        while isinstance(course, Course):
            course = _driven(ScoringCourse(turn, course).run())
        return turn


def unasking_desk(directory: Path, dapr: FakeDapr | None = None, **settings: Any) -> Desk:
    """A desk for tests in which no endpoint is asked: there is none where its settings say."""
    nowhere = FakeJudge()
    nowhere.url = "http://127.0.0.1:9/v1"
    return Desk(nowhere, directory, dapr, **settings)


def _driven(body: Any) -> Any:
    try:
        while True:
            next(body)
    except StopIteration as ended:
        return ended.value
    except ScoringError:
        return None
