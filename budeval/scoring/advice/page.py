"""`optimization_advice.md`."""

from collections.abc import Sequence
from dataclasses import dataclass

from budeval.domain.markdown import code, escaped
from budeval.domain.score_job import AdviceStatus
from budeval.domain.score_run import ScoreRun
from budeval.domain.score_summary import summary_of
from budeval.scoring.advice.finding import Finding, Witness
from budeval.scoring.advice.prose import Explained, Prose

_LONGEST_NAME = 80
_LONGEST_DETAIL = 300
_LONGEST_PROBLEM = 500


@dataclass(frozen=True)
class Advice:
    """All that the page says."""

    status: AdviceStatus
    findings: Sequence[Finding]
    gaps: Sequence[Finding]
    said: Explained | None = None
    """None where there was nothing to ask a model for, or no model to ask."""
    model: str | None = None
    """Who was."""


def advice_page(run: ScoreRun, advice: Advice) -> str:
    """Findings first, then what could not be measured, then a model's words."""
    parts = [_header(run, advice), _changes(run, advice), *_gaps(advice), *_words(advice)]
    return "\n\n".join(parts) + "\n"


def _header(run: ScoreRun, advice: Advice) -> str:
    summary = summary_of(run)
    weighted = f"{summary.weighted.value:.4f}" if summary.weighted else "n/a"
    facts = {
        "run_id": run.run_id,
        "advice_status": advice.status,
        "valid_samples": str(len(run.samples)),
        "invalid_samples": str(len(run.invalid)),
        "weighted_score": weighted,
    }
    bullets = "\n".join(f"- {name}: {code(value)}" for name, value in facts.items())
    return f"# Optimization advice\n\n{bullets}"


def _changes(run: ScoreRun, advice: Advice) -> str:
    if advice.findings:
        shown = [_finding(number, finding) for number, finding in enumerate(advice.findings, 1)]
        return "\n\n".join(["## What to change", *shown])
    if advice.status is AdviceStatus.SKIPPED:
        return "## What to change\n\nNothing is scored, so there is nothing to advise on."
    unscored = sum(item.mean is None for item in summary_of(run).metrics)
    but = f" {unscored} of {len(run.metrics)} metrics have no value." if unscored else ""
    nothing = "Nothing: no score is too low; of metrics that measure the same the most telling one counts."
    return f"## What to change\n\n{nothing}{but}"


def _finding(number: int, finding: Finding) -> str:
    lines = [f"### {number}. {finding.title}", "", f"- where: {', '.join(finding.areas)}", _measured(finding)]
    lines += [f"- seen in {_witness(witness)}" for witness in finding.witnesses]
    lines += ["- what to do:", *(f"    {place}. {change}" for place, change in enumerate(finding.changes, 1))]
    return "\n".join(lines)


def _measured(finding: Finding) -> str:
    metrics = " / ".join(map(code, finding.metrics))
    value = f"{finding.value:.4f}" if finding.value is not None else "n/a"
    if finding.of == 1:
        return f"- measured: {metrics} is {value}, below {finding.threshold} (severity {finding.severity})"
    which = ", each sample by the first that it has," if len(finding.metrics) > 1 else ""
    return (
        f"- measured: {metrics}{which} is {value} on average; below {finding.threshold} in this way in "
        f"{finding.affected} of {finding.of} samples (severity {finding.severity})"
    )


def _witness(witness: Witness) -> str:
    value = f" ({witness.value:.4f})" if witness.value is not None else ""
    details = "; ".join(escaped(detail, _LONGEST_DETAIL) for detail in witness.details)
    name = escaped(witness.sample_id, _LONGEST_NAME)
    return f"sample {name}{value}" + (f": {details}" if details else "")


def _gaps(advice: Advice) -> list[str]:
    if not advice.gaps:
        return []
    return ["## What could not be measured", "\n".join(map(_gap, advice.gaps))]


def _gap(gap: Finding) -> str:
    lines = [
        f"- {gap.title} {gap.changes[0]}",
        f"    - metrics: {', '.join(map(code, gap.metrics))}",
        f"    - reason: {code(gap.rule)}, in {gap.affected} of {gap.of} samples",
    ]
    return "\n".join(
        [*lines, *(f"    - seen in {_witness(witness)}" for witness in gap.witnesses if witness.details)]
    )


def _words(advice: Advice) -> list[str]:
    if advice.said is None:
        return []
    title = "## In a model's words"
    if advice.said.prose is None:
        return [title, f"There are none: {escaped(advice.said.problem or '', _LONGEST_PROBLEM)}"]
    usage = advice.said.usage
    label = (
        f"*Written by {code(advice.model or '')} from the findings above, and not checked. "
        f"Calls: {usage.calls}; tokens: {usage.prompt_tokens} in, {usage.completion_tokens} out.*"
    )
    return [title, label, *_prose(advice.said.prose)]


def _prose(prose: Prose) -> list[str]:
    steps = [f"{number}. {escaped(step)}" for number, step in enumerate(prose.steps, 1)]
    return [escaped(prose.assessment), *(["\n".join(steps)] if steps else [])]
