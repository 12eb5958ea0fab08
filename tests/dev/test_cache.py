import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dev import cache, layout

_BUILDER = Path(__file__).with_name("cache_process.py")
_PATIENCE_SECONDS = 30.0


def _until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError("the awaited state did not come")
        time.sleep(0.01)


class Builders:
    """Processes that ask for one and the same entry of a cache of their own."""

    def __init__(self, directory: Path) -> None:
        self.home = directory / "home"
        self.cache = self.home / "cache"
        self.journal = directory / "journal"
        self.gate = directory / "gate"
        self.messages = directory / "messages"
        self.started: list[subprocess.Popen[str]] = []

    def start(self, outcome: str = "succeed") -> subprocess.Popen[str]:
        """Start one; it stops in the middle of its build until the gate is open."""
        environment = {"BUDEVAL_DEV_HOME": str(self.home), "PYTHONPATH": str(layout.CHECKOUT)}
        with self.messages.open("a") as messages:
            builder = subprocess.Popen(
                [sys.executable, _BUILDER, self.journal, self.gate, outcome],
                env=environment,
                stdout=subprocess.PIPE,
                stderr=messages,
                text=True,
            )
        self.started.append(builder)
        return builder

    def run(self, outcome: str = "succeed") -> Path | None:
        """Let one run to its end; return the entry it got, or None where it failed."""
        self.gate.touch()
        return self.result(self.start(outcome))

    def result(self, builder: subprocess.Popen[str]) -> Path | None:
        """Wait for one that was started; return the entry it got, or None where it failed."""
        output, _ = builder.communicate(timeout=_PATIENCE_SECONDS)
        return Path(output) if builder.returncode == 0 else None

    def builds(self) -> int:
        """How many builds were begun."""
        return len(self.journal.read_text().splitlines()) if self.journal.exists() else 0

    def said(self, text: str) -> bool:
        """Whether one of them said so."""
        return text in self.messages.read_text()

    def directories(self) -> list[str]:
        """Names of the directories in the cache."""
        return [path.name for path in self.cache.iterdir() if path.is_dir()]


@pytest.fixture
def builders(tmp_path: Path) -> Iterator[Builders]:
    """Builders with a cache of their own; none outlives its test."""
    made = Builders(tmp_path)
    yield made
    for builder in made.started:
        builder.kill()
        builder.communicate()


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    """A directory of sources."""
    directory = tmp_path / "sources"
    (directory / "inner").mkdir(parents=True)
    (directory / "main.go").write_text("package main")
    (directory / "inner" / "inner.go").write_text("package inner")
    return directory


def _edit(sources: Path) -> None:
    (sources / "inner" / "inner.go").write_text("package inner // edited")


def _rename(sources: Path) -> None:
    (sources / "main.go").rename(sources / "other.go")


def _move(sources: Path) -> None:
    (sources / "inner" / "inner.go").rename(sources / "inner.go")


def _add(sources: Path) -> None:
    (sources / "empty").touch()


def _remove(sources: Path) -> None:
    (sources / "main.go").unlink()


@pytest.mark.parametrize("change", [_edit, _rename, _move, _add, _remove])
def test_key_changes_with_the_files_of_a_directory(change: Callable[[Path], None], sources: Path) -> None:
    """Another content, name or set of files below a directory is another key."""
    before = cache.key_of([sources])
    change(sources)
    assert cache.key_of([sources]) != before


def test_key_changes_with_a_files_content_and_name(tmp_path: Path) -> None:
    """A single file counts with its name and its content, but not with where it is."""
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "lock.txt").write_text("one")
    (tmp_path / "other.txt").write_text("one")
    (tmp_path / "elsewhere" / "lock.txt").write_text("one")
    key = cache.key_of([tmp_path / "lock.txt"])
    moved, renamed = tmp_path / "elsewhere" / "lock.txt", tmp_path / "other.txt"
    assert cache.key_of([moved]) == key
    assert cache.key_of([renamed]) != key
    moved.write_text("two")
    assert cache.key_of([moved]) != key


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (["1.0"], ["1.1"]),
        (["1.0"], []),
        (["1.0", "static"], ["static", "1.0"]),
        (["ab", "c"], ["a", "bc"]),
        (["ab"], ["a", "b"]),
    ],
)
def test_key_changes_with_literals(one: list[str], other: list[str]) -> None:
    """Literals count one by one and in their order; their text cannot run together."""
    assert cache.key_of(one) != cache.key_of(other)


