"""What every test has."""

import pytest

from budeval.runtime.sealing import new_key


@pytest.fixture(autouse=True)
def seal_keys(monkeypatch: pytest.MonkeyPatch) -> str:
    """A key of its own in the environment: without one there are no settings."""
    key = new_key()
    monkeypatch.setenv("BUDEVAL_SEAL_KEYS", key)
    return key
