"""A job of scoring as the service carries it: what was asked for, and how far it is.

It is the input of its workflow and stands in the history, so it holds no texts: samples and outcomes are in
the state store, each under a key of its own.
"""

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, StringConstraints

from budeval.domain.identifiers import DEFAULT_TENANT
from budeval.domain.scoring import MetricStatus, Share, Usage

JOB_ID = r"^[0-9a-f]{12,32}$"
JobId = Annotated[str, StringConstraints(pattern=JOB_ID)]
"""Made here, in hex: no other key of the state store looks like one."""

SAMPLE_ID = "async-score-1"
"""Of the only sample of a job."""


class Engine(StrEnum):
    """Who computes the metrics. Values of different engines are never averaged."""

    NATIVE = "native"
    RAGAS = "ragas"


class JobStatus(StrEnum):
    """The four states that callers of the original scoring manager know."""

    QUEUED = "queued"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"


class Phase(StrEnum):
    """Where in `running` a job is."""

    SCORING = "scoring"
    WRITING = "writing"
    ADVISING = "advising"


class JobOutcome(StrEnum):
    """How a job ended, more exactly than `status` can tell."""

    COMPLETED = "completed"
    """Every metric of every sample is scored, skipped or undetermined."""
    COMPLETED_WITH_ERRORS = "completed_with_errors"
    """Some metric failed, or some line was no sample; others are scored."""
    FAILED = "failed"
    """Nothing is scored, or the artifacts could not be written."""
    CANCELLED = "cancelled"


class AdviceStatus(StrEnum):
    """What became of the advice."""

    GENERATED = "generated"
    """By rules, and in words by a model."""
    RULES_ONLY = "rules_only"
    SKIPPED = "skipped"
    """It was not asked for, or nothing is scored."""
    FAILED = "failed"


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ScoreJob(_Frozen):
    """All that a workflow needs to know."""

    schema_version: int = 1
    job_id: JobId
    tenant: str = DEFAULT_TENANT
    kind: Literal["sample", "samples"] = "sample"
    """One sample, or lines of many that are one run."""
    samples: int = Field(1, ge=0)
    """How many there are."""
    engine: Engine = Engine.NATIVE
    metrics: tuple[str, ...]
    """In the order of the request."""
    weights: dict[str, FiniteFloat] = {}
    """Empty means equal."""
    judge: str | None = None
    """Alias of an endpoint in the settings; None where no metric needs one or there is none."""
    embedder: str | None = None
    repeats: int = Field(1, ge=1)
    """How often each judged metric is scored; its value is the mean."""
    timeout_s: int = Field(ge=1)
    """Seconds for the scoring of each attempt: what has no outcome by then has failed."""
    advise: bool = True
    store_inputs: bool = True
    """Keep the texts after the end; otherwise only digests of them are kept."""
    labels: dict[str, str] = {}
    attempt: int = 1

    @property
    def subject(self) -> str:
        """What its events are about, and the instance of its workflow."""
        return workflow_id(self.job_id)

    @property
    def instance_id(self) -> str:
        """The instance of this attempt's workflow: Dapr would run an ended one anew under the same id."""
        return self.subject + (f"-a{self.attempt}" if self.attempt > 1 else "")

    @property
    def run_id(self) -> str:
        """Derived, so that a repetition writes the same run."""
        return f"score-{self.job_id}"

    @property
    def scenario_name(self) -> str:
        """As the original scoring manager has it."""
        return f"async-score-{self.job_id}"


def workflow_id(job_id: str) -> str:
    """What a job is known by to Dapr."""
    return f"score-{job_id}"


class RequestSummary(_Frozen):
    """What a list shows of a request."""

    question: str
    """80 characters at most; of the first sample where there are many."""
    answer: str
    metrics: tuple[str, ...]
    judge_model: str
    """Alias; empty where there is none."""
    embedding_model: str
    has_contexts: bool
    has_ground_truth: bool
    blanks_left_out: int = Field(
        0, description="Blank entries of lists of contexts and of ids, which are not scored; of all samples."
    )


class JobResult(_Frozen):
    """What is known once the artifacts are written."""

    scores: dict[str, Share | None]
    """Of each metric asked for; of many samples the mean of those that have a value."""
    statuses: dict[str, dict[MetricStatus, int]]
    """How many samples ended how, by metric."""
    weighted_score: Share | None
    weight_coverage: Share
    latency_ms: int
    """From the first metric to the last, with waiting for others; without writing and advice."""
    skipped: dict[str, str]
    """Metrics that no sample could be scored by, with the reason code."""
    reasons: dict[str, str]
    """Why metrics without any value have none: the first reason, `code: message`; without the message, which
    may quote them, where texts are not kept."""
    usage: Usage
    invalid: int = 0
    """Lines that were no sample."""


class AttemptEnd(_Frozen):
    """How an attempt has ended that has written the run. It stands until the next one has written its own."""

    started: str | None
    finished: str | None
    outcome: JobOutcome
    result: JobResult
    advice: AdviceStatus | None


class ScoreRecord(BaseModel):
    """What the state store keeps of a job."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: int = 1
    job: ScoreJob
    digest: str
    """SHA-256 of the request: the same one again is answered, another one refused."""
    summary: RequestSummary
    created: str
    """UTC, ISO 8601, as all times here."""
    started: str | None = None
    finished: str | None = None
    """When the scores were there. Advice may come later."""
    ended: str | None = None
    """When there was nothing left to do."""
    phase: Phase | None = None
    done: int = 0
    """Samples that are scored, while there are many."""
    outcome: JobOutcome | None = None
    result: JobResult | None = None
    error: str | None = None
    """`CODE: message` of a job that failed, or whose retry failed or was cancelled."""
    advice: AdviceStatus | None = None
    cancelled: str | None = None
    """When its end was asked for."""
    announced: int = 0
    """Number of the last event before this attempt."""
    before: AttemptEnd | None = None
    """The attempt before, while this one has not ended."""
    deletion: str | None = None
    """When its deletion began: since then nobody retries it."""

    def is_at(self, attempt: int | None) -> bool:
        """Whether what is asked of an attempt is asked of this one; None asks whichever it is."""
        return attempt in {None, self.job.attempt}

    @property
    def attempt_end(self) -> AttemptEnd | None:
        """What stands if a retry comes to nothing; None where there is no run."""
        if self.outcome is None or self.result is None:
            return None
        kept = {name: getattr(self, name) for name in AttemptEnd.model_fields}
        return AttemptEnd(**kept)

    @property
    def status(self) -> JobStatus:
        """One of the four."""
        if self.outcome in {JobOutcome.COMPLETED, JobOutcome.COMPLETED_WITH_ERRORS}:
            return JobStatus.COMPLETED
        if self.outcome:
            return JobStatus.FAILED
        return JobStatus.RUNNING if self.started else JobStatus.QUEUED


class ScoreTombstone(_Frozen):
    """What stays of a job that was deleted: its id is used up."""

    schema_version: int = 1
    job_id: str
    tenant: str
    deleted: str
