from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from dev.errors import UnhealthyError
from dev.layout import StackLayout
from dev.network import HOST
from dev.part import Part
from dev.stack import Plan, Stack
from tests.dev.fake_layout import FakeStackLayout

_PLAN = Plan(checkout="/checkout", clusters=0, kubeconfig="/config", host_port=13080, boot_id="boot")


@dataclass
class FakeMachine:
    """What runs and answers, and what was done to get there."""

    healthy: set[str]
    broken: set[str] = field(default_factory=set)
    journal: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class FakePart(Part):
    """A part without a process."""

    machine: FakeMachine = field(default_factory=lambda: FakeMachine(set()))

    def why_unhealthy(self) -> str | None:
        """As the machine says."""
        return None if self.name in self.machine.healthy else "not running"

    def start(self) -> None:
        """Tell of it."""
        self.machine.journal.append(f"start {self.name}")

    def wait_until_healthy(self) -> None:
        """Become healthy unless it is broken."""
        self.machine.journal.append(f"await {self.name}")
        if self.name in self.machine.broken:
            raise UnhealthyError(f"{self.name} did not start")
        self.machine.healthy.add(self.name)


class FakeStack(Stack):
    """A stack of fake parts: `b` needs `a`, `d` needs `b` and `c`."""

    def __init__(self, machine: FakeMachine) -> None:
        super().__init__(StackLayout("bud-test"), _PLAN)
        self.machine = machine

    def parts(self) -> list[Part]:
        """Four of them."""
        return [self._part("a"), self._part("b", ["a"]), self._part("c"), self._part("d", ["b", "c"])]

    def _part(self, name: str, needs: Iterable[str] = ()) -> Part:
        return FakePart(
            name=name,
            version="1",
            address="nowhere",
            command=list,
            check=lambda: None,
            namespace=HOST,
            stack=self.layout,
            needs=tuple(needs),
            when_healthy=lambda: self.machine.journal.append(f"set up {name}"),
            machine=self.machine,
        )

    def _prepare(self) -> None:
        """There is nothing to prepare."""


def test_up_leaves_a_healthy_stack_alone() -> None:
    """A second `make up` starts nothing."""
    machine = FakeMachine({"a", "b", "c", "d"})
    FakeStack(machine).up()
    assert machine.journal == []


def test_up_starts_each_part_after_what_it_needs() -> None:
    """A part starts as soon as its needs answer and are set up, and not before."""
    machine = FakeMachine(set())
    FakeStack(machine).up()
    assert machine.journal == [
        *("start a", "await a", "set up a"),
        *("start b", "start c"),
        *("await b", "set up b", "await c", "set up c"),
        *("start d", "await d", "set up d"),
    ]


@pytest.mark.parametrize("dead", ["a", "b", "c", "d"])
def test_up_heals_only_what_died(dead: str) -> None:
    """Parts that answer keep running while another comes back."""
    machine = FakeMachine({"a", "b", "c", "d"} - {dead})
    FakeStack(machine).up()
    assert machine.journal == [f"start {dead}", f"await {dead}", f"set up {dead}"]


def test_up_ends_at_the_part_that_does_not_start() -> None:
    """Nothing starts that needs it, and nothing is set up in it."""
    machine = FakeMachine(set(), broken={"b"})
    with pytest.raises(UnhealthyError, match="b did not start"):
        FakeStack(machine).up()
    assert "set up b" not in machine.journal
    assert "start d" not in machine.journal


def test_plan_is_found_by_the_next_command(tmp_path: Path) -> None:
    """What a stack was asked to be is kept in its directory."""
    layout = FakeStackLayout("bud-test", tmp_path / "stack")
    assert Plan.read(layout) is None
    _PLAN.write(layout)
    assert Plan.read(layout) == _PLAN


def test_foreign_cluster_needs_no_namespace() -> None:
    """With a cluster of one's own everything runs on the host, without root."""
    stack = Stack(StackLayout("bud-test"), _PLAN)
    assert stack.namespace == HOST
    assert stack.clusters == []
