"""Metrics that compare texts letter by letter, without any model.

Texts are compared in Unicode's NFC, because one text has several encodings; but with case, accents and
spaces as they are: what they mean differs between languages (https://unicode.org/reports/tr15/). Distances
count code points, so they work for every script.
https://docs.ragas.io/en/v0.4.3/concepts/metrics/available_metrics/traditional/ and context_recall there
"""

import unicodedata
from collections.abc import Sequence

from rapidfuzz.distance import Levenshtein

from budeval.domain.scoring import Sample
from budeval.scoring.failures import RequestRefusedError
from budeval.scoring.metrics.metric import Evidence, Metric, Need, Panel, Value
from budeval.scoring.metrics.ranking import average_precision

MAX_CHARS = 600_000
"""Of all texts of a comparison, about a second's work: the time grows with the square."""
_SAME = 0.5
"""Similarity from which on two contexts are the same."""


def similarity(one: str, other: str) -> float:
    """1 less the Levenshtein distance over the longer text's length, in [0, 1]."""
    return Levenshtein.normalized_similarity(_nfc(one), _nfc(other))


async def _exact_match(sample: Sample, _panel: Panel) -> Value:
    return Value(float(_nfc(sample.answer or "") == _nfc(sample.ground_truth or "")))


async def _string_similarity(sample: Sample, _panel: Panel) -> Value:
    answer, truth = sample.answer or "", sample.ground_truth or ""
    _check_length([answer, truth])
    return Value(similarity(answer, truth))


async def _context_precision(sample: Sample, _panel: Panel) -> Value:
    """Average precision, where a context is relevant that is the same as some reference context."""
    best = _best(sample.contexts, sample.reference_contexts)
    return Value(average_precision([value >= _SAME for value in best]), _evidence("context", best))


async def _context_recall(sample: Sample, _panel: Panel) -> Value:
    """The share of reference contexts that are the same as some context."""
    best = _best(sample.reference_contexts, sample.contexts)
    found = [value >= _SAME for value in best]
    return Value(sum(found) / len(found), _evidence("reference_context", best))


def _best(texts: Sequence[str], others: Sequence[str]) -> list[float]:
    """For each text its similarity to that of the others which is nearest to it."""
    _check_length([*texts, *others])
    return [max(similarity(text, other) for other in others) for text in texts]


def _evidence(name: str, best: Sequence[float]) -> Evidence:
    return tuple({name: number, "similarity": value} for number, value in enumerate(best, 1))


def _check_length(texts: Sequence[str]) -> None:
    chars = sum(len(text) for text in texts)
    if chars > MAX_CHARS:
        text = f"{chars} characters are more than the {MAX_CHARS} that are compared"
        raise RequestRefusedError(text, "context_too_long")


def _nfc(text: str) -> str:
    return unicodedata.normalize("NFC", text)


EXACT_MATCH = Metric(
    name="exact_match",
    description="1 where the answer is the ground truth, letter by letter, else 0.",
    needs=(Need.ANSWER, Need.GROUND_TRUTH),
    measure=_exact_match,
)
STRING_SIMILARITY = Metric(
    name="non_llm_string_similarity",
    description="1 less the normalised Levenshtein distance of answer and ground truth.",
    needs=(Need.ANSWER, Need.GROUND_TRUTH),
    measure=_string_similarity,
)
NON_LLM_CONTEXT_PRECISION = Metric(
    name="non_llm_context_precision_with_reference",
    description="Whether contexts that resemble a reference context were retrieved first.",
    needs=(Need.CONTEXTS, Need.REFERENCE_CONTEXTS),
    measure=_context_precision,
)
NON_LLM_CONTEXT_RECALL = Metric(
    name="non_llm_context_recall",
    description="The share of reference contexts that resemble a retrieved one.",
    needs=(Need.CONTEXTS, Need.REFERENCE_CONTEXTS),
    measure=_context_recall,
)
