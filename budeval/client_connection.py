"""The connection to one service: what every call of the client needs, whatever it asks for."""

import json
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx
from pydantic import BaseModel, ValidationError

from budeval.api.error_response import ErrorResponse
from budeval.errors import BudevalError, RequestError

_PATIENCE_SECONDS = 120.0
"""How long a service may be away while it is watched."""
_SERVER_FAULT = 500

_Model = TypeVar("_Model", bound=BaseModel)
_Answer = TypeVar("_Answer")
Trouble = Callable[[BudevalError], None]
"""Told once at the begin of each time in which the service is away."""


class ApiError(BudevalError):
    """The service has refused, or failed to serve, a request; `code` is the service's."""

    def __init__(self, message: str, *, status: int, code: str, param: str | None = None) -> None:
        super().__init__(message, code=code, param=param)
        self.status = status
        self.retryable = status >= _SERVER_FAULT


class ServiceUnreachableError(BudevalError):
    """Nobody answers at the URL, or somebody who is not budeval."""

    code = "SERVICE_UNREACHABLE"


class Connection:
    """Asks one service. Not for several threads at once."""

    def __init__(
        self,
        base_url: str,
        token: str | None = None,
        timeout: float = 30.0,
        *,
        poll_seconds: float = 1.0,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        """Open no connection yet.

        Args:
            base_url: as `http://127.0.0.1:13080`.
            token: sent as a bearer token, if there is one.
            timeout: seconds for each answer.
            poll_seconds: between two looks while watching.
            transport: in place of the network; for tests.

        Raises:
            RequestError: the URL or the token cannot be used.
        """
        self._url = _checked_url(base_url)
        self._timeout = timeout
        self.poll_seconds = poll_seconds
        # trust_env: a proxy of the environment is not meant for a service on this machine or in a cluster.
        self._http = httpx.Client(
            timeout=timeout, transport=transport, trust_env=False, headers=_authorization(token)
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def _patiently(self, call: Callable[[], _Answer], on_trouble: Trouble | None) -> _Answer:
        """The call's answer; repeated while the service is away, within bounds. For GETs only."""
        deadline = time.monotonic() + _PATIENCE_SECONDS
        told = False
        while True:
            try:
                return call()
            except (ApiError, ServiceUnreachableError) as error:
                if not error.retryable or time.monotonic() > deadline:
                    raise
                if on_trouble and not told:
                    on_trouble(error)
                told = True
            time.sleep(self.poll_seconds)

    def _get(self, path: str, model: type[_Model], **params: Any) -> _Model:
        return self._understood(self._ask("GET", path, params=params), model.model_validate_json)

    def _post(
        self,
        path: str,
        body: Mapping[str, Any],
        model: type[_Model],
        timeout: float | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> _Model:
        answer = self._ask(
            "POST",
            path,
            content=_json(body),
            headers={"content-type": "application/json", **(headers or {})},
            timeout=timeout or self._timeout,
        )
        return self._understood(answer, model.model_validate_json)

    def _ask(self, method: str, path: str, accept: int | None = None, **arguments: Any) -> httpx.Response:
        """An answer that is a success, or has the status `accept`."""
        try:
            answer = self._http.request(method, f"{self._url}{path}", **arguments)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise self._unreached(error) from error
        if answer.is_success or answer.status_code == accept:
            return answer
        raise self._refusal(answer)

    def _unreached(self, error: Exception) -> ServiceUnreachableError:
        reason = "not in time" if isinstance(error, httpx.TimeoutException) else type(error).__name__
        text = f"No answer from {self._url} ({reason}). Is the service up, and this its URL (BUDEVAL_URL)?"
        return ServiceUnreachableError(text)

    def _refusal(self, answer: httpx.Response) -> BudevalError:
        try:
            said = ErrorResponse.model_validate_json(answer.content)
        except ValidationError:
            return self._stranger(f"status {answer.status_code}", retryable=answer.is_server_error)
        return ApiError(said.message, status=answer.status_code, code=said.code, param=said.param)

    def _understood(self, answer: httpx.Response, parse: Callable[[bytes], _Answer]) -> _Answer:
        try:
            return parse(answer.content)
        except (ValueError, LookupError, TypeError) as error:  # ValueError: of pydantic and of json
            raise self._stranger("an answer of another form", retryable=answer.is_server_error) from error

    def _stranger(self, answer: str, *, retryable: bool) -> ServiceUnreachableError:
        text = f"{self._url} gives {answer}, not as this version of budeval. Is the URL right (BUDEVAL_URL)?"
        error = ServiceUnreachableError(text)
        error.retryable = retryable  # a proxy's 502 passes, another program does not
        return error


def _json(body: Mapping[str, Any]) -> bytes:
    """The body; a date, as YAML reads it, becomes its ISO text."""
    try:
        return json.dumps(body, default=str, allow_nan=False).encode()
    except (ValueError, TypeError) as error:
        # Not the error's own text: it may quote a value, which may be a secret.
        raise RequestError("The request holds a value that JSON does not have (NaN, a cycle).") from error


def _checked_url(url: str) -> str:
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL:
        parsed = httpx.URL("")
    if parsed.scheme not in {"http", "https"} or not parsed.host or parsed.userinfo:
        # It is not quoted: what is wrong with it may be a password in it.
        text = "The service's URL must be like http://127.0.0.1:13080, without user and password."
        raise RequestError(text, param="url")
    return url.rstrip("/")


def _authorization(token: str | None) -> dict[str, str]:
    if not token:
        return {}
    if not (token.isascii() and token.isprintable()):
        raise RequestError("The token has characters that no HTTP header may have.", param="token")
    return {"authorization": f"Bearer {token}"}
