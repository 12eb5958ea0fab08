"""What an engine is to the rest of the service."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from budeval.domain.evaluation import Evaluation, Run

MOUNT = "/budeval"
"""Where the pod finds its files."""
SCRATCH = "/scratch"
"""A writable directory of the pod's own; everything else but the results is read-only."""


@dataclass(frozen=True)
class RunSecrets:
    """What a run needs and histories must not have."""

    api_key: str = field(repr=False)
    rows: str | None = field(default=None, repr=False)
    """The rows of an inline dataset."""


@dataclass(frozen=True)
class JobSpec:
    """One run as an engine wants it to be executed; the manifest around it is the same for all engines."""

    run_id: str
    attempt: int
    image: str
    command: list[str]
    files: dict[str, str]
    """Path below `MOUNT` -> content; read-only."""
    environment: Mapping[str, str] = field(default_factory=dict)
    secret_environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Name -> value; kept in a Secret that belongs to the Job."""


class Engine(Protocol):
    """An evaluation engine that runs in a container."""

    @property
    def name(self) -> str:
        """By which requests choose it; a run's directory is `results/<eval_id>/<name>-<run_id>`."""

    @property
    def image(self) -> str:
        """The container image of its runs."""

    @property
    def extract_program(self) -> dict[str, str]:
        """Path -> content, as of `pod_files.program`: reads the results of runs and prints them, framed."""

    def build_job(self, evaluation: Evaluation, run: Run, attempt: int, secrets: RunSecrets) -> JobSpec:
        """The Job of a run."""

    def check_rows(self, run: Run, rows: str) -> None:
        """Find out whether the rows of an inline dataset can be used, by the code that reads them in the pod.

        Raises:
            RequestError: DATASET_INVALID, naming the row.
        """

    def stock_datasets(self) -> list[str]:
        """The datasets that requests may name without bringing them."""
