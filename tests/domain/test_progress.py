"""How far a run is, and when it will be done."""

import json
from datetime import datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from budeval.domain.progress import Phase, RunProgress, estimate_end, last_progress, whole_minutes

_START = datetime(2026, 1, 1)  # noqa: DTZ001 - the workflow's clock is naive
_PHASES: list[Phase] = ["prepare", "infer", "evaluate", "done"]
_MINUTE = timedelta(minutes=1)


def _line(done: int, total: int = 10, phase: str = "infer") -> str:
    return "BUDEVAL1-PROGRESS " + json.dumps({"done": done, "total": total, "phase": phase}) + "\n"


def test_the_newest_line_counts() -> None:
    """The last one of the log, not the one with the most samples."""
    log = f"starting\n{_line(7)}noise\n{_line(3)}more noise\n"

    assert last_progress(log) == RunProgress(done=3, total=10, phase="infer")


@pytest.mark.parametrize(
    "foreign",
    [
        "",
        'BUDEVAL1-PROGRESS {"done": 9, "total": 10, "pha',
        "BUDEVAL1-PROGRESS {not json}\n",
        "BUDEVAL1-PROGRESS {}\n",
        'BUDEVAL1-PROGRESS {"done": 9, "total": 10}\n',
        'BUDEVAL1-PROGRESS {"done": 9, "total": 10, "phase": "lunch"}\n',
        'BUDEVAL1-PROGRESS {"done": null, "total": 10, "phase": "infer"}\n',
        'BUDEVAL1-PROGRESS {"done": 9.5, "total": 10, "phase": "infer"}\n',
        'BUDEVAL1-PROGRESS ["done", 9]\n',
        ' BUDEVAL1-PROGRESS {"done": 9, "total": 10, "phase": "infer"}\n',
        'he said BUDEVAL1-PROGRESS {"done": 9, "total": 10, "phase": "infer"}\n',
        "BUDEVAL1-FAILED {}\n",
    ],
)
def test_torn_and_foreign_lines_are_passed_over(foreign: str) -> None:
    """The whole line before them counts; without one there is no progress."""
    assert last_progress(_line(4) + foreign) == RunProgress(done=4, total=10, phase="infer")
    assert last_progress(foreign) is None


def test_a_tail_that_begins_within_a_line_is_no_harm() -> None:
    """Only the tail of a log is read; line ends may be those of Windows."""
    log = _line(1)[12:] + _line(2).replace("\n", "\r\n")

    assert last_progress(log) == RunProgress(done=2, total=10, phase="infer")


@given(st.text(max_size=200))
def test_no_text_upsets_the_reader(text: str) -> None:
    """Whatever a program prints, there is progress or there is none."""
    last_progress(text)
    last_progress("BUDEVAL1-PROGRESS {" + text + "}")


@given(st.integers(0, 10**9), st.integers(0, 10**9), st.sampled_from(_PHASES))
def test_a_fraction_is_never_whole(done: int, total: int, phase: Phase) -> None:
    """More samples than there are, or none at all: it stays between 0 and 0.99."""
    assert 0.0 <= RunProgress(done=done, total=total, phase=phase).fraction <= 0.99


@given(st.integers(0, 1000), st.integers(0, 1000), st.integers(0, 1000))
def test_fractions_rise_with_the_samples_and_over_the_phases(one: int, other: int, total: int) -> None:
    """A later phase is never less than an earlier one, whatever was done in each."""
    low, high = sorted((one, other))
    in_order = [
        RunProgress(done=done, total=total, phase=phase).fraction for phase in _PHASES for done in (low, high)
    ]

    assert in_order == sorted(in_order)


@given(st.floats(0, 0.0799), st.one_of(st.none(), st.integers(-100, 10_000)))
def test_little_progress_says_nothing(fraction: float, seconds: int | None) -> None:
    """Below the least fraction there is no estimate, and one that is there stands."""
    previous = None if seconds is None else _START + timedelta(seconds=seconds)

    assert estimate_end(previous, _START + _MINUTE, _START, fraction) == previous


def test_the_first_estimate_is_by_the_pace_so_far() -> None:
    """A quarter in one minute: three more to go."""
    assert estimate_end(None, _START + _MINUTE, _START, 0.25) == _START + 4 * _MINUTE


@given(st.integers(1, 48 * 3600), st.lists(st.floats(0, 0.999), min_size=2, max_size=40))
def test_the_minutes_only_go_down_at_an_even_pace(total: int, parts: list[float]) -> None:
    """Where the fraction grows with the time: a countdown, however long it is and whenever somebody looks."""
    end, minutes = None, []
    for part in sorted(parts):
        now = _START + part * timedelta(seconds=total)
        end = estimate_end(end, now, _START, part)
        if end:
            minutes.append(whole_minutes(end, now))

    assert all(later <= earlier for earlier, later in pairwise(minutes))


@given(st.integers(5, 600), st.floats(0, 0.24), st.sampled_from([-1, 1]))
def test_a_small_change_changes_nothing(left: int, share: float, direction: int) -> None:
    """Within a quarter of what is left the estimate stands, so that it does not flicker."""
    now, previous = _START + 60 * _MINUTE, _START + (60 + left) * _MINUTE
    fresh = left * (1 + direction * share)

    assert estimate_end(previous, now, _START, 60 / (60 + fresh)) == previous


@pytest.mark.parametrize("fresh", [5, 20], ids=["sooner", "later"])
def test_a_big_change_is_taken_over(fresh: int) -> None:
    """Ten minutes were left; now it is half of that, or twice."""
    now, previous = _START + 10 * _MINUTE, _START + 20 * _MINUTE

    end = estimate_end(previous, now, _START, 10 / (10 + fresh))

    assert end is not None
    assert abs(end - (now + fresh * _MINUTE)) < timedelta(seconds=1)


def test_less_than_a_minute_is_no_change() -> None:
    """Near the end a quarter of what is left is nothing."""
    now, previous = _START + 10 * _MINUTE, _START + 10.5 * _MINUTE

    assert estimate_end(previous, now, _START, 10 / 11.4) == previous
    assert estimate_end(previous, now, _START, 10 / 11.6) != previous


def test_an_estimate_that_has_passed_is_replaced() -> None:
    """However small the difference: it is wrong."""
    now = _START + 10 * _MINUTE

    end = estimate_end(now - timedelta(seconds=1), now, _START, 0.99)

    assert end is not None
    assert end > now


@pytest.mark.parametrize(("seconds", "minutes"), [(60, 1), (61, 2), (59, 1), (0, 1), (-500, 1), (3600, 60)])
def test_minutes_are_whole_and_rounded_up(seconds: int, minutes: int) -> None:
    """At least one, as callers read 0 as finished."""
    assert whole_minutes(_START + timedelta(seconds=seconds), _START) == minutes


@given(st.integers(-(10**7), 10**7))
def test_there_is_always_a_minute_left(seconds: int) -> None:
    """Even where the estimate has passed."""
    assert whole_minutes(_START + timedelta(seconds=seconds), _START) >= 1
