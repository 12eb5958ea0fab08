"""Whether the service can take work: each dependency is really used once, and the one that fails is named."""

import threading
import time
from collections.abc import Callable
from importlib.metadata import version
from typing import Protocol

from pydantic import BaseModel, ConfigDict, Field

from budeval.errors import SidecarError

_FRESH_SECONDS = 2.0
"""An answer serves for so long, so that many who ask don't start as many probes."""


_WORKFLOW_SDK = f"Dapr's Python SDK {version('dapr')}"


class DependencyHealth(BaseModel):
    """Whether one dependency is reached; `problem` is None if it is."""

    model_config = ConfigDict(frozen=True)

    name: str
    problem: str | None = None
    version: str | None = Field(None, description="Of what answered, as far as it tells.")


_PLAYBOOKS = DependencyHealth(
    name="playbooks",
    version=f"ansible-core {version('ansible-core')}, ansible-runner {version('ansible-runner')}",
)
"""A part of the installation: without it the service does not start."""


class ChecksSidecar(Protocol):
    """What is asked of the sidecar; each raises SidecarError."""

    def check_alive(self) -> None:
        """It answers, its components are loaded."""

    def check_state_store(self) -> None:
        """A value can be written and read back."""

    def check_broker(self) -> None:
        """The broker takes a message."""

    def check_workers(self) -> None:
        """Workflow worker and placement are connected."""

    def versions(self) -> dict[str, str]:
        """`sidecar`, `state store` and `broker`, with the version of each."""


class ProbesWorkflows(Protocol):
    """What is asked of the workflow engine."""

    def probe(self) -> None:
        """Run a workflow that does nothing, or raise SidecarError."""


class ReadinessCheck:
    """Asks one after the other; nobody else is asked while the sidecar is away, since all goes through it."""

    def __init__(self, sidecar: ChecksSidecar, engine: ProbesWorkflows) -> None:
        self._sidecar = sidecar
        self._engine = engine
        self._lock = threading.Lock()
        self._asked_at = float("-inf")
        self._last: list[DependencyHealth] = []

    def check(self) -> list[DependencyHealth]:
        """Sidecar, state store, broker and workflow engine, each with its problem, if it has one."""
        with self._lock:
            if time.monotonic() - self._asked_at > _FRESH_SECONDS:
                self._last = self._ask()
                self._asked_at = time.monotonic()
            return self._last

    def _ask(self) -> list[DependencyHealth]:
        sidecar = _health("sidecar", self._sidecar.check_alive)
        behind = [
            ("state store", self._sidecar.check_state_store),
            ("broker", self._sidecar.check_broker),
            ("workflow engine", self._check_workflows),
        ]
        if sidecar.problem:
            unknown = "not asked: the sidecar is not reached"
            return [
                sidecar,
                *(DependencyHealth(name=name, problem=unknown) for name, _ in behind),
                _PLAYBOOKS,
            ]
        versions = {**self._versions_behind(), "workflow engine": _WORKFLOW_SDK}
        health = [sidecar, *(_health(name, check) for name, check in behind), _PLAYBOOKS]
        return [one.model_copy(update={"version": versions.get(one.name, one.version)}) for one in health]

    def _versions_behind(self) -> dict[str, str]:
        try:
            return self._sidecar.versions()
        except SidecarError:  # whoever is away is told by its own check
            return {}

    def _check_workflows(self) -> None:
        self._sidecar.check_workers()
        self._engine.probe()


def _health(name: str, check: Callable[[], None]) -> DependencyHealth:
    try:
        check()
    except SidecarError as error:
        return DependencyHealth(name=name, problem=error.message)
    return DependencyHealth(name=name)
