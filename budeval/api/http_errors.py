"""From failures to HTTP answers: every one is an `ErrorResponse` with a stable code."""

from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.routing import compile_path

from budeval.api.error_response import ErrorResponse
from budeval.errors import ArtifactError, BudevalError, ClusterError, RequestError, SidecarError

_NO_SUCH_METHOD = 405
_HOW_TO_AUTHENTICATE = {401: {"WWW-Authenticate": "Bearer"}}
_RETRY_AFTER_SECONDS = 5
"""Before a caller tries again where there are too many: short, as what is in the way ends at any time."""
_TOO_MANY = 429
_LONGEST_NAME = 100
"""Characters of a field's name in an answer: callers may send any, and get no more of it back."""
_CODES = {404: "ROUTE_UNKNOWN", 405: "ROUTE_UNKNOWN", 413: "REQUEST_TOO_LARGE"}


def install(application: FastAPI) -> None:
    """Answer our own failures, refused requests and unknown routes in one shape."""
    application.add_exception_handler(BudevalError, answer_failure)
    application.add_exception_handler(RequestValidationError, _answer_invalid)
    application.add_exception_handler(HTTPException, _answer_http)
    application.add_exception_handler(Exception, _answer_bug)


def answer_failure(_request: Request, error: Exception) -> JSONResponse:
    """A failure with a code becomes an answer with that code."""
    if not isinstance(error, BudevalError):
        raise error
    status = _status_of(error)
    return _answer(status, error, _HOW_TO_AUTHENTICATE.get(status))


def _status_of(error: BudevalError) -> int:
    if isinstance(error, RequestError):
        return error.status
    if isinstance(error, ClusterError):
        return 502
    return 503 if isinstance(error, SidecarError | ArtifactError) else 500


def _answer_invalid(_request: Request, error: Exception) -> JSONResponse:
    """What pydantic refused: the first field at fault, by its path in the body."""
    if not isinstance(error, RequestValidationError):
        raise error
    # Without the leading "body": callers know their document, not our framework.
    problem = first_problem(error.errors(), skip=1)
    return _answer(problem.status, problem)


def first_problem(errors: Sequence[Any], skip: int) -> RequestError:
    """The first of pydantic's errors, with the field's path; never the value, which may be a secret."""
    first = errors[0]
    where = () if first["type"] == "json_invalid" else first["loc"][skip:]
    param = ".".join(str(part)[:_LONGEST_NAME] for part in where) or None
    return RequestError(f"{param or 'body'}: {first['msg']}", status=422, param=param)


def _answer_http(request: Request, error: Exception) -> JSONResponse:
    """No such route, or not with this method; a body that is too large, or no JSON."""
    if not isinstance(error, HTTPException):
        raise error
    code = _CODES.get(error.status_code, RequestError.code)
    headers = {**(error.headers or {})}
    if error.status_code == _NO_SUCH_METHOD:
        # The framework names the methods of the first route with this path, and there may be others.
        headers["Allow"] = _documented_methods(request) or headers["Allow"]
    return _answer(error.status_code, RequestError(str(error.detail), code=code), headers)


def _documented_methods(request: Request) -> str:
    """Of the request's path; one that is documented as it is counts before one with a parameter."""
    documented, path = request.app.openapi()["paths"], request.scope["path"]
    matching = [path] if path in documented else [one for one in documented if _matches(one, path)]
    return ", ".join(sorted(method.upper() for one in matching for method in documented[one]))


def _matches(template: str, path: str) -> bool:
    return compile_path(template)[0].match(path) is not None


def _answer_bug(_request: Request, _error: Exception) -> JSONResponse:
    """A fault of ours; the server's log has its traceback, the caller gets none of it."""
    return _answer(500, BudevalError("An internal error. The service's log has the details."))


def _answer(status: int, error: BudevalError, headers: Mapping[str, str] | None = None) -> JSONResponse:
    body = ErrorResponse(message=error.message, type=type(error).__name__, param=error.param, code=error.code)
    headers = {"Retry-After": str(_RETRY_AFTER_SECONDS)} if status == _TOO_MANY else headers
    return JSONResponse(body.model_dump(), status_code=status, headers=headers)
