"""Whether the differences between two evaluations are more than chance."""

import itertools
import math
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from budeval.domain.comparison import Difference, Measure, Pairing, Verdict, compare, overall, unpacked
from budeval.engines.opencompass.extract_results import Marks, packed, uncertainty

_ITEMS = "5f" * 32


def _measure(right: list[bool], items: str | None = _ITEMS, **more: Any) -> Measure:
    score = 100 * sum(right) / len(right)
    cell = {"score": score, "unit": "percent", "samples": len(right), "state": "scored"}
    if items:
        cell["verdicts"] = packed(Marks(right, items))
    return Measure(cell=cell, binary=True, **{"measured_by": "exact", **more})


def _one(base: Measure | None, candidate: Measure | None, alpha: float = 0.05) -> Difference:
    (found,) = compare([Pairing("sums", base, candidate)], alpha)
    return found


def _bits(right: int, count: int) -> list[bool]:
    return [place < right for place in range(count)]


@given(st.lists(st.booleans(), min_size=1, max_size=40))
def test_verdicts_survive_their_packing(right: list[bool]) -> None:
    """Whatever their number."""
    assert unpacked(packed(Marks(right, _ITEMS))) == right


def test_the_same_verdicts_are_no_evidence() -> None:
    """Not even of being equal."""
    found = _one(_measure(_bits(30, 64)), _measure(_bits(30, 64)))

    assert (found.verdict, found.p_value, found.difference) == (Verdict.NO_EVIDENCE, 1.0, 0.0)
    assert (found.method, found.counts) == ("mcnemar_exact", {"only_base": 0, "only_candidate": 0})


@pytest.mark.parametrize(
    ("candidate", "verdict"), [(_bits(10, 64), Verdict.WORSE), (_bits(60, 64), Verdict.BETTER)]
)
def test_a_large_paired_difference_is_told(candidate: list[bool], verdict: Verdict) -> None:
    """With its direction."""
    assert _one(_measure(_bits(35, 64)), _measure(candidate)).verdict is verdict


def _by_permutations(base: list[bool], candidate: list[bool]) -> float:
    """The exact permutation test: under chance each sample's two verdicts may be swapped."""
    differing = [int(other) - int(one) for one, other in zip(base, candidate, strict=True) if one != other]
    observed = abs(sum(differing))
    signs = itertools.product((-1, 1), repeat=len(differing))
    extreme: int = sum(
        abs(sum(s * d for s, d in zip(sign, differing, strict=True))) >= observed for sign in signs
    )
    return extreme / float(2 ** len(differing))


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=4, max_size=12))
def test_the_paired_p_value_is_that_of_all_permutations(pairs: list[tuple[bool, bool]]) -> None:
    """McNemar's exact test is the sign test on the samples that differ."""
    base, candidate = [one for one, _ in pairs], [other for _, other in pairs]

    found = _one(_measure(base), _measure(candidate))

    assert found.p_value == pytest.approx(_by_permutations(base, candidate))


def test_the_paired_p_value_is_that_of_random_permutations() -> None:
    """On a set of the size that is used: 120 samples, 20 000 shuffles with a fixed seed."""
    chance = random.Random(20261123)  # noqa: S311 - a simulation
    base = [chance.random() < 0.6 for _ in range(120)]
    candidate = [one if chance.random() < 0.7 else chance.random() < 0.4 for one in base]
    differing = [int(other) - int(one) for one, other in zip(base, candidate, strict=True) if one != other]
    shuffles = 20_000
    extreme = sum(
        abs(sum(d if chance.random() < 0.5 else -d for d in differing)) >= abs(sum(differing))
        for _ in range(shuffles)
    )

    p_value = _one(_measure(base), _measure(candidate)).p_value or 0.0

    # Within four standard errors of a share of 20 000 draws.
    assert p_value == pytest.approx(extreme / shuffles, abs=4 * math.sqrt(0.25 / shuffles))


def test_the_same_rows_asked_in_other_words_are_compared_unpaired() -> None:
    """With an interval, Newcombe's."""
    base, candidate = _measure(_bits(48, 80), rows="r"), _measure(_bits(64, 80), items="aa" * 32, rows="r")

    found = _one(base, candidate)

    assert (found.method, found.verdict) == ("fisher_exact", Verdict.BETTER)
    assert found.difference == pytest.approx(0.2)
    assert found.interval == pytest.approx(_newcombe(64, 48, 80), abs=1e-12)


def _newcombe(right: int, other: int, count: int) -> list[float]:
    """His method 10 from its formula: the distances to Wilson's limits, added as squares."""
    (_, low, high), (_, other_low, other_high) = (uncertainty(k / count, count) for k in (right, other))
    one, two = right / count, other / count
    return [
        one - two - math.hypot(one - low, other_high - two),
        one - two + math.hypot(high - one, two - other_low),
    ]


def test_the_formula_is_newcombes() -> None:
    """His own example, 56 of 70 against 48 of 80 (1998, table II, a), as statsmodels computes it."""
    from statsmodels.stats.proportion import confint_proportions_2indep  # noqa: PLC0415 - seconds to import

    found = confint_proportions_2indep(56, 70, 48, 80, compare="diff", method="newcomb")

    assert list(found) == pytest.approx([0.0524, 0.3339], abs=5e-5)


