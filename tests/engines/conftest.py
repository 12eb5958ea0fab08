"""What the tests of in-pod programs share."""

import threading
from collections.abc import Iterator

import pytest

from budeval.engines.in_pod import endpoint as asked_endpoint
from budeval.engines.in_pod import engine_process
from tests.engines.pods import FakeEndpoint


@pytest.fixture
def endpoint() -> Iterator[FakeEndpoint]:
    """One that listens."""
    with FakeEndpoint() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def haste(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits long."""
    monkeypatch.setattr(asked_endpoint, "ENDPOINT_PAUSES", (0.0, 0.0, 0.0))
    monkeypatch.setattr(engine_process, "POLL_SECONDS", 0.02)
    monkeypatch.setattr(engine_process, "STOP_GRACE_SECONDS", 2.0)
