"""The endpoint of the model under test, asked before an engine spends minutes on it."""

from __future__ import annotations

import http.client
import json
import time
import urllib.error
import urllib.request
from typing import Any

from budeval.engines.in_pod.failure import RunError
from budeval.engines.in_pod.files import say
from budeval.engines.in_pod.masking import without_key

ENDPOINT_SECONDS = 30.0
ENDPOINT_PAUSES = (1.0, 3.0, 6.0)
ASK_AGAIN = {408, 409, 425, 429}
AUTH_REFUSED = {401, 403}
SERVER_FAULT = 500


def check_endpoint(model: dict[str, Any], key: str) -> None:
    """Ask the endpoint for one token; what may pass is asked again a few times."""
    for pause in (*ENDPOINT_PAUSES, None):
        try:
            ask_endpoint(model, key)
        except RunError as error:  # noqa: PERF203 - four tries at most
            if pause is None or error.code not in {"ENDPOINT_UNREACHABLE", "ENDPOINT_ERROR"}:
                raise
            say(f"{error}; asking again in {pause:.0f} s")
            time.sleep(pause)
        else:
            return


class NoRedirects(urllib.request.HTTPRedirectHandler):
    """The key is meant for one host: a redirect is refused, not followed."""

    def redirect_request(self, *_arguments: Any) -> None:
        """Make an error of it."""


def ask_endpoint(model: dict[str, Any], key: str) -> None:
    """One request to the chat API; RunError says what it shows."""
    url = chat_url(model)
    body = {"model": model["name"], "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 1}
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {key}"}
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), NoRedirects)
    try:
        request = urllib.request.Request(url, json.dumps(body).encode(), headers)  # noqa: S310 - http(s) only
        with opener.open(request, timeout=ENDPOINT_SECONDS) as answer:
            answer.read()
    except urllib.error.HTTPError as error:
        said = error.read(2000).decode("utf-8", "replace")
        raise RunError(*refusal(error.code, url, without_key(said, key))) from None
    except (OSError, ValueError, http.client.HTTPException) as error:
        # Others than the operating system's words may quote the headers.
        said = str(error) if isinstance(error, OSError) else type(error).__name__
        text = f"{url} does not answer: {without_key(said, key)}. Check endpoint, and the pods' network."
        raise RunError("ENDPOINT_UNREACHABLE", text) from None


def chat_url(model: dict[str, Any]) -> str:
    """Where chats are completed."""
    return str(model["endpoint"]).rstrip("/") + "/chat/completions"


def refusal(status: int, url: str, said: str) -> tuple[str, str]:
    """Code and message of an HTTP error."""
    text = f"{url} answers {status}: {' '.join(said.split())[:300]}"
    if status in AUTH_REFUSED:
        return "ENDPOINT_AUTH_FAILED", f"{text}. Check api_key."
    if status >= SERVER_FAULT or status in ASK_AGAIN:
        return "ENDPOINT_ERROR", text
    return "ENDPOINT_REFUSED", f"{text}. Check model_name and endpoint."
