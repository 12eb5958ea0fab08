"""What callers see of jobs, drawn from what is stored."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

from budeval.api.cursors import decoded, encoded
from budeval.domain.score_job import JobStatus, Phase, ScoreRecord
from budeval.runtime.listing import Cursor
from budeval.scoring.answers import ScorePage, ScoreState
from budeval.scoring.assembling import Assembly
from budeval.scoring.course import SAMPLES_PER_GENERATION
from budeval.scoring.store import ScoreStore

_READS_PER_PAGE, _PER_READ = 10, 200


class ScoreViews:
    """Reads, and changes nothing."""

    def __init__(self, store: ScoreStore, assembly: Assembly) -> None:
        self._store = store
        self._assembly = assembly

    def state(self, job_id: str) -> ScoreState:
        """A job, with what each metric says so far of its sample.

        Raises:
            RequestError: SCORE_UNKNOWN, SCORE_DELETED.
        """
        record = self._store.load(job_id)
        more: dict[str, Any] = self._progress(record) if record.phase is Phase.SCORING else {}
        if record.job.kind == "sample":
            more["metrics"] = self._assembly.outcomes(record, 1)
        return state_of(record).model_copy(update=more)

    def has_ended(self, job_id: str) -> bool:
        """Whether its scores are there, or will not come.

        Raises:
            RequestError: SCORE_UNKNOWN, SCORE_DELETED.
        """
        return self._store.load(job_id).outcome is not None

    def _progress(self, record: ScoreRecord) -> dict[str, Any]:
        """By what is stored of the samples that are scored now; the record has those before them."""
        job, before = record.job, record.done
        last = min(before + SAMPLES_PER_GENERATION, job.samples)
        stored = self._store.outcomes(job.job_id, range(before + 1, last + 1), job.metrics)
        there = Counter(number for (number, _), one in stored.items() if one.stands_in(job.attempt))
        told = {"measured": before * len(job.metrics) + there.total()}
        if job.kind == "samples":
            told["done"] = before + sum(count == len(job.metrics) for count in there.values())
        return told

    def page(self, cursor: str | None, limit: int, status: JobStatus | None, tenant: str | None) -> ScorePage:
        """Jobs, newest first, without what single metrics say.

        It looks at no more than 2,000 jobs; to what it has not found by then the cursor leads.

        Args:
            cursor: of the page before.
            limit: how many.
            status: only those.
            tenant: None for those of all.

        Raises:
            RequestError: the cursor is not one of ours.
        """
        found: list[ScoreState] = []
        following = None
        for record, below in self._records(decoded(cursor), limit):
            following = below
            if record and status in {None, record.status} and tenant in {None, record.job.tenant}:
                found.append(state_of(record))
            if len(found) == limit:
                break
        return ScorePage(scores=found, cursor=encoded(following))

    def _records(
        self, below: Cursor | None, at_once: int
    ) -> Iterator[tuple[ScoreRecord | None, Cursor | None]]:
        """From below a place on, each with its own place, None where nothing follows; a bounded number.

        A record is None where there is none any more, or none that can be read. `at_once` is how many are
        likely to be enough.
        """
        for _ in range(_READS_PER_PAGE):
            listed = self._store.entries(below, at_once + 1)
            taken, more = listed[:at_once], len(listed) > at_once
            found = self._store.load_all([job_id for job_id, _ in taken])
            records = {record.job.job_id: record for record in found}
            for job_id, place in taken:
                yield records.get(job_id), place if more or place != taken[-1][1] else None
            if not more:
                return
            below, at_once = taken[-1][1], _PER_READ


def state_of(record: ScoreRecord) -> ScoreState:
    """What the record alone tells."""
    job, result = record.job, record.result
    told = {}
    if result:
        told = {
            "run_id": job.run_id,
            "scores": result.scores,
            "weighted_score": result.weighted_score,
            "weight_coverage": result.weight_coverage,
            "latency_ms": result.latency_ms,
            "skipped_metrics": sorted(result.skipped),
            "skipped": result.skipped,
            "statuses": result.statuses,
            "usage": result.usage,
            "invalid": result.invalid,
        }
    scoring = record.phase is Phase.SCORING and job.kind == "samples"
    return ScoreState(
        job_id=job.job_id,
        status=record.status,
        created_at=record.created,
        request_summary=record.summary,
        finished_at=record.finished if record.outcome else None,
        error=record.error,
        outcome=record.outcome,
        phase=record.phase,
        started_at=record.started,
        kind=job.kind,
        samples=job.samples,
        done=record.done if scoring else None,
        advice_status=record.advice,
        engine=job.engine,
        attempt=job.attempt,
        labels=job.labels,
        **told,
    )
