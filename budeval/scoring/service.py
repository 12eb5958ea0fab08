"""Scoring, wired: what `main` puts beside evaluations. Connects to nothing before it is used."""

from datetime import timedelta

from fastapi import APIRouter, Request

from budeval.api.access import Owned
from budeval.domain.score_job import ScoreRecord
from budeval.runtime.periodic import Periodic
from budeval.runtime.retention import SWEEP_SECONDS, Retention
from budeval.runtime.sidecar import Sidecar
from budeval.runtime.workflow_engine import Activity, WorkflowBody, WorkflowEngine
from budeval.scoring import workflows
from budeval.scoring.activities import ScoringActivities
from budeval.scoring.advice import Adviser, Writer
from budeval.scoring.artifacts import artifact_store
from budeval.scoring.assembling import Assembly
from budeval.scoring.count_cap import CountCap
from budeval.scoring.course import Course
from budeval.scoring.engines.registry import scoring_engines
from budeval.scoring.intake import ScoreIntake
from budeval.scoring.lifecycle import ScoreLifecycle
from budeval.scoring.limiter import Limiters
from budeval.scoring.measuring import MeasuringActivities
from budeval.scoring.reconciler import ScoreReconciler
from budeval.scoring.routes import metric_routes, score_lifecycle_routes, score_routes
from budeval.scoring.run_source import ScoreRuns
from budeval.scoring.settings import ScoringSettings
from budeval.scoring.store import ScoreStore, unknown
from budeval.scoring.views import ScoreViews

_LOOK_SECONDS = 60.0


class Scoring:
    """The adapters of scoring."""

    def __init__(
        self,
        settings: ScoringSettings,
        sidecar: Sidecar,
        engine: WorkflowEngine,
        topic: str,
        keep: timedelta,
        most: int | None,
    ) -> None:
        """Scores are announced to `topic`; jobs stay for `keep` after their end, `most` of each tenant."""
        self.settings = settings
        self._engine = engine
        self.store = ScoreStore(sidecar)
        limiters = Limiters([*settings.judges, *settings.embedders])
        self.engines = scoring_engines(settings, limiters)
        assembly = Assembly(self.store, self.engines, settings)
        self.artifacts = artifact_store(settings.artifacts)
        adviser = Adviser(self.artifacts, _writer(settings, limiters))
        measuring = MeasuringActivities(self.store, self.engines, settings)
        self._activities = ScoringActivities(
            self.store, sidecar, topic, assembly, self.artifacts, adviser, measuring
        )
        self.intake = ScoreIntake(settings, self.store, self.engines, self._start)
        self.lifecycle = ScoreLifecycle(
            self.store,
            engine,
            sidecar,
            self._start,
            measuring.stop,
            self.artifacts,
            self.intake.require_room,
        )
        self.views = ScoreViews(self.store, assembly)
        self.runs = ScoreRuns(self.store, self.artifacts)
        self.periodic = self._looking_after_jobs(keep, most)

    def _looking_after_jobs(self, keep: timedelta, most: int | None) -> list[Periodic]:
        reconciler = ScoreReconciler(self.store, self._engine, self._start, self._activities.close_broken)
        retention = Retention(self.store, self.lifecycle.forget, keep)
        periodic = [
            Periodic("score-reconciler", _LOOK_SECONDS, reconciler.look),
            Periodic("score-retention", SWEEP_SECONDS, retention.sweep),
        ]
        if most is not None:
            cap = CountCap(self.store, self.lifecycle.delete, most)
            periodic.append(Periodic("score-count-cap", SWEEP_SECONDS, cap.sweep))
        return periodic

    def close(self) -> None:
        """End what the engines run beside the service."""
        for engine in self.engines.values():
            engine.close()

    @property
    def workflows(self) -> list[WorkflowBody]:
        """To be registered before the engine starts."""
        return [workflows.score_sample]

    def activities(self) -> list[tuple[str, Activity]]:
        """To be registered before the engine starts."""
        return self._activities.all()

    def routers(self) -> list[APIRouter]:
        """To be put behind the guard of the public API."""
        return [
            score_routes(self.intake, self.views),
            score_lifecycle_routes(self.lifecycle, self.views),
            metric_routes(self.engines, self.settings),
        ]

    @property
    def owned(self) -> Owned:
        """Jobs are there for their own tenant only."""
        return Owned(_jobs_in, self.store.tenant_of, unknown)

    def _start(self, record: ScoreRecord) -> None:
        """Schedule its workflow unless it has been."""
        if record.ended is None:
            course = Course(job=record.job, announced=record.announced).model_dump(mode="json")
            self._engine.schedule_once(workflows.score_sample, record.job.instance_id, course)


def _writer(settings: ScoringSettings, limiters: Limiters) -> Writer | None:
    judge = settings.judge(settings.adviser)
    return Writer(judge, limiters.of(judge)) if judge else None


def _jobs_in(request: Request) -> list[str]:
    """The jobs that a request names, also by their workflow. Runs look after their tenants themselves."""
    workflow = str(request.path_params.get("workflow_id", ""))
    of_workflow = workflow.removeprefix("score-").partition("-")[0] if workflow.startswith("score-") else ""
    return [job_id for job_id in (request.path_params.get("job_id"), of_workflow) if job_id]
