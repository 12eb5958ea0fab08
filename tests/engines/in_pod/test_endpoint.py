"""The endpoint is asked before the engine starts."""

import pytest

from budeval.engines.in_pod.endpoint import check_endpoint
from tests.engines.pods import KEY, FakeEndpoint, model_entry, refused


def test_the_endpoint_is_asked_for_one_token(endpoint: FakeEndpoint) -> None:
    """Once, with the key."""
    check_endpoint(model_entry(f"{endpoint.url}/"), KEY)

    ((path, authorization, body),) = endpoint.asked
    assert (path, authorization) == ("/v1/chat/completions", f"Bearer {KEY}")
    assert (body["model"], body["max_tokens"]) == ("m", 1)


@pytest.mark.parametrize(
    ("status", "code", "tries"),
    [
        (401, "ENDPOINT_AUTH_FAILED", 1),
        (403, "ENDPOINT_AUTH_FAILED", 1),
        (404, "ENDPOINT_REFUSED", 1),
        (400, "ENDPOINT_REFUSED", 1),
        (429, "ENDPOINT_ERROR", 4),
        (500, "ENDPOINT_ERROR", 4),
    ],
)
def test_a_refusal_is_told_without_the_key(
    endpoint: FakeEndpoint, status: int, code: str, tries: int
) -> None:
    """What may pass is asked again; what the endpoint says is told, but not the key that it echoes."""
    endpoint.script = [(status, f"no such model; you sent\n {KEY}")] * 9

    error = refused(lambda: check_endpoint(model_entry(endpoint.url), KEY))

    assert error.code == code
    assert f"answers {status}: no such model; you sent ***" in error.message
    assert len(endpoint.asked) == tries


def test_an_endpoint_may_need_a_moment(endpoint: FakeEndpoint, capsys: pytest.CaptureFixture[str]) -> None:
    """Two faults, then it answers."""
    endpoint.script = [(500, "starting"), (503, "loading")]

    check_endpoint(model_entry(endpoint.url), KEY)

    assert len(endpoint.asked) == 3
    assert capsys.readouterr().out.count("asking again") == 2


def test_an_endpoint_that_nobody_listens_at_is_told(endpoint: FakeEndpoint) -> None:
    """With what to check."""
    url = endpoint.url
    endpoint.server_close()

    error = refused(lambda: check_endpoint(model_entry(url), KEY))

    assert error.code == "ENDPOINT_UNREACHABLE"
    assert "Check endpoint" in error.message
