"""The HTTP API of scoring in front of a desk."""

from typing import Any

import httpx
from fastapi import Depends, FastAPI

from budeval.api import http_errors
from budeval.api.access import Access, Owned
from budeval.config import ApiToken
from budeval.scoring.routes import metric_routes, score_lifecycle_routes, score_routes
from budeval.scoring.service import _jobs_in
from budeval.scoring.store import unknown
from tests.asgi import Caller
from tests.scoring.bodies import body
from tests.scoring.desk import Desk
from tests.scoring.measured import score


class Service:
    """All routes of scoring, guarded, with errors in their shape; workflows run where a test says so."""

    def __init__(self, desk: Desk, *tokens: ApiToken) -> None:
        self.desk = desk
        access = Access(tokens, None, [Owned(_jobs_in, desk.store.tenant_of, unknown)])
        application = FastAPI(dependencies=[Depends(access.guard)])
        application.include_router(score_routes(desk.intake, desk.views))
        application.include_router(score_lifecycle_routes(desk.lifecycle, desk.views))
        application.include_router(metric_routes(desk.engines, desk.settings))
        http_errors.install(application)
        self.caller = Caller(application)

    def score(self, key: str | None = None, **changes: Any) -> httpx.Response:
        """Send a sample."""
        headers = {"Idempotency-Key": key} if key is not None else {}
        return self.caller.post("/scores", json=body(**changes), headers=headers)

    def accepted(self, **changes: Any) -> str:
        """The id of a job."""
        answer = self.score(**changes)
        assert answer.status_code == 202, answer.text
        return str(answer.json()["job_id"])

    def run(self, job_id: str) -> None:
        """The workflow of a job, to its end."""
        self.desk.run(self.desk.store.load(job_id))

    def run_first_metric(self, job_id: str) -> None:
        """The beginning of the workflow only."""
        record = self.desk.store.load(job_id)
        self.desk.activities.begin_scoring({"job_id": job_id})
        score(self.desk, record)

    def state(self, job_id: str) -> dict[str, Any]:
        """What is told of a job."""
        told: dict[str, Any] = self.caller.get(f"/scores/{job_id}").json()
        return told

    def post(self, job_id: str, action: str) -> httpx.Response:
        """Cancel or retry a job."""
        return self.caller.post(f"/scores/{job_id}/{action}")


ON_A_JOB = [
    ("GET", "/scores/{}"),
    ("POST", "/scores/{}/cancel"),
    ("POST", "/scores/{}/retry"),
    ("DELETE", "/scores/{}"),
]
"""Every route of one job."""


def refused(answer: httpx.Response) -> tuple[int, str, str | None]:
    """Status, code and field of an answer that is an error."""
    told = answer.json()
    assert told["object"] == "error", told
    return answer.status_code, told["code"], told["param"]
