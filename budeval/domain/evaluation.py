"""One evaluation as the service carries it: what was asked for, without secrets and without data rows.

It is the input of the workflow `evaluate_model` and is stored in its history, so it holds references only: to
the sealed secrets by `eval_id`, to inline datasets by their digest.
"""

from datetime import datetime, timedelta
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from budeval.domain.cluster import ClusterTarget
from budeval.domain.identifiers import RunId

Quantity = Annotated[
    str, StringConstraints(max_length=32, pattern=r"^[0-9]+(\.[0-9]+)?(m|k|M|G|T|Ki|Mi|Gi|Ti)?$")
]
"""A Kubernetes quantity, as `500m` or `2Gi`."""


DEPLOYMENTS = 2
"""How often a run's Job is made within an attempt: once more where the first is gone."""

_LISTED_DATASETS = 20


class Evaluator(StrEnum):
    """How a reply is compared with the reference answer."""

    EXACT = "exact"
    """The whole reply equals it."""
    CONTAINS = "contains"
    """It appears in the reply."""
    LAST_NUMBER = "last_number"
    """The last number of the reply equals it, as with GSM8K."""
    CHOICE = "choice"
    """The first option letter of the reply equals it."""


class Outcome(StrEnum):
    """How a run or an evaluation ended, more exactly than `status` can tell."""

    COMPLETED = "COMPLETED"
    PARTIAL = "PARTIAL"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Model(_Frozen):
    """The model under test, behind an OpenAI-compatible endpoint."""

    name: str
    endpoint: str
    """Base URL, as `http://10.0.0.7:8000/v1`."""
    query_per_second: float = 10
    max_out_len: int = 1024
    """Tokens of a reply."""
    max_seq_len: int = 8192
    """Tokens of prompt and reply together."""
    batch_size: int = 16
    temperature: float = 0.0
    seed: int | None = None


class OwnDataset(_Frozen):
    """A dataset of the team's own: rows in JSON Lines or CSV."""

    digest: str | None = None
    """SHA-256 of the rows that the service has stored; None where they are on the claim."""
    path: str | None = None
    """Path below `datasets/` of the claim."""
    format: Literal["jsonl", "csv"]
    prompt: str
    answer: str
    """Column of the reference answer."""
    evaluator: Evaluator


class Resources(_Frozen):
    """What a run's container asks for and may use."""

    cpu: Quantity = "500m"
    """Requested; there is no limit, so that idle cores are used."""
    memory: Quantity = "2Gi"
    """Requested, and the limit."""


class Run(_Frozen):
    """One Job: the model on one dataset."""

    run_id: RunId
    dataset_id: str
    own: OwnDataset | None = None
    """None for a stock dataset of the engine, named by `dataset_id`."""
    limit: int | None = None
    """The first rows only."""
    resources: Resources = Resources()


class Timeouts(_Frozen):
    """Seconds after which something is given up."""

    start: int = Field(600, ge=1, le=24 * 3600)
    """For a run that cannot start: no node takes it, or a quota is used up."""
    run: int = Field(6 * 3600, ge=1, le=7 * 24 * 3600)
    """For a run from its start. The Job's own deadline is this and `start`: a Job's time begins before."""
    evaluation: int | None = Field(None, ge=1, le=30 * 24 * 3600)
    """For each attempt of the evaluation as a whole, to a minute: then it is cancelled, and the scores that
    are there are read."""


class Audience(_Frozen):
    """Who is told, and how: echoes the request's `notification_metadata` and `source_topic`."""

    topics: list[str]
    workflow_id: str
    """The caller's own workflow where it named one, otherwise ours."""
    name: str = "bud-internal"
    notification_type: Literal["event", "topic", "broadcast"] = "event"
    category: Literal["inapp", "internal", "email"] = "internal"
    subscriber_ids: str | list[str] | None = None
    actor: str | None = None
    topic_keys: str | list[str] | None = None


class Evaluation(_Frozen):
    """All that a workflow needs to know."""

    schema_version: int = 1
    eval_id: str
    experiment_id: str
    engine: str
    model: Model
    runs: list[Run] = Field(min_length=1)
    target: ClusterTarget
    claim: str
    timeouts: Timeouts = Timeouts()
    audience: Audience
    labels: dict[str, str] = Field(default_factory=dict)
    attempt: int = 1
    tenant: str = "default"
    """Whose it is: by the token of the request."""

    @property
    def workflow_id(self) -> str:
        """What callers know it by: the key of its record, and the subject of its events."""
        return workflow_id(self.eval_id)

    @property
    def instance_id(self) -> str:
        """The instance of its workflow: Dapr would forget an earlier attempt's history under the same id."""
        return instance_id(self.eval_id, self.attempt)


def workflow_id(eval_id: str) -> str:
    """What an evaluation is known by, and the key of its record."""
    return f"eval-{eval_id}"


