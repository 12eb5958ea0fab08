"""Runs are there whole or not at all, in a directory and in an object store, whatever is cut off."""

import hashlib
import json
import os
import threading
from functools import partial
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from budeval.domain.score_run import ScoreRun
from budeval.errors import ArtifactError
from budeval.scoring.artifacts import Artifact, ArtifactStore, artifact_store, write_advice, write_artifacts
from budeval.scoring.artifacts import directory as directory_module
from budeval.scoring.artifacts.objects import ObjectArtifacts
from tests.scoring.crashing import dies_at
from tests.scoring.fake_objects import FakeObjects
from tests.scoring.runs import MIXED, RUN_ID, single, value

_FIRST = MIXED
_SECOND = single(value("faithfulness", 1.0))
"""The same run after a retry."""
_MORE_STEPS_THAN_THERE_ARE = 100


@pytest.fixture(params=["directory", "objects"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ArtifactStore:
    """Each kind of store."""
    if request.param == "directory":
        return artifact_store(f"file://{tmp_path}/runs")
    return ObjectArtifacts(FakeObjects(), "bucket/runs")


def _read(store: ArtifactStore, name: Artifact, run_id: str = RUN_ID) -> bytes | None:
    file = store.open(run_id, name)
    if file is None:
        return None
    with file:
        return file.read()


def _whole(store: ArtifactStore) -> bytes | None:
    """The metadata of the run as anybody sees it, which is checked to be whole; None where there is none."""
    sizes = store.sizes(RUN_ID)
    if sizes is None:
        assert [name for name in Artifact if store.open(RUN_ID, name)] == []
        return None
    manifest = json.loads(_read(store, Artifact.MANIFEST) or b"")
    assert {entry["name"] for entry in manifest["files"]} == sizes.keys() - {
        Artifact.MANIFEST,
        Artifact.ADVICE,
    }
    for entry in manifest["files"]:
        content = _read(store, Artifact(entry["name"])) or b""
        assert (hashlib.sha256(content).hexdigest(), len(content)) == (entry["sha256"], entry["bytes"])
        assert sizes[Artifact(entry["name"])] == len(content)
    return _read(store, Artifact.METADATA)


def _files_of(run: ScoreRun) -> dict[Artifact, bytes]:
    """What a store that nothing happens to has of it."""
    store = ObjectArtifacts(FakeObjects(), "elsewhere")
    write_artifacts(run, store)
    return {name: _read(store, name) or b"" for name in store.sizes(RUN_ID) or {}}


def _metadata_of(run: ScoreRun) -> bytes:
    return _files_of(run)[Artifact.METADATA]


def test_a_run_that_is_written_is_there(store: ArtifactStore) -> None:
    """With every file but the advice, which comes later."""
    assert store.sizes(RUN_ID) is None

    write_artifacts(_FIRST, store)

    assert _whole(store) == _metadata_of(_FIRST)
    assert (store.sizes(RUN_ID) or {}).keys() == set(Artifact) - {Artifact.ADVICE}
    assert store.open(RUN_ID, Artifact.ADVICE) is None


def test_the_same_run_again_changes_nothing(store: ArtifactStore) -> None:
    """Not one byte, and the advice stays."""
    manifest = write_artifacts(_FIRST, store)
    write_advice(RUN_ID, "# Advice\n", store)
    before = {name: _read(store, name) for name in Artifact}

    assert write_artifacts(_FIRST, store) == manifest
    assert {name: _read(store, name) for name in Artifact} == before


def test_another_run_of_the_same_id_replaces_the_first(store: ArtifactStore) -> None:
    """As after a retry; the advice on the first is none on the second."""
    write_artifacts(_FIRST, store)
    write_advice(RUN_ID, "# Advice\n", store)

    write_artifacts(_SECOND, store)

    assert _whole(store) == _metadata_of(_SECOND)
    assert store.open(RUN_ID, Artifact.ADVICE) is None


def test_advice_can_be_written_again(store: ArtifactStore) -> None:
    """The last one counts."""
    write_artifacts(_FIRST, store)
    write_advice(RUN_ID, "# One\n", store)
    write_advice(RUN_ID, "# Two, \u5317\u4eac\n", store)

    assert _read(store, Artifact.ADVICE) == "# Two, \u5317\u4eac\n".encode()
    assert _whole(store)


def test_there_is_no_advice_on_a_run_that_is_not_there(store: ArtifactStore) -> None:
    """It would be half of a run."""
    with pytest.raises(ArtifactError, match="cannot be written") as refused:
        write_advice(RUN_ID, "# Advice\n", store)

    assert (refused.value.code, refused.value.retryable) == ("ARTIFACTS_UNAVAILABLE", True)
    assert store.sizes(RUN_ID) is None


def test_a_run_that_is_removed_is_gone(store: ArtifactStore) -> None:
    """Also when it is removed once more; others stay."""
    write_artifacts(_FIRST, store)
    write_artifacts(_FIRST.model_copy(update={"run_id": "score-other"}), store)

    store.remove(RUN_ID)
    store.remove(RUN_ID)

    assert _whole(store) is None
    assert store.sizes("score-other")


@pytest.mark.parametrize(
    "run_id",
    [
        "..",
        ".",
        "",
        "../runs/" + RUN_ID,
        f"{RUN_ID}/",
        "a/b",
        ".staging",
        "a\x00b",
        "a\n",
        "~",
        "x" * 129,
        "a b",
    ],
)
def test_no_run_id_leads_elsewhere(store: ArtifactStore, run_id: str) -> None:
    """It is that of no run, and nothing is written or removed under it."""
    write_artifacts(_FIRST, store)

    assert store.sizes(run_id) is None
    assert [name for name in Artifact if store.open(run_id, name)] == []
    for change in (partial(store.remove, run_id), partial(store.add, run_id, Artifact.ADVICE, b"")):
        with pytest.raises(ValueError, match="is no run id"):
            change()
    with pytest.raises(ValueError, match="is no run id"):
        write_artifacts(_FIRST.model_copy(update={"run_id": run_id}), store)
    assert _whole(store)


@pytest.mark.parametrize("before", [None, _FIRST], ids=["new", "replacing"])
def test_a_crash_at_any_step_leaves_no_half_run(tmp_path: Path, before: ScoreRun | None) -> None:
    """In a directory: what is seen is the run of before, or none, or the new one; a repetition mends it."""
    files = _files_of(_SECOND)
    old, new = _metadata_of(_FIRST), files[Artifact.METADATA]
    seen = set()
    for step in range(_MORE_STEPS_THAN_THERE_ARE):
        store = artifact_store(str(tmp_path / str(step)))
        if before:
            write_artifacts(_FIRST, store)

        died = dies_at(step, partial(store.commit, RUN_ID, files))

        seen.add(_whole(store))
        store.commit(RUN_ID, files)
        assert _whole(store) == new
        if not died:
            break
    assert not died, "more steps than were tried"
    assert seen == ({old, None, new} if before else {None, new})


def test_a_crash_while_advice_is_written_leaves_all_of_it_or_none(tmp_path: Path) -> None:
    """And the run as it was."""
    died, seen = True, set()
    for step in range(_MORE_STEPS_THAN_THERE_ARE):
        store = artifact_store(str(tmp_path / str(step)))
        write_artifacts(_FIRST, store)
        write_advice(RUN_ID, "# Old\n", store)

        died = dies_at(step, partial(write_advice, RUN_ID, "# New\n", store))

        assert _whole(store)
        seen.add(_read(store, Artifact.ADVICE))
        if not died:
            break
    assert not died
    assert seen == {b"# Old\n", b"# New\n"}


@given(failures=st.lists(st.tuples(st.integers(0, 20), st.booleans()), max_size=4), before=st.booleans())
@settings(deadline=None)
def test_an_object_store_that_fails_shows_no_half_run(
    failures: list[tuple[int, bool]], *, before: bool
) -> None:
    """Whatever change fails, and how often it is tried: also where only the answer was lost."""
    objects = FakeObjects()
    store = ObjectArtifacts(objects, "bucket")
    old, new = _metadata_of(_FIRST), _metadata_of(_SECOND)
    if before:
        write_artifacts(_FIRST, store)
    for objects.fails_at, objects.fails_late in failures:
        try:
            write_artifacts(_SECOND, store)
        except ArtifactError as error:
            assert "the object store is away" in error.message  # noqa: PT017 - it need not fail
        assert _whole(store) in {old if before else None, None, new}
    objects.fails_at = None

    write_artifacts(_SECOND, store)

    assert _whole(store) == new


def test_the_metadata_are_the_last_object() -> None:
    """Where it is, the others are."""
    objects = FakeObjects()

    write_artifacts(_FIRST, ObjectArtifacts(objects, "bucket"))

    assert objects.writes[-1] == f"bucket/{RUN_ID}/metadata.json"
    assert len(objects.writes) == len(Artifact) - 1


def test_all_is_on_the_disk_before_it_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each file and the directory are flushed before the rename, the directory of all runs after it."""
    order: list[str] = []
    flush, rename = os.fsync, Path.rename

    def flushed(descriptor: int) -> None:
        order.append(Path(f"/proc/self/fd/{descriptor}").readlink().name)
        flush(descriptor)

    def renamed(path: Path, target: Path) -> Path:
        order.append("renamed")
        return rename(path, target)

    monkeypatch.setattr(os, "fsync", flushed)
    monkeypatch.setattr(Path, "rename", renamed)
    write_artifacts(_FIRST, artifact_store(str(tmp_path / "runs")))

    at = order.index("renamed")
    assert set(Artifact) - {Artifact.ADVICE} <= set(order[:at])
    assert order[at - 2] == "metadata.json"
    assert order[at - 1].startswith(RUN_ID)
    assert order[at + 1 :] == ["runs"]


def test_several_may_write_the_same_run_at_once(tmp_path: Path) -> None:
    """Activities run at least once: also twice at the same time. All succeed, and one run is there."""
    store = artifact_store(str(tmp_path))
    failures: list[BaseException] = []

    def write() -> None:
        try:
            for _ in range(10):
                write_artifacts(_FIRST, store)
        except BaseException as error:  # noqa: BLE001 - asserted below
            failures.append(error)

    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert failures == []
    assert _whole(store) == _metadata_of(_FIRST)
    assert list((tmp_path / ".staging").iterdir()) == []


def test_what_killed_writers_left_is_removed_in_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the next run: not what somebody may still be writing."""
    store = artifact_store(str(tmp_path))
    assert dies_at(6, partial(store.commit, RUN_ID, _files_of(_FIRST)))
    staging = tmp_path / ".staging"
    assert len(list(staging.iterdir())) == 1

    write_artifacts(_FIRST, store)
    assert len(list(staging.iterdir())) == 1
    monkeypatch.setattr(directory_module, "_ABANDONED_SECONDS", -1.0)
    write_artifacts(_SECOND, store)

    assert list(staging.iterdir()) == []
    assert _whole(store) == _metadata_of(_SECOND)


def test_a_disk_that_refuses_is_told(tmp_path: Path) -> None:
    """By a failure that is worth trying again, without the run."""
    (tmp_path / "file").write_text("no directory")
    store = artifact_store(str(tmp_path / "file"))

    with pytest.raises(ArtifactError, match=f"run {RUN_ID} cannot be written: ") as refused:
        write_artifacts(_FIRST, store)

    assert refused.value.retryable
    assert store.sizes(RUN_ID) is None


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("nosuch://key:secret@host/x", "nosuch://…"),
        ("s3://key:secret@bucket/x", "Install s3fs"),
    ],
)
def test_a_url_that_cannot_be_used_is_told(url: str, said: str) -> None:
    """At the start, and without what may be a secret in it."""
    with pytest.raises(ArtifactError) as refused:
        artifact_store(url)

    assert refused.value.code == "ARTIFACTS_URL_INVALID"
    assert said in refused.value.message
    assert "secret" not in refused.value.message


@given(content=st.binary(max_size=100))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=20, deadline=None)
def test_a_file_comes_back_byte_by_byte(store: ArtifactStore, content: bytes) -> None:
    """Whatever its bytes."""
    write_artifacts(_FIRST, store)
    store.add(RUN_ID, Artifact.ADVICE, content)

    assert _read(store, Artifact.ADVICE) == content
    assert (store.sizes(RUN_ID) or {})[Artifact.ADVICE] == len(content)
