"""Network namespaces: where a stack's parts run, so that stacks never meet.

A namespace has no way out. Code enters one in a thread of its own (setns(2) acts on the calling thread), and
a process started from that thread stays inside. `ip netns exec` is not used: it mounts a new /sys, which
hides the cgroups.
"""

import ctypes
import errno
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TypeVar

from dev import command
from dev.errors import DevError

T = TypeVar("T")

_NAMES = Path("/run/netns")
_RESERVED_PORTS = "50005,50006"
_CLONE_NEWNET = 0x40000000  # <linux/sched.h>; os.setns comes with Python 3.12
_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True)
class Namespace:
    """A named network namespace, or the one that this command was started in where `name` is None."""

    name: str | None

    def exists(self) -> bool:
        """Whether it is there."""
        return self.name is None or (_NAMES / self.name).exists()

    def create(self) -> None:
        """Make it with its loopback up and forwarding on. Harmless where it exists."""
        if self.name is None:
            return
        if not self.exists():
            command.run(["ip", "netns", "add", self.name])
        self.call(lambda: command.run(["ip", "link", "set", "lo", "up"]))
        # /proc/sys/net shows the opening thread's namespace.
        self.call(lambda: Path("/proc/sys/net/ipv4/ip_forward").write_text("1"))
        # Dapr's usual ports lie among those that outgoing connections are given.
        self.call(lambda: Path("/proc/sys/net/ipv4/ip_local_reserved_ports").write_text(_RESERVED_PORTS))

    def delete(self) -> None:
        """Remove it, and with it its interfaces, addresses and iptables rules."""
        if self.name is not None and self.exists():
            command.run(["ip", "netns", "delete", self.name])

    def enter(self) -> None:
        """Move the calling thread in for good, with every thread it starts later (tests run inside)."""
        first = _first_namespace()
        if self.name is None:
            _set_namespace(first)
        else:
            with _opened(_NAMES / self.name) as handle:
                _set_namespace(handle)

    def call(self, function: Callable[[], T]) -> T:
        """Run `function` inside and hand back what it returns or raises."""
        _first_namespace()  # before anything is entered
        results: list[T] = []
        errors: list[BaseException] = []

        def enter_and_run() -> None:
            try:
                self.enter()
                results.append(function())
            except BaseException as error:  # noqa: BLE001 - raised again in the calling thread
                errors.append(error)

        thread = threading.Thread(target=enter_and_run)
        thread.start()
        thread.join()
        if errors:
            raise errors[0]
        return results[0]


HOST = Namespace(None)


@cache
def _first_namespace() -> int:
    """A handle on the namespace that this process began in: a forwarder starts there, wherever we are."""
    return os.open("/proc/self/ns/net", os.O_RDONLY)


@contextmanager
def _opened(path: Path) -> Iterator[int]:
    try:
        handle = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        raise DevError(f"network namespace {path.name} is not there") from None
    try:
        yield handle
    finally:
        os.close(handle)


def _set_namespace(handle: int) -> None:
    if _libc.setns(handle, _CLONE_NEWNET):
        number = ctypes.get_errno()
        if number == errno.EPERM and handle == _first_namespace():
            return  # without root we never left it
        raise DevError(f"cannot enter a network namespace: {os.strerror(number)}")


def add_bridge(namespace: Namespace, address: str) -> None:
    """Make the bridge that pods are plugged into. `address` with prefix length. Harmless where it exists."""

    def add() -> None:
        if not Path("/proc/thread-self/net/dev").read_text().count(" bud0:"):
            command.run(["ip", "link", "add", "bud0", "type", "bridge"])
        command.run(["ip", "address", "replace", address, "dev", "bud0"])
        command.run(["ip", "link", "set", "bud0", "up"])

    namespace.call(add)


def join(stack: Namespace, cluster: Namespace, stack_subnet: str, cluster_subnet: str) -> None:
    """Connect a further cluster's namespace with the stack's by a veth pair and routes. Repeatable."""

    def has_link() -> bool:
        return " up0:" in Path("/proc/thread-self/net/dev").read_text()

    def set_up(address: str, link: str, subnet: str, gateway: str) -> None:
        command.run(["ip", "address", "replace", f"{address}/30", "dev", link])
        command.run(["ip", "link", "set", link, "up"])
        command.run(["ip", "route", "replace", subnet, "via", gateway])

    inner, outer = "10.90.0.2", "10.90.0.1"
    if not cluster.call(has_link):
        pair = ["ip", "link", "add", "down0", "netns", str(stack.name), "type", "veth"]
        command.run([*pair, "peer", "name", "up0", "netns", str(cluster.name)])
    stack.call(lambda: set_up(outer, "down0", cluster_subnet, inner))
    cluster.call(lambda: set_up(inner, "up0", stack_subnet, outer))
