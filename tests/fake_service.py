"""A fake of the service's HTTP API: canned answers, no rules. And how the command line is run against it."""

import json
from collections.abc import Callable
from typing import Any

import httpx
from typer.testing import CliRunner, Result

from budeval.cli import app
from budeval.client import BudevalClient
from budeval.domain.notification import (
    Announcement,
    NotificationContent,
    NotificationPayload,
    NotificationRequest,
    WorkflowStatus,
)

EVAL_ID = "223e4567-e89b-12d3-a456-426614174020"
URL = "http://service.test"
SECRET = "sk-very-secret"
START = "POST /evals/start"
STARTED = {"workflow_id": "w", "workflow_name": "evaluate_model", "steps": []}
MODEL = ("--model", "m", "--endpoint", "http://m/v1")
STOCK = (*MODEL, "--dataset", "demo_chat")

Answer = dict[str, Any] | list[Any] | httpx.Response | BaseException


def refusal(status: int, code: str, message: str, param: str | None = None) -> httpx.Response:
    """An ErrorResponse."""
    body = {"object": "error", "message": message, "type": "RequestError", "param": param, "code": code}
    return httpx.Response(status, json=body)


def evaluation(status: str, outcome: str | None = None, **more: Any) -> dict[str, Any]:
    """An EvaluationState with one run."""
    state: dict[str, Any] = {
        "eval_id": EVAL_ID,
        "experiment_id": "e",
        "workflow_id": f"eval-{EVAL_ID}",
        "status": status,
        "outcome": outcome,
        "attempt": 1,
        "engine": "opencompass",
        "model": "small [bold]",
        "cluster": "local",
        "namespace": "budeval",
        "labels": {},
        "created": "2026-01-02T03:04:05+00:00",
        "ended": "2026-01-02T03:09:05+00:00" if outcome else None,
        "cancelling": False,
        "deleting": False,
        "steps": [{"id": "deploy", "title": "Deploying", "status": "COMPLETED", "message": "1 of 1 Jobs"}],
        "progress_percent": 100 if outcome else 40,
        "eta_minutes": None if outcome else 3,
        "runs": {"sums-1": {"dataset_id": "sums", "state": "running", "done": 4, "total": 10}},
        "completeness": {"requested": 2, "scored": 1} if outcome else None,
        "headline": None,
        "error": None,
        "events": 2,
    }
    return state | more


SCORE = {
    "dataset": 'su"ms, hard',
    "metric": "accuracy",
    "score": 62.5,
    "samples": 8,
    "interval": [30.6, 86.3],
    "primary": True,
}


def results(outcome: str, *more: dict[str, Any]) -> dict[str, Any]:
    """EvaluationResults: a run with a score, and what else is given."""
    run = {
        "run_id": "sums-1",
        "eval_id": EVAL_ID,
        "status": "success",
        "outcome": "COMPLETED",
        "dataset_id": "sums",
        "scores": [SCORE],
    }
    return {
        "success": outcome == "COMPLETED",
        "results": [run, *more],
        "outcome": outcome,
        "eval_id": EVAL_ID,
        "completeness": {"requested": 1, "scored": 1, "ratio": 1.0},
        "headline": {"score": 62.5, "unit": "percent", "datasets": 1},
    }


FAILED_RUN = {
    "run_id": "gsm8k-1",
    "eval_id": EVAL_ID,
    "status": "error",
    "outcome": "FAILED",
    "dataset_id": "gsm8k",
    "scores": [],
    "code": "JOB_FAILED",
    "error": "It said:\n\x1b[31mno",
}


def announcement(number: int, status: str) -> dict[str, Any]:
    """An event of the evaluation."""
    content = NotificationContent(
        title="t", message=f"message {number}", status=WorkflowStatus(status), result={"n": number}
    )
    payload = NotificationPayload(
        type="evaluate_model", event="evaluate_model_status", workflow_id="w", content=content
    )
    notification = NotificationRequest(payload=payload)
    event = Announcement(subject=f"eval-{EVAL_ID}", number=number, notification=notification)
    return event.model_dump(mode="json")


def streamed(*events: dict[str, Any]) -> bytes:
    """Announcements as Server-Sent Events."""
    lines = [f"event: e\ndata: {json.dumps(event)}\nid: {event['number']}\n\n" for event in events]
    return "".join(lines).encode()


class FakeService:
    """Answers each route with what was put there: one answer after the other, then the last again."""

    def __init__(self) -> None:
        self.requests: list[httpx.Request] = []
        self._answers: dict[str, list[Answer]] = {}

    def put(self, route: str, *answers: Answer) -> "FakeService":
        """Set the answers of a route, as `GET /evals`."""
        self._answers[route] = list(answers)
        return self

    @property
    def body(self) -> Any:
        """The body of the newest request that has one."""
        return next(json.loads(request.content) for request in reversed(self.requests) if request.content)

    def asked(self, route: str) -> int:
        """How often a route was asked."""
        return sum(f"{request.method} {request.url.path}" == route for request in self.requests)

    def client(self, url: str = URL, token: str | None = None) -> BudevalClient:
        """A client of this service that does not wait between two looks."""
        return BudevalClient(url, token, poll_seconds=0, transport=httpx.MockTransport(self._answer))

    @property
    def connect(self) -> Callable[[str], BudevalClient]:
        """What the command line takes in place of the network."""
        return self.client

    def _answer(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        answers = self._answers.get(f"{request.method} {request.url.path}")
        if answers is None:
            return refusal(404, "ROUTE_UNKNOWN", "Not Found")
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if isinstance(answer, BaseException):
            raise answer
        return answer if isinstance(answer, httpx.Response) else httpx.Response(200, json=answer)


def run_budeval(fake: FakeService, *arguments: str, stdin: str | None = None) -> Result:
    """A command against the fake. No output has a secret or a traceback, whatever happens."""
    result = CliRunner().invoke(app, list(arguments), obj=fake.connect, input=stdin)
    assert isinstance(result.exception, SystemExit | None), result.exception
    assert SECRET not in result.output
    assert "Traceback" not in result.output
    return result


def only_line(result: Result) -> str:
    """What a failed command says."""
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    return line
