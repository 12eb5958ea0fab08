"""Artifacts in a directory of this machine, or of a volume that is mounted.

A run is made in a hidden place beside the others, flushed to the disk, and renamed: it is there as a whole or
not at all, also after a loss of power.
"""

import errno
import os
import shutil
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from budeval.errors import ArtifactError
from budeval.scoring.artifacts.names import Artifact
from budeval.scoring.artifacts.run_ids import RUN_ID, checked

_STAGING = ".staging"
_ABANDONED_SECONDS = 3600.0
"""After which nobody goes on with what lies in the hidden place."""


class DirectoryArtifacts:
    """`ArtifactStore` in a directory, which is made with the first run."""

    def __init__(self, root: str) -> None:
        self._root = Path(root)
        self._staging = self._root / _STAGING

    def commit(self, run_id: str, files: Mapping[Artifact, bytes]) -> None:
        """See `ArtifactStore`."""
        checked(run_id)
        with _told(f"run {run_id} cannot be written"):
            made = self._staged(run_id)
            try:
                self._sweep()
                _make(made, files)
                self._put(made, run_id, files[Artifact.METADATA])
                _flush_directory(self._root)
            finally:
                shutil.rmtree(made, ignore_errors=True)

    def add(self, run_id: str, name: Artifact, content: bytes) -> None:
        """See `ArtifactStore`."""
        place = self._root / checked(run_id)
        with _told(f"{name} of run {run_id} cannot be written"):
            made = self._staged(run_id)
            try:
                _write(made, content)
                made.replace(place / name)
                _flush_directory(place)
            finally:
                made.unlink(missing_ok=True)

    def sizes(self, run_id: str) -> dict[Artifact, int] | None:
        """See `ArtifactStore`."""
        with _told(f"run {run_id} cannot be read"):
            if not self._is_there(run_id):
                return None
            paths = {name: self._root / run_id / name for name in Artifact}
            return {name: path.stat().st_size for name, path in paths.items() if path.is_file()}

    def open(self, run_id: str, name: Artifact) -> BinaryIO | None:
        """See `ArtifactStore`."""
        with _told(f"{name} of run {run_id} cannot be read"):
            if not self._is_there(run_id):
                return None
            try:
                return (self._root / run_id / name).open("rb")
            except FileNotFoundError:
                return None

    def remove(self, run_id: str) -> None:
        """See `ArtifactStore`."""
        checked(run_id)
        with _told(f"run {run_id} cannot be removed"):
            self._withdraw(run_id)

    def _is_there(self, run_id: str) -> bool:
        return bool(RUN_ID.fullmatch(run_id)) and (self._root / run_id / Artifact.METADATA).is_file()

    def _put(self, made: Path, run_id: str, metadata: bytes) -> None:
        """Into its place. What is there already stays if it is the same, and goes if it is another."""
        place = self._root / run_id
        if _moved(made, place) or _content(place / Artifact.METADATA) == metadata:
            return
        self._withdraw(run_id)
        made.rename(place)

    def _withdraw(self, run_id: str) -> None:
        """Take away what is in a run's place; at once, so that nobody sees half of it."""
        old = self._staged(run_id)
        try:
            (self._root / run_id).rename(old)
        except FileNotFoundError:
            return
        shutil.rmtree(old)

    def _staged(self, run_id: str) -> Path:
        """A path of its own in the hidden place: two may write the same run at the same time."""
        self._staging.mkdir(parents=True, exist_ok=True)
        return self._staging / f"{run_id}.{uuid.uuid4().hex}"

    def _sweep(self) -> None:
        """Remove what writers that were killed have left in the hidden place."""
        for left in self._staging.iterdir():
            if _age(left) > _ABANDONED_SECONDS:
                shutil.rmtree(left, ignore_errors=True)
                left.unlink(missing_ok=True)


def _make(directory: Path, files: Mapping[Artifact, bytes]) -> None:
    """A directory with these files, on the disk when this returns."""
    directory.mkdir()
    for name in sorted(files, key=lambda name: name is Artifact.METADATA):
        _write(directory / name, files[name])
    _flush_directory(directory)


def _moved(directory: Path, place: Path) -> bool:
    """Rename it, unless something is in that place."""
    try:
        directory.rename(place)
    except OSError as error:
        if error.errno in {errno.ENOTEMPTY, errno.EEXIST}:
            return False
        raise
    return True


def _write(path: Path, content: bytes) -> None:
    with path.open("xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _flush_directory(path: Path) -> None:
    """Names in a directory are on the disk when this returns."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _content(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def _age(path: Path) -> float:
    """Seconds since it was changed; 0 where it is gone."""
    try:
        return time.time() - path.stat().st_mtime
    except FileNotFoundError:
        return 0.0


@contextmanager
def _told(what: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ArtifactError(f"{what}: {error.strerror or error}") from error
