"""Judging the rules on a run."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from budeval.domain.markdown import one_line
from budeval.domain.score_run import ScoredSample, ScoreRun
from budeval.domain.scoring import MetricOutcome
from budeval.scoring.advice.finding import Finding, Witness
from budeval.scoring.advice.rules import GOOD, RULES, Family, Level, Rule

_WITNESSES = 3
_DETAILS = 3
_LONGEST_DETAIL = 200
_ALIKE = 0.5
"""Similarity below which the metrics themselves take two contexts for different."""


@dataclass(frozen=True)
class _Case:
    """A sample that a rule can judge."""

    sample: ScoredSample
    outcome: MetricOutcome
    value: float

    def shortfall(self, threshold: float) -> float:
        """Below the threshold, as a share of it."""
        return (threshold - self.value) / threshold


def findings_of(run: ScoreRun) -> list[Finding]:
    """What to change, the largest impact first. The same run gives the same."""
    found = [finding for rule in RULES if (finding := _finding(rule, run.samples))]
    return sorted(found, key=lambda finding: -finding.impact)


def _finding(rule: Rule, samples: Iterable[ScoredSample]) -> Finding | None:
    cases = [case for sample in samples if (case := _case(rule.family, sample))]
    affected = [case for case in cases if case.value < rule.threshold and _fits(rule, case)]
    if not affected:
        return None
    worst = sorted(affected, key=lambda case: case.value)[:_WITNESSES]
    measuring = {case.outcome.metric for case in cases}
    return Finding(
        rule=rule.name,
        title=rule.title,
        areas=rule.areas,
        metrics=tuple(metric for metric in rule.family if metric in measuring),
        affected=len(affected),
        of=len(cases),
        changes=rule.changes,
        witnesses=tuple(_witness(case) for case in worst),
        value=fmean(case.value for case in cases),
        threshold=rule.threshold,
        impact=sum(case.shortfall(rule.threshold) for case in affected) / len(cases),
    )


def _case(family: Family, sample: ScoredSample) -> _Case | None:
    """By the first metric of the family that has a value; None where none has."""
    outcomes = {outcome.metric: outcome for outcome in sample.outcomes}
    for metric in family:
        outcome = outcomes.get(metric)
        if outcome and outcome.value is not None:
            return _Case(sample, outcome, outcome.value)
    return None


def _fits(rule: Rule, case: _Case) -> bool:
    """Whether all else is as the rule demands."""
    if rule.evasive is not None and rule.evasive is not _is_evasive(case.outcome):
        return False
    if rule.zero is not None and rule.zero is not (case.value == 0):
        return False
    return all(_level(family, case.sample) is level for family, level in rule.given)


def _level(family: Family, sample: ScoredSample) -> Level:
    case = _case(family, sample)
    if case is None:
        return Level.UNKNOWN
    return Level.GOOD if case.value >= GOOD else Level.POOR


def _is_evasive(outcome: MetricOutcome) -> bool:
    return any(item.get("noncommittal") is True for item in outcome.evidence)


def _witness(case: _Case) -> Witness:
    details = [detail for item in case.outcome.evidence if (detail := _against(item))]
    return Witness(case.sample.sample_id, case.value, tuple(details[:_DETAILS]))


def _against(item: Mapping[str, Any]) -> str | None:
    """What a piece of evidence says against a good value; None where it says nothing against it."""
    if item.get("noncommittal") is True:
        return "the answer is noncommittal"
    refused = [name for name, verdict in item.items() if verdict is False]
    if refused:
        return f"{_subject(item)}: not {refused[0]}"
    similarity = item.get("similarity")
    if isinstance(similarity, float) and (similarity < _ALIKE or "question" in item):
        return f"{_subject(item)}: similarity {similarity:.2f}"
    return None


def _subject(item: Mapping[str, Any]) -> str:
    """The text that was judged, else its kind and number."""
    texts: Sequence[str] = [str(item[name]) for name in ("statement", "question") if name in item]
    if texts:
        return f"\u201c{one_line(texts[0], _LONGEST_DETAIL)}\u201d"
    named = [
        f"{name.replace('_', ' ')} {item[name]}"
        for name in ("context", "reference_context", "id")
        if name in item
    ]
    return one_line(named[0], _LONGEST_DETAIL) if named else "answer and ground truth"
