"""Scoring single metrics at a desk, as the worker of a workflow does."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

from budeval.domain.score_job import ScoreRecord
from budeval.domain.scoring import MetricOutcome
from tests.scoring.bodies import request
from tests.scoring.desk import Desk


def accepted(desk: Desk, *metrics: str, **changes: Any) -> ScoreRecord:
    """A job of one sample with these metrics, that has begun."""
    record = desk.intake.accept(request(metrics=list(metrics), **changes), "default")
    desk.activities.begin_scoring({"job_id": record.job.job_id})
    return record


def order(
    record: ScoreRecord, metric: str | None = None, seconds: float = 60, **changes: Any
) -> dict[str, Any]:
    """What the workflow asks for; the first metric of the job if none is named."""
    deadline = datetime.now(UTC).replace(tzinfo=None) + timedelta(seconds=seconds)
    return {
        "job_id": record.job.job_id,
        "attempt": record.job.attempt,
        "sample": 1,
        "metric": metric or record.job.metrics[0],
        "deadline": deadline.isoformat(),
        **changes,
    }


def score(desk: Desk, record: ScoreRecord, metric: str | None = None, **changes: Any) -> str:
    """Score one metric; its status."""
    return asyncio.run(desk.measuring.score_metric(order(record, metric, **changes)))


def outcome(desk: Desk, record: ScoreRecord, metric: str | None = None) -> MetricOutcome:
    """What is stored of it."""
    stored = desk.store.outcome(record.job.job_id, 1, metric or record.job.metrics[0])
    assert stored
    return stored.outcome


def ledgers(desk: Desk) -> list[str]:
    """What is stored of metrics that are not done."""
    return [key for key in desk.dapr.state if key.startswith("score-ledger-")]
