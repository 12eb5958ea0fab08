"""Writing the artifacts of a run."""

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from budeval.domain.score_run import ScoreRun
from budeval.domain.score_summary import summary_of
from budeval.scoring.artifacts import documents, tables
from budeval.scoring.artifacts.encoding import json_document, utf8
from budeval.scoring.artifacts.names import Artifact
from budeval.scoring.artifacts.places import ArtifactStore
from budeval.scoring.artifacts.summary import summary_page


@dataclass(frozen=True)
class ManifestEntry:
    """A file of a run."""

    name: Artifact
    media_type: str
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """The files of a run, but the manifest itself and the advice, which comes later."""

    run_id: str
    files: tuple[ManifestEntry, ...]


def write_artifacts(run: ScoreRun, store: ArtifactStore, *, advised: bool = True) -> Manifest:
    """Write all files of a run, the metadata last. The same run gives the same bytes; may be repeated.

    Args:
        run: with its scores.
        store: where to.
        advised: whether advice will follow, which the scenario tells.

    Raises:
        ArtifactError: they could not be written, or not all: then the run is not there.
    """
    files = _rendered(run, advised=advised)
    manifest = _manifest(run.run_id, files)
    # The last but one, as the metadata say that the run is there.
    metadata = files.pop(Artifact.METADATA)
    all_of_them = {**files, Artifact.MANIFEST: json_document(asdict(manifest)), Artifact.METADATA: metadata}
    store.commit(run.run_id, all_of_them)
    return manifest


def write_advice(run_id: str, page: str, store: ArtifactStore) -> None:
    """Write what the advisor says of a run that is there. May be repeated.

    Raises:
        ArtifactError: it could not be written, or there is no such run.
    """
    store.add(run_id, Artifact.ADVICE, utf8(page))


def _rendered(run: ScoreRun, *, advised: bool) -> dict[Artifact, bytes]:
    summary = summary_of(run)
    files = {
        Artifact.SCENARIO: documents.scenario(run, advised=advised),
        Artifact.DATASET: documents.dataset(run),
        Artifact.SCORES_CSV: tables.scores_table(run),
        Artifact.INVALID_CSV: tables.invalid_table(run),
        Artifact.SUMMARY: summary_page(run, summary),
        Artifact.SCORES: documents.scores(run, summary),
        Artifact.EVIDENCE: documents.evidence(run),
    }
    return {**files, Artifact.METADATA: documents.metadata(run, summary, files)}


def _manifest(run_id: str, files: Mapping[Artifact, bytes]) -> Manifest:
    return Manifest(run_id, tuple(_entry(name, content) for name, content in files.items()))


def _entry(name: Artifact, content: bytes) -> ManifestEntry:
    return ManifestEntry(name, name.media_type, len(content), hashlib.sha256(content).hexdigest())
