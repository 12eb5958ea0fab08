"""A run of faults is drawn from its seed alone, and its parts keep step."""

import threading
from collections import Counter

import pytest

from dev.chaos.pace import AT_ONCE, Pace
from dev.chaos.plan import Fate, Fault, draw

_JOIN_SECONDS = 20


def test_the_same_seed_gives_the_same_plan() -> None:
    """And another seed another one."""
    assert draw(7, 30, 20) == draw(7, 30, 20)
    assert draw(7, 30, 20).evaluations != draw(8, 30, 20).evaluations
    assert draw(7, 30, 20).faults != draw(8, 30, 20).faults


def test_the_full_run_has_what_is_promised() -> None:
    """200 evaluations, 20 of them by OpenCompass; 100 faults, of each kind as many, but for one."""
    plan = draw(1, 200, 100)

    assert Counter(planned.engine for planned in plan.evaluations) == {"lm-eval": 180, "opencompass": 20}
    assert len({planned.eval_id for planned in plan.evaluations}) == 200
    assert {planned.fate for planned in plan.evaluations} == {*Fate}
    # Each may be retried without a fault, deleted, and have its calls sent twice, whatever its fate is.
    for fate in Fate:
        of_fate = [planned for planned in plan.evaluations if planned.fate is fate]
        assert {planned.retry for planned in of_fate} == {True, False}
        assert {planned.delete for planned in of_fate} == {True, False}
        assert {planned.calls for planned in of_fate} == {1, 2}
    kinds = Counter(fault.kind for fault in plan.faults)
    assert kinds.keys() == {*Fault}
    assert max(kinds.values()) - min(kinds.values()) <= 1


@pytest.mark.parametrize(
    ("evaluations", "faults"), [(200, 100), (60, 30), (8, 12), (5, 40), (40, 3), (3, 0), (1, 1)]
)
def test_evaluations_and_faults_never_block_each_other(evaluations: int, faults: int) -> None:
    """Whatever their numbers are, both come to their end, and neither runs away from the other."""
    pace = Pace(evaluations, faults)
    begun: list[tuple[int, int]] = []
    struck: list[tuple[int, int]] = []

    def evaluate() -> None:
        for number in range(evaluations):
            pace.begin()
            begun.append((number, len(struck)))

    def strike() -> None:
        for number in range(faults):
            pace.await_strike()
            struck.append((number, len(begun)))
            pace.struck()

    threads = [threading.Thread(target=work, daemon=True) for work in (evaluate, strike)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(_JOIN_SECONDS)

    assert (len(begun), len(struck)) == (evaluations, faults)
    assert all(number * evaluations <= (seen + 1) * faults for number, seen in struck)
    if faults:
        assert all((number - AT_ONCE) * faults <= (seen + 1) * evaluations for number, seen in begun)
