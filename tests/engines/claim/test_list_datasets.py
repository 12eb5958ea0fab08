"""The program that lists datasets."""

import hashlib
import os
import time
from typing import Any

import pytest

from budeval.domain import frames
from budeval.engines.claim import list_datasets, tree
from tests.engines.claim.conftest import Volume


def _listed(volume: Volume, seconds: str = "60") -> dict[str, Any]:
    assert list_datasets.main({"DATASETS_ROOT": str(volume.root), "SECONDS": seconds}) == 0
    return frames.decode(volume.capsys.readouterr().out, ["list"])["list"]


def test_files_are_told_with_size_digest_and_time(volume: Volume) -> None:
    """Those in directories, too."""
    volume.whole(b"one", "a.jsonl")
    volume.whole(b"three", "team/b.csv")
    os.utime(volume.root / "a.jsonl", (0, 1767323045))
    first, second = _listed(volume)["files"]
    assert first == {
        "path": "a.jsonl",
        "bytes": 3,
        "sha256": hashlib.sha256(b"one").hexdigest(),
        "modified": "2026-01-02T03:04:05+00:00",
    }
    assert (second["path"], second["bytes"]) == ("team/b.csv", 5)


def test_links_and_hidden_files_are_left_out(volume: Volume) -> None:
    """Wherever they lead; so is what is no file, and what is not whole."""
    elsewhere = volume.root.parent / "elsewhere"
    (elsewhere / "theirs").write_text("theirs")
    volume.whole(b"one", "a.jsonl")
    (volume.root / "link").symlink_to(elsewhere / "theirs")
    (volume.root / "links").symlink_to(elsewhere)
    (volume.root / ".hidden").write_text("x")
    os.mkfifo(volume.root / "pipe")
    assert [file["path"] for file in _listed(volume)["files"]] == ["a.jsonl"]


def test_without_time_digests_are_left_out(volume: Volume) -> None:
    """A claim may hold more than can be read."""
    volume.whole(b"one")
    (file,) = _listed(volume, "0")["files"]
    assert (file["bytes"], file["sha256"]) == (3, None)


def test_a_list_that_is_too_long_says_so(volume: Volume, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first ones are there."""
    monkeypatch.setattr(list_datasets, "MOST_FILES", 2)
    for name in "abc":
        volume.whole(b"x", name)
    found = _listed(volume)
    assert ([file["path"] for file in found["files"]], found["truncated"]) == (["a", "b"], True)


def test_a_name_that_is_no_text_is_told_as_one(volume: Volume) -> None:
    """Whoever put it there by hand."""
    (volume.root / os.fsdecode(b"a\xff")).write_text("x")
    assert [file["path"] for file in _listed(volume)["files"]] == ["a\ufffd"]


def test_a_file_that_may_not_be_read_is_listed(volume: Volume, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without its digest."""
    volume.whole(b"one")

    def refuse(_file: int, _until: float) -> str:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(list_datasets, "digest_of", refuse)
    (file,) = _listed(volume)["files"]
    assert file["sha256"] is None


def test_a_file_that_takes_too_long_does_not_hold_up_the_list(
    volume: Volume, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its digest is given up in its middle."""
    volume.whole(b"x" * 100)
    clock = iter(range(10))
    monkeypatch.setattr(tree, "BLOCK", 10)
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    (file,) = _listed(volume, "5")["files"]
    assert (file["bytes"], file["sha256"], next(clock)) == (100, None, 6)
