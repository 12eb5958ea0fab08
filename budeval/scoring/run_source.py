"""Jobs of scoring in the one list of runs, with their artifacts."""

from typing import BinaryIO, Protocol

from budeval.domain.score_job import JobOutcome, JobStatus, ScoreRecord, workflow_id
from budeval.runs.run import Headline, Run, RunFile, RunKind, RunStatus
from budeval.runs.source import Entry, unknown_file
from budeval.runtime.listing import Cursor, listed_at
from budeval.scoring.artifacts import Artifact, ArtifactStore

_PREFIX = workflow_id("")
_STATUSES = {
    JobStatus.QUEUED: RunStatus.QUEUED,
    JobStatus.RUNNING: RunStatus.RUNNING,
    JobStatus.COMPLETED: RunStatus.COMPLETED,
    JobStatus.FAILED: RunStatus.FAILED,
}


class KeepsJobs(Protocol):
    """What of the store of jobs is used here; tests put a fake in its place."""

    def entries(self, cursor: Cursor | None, count: int) -> list[tuple[str, Cursor]]:
        """Ids with the cursor of each, newest first, from below a cursor; fewer than `count` at the end."""

    def load_all(self, job_ids: list[str]) -> list[ScoreRecord]:
        """The records of jobs that are there."""

    def tenant_of(self, job_id: str) -> str | None:
        """Whose it is, or was before it was deleted; None where there is none."""

    def find(self, job_id: str) -> ScoreRecord | None:
        """A record, None where there is none, or RequestError where there was one."""


class ScoreRuns:
    """`RunSource` of jobs of scoring. A run's id is that of its artifacts, `score-<job_id>`."""

    kind = RunKind.SCORE

    def __init__(self, store: KeepsJobs, artifacts: ArtifactStore) -> None:
        self._store = store
        self._artifacts = artifacts

    def entries(self, below: Cursor | None, count: int) -> list[Entry]:
        """See `RunSource`."""
        listed = self._store.entries(below, count)
        records = self._store.load_all([job_id for job_id, _ in listed])
        runs = {record.job.job_id: _run(record) for record in records}
        return [Entry(cursor, listed_at(runs.get(job_id), cursor)) for job_id, cursor in listed]

    def find(self, run_id: str, tenant: str | None) -> Run | None:
        """See `RunSource`."""
        job_id = run_id.removeprefix(_PREFIX)
        if not run_id.startswith(_PREFIX) or tenant not in {None, self._store.tenant_of(job_id)}:
            return None
        record = self._store.find(job_id)
        return _run(record) if record else None

    def files(self, run: Run) -> list[RunFile]:
        """See `RunSource`."""
        sizes = self._artifacts.sizes(run.run_id) or {}
        return [RunFile(name=name, media_type=name.media_type, bytes=size) for name, size in sizes.items()]

    def open(self, run: Run, name: str) -> tuple[str, BinaryIO] | None:
        """See `RunSource`."""
        names = [known.value for known in Artifact]
        if name not in names:
            raise unknown_file(name, names)
        artifact = Artifact(name)
        content = self._artifacts.open(run.run_id, artifact)
        return None if content is None else (artifact.media_type, content)


def _run(record: ScoreRecord) -> Run:
    job, result = record.job, record.result
    cancelled = record.outcome is JobOutcome.CANCELLED
    score = result.weighted_score if result else None
    return Run(
        run_id=job.run_id,
        kind=RunKind.SCORE,
        name=job.scenario_name,
        status=RunStatus.CANCELLED if cancelled else _STATUSES[record.status],
        outcome=record.outcome,
        created=record.created,
        finished=record.finished,
        headline=None if score is None else Headline(score=score, unit="fraction"),
        metrics=list(job.metrics),
        models=[alias for alias in (job.judge, job.embedder) if alias],
        labels=job.labels,
        tenant=job.tenant,
        href=f"/scores/{job.job_id}",
    )
