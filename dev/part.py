"""What a part of the stack is, and how it is started, checked and stopped."""

import os
import shutil
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx

from dev import process
from dev.errors import DevError, UnhealthyError
from dev.layout import StackLayout
from dev.network import Namespace

_POLL_SECONDS = 0.15
_TAIL_LINES = 15

Check = Callable[[], None]
"""Raises UnhealthyError (or DevError) with the reason; runs inside the part's namespace."""


@dataclass(frozen=True)
class Part:
    """One long-running process of the stack.

    Its health is judged by what it answers, not by its pid: a process that hangs is not healthy.
    """

    name: str
    version: str
    address: str
    command: Callable[[], Sequence[str | Path]]
    """Evaluated when it starts: only a start may have to build a program first."""
    check: Check
    namespace: Namespace
    stack: StackLayout
    environment: Callable[[], Mapping[str, str]] = dict
    """Evaluated when it starts, like the command."""
    needs: tuple[str, ...] = ()
    """Names of the parts that must be healthy before this one starts."""
    prepare: Callable[[], None] = lambda: None
    """Makes what the process needs to find; repeatable. Runs before each start."""
    when_healthy: Callable[[], None] = lambda: None
    """Runs each time it was started and answers; repeatable."""
    grace: float = 5.0
    """Seconds between SIGTERM and SIGKILL."""
    start_timeout: float = 60.0
    children_stay: bool = False
    """Whether its descendants outlive it: container shims do, so that pods outlive their containerd."""
    cwd: Path | None = None
    foreign: bool = False
    """Whether somebody else runs it (an initialised Dapr): it is asked, and neither started nor stopped."""

    @property
    def log(self) -> Path:
        """Its standard output and error."""
        return self.stack.logs / f"{self.name}.log"

    @property
    def _record_path(self) -> Path:
        return self.stack.directory / "pid" / self.name

    def main_process(self) -> process.Record | None:
        """The process, where it lives."""
        record = process.Record.read(self._record_path)
        return record if record and record.alive() else None

    def why_unhealthy(self) -> str | None:
        """None if it answers as it should, otherwise the reason in a few words."""
        if self.main_process() is None and not self.foreign:
            return "not running"
        try:
            self.namespace.call(self.check)
        except DevError as error:
            return str(error)
        return None

    def start(self) -> None:
        """Start it anew; whatever a former start left behind ends first."""
        self.stop()
        self.log.parent.mkdir(parents=True, exist_ok=True)
        self._record_path.parent.mkdir(parents=True, exist_ok=True)
        self.prepare()
        environment = {
            **_inherited_environment(),
            **self.environment(),
            process.STACK_MARK: self.stack.name,
            process.PART_MARK: self.name,
        }
        words = self.command()
        record = self.namespace.call(
            lambda: process.spawn(
                words, environment=environment, cwd=self.cwd or self.stack.directory, log=self.log
            )
        )
        record.write(self._record_path)

    def wait_until_healthy(self) -> None:
        """Return as soon as it is.

        Raises:
            UnhealthyError: it ended, or is not healthy after `start_timeout`, with the tail of its log.
        """
        deadline = time.monotonic() + self.start_timeout
        while (reason := self.why_unhealthy()) is not None:
            if self.main_process() is None or time.monotonic() > deadline:
                raise UnhealthyError(f"{self.name} did not start: {reason}. {self._log_tail()}")
            time.sleep(_POLL_SECONDS)

    def stop(self) -> None:
        """End it, and what it left behind where that is its business."""
        if self.foreign:
            return
        main = self.main_process()
        ours = {main} if main else set()
        if not self.children_stay:
            ours |= set(process.marked(self.stack.name, self.name))
        process.stop(ours, self.grace)
        self._record_path.unlink(missing_ok=True)

    def _log_tail(self) -> str:
        try:
            lines = self.log.read_text(errors="replace").splitlines()
        except FileNotFoundError:
            return "It left no log."
        return f"The end of {self.log}:\n" + "\n".join(lines[-_TAIL_LINES:])


def _inherited_environment() -> dict[str, str]:
    """What a daemon gets from the caller: not the caller's KUBECONFIG, tokens or Python settings."""
    keep = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "SSL_CERT_FILE", "SSL_CERT_DIR")
    return {name: os.environ[name] for name in keep if name in os.environ}


def connect_check(address: str) -> Check:
    """A check that somebody listens at `host:port`."""

    def check() -> None:
        host, _, port = address.rpartition(":")
        try:
            socket.create_connection((host, int(port)), timeout=2).close()
        except OSError as error:
            raise UnhealthyError(f"{address} does not answer: {error}") from error

    return check


def http_check(url: str, *, timeout: float = 2.0) -> Check:
    """A check that asks for a status below 400; the text of a refusal is the reason."""

    def check() -> None:
        try:
            answer = httpx.get(url, timeout=timeout, trust_env=False)
        except httpx.HTTPError as error:
            raise UnhealthyError(f"{url} does not answer: {error or type(error).__name__}") from error
        if answer.is_error:
            raise UnhealthyError(f"{url} answers {answer.status_code} {answer.text[:300]}".strip())

    return check


def program(name: str) -> str:
    """Absolute path of a system program.

    Raises:
        DevError: it is not installed.
    """
    path = shutil.which(name)
    if path is None:
        raise DevError(f"`{name}` is not installed; `make up` installs it on Debian as root.")
    return path
