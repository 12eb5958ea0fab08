"""Metrics without a model: the value is what the definition gives, worked out by hand."""

import asyncio
from typing import Any

import pytest

from budeval.domain.scoring import MetricOutcome, MetricStatus, Sample, Usage
from budeval.scoring.score import score_metric


def _outcome(metric: str, **fields: Any) -> MetricOutcome:
    sample = Sample.model_validate({"question": "q", **fields})
    return asyncio.run(score_metric(metric, sample, None, None))


@pytest.mark.parametrize(
    ("answer", "truth", "value"),
    [
        ("Paris", "Paris", 1.0),
        ("Paris", "paris", 0.0),
        ("Paris", "Paris ", 0.0),
        ("巴黎", "巴黎", 1.0),
        ("باريس", "باريس", 1.0),
        ("Caf\u00e9", "Cafe\u0301", 1.0),  # one text in two encodings
        ("Straße", "STRASSE", 0.0),
    ],
)
def test_exact_match_is_letter_by_letter(answer: str, truth: str, value: float) -> None:
    """Case and spaces count, Unicode's encodings of one letter do not."""
    outcome = _outcome("exact_match", answer=answer, ground_truth=truth)

    assert (outcome.value, outcome.usage) == (value, Usage())


@pytest.mark.parametrize("nothing", ["", " \n", "\u200b"])
def test_nothing_is_no_exact_match_of_nothing(nothing: str) -> None:
    """RAGAS gives 1.0."""
    outcome = _outcome("exact_match", answer=nothing, ground_truth=nothing)

    assert (outcome.status, outcome.reason_code) == (MetricStatus.SKIPPED, "missing_answer")


@pytest.mark.parametrize(
    ("answer", "truth", "value"),
    [
        ("kitten", "sitting", 1 - 3 / 7),
        ("same", "same", 1.0),
        ("abc", "xyz", 0.0),
        ("abcd", "ab", 1 - 2 / 4),
        ("北京是首都", "北京是中国首都", 1 - 2 / 7),
        ("Caf\u00e9", "Cafe\u0301", 1.0),
        ("حدث", "حدث", 1.0),
    ],
)
def test_string_similarity_is_the_normalised_edit_distance(answer: str, truth: str, value: float) -> None:
    """1 less the edits over the longer text's length, in code points."""
    outcome = _outcome("non_llm_string_similarity", answer=answer, ground_truth=truth)

    assert outcome.value == pytest.approx(value)


@pytest.mark.parametrize(
    ("retrieved", "reference", "precision", "recall"),
    [
        ("a", "a", 1.0, 1.0),
        ("b", "a", 0.0, 0.0),
        ("ab", "a", 1 / 2, 1.0),
        ("abc", "cd", 1 / 3, 1 / 2),
        ("aab", "a", 1 / 2, 1.0),  # once is as good as twice
        ("ab", "abcde", 1.0, 2 / 5),
    ],
)
def test_ids_are_compared_as_sets(retrieved: str, reference: str, precision: float, recall: float) -> None:
    """Each letter is an id."""
    ids = {"context_ids": list(retrieved), "reference_context_ids": list(reference)}

    assert _outcome("id_based_context_precision", **ids).value == pytest.approx(precision)
    assert _outcome("id_based_context_recall", **ids).value == pytest.approx(recall)


@pytest.mark.parametrize(
    ("retrieved", "reference", "precision", "recall"),
    [
        (["abcd"], ["abcd"], 1.0, 1.0),
        (["wxyz"], ["abcd"], 0.0, 0.0),
        (["wxyz", "abcd"], ["abcd"], 1 / 2, 1.0),
        (["abxx"], ["abcd"], 1.0, 1.0),  # 2 edits of 4: exactly the threshold
        (["axxx"], ["abcd"], 0.0, 0.0),  # 3 edits of 4
        (["abcd", "wxyz", "efgh"], ["efgh", "abcd", "ijkl"], (1 + 2 / 3) / 2, 2 / 3),
    ],
)
def test_contexts_that_resemble_a_reference_count(
    retrieved: list[str], reference: list[str], precision: float, recall: float
) -> None:
    """A similarity of half is enough, for both."""
    contexts = {"contexts": retrieved, "reference_contexts": reference}

    assert _outcome("non_llm_context_precision_with_reference", **contexts).value == pytest.approx(precision)
    assert _outcome("non_llm_context_recall", **contexts).value == pytest.approx(recall)


def test_blank_contexts_are_none() -> None:
    """They hold no rank: the first of these is the second that was given."""
    contexts = {"contexts": ["  ", "abcd"], "reference_contexts": ["abcd"]}

    assert _outcome("non_llm_context_precision_with_reference", **contexts).value == 1.0


@pytest.mark.parametrize(
    ("metric", "fields"),
    [
        ("non_llm_string_similarity", {"answer": "a" * 2_000_000, "ground_truth": "b"}),
        ("non_llm_context_recall", {"contexts": ["a" * 2_000_000], "reference_contexts": ["b"]}),
    ],
)
def test_texts_that_would_take_minutes_are_refused(metric: str, fields: dict[str, Any]) -> None:
    """The time grows with the square of their length."""
    outcome = _outcome(metric, **fields)

    assert (outcome.status, outcome.reason_code) == (MetricStatus.FAILED, "context_too_long")
