"""Artifacts in an object store, through fsspec.

Such a store has no rename, but each object is there whole or not at all: so a run is there with its last
object, the metadata. It is the first to go where a run is replaced.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, BinaryIO

from budeval.errors import ArtifactError
from budeval.scoring.artifacts.names import Artifact
from budeval.scoring.artifacts.run_ids import RUN_ID, checked

_SAID = 300


class ObjectArtifacts:
    """`ArtifactStore` below a prefix of a filesystem of fsspec whose writes are atomic."""

    def __init__(self, filesystem: Any, root: str) -> None:
        """`filesystem` is an `fsspec.AbstractFileSystem` that keeps no listings."""
        self._filesystem = filesystem
        self._root = root.rstrip("/")

    def commit(self, run_id: str, files: Mapping[Artifact, bytes]) -> None:
        """See `ArtifactStore`."""
        checked(run_id)
        with _told(f"run {run_id} cannot be written"):
            if self._content(run_id, Artifact.METADATA) == files[Artifact.METADATA]:
                return
            self._withdraw(run_id)
            for name in sorted(files, key=lambda name: name is Artifact.METADATA):
                self._filesystem.pipe_file(self._path(run_id, name), files[name])

    def add(self, run_id: str, name: Artifact, content: bytes) -> None:
        """See `ArtifactStore`."""
        checked(run_id)
        with _told(f"{name} of run {run_id} cannot be written"):
            if not self._is_there(run_id):
                raise FileNotFoundError("there is no such run")
            self._filesystem.pipe_file(self._path(run_id, name), content)

    def sizes(self, run_id: str) -> dict[Artifact, int] | None:
        """See `ArtifactStore`."""
        with _told(f"run {run_id} cannot be read"):
            if not self._is_there(run_id):
                return None
            listed = self._filesystem.ls(f"{self._root}/{run_id}", detail=True)
            found = {entry["name"].rpartition("/")[2]: entry["size"] for entry in listed}
            return {name: int(found[name]) for name in Artifact if name in found}

    def open(self, run_id: str, name: Artifact) -> BinaryIO | None:
        """See `ArtifactStore`."""
        with _told(f"{name} of run {run_id} cannot be read"):
            if not self._is_there(run_id):
                return None
            try:
                opened: BinaryIO = self._filesystem.open(self._path(run_id, name), "rb")
            except FileNotFoundError:
                return None
            return opened

    def remove(self, run_id: str) -> None:
        """See `ArtifactStore`."""
        checked(run_id)
        with _told(f"run {run_id} cannot be removed"):
            self._withdraw(run_id)

    def _withdraw(self, run_id: str) -> None:
        for name in sorted(Artifact, key=lambda name: name is not Artifact.METADATA):
            path = self._path(run_id, name)
            if self._filesystem.exists(path):
                self._filesystem.rm_file(path)

    def _is_there(self, run_id: str) -> bool:
        named = RUN_ID.fullmatch(run_id)
        return bool(named and self._filesystem.exists(self._path(run_id, Artifact.METADATA)))

    def _content(self, run_id: str, name: Artifact) -> bytes | None:
        try:
            content: bytes = self._filesystem.cat_file(self._path(run_id, name))
        except FileNotFoundError:
            return None
        return content

    def _path(self, run_id: str, name: Artifact) -> str:
        return f"{self._root}/{run_id}/{name}"


@contextmanager
def _told(what: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        # Each of fsspec's filesystems has failures of its own.
        raise ArtifactError(f"{what}: {type(error).__name__} {error}"[:_SAID]) from error
