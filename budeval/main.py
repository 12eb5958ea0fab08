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

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse

from budeval.ansible.runner import PlaybookRunner
from budeval.config import Settings
from budeval.errors import BudevalError, RequestError, SidecarError
from budeval.evals import routes, workflows
from budeval.evals.activities import Activities
from budeval.evals.ansible_orchestrator import AnsibleOrchestrator
from budeval.evals.schema import ErrorResponse
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
        engine.stop()
        runner.close()
        sidecar.close()

    application = FastAPI(title="budeval", summary="Evaluate LLMs on Kubernetes, durably.", lifespan=lifespan)
    application.include_router(routes.health_routes(ReadinessCheck(sidecar, engine)))
    application.include_router(routes.evaluation_routes(settings, engine, sidecar, orchestrator))
    application.add_exception_handler(BudevalError, _answer_error)
    application.add_exception_handler(RequestValidationError, _answer_invalid)
    return application


def _answer_error(_request: Request, error: Exception) -> JSONResponse:
    """A failure with a code becomes an answer with that code."""
    if not isinstance(error, BudevalError):
        raise error
    status = (
        error.status if isinstance(error, RequestError) else 503 if isinstance(error, SidecarError) else 500
    )
    body = ErrorResponse(message=error.message, type=type(error).__name__, param=error.param, code=error.code)
    return JSONResponse(body.model_dump(), status_code=status)


def _answer_invalid(_request: Request, error: Exception) -> JSONResponse:
    """What pydantic refused: the first field at fault, by its path in the body."""
    if not isinstance(error, RequestValidationError):
        raise error
    first = error.errors()[0]
    # Drop "body": callers know their document, not our framework.
    param = ".".join(str(part) for part in first["loc"][1:]) or None
    body = ErrorResponse(
        message=f"{param or 'body'}: {first['msg']}",
        type=RequestError.__name__,
        param=param,
        code=RequestError.code,
    )
    return JSONResponse(body.model_dump(), status_code=422)


logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
# They log each call to the sidecar, each registration and each turn of a workflow.
for _chatty in ("httpx", "WorkflowRuntime", "durabletask-worker", "durabletask-client"):
    logging.getLogger(_chatty).setLevel(logging.WARNING)
app = create_app()
