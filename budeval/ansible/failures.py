"""From what a Kubernetes module says to a stable code.

Codes (retry or not): KUBECONFIG_INVALID no, AUTH_FAILED no, FORBIDDEN no, CLUSTER_UNREACHABLE yes,
API_TIMEOUT yes, NAMESPACE_OR_PVC_MISSING no, SPEC_INVALID no, NAME_TAKEN no, QUOTA_EXCEEDED yes,
POD_REJECTED no, ADDRESS_FORBIDDEN no, ANSWER_TOO_LARGE no, RUNNER_CRASH yes.

Where the API server answered, its status decides: its words have names in them that callers choose.
"""

import json
import re
from typing import Any, NamedTuple

from budeval.errors import ClusterError

MODULE_TIMED_OUT = 124
"""Exit status of timeout(1), which wraps every module."""

_MESSAGE_LIMIT = 2000


class _Answer(NamedTuple):
    """What the API server has answered: by its status and a pattern in its words, the first that fits."""

    statuses: set[int]
    pattern: str
    code: str
    retryable: bool
    advice: str


class _Silence(NamedTuple):
    """What is said where the API server has not answered: text alone."""

    pattern: str
    code: str
    retryable: bool
    advice: str


_SLOW = "The API server is slow or cut off: check the network."
_TOO_LARGE = "It is too large for the cluster: put the dataset on the claim."
_ANSWERS: list[_Answer] = [
    _Answer(*row)
    for row in (
        ({401}, "", "AUTH_FAILED", False, "The credential is wrong or expired: give a new one."),
        ({403}, "exceeded quota", "QUOTA_EXCEEDED", True, "Wait for other Jobs to end, or raise the quota."),
        (
            {403},
            "violates PodSecurity",
            "POD_REJECTED",
            False,
            "The namespace's pod security level refuses the pod.",
        ),
        ({403}, "", "FORBIDDEN", False, "Grant the right, or name a namespace that allows it."),
        ({404}, "", "NAMESPACE_OR_PVC_MISSING", False, "Create it, or name another one."),
        ({409}, "", "NAME_TAKEN", False, "Remove what has the name, or take other run ids."),
        ({413}, "", "SPEC_INVALID", False, _TOO_LARGE),
        ({500}, "request is too large", "SPEC_INVALID", False, _TOO_LARGE),
        ({400, 422}, "", "SPEC_INVALID", False, "The cluster refuses the object."),
        ({408, 504}, "", "API_TIMEOUT", True, _SLOW),
        ({429, 500, 502, 503}, "", "CLUSTER_UNREACHABLE", True, "The API server is overloaded or not well."),
    )
]
_SILENCES: list[_Silence] = [
    _Silence(*row)
    for row in (
        # First: libraries wrap it in words of their own.
        ("ADDRESS_FORBIDDEN", "ADDRESS_FORBIDDEN", False, "See BUDEVAL_ALLOWED_NETWORKS."),
        (
            "ANSWER_TOO_LARGE",
            "ANSWER_TOO_LARGE",
            False,
            "Check that the server is a Kubernetes API server; if it is, take a namespace with less in it.",
        ),
        (r"timed? ?out|Timeout", "API_TIMEOUT", True, _SLOW),
        (
            r"CERTIFICATE_VERIFY_FAILED|SSLError|certificate verify failed",
            "CLUSTER_UNREACHABLE",
            True,
            "The server's certificate is not signed by the authority in the kubeconfig.",
        ),
        (
            (
                r"Max retries exceeded|Connection refused|No route to host|Name or service not known"
                r"|Temporary failure in name resolution|Network is unreachable|Connection aborted"
                r"|Failed to (get|establish)|NewConnectionError"
            ),
            "CLUSTER_UNREACHABLE",
            True,
            "Check the server's address and that it can be reached from here.",
        ),
        # Of this machine, whatever file they name.
        (r"\[Errno |MemoryError|Traceback", "RUNNER_CRASH", True, "The service's own log tells more."),
        (
            r"Invalid kube-?config|Could not create API client",
            "KUBECONFIG_INVALID",
            False,
            "Give a kubeconfig with a current context.",
        ),
    )
]

_STATUS = re.compile(r"^(\d{3})(?!\S)|(?<![-.\w])(\d{3})\)?\s+Reason:")
"""Of our own modules, and of the client library's exceptions; a number in a name is none."""
_REASONS = {
    "Bad Request": 400,
    "Unauthorized": 401,
    "Forbidden": 403,
    "Not Found": 404,
    "Request Timeout": 408,
    "Conflict": 409,
    "Request Entity Too Large": 413,
    "Unprocessable Entity": 422,
    "Too Many Requests": 429,
    "Internal Server Error": 500,
    "Bad Gateway": 502,
    "Service Unavailable": 503,
    "Gateway Timeout": 504,
}
"""As HTTP has them: all that kubernetes.core hands on of a status."""


def classify(result: dict[str, Any], task: str) -> ClusterError:
    """Name the failure of a task.

    Args:
        result: the `res` of ansible-runner's failed event.
        task: the task's name, for the message.
    """
    if result.get("rc") == MODULE_TIMED_OUT:
        text = f"{task}: the API server did not answer in time."
        return ClusterError(text, code="API_TIMEOUT", retryable=True)
    said, status = _what_it_said(result)
    answers = [rule for rule in _ANSWERS if status in rule.statuses]
    for rule in answers if status else _SILENCES:
        if re.search(rule.pattern, said):
            text = f"{task}: {_shortened(said)}. {rule.advice}"
            return ClusterError(text, code=rule.code, retryable=rule.retryable)
    text = f"{task}: {_shortened(said) or 'no reason given'}"
    return ClusterError(text, code="RUNNER_CRASH", retryable=True)


def _shortened(said: str) -> str:
    """For the message only: the reason may stand at the end of a long text."""
    return said[:_MESSAGE_LIMIT].rstrip(". ")


def _what_it_said(result: dict[str, Any]) -> tuple[str, int | None]:
    """The API server's own words and status where it answered, otherwise the module's."""
    texts = [str(result[key]) for key in ("msg", "reason", "status", "module_stderr") if result.get(key)]
    text = " ".join(" ".join(texts).split())
    status, answer = _status(result, text), _embedded_status(text)
    if answer is None:
        return text, status
    code = answer["code"] if isinstance(answer.get("code"), int) else status
    return f"{code} {answer.get('reason')}: {answer.get('message')}", code


def _status(result: dict[str, Any], text: str) -> int | None:
    """Where no Status object tells it, as when a proxy has answered."""
    if isinstance(result.get("status"), int):
        return int(result["status"])
    found = _STATUS.search(text)
    if found:
        return int(found[1] or found[2])
    return _REASONS.get(str(result.get("reason", "")))


def _embedded_status(text: str) -> dict[str, Any] | None:
    """The Kubernetes Status object that the client library quotes inside its message."""
    start = text.find('{"kind":"Status"')
    if start < 0:
        return None
    try:
        status, _ = json.JSONDecoder().raw_decode(text[start:])
    except ValueError:
        return None
    return dict(status)
