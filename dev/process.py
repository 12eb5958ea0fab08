"""Processes that outlive the command that started them, and are found again with certainty.

Two marks prove that a process is ours. A record file keeps pid, start time and boot id of a part's main
process, so that a pid used again by somebody else is not mistaken for it. And every process inherits
`BUDEVAL_DEV_STACK` and `BUDEVAL_DEV_PART` in its environment, which finds what a killed parent left behind.
Nothing is ever ended by its name.
"""

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

STACK_MARK = "BUDEVAL_DEV_STACK"
PART_MARK = "BUDEVAL_DEV_PART"

_PROC = Path("/proc")
_KILL_SECONDS = 5.0


@dataclass(frozen=True)
class Record:
    """Identity of a process: a pid alone may belong to somebody else by now."""

    pid: int
    started: int
    """Clock ticks after boot, field 22 of /proc/<pid>/stat (proc(5))."""
    boot_id: str

    @classmethod
    def of(cls, pid: int) -> "Record | None":
        """The process that has `pid` now, or None where there is none but a zombie."""
        fields = _stat_fields(pid)
        return None if fields is None else cls(pid, int(fields[19]), boot_id())

    @classmethod
    def read(cls, path: Path) -> "Record | None":
        """The recorded process, or None where no whole record is there."""
        try:
            return cls(**json.loads(path.read_text()))
        except (FileNotFoundError, ValueError, TypeError):  # missing, or torn by a crash
            return None

    def write(self, path: Path) -> None:
        """Keep it for the next command."""
        path.write_text(json.dumps(asdict(self)))

    def alive(self) -> bool:
        """Whether this very process still runs."""
        return Record.of(self.pid) == self


def _stat_fields(pid: int) -> list[str] | None:
    """Fields of /proc/<pid>/stat from the third (state) on; None for no process or a zombie."""
    try:
        text = (_PROC / str(pid) / "stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = text.rpartition(")")[2].split()
    return None if fields[0] in "ZX" else fields


def boot_id() -> str:
    """Changes with every start of the machine."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def spawn(command: Sequence[str | Path], *, environment: Mapping[str, str], cwd: Path, log: Path) -> Record:
    """Start a process in a session of its own, output to `log` (appended).

    Raises:
        OSError: the program could not be started.
    """
    with log.open("ab") as output:
        child = subprocess.Popen(  # it outlives this command, on purpose
            [str(word) for word in command],
            cwd=cwd,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    child.returncode = 0  # no ResourceWarning for a child that is not waited for
    record = Record.of(child.pid)
    return record or Record(child.pid, 0, "")


def recorded(directory: Path) -> Iterator[Record]:
    """The living processes whose records are in a directory."""
    for path in directory.glob("*"):
        record = Record.read(path)
        if record and record.alive():
            yield record


def marked(stack: str, part: str | None = None) -> Iterator[Record]:
    """The living processes that carry a stack's mark, of one part or of all."""
    for entry in _PROC.iterdir():
        if not entry.name.isdigit():
            continue
        marks = _environment_of(int(entry.name))
        if marks.get(STACK_MARK) == stack and part in (None, marks.get(PART_MARK)):
            record = Record.of(int(entry.name))
            if record:
                yield record


def _environment_of(pid: int) -> dict[str, str]:
    try:
        raw = (_PROC / str(pid) / "environ").read_bytes()
    except (OSError, ProcessLookupError):  # gone, or somebody else's
        return {}
    pairs = (item.partition("=") for item in raw.decode(errors="replace").split("\0"))
    return {name: value for name, _, value in pairs if name}


def arguments_of(record: Record) -> list[str]:
    """Its command line, empty where it has ended."""
    try:
        return (_PROC / str(record.pid) / "cmdline").read_text(errors="replace").split("\0")[:-1]
    except (FileNotFoundError, ProcessLookupError):
        return []


@dataclass(frozen=True)
class Launch:
    """How a process was started, so that the same can be started once more."""

    command: list[str]
    environment: dict[str, str]
    """Its marks are in it, so the next one bears them, too."""
    cwd: Path

    @classmethod
    def of(cls, record: Record) -> "Launch | None":
        """That of a process that lives, None where it has ended."""
        try:
            cwd = (_PROC / str(record.pid) / "cwd").readlink()
        except (FileNotFoundError, ProcessLookupError):
            return None
        launch = cls(arguments_of(record), _environment_of(record.pid), cwd)
        return launch if record.alive() else None

    def again(self, log: Path) -> Record:
        """Start it in the calling thread's network namespace, with a session of its own."""
        return spawn(self.command, environment=self.environment, cwd=self.cwd, log=log)


def memory_of(record: Record) -> int:
    """Resident memory in bytes, 0 where it has ended."""
    try:
        text = (_PROC / str(record.pid) / "statm").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return int(text.split()[1]) * os.sysconf("SC_PAGE_SIZE")


def in_cgroup(name: str) -> Iterator[Record]:
    """The living processes in a cgroup and below it, whatever controllers it has (v1 or v2)."""
    pids: set[int] = set()
    for top in cgroup_directories(name):
        for listing in top.rglob("cgroup.procs"):
            try:
                pids.update(int(line) for line in listing.read_text().split())
            except OSError:  # the cgroup ended meanwhile
                continue
    records = (Record.of(pid) for pid in sorted(pids))
    return (record for record in records if record)


def cgroup_directories(name: str) -> list[Path]:
    """The directories of a cgroup: one for each v1 hierarchy, or the one of v2."""
    root = Path("/sys/fs/cgroup")
    return [path for path in [root / name, *root.glob(f"*/{name}")] if path.is_dir()]


def stop(records: Iterable[Record], grace: float) -> None:
    """End processes: SIGTERM, and SIGKILL for those that are still there after `grace` seconds."""
    left = [record for record in records if record.alive()]
    for signal_number, seconds in ((signal.SIGTERM, grace), (signal.SIGKILL, _KILL_SECONDS)):
        for record in left:
            _signal(record, signal_number)
        left = _wait_for_end(left, seconds)
        if not left:
            return


def kill(records: Iterable[Record]) -> None:
    """End processes at once."""
    left = list(records)
    for record in left:
        _signal(record, signal.SIGKILL)
    _wait_for_end(left, _KILL_SECONDS)


def _signal(record: Record, signal_number: int) -> None:
    if record.alive():
        try:
            os.kill(record.pid, signal_number)
        except ProcessLookupError:
            return


def _wait_for_end(records: list[Record], seconds: float) -> list[Record]:
    deadline = time.monotonic() + seconds
    left = [record for record in records if record.alive()]
    while left and time.monotonic() < deadline:
        time.sleep(0.02)
        left = [record for record in left if record.alive()]
    return left
