"""Faults that are done to processes of this machine."""

import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from dev import apps, process
from dev.chaos import faults
from dev.chaos.faults import Breaker, NoVictimError, Strike
from dev.chaos.plan import Fault, PlannedFault
from dev.errors import UnhealthyError
from dev.network import HOST
from dev.part import Part
from dev.process import Record
from dev.stack import Plan, Stack
from tests.dev.fake_layout import FakeStackLayout

_PLAN = Plan(checkout="/checkout", clusters=0, kubeconfig="/config", host_port=13080, boot_id="boot")
_SLEEP = "import time; time.sleep(300)"


class FakeStack(Stack):
    """Its service and sidecar are processes that sleep, under one that stands for `dapr run`."""

    def __init__(self, root: Path) -> None:
        super().__init__(FakeStackLayout(f"bud-test-{uuid.uuid4()}", root), _PLAN)
        self.trouble: str | None = None
        """Why the service is not ready."""
        (root / "pid").mkdir()
        self._spawn("run").write(root / "pid" / apps.NAME)
        self.service = self._spawn("budeval.main:create_app")
        self.sidecar = self._spawn("--app-id", "budeval")

    def _spawn(self, *words: str) -> Record:
        marks = {process.STACK_MARK: self.layout.name, process.PART_MARK: apps.NAME}
        command = [sys.executable, "-c", _SLEEP, *words]
        root = self.layout.directory
        return process.spawn(command, environment=marks, cwd=root, log=root / "log-of-dapr-run")

    def parts(self) -> list[Part]:
        """The only one that is looked for."""
        return [Part(apps.NAME, "", "", command=list, check=self._check, namespace=HOST, stack=self.layout)]

    def _check(self) -> None:
        if self.found() is None:
            raise UnhealthyError("the sidecar is not running")
        if self.trouble:
            raise UnhealthyError(self.trouble)

    def found(self) -> Record | None:
        """The sidecar that is there now, as the stack finds it."""
        (sidecar,) = (member for member in apps.members() if member.name == "service-sidecar")
        return sidecar.find(self.layout)


@pytest.fixture
def stack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeStack]:
    """Nobody waits for long, and no process outlives the test."""
    for name in ("_ALONE_SECONDS", "_RETURN_SECONDS", "_VICTIM_SECONDS"):
        monkeypatch.setattr(faults, name, 0.3)
    made = FakeStack(tmp_path)
    (tmp_path / "log").mkdir()
    yield made
    process.kill(process.marked(made.layout.name))


def _strike(stack: FakeStack, kind: Fault) -> Strike:
    breaker = Breaker(stack, stack.layout.directory, lambda _: None)
    return breaker.strike(PlannedFault(kind, pause=0, outage=0, seed=1))


def test_a_sidecar_comes_back_under_a_living_service(stack: FakeStack) -> None:
    """Another process with the same command line and log; the service is the one that was there."""
    strike = _strike(stack, Fault.RETURN_SIDECAR)

    returned = stack.found()
    assert not stack.sidecar.alive()
    assert returned not in {None, stack.sidecar}
    assert stack.service.alive()
    assert strike.finding is None
    assert (stack.layout.logs / "apps.log").exists()


def test_what_came_back_is_stopped_with_the_others(stack: FakeStack) -> None:
    """No process of the part is left, though its parent is another one."""
    _strike(stack, Fault.RETURN_SIDECAR)

    stack.parts()[0].stop()

    assert list(process.marked(stack.layout.name)) == []


def test_a_service_that_needs_a_restart_then_is_a_finding(stack: FakeStack) -> None:
    """The supervisor would hide it: it restarts what is not well."""
    stack.trouble = "this service's workflow worker is not connected to the sidecar"

    finding = _strike(stack, Fault.RETURN_SIDECAR).finding

    assert finding is not None
    assert stack.trouble in finding


def test_without_a_sidecar_there_is_none_to_kill(stack: FakeStack) -> None:
    """It is away already."""
    process.kill([stack.sidecar])

    with pytest.raises(NoVictimError):
        _strike(stack, Fault.RETURN_SIDECAR)
