import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from dev import process
from dev.process import Record

_PATIENCE_SECONDS = 30.0
_SLEEP = "import time; time.sleep(300)"
_OBEY = "import time; print('ready', flush=True); time.sleep(300)"
_IGNORE_SIGTERM = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {_OBEY}"
_PARENT = f"""
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", {_SLEEP!r}])
print("ready", child.pid, flush=True)
child.wait()
"""
_FORGETFUL_PARENT = f"""
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", {_SLEEP!r}], env={{}})
print("ready", child.pid, flush=True)
child.wait()
"""


@dataclass
class Nursery:
    """Starts processes under a stack's name of its own."""

    directory: Path
    stack: str
    others: list[int]

    def spawn(self, code: str, part: str = "part", stack: str | None = None) -> Record:
        """Start a Python process that carries the marks."""
        marks = {process.STACK_MARK: stack or self.stack, process.PART_MARK: part}
        record = self.spawn_with(code, marks)
        if stack:
            self.others.append(record.pid)
        return record

    def spawn_with(self, code: str, environment: Mapping[str, str]) -> Record:
        """Start a Python process with just this environment."""
        self.log.unlink(missing_ok=True)
        record = process.spawn(
            [sys.executable, "-c", code], environment=environment, cwd=self.directory, log=self.log
        )
        # The kernel shows it a moment after the program has begun; one without code may have ended by then.
        with suppress(ProcessLookupError, FileNotFoundError):
            while environment and not Path(f"/proc/{record.pid}/environ").read_bytes():
                time.sleep(0.01)
        return record

    @property
    def log(self) -> Path:
        """Output of the last one."""
        return self.directory / "log"

    def words(self) -> list[str]:
        """What the last one printed, as soon as it is ready."""
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while not self.log.read_text().endswith("\n"):
            if time.monotonic() > deadline:
                raise TimeoutError(f"it printed only: {self.log.read_text()}")
            time.sleep(0.01)
        return self.log.read_text().split()


@pytest.fixture
def nursery(tmp_path: Path) -> Iterator[Nursery]:
    """A place to start processes; none outlives its test."""
    made = Nursery(tmp_path, f"bud-test-{uuid.uuid4()}", [])
    yield made
    left = [Record.of(pid) for pid in made.others]
    process.kill([*process.marked(made.stack), *(record for record in left if record)])


def _must(record: Record | None) -> Record:
    assert record is not None
    return record


def _signal_that_ended(record: Record) -> int:
    """Collect a child that was spawned by this process."""
    _, status = os.waitpid(record.pid, 0)
    return os.WTERMSIG(status)


def test_record_of_a_running_process_is_alive() -> None:
    """A process that runs is recognised by its record."""
    assert _must(Record.of(os.getpid())).alive()


@pytest.mark.parametrize("change", [{"started": 1}, {"boot_id": "another-boot"}])
def test_record_of_a_former_owner_of_the_pid_is_not_alive(change: dict[str, object]) -> None:
    """A pid that was used again, in this boot or after another, is not our process."""
    current = _must(Record.of(os.getpid()))
    former = replace(current, **change)  # type: ignore[arg-type]
    assert not former.alive()


def test_zombie_is_dead() -> None:
    """A process that ended is dead even while its parent has not collected it."""
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    record = _must(Record.of(child.pid))
    with child:
        child.kill()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert Path(f"/proc/{child.pid}").exists()
        assert Record.of(child.pid) is None
        assert not record.alive()


def test_process_name_cannot_confuse_the_record(nursery: Nursery) -> None:
    """Parentheses, blanks and letters in a process's name are not taken for its state."""
    rename = "open('/proc/self/comm', 'w').write('a) Z 1 (b')"
    spawned = nursery.spawn(f"{rename}; {_OBEY}")
    nursery.words()
    assert ") Z 1 (" in Path(f"/proc/{spawned.pid}/stat").read_text()
    assert spawned.alive()


def test_record_survives_its_file(tmp_path: Path) -> None:
    """The next command reads what the one before wrote."""
    record = _must(Record.of(os.getpid()))
    record.write(tmp_path / "record")
    assert Record.read(tmp_path / "record") == record


@pytest.mark.parametrize(
    "content", [b"", b'{"pid": 12, "star', b"{}", b"[1, 2, 3]", b"null", b'{"pid": 12}', b"\xff\xfe"]
)
def test_torn_record_reads_as_none(content: bytes, tmp_path: Path) -> None:
    """A record file that a crash left incomplete tells nothing."""
    (tmp_path / "record").write_bytes(content)
    assert Record.read(tmp_path / "record") is None


def test_missing_record_reads_as_none(tmp_path: Path) -> None:
    """A part that never ran has no record."""
    assert Record.read(tmp_path / "record") is None


