"""What a rule has found, as the page shows it and a model is told."""

from dataclasses import dataclass
from enum import StrEnum


class Area(StrEnum):
    """Where to change something."""

    RETRIEVAL = "retrieval"
    CHUNKING = "chunking"
    PROMPT = "prompt"
    MODEL = "model"
    CORPUS = "corpus"
    GROUND_TRUTH = "ground truth"
    INPUTS = "inputs"
    JUDGE = "judge"


class Severity(StrEnum):
    """By how much the scores fall short, over all samples."""

    HIGH = "high"
    MEDIUM = "medium"
    LOW = "low"


@dataclass(frozen=True)
class Witness:
    """A sample that shows it."""

    sample_id: str
    value: float | None
    """Of the metric; None where it has none."""
    details: tuple[str, ...]
    """What the metric's evidence says against it: texts of the sample, cut, and not escaped."""


@dataclass(frozen=True)
class Finding:
    """Something to change, or something that could not be measured."""

    rule: str
    """Stable name of the rule."""
    title: str
    areas: tuple[Area, ...]
    metrics: tuple[str, ...]
    """Those that the mean is of, the most telling first, or those that could not be measured."""
    affected: int
    """Samples."""
    of: int
    """Samples that the rule could judge."""
    changes: tuple[str, ...]
    """What to do, the likeliest first."""
    witnesses: tuple[Witness, ...] = ()
    """The worst of the affected, the worst first."""
    value: float | None = None
    """Mean over the samples that the rule could judge, each by the first of the metrics that has a value."""
    threshold: float | None = None
    impact: float = 0.0
    """0 to 1: the mean shortfall below the threshold, as a share of it; of gaps the share of samples."""

    @property
    def severity(self) -> Severity:
        """High from a shortfall of three tenths, medium from one tenth."""
        if self.impact >= _HIGH:
            return Severity.HIGH
        return Severity.MEDIUM if self.impact >= _MEDIUM else Severity.LOW


_HIGH, _MEDIUM = 0.3, 0.1
