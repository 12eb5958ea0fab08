"""What is skipped, and why."""

import asyncio

import pytest

from budeval.domain.scoring import MetricStatus, Sample, Usage
from budeval.scoring.metrics import METRICS
from budeval.scoring.requirements import applicable, is_blank
from budeval.scoring.score import score_metric
from tests.scoring.asking import FULL, scored_by
from tests.scoring.fake_judge import YES, FakeJudge, verdicts


def _skipped(sample: Sample, *, judge: bool = True, embedder: bool = True) -> dict[str, str]:
    return applicable(METRICS, sample, has_judge=judge, has_embedder=embedder)[1]


def test_a_full_sample_is_scored_by_every_metric() -> None:
    """In the order asked for."""
    wanted = list(METRICS)[::-1]

    assert applicable(wanted, FULL, has_judge=True, has_embedder=True) == (wanted, {})


@pytest.mark.parametrize("blank", [None, "", " \t\n", "\u200b\u00a0"])
def test_a_blank_answer_is_none(blank: str | None) -> None:
    """Also where only what cannot be seen is in it."""
    assert _skipped(FULL.model_copy(update={"answer": blank})) == dict.fromkeys(
        [
            "faithfulness",
            "answer_relevancy",
            "context_utilization",
            "answer_correctness",
            "semantic_similarity",
            "exact_match",
            "non_llm_string_similarity",
        ],
        "missing_answer",
    )


def test_a_sample_without_a_ground_truth() -> None:
    """What compares with it is skipped."""
    assert _skipped(FULL.model_copy(update={"ground_truth": None})) == dict.fromkeys(
        [
            "context_precision",
            "context_recall",
            "answer_correctness",
            "semantic_similarity",
            "exact_match",
            "non_llm_string_similarity",
        ],
        "missing_ground_truth",
    )


@pytest.mark.parametrize("text", ["a", "\U0001fae8", "\U00031350", "\ue000"])
def test_what_can_be_seen_is_not_blank(text: str) -> None:
    """Also what this Python's Unicode does not know yet, as emoji and Han of version 15."""
    assert not is_blank(f" {text}")


@pytest.mark.parametrize("contexts", [(), ("", "  ")])
def test_a_sample_without_contexts(contexts: tuple[str, ...]) -> None:
    """Blank ones are none."""
    assert _skipped(FULL.model_copy(update={"contexts": contexts})) == dict.fromkeys(
        [
            "faithfulness",
            "context_precision",
            "context_utilization",
            "context_recall",
            "non_llm_context_precision_with_reference",
            "non_llm_context_recall",
        ],
        "missing_contexts",
    )


def test_a_sample_without_references_for_retrieval() -> None:
    """Texts and ids are asked for by their names."""
    references = {"reference_contexts": (), "reference_context_ids": (" ",)}

    assert _skipped(FULL.model_copy(update=references)) == {
        "non_llm_context_precision_with_reference": "missing_reference_contexts",
        "non_llm_context_recall": "missing_reference_contexts",
        "id_based_context_precision": "missing_ids",
        "id_based_context_recall": "missing_ids",
    }


def test_metrics_without_those_they_ask() -> None:
    """The judge is missed first."""
    embedding = {"answer_relevancy", "answer_correctness", "semantic_similarity"}
    judging = {name for name, metric in METRICS.items() if metric.needs_judge}

    assert _skipped(FULL, embedder=False) == dict.fromkeys(embedding, "no_embedder")
    assert _skipped(FULL, judge=False) == dict.fromkeys(judging, "no_judge")


def test_an_unknown_metric_is_an_error() -> None:
    """The API refuses it before."""
    with pytest.raises(KeyError):
        applicable(["faithfulnes"], FULL, has_judge=True, has_embedder=True)


def test_a_skipped_metric_costs_nothing() -> None:
    """And says so."""
    outcome = asyncio.run(score_metric("faithfulness", Sample(question="q"), None, None))

    assert (outcome.status, outcome.reason_code) == (MetricStatus.SKIPPED, "missing_answer")
    assert outcome.usage == Usage()


def test_blank_contexts_do_not_reach_the_judge(fake: FakeJudge) -> None:
    """They would be judged, paid for, and take a rank."""
    fake.will_say(verdicts(YES))
    sample = FULL.model_copy(update={"contexts": (" ", "It was in 1969.", "\n")})

    assert scored_by(fake, "context_precision", sample).value == 1.0
    assert fake.data(0)["contexts"] == {"1": "It was in 1969."}


def test_a_version_changes_with_what_the_judge_is_told() -> None:
    """Values of different versions must not be averaged; metrics with other tasks have other versions."""
    judged = {metric.name: metric.version for metric in METRICS.values() if metric.needs_judge}

    assert judged.pop("context_utilization") == judged["context_precision"]
    assert len(set(judged.values())) == len(judged)