def test_key_ignores_compiled_python(sources: Path) -> None:
    """Files that Python leaves in __pycache__ are nobody's ingredients."""
    before = cache.key_of([sources])
    (sources / "inner" / "__pycache__").mkdir()
    (sources / "inner" / "__pycache__" / "inner.cpython-311.pyc").write_bytes(b"\0")
    assert cache.key_of([sources]) == before


def test_key_takes_another_entrys_name_for_its_content() -> None:
    """What another cache entry holds is not read: its key already stands for it."""
    entry = layout.CACHE / "made-up-0123456789abcdef"
    key = cache.key_of([entry / "program"])
    assert key != cache.key_of([layout.CACHE / "made-up-fedcba9876543210" / "program"])
    assert key != cache.key_of([entry / "other"])


def test_entry_path_tells_kind_and_key() -> None:
    """People who look into the cache see what an entry is."""
    path = cache.entry_path("thing", ["1.0"])
    assert path == layout.CACHE / f"thing-{cache.key_of(['1.0'])}"


def test_entry_is_built_once(builders: Builders) -> None:
    """Whoever asks later gets the entry that is there, with all its content and nothing unfinished beside."""
    first, second = builders.run(), builders.run()
    assert first is not None
    assert second == first
    assert builders.builds() == 1
    assert (first / "whole").read_text() == "done"
    assert builders.directories() == [first.name]


def test_entry_is_readable_for_other_users(builders: Builders) -> None:
    """Checkouts of several users share the cache, so an entry is not private to who built it."""
    path = builders.run()
    assert path is not None
    assert path.stat().st_mode & 0o055 == 0o055


def test_second_process_waits_for_the_first_and_does_not_build(builders: Builders) -> None:
    """Two checkouts that need the same entry at the same time build it once."""
    first = builders.start()
    _until(builders.builds)
    second = builders.start()
    _until(lambda: builders.said("waiting for another process that is building a thing"))
    builders.gate.touch()
    paths = [builders.result(first), builders.result(second)]
    assert paths[0] is not None
    assert paths[0] == paths[1]
    assert builders.builds() == 1


def test_second_process_builds_when_the_first_failed(builders: Builders) -> None:
    """A process that waited in vain builds by itself."""
    first = builders.start("fail")
    _until(builders.builds)
    second = builders.start()
    _until(lambda: builders.said("waiting for another process"))
    builders.gate.touch()
    assert builders.result(first) is None
    assert builders.result(second) is not None
    assert builders.builds() == 2


def test_failed_build_leaves_nothing(builders: Builders) -> None:
    """Half an entry is never seen, and its error reaches the caller."""
    assert builders.run("fail") is None
    assert builders.directories() == []
    assert builders.said("building a thing: failed after")
    assert builders.said("the compiler gave up")


def test_next_call_builds_again_after_a_failure(builders: Builders) -> None:
    """A failure is not remembered."""
    builders.run("fail")
    path = builders.run()
    assert path is not None
    assert (path / "whole").exists()


def test_killed_build_is_taken_over(builders: Builders) -> None:
    """A builder that was killed neither keeps its lock nor leaves an entry that looks whole."""
    killed = builders.start()
    _until(builders.builds)
    killed.kill()
    killed.wait()
    path = builders.run()
    assert path is not None
    assert (path / "whole").exists()
    assert builders.builds() == 2


def test_using_an_entry_makes_it_young_again(builders: Builders) -> None:
    """An entry's age is counted from its last use, not from its build."""
    path = builders.run()
    assert path is not None
    os.utime(path, (0, 0))
    builders.run()
    assert path.stat().st_mtime > 0


def test_prune_removes_only_old_entries(tmp_path: Path) -> None:
    """What was used within the given days stays, and so do files that are no entries."""
    kept = tmp_path / "cache"
    for name, days in (("dapr-1", 20), ("dapr-2", 5), (".dapr-3.half-built", 20)):
        (kept / name).mkdir(parents=True)
        used = time.time() - days * 86400
        os.utime(kept / name, (used, used))
    (kept / ".dapr-1.lock").touch()
    os.utime(kept / ".dapr-1.lock", (0, 0))
    done = subprocess.run(
        [sys.executable, "-m", "dev", "prune", "--days", "14"],
        cwd=layout.CHECKOUT,
        env={"BUDEVAL_DEV_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert sorted(path.name for path in kept.iterdir()) == [".dapr-1.lock", "dapr-2"]
    assert sorted(done.stdout.split()) == sorted([f"{kept}/.dapr-3.half-built", f"{kept}/dapr-1"])
