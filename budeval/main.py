"""Composition root: settings -> adapters -> the FastAPI application and the workflow worker.

Run as `uvicorn --factory budeval.main:create_app` by `dapr run --run-file app.yaml`. Nothing is read or
connected on import; the application's lifespan starts the worker and stops it.
"""

import logging
import os

# ansible-runner's workers are forked; gRPC must not hook into that (it deadlocked the original service).
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

from fastapi import APIRouter, Depends, FastAPI

from budeval.ansible.patient_runner import PatientRunner
from budeval.ansible.private_directory import sweep
from budeval.ansible.runner import PlaybookRunner
from budeval.api import http_errors
from budeval.api.access import Access
from budeval.api.body_limit import BodyLimit
from budeval.api.distinct_keys import require_distinct_keys
from budeval.api.gate import Gate
from budeval.config import Settings
from budeval.domain.evaluation import EvaluationRecord
from budeval.engines.registry import all_engines
from budeval.evals import routes, workflows
from budeval.evals.activities import EvaluationActivities, VerificationActivities
from budeval.evals.addresses import rules_from
from budeval.evals.ansible_orchestrator import AnsibleOrchestrator
from budeval.evals.arrivals import Arrivals
from budeval.evals.clusters import Clusters
from budeval.evals.comparing import Comparisons
from budeval.evals.dataset_routes import dataset_routes
from budeval.evals.datasets import Datasets
from budeval.evals.deletion import Deletions
from budeval.evals.evaluate import Course
from budeval.evals.evaluation_routes import (
    comparison_routes,
    engine_routes,
    evaluation_routes,
    lifecycle_routes,
    stream_routes,
)
from budeval.evals.event_stream import EventStream
from budeval.evals.installation import Installation
from budeval.evals.intake import Intake
from budeval.evals.lifecycle import Lifecycle
from budeval.evals.messages import message_routes
from budeval.evals.orphan_routes import orphan_routes
from budeval.evals.orphans import Orphans
from budeval.evals.ownership import owned_evaluations
from budeval.evals.receipt_entries import now
from budeval.evals.receipts import Receipts
from budeval.evals.reconciler import LOOK_SECONDS, Reconciler
from budeval.evals.run_source import EvaluationRuns
from budeval.evals.store import EvaluationStore
from budeval.evals.validation import Validation
from budeval.evals.views import EvaluationViews
from budeval.evals.watching import WatchActivities
from budeval.runs.routes import run_routes
from budeval.runs.runs import Runs
from budeval.runtime import logs
from budeval.runtime.periodic import Periodic
from budeval.runtime.readiness import ReadinessCheck
from budeval.runtime.retention import SWEEP_SECONDS, Retention
from budeval.runtime.sealing import Sealer
from budeval.runtime.sidecar import Sidecar
from budeval.runtime.vault import Vault
from budeval.runtime.workflow_engine import Activity, WorkflowEngine
from budeval.scoring.service import Scoring
from budeval.scoring.settings import ScoringSettings

_log = logging.getLogger(__name__)


