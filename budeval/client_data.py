"""Pushing a whole file to the claim, part by part. May be interrupted and begun again at any time."""

import base64
import hashlib
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from budeval.client import BudevalClient
from budeval.domain.datasets import PART_LIMIT, PushState
from budeval.errors import BudevalError, RequestError
from budeval.evals.answers import PushedPart

_BLOCK = 64 * 1024
_GZIP = zlib.MAX_WBITS | 16
_TRIES = 5
_PAUSE_SECONDS = 3.0
_PASSES = {
    "SERVICE_UNREACHABLE",
    "DATA_BUSY",
    "CLUSTER_UNREACHABLE",
    "API_TIMEOUT",
    "RUNNER_CRASH",
    "QUOTA_EXCEEDED",
    "LOG_CORRUPT",
}
"""Codes of what may be over at the next try."""

OnProgress = Callable[[int], None]
"""Bytes of the file that are on the claim."""


class LocalFile(NamedTuple):
    """A file that is to be pushed."""

    file: Path
    bytes: int
    sha256: str


def measured(file: Path) -> LocalFile:
    """Read it once, for its size and digest.

    Raises:
        RequestError: it cannot be read, or is empty.
    """
    digest, size = hashlib.sha256(), 0
    try:
        with file.open("rb") as source:
            while block := source.read(_BLOCK):
                digest.update(block)
                size += len(block)
    except OSError as error:
        raise RequestError(f"{file} cannot be read: {error.strerror}.", param="FILE") from error
    if not size:
        raise RequestError(f"{file} is empty.", param="FILE")
    return LocalFile(file, size, digest.hexdigest())


def push_file(
    client: BudevalClient,
    local: LocalFile,
    path: str,
    on_progress: OnProgress = lambda _bytes: None,
    **more: Any,
) -> PushedPart:
    """Push a file. What is there from a push that was cut off is not sent again.

    Args:
        client: of the service.
        local: the file, as `measured` found it.
        path: below the tenant's datasets on the claim.
        on_progress: told after each part.
        more: `replace`, `cluster`, `namespace`, `claim` of each part.

    Raises:
        ApiError: the service refuses it.
        ServiceUnreachableError: no answer, five times.
        RequestError: the file cannot be read any more.
    """
    whole = {"path": path, "bytes": local.bytes, "sha256": local.sha256, **more}
    offset, lost = 0, 0
    with local.file.open("rb") as source:
        while True:
            data = packed_part(source, offset)
            part = {**whole, "offset": offset, "data": base64.b64encode(data).decode()}
            done = _patiently(lambda: client.push_part(part))  # noqa: B023 - called at once
            on_progress(done.received)
            if done.state is not PushState.PARTIAL:
                return done
            lost += done.received <= offset
            if lost > _TRIES:
                raise RequestError("Somebody takes away what was pushed: it comes to no end.", param="FILE")
            offset = done.received


def packed_part(source: BinaryIO, offset: int) -> bytes:
    """As much of a file from an offset on as fits into a part, gzipped.

    Raises:
        RequestError: there is nothing at that offset any more.
    """
    source.seek(offset)
    packer = zlib.compressobj(wbits=_GZIP)
    packed = b""
    # A block that does not shrink grows by less than a thousandth.
    while len(packed) < PART_LIMIT - _BLOCK - 1024:
        block = source.read(_BLOCK)
        if not block:
            break
        packed += packer.compress(block) + packer.flush(zlib.Z_SYNC_FLUSH)
    if not packed:
        raise RequestError("The file has become shorter: push it again.", param="FILE")
    return packed + packer.flush()


def _patiently(call: Callable[[], PushedPart]) -> PushedPart:
    """The same part may be sent again; what passes is awaited."""
    for _ in range(_TRIES - 1):
        try:
            return call()
        except BudevalError as error:
            if error.code not in _PASSES:
                raise
        time.sleep(_PAUSE_SECONDS)
    return call()
