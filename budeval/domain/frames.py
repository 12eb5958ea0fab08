"""The framing in which the documents of a program of ours pass through a container's log.

A frame is a line `BUDEVAL1 <run id> <bytes> <sha256> <base64(zlib(json))>`; length and digest are those of
the JSON. The last frame has `-` for the run id and says how many came before it. A log may lose its end, hold
lines twice or carry those of others, and whoever wrote it is not trusted: a result counts only if it is
whole.
"""

import base64
import hashlib
import json
import math
import re
import zlib
from collections.abc import Collection
from typing import Any, NoReturn

from budeval.errors import ClusterError

MAX_DOCUMENT = 64 * 1024 * 1024
"""Bytes of one document, unpacked."""

_MARK = "BUDEVAL1 "
_FRAME = re.compile(r"BUDEVAL1 (\S{1,128}) ([0-9]{1,10}) ([0-9a-f]{64}) ([A-Za-z0-9+/]+={0,2})")
_CLOSING = "-"


def decode(log: str, run_ids: Collection[str]) -> dict[str, dict[str, Any]]:
    """The document of each run.

    Lines that are no frames are ignored; a frame may be repeated as long as it says the same.

    Args:
        log: the container's whole log.
        run_ids: the runs that were asked for.

    Raises:
        ClusterError: `LOG_CORRUPT`, retryable; the log does not hold exactly one whole document for each run.
    """
    digests: dict[str, str] = {}
    documents: dict[str, dict[str, Any]] = {}
    for line in log.split("\n"):
        if not line.startswith(_MARK):
            continue
        name, digest, document = _frame(line.rstrip("\r"))
        if digests.setdefault(name, digest) != digest:
            _refuse(f"{_called(name)} is there twice with different content")
        documents[name] = document
    closing = documents.pop(_CLOSING, None)
    _check_count(closing, len(documents))
    _check_names(documents, set(run_ids))
    return documents


def _frame(line: str) -> tuple[str, str, dict[str, Any]]:
    """Name, digest and document of one frame."""
    match = _FRAME.fullmatch(line)
    if not match:
        _refuse(f"a frame is torn: it begins with {line[:60]!r}")
    name, size, digest, packed = match.groups()
    raw = _unpacked(name, int(size), packed)
    if hashlib.sha256(raw).hexdigest() != digest:
        _refuse(f"the digest of {_called(name)} differs")
    try:
        document = json.loads(raw, parse_constant=_finite, parse_float=_finite)
    except (ValueError, RecursionError):
        _refuse(f"{_called(name)} is not JSON")
    if not isinstance(document, dict):
        _refuse(f"{_called(name)} is not a JSON object")
    return name, digest, document


def _unpacked(name: str, size: int, packed: str) -> bytes:
    """The document's bytes. Never more than were announced and are allowed, whatever the data expand to."""
    if size > MAX_DOCUMENT:
        _refuse(f"{_called(name)} has {size} bytes, {MAX_DOCUMENT} are allowed")
    unpacker = zlib.decompressobj()
    try:
        raw = unpacker.decompress(base64.b64decode(packed, validate=True), size + 1)
    except (ValueError, zlib.error):
        _refuse(f"{_called(name)} cannot be unpacked")
    if len(raw) != size or not unpacker.eof:
        _refuse(f"the length of {_called(name)} differs")
    return raw


def _check_count(closing: dict[str, Any] | None, found: int) -> None:
    if closing is None:
        _refuse("there is no closing frame, so the log is not whole")
    if closing.get("count") != found:
        _refuse(f"the closing frame counts {closing.get('count')!r} runs, there are {found}")


def _check_names(documents: dict[str, dict[str, Any]], run_ids: set[str]) -> None:
    missing = sorted(run_ids - documents.keys())
    if missing:
        _refuse(f"{_called(missing[0])} is missing")
    surplus = sorted(documents.keys() - run_ids)
    if surplus:
        _refuse(f"{_called(surplus[0])} was not asked for")
    for name, document in documents.items():
        if document.get("run_id") != name:
            _refuse(f"{_called(name)} holds the document of {document.get('run_id')!r}")


def _called(name: str) -> str:
    return "the closing frame" if name == _CLOSING else f"run {name}"


def _finite(text: str) -> float:
    """The number; NaN and Infinity, also as `1e999`, are none that can be stored."""
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(text)
    return number


def _refuse(what: str) -> NoReturn:
    text = f"The program's log cannot be used: {what}."
    raise ClusterError(text, code="LOG_CORRUPT", retryable=True)