class Service:
    """The adapters, wired; connects to nothing before `start`."""

    def __init__(self, settings: Settings, scoring: ScoringSettings | None = None) -> None:
        self.settings = settings
        self.sidecar = Sidecar(
            f"http://{settings.sidecar_host}:{settings.sidecar_http_port}",
            settings.statestore,
            settings.pubsub,
            settings.sidecar_timeout,
            event_format=settings.event_format,
        )
        self.engine = WorkflowEngine(settings.sidecar_host, settings.sidecar_grpc_port)
        self.store = EvaluationStore(self.sidecar)
        self.vault = Vault(self.sidecar, Sealer(settings.seal_keys.get_secret_value()))
        self.clusters = Clusters(
            settings.clusters_dir,
            lambda eval_id: self.vault.open(self.store.load(eval_id).sealed_as).get("kubeconfig"),
            rules=rules_from(settings),
        )
        self.engines = all_engines(settings.images, settings.storage)
        self._swept: dict[str, str] = {}
        self.receipts = Receipts(self.sidecar, self._swept)
        self._installation = Installation(self.sidecar)
        arrivals = Arrivals(self.sidecar, self.store, self.vault)
        self._runner = self._playbook_runner(settings.playbook_workers)
        # With a playbook worker of its own: however many deploy and extract, watchers wait for nobody.
        self._watch_runner = self._playbook_runner(1)
        # Pushing a large file takes many Jobs one after the other: evaluations don't wait for them either.
        self._data_runner = self._playbook_runner(1)
        self.orchestrator = self._orchestrator(self._runner)
        self.intake = Intake(
            settings,
            self.store,
            arrivals,
            self.clusters,
            self.engines,
            lambda name: self.sidecar.get_secret(settings.secret_store, name),
            self._start_evaluation,
        )
        self.deletions = Deletions(
            self.store, self.engine, self.vault, self.intake, self.orchestrator, self.receipts
        )
        self._evaluating = EvaluationActivities(
            self.orchestrator,
            self.sidecar,
            self.store,
            self.vault,
            self.engines,
            self.receipts,
            settings.eta_receiver,
        )
        self.lifecycle = Lifecycle(
            self.store, self.engine, self.sidecar, self.intake, arrivals, self._start_evaluation
        )
        reconciler = Reconciler(
            self.store, self.engine, self._start_evaluation, self._evaluating, self.lifecycle.expire, arrivals
        )
        retention = Retention(self.store, self.deletions.expire, timedelta(days=settings.retention_days))
        self.scoring = Scoring(
            scoring or ScoringSettings(),
            self.sidecar,
            self.engine,
            settings.notification_topic,
            timedelta(days=settings.retention_days),
            settings.keep_scores,
        )
        self._periodic = [
            Periodic("reconciler", LOOK_SECONDS, reconciler.look),
            Periodic("retention", SWEEP_SECONDS, retention.sweep),
            *self.scoring.periodic,
        ]
        evaluating = [workflows.verify_cluster, workflows.evaluate_model, workflows.watch_cluster]
        self.engine.register([*evaluating, *self.scoring.workflows], self._activities())

    def _playbook_runner(self, workers: int) -> PatientRunner:
        settings = self.settings
        return PatientRunner(PlaybookRunner(workers, settings.playbook_timeout, settings.module_timeout))

    def _orchestrator(self, runner: PatientRunner) -> AnsibleOrchestrator:
        settings = self.settings
        return AnsibleOrchestrator(
            runner,
            self.clusters,
            self.engines,
            settings.storage,
            settings.images,
            self.receipts,
            self._installation,
        )

    def _activities(self) -> list[tuple[str, Activity]]:
        topic = self.settings.notification_topic
        verification = VerificationActivities(self.orchestrator, self.sidecar, topic)
        watching = WatchActivities(
            self._orchestrator(self._watch_runner),
            self.clusters,
            self.sidecar,
            self.store,
            self.vault,
            self.engine,
            self._start_watcher,
        )
        evaluating = [*verification.all(), *self._evaluating.all(), *watching.all()]
        return [*evaluating, *self.scoring.activities()]

    def _start_evaluation(self, record: EvaluationRecord) -> None:
        """Schedule its workflow unless it has been."""
        if record.ended is None:
            course = Course(evaluation=record.current, announced=record.announced).model_dump(mode="json")
            self.engine.schedule_once(workflows.evaluate_model, record.evaluation.instance_id, course)

    def _start_watcher(self, watch_id: str) -> None:
        argument = {"watch_id": watch_id, "pause": workflows.SHORTEST_PAUSE_SECONDS}
        self.engine.schedule(workflows.watch_cluster, watch_id, argument)

    def application(self) -> FastAPI:
        """The whole HTTP API around it: health checks, what is guarded, and what is the sidecar's alone."""
        summary = "Evaluate LLMs on Kubernetes, durably."
        application = FastAPI(title="budeval", summary=summary, lifespan=self._lifespan)
        app_token = self.settings.app_token
        secret = app_token.get_secret_value() if app_token else None
        access = Access(self.settings.api_tokens, secret, [owned_evaluations(self.store), self.scoring.owned])
        application.include_router(routes.health_routes(ReadinessCheck(self.sidecar, self.engine)))
        public = self._public_routers()
        for router in public:
            guards = [Depends(access.guard), Depends(require_distinct_keys)]
            application.include_router(router, dependencies=guards)
        messages = message_routes(self.settings, self.intake, self.sidecar)
        application.include_router(messages, dependencies=[Depends(access.guard_from_outside)])
        http_errors.install(application)
        application.add_middleware(BodyLimit, limit=self.settings.max_body_bytes)
        guarded = [*((router.routes, access.admit) for router in public)]
        sidecars = (messages.routes, access.guard_from_outside)
        application.add_middleware(Gate, guarded=[*guarded, sidecars])
        return application

    @asynccontextmanager
    async def _lifespan(self, _application: FastAPI) -> AsyncIterator[None]:
        self.start()
        yield
        self.stop()

    def _public_routers(self) -> list[APIRouter]:
        validation = Validation(self.intake, self.orchestrator, rules_from(self.settings))
        views = EvaluationViews(self.store, self.sidecar, self.receipts)
        orphans = Orphans(
            self.settings, self.clusters, self._runner, self.store, self.receipts, self._installation
        )
        return [
            routes.workflow_routes(self.settings, self.engine, self.sidecar, self.clusters),
            evaluation_routes(self.intake, validation, views),
            stream_routes(EventStream(views)),
            lifecycle_routes(self.lifecycle, self.deletions, views),
            comparison_routes(Comparisons(self.store)),
            orphan_routes(orphans),
            engine_routes(self.engines),
            dataset_routes(Datasets(self.settings, self.clusters, self._orchestrator(self._data_runner))),
            *self.scoring.routers(),
            run_routes(Runs([EvaluationRuns(self.store, views), self.scoring.runs])),
        ]

    def start(self) -> None:
        """Take work, once what a service that was killed has left of its playbooks is gone."""
        for left in sweep():
            self._swept[str(left)] = now()
            _log.warning("removed %s, which a playbook of a killed service had left", left)
        self.engine.start()
        for work in self._periodic:
            work.start()

    def stop(self) -> None:
        """Take no more work. What runs now is run again by the next process."""
        for work in self._periodic:
            work.stop()
        # First the playbooks: the engine waits for activities that run. Each costs its run one of its tries.
        for runner in (self._runner, self._watch_runner, self._data_runner):
            runner.close()
        self.scoring.close()
        self.engine.stop()
        self.sidecar.close()


def create_app(settings: Settings | None = None) -> FastAPI:
    """The application around a service; connects to nothing before it starts."""
    return Service(settings or Settings()).application()


logs.configure()
