"""Composition root: settings -> adapters -> the FastAPI application and the workflow worker.

Run as `uvicorn budeval.main:app` by `dapr run --run-file app.yaml`. Nothing connects on import; the
application's lifespan starts the worker and stops it.
"""

import os

# ansible-runner's workers are forked; gRPC must not hook into that (it deadlocked the original service).
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from budeval.ansible.runner import PlaybookRunner
from budeval.config import Settings
from budeval.evals import http_errors, routes, workflows
from budeval.evals.activities import Activities
from budeval.evals.ansible_orchestrator import AnsibleOrchestrator
from budeval.runtime.readiness import ReadinessCheck
from budeval.runtime.sidecar import Sidecar
from budeval.runtime.workflow_engine import WorkflowEngine


def create_app(settings: Settings | None = None) -> FastAPI:
    """Wire everything together; connects to nothing before the application starts."""
    settings = settings or Settings()
    sidecar = Sidecar(
        f"http://{settings.sidecar_host}:{settings.sidecar_http_port}",
        settings.statestore,
        settings.pubsub,
        settings.sidecar_timeout,
    )
    engine = WorkflowEngine(settings.sidecar_host, settings.sidecar_grpc_port)
    runner = PlaybookRunner(settings.playbook_workers, settings.playbook_timeout, settings.module_timeout)
    orchestrator = AnsibleOrchestrator(runner, settings.clusters_dir, settings.storage)
    activities = Activities(orchestrator, sidecar, settings.notification_topic)
    engine.register([workflows.verify_cluster], activities.all())

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        engine.start()
        yield
        # First the playbooks: the engine waits for activities that run. Each costs its run one of its tries.
        runner.close()
        engine.stop()
        sidecar.close()

    application = FastAPI(title="budeval", summary="Evaluate LLMs on Kubernetes, durably.", lifespan=lifespan)
    application.include_router(routes.health_routes(ReadinessCheck(sidecar, engine)))
    application.include_router(routes.evaluation_routes(settings, engine, sidecar, orchestrator))
    http_errors.install(application)
    return application


logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
# They log each call to the sidecar, each registration and each turn of a workflow.
for _chatty in ("httpx", "WorkflowRuntime", "durabletask-worker", "durabletask-client"):
    logging.getLogger(_chatty).setLevel(logging.WARNING)
app = create_app()
