"""Whatever goes wrong, the answer has one shape."""

import pytest
from fastapi import FastAPI

from budeval.api import http_errors
from budeval.api.http_errors import first_problem
from budeval.errors import ArtifactError, ClusterError, RequestError, SidecarError
from tests.asgi import Caller


def _raising(error: Exception) -> Caller:
    application = FastAPI()
    http_errors.install(application)

    @application.get("/")
    def fail() -> None:
        raise error

    application.add_api_route("/", fail, methods=["POST"])

    return Caller(application)


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (RequestError("no", status=409, code="TAKEN", param="eval_id"), 409, "TAKEN"),
        (SidecarError("away"), 503, "SIDECAR_UNAVAILABLE"),
        (ArtifactError("full"), 503, "ARTIFACTS_UNAVAILABLE"),
        (ClusterError("full", code="QUOTA_EXCEEDED", retryable=True), 502, "QUOTA_EXCEEDED"),
        (ZeroDivisionError("a secret detail"), 500, "INTERNAL"),
    ],
)
def test_a_failure_is_answered_with_its_code(error: Exception, status: int, code: str) -> None:
    """Our own failures tell code and message; a bug tells nothing of its inside."""
    answer = _raising(error).get("/")

    assert answer.status_code == status
    assert answer.json()["object"] == "error"
    assert answer.json()["code"] == code
    assert "secret" not in answer.text


@pytest.mark.parametrize(("status", "waits"), [(429, True), (409, False), (422, False)])
def test_who_is_one_too_many_is_told_when_to_come_again(status: int, *, waits: bool) -> None:
    """In seconds, as RFC 9110 has it; for other refusals there is nothing to wait for."""
    answer = _raising(RequestError("no", status=status)).get("/")

    assert answer.status_code == status
    assert answer.headers.get("Retry-After", "").isdigit() is waits


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/nowhere", 404), ("DELETE", "/", 405)])
def test_unknown_routes_have_the_same_shape(method: str, path: str, status: int) -> None:
    """A wrong path or method is an ErrorResponse like any other; what is allowed is told."""
    answer = _raising(RequestError("no")).request(method, path)

    assert answer.status_code == status
    assert answer.json()["code"] == "ROUTE_UNKNOWN"
    assert answer.headers.get("Allow") == ("GET, POST" if status == 405 else None)


def test_a_fields_name_is_not_given_back_at_length() -> None:
    """Callers may send any."""
    problem = first_problem([{"type": "extra_forbidden", "loc": ("a", "x" * 10**6), "msg": "no"}], skip=0)

    assert (problem.param, problem.message) == (f"a.{'x' * 100}", f"a.{'x' * 100}: no")
