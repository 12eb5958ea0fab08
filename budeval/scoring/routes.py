"""The HTTP API of scoring. Translates, and decides nothing."""

import asyncio
import time
from collections.abc import Mapping
from typing import Annotated

from fastapi import APIRouter, Header, Query, Response
from fastapi.concurrency import run_in_threadpool

from budeval.api.access import AskedBy
from budeval.api.error_response import ERRORS
from budeval.domain.score_job import Engine, JobStatus
from budeval.scoring.answers import (
    MetricInfo,
    MetricList,
    ScoreDeletion,
    ScorePage,
    ScoreState,
    ScoreValidation,
)
from budeval.scoring.engines.base import ScoringEngine
from budeval.scoring.intake import ScoreIntake
from budeval.scoring.lifecycle import ScoreLifecycle
from budeval.scoring.metrics import METRICS
from budeval.scoring.schema import MAX_CONTEXTS, BatchRequest, ScoreRequest
from budeval.scoring.settings import ScoringSettings
from budeval.scoring.views import ScoreViews

_LONGEST_WAIT = 60
_POLL_SECONDS = 0.2

Key = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=255,
        description="The same request with the same key is one job, however often it comes.",
    ),
]
Wait = Annotated[
    int, Query(ge=0, le=_LONGEST_WAIT, description="Seconds to wait for the scores before answering.")
]


def score_routes(intake: ScoreIntake, views: ScoreViews) -> APIRouter:
    """Take samples in, and tell of them."""
    router = APIRouter(responses=ERRORS, tags=["scoring"])

    async def _answer(job_id: str, wait: int, response: Response) -> ScoreState:
        response.headers["Location"] = f"/scores/{job_id}"
        return await _waited(views, job_id, wait)

    @router.post("/scores", status_code=202)
    async def score(
        request: ScoreRequest, caller: AskedBy, response: Response, key: Key = None, wait: Wait = 0
    ) -> ScoreState:
        """Score one RAG sample. With an Idempotency-Key the same request again starts nothing."""
        record = await run_in_threadpool(intake.accept, request, caller.tenant, key)
        return await _answer(record.job.job_id, wait, response)

    @router.post("/scores:batch", status_code=202)
    async def score_many(
        request: BatchRequest, caller: AskedBy, response: Response, key: Key = None, wait: Wait = 0
    ) -> ScoreState:
        """Score many samples as one run, with means and intervals."""
        record = await run_in_threadpool(intake.accept_many, request, caller.tenant, key)
        return await _answer(record.job.job_id, wait, response)

    @router.post("/scores:validate")
    def validate(request: ScoreRequest) -> ScoreValidation:
        """Tell what would be scored, and start nothing."""
        job = intake.check(request)
        skipped = intake.skipped(job, request.sample)
        return ScoreValidation(
            effective=[name for name in job.metrics if name not in skipped],
            skipped=skipped,
            judge_calls=intake.judge_calls(job, request.sample),
            judge_model=job.judge,
            embedding_model=job.embedder,
        )

    @router.get("/scores")
    def scores(
        caller: AskedBy,
        cursor: str | None = None,
        limit: Annotated[int, Query(ge=1, le=200)] = 50,
        status: JobStatus | None = None,
    ) -> ScorePage:
        """Scoring jobs, newest first."""
        return views.page(cursor, limit, status, caller.sees)

    @router.get("/scores/{job_id}")
    async def state(job_id: str, wait: Wait = 0) -> ScoreState:
        """A scoring job: its scores, and what each metric says."""
        return await _waited(views, job_id, wait)

    return router


def score_lifecycle_routes(lifecycle: ScoreLifecycle, views: ScoreViews) -> APIRouter:
    """End jobs, repeat and delete them."""
    router = APIRouter(responses=ERRORS, tags=["scoring"])

    @router.post("/scores/{job_id}/cancel", status_code=202)
    def cancel(job_id: str) -> ScoreState:
        """End a job; what is scored by then stays known. Of a retry only the retry ends."""
        lifecycle.cancel(job_id)
        return views.state(job_id)

    @router.post("/scores/{job_id}/retry", status_code=202)
    def retry(job_id: str) -> ScoreState:
        """Score once more what has failed; the other metrics keep their values."""
        lifecycle.retry(job_id)
        return views.state(job_id)

    @router.delete("/scores/{job_id}")
    def delete(job_id: str) -> ScoreDeletion:
        """Delete a job that has ended, with its run."""
        lifecycle.delete(job_id)
        return ScoreDeletion(job_id=job_id)

    return router


def metric_routes(engines: Mapping[Engine, ScoringEngine], settings: ScoringSettings) -> APIRouter:
    """What there is to score by."""
    router = APIRouter(responses=ERRORS, tags=["scoring"])

    @router.get("/score-metrics")
    def metrics() -> MetricList:
        """The metrics, what each needs, and who judges and embeds."""
        return MetricList(
            metrics=[_info(name, engines) for name in METRICS],
            judges=[judge.alias for judge in settings.judges],
            embedders=[embedder.alias for embedder in settings.embedders],
        )

    return router


def _info(name: str, engines: Mapping[Engine, ScoringEngine]) -> MetricInfo:
    metric = METRICS[name]
    there = {key: engine for key, engine in engines.items() if name in engine.metrics}
    return MetricInfo(
        name=name,
        description=metric.description,
        needs=[str(need) for need in metric.needs],
        needs_judge=metric.needs_judge,
        needs_embedder=metric.needs_embedder,
        judge_calls={key: _judge_calls(name, engine) for key, engine in there.items()},
        engines={key: engine.metrics[name] for key, engine in there.items()},
    )


def _judge_calls(name: str, engine: ScoringEngine) -> int | None:
    """For every sample; None where that depends on its contexts."""
    fewest, most = engine.judge_calls(name, 1), engine.judge_calls(name, MAX_CONTEXTS)
    return most if fewest == most else None


async def _waited(views: ScoreViews, job_id: str, wait: int) -> ScoreState:
    """The state, once its scores are there or the time is up. Holds no thread in between."""
    deadline = time.monotonic() + wait
    while True:
        if time.monotonic() >= deadline or await run_in_threadpool(views.has_ended, job_id):
            return await run_in_threadpool(views.state, job_id)
        await asyncio.sleep(_POLL_SECONDS)
