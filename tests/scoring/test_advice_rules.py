"""Which rule finds what."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from budeval.domain.score_job import AdviceStatus
from budeval.domain.scoring import MetricOutcome, scored
from budeval.scoring.advice.finding import Area, Finding, Severity
from budeval.scoring.advice.findings import findings_of
from budeval.scoring.advice.gaps import gaps_of
from budeval.scoring.advice.page import Advice, advice_page
from budeval.scoring.advice.rules import RANKING, REPAIR, RULES, SHARE, SIMILARITY, SUPPLY
from budeval.scoring.metrics import METRICS, Need
from tests.scoring.runs import MIXED, failed, run_of, sample_of, single, skipped, undetermined, value

_EVASIVE = {"noncommittal": True}


def _found(*outcomes: MetricOutcome) -> list[str]:
    return [finding.rule for finding in findings_of(single(*outcomes))]


def _only(*outcomes: MetricOutcome) -> Finding:
    (finding,) = findings_of(single(*outcomes))
    return finding


def _values(**values: float) -> list[MetricOutcome]:
    return [value(metric, number) for metric, number in values.items()]


@pytest.mark.parametrize(
    ("values", "rules"),
    [
        ({"context_recall": 0.5}, ["contexts_lack_the_answer"]),
        ({"non_llm_context_recall": 0.5}, ["contexts_lack_the_answer"]),
        ({"id_based_context_recall": 0.5}, ["contexts_lack_the_answer"]),
        ({"context_recall": 0.9, "non_llm_context_recall": 0.1}, []),  # the judge's counts
        ({"context_precision": 0.5}, ["contexts_are_noisy"]),
        ({"context_utilization": 0.5}, ["contexts_are_noisy"]),
        ({"non_llm_context_precision_with_reference": 0.5}, ["contexts_are_noisy"]),
        ({"id_based_context_precision": 0.5}, ["contexts_are_too_many"]),  # the useful one may be the first
        ({"id_based_context_precision": 0.5, "context_precision": 0.9}, []),
        ({"id_based_context_precision": 0.5, "context_precision": 0.5}, ["contexts_are_noisy"]),
        ({"id_based_context_precision": 0.0}, ["contexts_seem_useless"]),
        ({"context_precision": 0.0}, ["contexts_seem_useless"]),  # none comes before another
        ({"context_utilization": 0.0, "context_recall": 0.8}, ["contexts_go_unused"]),
        (
            {"context_recall": 1.0, "context_utilization": 0.0, "faithfulness": 0.0},
            ["contexts_go_unused", "invents_despite_contexts"],
        ),
        ({"non_llm_context_precision_with_reference": 0.0, "context_recall": 1.0}, ["contexts_go_unused"]),
        ({"context_precision": 1e-9}, ["contexts_are_noisy"]),
        ({"faithfulness": 0.5, "context_recall": 0.9}, ["invents_despite_contexts"]),
        (
            {"faithfulness": 0.3, "context_recall": 0.5},
            ["invents_for_lack_of_contexts", "contexts_lack_the_answer"],
        ),
        ({"faithfulness": 0.5}, ["invents"]),
        ({"answer_relevancy": 0.5}, ["misses_the_question"]),
        ({"answer_correctness": 0.5, "faithfulness": 0.9}, ["grounded_but_wrong"]),
        ({"answer_correctness": 0.5, "context_recall": 0.9}, ["wrong_despite_contexts"]),
        ({"answer_correctness": 0.5}, ["wrong_for_unknown_reasons"]),
        ({"answer_correctness": 0.7, "semantic_similarity": 0.1}, []),  # its quarter of the correctness
        ({"semantic_similarity": 0.5}, ["means_something_else"]),
        ({"exact_match": 0.0}, ["other_words"]),
        ({"exact_match": 0.0, "non_llm_string_similarity": 0.0}, ["other_words"]),
        ({"non_llm_string_similarity": 0.4}, ["other_words"]),
        ({"exact_match": 0.0, "semantic_similarity": 0.9}, ["right_in_other_words"]),
        ({"exact_match": 0.0, "answer_correctness": 0.7}, ["other_words_and_meaning"]),
        (
            {"exact_match": 0.0, "semantic_similarity": 0.3},
            ["other_words_and_meaning", "means_something_else"],
        ),
        ({"faithfulness": 0.8, "context_recall": 0.8, "context_precision": 0.7, "answer_relevancy": 0.6}, []),
    ],
)
def test_a_low_score_is_read_with_the_others(values: dict[str, float], rules: list[str]) -> None:
    """The same value has other causes where other values are other; thresholds themselves are no fault."""
    assert _found(*_values(**values)) == rules


@pytest.mark.parametrize(
    ("recall", "rule"),
    [
        (0.9, "evades_despite_contexts"),
        (0.5, "evades"),
        (None, "evades_for_unknown_reasons"),
    ],
)
def test_an_evasive_answer_is_no_answer_beside_the_question(recall: float | None, rule: str) -> None:
    """Whether the contexts are to blame is seen by the recall."""
    others = _values(context_recall=recall) if recall else []

    found = _found(value("answer_relevancy", 0.0, _EVASIVE), *others)

    assert rule in found
    assert "misses_the_question" not in found


_THRESHOLDS = {rule.family: rule.threshold for rule in RULES}


@given(st.dictionaries(st.sampled_from(sorted(METRICS)), st.floats(0, 1), min_size=1))
def test_nothing_low_goes_without_a_rule(values: dict[str, float]) -> None:
    """Whatever else is known: where the most telling metric of a family is low, something is found."""
    telling = {
        family: next(values[metric] for metric in family if metric in values)
        for family in _THRESHOLDS
        if values.keys() & set(family)
    }
    if "answer_correctness" in values:
        telling.pop(SIMILARITY, None)
    if values.keys() & set(RANKING):
        telling.pop(SHARE, None)

    low = any(number < _THRESHOLDS[family] for family, number in telling.items())

    assert bool(_found(*_values(**values))) is low


def test_every_metric_has_rules() -> None:
    """One that had none could be low without a word."""
    assert {metric for rule in RULES for metric in rule.family} == METRICS.keys()


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_every_rule_says_what_to_change_and_measures_what_there_is(rule: Any) -> None:
    """Its metrics are metrics of this service, its title a sentence, and it names an area."""
    assert set(rule.family) <= METRICS.keys()
    assert all(set(family) <= METRICS.keys() for family, _ in rule.given)
    assert 0 < rule.threshold < 1
    assert rule.areas
    assert rule.title.endswith(".")
    assert all(change.endswith(".") for change in rule.changes)


def test_names_of_rules_are_distinct() -> None:
    """They are stable, and told to programs."""
    assert len({rule.name for rule in RULES}) == len(RULES)


def test_every_reason_has_a_remedy() -> None:
    """Of inputs that are missing, and of endpoints that fail: each code of the metrics is in the table."""
    lacking = {f"missing_{need}" for need in Need} | {"no_judge", "no_embedder"}
    kinds = {
        f"{kind}_{what}" for kind in ("judge", "embedder") for what in ("timeout", "unavailable", "refused")
    }
    others = {"rate_limited", "judge_output_invalid", "judge_truncated", "context_too_long", "no_statements"}
    ours = {"deadline", "endpoint_unknown", "engine_unavailable"}

    assert lacking == SUPPLY.keys()
    assert kinds | others | ours | {"embedding_invalid", "embedding_zero_norm"} == REPAIR.keys()


@pytest.mark.parametrize("reason", ["deadline", "endpoint_unknown", "engine_unavailable"])
def test_what_the_service_ends_itself_has_a_remedy(reason: str) -> None:
    """It is no fault of judge or sample, so the message alone would help nobody."""
    (gap,) = gaps_of(single(failed("faithfulness", reason)))

    assert gap.changes == (REPAIR[reason],)
    assert "retry" in gap.changes[0]


def test_a_finding_cites_what_it_rests_on() -> None:
    """Metric, value, threshold, the sample, and what the judge said against it."""
    finding = next(found for found in findings_of(MIXED) if found.rule == "invents")

    assert (finding.metrics, finding.value, finding.threshold) == (("faithfulness",), 0.5, 0.8)
    assert (finding.affected, finding.of, finding.severity) == (1, 1, Severity.HIGH)
    (witness,) = finding.witnesses
    assert (witness.sample_id, witness.value) == ("async-score-1", 0.5)
    assert witness.details == ("\u201cIt was a Sunday.\u201d: not supported",)


@pytest.mark.parametrize(
    ("outcome", "detail"),
    [
        (
            value("context_recall", 0.1, {"statement": "A\nb.", "attributed": False}),
            "\u201cA b.\u201d: not attributed",
        ),
        (value("context_precision", 0.1, {"context": 2, "useful": False}), "context 2: not useful"),
        (value("id_based_context_recall", 0.1, {"id": "doc-7", "found": False}), "id doc-7: not found"),
        (
            value("non_llm_context_recall", 0.1, {"reference_context": 1, "similarity": 0.25}),
            "reference context 1: similarity 0.25",
        ),
        (
            value("answer_relevancy", 0.1, {"question": "Who?", "similarity": 0.7}),
            "\u201cWho?\u201d: similarity 0.70",
        ),
        (value("answer_relevancy", 0.0, _EVASIVE), "the answer is noncommittal"),
        (value("context_recall", 0.1, {"statement": "x" * 500, "attributed": False}), None),
    ],
)
def test_evidence_is_told_in_words(outcome: MetricOutcome, detail: str | None) -> None:
    """Of every metric: what speaks against a good value, on one line, cut."""
    (told,) = _only(outcome).witnesses[0].details

    assert detail is None or told == detail
    assert len(told) < 230


def test_evidence_for_a_good_value_is_none_against_it() -> None:
    """What the judge found supported is not cited."""
    kept = value(
        "context_recall", 0.5, {"statement": "A.", "attributed": True}, {"context": 1, "useful": True}
    )

    assert _only(kept).witnesses[0].details == ()


def test_of_many_samples_the_affected_are_counted_and_the_worst_named() -> None:
    """The mean is over all, the impact over all too: two bad ones of twenty are no disaster."""
    bad = [
        sample_of(value("context_recall", number), sample_id=f"bad-{number}")
        for number in (0.4, 0.0, 0.2, 0.6)
    ]
    good = [sample_of(value("context_recall", 1.0), sample_id=f"good-{at}") for at in range(16)]

    (finding,) = findings_of(run_of(*good, *bad))

    assert (finding.affected, finding.of) == (4, 20)
    assert finding.value == pytest.approx((16 + 1.2) / 20)
    assert [witness.sample_id for witness in finding.witnesses] == ["bad-0.0", "bad-0.2", "bad-0.4"]
    assert finding.impact == pytest.approx((0.5 + 1 + 0.75 + 0.25) / 20)
    assert finding.severity is Severity.MEDIUM


def test_a_mean_is_of_the_metrics_that_are_named() -> None:
    """Also where only one of them is too low: alone it has another mean, which the summary tells."""
    judged = sample_of(
        value("context_recall", 0.2), value("id_based_context_recall", 1.0), sample_id="judged"
    )
    by_ids = sample_of(skipped("context_recall"), value("id_based_context_recall", 1.0), sample_id="by ids")
    run = run_of(by_ids, judged)

    (finding,) = findings_of(run)
    page = advice_page(run, Advice(AdviceStatus.RULES_ONLY, [finding], []))

    assert finding.metrics == ("context_recall", "id_based_context_recall")
    assert (finding.affected, finding.of) == (1, 2)
    assert finding.value == pytest.approx(0.6)
    assert (
        "`context_recall` / `id_based_context_recall`, each sample by the first that it has, "
        "is 0.6000 on average" in page
    )


def test_a_condition_is_judged_sample_by_sample() -> None:
    """A mean over samples with and without their contexts would fit neither rule."""
    inventive = sample_of(value("faithfulness", 0.2), value("context_recall", 1.0), sample_id="a")
    starved = sample_of(value("faithfulness", 0.2), value("context_recall", 0.0), sample_id="b")

    found = {finding.rule: finding for finding in findings_of(run_of(inventive, starved))}

    assert [witness.sample_id for witness in found["invents_despite_contexts"].witnesses] == ["a"]
    assert [witness.sample_id for witness in found["invents_for_lack_of_contexts"].witnesses] == ["b"]


@pytest.mark.parametrize(
    ("recall", "severity"), [(0.5, Severity.HIGH), (0.7, Severity.MEDIUM), (0.78, Severity.LOW)]
)
def test_severity_is_the_shortfall(recall: float, severity: Severity) -> None:
    """As a share of the threshold."""
    assert _only(value("context_recall", recall)).severity is severity


def test_the_worst_comes_first() -> None:
    """By impact; those of the same keep the order of the rules."""
    assert _found(*_values(context_recall=0.7, context_precision=0.1)) == [
        "contexts_are_noisy",
        "contexts_lack_the_answer",
    ]
    assert _found(*_values(context_recall=0.0, context_precision=0.0)) == [
        "contexts_lack_the_answer",
        "contexts_are_useless",
    ]


def test_what_could_not_be_measured_is_told_with_its_remedy() -> None:
    """Failures first: they may pass. Then inputs that are missing, by the number of samples."""
    gaps = gaps_of(
        run_of(
            sample_of(
                skipped("context_recall"), skipped("exact_match"), failed("faithfulness"), sample_id="a"
            ),
            sample_of(
                skipped("context_recall"),
                undetermined("exact_match"),
                skipped("faithfulness", "no_judge"),
                sample_id="b",
            ),
        )
    )

    assert [gap.rule for gap in gaps] == [
        "failed:judge_timeout",
        "skipped:missing_ground_truth",
        "skipped:no_judge",
        "undetermined:no_statements",
    ]
    missing = gaps[1]
    assert (missing.metrics, missing.affected, missing.of) == (("context_recall", "exact_match"), 2, 2)
    assert missing.areas == (Area.INPUTS,)
    assert missing.changes == ("Give `ground_truth`: what should have been answered.",)
    assert gaps[0].witnesses[0].details == ("no answer",)


def test_a_reason_that_nobody_knows_is_told_all_the_same() -> None:
    """Of another engine, perhaps."""
    (gap,) = gaps_of(single(failed("faithfulness", "ragas_said_no")))

    assert gap.rule == "failed:ragas_said_no"
    assert "scores.json" in gap.changes[0]


@given(
    st.lists(
        st.dictionaries(st.sampled_from(sorted(METRICS)), st.floats(0, 1), min_size=1), min_size=1, max_size=5
    )
)
@settings(max_examples=50)
def test_every_finding_is_below_its_threshold(samples: list[dict[str, float]]) -> None:
    """Whatever is scored: nothing is found where nothing is low, and the order is that of the impact."""
    run = run_of(
        *(sample_of(*(scored(metric, number) for metric, number in sample.items())) for sample in samples)
    )

    found = findings_of(run)

    for finding in found:
        assert 0 < finding.affected <= finding.of <= len(samples)
        assert 0 <= finding.impact <= 1
        assert finding.threshold
        assert all((witness.value or 0) < finding.threshold for witness in finding.witnesses)
    assert [finding.impact for finding in found] == sorted(
        (finding.impact for finding in found), reverse=True
    )
