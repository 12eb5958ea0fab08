"""Canaries: secrets that exist nowhere else, and the ways to look for them wherever they must not be."""

import mmap
import os
import stat
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Self

from budeval.domain.redaction import within_base64
from dev.stack import Stack

_PRIVATE = "budeval-run-"
_SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - looked at, not written


def forms(secret: str) -> list[bytes]:
    """As it is, and as it stands within what Kubernetes, Dapr's SQLite store or both write as base64."""
    raw = secret.encode()
    once = _within_base64(raw)
    twice = [form for inner in once for form in _within_base64(inner)]
    return [raw, *once, *twice]


def _within_base64(raw: bytes) -> list[bytes]:
    """Wherever it may begin, in both alphabets."""
    standard = [form.encode() for form in within_base64(raw)]
    other = [form.translate(bytes.maketrans(b"+/", b"-_")) for form in standard]
    return list(dict.fromkeys([*standard, *other]))


def temporary(stack: Stack) -> Path:
    """Where the service and its playbooks have their temporary files."""
    return stack.layout.directory / "dapr" / "tmp"


def kept(stack: Stack) -> list[Path]:
    """All that the service's side keeps: state store, scheduler, Redis, logs, the claim, temporary files.

    The cluster's own etcd and container runtime are not ours: what they keep of a deleted Secret is the
    cluster's business.
    """
    home = stack.layout.directory
    ours = [home / "dapr", home / "redis", home / "log", home / "k1" / "volumes", home / "k1" / "pod-logs"]
    return [*ours, _SHARED_MEMORY, Path("/tmp")]  # noqa: S108 - looked at, not written


def files_with(directories: Iterable[Path], words: list[bytes], since: float) -> Iterator[Path]:
    """Those that hold one of the words and were written since a time; whatever goes meanwhile is left out."""
    for directory in directories:
        for folder, _, names in os.walk(directory):
            for name in names:
                path = Path(folder, name)
                with suppress(OSError):
                    if _was_written(path, since) and _holds(path, words):
                        yield path


def _was_written(path: Path, since: float) -> bool:
    status = path.lstat()
    return stat.S_ISREG(status.st_mode) and status.st_size > 0 and status.st_mtime >= since


def _holds(path: Path, words: list[bytes]) -> bool:
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return any(content.find(word) >= 0 for word in words)


class Watch:
    """Looks at processes, Jobs and temporary files all the time, while it is open."""

    def __init__(self, stack: Stack, canaries: list[bytes]) -> None:
        self._stack = stack
        self._canaries = canaries
        self._closing = threading.Event()
        looks = ((0.01, self._processes), (0.5, self._objects), (0.1, self._files))
        self._threads = [threading.Thread(target=self._repeat, args=look) for look in looks]
        self.found: set[str] = set()
        self.seen: set[str] = set()
        """What shows that it looked at the right things: engines in pods, Jobs."""
        self.private: set[tuple[str, int]] = set()
        """(name, mode) of the files with a canary in a playbook's private directory."""

    def __enter__(self) -> Self:
        """Begin."""
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        """End."""
        self._closing.set()
        for thread in self._threads:
            thread.join()

    def _repeat(self, pause: float, look: Callable[[], None]) -> None:
        while not self._closing.wait(pause):
            look()

    def _processes(self) -> None:
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            with suppress(OSError):
                self._note(path.read_bytes(), "a process's arguments", b"/budeval")

    def _objects(self) -> None:
        listed = self._stack.kubectl(1, "get", "jobs,pods,configmaps", "-n", "budeval", "-o", "yaml")
        self._note(listed.encode(), "a Job, pod or ConfigMap", b"OPENAI_API_KEY")

    def _note(self, text: bytes, where: str, sign: bytes) -> None:
        if any(canary in text for canary in self._canaries):
            self.found.add(where)
        if sign in text:
            self.seen.add(where)

    def _files(self) -> None:
        for path in files_with([temporary(self._stack), _SHARED_MEMORY], self._canaries, since=0):
            with suppress(OSError):
                self._note_file(path, stat.S_IMODE(path.stat().st_mode))

    def _note_file(self, path: Path, mode: int) -> None:
        parent = path.parent
        # Until it is held by the service a private directory has a dot before its name.
        if (
            parent.name.lstrip(".").startswith(_PRIVATE)
            and stat.S_IMODE(parent.stat().st_mode) == stat.S_IRWXU
        ):
            self.private.add((path.name, mode))
        else:
            self.found.add(f"the file {path}")