def test_rows_in_another_form_are_the_same_items() -> None:
    """A CSV file and a JSON Lines file of the same questions and answers."""
    assert _one(_measure([True, False], rows="csv"), _measure([True, False], rows="jsonl")).p_value == 1.0


@pytest.mark.parametrize("right", [0, 40])
def test_two_equal_extremes_are_no_evidence(right: int) -> None:
    """Where the test's variance is nothing."""
    found = _one(_measure(_bits(right, 40), rows="r"), _measure(_bits(right, 40), items=None, rows="r"))

    assert (found.verdict, found.p_value) == (Verdict.NO_EVIDENCE, 1.0)


def test_opposite_extremes_are_told() -> None:
    """Five of five against none of five: 2/252 of all tables are as extreme."""
    found = _one(_measure(_bits(0, 5), rows="r"), _measure(_bits(5, 5), items=None, rows="r"))

    assert found.verdict is Verdict.BETTER
    assert found.p_value == pytest.approx(2 / 252)


def test_several_datasets_are_corrected_for_together() -> None:
    """After Holm: what is significant alone need not be among five."""
    small = [Pairing(f"d{n}", _measure(_bits(30, 60)), _measure(_bits(30, 60))) for n in range(4)]
    base = [True] * 10 + [False] * 50
    candidate = [False] * 8 + [True] * 2 + [True] + [False] * 49
    pairing = Pairing("odd", _measure(base), _measure(candidate))

    alone, among = compare([pairing], 0.05)[0], compare([pairing, *small], 0.05)[0]

    assert alone.verdict is Verdict.WORSE
    assert among.p_value == alone.p_value
    assert among.p_holm == pytest.approx(5 * (alone.p_value or 0))
    assert among.verdict is Verdict.NO_EVIDENCE


@pytest.mark.parametrize(
    ("base", "candidate", "says"),
    [
        (None, _measure([True]), "only the candidate has"),
        (_measure([True]), None, "only the base has"),
        (_measure([True]), Measure({"score": None, "reason": "OOM"}, "exact"), "no score: OOM"),
        (Measure({"score": 27.0, "unit": None, "samples": 9}, "bleu"), _measure([True]), "no share"),
        (_measure([True]), Measure({"score": 27.0, "unit": "percent"}, "exact", binary=True), "no share"),
        (_measure([True]), _measure([True], measured_by="choice"), "measured by exact and by choice"),
        (_measure([True], rows="a"), _measure([True], rows="b", items="cc" * 32), "rows are others"),
        (_measure([True]), _measure([True], items="cc" * 32), "not known to be the same"),
        (_measure([True], rows="a"), _measure([True], items=None), "not known to be the same"),
        (_measure([True], rows="a"), _measure([True] * 2, rows="a"), "number of samples differs: 1 and 2"),
        (
            _measure([True]),
            Measure({"score": 120.0, "unit": "percent", "samples": 1}, "exact", binary=True),
            "no share",
        ),
        (
            Measure({"score": -0.1, "unit": "fraction", "samples": 1}, "exact", binary=True),
            _measure([True]),
            "no share",
        ),
        (
            _measure([True]),
            Measure({"score": 9.0, "doubt": "9 is no fraction"}, "exact", binary=True),
            "doubtful: 9 is",
        ),
    ],
)
def test_what_cannot_be_compared_says_why(base: Measure | None, candidate: Measure | None, says: str) -> None:
    """And has no number that somebody could believe."""
    found = _one(base, candidate)

    assert found.verdict is Verdict.NOT_COMPARABLE
    assert says in (found.reason or "")
    assert (found.p_value, found.p_holm, found.difference) == (None, None, None)


def test_one_loss_is_a_loss() -> None:
    """Whatever was gained elsewhere; what could not be compared may be a loss."""

    def of(*verdicts: Verdict) -> Verdict:
        return overall([Difference("d", verdict=verdict) for verdict in verdicts])

    assert of(Verdict.BETTER, Verdict.WORSE, Verdict.NO_EVIDENCE) is Verdict.WORSE
    assert of(Verdict.NOT_COMPARABLE, Verdict.WORSE) is Verdict.WORSE
    assert of(Verdict.BETTER, Verdict.NO_EVIDENCE) is Verdict.BETTER
    assert of(Verdict.BETTER, Verdict.NO_EVIDENCE, Verdict.NOT_COMPARABLE) is Verdict.NOT_COMPARABLE
    assert of(Verdict.NO_EVIDENCE) is Verdict.NO_EVIDENCE
    assert of(Verdict.NOT_COMPARABLE) is of() is Verdict.NOT_COMPARABLE


@given(count=st.integers(1, 500), part=st.floats(0, 1))
def test_the_extractors_interval_is_wilsons(count: int, part: float) -> None:
    """What the pod's own code repeats is what statsmodels says."""
    from statsmodels.stats.proportion import proportion_confint  # noqa: PLC0415 - seconds to import

    right = round(part * count)

    _, low, high = uncertainty(right / count, count)

    expected = proportion_confint(right, count, alpha=0.05, method="wilson")
    assert (low, high) == pytest.approx(expected, abs=1e-12)
