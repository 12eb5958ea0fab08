"""One OpenAI-compatible endpoint over HTTP: JSON in, JSON out, every fault with its name.

A client belongs to the event loop that opened it: open it in the activity that uses it, and close it there.
"""

import asyncio
import json
import math
import re
import ssl
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache
from http import HTTPStatus
from typing import Any, Literal, NoReturn, Self

import httpx

from budeval.domain.redaction import redacted
from budeval.domain.scoring import Usage
from budeval.scoring.bill import Bill
from budeval.scoring.failures import EndpointBusyError, JudgeError, ReplyUnusableError, RequestRefusedError
from budeval.scoring.limiter import Limiter
from budeval.scoring.replies import well_formed
from budeval.scoring.settings import EndpointSettings

MAX_REPLY = 4 * 1024 * 1024
"""Bytes of one reply."""

_EXCERPT = 200
_SAID = 2000
_UNUSABLE = {"judge": "judge_output_invalid", "embedder": "embedding_invalid"}
_A_CALL = {"judge": Usage(calls=1), "embedder": Usage(embedding_calls=1)}
_TOO_LONG = re.compile(
    r"context[ _](length|size|window)|exceed_context|too many tokens"
    r"|(input|prompt)( \(\d+ tokens\))? is too (long|large)"
    r"|maximum (input|sequence|prompt|model) length|input token count|maximum number of tokens"
    r"|`inputs` (must have less than|tokens \+)|reduce the length",
    re.IGNORECASE,
)
"""As OpenAI, vLLM, llama.cpp, Text Generation Inference and Gemini say it, with status 400 or 500."""
_ANSWERS = ("choices", "data")
"""Of chat and of embeddings: where one is, the reply is more than a fault."""
_FAULT = re.compile("[45][0-9]{2}")
_UNPAID = "insufficient_quota"
"""OpenAI's 429 that no waiting cures."""


class Endpoint:
    """The connection to one endpoint; a context manager."""

    def __init__(
        self, settings: EndpointSettings, kind: Literal["judge", "embedder"], limiter: Limiter
    ) -> None:
        self.settings = settings
        self._kind = kind
        self._limiter = limiter
        key = settings.api_key.get_secret_value() if settings.api_key else None
        self._secrets = [key] if key else []
        # Identity, because the limit of a reply is one of the bytes that arrive.
        headers = {"Accept-Encoding": "identity", "Content-Type": "application/json"}
        if key:
            headers["Authorization"] = f"Bearer {key}"
        self._http = httpx.AsyncClient(
            base_url=settings.base_url,
            headers=headers,
            timeout=None,  # noqa: S113 - `_exchange` has one for all of it
            trust_env=False,
            verify=_authorities(),
        )

    async def __aenter__(self) -> Self:
        await self._http.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.aclose()

    def check_length(self, chars: int) -> None:
        """Refuse what is larger than the settings allow, before it is paid for.

        Raises:
            RequestRefusedError: context_too_long.
        """
        if chars > self.settings.max_input_chars:
            text = f"{chars} characters are more than the {self.settings.max_input_chars} for {self._name}"
            raise RequestRefusedError(text, "context_too_long")

    async def post(self, path: str, body: dict[str, Any], bill: Bill) -> dict[str, Any]:
        """Send once and read the reply; the call is on the bill before it is sent, and not while it waits.

        Raises:
            JudgeError: by what happened; nothing is tried again.
        """
        async with self._limiter.slot():
            bill.add(_A_CALL[self._kind])
            status, headers, raw = await self._exchange(path, body)
            if status != HTTPStatus.OK:
                self._limiter.pause(_retry_after(headers))
                raise self._fault(status, raw.decode(errors="replace"), body)
        document = self._document(raw)
        if fault := _fault_within(document):
            raise self._fault(fault, json.dumps(document["error"], ensure_ascii=False), body)
        return document

    def unusable(self, why: str, said: object = "") -> NoReturn:
        """Raise ReplyUnusableError: `why`, and the beginning of what the endpoint said."""
        text = f"the reply of {self._name} {why}"
        raise ReplyUnusableError(f"{text}: {self.excerpt(said)}" if said else text, _UNUSABLE[self._kind])

    def broke_off(self, why: object) -> NoReturn:
        """Raise EndpointBusyError: it had begun to answer, and says `why` it did not end."""
        raise EndpointBusyError(f"{self._name} broke off: {self.excerpt(why)}", f"{self._kind}_unavailable")

    def excerpt(self, said: object) -> str:
        """The beginning of what an endpoint said, on one line and without our key."""
        text: str = redacted(well_formed(str(said)), self._secrets)
        return " ".join(text[:_SAID].split())[:_EXCERPT]

    @property
    def _name(self) -> str:
        return f"{self._kind} {self.settings.alias}"

    async def _exchange(self, path: str, body: dict[str, Any]) -> tuple[int, httpx.Headers, bytes]:
        content = json.dumps(body).encode()
        try:
            async with (
                # One limit for all: httpx's own begins anew with each piece that arrives.
                asyncio.timeout(self.settings.timeout),
                self._http.stream("POST", path, content=content) as answer,
            ):
                return answer.status_code, answer.headers, await self._bounded(answer)
        except TimeoutError as error:
            text = f"{self._name} did not answer within {self.settings.timeout:g} s"
            raise EndpointBusyError(text, f"{self._kind}_timeout") from error
        except httpx.HTTPError as error:
            # With our key gone, for such errors may show what was sent.
            text = f"{self._name} cannot be reached: {type(error).__name__} {self.excerpt(error)}".rstrip()
            raise EndpointBusyError(text, f"{self._kind}_unavailable") from error

    async def _bounded(self, answer: httpx.Response) -> bytes:
        read = bytearray()
        async for piece in answer.aiter_bytes():
            read += piece
            if len(read) > MAX_REPLY:
                self.unusable(f"has more than {MAX_REPLY} bytes")
        return bytes(read)

    def _document(self, raw: bytes) -> dict[str, Any]:
        try:
            document = json.loads(raw, parse_constant=_no_number)
        except (ValueError, RecursionError):
            self.unusable("is not JSON", raw.decode(errors="replace"))
        if not isinstance(document, dict):
            self.unusable("is not a JSON object", document)
        return document

    def _fault(self, status: int, said: str, body: dict[str, Any]) -> JudgeError:
        text = f"{self._name} answered {status}: {self.excerpt(said)}"
        if status == HTTPStatus.TOO_MANY_REQUESTS and _UNPAID not in said:
            return EndpointBusyError(text, "rate_limited")
        if status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE or _says_too_long(said, body):
            return RequestRefusedError(text, "context_too_long", status=status, said=said)
        if status == HTTPStatus.REQUEST_TIMEOUT:
            return EndpointBusyError(text, f"{self._kind}_timeout")
        if status == HTTPStatus.OK or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            return EndpointBusyError(text, f"{self._kind}_unavailable")
        return RequestRefusedError(text, f"{self._kind}_refused", status=status, said=said)


