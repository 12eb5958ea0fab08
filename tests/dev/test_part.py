import math
import os
import signal
import socket
import socketserver
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from dev import process
from dev.errors import DevError, UnhealthyError
from dev.layout import StackLayout
from dev.network import HOST, Namespace
from dev.part import Part, http_check, program
from tests.dev.fake_layout import FakeStackLayout

_PATIENCE_SECONDS = 30.0
_SLEEP = "import time; time.sleep(300)"
_WITH_CHILD = f"""
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", {_SLEEP!r}])
print("child", child.pid, flush=True)
child.wait()
"""


@dataclass
class FakeCheck:
    """A health check that says what it is told."""

    reason: str | None = None
    threads: list[threading.Thread] = field(default_factory=list)

    def __call__(self) -> None:
        """Refuse for the reason, if there is one."""
        self.threads.append(threading.current_thread())
        if self.reason:
            raise UnhealthyError(self.reason)


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[StackLayout]:
    """A stack in a directory of its own; none of its processes outlives the test."""
    made = FakeStackLayout(f"bud-test-{uuid.uuid4()}", tmp_path / "stack")
    yield made
    process.kill(process.marked(made.name))


@pytest.fixture
def check() -> FakeCheck:
    """Says that all is well."""
    return FakeCheck()


@pytest.fixture
def sleeper(stack: StackLayout, check: FakeCheck) -> Part:
    """A part that does nothing, for long."""
    return _part(stack, check, _SLEEP)


def _part(stack: StackLayout, check: Callable[[], None], code: str) -> Part:
    def command() -> Sequence[str]:
        return [sys.executable, "-c", code]

    return Part("sleeper", "1.0", "nowhere", command, check, HOST, stack)


def _main_process(part: Part) -> process.Record:
    record = part.main_process()
    assert record is not None
    return record


def _child_of(part: Part) -> process.Record:
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while not part.log.read_text().endswith("\n"):
        if time.monotonic() > deadline:
            raise TimeoutError("the part told no child")
        time.sleep(0.01)
    record = process.Record.of(int(part.log.read_text().split()[-1]))
    assert record is not None
    return record


def test_part_is_not_running_before_its_first_start(sleeper: Part, check: FakeCheck) -> None:
    """Nothing is asked of a part that never ran."""
    assert sleeper.why_unhealthy() == "not running"
    assert check.threads == []


def test_started_part_is_healthy(sleeper: Part) -> None:
    """A part that runs and answers is healthy."""
    sleeper.start()
    sleeper.wait_until_healthy()
    assert sleeper.why_unhealthy() is None


def test_killed_part_is_not_running(sleeper: Part) -> None:
    """After kill -9 a part is not taken for running because its record is still there."""
    sleeper.start()
    os.kill(_main_process(sleeper).pid, signal.SIGKILL)
    os.waitpid(_recorded(sleeper).pid, 0)
    assert sleeper.why_unhealthy() == "not running"
    assert sleeper.main_process() is None


def _recorded(part: Part) -> process.Record:
    record = process.Record.read(part.stack.directory / "pid" / part.name)
    assert record is not None
    return record


def test_running_part_that_does_not_answer_is_unhealthy(sleeper: Part, check: FakeCheck) -> None:
    """Health is what a part answers, not that it runs; the check's words are the reason."""
    sleeper.start()
    check.reason = "answers 503 no leader"
    assert sleeper.why_unhealthy() == "answers 503 no leader"


def test_part_whose_namespace_is_gone_is_unhealthy(sleeper: Part) -> None:
    """A namespace that somebody deleted is a reason, not a crash."""
    sleeper.start()
    moved = replace(sleeper, namespace=Namespace("bud-test-gone"))
    assert moved.why_unhealthy() == "network namespace bud-test-gone is not there"


def test_start_replaces_the_running_process(sleeper: Part) -> None:
    """There is never more than one process of a part."""
    sleeper.start()
    first = _main_process(sleeper)
    sleeper.start()
    second = _main_process(sleeper)
    assert not first.alive()
    assert [record.pid for record in process.marked(sleeper.stack.name)] == [second.pid]


