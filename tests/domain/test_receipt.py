"""How what several looks have seen becomes one receipt."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from budeval.domain.receipt import (
    CLEAN_UP,
    CLUSTER_KINDS,
    PRIVATE_DIRECTORY,
    Fate,
    ReceiptItem,
    after_clean_up,
    bounded,
    left_behind,
    with_news,
)

_ABSENCE = {kind: f"no {kind}" for kind in CLUSTER_KINDS}


def _item(
    name: str = "a", outcome: Fate = Fate.IN_USE, kind: str = "Job", uid: str | None = None, **more: Any
) -> ReceiptItem:
    return ReceiptItem(kind=kind, name=name, uid=uid, outcome=outcome, **more)


def _told(items: list[ReceiptItem]) -> list[tuple[str, str, str | None, str]]:
    return [(item.kind, item.name, item.uid, item.outcome) for item in items]


@pytest.mark.parametrize(
    ("kind", "outcome", "read"),
    [
        ("Job", "deleted", ("Job", Fate.DELETED, True)),
        ("Pod", "still ending", ("Pod", Fate.ENDING, False)),
        ("Secret", "403 you may not", ("Secret", Fate.REFUSED, False)),
        ("Evaluation", "FORBIDDEN: not any more", (CLEAN_UP, Fate.UNKNOWN, False)),
    ],
)
def test_receipts_of_older_versions_are_read(kind: str, outcome: str, read: tuple[str, Fate, bool]) -> None:
    """They had a name and a text; what is no more has a proof, everything else a reason."""
    item = ReceiptItem.model_validate({"kind": kind, "name": "x", "outcome": outcome})

    assert (item.kind, item.outcome, bool(item.proof)) == read
    assert bool(item.proof) is not bool(item.reason)
    assert item.at is None


@pytest.mark.parametrize("outcome", list(Fate))
def test_what_is_written_now_is_read_as_it_is(outcome: Fate) -> None:
    """Whatever is left out because it is the default."""
    item = _item(outcome=outcome, at="2026-01-01")

    assert ReceiptItem.model_validate(item.model_dump(mode="json", exclude_defaults=True)) == item


def test_news_replace_what_was_known_of_the_same_thing() -> None:
    """Another kind, another name, another machine or another uid is another thing."""
    before = [
        _item("a", uid="1"),
        _item("b", uid="2"),
        _item("a", kind="Pod", uid="3"),
        _item("/scratch/x", kind=PRIVATE_DIRECTORY, host="one"),
    ]

    items = with_news(
        before,
        [
            _item("a", Fate.DELETED, uid="1"),
            _item("b", Fate.DELETED, uid="9"),
            _item("/scratch/x", kind=PRIVATE_DIRECTORY, host="two"),
        ],
    )

    assert sorted(_told(items)) == [
        ("Job", "a", "1", "deleted"),
        ("Job", "b", "2", "in_use"),
        ("Job", "b", "9", "deleted"),
        ("Pod", "a", "3", "in_use"),
        ("PrivateDirectory", "/scratch/x", None, "in_use"),
        ("PrivateDirectory", "/scratch/x", None, "in_use"),
    ]


@pytest.mark.parametrize(("known", "told"), [("1", None), (None, "1"), ("1", "1")])
def test_a_uid_that_was_seen_once_stays(known: str | None, told: str | None) -> None:
    """A Secret whose deletion is refused tells none; a name that was only planned gets one."""
    (item,) = with_news([_item(uid=known)], [_item(outcome=Fate.REFUSED, uid=told)])

    assert (item.uid, item.outcome) == ("1", "refused")


def test_what_a_clean_up_does_not_find_any_more_is_gone() -> None:
    """It has looked for everything. What was settled keeps its proof; what is found keeps its reason."""
    before = [
        _item("used", uid="1", reason="in use"),
        _item("ended", Fate.ENDING, kind="Pod", uid="2"),
        _item("done", Fate.DELETED, uid="3", proof="seen"),
        _item("/scratch/x", kind=PRIVATE_DIRECTORY),
        _item("left", Fate.REFUSED, uid="4"),
        _item("e-1", Fate.UNKNOWN, kind=CLEAN_UP),
    ]

    items = after_clean_up(before, [_item("left", Fate.REFUSED, uid="4", reason="no")], _ABSENCE, "now")

    by_name = {item.name: item for item in items}
    assert {name: item.outcome for name, item in by_name.items()} == {
        "used": "gone",
        "ended": "gone",
        "done": "deleted",
        "/scratch/x": "in_use",
        "left": "refused",
    }
    assert (by_name["used"].proof, by_name["used"].at, by_name["used"].reason) == ("no Job", "now", None)
    assert by_name["ended"].proof == "no Pod"
    assert by_name["done"].proof == "seen"
    assert by_name["left"].reason == "no"


def test_a_clean_up_may_be_repeated() -> None:
    """After it was done, and its receipt was lost: what it had found is gone, with a proof."""
    made = [_item(uid="1"), _item("a", kind="Secret", uid="2")]
    found = [_item(outcome=Fate.DELETED, uid="1", proof="seen")]

    at_once = after_clean_up(made, found, _ABSENCE, "now")
    repeated = after_clean_up(at_once, [], _ABSENCE, "later")
    lost = after_clean_up(made, [], _ABSENCE, "later")

    assert repeated == at_once
    assert [(item.outcome, item.proof) for item in lost] == [("gone", "no Job"), ("gone", "no Secret")]


def test_what_could_not_be_cleaned_up_is_not_known() -> None:
    """With the reason, once, however often it is told; what was settled stays so."""
    before = [_item(), _item("b", Fate.DELETED), _item("/scratch/x", kind=PRIVATE_DIRECTORY)]

    for problem in ("FORBIDDEN: no", "CLUSTER_UNREACHABLE: away"):
        before = left_behind(before, "e-1", problem, "now")

    assert [(item.kind, item.outcome, item.reason) for item in before] == [
        ("Job", "unknown", "FORBIDDEN: no"),
        ("Job", "deleted", None),
        ("PrivateDirectory", "in_use", None),
        ("CleanUp", "unknown", "CLUSTER_UNREACHABLE: away"),
    ]


def test_a_clean_up_that_failed_is_told_until_all_is_settled() -> None:
    """Also by somebody else, who removes orphans."""
    before = left_behind([_item("a"), _item("b")], "e-1", "away", "now")

    half = with_news(before, [_item("a", Fate.DELETED)])
    whole = with_news(half, [_item("b", Fate.DELETED)])

    assert [item.kind for item in half].count(CLEAN_UP) == 1
    assert [item.kind for item in whole] == ["Job", "Job"]


def test_a_long_evaluations_directories_are_counted() -> None:
    """It looks for itself hundreds of times: the newest are told by name, the others by their number."""
    items: list[ReceiptItem] = [_item()]
    for number in range(200):
        gone = _item(f"/scratch/{number}", Fate.DELETED, kind=PRIVATE_DIRECTORY, at=str(number))
        items = bounded(with_news(items, [gone]))

    directories = [item for item in items if item.kind == PRIVATE_DIRECTORY]
    assert [item.name for item in directories[1:]] == [f"/scratch/{number}" for number in range(150, 200)]
    assert (directories[0].count, directories[0].at) == (150, "149")
    assert sum(item.count for item in directories) == 200
    assert _item() in items


def test_directories_that_are_there_are_all_told() -> None:
    """Only what is gone is counted."""
    items = [_item(f"/scratch/{number}", kind=PRIVATE_DIRECTORY) for number in range(200)]

    assert bounded(items) == items


_ITEM = st.builds(
    _item,
    name=st.sampled_from("ab"),
    outcome=st.sampled_from(list(Fate)),
    kind=st.sampled_from([*sorted(CLUSTER_KINDS), PRIVATE_DIRECTORY]),
    uid=st.sampled_from([None, "1", "2"]),
)
_ITEMS = st.lists(_ITEM, max_size=6)
_NEWS = st.lists(_ITEM, max_size=6, unique_by=lambda item: (item.kind, item.name))
"""One look sees a name once."""


@given(_ITEMS, _NEWS)
def test_the_same_news_again_change_nothing(before: list[ReceiptItem], news: list[ReceiptItem]) -> None:
    """Activities run at least once."""
    once = with_news(before, news)

    assert sorted(map(str, with_news(once, news))) == sorted(map(str, once))


@given(_ITEMS, _NEWS)
def test_after_a_clean_up_only_what_it_has_found_may_be_left(
    before: list[ReceiptItem], found: list[ReceiptItem]
) -> None:
    """Nothing that was known is forgotten, either."""
    items = after_clean_up(before, found, _ABSENCE, "now")

    names = {(item.kind, item.name) for item in found}
    left = [item for item in items if item.kind in CLUSTER_KINDS and not item.settled]
    assert {(item.kind, item.name) for item in left} <= names
    assert {(item.kind, item.name) for item in items} == {(item.kind, item.name) for item in before} | names
