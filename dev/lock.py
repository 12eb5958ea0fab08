"""Let one command at a time change a thing that several may want to change."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dev import console


@contextmanager
def held(path: Path, who: str) -> Iterator[None]:
    """Hold the lock of that file; it goes with the process, however that ends.

    Args:
        path: the lock file; made where it is missing.
        who: whom this command may have to wait for ("another command that changes …").
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            with console.step(f"waiting for {who}"):
                fcntl.flock(handle, fcntl.LOCK_EX)
        yield