@pytest.mark.parametrize("stay", [True, False])
def test_start_ends_what_a_killed_process_left_behind(
    stay: bool,  # noqa: FBT001 - the parameter under test
    stack: StackLayout,
    check: FakeCheck,
) -> None:
    """Orphans end where descendants are the part's business, and live on where they are not."""
    part = replace(_part(stack, check, _WITH_CHILD), children_stay=stay)
    part.start()
    orphan = _child_of(part)
    process.kill([_main_process(part)])
    part.start()
    assert orphan.alive() is stay


def test_stop_ends_descendants_that_are_the_parts_business(stack: StackLayout, check: FakeCheck) -> None:
    """After stop() nothing of the part is left."""
    part = _part(stack, check, _WITH_CHILD)
    part.start()
    _child_of(part)
    part.stop()
    assert list(process.marked(stack.name)) == []
    assert part.why_unhealthy() == "not running"


def test_stop_is_harmless_before_a_start(sleeper: Part) -> None:
    """There may be nothing to stop."""
    sleeper.stop()
    assert sleeper.why_unhealthy() == "not running"


def test_start_prepares_before_it_evaluates_the_command(sleeper: Part) -> None:
    """What the process needs to find is there before it starts, each time anew."""
    order: list[str] = []

    def command() -> Sequence[str]:
        order.append("command")
        return [sys.executable, "-c", _SLEEP]

    part = replace(sleeper, command=command, prepare=lambda: order.append("prepare"))
    part.start()
    part.start()
    assert order == ["prepare", "command", "prepare", "command"]


def test_daemon_does_not_get_the_callers_secrets(sleeper: Part, monkeypatch: pytest.MonkeyPatch) -> None:
    """A daemon gets its own settings and marks, and of the caller's environment only what is harmless."""
    monkeypatch.setenv("KUBECONFIG", "/home/somebody/.kube/config")
    monkeypatch.setenv("CANARY_API_KEY", "secret")
    monkeypatch.setenv("PYTHONPATH", "/somewhere")
    monkeypatch.setenv("LANG", "C.UTF-8")
    part = replace(sleeper, environment=lambda: {"SETTING": "own"})
    part.start()
    lines = Path(f"/proc/{_main_process(part).pid}/environ").read_text().split("\0")
    environment = dict(line.split("=", 1) for line in lines if line)
    assert environment.keys() & {"KUBECONFIG", "CANARY_API_KEY", "PYTHONPATH"} == set()
    assert environment["PATH"] == os.environ["PATH"]
    assert environment["LANG"] == "C.UTF-8"
    assert environment["SETTING"] == "own"
    assert environment[process.STACK_MARK] == part.stack.name
    assert environment[process.PART_MARK] == "sleeper"


@pytest.mark.timeout(60)
def test_waiting_ends_with_the_logs_tail_when_the_process_ends(stack: StackLayout, check: FakeCheck) -> None:
    """A process that ends at once is not waited for; the error shows what it said last, and only that."""
    check.reason = "does not answer"
    code = "[print(f'line {n}.') for n in range(100)]; print('cannot bind'); raise SystemExit(3)"
    part = replace(_part(stack, check, code), start_timeout=math.inf)
    part.start()
    with pytest.raises(UnhealthyError, match="sleeper did not start: not running") as failure:
        part.wait_until_healthy()
    assert str(failure.value).endswith("line 98.\nline 99.\ncannot bind")
    assert str(part.log) in str(failure.value)
    assert "line 1." not in str(failure.value)


def test_waiting_ends_with_the_reason_when_time_is_up(sleeper: Part, check: FakeCheck) -> None:
    """A process that runs but never answers is given up, with the check's last words."""
    check.reason = "does not answer"
    part = replace(sleeper, start_timeout=0.2)
    part.start()
    with pytest.raises(UnhealthyError, match="sleeper did not start: does not answer"):
        part.wait_until_healthy()
    assert len(check.threads) > 1


