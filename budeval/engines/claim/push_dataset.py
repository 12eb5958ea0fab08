"""Write a part of a dataset's file to the shared volume; with the last part, put the file in its place.

A program of its own, in a pod that sees the datasets of one tenant. Environment: DATASETS_ROOT; ORDER_FILE,
JSON of {path, bytes, sha256, offset, replace, pieces}: of the whole file, but for `offset`, which is where
the part begins in it, and `pieces`, the files beside this one that are the part, gzipped.

Prints a frame `push` with {state, received}: how many bytes of the file are there, and what became of it:

- `partial`: not all of it is there. The next part begins at `received`, wherever this one began.
- `stored`: it is in its place, whole, and has its digest.
- `unchanged`: it was there before.
- `taken`: something else is there (`reason`), and stays.
- `corrupt`: all is there and has another digest. It was removed.
- `failed`: the volume could not be written (`reason`).

Parts gather in a hidden file whose name comes from path and digest: two files that are pushed to one path
do not mix, and a push that was cut off goes on where it was. One program at a time: a lock makes others wait.
"""

from __future__ import annotations

import fcntl
import gzip
import hashlib
import io
import json
import os
import sys
import time
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from budeval.engines.claim.frame import framed
from budeval.engines.claim.tree import BLOCK, DIRECTORY, digest_of, directory_of, is_file, opened

UNFINISHED = ".budeval"
"""Directory of what is not whole yet. Hidden, so no request can name what is in it."""
FORGOTTEN_SECONDS = 7 * 24 * 3600
"""After which nobody is expected to go on with an unfinished file."""

Answer = dict[str, Any]


class Order(NamedTuple):
    """What is to be pushed."""

    path: str
    bytes: int
    sha256: str
    offset: int
    replace: bool
    pieces: list[str]

    @property
    def unfinished(self) -> str:
        """Name of the file that gathers the parts."""
        return hashlib.sha256(f"{self.path}\n{self.sha256}".encode()).hexdigest()[:32] + ".part"


def main(environment: Mapping[str, str]) -> int:
    """Push one part. May be repeated."""
    file = Path(environment["ORDER_FILE"])
    order = Order(**json.loads(file.read_text()))
    part = b"".join((file.parent / piece).read_bytes() for piece in order.pieces)
    try:
        answer = push(environment["DATASETS_ROOT"], order, part)
    except (OSError, EOFError, zlib.error) as error:
        answer = {"state": "failed", "received": 0, "reason": str(error)}
    print(framed("push", answer))
    return 0


def push(root: str, order: Order, part: bytes) -> Answer:
    """What became of it.

    Raises:
        OSError: the volume, or the part, is not as it should be.
    """
    with opened(root, DIRECTORY) as top, _unfinished(top) as gathered, _alone(gathered):
        _forget_old(gathered)
        there = _there(top, order)
        if there:
            if there["state"] == "unchanged":
                _remove(order.unfinished, gathered)
            return there
        with opened(order.unfinished, os.O_RDWR | os.O_CREAT, gathered) as file:
            received = _write(file, order, part)
            if received < order.bytes:
                return {"state": "partial", "received": received}
            right = received == order.bytes and digest_of(file) == order.sha256
        if not right:
            _remove(order.unfinished, gathered)
            return {"state": "corrupt", "received": 0}
        _put_in_place(top, gathered, order)
        return {"state": "stored", "received": received}


@contextmanager
def _unfinished(top: int) -> Iterator[int]:
    with directory_of(f"{UNFINISHED}/-", top, make=True) as directory:
        yield directory


@contextmanager
def _alone(gathered: int) -> Iterator[None]:
    # A file and not the directory: NFS locks only what is open for writing.
    with opened("lock", os.O_RDWR | os.O_CREAT, gathered) as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _forget_old(gathered: int) -> None:
    for name in os.listdir(gathered):
        changed = os.stat(name, dir_fd=gathered, follow_symlinks=False).st_mtime
        if name.endswith(".part") and changed < time.time() - FORGOTTEN_SECONDS:
            _remove(name, gathered)


def _remove(name: str, above: int) -> None:
    try:
        os.unlink(name, dir_fd=above)
    except FileNotFoundError:
        return


def _there(top: int, order: Order) -> Answer | None:
    """What is in the file's place and stays there; None where the file can be put there."""
    try:
        with directory_of(order.path, top) as directory:
            name = order.path.rpartition("/")[2]
            found = os.stat(name, dir_fd=directory, follow_symlinks=False)
            if not is_file(found):
                return _taken("a directory, a link or a device has this name")
            with opened(name, os.O_RDONLY, directory) as file:
                if found.st_size == order.bytes and digest_of(file) == order.sha256:
                    return {"state": "unchanged", "received": order.bytes}
    except FileNotFoundError:
        return None
    except OSError as error:
        return _taken(f"it cannot be looked at: {error.strerror}")
    return None if order.replace else _taken(f"another file of {found.st_size} bytes has this name")


def _taken(reason: str) -> Answer:
    return {"state": "taken", "received": 0, "reason": reason}


def _write(file: int, order: Order, part: bytes) -> int:
    """Bytes that are there afterwards. A part that would leave a gap is not written."""
    there = os.fstat(file).st_size
    if order.offset > there:
        return there
    at = order.offset
    with gzip.open(io.BytesIO(part)) as unpacked:
        for block in iter(lambda: unpacked.read(BLOCK), b""):
            # More than was announced is not kept: the digest could not be right.
            kept = block[: max(0, order.bytes - at)]
            _write_all(file, kept, at)
            at += len(block)
    os.fsync(file)
    return max(there, at)


def _write_all(file: int, block: bytes, at: int) -> None:
    while block:
        written = os.pwrite(file, block, at)
        block, at = block[written:], at + written


def _put_in_place(top: int, gathered: int, order: Order) -> None:
    with directory_of(order.path, top, make=True) as directory:
        name = order.path.rpartition("/")[2]
        os.rename(order.unfinished, name, src_dir_fd=gathered, dst_dir_fd=directory)
        os.fsync(directory)


if __name__ == "__main__":
    sys.exit(main(os.environ))
