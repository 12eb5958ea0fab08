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
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_PREFIX = "budeval-run-"
_UNFINISHED_PREFIX = ".budeval-run-"
_KILL_ROUNDS = 100
_KILL_PAUSE_SECONDS = 0.02
_UNFINISHED_SECONDS = 60.0
"""What has not been held by then never will be."""


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


def left_behind() -> list[Path]:
    """What services that are no more have left in the directory for temporary files."""
    return [path for path in _candidates() if _is_unheld(path)]


def sweep() -> list[Path]:
    """Remove what services that are no more have left behind; what it was."""
    swept = []
    for path in _candidates():
        with suppress(OSError):  # somebody else's, still held, or gone meanwhile
            _remove_unheld(path)
            swept.append(path)
    return swept


def _candidates() -> list[Path]:
    """Those that were cut off while they were made are empty, but nobody else would remove them."""
    place = Path(tempfile.gettempdir())
    return sorted([*place.glob(f"{_PREFIX}*"), *filter(_is_old, place.glob(f"{_UNFINISHED_PREFIX}*"))])


def _is_old(path: Path) -> bool:
    try:
        return time.time() - path.lstat().st_mtime > _UNFINISHED_SECONDS
    except FileNotFoundError:
        return False


def _is_unheld(path: Path) -> bool:
    try:
        with _held(path):
            return True
    except OSError:
        return False


def _remove_unheld(path: Path) -> None:
    with _held(path):
        clear(path)


@contextmanager
def _held(path: Path) -> Iterator[None]:
    """Hold a directory that no living process holds. Raises OSError where one does, or it is not ours."""
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
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
