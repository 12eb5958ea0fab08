"""What could not be measured, and what would change that."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from budeval.domain.score_run import ScoreRun
from budeval.domain.scoring import MetricOutcome, MetricStatus
from budeval.scoring.advice.finding import Area, Finding, Witness
from budeval.scoring.advice.rules import ANYTHING_ELSE, REPAIR, SUPPLY

_WITNESSES = 3
_TITLES = {
    MetricStatus.SKIPPED: "Metrics were skipped for lack of an input.",
    MetricStatus.FAILED: "Metrics have failed.",
    MetricStatus.UNDETERMINED: "Metrics have no value for what they were given.",
}
_AREAS = {
    MetricStatus.SKIPPED: Area.INPUTS,
    MetricStatus.FAILED: Area.JUDGE,
    MetricStatus.UNDETERMINED: Area.INPUTS,
}
_REMEDIES: Mapping[MetricStatus, Mapping[str, str]] = {
    MetricStatus.SKIPPED: SUPPLY,
    MetricStatus.FAILED: REPAIR,
    MetricStatus.UNDETERMINED: REPAIR,
}


@dataclass
class _Gap:
    """Outcomes without a value for one reason."""

    metrics: dict[str, None] = field(default_factory=dict)
    messages: dict[str, str] = field(default_factory=dict)
    """By sample: the first."""


def gaps_of(run: ScoreRun) -> list[Finding]:
    """One for each reason: failures first, then what touches more samples."""
    gaps: dict[tuple[MetricStatus, str], _Gap] = {}
    for sample in run.samples:
        for outcome in sample.outcomes:
            if outcome.status in _TITLES:
                gap = gaps.setdefault((outcome.status, outcome.reason_code or ""), _Gap())
                gap.metrics.setdefault(outcome.metric)
                gap.messages.setdefault(sample.sample_id, _message(outcome))
    found = [_finding(status, reason, gap, len(run.samples)) for (status, reason), gap in gaps.items()]
    return sorted(found, key=lambda finding: (finding.areas != (Area.JUDGE,), -finding.impact, finding.rule))


def _finding(status: MetricStatus, reason: str, gap: _Gap, samples: int) -> Finding:
    remedy = _REMEDIES[status].get(reason, ANYTHING_ELSE)
    witnesses = [Witness(name, None, (text,) if text else ()) for name, text in gap.messages.items()]
    return Finding(
        rule=f"{status}:{reason}",
        title=_TITLES[status],
        areas=(_AREAS[status],),
        metrics=tuple(gap.metrics),
        affected=len(gap.messages),
        of=samples,
        changes=(remedy,),
        witnesses=tuple(witnesses[:_WITNESSES]),
        impact=len(gap.messages) / samples,
    )


def _message(outcome: MetricOutcome) -> str:
    return outcome.message or ""
