"""What is seen of a run of faults: events, Jobs, and what stays."""

import base64
import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from budeval.domain.evaluation import EvaluationRecord, Tombstone
from dev.chaos import faults, observing
from dev.chaos.verdict import Delivery, Observed, judge
from dev.layout import ClusterLayout
from tests.evals import samples

_ID = "37730edf-afbd-47f9-a196-99cfe1988ad9"


def test_arrivals_are_read_as_the_subscriber_wrote_them(tmp_path: Path) -> None:
    """In their order, repetitions too; dead letters, and what has no number, by their ids."""
    line = {"id": f"eval-{_ID}/2", "event": "eta", "status": "RUNNING", "digest": "d", "dead": False}
    lines = [line, line, {**line, "id": None}, {**line, "id": f"eval-{_ID}/3", "dead": True}]
    received = tmp_path / "received.jsonl"
    received.write_text("".join(json.dumps(one) + "\n" for one in lines))

    arrived, dead = observing.deliveries(received)

    assert arrived == 2 * [Delivery(f"eval-{_ID}", 2, "eta", "RUNNING", "d")]
    assert dead == ["None", f"eval-{_ID}/3"]


def _job(uid: str, deployment: str = "1", version: str = "7") -> dict[str, Any]:
    labels = {"budeval.dev/eval-id": _ID, "budeval.dev/run-id": "run", "budeval.dev/attempt": deployment}
    return {"metadata": {"uid": uid, "labels": labels, "resourceVersion": version}}


def test_jobs_of_one_name_are_told_apart_by_their_uids(tmp_path: Path) -> None:
    """The same Job seen again is one; another one for the same run is a doubled one."""
    observed = Observed()
    watch = observing.JobWatch(ClusterLayout("s", 1, tmp_path), observed)

    versions = [
        watch._note({"type": "ADDED", "object": _job("a")}),
        watch._note({"type": "MODIFIED", "object": _job("a", version="8")}),
        watch._note({"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": "9"}}}),
    ]
    assert (versions, judge(observed).duplicated) == (["7", "8", "9"], [])

    assert watch._note({"type": "ERROR", "object": {}}) == ""
    watch._note({"type": "ADDED", "object": _job("b")})

    assert watch.gaps == 1
    assert len(judge(observed).duplicated) == 1


def test_a_watch_that_has_broken_is_no_watch_that_saw_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What has ended it is told at the end."""

    def broken() -> None:
        raise KeyError("metadata")

    watch = observing.JobWatch(ClusterLayout("s", 1, tmp_path), Observed())
    monkeypatch.setattr(watch, "_watch", broken)

    watch.start()

    with pytest.raises(KeyError, match="metadata"):
        watch.stop()


def _state(directory: Path, values: dict[str, Any], is_binary: int = 0) -> Path:
    """A state store's file with these values, as Dapr keeps them."""
    path = directory / "state.db"
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("CREATE TABLE state (key TEXT, value TEXT, is_binary INTEGER)")
        for name, value in values.items():
            text = json.dumps(value)
            stored = base64.b64encode(text.encode()).decode() if is_binary else text
            database.execute("INSERT INTO state VALUES (?, ?, ?)", (f"budeval||{name}", stored, is_binary))
    return path


@pytest.mark.parametrize(
    ("name", "value", "left"),
    [
        ("sealed-x", {}, ["state sealed-x"]),
        ("active-3", ["a", "b"], ["active evaluation a", "active evaluation b"]),
        ("active-3", [], []),
        ("arriving-1", {"a": {}}, ["request that comes in a"]),
        ("arriving-1", {}, []),
        ("brief-a", {}, []),
        ("dataset-a.1-digest", {}, ["state dataset-a.1-digest"]),
    ],
)
@pytest.mark.parametrize("is_binary", [0, 1])
def test_what_stays_in_the_state_store_is_found(
    tmp_path: Path, name: str, value: Any, left: list[str], is_binary: int
) -> None:
    """In both forms in which Dapr keeps a value."""
    stored = observing._stored(_state(tmp_path, {name: value}, is_binary))

    assert list(observing._in_state(stored)) == left


