"""Two lists as one, page by page."""

import base64

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from budeval.api.cursors import encoded
from budeval.errors import RequestError
from budeval.runs.run import Run, RunKind
from budeval.runs.runs import Runs
from tests.runs.fake_source import FakeSource, run

_MINUTES = st.lists(st.integers(0, 30), max_size=12)


def _sources(evaluations: list[int], scores: list[int]) -> tuple[FakeSource, FakeSource]:
    """Created at these minutes."""
    first, second = FakeSource(RunKind.EVALUATION), FakeSource(RunKind.SCORE)
    first.add(*(run(f"e{at}", minute) for at, minute in enumerate(sorted(evaluations))))
    second.add(*(run(f"s{at}", minute, RunKind.SCORE) for at, minute in enumerate(sorted(scores))))
    return first, second


def _walk(runs: Runs, limit: int, tenant: str | None = None, kind: RunKind | None = None) -> list[Run]:
    """All pages, of which none but the last may be empty where nothing is hidden."""
    found: list[Run] = []
    cursor = None
    for _ in range(1000):
        page = runs.page(kind, cursor, limit, tenant)
        assert len(page.runs) <= limit
        found += page.runs
        cursor = page.cursor
        if cursor is None:
            return found
    raise AssertionError("the list has no end")


@given(_MINUTES, _MINUTES, st.integers(1, 8))
@settings(deadline=None)
def test_a_walk_meets_every_run_once_newest_first(
    evaluations: list[int], scores: list[int], limit: int
) -> None:
    """Whatever lies between whatever, and however small the pages."""
    found = _walk(Runs(_sources(evaluations, scores)), limit)

    assert [one.created for one in found] == sorted((one.created for one in found), reverse=True)
    assert sorted(one.run_id for one in found) == sorted(
        [f"e{at}" for at in range(len(evaluations))] + [f"s{at}" for at in range(len(scores))]
    )


@given(_MINUTES, _MINUTES, st.integers(1, 5), st.lists(st.booleans(), max_size=6))
@settings(deadline=None)
def test_what_comes_during_a_walk_is_not_in_it(
    evaluations: list[int], scores: list[int], limit: int, coming: list[bool]
) -> None:
    """Nor does it shift what is left: also in a list of which nothing was shown so far."""
    sources = _sources(evaluations, scores)
    runs = Runs(sources)
    before = [one.run_id for one in _walk(runs, 100)]

    found, cursor = [], None
    for number in range(100):
        page = runs.page(None, cursor, limit, None)
        found += [one.run_id for one in page.runs]
        cursor = page.cursor
        if number < len(coming):
            sources[coming[number]].add(run(f"new{number}", 60 + number, sources[coming[number]].kind))
        if cursor is None:
            break

    assert found == before


def test_a_last_page_that_is_full_is_known_to_be_the_last() -> None:
    """No cursor leads to nothing."""
    runs = Runs(_sources([1, 3], [2, 4]))

    first = runs.page(None, None, 2, None)
    second = runs.page(None, first.cursor, 2, None)

    assert [one.run_id for one in first.runs] == ["s1", "e1"]
    assert [one.run_id for one in second.runs] == ["s0", "e0"]
    assert second.cursor is None
    assert runs.page(None, None, 4, None).cursor is None


def test_one_kind_alone() -> None:
    """The other list is not read."""
    sources = _sources([1, 3], [2, 4])

    found = _walk(Runs(sources), 1, kind=RunKind.SCORE)

    assert [one.run_id for one in found] == ["s1", "s0"]
    assert sources[0].reads == 0


def test_runs_that_are_gone_are_passed_over() -> None:
    """Deleted ones stay in the index, and nobody is shown them."""
    evaluations, scores = _sources([1], [2])
    evaluations.add(*[None] * 7, run("late", 9), None)

    assert [one.run_id for one in _walk(Runs([evaluations, scores]), 2)] == ["late", "s0", "e0"]


def test_each_tenant_sees_its_own_runs() -> None:
    """And who may see all sees all."""
    evaluations, scores = FakeSource(RunKind.EVALUATION), FakeSource(RunKind.SCORE)
    for at in range(6):
        evaluations.add(run(f"e{at}", at, tenant="ab"[at % 2]))
        scores.add(run(f"s{at}", at, RunKind.SCORE, tenant="ab"[at // 3]))
    runs = Runs([evaluations, scores])

    assert {one.tenant for one in _walk(runs, 2, "a")} == {"a"}
    assert len(_walk(runs, 2, "a")) == len(_walk(runs, 2, "b")) == 6
    assert len(_walk(runs, 2)) == 12
    assert _walk(runs, 2, "c") == []


def test_a_page_is_not_looked_for_for_ever() -> None:
    """Where others' runs are many a page may be short, and its cursor leads on; nothing is lost by that."""
    evaluations, scores = FakeSource(RunKind.EVALUATION), FakeSource(RunKind.SCORE)
    evaluations.add(run("mine", 0), *(run(f"e{at}", at + 1, tenant="other") for at in range(100)))
    scores.add(run("also-mine", 0, RunKind.SCORE))
    runs = Runs([evaluations, scores])

    page = runs.page(None, None, 2, "default")

    assert page.runs == []
    assert evaluations.reads == 10
    assert page.cursor
    assert {one.run_id for one in _walk(runs, 2, "default")} == {"mine", "also-mine"}


@pytest.mark.parametrize(
    "cursor",
    [
        "",
        "nonsense",
        "evaluation",
        "evaluation.",
        "evaluation.!!!",
        "other." + (encoded(("day", 0, 1)) or ""),
        "evaluation." + base64.urlsafe_b64encode(b"[1]").decode(),
        "~",
        "evaluation.\ud800",
    ],
)
def test_a_cursor_that_is_none_is_refused(cursor: str) -> None:
    """It names its field."""
    with pytest.raises(RequestError) as refused:
        Runs(_sources([1], [])).page(None, cursor, 5, None)

    assert (refused.value.code, refused.value.param, refused.value.status) == (
        "CURSOR_INVALID",
        "cursor",
        400,
    )


def test_a_cursor_belongs_to_its_kind() -> None:
    """One of the list of all is none of a list of one."""
    runs = Runs(_sources([1, 2, 3], [1, 2, 3]))
    cursor = runs.page(None, None, 2, None).cursor

    with pytest.raises(RequestError) as refused:
        runs.page(RunKind.SCORE, cursor, 2, None)
    assert refused.value.code == "CURSOR_INVALID"
