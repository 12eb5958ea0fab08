"""Which files a run may have. No other name is ever opened."""

from enum import StrEnum
from pathlib import PurePath


class Artifact(StrEnum):
    """A file of a run."""

    SCENARIO = "scenario.snapshot.yaml"
    """What was asked for."""
    DATASET = "dataset.jsonl"
    """The samples as they were scored, a line each."""
    SCORES_CSV = "scores.csv"
    """A row for each sample, for spreadsheets."""
    INVALID_CSV = "invalid.csv"
    """Lines that were no sample."""
    SUMMARY = "summary.md"
    """Means and scores, for people."""
    SCORES = "scores.json"
    """Every outcome, for programs."""
    EVIDENCE = "evidence.json"
    """What each value rests on."""
    MANIFEST = "manifest.json"
    """Size and SHA-256 of each file but itself and the advice."""
    METADATA = "metadata.json"
    """Written last: where it is, the run is whole."""
    ADVICE = "optimization_advice.md"
    """What to change; comes after the others."""

    @property
    def media_type(self) -> str:
        """As in a Content-Type."""
        return _MEDIA_TYPES[PurePath(self).suffix]


_MEDIA_TYPES = {
    ".csv": "text/csv; charset=utf-8",
    ".json": "application/json",
    ".jsonl": "application/x-ndjson",
    ".md": "text/markdown; charset=utf-8",
    ".yaml": "application/yaml",
}
