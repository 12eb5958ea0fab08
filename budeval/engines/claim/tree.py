"""The directory of datasets on the shared volume, walked without ever following a link.

Every step is taken from an open directory, so nothing that is exchanged for a link meanwhile leads elsewhere.
"""

from __future__ import annotations

import hashlib
import math
import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager

DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
BLOCK = 1024 * 1024


@contextmanager
def opened(name: str, flags: int, above: int | None = None) -> Iterator[int]:
    """A file or directory as a descriptor; `above` is that of the directory that it is in."""
    descriptor = os.open(name, flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644, dir_fd=above)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def directory_of(path: str, top: int, *, make: bool = False) -> Iterator[int]:
    """The open directory that a path below `top` is in.

    Raises:
        FileNotFoundError: there is none, and none was to be made.
        OSError: ENOTDIR, ELOOP: something that is no directory, or a link, is in the way.
    """
    here = os.dup(top)
    try:
        for name in path.split("/")[:-1]:
            if make:
                _make(name, here)
            below = os.open(name, DIRECTORY, dir_fd=here)
            os.close(here)
            here = below
        yield here
    finally:
        os.close(here)


def _make(name: str, above: int) -> None:
    try:
        os.mkdir(name, 0o775, dir_fd=above)
    except FileExistsError:
        return  # what it is, is found out by opening it
    os.fsync(above)


def is_file(found: os.stat_result) -> bool:
    """Whether it is a file, and no link, directory or device."""
    return stat.S_ISREG(found.st_mode)


def digest_of(file: int, until: float = math.inf) -> str | None:
    """SHA-256 of an open file, in hex; None where the monotonic clock has come to `until` before its end."""
    digest = hashlib.sha256()
    at = 0
    while time.monotonic() < until:
        block = os.pread(file, BLOCK, at)
        if not block:
            return digest.hexdigest()
        digest.update(block)
        at += len(block)
    return None
