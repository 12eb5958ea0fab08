"""The judgement on what was paid for while things were killed finds each kind of waste, and no other."""

import base64
import json
import sqlite3
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.payments import Outage, Payments, Question, StoreWatch, needless

_STORED = {"first": 11.0, "second": 21.0}
_DOWN = Outage(9.0, 14.0)


def _job(
    *asked: tuple[float, str], stored: Mapping[str, float] = _STORED, scored: float | None = 22.0
) -> Payments:
    return Payments([Question(*question) for question in asked], stored, scored, ended=23.0)


_NEEDED: dict[str, tuple[Payments, Sequence[Outage]]] = {
    "once each": (_job((10, "first"), (20, "second")), []),
    "killed before the answer": (
        _job((8, "first"), (15, "first"), (20, "second"), stored={"first": 16, "second": 21}),
        [_DOWN],
    ),
    "asked by what outlived the sidecar": (
        _job((10, "first"), (15, "first"), (20, "second"), stored={"first": 16}),
        [_DOWN],
    ),
    "killed twice": (
        _job((8, "first"), (15, "first"), (18, "first"), (20, "second"), stored={"first": 19}),
        [_DOWN, Outage(16, 17)],
    ),
    "killed at the second": (
        _job((1, "first"), (8, "second"), (15, "second"), stored={"first": 2, "second": 16}),
        [_DOWN],
    ),
    "not seen in the store": (_job((10, "first"), (20, "second"), stored={}, scored=None), []),
}


@pytest.mark.parametrize(("job", "outages"), _NEEDED.values(), ids=_NEEDED)
def test_what_was_needed_is_not_found(job: Payments, outages: Sequence[Outage]) -> None:
    """An answer that no store has must be paid for again."""
    assert needless(job, outages) == []


_NEEDLESS: dict[str, tuple[Payments, str]] = {
    "the first, after it was stored": (
        _job((10, "first"), (12, "first"), (20, "second")),
        "first came when its answer was stored",
    ),
    "the second, after it was stored": (
        _job((1, "first"), (8, "second"), (12, "second"), stored={"first": 2, "second": 9}),
        "second came when its answer was stored",
    ),
    "the first, after the second": (
        _job((8, "first"), (10, "second"), (12, "first"), stored={}),
        "first came again after another question",
    ),
    "after the outcome": (
        _job((8, "first"), (10, "second"), (12, "second"), stored={}, scored=11),
        "second came after the end",
    ),
    "after the job": (
        _job((8, "first"), (10, "second"), (24, "second"), stored={}, scored=None),
        "second came after the end",
    ),
    "more often than things were down": (
        _job((8, "first"), (12, "first"), (15, "first"), (20, "second"), stored={}),
        "first came 3 times for 1 outages",
    ),
    "though nothing was down then": (
        _job((15, "first"), (16, "first"), (20, "second"), stored={}),
        "first came 2 times for 0 outages",
    ),
    "before anything was down": (
        _job((7, "first"), (8, "first"), (20, "second"), stored={}),
        "first came 2 times for 0 outages",
    ),
}


@pytest.mark.parametrize(("job", "problem"), _NEEDLESS.values(), ids=_NEEDLESS)
def test_what_was_needless_is_found(job: Payments, problem: str) -> None:
    """Though there was an outage, which alone excuses nothing; and nothing else is found."""
    assert needless(job, [_DOWN]) == [problem]


_LEDGER: Mapping[str, Any] = {"paid": {"first": {}}}


def _file(directory: Path) -> Path:
    path = directory / "state.db"
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("CREATE TABLE state (key TEXT PRIMARY KEY, value TEXT, is_binary INTEGER)")
    return path


def _write(path: Path, key: str, value: Any, *, binary: bool = False) -> None:
    text = json.dumps(value)
    stored = base64.b64encode(text.encode()).decode() if binary else text
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("INSERT OR REPLACE INTO state VALUES (?, ?, ?)", (f"budeval||{key}", stored, binary))


@pytest.mark.parametrize("binary", [False, True])
def test_the_watch_notes_when_it_first_saw_what(tmp_path: Path, *, binary: bool) -> None:
    """In both forms in which Dapr keeps a value, of each job by itself; no time is before the storing."""
    path = _file(tmp_path)
    watch = StoreWatch(path)
    _write(path, "score-ledger-aaaa-1-faithfulness-1", _LEDGER, binary=binary)
    stored = time.time()
    watch.look()
    first = watch.answers("aaaa")["first"]
    _write(path, "score-ledger-aaaa-1-faithfulness-1", {"paid": {"first": {}, "second": {}}}, binary=binary)
    _write(path, "score-outcome-bbbb-1-faithfulness", {}, binary=binary)
    _write(path, "score-aaaa", {}, binary=binary)
    watch.look()

    assert first >= stored
    assert watch.answers("aaaa").keys() == {"first", "second"}
    assert watch.answers("aaaa")["first"] == first <= watch.answers("aaaa")["second"]
    assert watch.outcome("aaaa") is None
    assert (watch.outcome("bbbb") or 0) >= stored
    assert watch.answers("bbbb") == {}


def test_the_watch_looks_by_itself(tmp_path: Path) -> None:
    """Also after a time in which the file could not be read; what was deleted since stays known."""
    path = tmp_path / "state.db"
    with StoreWatch(path) as watch:
        time.sleep(0.2)
        _file(tmp_path)
        _write(path, "score-ledger-aaaa-1-faithfulness-1", _LEDGER)
        while not watch.answers("aaaa"):
            time.sleep(0.01)
        with closing(sqlite3.connect(path)) as database, database:
            database.execute("DELETE FROM state")

    assert watch.answers("aaaa").keys() == {"first"}


def test_a_watch_that_sees_nothing_fails(tmp_path: Path) -> None:
    """Or it would find nothing needless."""
    watch = StoreWatch(tmp_path / "nowhere.db")

    with pytest.raises(sqlite3.Error), watch:
        pass
