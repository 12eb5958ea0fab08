"""From what a Kubernetes module says to a stable code.

Codes (retry or not): KUBECONFIG_INVALID no, AUTH_FAILED no, FORBIDDEN no, CLUSTER_UNREACHABLE yes,
API_TIMEOUT yes, NAMESPACE_OR_PVC_MISSING no, SPEC_INVALID no, QUOTA_EXCEEDED yes, POD_REJECTED no,
RUNNER_CRASH yes.
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
    pattern: str
    code: str
    retryable: bool
    advice: str


# The first that matches decides. Connection errors carry no reason, only text.
_RULES = [
    _Rule(
        r"exceeded quota",
        "QUOTA_EXCEEDED",
        retryable=True,
        advice="Wait for other Jobs to end, or raise the quota.",
    ),
    _Rule(
        r"violates PodSecurity",
        "POD_REJECTED",
        retryable=False,
        advice="The namespace's pod security level refuses the pod.",
    ),
    _Rule(
        r"\b401\b|Unauthorized",
        "AUTH_FAILED",
        retryable=False,
        advice="The credential is wrong or expired: give a new one.",
    ),
    _Rule(
        r"\b403\b|Forbidden|forbidden",
        "FORBIDDEN",
        retryable=False,
        advice="Grant the right, or name a namespace that allows it.",
    ),
    _Rule(
        r"\b404\b|Not Found|NotFound",
        "NAMESPACE_OR_PVC_MISSING",
        retryable=False,
        advice="Create it, or name another one.",
    ),
    _Rule(
        r"\b422\b|Unprocessable|Invalid value",
        "SPEC_INVALID",
        retryable=False,
        advice="The cluster refuses the object.",
    ),
    _Rule(
        r"timed? ?out|Timeout",
        "API_TIMEOUT",
        retryable=True,
        advice="The API server is slow or cut off: check the network.",
    ),
    _Rule(
        r"CERTIFICATE_VERIFY_FAILED|SSLError|certificate verify failed",
        "CLUSTER_UNREACHABLE",
        retryable=True,
        advice="The server's certificate is not signed by the authority in the kubeconfig.",
    ),
    _Rule(
        r"Max retries exceeded|Connection refused|No route to host|Name or service not known"
        r"|Temporary failure in name resolution|Network is unreachable|Connection aborted"
        r"|Failed to (get|establish)|NewConnectionError",
        "CLUSTER_UNREACHABLE",
        retryable=True,
        advice="Check the server's address and that it can be reached from here.",
    ),
    _Rule(
        r"kubeconfig|Invalid kube-config",
        "KUBECONFIG_INVALID",
        retryable=False,
        advice="Give a kubeconfig with a current context.",
    ),
]


def classify(result: dict[str, Any], task: str) -> ClusterError:
    """Name the failure of a task.

    Args:
        result: the `res` of ansible-runner's failed event.
        task: the task's name, for the message.
    """
    if result.get("rc") == MODULE_TIMED_OUT:
        text = f"{task}: the API server did not answer in time."
        return ClusterError(text, code="API_TIMEOUT", retryable=True)
    said = _what_it_said(result)
    for rule in _RULES:
        if re.search(rule.pattern, said):
            text = f"{task}: {_shortened(said)}. {rule.advice}"
            return ClusterError(text, code=rule.code, retryable=rule.retryable)
    text = f"{task}: {_shortened(said) or 'no reason given'}"
    return ClusterError(text, code="RUNNER_CRASH", retryable=True)


def _shortened(said: str) -> str:
    """For the message only: the reason may stand at the end of a long text."""
    return said[:_MESSAGE_LIMIT].rstrip(". ")


def _what_it_said(result: dict[str, Any]) -> str:
    """The API server's own words where it answered, otherwise the module's."""
    texts = [str(result[key]) for key in ("msg", "reason", "status", "module_stderr") if result.get(key)]
    text = " ".join(" ".join(texts).split())
    status = _embedded_status(text)
    if status:
        text = f"{status.get('code')} {status.get('reason')}: {status.get('message')}"
    return text


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
