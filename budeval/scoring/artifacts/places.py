"""Where the artifacts of runs lie: a directory, or a prefix of an object store, by one URL."""

import re
from collections.abc import Mapping
from typing import BinaryIO, Protocol

from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem

from budeval.errors import ArtifactError
from budeval.scoring.artifacts.directory import DirectoryArtifacts
from budeval.scoring.artifacts.names import Artifact
from budeval.scoring.artifacts.objects import ObjectArtifacts


class ArtifactStore(Protocol):
    """Keeps the files of runs. A run is there once its metadata are; before that nobody is shown any of it.

    Run ids are `run_ids.RUN_ID`; others are those of no run. What goes wrong is an ArtifactError.
    """

    def commit(self, run_id: str, files: Mapping[Artifact, bytes]) -> None:
        """Write a run, its metadata last; replace one with other metadata, and its advice with it.

        May be repeated, and cut off anywhere: then the run is there as before, or not at all.
        """

    def add(self, run_id: str, name: Artifact, content: bytes) -> None:
        """Write a further file of a run that is there, at once or not at all."""

    def sizes(self, run_id: str) -> dict[Artifact, int] | None:
        """The files that a run has, in bytes; None where there is no such run."""

    def open(self, run_id: str, name: Artifact) -> BinaryIO | None:
        """A file of a run, to be closed; None where there is no such run, or no such file yet."""

    def remove(self, run_id: str) -> None:
        """Delete a run, also one that is there in part. May be repeated."""


def artifact_store(url: str) -> ArtifactStore:
    """The store behind a path, or behind a URL that fsspec knows, as `s3://bucket/runs`.

    Raises:
        ArtifactError: ARTIFACTS_URL_INVALID: fsspec does not know it, or lacks the package for it.
    """
    try:
        # Without its cache of listings: other processes write there, too.
        filesystem, root = url_to_fs(url, use_listings_cache=False)
    except (ImportError, ValueError) as error:
        text = f"The artifacts cannot be kept at {_scheme(url)}: {error}"
        raise ArtifactError(text, code="ARTIFACTS_URL_INVALID") from error
    if isinstance(filesystem, LocalFileSystem):
        return DirectoryArtifacts(root)
    return ObjectArtifacts(filesystem, root)


def _scheme(url: str) -> str:
    """Of a URL that may hold credentials."""
    found = re.match(r"[a-z0-9+.-]+(::|://)", url)
    return f"{found[0]}…" if found else repr(url)
