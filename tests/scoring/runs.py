"""Runs that tests write and advise on."""

from datetime import UTC, datetime
from typing import Any

from budeval.domain.score_run import InvalidSample, ScoredSample, ScoreRun
from budeval.domain.scoring import Maker, MetricOutcome, MetricStatus, Sample, Usage, scored, weighted_score

NOON = datetime(2026, 1, 2, 12, 0, 0, tzinfo=UTC)
LATER = datetime(2026, 1, 2, 12, 0, 1, 500_000, tzinfo=UTC)
JOB_ID = "0123456789ab"
RUN_ID = f"score-{JOB_ID}"
SAMPLE_ID = "async-score-1"
QUESTION = Sample(
    question="When was the first landing on the moon?",
    contexts=("Apollo 11 landed in July 1969.", "The moon is far away."),
    answer="In July 1969, by Apollo 11.",
    ground_truth="On 20 July 1969.",
)


MAKER = Maker(engine_version="0.1.0", metric_version="1-abc", judge_model="judge-7b")
_MEASURED = {MetricStatus.SCORED, MetricStatus.UNDETERMINED}


def value(metric: str, number: float, *evidence: dict[str, Any]) -> MetricOutcome:
    """A metric with a value, for 2 calls."""
    usage = Usage(calls=2, prompt_tokens=200, completion_tokens=20)
    return scored(metric, number, usage=usage, latency_ms=700, evidence=evidence)


def skipped(metric: str, reason: str = "missing_ground_truth") -> MetricOutcome:
    """A metric whose input is missing."""
    return MetricOutcome(metric=metric, status=MetricStatus.SKIPPED, reason_code=reason)


def failed(metric: str, reason: str = "judge_timeout", message: str = "no answer") -> MetricOutcome:
    """A metric whose endpoint gave nothing."""
    return MetricOutcome(metric=metric, status=MetricStatus.FAILED, reason_code=reason, message=message)


def undetermined(metric: str) -> MetricOutcome:
    """A metric whose definition gives nothing."""
    message = "the judge finds no statement in the answer"
    return MetricOutcome(
        metric=metric, status=MetricStatus.UNDETERMINED, reason_code="no_statements", message=message
    )


def sample_of(
    *outcomes: MetricOutcome, sample_id: str = SAMPLE_ID, sample: Sample = QUESTION
) -> ScoredSample:
    """A sample with these outcomes, equally weighted."""
    score, coverage = weighted_score({outcome.metric: outcome.value for outcome in outcomes}, {})
    measured = [outcome.metric for outcome in outcomes if outcome.status in _MEASURED]
    return ScoredSample(
        sample_id=sample_id,
        sample=sample,
        outcomes=outcomes,
        makers=dict.fromkeys(measured, MAKER),
        weighted_score=score,
        weight_coverage=coverage,
        latency_ms=1400,
    )


def run_of(*samples: ScoredSample, invalid: tuple[InvalidSample, ...] = (), **changes: Any) -> ScoreRun:
    """A run of samples that have the same metrics."""
    metrics = tuple(outcome.metric for outcome in samples[0].outcomes) if samples else ("faithfulness",)
    given = {
        "run_id": RUN_ID,
        "scenario_name": f"async-score-{JOB_ID}",
        "judge_model": "judge-7b",
        "embedding_model": None,
        "metrics": metrics,
        "engine": "native",
        "engine_version": "0.1.0",
        "metric_versions": dict.fromkeys(metrics, "1-abc"),
        "started_at": NOON,
        "finished_at": LATER,
        "samples": samples,
        "invalid": invalid,
        **changes,
    }
    return ScoreRun.model_validate(given)


def single(*outcomes: MetricOutcome, sample: Sample = QUESTION, **changes: Any) -> ScoreRun:
    """A run of one sample."""
    return run_of(sample_of(*outcomes, sample=sample), **changes)


MIXED = single(
    value(
        "faithfulness",
        0.5,
        {"statement": "Apollo 11 landed in July 1969.", "supported": True},
        {"statement": "It was a Sunday.", "supported": False},
    ),
    value("answer_relevancy", 0.9, {"question": "When did Apollo 11 land?", "similarity": 0.9}),
    skipped("context_recall"),
    failed("context_precision", message="judge j answered 503: busy | =1+1"),
    undetermined("answer_correctness"),
)
"""Of every way for a metric to end, one."""


def many() -> ScoreRun:
    """Twelve samples, and a line that is none."""
    samples = [
        sample_of(
            value("faithfulness", round(at / 11, 2)),
            value("context_recall", 0.9 if at % 2 else 0.4),
            sample_id=f"line-{at + 1}",
            sample=QUESTION.model_copy(update={"question": f"Question {at + 1}?"}),
        )
        for at in range(12)
    ]
    broken = InvalidSample(sample_id="line-13", error="question: must not be blank", raw='{"question": ""}')
    return run_of(*samples, invalid=(broken,))