def test_waiting_for_a_part_that_never_ran_tells_so(sleeper: Part) -> None:
    """Without a log there is no tail to show."""
    with pytest.raises(UnhealthyError, match=r"not running\. It left no log\."):
        sleeper.wait_until_healthy()


def test_real_server_becomes_healthy_and_is_noticed_when_it_goes(stack: StackLayout) -> None:
    """A part with a real HTTP server is healthy as soon as it answers, and no longer when it is killed."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url = f"http://127.0.0.1:{port}/"
    words = [sys.executable, "-m", "http.server", "--bind", "127.0.0.1", str(port)]
    part = Part("web", "1.0", url, lambda: words, http_check(url), HOST, stack)
    part.start()
    part.wait_until_healthy()
    process.kill([_main_process(part)])
    assert part.why_unhealthy() == "not running"


class FakeServer(BaseHTTPRequestHandler):
    """Answers with the status that the path names, and a body that explains it."""

    def do_GET(self) -> None:
        """Answer /<status>."""
        self.send_response(int(self.path.removeprefix("/")))
        self.end_headers()
        self.wfile.write(b"no leader yet\n")

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Say nothing."""


class FakeOtherProtocol(socketserver.StreamRequestHandler):
    """Speaks, but not HTTP."""

    def handle(self) -> None:
        """Greet as an SSH server does."""
        while self.rfile.readline().strip():
            continue
        self.wfile.write(b"SSH-2.0-OpenSSH_9.2\r\n")


class FakeSilence(socketserver.StreamRequestHandler):
    """Accepts a connection and never answers."""

    def handle(self) -> None:
        """Wait until the other side gives up."""
        self.rfile.read()


@contextmanager
def _serving(server: socketserver.BaseServer) -> Iterator[str]:
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"  # type: ignore[index]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.parametrize("status", [200, 204, 399])
def test_http_check_accepts_what_is_no_error(status: int) -> None:
    """A status below 400 is health."""
    with _serving(HTTPServer(("127.0.0.1", 0), FakeServer)) as url:
        assert http_check(f"{url}/{status}")() is None


@pytest.mark.parametrize("status", [404, 500, 503])
def test_http_check_tells_what_a_refusal_says(status: int) -> None:
    """An error status is told with the server's own words."""
    with (
        _serving(HTTPServer(("127.0.0.1", 0), FakeServer)) as url,
        pytest.raises(UnhealthyError) as failure,
    ):
        http_check(f"{url}/{status}")()
    assert str(failure.value) == f"{url}/{status} answers {status} no leader yet"


def test_http_check_tells_that_nobody_listens() -> None:
    """A closed port is a reason in words."""
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{nobody.getsockname()[1]}/healthz"
        with pytest.raises(UnhealthyError, match=f"{url} does not answer: .*refused"):
            http_check(url)()


@pytest.mark.parametrize(
    ("handler", "reason"), [(FakeOtherProtocol, "disconnected"), (FakeSilence, "timed out")]
)
def test_http_check_tells_that_somebody_else_listens(
    handler: type[socketserver.StreamRequestHandler], reason: str
) -> None:
    """A process that hangs or speaks another protocol is a reason, not a crash."""
    with (
        _serving(socketserver.ThreadingTCPServer(("127.0.0.1", 0), handler)) as url,
        pytest.raises(UnhealthyError, match=f"does not answer: .*{reason}"),
    ):
        http_check(f"{url}/healthz", timeout=0.3)()


def test_program_tells_how_to_get_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program is found on PATH; a missing one is named with the way out."""
    monkeypatch.setenv("PATH", str(tmp_path))
    (tmp_path / "socat").touch(mode=0o755)
    assert program("socat") == str(tmp_path / "socat")
    with pytest.raises(DevError, match="`runc` is not installed; `make up` installs it"):
        program("runc")
