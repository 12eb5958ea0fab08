"""The program that writes datasets, part by part, on real directories."""

import fcntl
import gzip
import os
import threading
import time
from pathlib import Path

import pytest

from budeval.engines.claim import push_dataset
from tests.engines.claim.conftest import Volume, order

_WHOLE = b'{"question": "1+1?", "answer": "2"}\n' * 40


def test_a_file_of_one_part_is_put_in_its_place(volume: Volume) -> None:
    """In directories that are made for it; nothing unfinished is left."""
    assert volume.push(order(_WHOLE, "team/x/a.jsonl"), _WHOLE) == {
        "state": "stored",
        "received": len(_WHOLE),
    }
    assert (volume.root / "team" / "x" / "a.jsonl").read_bytes() == _WHOLE
    assert volume.unfinished() == []


def test_parts_gather_unseen_until_all_are_there(volume: Volume) -> None:
    """Each may come in several pieces, as ConfigMaps hold them."""
    assert volume.push(order(_WHOLE), _WHOLE[:500], pieces=3) == {"state": "partial", "received": 500}
    assert volume.files() == []
    assert volume.push(order(_WHOLE, offset=500), _WHOLE[500:])["state"] == "stored"
    assert (volume.root / "a.jsonl").read_bytes() == _WHOLE


def test_what_is_there_already_is_told(volume: Volume) -> None:
    """A push that begins anew learns where to go on; a part that comes twice harms nothing."""
    volume.push(order(_WHOLE), _WHOLE[:900])
    assert volume.push(order(_WHOLE), _WHOLE[:100]) == {"state": "partial", "received": 900}
    assert volume.push(order(_WHOLE, offset=900), _WHOLE[900:])["state"] == "stored"


def test_a_part_that_would_leave_a_gap_is_not_written(volume: Volume) -> None:
    """It is told where the gap begins."""
    volume.push(order(_WHOLE), _WHOLE[:100])
    assert volume.push(order(_WHOLE, offset=200), _WHOLE[200:]) == {"state": "partial", "received": 100}


def test_a_part_that_was_torn_while_it_was_written_is_completed(volume: Volume) -> None:
    """Its pod was killed in the middle: what is there of it is right, and the rest comes again."""
    volume.push(order(_WHOLE), _WHOLE[:100])
    (name,) = volume.unfinished()
    (volume.root / ".budeval" / name).write_bytes(_WHOLE[:333])
    assert volume.push(order(_WHOLE, offset=100), _WHOLE[100:])["state"] == "stored"


def test_the_same_file_again_changes_nothing(volume: Volume) -> None:
    """Not even its time; what was unfinished of it goes."""
    volume.whole(_WHOLE)
    before = (volume.root / "a.jsonl").stat()
    assert volume.push(order(_WHOLE), _WHOLE[:10]) == {"state": "unchanged", "received": len(_WHOLE)}
    assert (volume.root / "a.jsonl").stat().st_mtime_ns == before.st_mtime_ns
    assert (volume.root / "a.jsonl").stat().st_ino == before.st_ino


@pytest.mark.parametrize("other", [_WHOLE[::-1], _WHOLE + b"more"], ids=["same-size", "other-size"])
def test_another_file_is_replaced_only_if_asked_for(volume: Volume, other: bytes) -> None:
    """Whole, in one step."""
    volume.whole(other)
    assert volume.whole(_WHOLE) == "taken"
    assert (volume.root / "a.jsonl").read_bytes() == other
    assert volume.whole(_WHOLE, replace=True) == "stored"
    assert (volume.root / "a.jsonl").read_bytes() == _WHOLE


def test_a_wrong_digest_puts_nothing_in_place(volume: Volume) -> None:
    """What came is removed: the next try begins at nothing."""
    wrong = order(_WHOLE, sha256="0" * 64)
    volume.push(wrong, _WHOLE[:100])
    assert volume.push({**wrong, "offset": 100}, _WHOLE[100:]) == {"state": "corrupt", "received": 0}
    assert (volume.files(), volume.unfinished()) == ([], [])


def test_more_than_was_announced_is_not_kept(volume: Volume) -> None:
    """Nor written: the volume is shared."""
    assert volume.push(order(_WHOLE), _WHOLE + b"more")["state"] == "corrupt"
    assert (volume.files(), volume.unfinished()) == ([], [])


