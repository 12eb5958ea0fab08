"""What Kubernetes modules say becomes a stable code."""

import json
from typing import Any

import pytest

from budeval.ansible import failures


def _status(code: int, reason: str, message: str) -> str:
    """A message of kubernetes.core with the API server's Status object quoted inside."""
    status = {"kind": "Status", "apiVersion": "v1", "message": message, "reason": reason, "code": code}
    headers = "HTTP response headers: HTTPHeaderDict({'Date': 'Mon'})"
    body = f"HTTP response body: {json.dumps(status, separators=(',', ':'))}"
    return f"Exception '{code} Reason: {reason} {headers} {body}' raised while trying to get resource"


def _unreachable(cause: str) -> str:
    """A message of kubernetes.core when urllib3 could not connect."""
    pool = "HTTPSConnectionPool(host='10.88.0.1', port=6443)"
    return f"{pool}: Max retries exceeded with url: /version (Caused by {cause})"


def _not_established(why: str) -> str:
    connection = "<urllib3.connection.HTTPSConnection object at 0x7f3a5c>"
    return _unreachable(f"NewConnectionError('{connection}: Failed to establish a new connection: {why}')")


@pytest.mark.parametrize(
    ("result", "code", "retryable"),
    [
        ({"msg": _status(401, "Unauthorized", "Unauthorized")}, "AUTH_FAILED", False),
        ({"msg": _status(403, "Forbidden", "jobs is forbidden")}, "FORBIDDEN", False),
        (
            {"msg": _status(403, "Forbidden", 'pods "x" is forbidden: exceeded quota: q')},
            "QUOTA_EXCEEDED",
            True,
        ),
        (
            {"msg": _status(403, "Forbidden", 'violates PodSecurity "restricted:latest"')},
            "POD_REJECTED",
            False,
        ),
        ({"msg": _status(404, "NotFound", "namespaces not found")}, "NAMESPACE_OR_PVC_MISSING", False),
        ({"msg": "Failed to create object", "reason": "Unprocessable Entity"}, "SPEC_INVALID", False),
        (
            {"msg": _status(422, "Invalid", 'Job.batch "x" is invalid: spec: field is immutable')},
            "SPEC_INVALID",
            False,
        ),
        ({"msg": _not_established("[Errno 111] Connection refused")}, "CLUSTER_UNREACHABLE", True),
        ({"msg": _not_established("[Errno 113] No route to host")}, "CLUSTER_UNREACHABLE", True),
        (
            {
                "msg": _unreachable(
                    "NameResolutionError(\"Failed to resolve 'k' ([Errno -2] Name not known)\")"
                )
            },
            "CLUSTER_UNREACHABLE",
            True,
        ),
        (
            {
                "msg": _unreachable(
                    "SSLError(SSLCertVerificationError(1, '[SSL: CERTIFICATE_VERIFY_FAILED] self-signed'))"
                )
            },
            "CLUSTER_UNREACHABLE",
            True,
        ),
        (
            {"msg": _unreachable("ConnectTimeoutError('Connection to 10.88.0.1 timed out.')")},
            "API_TIMEOUT",
            True,
        ),
        ({"msg": "Read timed out. (read timeout=10)"}, "API_TIMEOUT", True),
        ({"msg": "MODULE FAILURE: see stdout/stderr for the exact error", "rc": 124}, "API_TIMEOUT", True),
        (
            {"msg": "Could not create API client: Invalid kube-config file. No configuration found."},
            "KUBECONFIG_INVALID",
            False,
        ),
        ({"msg": "MODULE FAILURE", "module_stderr": "Traceback ... ZeroDivisionError"}, "RUNNER_CRASH", True),
        (
            {"msg": "[Errno 24] Too many open files: '/tmp/budeval-run-x/kubeconfig.yaml'"},
            "RUNNER_CRASH",
            True,
        ),
        ({"module_stderr": "Traceback: in read(kubeconfig) MemoryError"}, "RUNNER_CRASH", True),
        ({"msg": "409 the Job names run-401 and run-timeout are taken"}, "NAME_TAKEN", False),
        (
            {"msg": _status(404, "NotFound", 'namespaces "forbidden" not found')},
            "NAMESPACE_OR_PVC_MISSING",
            False,
        ),
        ({"msg": _status(403, "Forbidden", 'secrets "401-timeout" is forbidden')}, "FORBIDDEN", False),
        ({"msg": _status(422, "Invalid", 'Job "exceeded quota 403" is invalid')}, "SPEC_INVALID", False),
        ({"msg": _status(413, "RequestEntityTooLarge", "limit is 3145728")}, "SPEC_INVALID", False),
        (
            {"msg": _status(500, "InternalError", "etcdserver: request is too large")},
            "SPEC_INVALID",
            False,
        ),
        ({"msg": _status(429, "TooManyRequests", "slow down")}, "CLUSTER_UNREACHABLE", True),
        ({"msg": _status(500, "InternalError", "etcdserver: no leader")}, "CLUSTER_UNREACHABLE", True),
        ({"msg": _status(504, "Timeout", "try again")}, "API_TIMEOUT", True),
        ({"msg": "502 <html>Bad Gateway</html>"}, "CLUSTER_UNREACHABLE", True),
        ({"msg": "(401)\nReason: Unauthorized"}, "AUTH_FAILED", False),
        ({"msg": "Failed", "status": 403, "reason": "Forbidden"}, "FORBIDDEN", False),
        ({"msg": "418 I am a teapot named Forbidden"}, "RUNNER_CRASH", True),
        # Names are no statuses, wherever they stand.
        ({"msg": "404-team is no name of this kind"}, "RUNNER_CRASH", True),
        ({"msg": "run-401 Reason: none"}, "RUNNER_CRASH", True),
        # A proxy has answered: kubernetes.core quotes its page, and hands on the reason alone.
        (
            {"msg": "Failed to create object: <html>", "reason": "Request Entity Too Large"},
            "SPEC_INVALID",
            False,
        ),
        ({"msg": "Failed to create object: <html>", "reason": "Bad Gateway"}, "CLUSTER_UNREACHABLE", True),
        (
            {"msg": "Failed to create object: timeout", "reason": "Too Many Requests"},
            "CLUSTER_UNREACHABLE",
            True,
        ),
        ({"msg": "Failed to create object: <html>", "reason": "Gateway Timeout"}, "API_TIMEOUT", True),
        # A Status need not tell its code.
        ({"msg": '409 {"kind":"Status","message":"run-timeout is taken"}'}, "NAME_TAKEN", False),
        ({}, "RUNNER_CRASH", True),
    ],
)
def test_each_failure_has_its_code(result: dict[str, Any], code: str, *, retryable: bool) -> None:
    """The code, and whether another try may help, follow from the module's result."""
    error = failures.classify(result, "Do something")

    assert (error.code, error.retryable) == (code, retryable)
    assert "Do something" in error.message


def test_the_servers_own_words_are_told() -> None:
    """Of a quoted Status only code, reason and message remain, not the headers around it."""
    error = failures.classify({"msg": _status(403, "Forbidden", "jobs.batch is forbidden")}, "Make a Job")

    assert "403 Forbidden: jobs.batch is forbidden" in error.message
    assert "HTTPHeaderDict" not in error.message


def test_long_messages_are_cut() -> None:
    """A message travels in events and histories, so its length is bounded."""
    error = failures.classify({"msg": "x" * 100_000}, "Read")

    assert len(error.message) < 2200


def test_a_reason_behind_a_long_message_still_counts() -> None:
    """What is cut from the message is not cut from the decision."""
    error = failures.classify({"msg": "x" * 100_000, "reason": "Unauthorized"}, "Read")

    assert error.code == "AUTH_FAILED"


def test_a_torn_status_is_quoted_as_it_is() -> None:
    """A Status object that was cut does not hide the rest of the message."""
    error = failures.classify({"msg": '403 Forbidden {"kind":"Status","mess'}, "Read")

    assert error.code == "FORBIDDEN"
