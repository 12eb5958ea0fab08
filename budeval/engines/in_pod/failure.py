"""How a run in a pod fails: truthfully, and where Kubernetes and people look."""

from __future__ import annotations

import json
from collections.abc import Mapping

from budeval.engines.in_pod.files import say, write
from budeval.engines.in_pod.masking import without_key

TERMINATION_LOG = "/dev/termination-log"
TERMINATION_LIMIT = 4000


class RunError(Exception):
    """The run cannot be, or has not become, what was asked for."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message


def report(error: RunError, environment: Mapping[str, str]) -> None:
    """Say how the run failed where Kubernetes and people look."""
    key = environment.get("OPENAI_API_KEY", "")
    document = document_of(error.code, without_key(error.message, key))
    print("BUDEVAL1-FAILED " + document, flush=True)
    try:
        write(environment.get("BUDEVAL_TERMINATION_LOG", TERMINATION_LOG), document)
    except OSError as problem:
        say(f"the termination log cannot be written: {problem}")


def document_of(code: str, message: str) -> str:
    """JSON that fits into a termination log, which Kubernetes cuts at 4096 bytes."""
    while len(document := json.dumps({"code": code, "message": message})) > TERMINATION_LIMIT:
        message = message[: len(message) * 3 // 4]
    return document
