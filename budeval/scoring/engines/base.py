"""What an engine of metrics is."""

from dataclasses import dataclass
from typing import Protocol

from budeval.domain.scoring import MetricOutcome, Sample
from budeval.scoring.ledger import Ledger
from budeval.scoring.settings import EmbedderSettings, JudgeSettings


@dataclass(frozen=True)
class Order:
    """One metric of one sample."""

    metric: str
    sample: Sample
    judge: JudgeSettings | None
    embedder: EmbedderSettings | None
    seed: int | None = None
    """For the judge; None where it is not repeated, or for the first time."""


class ScoringEngine(Protocol):
    """Computes metrics."""

    @property
    def version(self) -> str:
        """Of the engine; values of one version can be compared."""

    @property
    def metrics(self) -> dict[str, str]:
        """The metrics it has, with the version of each."""

    def judge_calls(self, metric: str, contexts: int) -> int:
        """Requests to the judge at most, for a sample with so many contexts, where nothing is repeated."""

    async def score(self, order: Order, ledger: Ledger) -> MetricOutcome:
        """The outcome, also where the sample lacks something or an endpoint gives nothing for good.

        Raises:
            EndpointBusyError: worth trying again, which is the workflow's to do.
        """

    def close(self) -> None:
        """End what it runs beside the service."""
