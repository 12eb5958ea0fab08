"""The HTTP API of evaluations. Translates, and decides nothing."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Header, Query, Response

from budeval.api.access import AskedBy
from budeval.api.error_response import ERRORS
from budeval.domain.evaluation import EvaluationRecord
from budeval.domain.json_values import LARGEST_INTEGER
from budeval.domain.notification import WorkflowStatus
from budeval.domain.steps import EVALUATION_STEPS
from budeval.engines.base import Engine
from budeval.errors import RequestError
from budeval.evals.answers import (
    ComparisonReport,
    DatasetList,
    Deletion,
    EngineInfo,
    EvaluationPage,
    EvaluationResults,
    EvaluationState,
    EventPage,
    Receipt,
    RunLog,
    ValidationReport,
    WorkflowStarted,
)
from budeval.evals.comparing import Comparisons
from budeval.evals.deletion import Deletions
from budeval.evals.event_stream import EventStream
from budeval.evals.intake import Intake
from budeval.evals.lifecycle import Lifecycle
from budeval.evals.schema import CancelRequest, DeletionRequest, EvaluationRequest, RetryRequest
from budeval.evals.validation import Validation
from budeval.evals.views import EvaluationViews, Wanted

_ASSUMED_SECONDS_PER_RUN = 30 * 60


def started(record: EvaluationRecord) -> WorkflowStarted:
    """The answer to a request that was taken in."""
    evaluation = record.evaluation
    return WorkflowStarted(
        workflow_id=evaluation.workflow_id,
        workflow_name="evaluate_model",
        steps=EVALUATION_STEPS,
        eta=_ASSUMED_SECONDS_PER_RUN * len(evaluation.runs),
    )


def evaluation_routes(intake: Intake, validation: Validation, views: EvaluationViews) -> APIRouter:
    """Start evaluations and tell of them."""
    router = APIRouter(responses=ERRORS, tags=["evaluations"])

    @router.post("/evals/start")
    def start(request: EvaluationRequest, caller: AskedBy) -> WorkflowStarted:
        """Start an evaluation. The same request again answers the same and starts nothing."""
        return started(intake.accept(request, caller.tenant))

    @router.post("/evals:validate")
    def validate(request: EvaluationRequest) -> ValidationReport:
        """Check request, cluster, namespace, claim, datasets, endpoint and key; start nothing."""
        return validation.report(request)

    @router.get("/evals")
    def evaluations(
        caller: AskedBy,
        cursor: str | None = None,
        limit: Annotated[int, Query(ge=1, le=200)] = 50,
        status: WorkflowStatus | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
    ) -> EvaluationPage:
        """Evaluations, newest first; by status, and by the time at which they were taken in."""
        return views.page(cursor, limit, Wanted(status, since, until, caller.sees))

    @router.get("/evals/{eval_id}")
    def state(eval_id: str) -> EvaluationState:
        """How far an evaluation is: steps, runs, progress, minutes left, error."""
        return views.state(eval_id)

    @router.get("/evals/{eval_id}/results")
    def results(eval_id: str) -> EvaluationResults:
        """The results of every run."""
        return views.results(eval_id)

    @router.get("/evals/{eval_id}/events")
    def events(eval_id: str, after: Annotated[int, Query(ge=0, le=LARGEST_INTEGER)] = 0) -> EventPage:
        """What was announced, from the number after `after` on."""
        return views.events(eval_id, after)

    @router.get("/evals/{eval_id}/logs")
    def logs(eval_id: str, run_id: str) -> RunLog:
        """The end of a run's log as it was last seen, also after the pod is gone."""
        return views.log(eval_id, run_id)

    return router


def stream_routes(stream: EventStream) -> APIRouter:
    """What is announced, as it comes."""
    router = APIRouter(responses=ERRORS, tags=["evaluations"])

    @router.get(
        "/evals/{eval_id}/events/stream",
        response_class=Response,  # with its own class FastAPI would take the route for a generator
        responses={
            200: {"content": {"text/event-stream": {}}, "description": "Announcements, as they come."},
            204: {"description": "Nothing more will come."},
        },
    )
    async def events_stream(
        eval_id: str,
        after: Annotated[int, Query(ge=0, le=LARGEST_INTEGER)] = 0,
        last_event_id: Annotated[int | None, Header(ge=0, le=LARGEST_INTEGER)] = None,
    ) -> Response:
        """What is announced, as Server-Sent Events, until the last word; `Last-Event-ID` goes on after it."""
        return await stream.open(eval_id, after if last_event_id is None else last_event_id)

    return router


def lifecycle_routes(lifecycle: Lifecycle, deletions: Deletions, views: EvaluationViews) -> APIRouter:
    """End evaluations, repeat and delete them, and what is left of them."""
    router = APIRouter(responses=ERRORS, tags=["evaluations"])

    @router.post("/evals/{eval_id}/cancel", status_code=202)
    def cancel(eval_id: str, request: CancelRequest | None = None) -> EvaluationState:
        """End an evaluation: its pods go at once. May be repeated; `status` is TERMINATED when it is done."""
        wish = request or CancelRequest()
        lifecycle.cancel(eval_id, extract=wish.extract, attempt=wish.attempt)
        return views.state(eval_id)

    @router.post("/evals/{eval_id}/retry", status_code=202)
    def retry(eval_id: str, request: RetryRequest) -> EvaluationState:
        """Begin another attempt with the runs that have no whole result; the others keep theirs."""
        lifecycle.retry(eval_id, request)
        return views.state(eval_id)

    @router.delete("/evals/{eval_id}")
    def delete(eval_id: str, request: DeletionRequest | None = None) -> Deletion:
        """Delete an evaluation that has ended, with its files on the claim; takes as long as a Job."""
        return deletions.delete(eval_id, request or DeletionRequest())

    @router.get("/evals/{eval_id}/receipt")
    def receipt(eval_id: str) -> Receipt:
        """What was made on the cluster and became of it; whole once the evaluation has ended."""
        return views.receipt(eval_id)

    return router


def comparison_routes(comparisons: Comparisons) -> APIRouter:
    """Evaluations against each other."""
    router = APIRouter(responses=ERRORS, tags=["evaluations"])

    @router.get("/compare")
    def compare(
        base: str, candidate: str, alpha: Annotated[float, Query(gt=0, lt=1)] = 0.05
    ) -> ComparisonReport:
        """Whether a candidate is better or worse than a base by more than chance, dataset by dataset."""
        return comparisons.report(base, candidate, alpha)

    return router


def engine_routes(engines: Mapping[str, Engine]) -> APIRouter:
    """What evaluations can be asked for."""
    router = APIRouter(responses=ERRORS, tags=["engines"])

    @router.get("/engines")
    def all_engines() -> list[EngineInfo]:
        """The engines of this service."""
        return [
            EngineInfo(name=name, image=engine.image, stock_datasets=len(engine.stock_datasets()))
            for name, engine in sorted(engines.items())
        ]

    @router.get("/engines/{engine}/datasets")
    def datasets(engine: str, contains: str = "") -> DatasetList:
        """The stock datasets of an engine whose names contain a text."""
        if engine not in engines:
            text = f"There is no engine {engine!r}. There are: {', '.join(sorted(engines))}."
            raise RequestError(text, status=404, code="ENGINE_UNKNOWN", param="engine")
        names = [name for name in engines[engine].stock_datasets() if contains in name]
        return DatasetList(engine=engine, datasets=names)

    return router
