"""From stored outcomes to the run that artifacts are written from, and to what the record says of it."""

import hashlib
from collections.abc import Mapping
from datetime import datetime

from budeval.domain.score_job import Engine, JobOutcome, JobResult, ScoreRecord
from budeval.domain.score_run import ScoredSample, ScoreRun
from budeval.domain.score_summary import summary_of
from budeval.domain.scoring import Maker, MetricOutcome, MetricStatus, Sample, Usage, weighted_score
from budeval.errors import ScoringError
from budeval.scoring.course import DEADLINE
from budeval.scoring.engines.base import ScoringEngine
from budeval.scoring.measuring import given_up
from budeval.scoring.provenance import made_by
from budeval.scoring.settings import ScoringSettings
from budeval.scoring.store import ScoreStore, StoredOutcome, StoredSample

_PER_READ = 50
_MEASURED = {MetricStatus.SCORED, MetricStatus.UNDETERMINED}


class Assembly:
    """Reads what is stored of a job."""

    def __init__(
        self, store: ScoreStore, engines: Mapping[Engine, ScoringEngine], settings: ScoringSettings
    ) -> None:
        self._store = store
        self._engines = engines
        self._settings = settings

    def run_of(self, record: ScoreRecord, *, late: bool) -> ScoreRun:
        """The run of a job whose scoring is over.

        Args:
            record: of the job.
            late: its time was up: what was not begun by then has failed.

        Raises:
            ScoringError: an outcome or a sample is not there, which is a fault of ours.
        """
        job, engine = record.job, self._engines.get(record.job.engine)
        if engine is None:
            text = f"The engine {job.engine} is not installed here any more."
            raise ScoringError(text, code="ENGINE_UNKNOWN")
        samples = tuple(self._samples(record, late=late))
        return ScoreRun(
            run_id=job.run_id,
            scenario_name=job.scenario_name,
            metrics=job.metrics,
            weights=job.weights,
            engine=job.engine,
            **made_by(samples, job, engine, self._settings),
            started_at=datetime.fromisoformat(record.started or record.created),
            finished_at=datetime.fromisoformat(record.finished or record.started or record.created),
            samples=samples,
            invalid=tuple(self._store.invalid(job.job_id)),
        )

    def outcomes(self, record: ScoreRecord, number: int) -> list[MetricOutcome]:
        """What is known so far of one sample, in the order of the request."""
        job = record.job
        found = self._store.outcomes(job.job_id, [number], job.metrics)
        return [found[number, metric].outcome for metric in job.metrics if (number, metric) in found]

    def _samples(self, record: ScoreRecord, *, late: bool) -> list[ScoredSample]:
        job = record.job
        scored = []
        for first in range(1, job.samples + 1, _PER_READ):
            numbers = range(first, min(first + _PER_READ, job.samples + 1))
            found = self._store.outcomes(job.job_id, numbers, job.metrics)
            for number, stored in zip(numbers, self._texts(record, numbers), strict=True):
                outcomes = [_outcome_of(found, number, metric, late=late) for metric in job.metrics]
                makers = {metric: _maker_of(found.get((number, metric))) for metric in job.metrics}
                scored.append(_scored(stored, outcomes, makers, record))
        return scored

    def _texts(self, record: ScoreRecord, numbers: range) -> list[StoredSample]:
        try:
            return self._store.samples(record.job.job_id, numbers)
        except LookupError as error:
            raise ScoringError(f"The sample is lost: {error}.", code="SAMPLE_LOST") from error


def _maker_of(stored: StoredOutcome | None) -> Maker | None:
    """Who measured; None where nothing was."""
    return stored.maker if stored and stored.outcome.status in _MEASURED else None


def _outcome_of(
    found: Mapping[tuple[int, str], StoredOutcome], number: int, metric: str, *, late: bool
) -> MetricOutcome:
    if (number, metric) in found:
        return found[number, metric].outcome
    if late:
        return given_up(metric, DEADLINE, Usage())
    raise ScoringError(f"Sample {number} has no outcome of {metric}.", code="OUTCOME_LOST")


