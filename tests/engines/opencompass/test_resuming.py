"""What a start of OpenCompass takes over from the attempts before it."""

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from budeval.engines.opencompass import resuming
from tests.engines.pods import Json, Tree

STAMP = "20260105_101112"
LATER = "20260105_101500"
_PLANNED: list[Json] = [{"abbr": "sums", "sha256": "a"}, {"abbr": "stock", "rows": None}]


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    """Of a run that has just begun."""
    return Tree(tmp_path)


def test_broken_files_are_removed(tree: Tree, capsys: pytest.CaptureFixture[str]) -> None:
    """Torn ones, and results that are errors; whatever is whole stays, and so does what is no output."""
    kept = {
        f"{STAMP}/predictions/m/whole.json": {"0": {"prediction": "error"}},
        f"{STAMP}/predictions/m/error.json": {"error": "a column of this name"},
        f"{STAMP}/results/m/whole.json": {"accuracy": 50},
        f"{STAMP}/logs/infer/m/torn.json": "{",
        f"{STAMP}/predictions/m/torn.txt": "{",
        ".budeval/plan.json": "{",
    }
    broken = {
        f"{STAMP}/predictions/m/torn.json": '{"0": {"pred',
        f"{LATER}/predictions/m/empty.json": "",
        f"{STAMP}/predictions/m/list.json": [1],
        f"{STAMP}/results/m/failed.json": {"error": "no"},
        f"{LATER}/results/m/torn.json": "{",
    }
    for path, content in {**kept, **broken}.items():
        tree.write(path, content)

    resuming.heal(str(tree.root))

    assert tree.files() == set(kept)
    assert capsys.readouterr().out.count("removing the broken") == len(broken)


def test_the_newest_attempt_is_gone_on_with(tree: Tree) -> None:
    """By its name; our own directory is none, and without one the engine begins anew."""
    assert resuming.resume(str(tree.root)) == []

    for name in (LATER, STAMP, "zzz", f"{LATER}_old"):
        (tree.root / name).mkdir()

    assert resuming.resume(str(tree.root)) == ["-r", LATER]


def _asked(
    config: str = "datasets = []", version: str | None = "0.5.4", planned: list[Json] = _PLANNED
) -> Json:
    return resuming.what_is_asked(config, version, planned)


_REPLACED: list[Json] = [{"abbr": "sums", "sha256": "b"}, {"abbr": "stock", "rows": None}]


def test_attempts_that_were_asked_the_same_stay(tree: Tree, capsys: pytest.CaptureFixture[str]) -> None:
    """However often a start follows another, and nobody is told anything."""
    resuming.set_aside_others(str(tree.root), _asked())
    tree.write(f"{STAMP}/predictions/m/sums.json", {})

    resuming.set_aside_others(str(tree.root), _asked())

    assert resuming.resume(str(tree.root)) == ["-r", STAMP]
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        (_asked(planned=_REPLACED), "the prompts or answers of sums have changed"),
        (_asked(planned=[*_PLANNED, {"abbr": "new"}]), "OpenCompass' version or its configuration"),
        (_asked(config="datasets = [1]"), "OpenCompass' version or its configuration"),
        (_asked(version="0.5.5"), "OpenCompass' version or its configuration"),
    ],
    ids=["rows", "stock", "configuration", "version"],
)
def test_attempts_that_were_asked_something_else_are_set_aside(
    tree: Tree, capsys: pytest.CaptureFixture[str], asked: Json, why: str
) -> None:
    """All of them, as evidence, and never on top of what was set aside before."""
    for number in (1, 2):
        resuming.set_aside_others(str(tree.root), _asked())
        for stamp in (STAMP, LATER):
            tree.write(f"{stamp}/predictions/m/sums.json", {"0": {"prediction": str(number)}})

        resuming.set_aside_others(str(tree.root), asked)
        assert resuming.resume(str(tree.root)) == []

    assert why in capsys.readouterr().out
    moved = {
        f".budeval/set-aside/{n}/{stamp}/predictions/m/sums.json" for n in (1, 2) for stamp in (STAMP, LATER)
    }
    assert tree.files() == {*moved, ".budeval/asked.json"}


@pytest.mark.parametrize("known", [None, "{", {"schema": 2}], ids=["nothing", "torn", "newer"])
def test_attempts_of_which_nothing_is_known_are_set_aside(
    tree: Tree, capsys: pytest.CaptureFixture[str], known: str | Json | None
) -> None:
    """An older version of the service has begun them, or a file is torn."""
    tree.write(f"{STAMP}/predictions/m/sums.json", {})
    if known is not None:
        tree.write(".budeval/asked.json", known)

    resuming.set_aside_others(str(tree.root), _asked())

    assert resuming.resume(str(tree.root)) == []
    assert "what the attempts so far were asked is not known" in capsys.readouterr().out


@pytest.mark.parametrize("rename_that_fails", [1, 2, 3])
def test_a_start_that_is_cut_off_leaves_no_attempt_beside_what_it_was_not_asked(
    tree: Tree, monkeypatch: pytest.MonkeyPatch, rename_that_fails: int
) -> None:
    """Before, between and after the moves: the next start goes on with none of the old attempts."""
    resuming.set_aside_others(str(tree.root), _asked())
    for stamp in (STAMP, LATER):
        tree.write(f"{stamp}/predictions/m/sums.json", {})
    calls = 0

    def cut_off(move: Callable[..., None], *arguments: str) -> None:
        nonlocal calls
        calls += 1
        if calls == rename_that_fails:
            raise KeyboardInterrupt
        move(*arguments)

    with monkeypatch.context() as patched:
        patched.setattr(os, "rename", partial(cut_off, os.rename))
        patched.setattr(os, "replace", partial(cut_off, os.replace))
        with pytest.raises(KeyboardInterrupt):
            resuming.set_aside_others(str(tree.root), _asked(planned=_REPLACED))

    resuming.set_aside_others(str(tree.root), _asked(planned=_REPLACED))

    assert resuming.resume(str(tree.root)) == []
    assert len([name for name in tree.files() if name.endswith("sums.json")]) == 2
