"""An API server in memory, and the plugins on it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from budeval.ansible.runner import PlaybookRunner
from tests.ansible import plugins
from tests.ansible.fake_api import FakeApi
from tests.ansible.plugins import Act


@pytest.fixture
def api() -> Iterator[FakeApi]:
    """An empty namespace."""
    with FakeApi().served() as made:
        yield made


@pytest.fixture
def act(api: FakeApi, tmp_path: Path) -> Iterator[Act]:
    """Does what a plugin does, on the API server."""
    with plugins.acting(api, tmp_path) as do:
        yield do


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pods are not waited for long."""
    module = plugins.load("plugin_utils.removal")
    monkeypatch.setattr(module, "_WAIT_SECONDS", 0.05)
    monkeypatch.setattr(module, "_PAUSE_SECONDS", 0.01)


@pytest.fixture(scope="module")
def playbooks() -> Iterator[PlaybookRunner]:
    """The real playbooks in a real worker."""
    made = PlaybookRunner(1, timeout=60, module_timeout=30)
    yield made
    made.close()
