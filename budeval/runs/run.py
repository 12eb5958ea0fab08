"""A run as callers see it: one evaluation on Kubernetes, or one job of scoring."""

from enum import StrEnum
from typing import Literal

from pydantic import BaseModel, Field

from budeval.domain.identifiers import DEFAULT_TENANT


class RunKind(StrEnum):
    """What has run."""

    EVALUATION = "evaluation"
    """A model on datasets, on a cluster."""
    SCORE = "score"
    """RAG samples by metrics."""


class RunStatus(StrEnum):
    """How far a run is, in one vocabulary for all kinds."""

    QUEUED = "queued"
    RUNNING = "running"
    COMPLETED = "completed"
    """It has scores; `outcome` tells whether all."""
    FAILED = "failed"
    CANCELLED = "cancelled"


class Headline(BaseModel):
    """The one number of a run."""

    score: float
    unit: Literal["percent", "fraction"] = Field(description="`percent` is 0 to 100, `fraction` 0 to 1.")


class Run(BaseModel):
    """One line of the list."""

    object: str = "run"
    run_id: str
    kind: RunKind
    name: str
    status: RunStatus
    outcome: str | None = Field(None, description="How it ended, in the words of its kind.")
    created: str = Field(description="UTC, ISO 8601, as all times.")
    finished: str | None = Field(None, description="When its scores were there, or it ended without.")
    headline: Headline | None = Field(
        None, description="Of an evaluation its headline, of a job of scoring its weighted score."
    )
    metrics: list[str] = Field(default_factory=list, description="Of a job of scoring, as asked for.")
    datasets: list[str] = Field(default_factory=list, description="Of an evaluation; the first 20.")
    models: list[str] = Field(
        description="What was evaluated; of a job of scoring judge and embedder, by their aliases."
    )
    labels: dict[str, str] = Field(default_factory=dict)
    tenant: str = DEFAULT_TENANT
    href: str = Field(description="The path that tells all of it.")


class RunPage(BaseModel):
    """Runs, newest first."""

    object: str = "runs"
    runs: list[Run]
    cursor: str | None = Field(None, description="For the next page; null where this is the last.")


class RunFile(BaseModel):
    """A file of a run."""

    name: str
    media_type: str
    bytes: int


class RunFiles(BaseModel):
    """The files that a run has by now."""

    object: str = "run_artifacts"
    run_id: str
    artifacts: list[RunFile]