def _record() -> EvaluationRecord:
    """Of an evaluation with inline rows, that came by one of its request's arrivals."""
    own = {"digest": "digest", "format": "jsonl", "prompt": "{q}", "answer": "a", "evaluator": "exact"}
    evaluation = samples.evaluation(_ID, runs=[{"run_id": "run", "dataset_id": "d", "own": own}])
    return EvaluationRecord(evaluation=evaluation, digest="d", created="2026-01-01", arrival="one")


def test_only_the_rows_that_a_record_tells_of_may_stay(tmp_path: Path) -> None:
    """Those of another arrival of the same request were to be removed, and so were other ones."""
    values = {
        f"eval-{_ID}": _record().model_dump(mode="json"),
        f"dataset-{_ID}.one-digest": {},
        f"dataset-{_ID}.two-digest": {},
        f"dataset-{_ID}.one-another": {},
        f"dapr.internal.default.budeval.workflow||eval-{_ID}||metadata": "no record",
    }

    left = list(observing._in_state(observing._stored(_state(tmp_path, values))))

    assert left == [f"state dataset-{_ID}.two-digest", f"state dataset-{_ID}.one-another"]


def _tombstone() -> dict[str, Any]:
    return Tombstone(eval_id=_ID, tenant="default", deleted="2026-01-01").model_dump(mode="json")


@pytest.mark.parametrize(
    "name",
    [
        f"dataset-{_ID}.one-digest",
        f"brief-{_ID}",
        f"event-eval-{_ID}-3",
        f"receipt-{_ID}",
        f"dapr.internal.default.budeval.workflow||eval-{_ID}-a2||history-000001",
    ],
)
def test_of_a_deleted_evaluation_only_its_tombstone_may_stay(tmp_path: Path, name: str) -> None:
    """Also of its workflows' histories; another's are its own."""
    others = {"receipt-another": {}, "dapr.internal.default.budeval.workflow||eval-another||metadata": ""}
    stored = observing._stored(_state(tmp_path, {f"eval-{_ID}": _tombstone(), name: "", **others}))

    assert list(observing._in_state(stored)) == [f"state {name}"]


def test_of_what_is_there_everything_may_stay(tmp_path: Path) -> None:
    """Until it is deleted."""
    values = {f"eval-{_ID}": _record().model_dump(mode="json"), f"receipt-{_ID}": {}}

    assert list(observing._in_state(observing._stored(_state(tmp_path, values)))) == []


def test_files_of_deleted_evaluations_are_found_on_the_claim(tmp_path: Path) -> None:
    """The empty directory that Kubernetes made is none; files of others are theirs."""
    stored = observing._stored(_state(tmp_path, {f"eval-{_ID}": _tombstone()}))
    (tmp_path / "results" / _ID).mkdir(parents=True)
    (tmp_path / "results" / "another" / "run").mkdir(parents=True)
    assert list(observing._files_of_deleted(stored, tmp_path / "results")) == []

    (tmp_path / "results" / _ID / "run").mkdir()

    assert list(observing._files_of_deleted(stored, tmp_path / "results")) == [f"files of the deleted {_ID}"]


@pytest.mark.parametrize(
    ("words", "is_one"),
    [
        (["/v/bin/python3", "/v/bin/ansible-playbook", "-i", "x"], True),
        (["/v/bin/ansible-playbook"], True),
        (["/v/bin/python3", "-m", "budeval"], False),
        (["grep", "-r", "x", "ansible-playbook"], False),
        ([], False),
    ],
)
def test_a_playbook_is_known_by_its_arguments(words: list[str], is_one: bool) -> None:  # noqa: FBT001
    """Whatever Python runs it."""
    assert faults._is_playbook(words) is is_one