def test_spawn_gives_only_the_environment_it_is_told(
    nursery: Nursery, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A daemon gets nothing of the caller's environment by accident."""
    monkeypatch.setenv("CANARY_TOKEN", "secret")
    record = nursery.spawn_with(_SLEEP, {"ONLY": "this", process.STACK_MARK: nursery.stack})
    environment = Path(f"/proc/{record.pid}/environ").read_text().strip("\0").split("\0")
    assert sorted(environment) == [f"{process.STACK_MARK}={nursery.stack}", "ONLY=this"]


def test_spawn_starts_a_session_and_appends_to_the_log(nursery: Nursery) -> None:
    """A spawned process outlives the terminal, and the output of a former start stays."""
    command = [sys.executable, "-c", "import os; print(os.getsid(0), flush=True)"]
    nursery.log.write_text("former ")
    record = process.spawn(command, environment={}, cwd=nursery.directory, log=nursery.log)
    assert nursery.words() == ["former", str(record.pid)]


def test_a_killed_process_is_started_again_as_it_was(nursery: Nursery) -> None:
    """The same command, environment and directory, so that it is found and stopped by the same marks."""
    print_all = "import os, sys; print(os.getcwd(), *sys.argv[1:], os.environ['MORE'], flush=True)"
    marks = {process.STACK_MARK: nursery.stack, process.PART_MARK: "part", "MORE": "a=b"}
    words = [sys.executable, "-c", f"{print_all}; {_SLEEP}", "--app-id", "x y"]
    first = process.spawn(words, environment=marks, cwd=nursery.directory, log=nursery.log)
    told = nursery.words()
    launch = process.Launch.of(first)
    assert launch is not None

    process.kill([first])
    nursery.log.unlink()
    second = launch.again(nursery.log)

    assert told == nursery.words() == [str(nursery.directory), "--app-id", "x", "y", "a=b"]
    assert (launch.command, launch.environment) == (words, marks)
    assert [record.pid for record in process.marked(nursery.stack, "part")] == [second.pid] != [first.pid]


def test_what_has_ended_has_no_launch(nursery: Nursery) -> None:
    """It cannot be read any more."""
    record = nursery.spawn(_SLEEP)
    process.kill([record])

    assert process.Launch.of(record) is None


def test_marked_finds_descendants_and_nobody_else(nursery: Nursery) -> None:
    """Marks are inherited: what a killed parent left behind is found, what others started is not."""
    parent = nursery.spawn(_PARENT)
    grandchild = int(nursery.words()[1])
    sibling = nursery.spawn(_SLEEP, part="other")
    nursery.spawn(_SLEEP, stack=f"{nursery.stack}-c2")
    everything = {record.pid for record in process.marked(nursery.stack)}
    process.kill([parent])
    left = [record.pid for record in process.marked(nursery.stack, "part")]
    assert everything == {parent.pid, grandchild, sibling.pid}
    assert left == [grandchild]


def test_marked_does_not_guess(nursery: Nursery) -> None:
    """A process without the mark is not ours, whoever its parent is."""
    parent = nursery.spawn(_FORGETFUL_PARENT)
    child = int(nursery.words()[1])
    nursery.others.append(child)
    assert [record.pid for record in process.marked(nursery.stack)] == [parent.pid]
    assert _must(Record.of(child)).alive()


def test_stop_ends_a_process_politely(nursery: Nursery) -> None:
    """A process that obeys SIGTERM is not killed."""
    record = nursery.spawn(_OBEY)
    nursery.words()
    process.stop([record], grace=_PATIENCE_SECONDS)
    assert not record.alive()
    assert _signal_that_ended(record) == signal.SIGTERM


def test_stop_kills_a_process_that_ignores_sigterm(nursery: Nursery) -> None:
    """SIGKILL follows for what does not end within the grace time."""
    record = nursery.spawn(_IGNORE_SIGTERM)
    nursery.words()
    process.stop([record], grace=0.2)
    assert not record.alive()
    assert _signal_that_ended(record) == signal.SIGKILL


def test_stop_spares_who_uses_the_pid_now(nursery: Nursery) -> None:
    """A record of a former process does no harm to the one that has its pid now."""
    record = nursery.spawn(_OBEY)
    nursery.words()
    former = replace(record, started=record.started - 1)
    process.stop([former], grace=0.1)
    process.kill([former])
    assert record.alive()


def test_kill_ends_processes_at_once(nursery: Nursery) -> None:
    """Nobody can ignore it."""
    record = nursery.spawn(_IGNORE_SIGTERM)
    nursery.words()
    process.kill([record])
    assert _signal_that_ended(record) == signal.SIGKILL


def test_running_process_tells_arguments_and_memory(nursery: Nursery) -> None:
    """`make status` can say what a process is and how much memory it holds."""
    record = nursery.spawn(_OBEY)
    nursery.words()
    assert process.arguments_of(record) == [sys.executable, "-c", _OBEY]
    assert process.memory_of(record) > 1_000_000


def test_ended_process_tells_nothing(nursery: Nursery) -> None:
    """A process that ended between two looks is no error."""
    record = nursery.spawn("")
    os.waitpid(record.pid, 0)
    assert process.arguments_of(record) == []
    assert process.memory_of(record) == 0


def test_unknown_cgroup_is_empty() -> None:
    """Where no cgroup was made, no process is in it."""
    assert list(process.in_cgroup(f"bud-test-{uuid.uuid4()}")) == []
