"""Where one run of a playbook has its files: it holds a credential, so nothing of it outlives the run.

The service holds a lock on each directory that is in use (flock(2), which ends with the process that has it).
So what a service that was killed together with its workers has left behind is known by its not being held.
"""

import fcntl
import os
import shutil
import signal
import tempfile
import time
from contextlib import suppress
from pathlib import Path

_PREFIX = "budeval-run-"
_UNFINISHED_PREFIX = ".budeval-run-"
_KILL_ROUNDS = 100
_KILL_PAUSE_SECONDS = 0.02


class PrivateDirectory:
    """A new one, held by this process until it is removed."""

    def __init__(self) -> None:
        # Under another name until it is held: whoever sweeps now must not take it for left behind.
        unfinished = Path(tempfile.mkdtemp(prefix=_UNFINISHED_PREFIX))
        self._handle = os.open(unfinished, os.O_RDONLY | os.O_DIRECTORY)
        fcntl.flock(self._handle, fcntl.LOCK_EX)
        self.path = unfinished.rename(unfinished.with_name(unfinished.name.lstrip(".")))

    def remove(self) -> None:
        """End every process of the run and remove its files. To be called once."""
        clear(self.path)
        os.close(self._handle)


def sweep() -> list[Path]:
    """Remove what services that are no more have left in the directory for temporary files; what it was."""
    swept = []
    for path in sorted(Path(tempfile.gettempdir()).glob(f"{_PREFIX}*")):
        with suppress(OSError):  # somebody else's, still held, or gone meanwhile
            _remove_unheld(path)
            swept.append(path)
    return swept


def _remove_unheld(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        clear(path)
    finally:
        os.close(handle)


def clear(private: Path) -> None:
    """Nothing of a run outlives it: no process, no file."""
    kill_processes_of(private)
    shutil.rmtree(private, ignore_errors=True)


def kill_processes_of(private: Path) -> None:
    """End every process that has the directory in its environment."""
    # More than one round: what was just started may have been missed, what was killed may still be ending.
    for _ in range(_KILL_ROUNDS):
        found = _processes_of(private)
        if not found:
            return
        for pid in found:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(_KILL_PAUSE_SECONDS)


def _processes_of(private: Path) -> list[int]:
    mark = f"={private}/".encode()
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):
            if mark in path.read_bytes():
                found.append(int(path.parent.name))
    return found
