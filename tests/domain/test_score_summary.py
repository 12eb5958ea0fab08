"""The samples of a run together."""

import pytest

from budeval.domain.score_summary import summary_of
from budeval.domain.scoring import MetricStatus, Usage
from tests.scoring.runs import MIXED, failed, many, run_of, sample_of, skipped, value


def test_the_mean_is_of_those_that_have_a_value() -> None:
    """What was skipped or has failed is counted, and counts for nothing."""
    run = run_of(
        sample_of(value("faithfulness", 1.0), sample_id="a"),
        sample_of(skipped("faithfulness", "missing_contexts"), sample_id="b"),
        sample_of(failed("faithfulness"), sample_id="c"),
        sample_of(value("faithfulness", 0.5), sample_id="d"),
    )

    (metric,) = summary_of(run).metrics

    assert metric.mean
    assert (metric.mean.value, metric.mean.samples) == (0.75, 2)
    assert metric.statuses == {MetricStatus.SCORED: 2, MetricStatus.SKIPPED: 1, MetricStatus.FAILED: 1}


def test_a_metric_without_any_value_has_no_mean() -> None:
    """It is told all the same, in the order of the request."""
    summary = summary_of(MIXED)

    assert [item.metric for item in summary.metrics] == list(MIXED.metrics)
    assert [item.mean.value if item.mean else None for item in summary.metrics] == [
        0.5,
        0.9,
        None,
        None,
        None,
    ]


def test_weighted_scores_cost_and_time_are_those_of_all_samples() -> None:
    """The mean of the weighted scores, how much they rest on, and sums."""
    summary = summary_of(many())

    assert summary.weighted
    assert summary.weighted.value == pytest.approx(0.575)
    assert summary.weight_coverage == 1.0
    assert summary.usage == Usage(calls=48, prompt_tokens=4800, completion_tokens=480)
    assert summary.latency_ms == 12 * 1400


def test_a_run_without_samples_has_a_summary() -> None:
    """Every line of a file may be invalid."""
    summary = summary_of(run_of())

    assert (summary.weighted, summary.weight_coverage, summary.metrics[0].mean) == (None, 0.0, None)
