"""What callers see of jobs, drawn from what is stored."""

from collections import Counter
from typing import Any

from budeval.api.cursors import decoded, encoded
from budeval.domain.score_job import JobStatus, Phase, ScoreRecord
from budeval.scoring.answers import ScorePage, ScoreState
from budeval.scoring.assembling import Assembly
from budeval.scoring.course import SAMPLES_PER_GENERATION
from budeval.scoring.store import ScoreStore


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

        It looks at about 2,000 jobs at most; to what it has not found by then the cursor leads.

        Args:
            cursor: of the page before.
            limit: how many.
            status: only those.
            tenant: None for those of all.

        Raises:
            RequestError: the cursor is not one of ours.
        """

        def wanted(record: ScoreRecord) -> bool:
            return status in {None, record.status} and tenant in {None, record.job.tenant}

        found, following = self._store.matching(decoded(cursor), limit, self._loaded, wanted)
        return ScorePage(scores=list(map(state_of, found)), cursor=encoded(following))

    def _loaded(self, job_ids: list[str]) -> dict[str, ScoreRecord]:
        return {record.job.job_id: record for record in self._store.load_all(job_ids)}


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
