"""What every test has."""

import signal

import pytest

from budeval.runtime.sealing import new_key
from tests.fake_service import SECRET, START, STARTED, FakeService

# Jobs in the background of a shell ignore it, and with them the commands that tests interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def seal_keys(monkeypatch: pytest.MonkeyPatch) -> str:
    """A key of its own in the environment: without one there are no settings."""
    key = new_key()
    monkeypatch.setenv("BUDEVAL_SEAL_KEYS", key)
    return key


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeService:
    """A service for the command line, and an environment with an API key."""
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    for name in ("BUDEVAL_URL", "BUDEVAL_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    return FakeService().put(START, STARTED)
