"""What callers get of scoring."""

from pydantic import BaseModel, Field

from budeval.domain.score_job import AdviceStatus, Engine, JobOutcome, JobStatus, Phase, RequestSummary
from budeval.domain.scoring import MetricOutcome, MetricStatus, Usage


class ScoreState(BaseModel):
    """A job, as far as it is. The first fields are those of the original scoring manager."""

    job_id: str
    status: JobStatus
    created_at: str = Field(description="UTC, ISO 8601, as all times.")
    request_summary: RequestSummary
    finished_at: str | None = Field(None, description="When the scores were there; advice may come later.")
    run_id: str | None = Field(None, description="Of the artifacts: `GET /runs/{run_id}`.")
    scores: dict[str, float | None] = Field(
        default_factory=dict,
        description="Of each metric asked for, in [0, 1]; null where it was skipped or has none. Of many "
        "samples the means.",
    )
    weighted_score: float | None = Field(None, description="Mean of the scores that are there, 4 decimals.")
    latency_ms: int | None = Field(None, description="Of the scoring alone.")
    skipped_metrics: list[str] = Field(default_factory=list, description="Sorted.")
    error: str | None = Field(None, description="`CODE: message`.")

    outcome: JobOutcome | None = Field(None, description="How it ended, more exactly than `status` tells.")
    phase: Phase | None = Field(None, description="Where in `running` it is.")
    started_at: str | None = None
    kind: str = Field(description="`sample`, or `samples` for many that are one run.")
    samples: int
    done: int | None = Field(
        None, description="Of many samples: how many are scored so far; in lists by blocks of 32."
    )
    measured: int | None = Field(
        None,
        description="While it is scored: how many values there are, of `samples` times the metrics asked "
        "for. Not in lists.",
    )
    invalid: int = Field(0, description="Lines that were no sample.")
    weight_coverage: float | None = Field(
        None, description="The share of the weight asked for that `weighted_score` rests on."
    )
    skipped: dict[str, str] = Field(default_factory=dict, description="Why metrics were skipped.")
    statuses: dict[str, dict[MetricStatus, int]] = Field(
        default_factory=dict, description="How many samples ended how, by metric."
    )
    metrics: list[MetricOutcome] = Field(
        default_factory=list, description="Of one sample: what each metric says of it, as far as it is known."
    )
    usage: Usage | None = None
    advice_status: AdviceStatus | None = None
    engine: Engine
    attempt: int
    labels: dict[str, str]


class ScorePage(BaseModel):
    """Jobs, newest first."""

    scores: list[ScoreState]
    cursor: str | None = Field(
        None,
        description="For the next page; null where this is the last. A page may have fewer jobs than asked "
        "for, though more follow, where a filter has passed over 2,000.",
    )


class ScoreValidation(BaseModel):
    """What would be scored."""

    effective: list[str]
    skipped: dict[str, str] = Field(description="Metrics that would be skipped, and why.")
    judge_calls: int = Field(description="At most, where nothing has to be repeated.")
    judge_model: str | None
    embedding_model: str | None


class MetricInfo(BaseModel):
    """A metric."""

    name: str
    description: str
    needs: list[str]
    needs_judge: bool
    needs_embedder: bool
    judge_calls: dict[Engine, int | None] = Field(
        description="Requests to the judge for one sample at most, by engine, where nothing has to be "
        "repeated; null where it is one for each context."
    )
    engines: dict[Engine, str] = Field(description="Engines that have it, with its version there.")


class MetricList(BaseModel):
    """The metrics there are."""

    metrics: list[MetricInfo]
    judges: list[str] = Field(description="Aliases that `judge_model` may name, the first is the default.")
    embedders: list[str]


class ScoreDeletion(BaseModel):
    """A job was deleted."""

    job_id: str
    deleted: bool = True
