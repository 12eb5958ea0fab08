"""What is scored: samples written for this, and what the scripted judge thinks of them."""

import hashlib
import re
from pathlib import Path

from budeval.domain.scoring import Sample
from tests.scoring.fake_opinionated_judge import Plan, Statement

_FILE = Path(__file__).with_name("samples.jsonl")
_SENTENCE = re.compile(r"(?<=[.!?])\s+|(?<=。)")
_FILLER = " It is told at length in the sources, with dates, places and the names of those who saw it."

JUDGED = (
    "faithfulness",
    "answer_relevancy",
    "context_precision",
    "context_recall",
    "context_utilization",
    "answer_correctness",
)
"""The metrics that ask a judge."""
OF_THE_REFERENCE = JUDGED[:4]
"""The four that the original scoring manager has."""


def samples(context_chars: int | None = None) -> list[Sample]:
    """All of them; with contexts of that many characters each, where that is given."""
    lines = _FILE.read_text().splitlines()
    return [_stretched(Sample.model_validate_json(line), context_chars) for line in lines]


def _stretched(sample: Sample, chars: int | None) -> Sample:
    if chars is None:
        return sample
    filler = _FILLER * (chars // len(_FILLER) + 1)
    contexts = tuple((context + filler)[:chars] for context in sample.contexts)
    return sample.model_copy(update={"contexts": contexts})


def plan_of(sample: Sample) -> Plan:
    """Opinions that are drawn from the texts: two thirds of them are good ones."""
    return Plan(
        sample=sample,
        answer=_statements("answer", sample.answer or ""),
        truth=_statements("ground truth", sample.ground_truth or ""),
        useful=tuple(_drawn(context) for context in sample.contexts),
        questions=(f"{sample.question} (1)", f"{sample.question} (2)", f"{sample.question} (3)"),
    )


def _statements(of: str, text: str) -> tuple[Statement, ...]:
    sentences = [sentence for sentence in _SENTENCE.split(text) if sentence.strip()]
    return tuple(
        Statement(sentence, _drawn(f"grounded {of} {sentence}"), _drawn(f"confirmed {of} {sentence}"))
        for sentence in sentences
    )


def _drawn(text: str) -> bool:
    return hashlib.sha256(text.encode()).digest()[0] % 3 > 0