@pytest.mark.parametrize(
    "packed", [b"", b"no gzip", gzip.compress(_WHOLE)[:-20]], ids=["none", "other", "torn"]
)
def test_a_part_that_cannot_be_unpacked_puts_nothing_in_place(volume: Volume, packed: bytes) -> None:
    """The service has looked before; here it is told, and no traceback."""
    assert volume.push(order(_WHOLE), b"", packed=packed)["state"] in {"failed", "partial"}
    assert volume.files() == []
    assert volume.whole(_WHOLE) == "stored"


@pytest.mark.parametrize("where", ["directory", "file", "path-is-directory", "dangling"])
def test_links_and_directories_are_in_the_way(volume: Volume, where: str) -> None:
    """They are never followed and never replaced, even if a file might be."""
    elsewhere = volume.root.parent / "elsewhere"
    (elsewhere / "theirs").write_text("theirs")
    path = "a/b.jsonl" if where == "directory" else "b.jsonl"
    if where == "directory":
        (volume.root / "a").symlink_to(elsewhere)
    elif where == "path-is-directory":
        (volume.root / "b.jsonl").mkdir()
    else:
        (volume.root / "b.jsonl").symlink_to(elsewhere / ("theirs" if where == "file" else "none"))

    assert volume.whole(_WHOLE, path, replace=True) == "taken"

    assert [file.name for file in elsewhere.iterdir()] == ["theirs"]
    assert (elsewhere / "theirs").read_text() == "theirs"


@pytest.mark.parametrize("linked", [".budeval", "lock", "part"])
def test_the_hidden_directory_is_no_link(volume: Volume, linked: str) -> None:
    """Nobody but this program writes there, and it takes nobody's word for it."""
    elsewhere = volume.root.parent / "elsewhere"
    hidden = volume.root / ".budeval"
    if linked == ".budeval":
        hidden.symlink_to(elsewhere)
    else:
        volume.push(order(_WHOLE), _WHOLE[:10])
        (name,) = volume.unfinished()
        target = hidden / ("lock" if linked == "lock" else name)
        target.unlink()
        target.symlink_to(elsewhere / "made")

    assert volume.whole(_WHOLE) == "failed"

    assert list(elsewhere.iterdir()) == []


def test_a_file_in_the_place_of_a_directory_is_in_the_way(volume: Volume) -> None:
    """It is told as such."""
    volume.whole(_WHOLE, "a")
    answer = volume.push(order(_WHOLE, "a/b"), _WHOLE)
    assert (answer["state"], "Not a directory" in answer["reason"]) == ("taken", True)


def test_two_files_for_one_path_do_not_mix(volume: Volume) -> None:
    """The first that is whole has it; the other is told so with its next part."""
    other = b"x" * len(_WHOLE)
    volume.push(order(_WHOLE), _WHOLE[:700])
    volume.push(order(other), other[:700])
    assert volume.push(order(_WHOLE, offset=700), _WHOLE[700:])["state"] == "stored"
    assert volume.push(order(other, offset=700), other[700:])["state"] == "taken"
    assert (volume.root / "a.jsonl").read_bytes() == _WHOLE


def test_pushes_at_once_wait_for_each_other(volume: Volume) -> None:
    """Another pod holds the lock: this one begins when it has ended."""
    volume.whole(b"first", "first")
    done: list[str] = []
    push = threading.Thread(target=lambda: done.append(volume.whole(_WHOLE)))
    with (volume.root / ".budeval" / "lock").open("r+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        push.start()
        time.sleep(0.2)
        assert (done, volume.files()) == ([], ["first"])
    push.join(10)
    assert done == ["stored"]


def test_what_nobody_goes_on_with_is_forgotten(volume: Volume) -> None:
    """After a week; what is younger stays."""
    for content in (_WHOLE, _WHOLE[::-1]):
        volume.push(order(content), content[:10])
    hidden = volume.root / ".budeval"
    old, young = volume.unfinished()
    week_ago = time.time() - push_dataset.FORGOTTEN_SECONDS - 60
    os.utime(hidden / old, (week_ago, week_ago))
    volume.whole(b"another", "b")
    assert volume.unfinished() == [young]


def test_what_the_volume_refuses_is_told(volume: Volume, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not writable, or full."""

    def full(*_arguments: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    answer = volume.push(order(_WHOLE), _WHOLE)
    assert (answer["state"], "No space left" in answer["reason"]) == ("failed", True)
    assert volume.files() == []


def test_a_write_that_was_short_goes_on(volume: Volume, monkeypatch: pytest.MonkeyPatch) -> None:
    """As some file systems write."""
    write = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda file, block, at: write(file, block[:7], at))
    assert volume.whole(_WHOLE) == "stored"
    assert Path(volume.root / "a.jsonl").read_bytes() == _WHOLE