def instance_id(eval_id: str, attempt: int) -> str:
    """The workflow instance of an attempt."""
    return workflow_id(eval_id) + (f"-a{attempt}" if attempt > 1 else "")


class EvaluationBrief(_Frozen):
    """An evaluation in a list: what its record says of it, without requests and results."""

    eval_id: str
    model: str
    datasets: list[str] = Field(default_factory=list)
    """The first 20 that differ."""
    runs: int
    headline: float | None = None
    """Percent; None where it has none (yet)."""
    created: str
    ended: str | None = None
    outcome: Outcome | None = None
    attempt: int = 1
    labels: dict[str, str] = Field(default_factory=dict)
    tenant: str = "default"


class Cancellation(_Frozen):
    """That an evaluation shall end before its own end."""

    requested: str
    """UTC, ISO 8601."""
    extract: bool = False
    """Read the scores that are there."""
    why: str = "It was cancelled on request."
    """A sentence for people."""


class Tombstone(_Frozen):
    """What stays of an evaluation that was deleted, in the place of its record: its id is used up."""

    schema_version: int = 1
    eval_id: str
    tenant: str
    deleted: str
    """UTC, ISO 8601."""


class EvaluationRecord(BaseModel):
    """What the state store keeps of an evaluation under `eval-<eval_id>`; the events tell how far it is."""

    model_config = ConfigDict(extra="allow")

    schema_version: int = 1
    evaluation: Evaluation
    digest: str
    """Of the request without its secrets: the same request again is answered, another one is refused."""
    created: str
    """UTC, ISO 8601."""
    ended: str | None = None
    outcome: Outcome | None = None
    cancellation: Cancellation | None = None
    deletion: str | None = None
    """When its deletion was requested. UTC, ISO 8601."""
    keep_files: bool = False
    """Whether its files on the claim are to stay, also where retention ends the deletion."""
    expiry: str | None = None
    """When retention first tried to forget it. UTC, ISO 8601."""
    retried: list[str] | None = None
    """Run ids of the newest attempt, where it is not the first; the others keep their results."""
    announced: int = 0
    """Number of the last event before this attempt."""
    begun: str | None = None
    """When this attempt began, where it is not the first. UTC, ISO 8601."""
    arrival: str | None = None
    """Of the request, see `kept_as`; None in records of old."""
    retry_arrival: str | None = None
    """Of the newest retry, by which the secrets are found since then."""
    extraction_status: Literal["completed", "failed"] | None = None
    extraction_results: list[dict[str, Any]] | None = None
    """As the guide has it: the results of all runs."""
    completeness: dict[str, Any] | None = None
    headline: dict[str, Any] | None = None

    def is_at(self, attempt: int | None) -> bool:
        """Whether what is asked of an attempt is asked of this one; None asks whichever it is."""
        return attempt in {None, self.evaluation.attempt}

    @property
    def current(self) -> Evaluation:
        """The evaluation with the runs of this attempt only."""
        if self.retried is None:
            return self.evaluation
        runs = [run for run in self.evaluation.runs if run.run_id in self.retried]
        return self.evaluation.model_copy(update={"runs": runs})

    def overdue_since(self, now: datetime) -> timedelta | None:
        """How long its time has been up, None where it is not."""
        if self.ended or self.evaluation.timeouts.evaluation is None:
            return None
        limit = timedelta(seconds=self.evaluation.timeouts.evaluation)
        late = now - datetime.fromisoformat(self.begun or self.created) - limit
        return late if late > timedelta(0) else None

    @property
    def brief(self) -> EvaluationBrief:
        """Its line in a list."""
        return EvaluationBrief(
            eval_id=self.evaluation.eval_id,
            model=self.evaluation.model.name,
            datasets=list(dict.fromkeys(run.dataset_id for run in self.evaluation.runs))[:_LISTED_DATASETS],
            headline=self.headline["score"] if self.headline else None,
            runs=len(self.evaluation.runs),
            created=self.created,
            ended=self.ended,
            outcome=self.outcome,
            attempt=self.evaluation.attempt,
            labels=self.evaluation.labels,
            tenant=self.evaluation.tenant,
        )

    @property
    def sealed_as(self) -> str:
        """Under what its secrets are kept."""
        return kept_as(self.evaluation.eval_id, self.retry_arrival or self.arrival or self.digest[:16])

    @property
    def rows_kept_as(self) -> str:
        """Under what the rows of its inline datasets are kept."""
        eval_id = self.evaluation.eval_id
        return kept_as(eval_id, self.arrival) if self.arrival else eval_id


def kept_as(eval_id: str, arrival: str) -> str:
    """Under what a request keeps secrets and rows until its record is there.

    Each time that it comes in, under another name: what was cut off can be removed at any time, and of two
    that come in at once none takes away what the other has.
    """
    return f"{eval_id}.{arrival}"