@lru_cache(maxsize=1)
def _authorities() -> ssl.SSLContext:
    """Who may vouch for an endpoint. Read once: it takes ten times as long as all else of a client."""
    return httpx.create_ssl_context(trust_env=False)


def tokens(document: dict[str, Any]) -> tuple[int, int]:
    """Prompt and completion tokens as the endpoint counts them, 0 where it does not."""
    usage = document.get("usage")
    counts = usage if isinstance(usage, dict) else {}
    return _count(counts.get("prompt_tokens")), _count(counts.get("completion_tokens"))


def _count(said: object) -> int:
    return said if isinstance(said, int) and said > 0 else 0


def _fault_within(document: dict[str, Any]) -> int | None:
    """The status of a fault that came with status 200, as gateways send it (OpenRouter).

    200 itself where it does not say: whether it would pass is not known, so it is tried again. None where
    there is no fault.
    """
    error = document.get("error")
    code = str(error.get("code")) if isinstance(error, dict) else ""
    if _FAULT.fullmatch(code):
        return int(code)
    return HTTPStatus.OK if error and not any(map(document.get, _ANSWERS)) else None


def _says_too_long(said: str, body: dict[str, Any]) -> bool:
    """Whether an endpoint says so by words of its own: of what the request says itself it may be an echo."""
    asked = {found[0].lower() for found in _TOO_LONG.finditer(json.dumps(body, ensure_ascii=False))}
    return any(found[0].lower() not in asked for found in _TOO_LONG.finditer(said))


def _retry_after(headers: httpx.Headers) -> float:
    """Seconds, from either form that RFC 9110 (10.2.3) allows; 0 where there is none that makes sense."""
    said = headers.get("Retry-After", "")
    try:
        seconds = float(said)
    except ValueError:
        try:
            seconds = (parsedate_to_datetime(said) - datetime.now(UTC)).total_seconds()
        except (ValueError, TypeError, OverflowError):
            return 0.0
    return max(seconds, 0.0) if math.isfinite(seconds) else 0.0


def _no_number(text: str) -> NoReturn:
    raise ValueError(text)
