"""Failures that have a name."""

import pytest

from budeval.errors import BudevalError, ClusterError, RequestError, SidecarError, code_and_message


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (BudevalError("oops"), "INTERNAL: oops"),
        (RequestError("no"), "REQUEST_INVALID: no"),
        (RequestError("no", code="CLUSTER_UNKNOWN"), "CLUSTER_UNKNOWN: no"),
        (ClusterError("no", code="FORBIDDEN", retryable=False), "FORBIDDEN: no"),
        (SidecarError("away"), "SIDECAR_UNAVAILABLE: away"),
    ],
)
def test_a_failure_writes_its_code_first(error: BudevalError, text: str) -> None:
    """`CODE: message` is what passes through Dapr, which keeps only the text."""
    assert str(error) == text


def test_a_refused_request_says_how_to_answer() -> None:
    """HTTP status and field at fault travel with the failure."""
    error = RequestError("no such thing", status=404, param="thing")

    assert (error.status, error.param) == (404, "thing")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("FORBIDDEN: You may not: x", ("FORBIDDEN", "You may not: x")),
        ("JOB_GONE: two\nlines", ("JOB_GONE", "two\nlines")),
        ("9 validation errors for Course: no", ("INTERNAL", "9 validation errors for Course: no")),
        ("KeyError: 'x'", ("INTERNAL", "KeyError: 'x'")),
        ("", ("INTERNAL", "")),
    ],
)
def test_a_text_that_is_none_of_our_failures_is_kept_whole(text: str, found: tuple[str, str]) -> None:
    """A code is stable: whatever else crosses Dapr is a message."""
    assert code_and_message(text) == found
