"""A finished run of scoring: one sample or many, what each metric said of each, and under which settings.

It is what the artifacts are written from and the advice is drawn from, whichever engine scored it.
"""

from pydantic import AwareDatetime, BaseModel, ConfigDict, FiniteFloat

from budeval.domain.scoring import Maker, MetricOutcome, Sample, Share


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ScoredSample(_Frozen):
    """A sample with its outcomes."""

    sample_id: str
    """`async-score-1` for the only sample of a job; of many, the line's own id or `line-<number>`."""
    sample: Sample
    blanks_left_out: int = 0
    """Entries of its lists that were blank, and are not in it."""
    outcomes: tuple[MetricOutcome, ...]
    """One for each metric of the run, in the order of the request."""
    makers: dict[str, Maker] = {}
    """Who made them, where something was measured: of metrics that are scored or undetermined."""
    weighted_score: Share | None = None
    """4 decimals; None where nothing is scored."""
    weight_coverage: Share = 0.0
    """The share of the weight that `weighted_score` rests on."""
    latency_ms: int = 0
    """Of the scoring alone."""


class InvalidSample(_Frozen):
    """A line of many that is no sample."""

    sample_id: str
    error: str
    """Names the field."""
    raw: str = ""
    """The line, at most 2,000 characters of it."""


class ScoreRun(_Frozen):
    """All of a run."""

    run_id: str
    """Derived from the job, so that a repetition writes the same run: `[A-Za-z0-9._-]+`."""
    scenario_name: str
    """`async-score-<job_id>`."""
    judge_model: str | None
    """Of several, after a retry with other settings, all: `one, other`. So in all that tells who made it."""
    embedding_model: str | None
    metrics: tuple[str, ...]
    """As requested, the skipped ones too."""
    weights: dict[str, FiniteFloat] = {}
    """Empty means equal."""
    engine: str
    """`native` or `ragas`; values of different engines are never averaged."""
    engine_version: str
    metric_versions: dict[str, str] = {}
    """Of each metric, its prompt's version."""
    started_at: AwareDatetime
    finished_at: AwareDatetime
    samples: tuple[ScoredSample, ...]
    invalid: tuple[InvalidSample, ...] = ()
    texts_kept: bool = True
    """Otherwise samples have digests in their place."""

    @property
    def makers(self) -> dict[str, tuple[Maker, ...]]:
        """Who made the outcomes of each metric: several where some were kept from before a change."""
        return {
            metric: tuple(dict.fromkeys(s.makers[metric] for s in self.samples if metric in s.makers))
            for metric in self.metrics
        }
