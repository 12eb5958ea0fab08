"""Means of values in [0, 1] and how far they can be trusted."""

import math
import random
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from budeval.domain.bounded_mean import interval, mean_of

Draw = Callable[[random.Random], float]

_DISTRIBUTIONS: dict[str, tuple[Draw, float]] = {
    "right or wrong": (lambda chance: float(chance.random() < 0.9), 0.9),
    "a coin": (lambda chance: float(chance.random() < 0.5), 0.5),
    "piled up at one": (lambda chance: 1.0 if chance.random() < 0.8 else chance.random(), 0.9),
    "skewed": (lambda chance: chance.betavariate(8, 2), 0.8),
    "narrow": (lambda chance: chance.uniform(0.7, 0.8), 0.75),
}


@pytest.mark.parametrize("samples", [2, 10, 40])
@pytest.mark.parametrize("name", _DISTRIBUTIONS)
def test_the_true_mean_is_in_the_interval(name: str, samples: int) -> None:
    """In 95 % of all cases at least; of 400, with fixed chances, and three standard errors of slack."""
    draw, mean = _DISTRIBUTIONS[name]
    chance = random.Random(f"{name} {samples}")  # noqa: S311 - of an experiment

    covered = 0
    for _ in range(400):
        low, high = interval([draw(chance) for _ in range(samples)])
        covered += low <= mean <= high

    assert covered >= 400 * 0.95 - 3 * math.sqrt(400 * 0.95 * 0.05)


def test_it_is_narrower_for_more_samples_and_for_values_that_vary_less() -> None:
    """Otherwise it would be of no use."""

    def width(values: list[float]) -> float:
        low, high = interval(values)
        return high - low

    wild, tame = [0.0, 1.0] * 50, [0.45, 0.55] * 50

    assert width(tame) < width(wild) / 2
    assert width(wild) < width(wild[:20]) < 1
    assert width(wild) < 0.3


@pytest.mark.parametrize(("value", "inside"), [(1.0, (0.8, 1.0)), (0.0, (0.0, 0.2))])
def test_values_that_are_all_the_same_are_no_certainty(value: float, inside: tuple[float, float]) -> None:
    """30 right answers of 30 do not make the next one right."""
    low, high = interval([value] * 30)

    assert inside[0] < high
    assert low < inside[1]
    assert 0 < high - low < 0.2


@given(st.lists(st.floats(0, 1), min_size=2, max_size=60))
def test_an_interval_holds_the_mean_and_stays_in_its_bounds(values: list[float]) -> None:
    """Whatever the values, and in whatever order: also sorted ones."""
    for ordered in (values, sorted(values)):
        found = mean_of(ordered)
        assert found
        assert found.interval
        low, high = found.interval
        assert 0 <= low <= found.value + 1e-12
        assert found.value - 1e-12 <= high <= 1


@given(st.lists(st.floats(0, 1), min_size=2, max_size=40))
def test_wrong_and_right_are_mirrored(values: list[float]) -> None:
    """The interval of the shares of failures is that of the successes, turned around."""
    low, high = interval(values)
    other_low, other_high = interval([1 - value for value in values])

    assert other_low == pytest.approx(1 - high, abs=2e-4)
    assert other_high == pytest.approx(1 - low, abs=2e-4)


def test_one_value_says_nothing_of_others() -> None:
    """It has neither standard error nor interval; none has no mean."""
    single = mean_of([0.4])

    assert single
    assert (single.samples, single.value, single.stderr, single.interval) == (1, 0.4, None, None)
    assert mean_of([]) is None


def test_the_standard_error_is_that_of_the_mean() -> None:
    """The sample's deviation over the root of their number."""
    found = mean_of([0.0, 0.5, 1.0, 0.5])

    assert found
    assert found.value == 0.5
    assert found.stderr == pytest.approx(math.sqrt(1 / 6) / 2)
