"""From what a Kubernetes module says to a stable code.

Codes (retry or not): KUBECONFIG_INVALID no, AUTH_FAILED no, FORBIDDEN no, CLUSTER_UNREACHABLE yes,
API_TIMEOUT yes, NAMESPACE_OR_PVC_MISSING no, SPEC_INVALID no, NAME_TAKEN no, QUOTA_EXCEEDED yes,
POD_REJECTED no, RUNNER_CRASH yes.

Where the API server answered, its status decides: its words have names in them that callers choose.
"""

import json
import re
from dataclasses import dataclass
from typing import Any

from budeval.errors import ClusterError

MODULE_TIMED_OUT = 124
"""Exit status of timeout(1), which wraps every module."""

_MESSAGE_LIMIT = 2000


@dataclass(frozen=True)
class _Rule:
    code: str
    retryable: bool
    advice: str
    pattern: str = ""
    """In what was said; the first rule that matches counts."""
    statuses: frozenset[int] = frozenset()
    """Of the API server; none: it did not answer."""


_ANSWERS = [
    _Rule(
        "AUTH_FAILED",
        retryable=False,
        advice="The credential is wrong or expired: give a new one.",
        statuses=frozenset({401}),
    ),
    _Rule(
        "QUOTA_EXCEEDED",
        retryable=True,
        advice="Wait for other Jobs to end, or raise the quota.",
        pattern=r"exceeded quota",
        statuses=frozenset({403}),
    ),
    _Rule(
        "POD_REJECTED",
        retryable=False,
        advice="The namespace's pod security level refuses the pod.",
        pattern=r"violates PodSecurity",
        statuses=frozenset({403}),
    ),
    _Rule(
        "FORBIDDEN",
        retryable=False,
        advice="Grant the right, or name a namespace that allows it.",
        statuses=frozenset({403}),
    ),
    _Rule(
        "NAMESPACE_OR_PVC_MISSING",
        retryable=False,
        advice="Create it, or name another one.",
        statuses=frozenset({404}),
    ),
    _Rule(
        "NAME_TAKEN",
        retryable=False,
        advice="Remove what has the name, or take other run ids.",
        statuses=frozenset({409}),
    ),
    _Rule(
        "SPEC_INVALID",
        retryable=False,
        advice="It is too large for the cluster: put the dataset on the claim.",
        statuses=frozenset({413}),
    ),
    _Rule(
        "SPEC_INVALID",
        retryable=False,
        advice="The cluster refuses the object.",
        statuses=frozenset({400, 422}),
    ),
    _Rule(
        "API_TIMEOUT",
        retryable=True,
        advice="The API server is slow or cut off: check the network.",
        statuses=frozenset({408, 504}),
    ),
    _Rule(
        "CLUSTER_UNREACHABLE",
        retryable=True,
        advice="The API server is overloaded or not well.",
        statuses=frozenset({429, 500, 502, 503}),
    ),
]

# Connection errors carry no status and no reason, only text.
_SILENCES = [
    _Rule(
        "API_TIMEOUT",
        retryable=True,
        advice="The API server is slow or cut off: check the network.",
        pattern=r"timed? ?out|Timeout",
    ),
    _Rule(
        "CLUSTER_UNREACHABLE",
        retryable=True,
        advice="The server's certificate is not signed by the authority in the kubeconfig.",
        pattern=r"CERTIFICATE_VERIFY_FAILED|SSLError|certificate verify failed",
    ),
    _Rule(
        "CLUSTER_UNREACHABLE",
        retryable=True,
        advice="Check the server's address and that it can be reached from here.",
        pattern=(
            r"Max retries exceeded|Connection refused|No route to host|Name or service not known"
            r"|Temporary failure in name resolution|Network is unreachable|Connection aborted"
            r"|Failed to (get|establish)|NewConnectionError"
        ),
    ),
    _Rule(
        "KUBECONFIG_INVALID",
        retryable=False,
        advice="Give a kubeconfig with a current context.",
        pattern=r"kubeconfig|Invalid kube-config",
    ),
]

_STATUS = re.compile(r"^(\d{3})\b|\b(\d{3})\)?\s+Reason:")
"""Of our own modules, and of the client library's exceptions."""
_REASONS = {
    "Unauthorized": 401,
    "Forbidden": 403,
    "Not Found": 404,
    "Conflict": 409,
    "Unprocessable Entity": 422,
}


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
    rules = [rule for rule in _ANSWERS if status in rule.statuses] if status else _SILENCES
    for rule in rules:
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
    answer = _embedded_status(text)
    if answer:
        code = answer.get("code")
        said = f"{code} {answer.get('reason')}: {answer.get('message')}"
        return said, code if isinstance(code, int) else None
    return text, _status(result, text)


def _status(result: dict[str, Any], text: str) -> int | None:
    """Where there is no Status object, as when a proxy has answered."""
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
