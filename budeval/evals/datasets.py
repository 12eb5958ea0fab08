"""Datasets on the claim: files are pushed part by part, each by a Job, and listed by one."""

import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

from budeval.config import Settings
from budeval.domain.datasets import PART_LIMIT, DatasetPlace, PushState
from budeval.errors import ClusterError, RequestError
from budeval.evals.ansible_orchestrator import AnsibleOrchestrator
from budeval.evals.answers import ClaimFile, ClaimFiles, PushedPart
from budeval.evals.clusters import Clusters
from budeval.evals.schema import DatasetPart

_WAITING = 4
"""Requests at once, of which one runs. Each holds a thread of the API for seconds: more are refused."""
_BLOCK = 1024 * 1024


class Datasets:
    """The files below the tenants' directories on claims."""

    def __init__(self, settings: Settings, clusters: Clusters, orchestrator: AnsibleOrchestrator) -> None:
        self._settings = settings
        self._clusters = clusters
        self._orchestrator = orchestrator
        self._room = threading.BoundedSemaphore(_WAITING)

    def push(self, part: DatasetPart, tenant: str) -> PushedPart:
        """Write a part. May be repeated; the answer says where the next one begins.

        Raises:
            RequestError: DATASET_TOO_LARGE, REQUEST_TOO_LARGE (413); the part is not of such a file (422);
                DATASET_EXISTS (409); DATASET_CORRUPT (422): all has come and is another file; DATA_BUSY
                (429).
            ClusterError: the Job did not run, or could not write (DATASET_JOB_FAILED).
        """
        _check(part, self._settings.max_dataset_bytes)
        place = self._place(part.cluster, part.namespace, part.claim, tenant)
        order = part.model_dump(include={"path", "bytes", "sha256", "offset", "replace"})
        with self._turn():
            done = self._orchestrator.push_dataset(place, order, part.data)
        _refuse(done, part, place)
        return PushedPart(
            path=part.path,
            state=PushState(done["state"]),
            received=done["received"],
            bytes=part.bytes,
            sha256=part.sha256,
        )

    def files(self, cluster: str | None, namespace: str | None, claim: str | None, tenant: str) -> ClaimFiles:
        """What is there, by path.

        Raises:
            RequestError: DATA_BUSY (429).
            ClusterError: the Job did not run.
        """
        place = self._place(cluster, namespace, claim, tenant)
        with self._turn():
            found = self._orchestrator.list_datasets(place)
        files = [ClaimFile.model_validate(file) for file in found["files"]]
        return ClaimFiles(
            cluster=place.target.cluster,
            namespace=place.target.namespace,
            claim=place.claim,
            files=sorted(files, key=lambda file: file.path),
            truncated=found["truncated"],
        )

    def _place(
        self, cluster: str | None, namespace: str | None, claim: str | None, tenant: str
    ) -> DatasetPlace:
        target = self._clusters.target(cluster, namespace, self._settings)
        return DatasetPlace(target=target, claim=claim or self._settings.storage.claim, tenant=tenant)

    @contextmanager
    def _turn(self) -> Iterator[None]:
        if not self._room.acquire(blocking=False):
            text = "Other files are being pushed or listed. Try again in some seconds."
            raise RequestError(text, status=429, code="DATA_BUSY")
        try:
            yield
        finally:
            self._room.release()


def _check(part: DatasetPart, most: int) -> None:
    """Before a Job is made for it: a part that cannot be of the file is never written."""
    if part.bytes > most:
        text = f"The file has {part.bytes} bytes; {most} are allowed (BUDEVAL_MAX_DATASET_BYTES)."
        advice = "Copy it onto the claim by other means."
        raise RequestError(f"{text} {advice}", status=413, code="DATASET_TOO_LARGE", param="bytes")
    if len(part.data) > PART_LIMIT:
        text = f"The part has {len(part.data)} bytes, {PART_LIMIT} are allowed. Send a smaller one."
        raise RequestError(text, status=413, code="REQUEST_TOO_LARGE", param="data")
    if part.offset >= part.bytes:
        raise RequestError("offset: is beyond the file", status=422, param="offset")
    room = part.bytes - part.offset
    if not 0 < _unpacked_size(part.data, room) <= room:
        text = f"data: must be of 1 to {room} bytes, gzipped: so many are there from the offset on"
        raise RequestError(text, status=422, param="data")


def _unpacked_size(packed: bytes, most: int) -> int:
    """Bytes that are in one gzip member; 0 where it is none. Counted to a little more than `most`."""
    unpacker = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
    size = 0
    try:
        while not unpacker.eof and size <= most:
            block = unpacker.decompress(packed, _BLOCK)
            packed = unpacker.unconsumed_tail
            if not block and not packed:
                return 0  # it is torn
            size += len(block)
    except zlib.error:
        return 0
    return 0 if unpacker.unused_data else size


def _refuse(done: dict[str, str], part: DatasetPart, place: DatasetPlace) -> None:
    """Raise what the program at the claim has not done."""
    where, reason = f"{place.directory}/{part.path} of claim {place.claim}", done.get("reason", "")
    if done["state"] == "taken":
        advice = "Take another path, or replace it if it is a file (`replace`, `--replace`)."
        text = f"{where} is taken: {reason}. {advice}"
        raise RequestError(text, status=409, code="DATASET_EXISTS", param="path")
    if done["state"] == "corrupt":
        text = "The bytes that came do not have this digest: the file was changed meanwhile. Push it again."
        raise RequestError(text, status=422, code="DATASET_CORRUPT", param="sha256")
    if done["state"] == "failed":
        advice = "The directory must be writable for user or group 10001, and the volume not full."
        text = f"{where} could not be written: {reason}. {advice}"
        raise ClusterError(text, code="DATASET_JOB_FAILED", retryable=False)
