"""The mean of values in [0, 1], and how far it can be trusted.

The interval is the hedged-capital one of Waudby-Smith and Ramdas (Estimating means of bounded random
variables by betting, J. R. Stat. Soc. B 86:1, 2024, doi:10.1093/jrsssb/qkad009): a mean is refuted if one who
bets against it gets rich. Metrics often pile up at 1; an interval from the normal distribution then has no
width, or leaves [0, 1], and promises too much for few samples. This one covers the true mean in at least 95 %
of all cases for any distribution on [0, 1] and any number of samples, and is narrower the less values vary.
"""

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from statistics import fmean, stdev

CONFIDENCE = 0.95
INTERVAL_METHOD = "hedged_capital_betting"

_RICH = 2 / (1 - CONFIDENCE)
"""What 1 has become when a mean is refuted. Half of the money is on its being too low, half on too high."""
_LARGEST_STAKE = 0.75
"""Of what is there in each bet. Less than all, so that nobody is ruined."""
_PRIOR_VARIANCE = 0.25
_HALVINGS = 30
_SCALE = 10_000


@dataclass(frozen=True)
class Mean:
    """Of values in [0, 1]."""

    samples: int
    value: float
    stderr: float | None
    """None for a single value, as the interval."""
    interval: tuple[float, float] | None
    """95 %, 4 decimals, for samples that are drawn independently."""


def mean_of(values: Sequence[float]) -> Mean | None:
    """The mean of values in [0, 1], with its standard error and interval; None of none."""
    if not values:
        return None
    mean = fmean(values)
    if len(values) == 1:
        return Mean(1, mean, None, None)
    return Mean(len(values), mean, stdev(values) / math.sqrt(len(values)), interval(values))


def interval(values: Sequence[float]) -> tuple[float, float]:
    """95 % for the mean that values in [0, 1] are drawn with; the same for the same values in the same order.

    The bets are made in another order, which is always the same: samples that a file has sorted, by
    difficulty perhaps, would seem to drift.
    """
    mixed = _mixed(values)
    stakes = _stakes(mixed)
    mean = fmean(values)
    low = _lowest_not_refuted(mixed, stakes, mean)
    above = _lowest_not_refuted([1 - value for value in mixed], stakes, 1 - mean)
    return math.floor(low * _SCALE) / _SCALE, (_SCALE - math.floor(above * _SCALE)) / _SCALE


def _mixed(values: Sequence[float]) -> list[float]:
    """In an order that has nothing to do with the values: independent draws stay so by it."""
    order = sorted(range(len(values)), key=lambda at: hashlib.sha256(str(at).encode()).digest())
    return [values[at] for at in order]


def _stakes(values: Sequence[float]) -> list[float]:
    """What is bet on each value, by the variance of those before it: more where they vary less."""
    stakes = []
    total, squares, seen = 0.5, _PRIOR_VARIANCE, 1
    for value in values:
        stakes.append(math.sqrt(2 * math.log(_RICH) * seen / (len(values) * squares)))
        total, seen = total + value, seen + 1
        squares += (value - total / seen) ** 2
    return stakes


def _lowest_not_refuted(values: Sequence[float], stakes: Sequence[float], mean: float) -> float:
    """The lower limit: who bets that the mean is higher than what is below it gets rich. At most `mean`."""

    def refuted(candidate: float) -> bool:
        gains = (
            math.log1p(min(stake, _LARGEST_STAKE / candidate) * (value - candidate))
            for value, stake in zip(values, stakes, strict=True)
        )
        return max(accumulate(gains)) >= math.log(_RICH)

    return _last_where(refuted, mean)


def _last_where(holds: Callable[[float], bool], end: float) -> float:
    """Where what holds from above 0 on ceases to, before `end`; 0 where it holds nowhere."""
    low, high = 0.0, end
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if middle and holds(middle):
            low = middle
        else:
            high = middle
    return low
