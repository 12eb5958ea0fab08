"""What callers see of jobs, drawn from what is stored."""

from budeval.api.cursors import decoded, encoded
from budeval.domain.score_job import JobStatus, Phase, ScoreRecord
from budeval.scoring.answers import ScorePage, ScoreState
from budeval.scoring.assembling import Assembly
from budeval.scoring.store import ScoreStore

_READS_PER_PAGE = 10


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
        state = state_of(record)
        if record.job.kind == "sample":
            return state.model_copy(update={"metrics": self._assembly.outcomes(record, 1)})
        return state

    def page(self, cursor: str | None, limit: int, status: JobStatus | None, tenant: str | None) -> ScorePage:
        """Jobs, newest first, without what single metrics say.

        A filter looks at no more than ten pages; to what it has not found by then the cursor leads.

        Args:
            cursor: of the page before.
            limit: how many.
            status: only those.
            tenant: None for those of all.

        Raises:
            RequestError: the cursor is not one of ours.
        """
        found: list[ScoreState] = []
        place = decoded(cursor)
        for _ in range(_READS_PER_PAGE):
            ids, place = self._store.newest(place, limit - len(found))
            records = self._store.load_all(ids)
            found += [
                state_of(record)
                for record in records
                if status in {None, record.status} and tenant in {None, record.job.tenant}
            ]
            if place is None or len(found) >= limit:
                break
        return ScorePage(scores=found, cursor=encoded(place))


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