def _scored(
    stored: StoredSample,
    outcomes: list[MetricOutcome],
    makers: Mapping[str, Maker | None],
    record: ScoreRecord,
) -> ScoredSample:
    values = {outcome.metric: outcome.value for outcome in outcomes}
    weighted, coverage = weighted_score(values, record.job.weights)
    return ScoredSample(
        sample_id=stored.sample_id,
        sample=stored.sample,
        blanks_left_out=stored.blanks_left_out,
        outcomes=tuple(outcomes),
        makers={metric: maker for metric, maker in makers.items() if maker},
        weighted_score=weighted,
        weight_coverage=coverage,
        latency_ms=sum(outcome.latency_ms for outcome in outcomes),
    )


def without_texts(run: ScoreRun) -> ScoreRun:
    """The same run with digests for texts; without messages, and evidence that quotes them."""
    samples = tuple(_digested(sample) for sample in run.samples)
    invalid = tuple(line.model_copy(update={"raw": ""}) for line in run.invalid)
    return run.model_copy(update={"samples": samples, "invalid": invalid, "texts_kept": False})


def _digested(scored: ScoredSample) -> ScoredSample:
    fields = {name: getattr(scored.sample, name) for name in Sample.model_fields}
    digests = {
        name: tuple(map(_digest, value)) if isinstance(value, tuple) else value and _digest(value)
        for name, value in fields.items()
    }
    return scored.model_copy(
        update={"sample": Sample(**digests), "outcomes": tuple(map(_unquoting, scored.outcomes))}
    )


def _unquoting(outcome: MetricOutcome) -> MetricOutcome:
    """All that the advice reads, and no words of anybody."""
    evasive = any(item.get("noncommittal") is True for item in outcome.evidence)
    evidence = ({"noncommittal": True},) if evasive else ()
    return outcome.model_copy(update={"evidence": evidence, "message": None})


def _digest(text: str) -> str:
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def result_of(run: ScoreRun) -> JobResult:
    """What the record keeps of a run."""
    summary = summary_of(run)
    outcomes = [outcome for sample in run.samples for outcome in sample.outcomes]
    scores = {item.metric: item.mean.value if item.mean else None for item in summary.metrics}
    skipped = {
        item.metric: next(outcome.reason_code or "" for outcome in outcomes if outcome.metric == item.metric)
        for item in summary.metrics
        if item.statuses.keys() == {MetricStatus.SKIPPED}
    }
    return JobResult(
        scores=scores,
        statuses={item.metric: item.statuses for item in summary.metrics},
        weighted_score=round(summary.weighted.value, 4) if summary.weighted else None,
        weight_coverage=summary.weight_coverage,
        latency_ms=round((run.finished_at - run.started_at).total_seconds() * 1000),
        skipped=skipped,
        reasons=_reasons(
            outcomes, {name for name, score in scores.items() if score is None} - skipped.keys()
        ),
        usage=summary.usage,
        invalid=len(run.invalid),
    )


def _reasons(outcomes: list[MetricOutcome], metrics: set[str]) -> dict[str, str]:
    reasons: dict[str, str] = {}
    for outcome in outcomes:
        if outcome.metric in metrics and outcome.status is not MetricStatus.SKIPPED:
            told = (outcome.reason_code, outcome.message)
            reasons.setdefault(outcome.metric, ": ".join(part for part in told if part))
    return reasons


def outcome_of(result: JobResult) -> JobOutcome:
    """How a job has ended whose run is written."""
    all_skipped = result.skipped.keys() == result.scores.keys()
    if not all_skipped and all(score is None for score in result.scores.values()):
        return JobOutcome.FAILED
    failed = any(MetricStatus.FAILED in statuses for statuses in result.statuses.values())
    return JobOutcome.COMPLETED_WITH_ERRORS if failed or result.invalid else JobOutcome.COMPLETED
