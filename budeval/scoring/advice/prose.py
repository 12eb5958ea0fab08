"""The findings in a model's words: best effort, within a time and a length, and never more than a section."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import AfterValidator

from budeval.domain.markdown import one_line
from budeval.domain.score_run import ScoredSample, ScoreRun
from budeval.domain.scoring import Usage
from budeval.scoring.advice.finding import Finding
from budeval.scoring.failures import JudgeError
from budeval.scoring.judge import Judge
from budeval.scoring.ledger import Ledger
from budeval.scoring.metrics.metric import Panel, Task
from budeval.scoring.metrics.statements import says_something
from budeval.scoring.replies import Answer

LONGEST_ASSESSMENT = 1500
MOST_STEPS, LONGEST_STEP = 5, 300
_SAMPLES = 3
_CONTEXTS = 5
_LONGEST_TEXT = 600
"""Characters of a text of a sample. The findings have what matters; these are for the tone."""

_EXPLAIN = Task(
    "You advise the owner of a system that answers questions from retrieved contexts. The findings were "
    "computed by fixed rules from the scores of samples, of which the worst are given. Explain in plain "
    "English, in at most 150 words, what is likely wrong and what to change first; then give at most 5 "
    "steps, the most promising first. Rest on the findings and samples alone, and add no numbers of yours. "
    'Reply with JSON only: {"assessment": "...", "steps": ["..."]}'
)


def _said(text: str) -> str:
    if not says_something(text):
        raise ValueError("it must have letters or digits")
    return text


class Prose(Answer):
    """What the model writes."""

    assessment: Annotated[str, AfterValidator(_said)]
    steps: list[str]


@dataclass(frozen=True)
class Explained:
    """The prose, or why there is none; and what it cost."""

    prose: Prose | None
    problem: str | None
    """`reason_code: message`."""
    usage: Usage


async def explained(
    run: ScoreRun, findings: Sequence[Finding], judge: Judge, seconds: float, ledger: Ledger
) -> Explained:
    """Ask once; whatever goes wrong with the model is told, not raised.

    Args:
        run: whose samples are shown.
        findings: what there is to explain.
        judge: open.
        seconds: for all of it.
        ledger: of the advice; what is answered in it is not asked for again.
    """
    panel = Panel(judge, None, ledger)
    try:
        async with asyncio.timeout(seconds):
            prose = await panel.ask(_prompt(run, findings), Prose)
    except TimeoutError:
        return Explained(None, f"advice_timeout: no answer within {seconds:g} s", ledger.lost)
    except JudgeError as error:
        return Explained(None, f"{error.reason_code}: {error.message}", panel.usage)
    return Explained(_cut(prose), None, panel.usage)


def _prompt(run: ScoreRun, findings: Sequence[Finding]) -> str:
    shown = {witness.sample_id: None for finding in findings for witness in finding.witnesses}
    worst = [sample for sample in run.samples if sample.sample_id in shown][:_SAMPLES]
    return _EXPLAIN.on(findings=list(map(_told, findings)), samples=list(map(_excerpt, worst)))


def _told(finding: Finding) -> dict[str, Any]:
    return {
        "finding": finding.title,
        "metrics": finding.metrics,
        "mean": finding.value,
        "threshold": finding.threshold,
        "samples_affected": f"{finding.affected} of {finding.of}",
        "severity": finding.severity,
        "evidence": [detail for witness in finding.witnesses for detail in witness.details],
        "possible_changes": finding.changes,
    }


def _excerpt(scored: ScoredSample) -> dict[str, Any]:
    sample = scored.sample
    return {
        "question": _short(sample.question),
        "contexts": [_short(context) for context in sample.contexts[:_CONTEXTS]],
        "answer": _short(sample.answer),
        "ground_truth": _short(sample.ground_truth),
    }


def _short(text: str | None) -> str | None:
    return text and one_line(text, _LONGEST_TEXT)


def _cut(prose: Prose) -> Prose:
    steps = [one_line(step, LONGEST_STEP) for step in prose.steps if says_something(step)]
    return Prose(assessment=one_line(prose.assessment, LONGEST_ASSESSMENT), steps=steps[:MOST_STEPS])
