"""Receipts in the state store, and what they say of directories that a killed service has left."""

import socket
import tempfile
from pathlib import Path

import pytest

from budeval.ansible.private_directory import PrivateDirectory, sweep
from budeval.domain.receipt import CLUSTER_KINDS, Fate, ReceiptItem
from budeval.errors import SidecarError
from budeval.evals.receipts import Receipts, receipt_key
from tests.runtime.fake_dapr import FakeDapr

_ABSENCE = {kind: f"no {kind}" for kind in CLUSTER_KINDS}


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The service's directory for temporary files."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


@pytest.fixture
def dapr() -> FakeDapr:
    """An empty store."""
    return FakeDapr()


@pytest.fixture
def receipts(dapr: FakeDapr, scratch: Path) -> Receipts:
    """In that, of a service that found nothing left behind."""
    assert scratch.is_dir()
    return Receipts(dapr.client(), {})


def _job(outcome: Fate = Fate.IN_USE, name: str = "r-1") -> ReceiptItem:
    return ReceiptItem(kind="Job", name=name, uid="u", outcome=outcome, reason="why")


def test_a_directory_is_told_while_it_is_there_and_when_it_is_gone(
    receipts: Receipts, dapr: FakeDapr
) -> None:
    """Nobody has to say that it went: whoever asks, and whoever writes, looks."""
    private = PrivateDirectory()
    receipts.enter_directory("e-1", private.path)
    (there,) = receipts.of("e-1")
    private.remove()
    (gone,) = receipts.of("e-1")
    receipts.note("e-1", [_job()])

    assert (there.outcome, there.host, there.name) == ("in_use", socket.gethostname(), str(private.path))
    assert (gone.outcome, gone.reason) == ("deleted", None)
    assert gone.proof == f"There is no {private.path} on {socket.gethostname()}."
    assert dapr.state[receipt_key("e-1")]["objects"][0]["outcome"] == "deleted"


def test_what_a_killed_service_left_is_told_with_who_removed_it(dapr: FakeDapr, scratch: Path) -> None:
    """The directory was entered before its playbook ran; the next service sweeps it, and says so."""
    left = scratch / "budeval-run-left"
    left.mkdir()
    Receipts(dapr.client(), {}).enter_directory("e-1", left)
    # The service is killed; the next one starts.
    swept = {str(path): "2026-01-01T00:00:00+00:00" for path in sweep()}

    (item,) = Receipts(dapr.client(), swept).of("e-1")

    assert item.outcome == "deleted"
    assert f"There is no {left}" in str(item.proof)
    assert "A killed service had left it; the next one removed it at 2026-01-01" in str(item.proof)


@pytest.mark.parametrize("place", ["host", "tmpdir"])
def test_what_cannot_be_seen_from_here_is_not_said_to_be_gone(
    receipts: Receipts, scratch: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    """A new pod or another TMPDIR has no such path, and that proves nothing. Whoever sees it, tells."""
    left = scratch / "budeval-run-left"
    left.mkdir()
    receipts.enter_directory("e-1", left)
    with monkeypatch.context() as patch:
        if place == "host":
            patch.setattr(socket, "gethostname", lambda: "another")
        else:
            patch.setattr(tempfile, "tempdir", str(scratch / "other"))
        receipts.note("e-1", [_job()])
        elsewhere = next(item for item in receipts.of("e-1") if item.kind == "PrivateDirectory")
    left.rmdir()
    here = next(item for item in receipts.of("e-1") if item.kind == "PrivateDirectory")

    assert (elsewhere.outcome, elsewhere.proof) == ("unknown", None)
    assert "another machine" in str(elsewhere.reason)
    assert (here.outcome, here.reason) == ("deleted", None)


def test_everything_may_be_said_twice(receipts: Receipts, dapr: FakeDapr) -> None:
    """Activities run at least once."""
    for _ in range(2):
        receipts.note("e-1", [_job()])
        receipts.clean_up("e-1", [_job(Fate.ENDING)], _ABSENCE)
        receipts.leave("e-1", "CLEANUP_INCOMPLETE: it ends")

    assert [(item.kind, item.outcome) for item in receipts.of("e-1")] == [
        ("Job", "ending"),
        ("CleanUp", "unknown"),
    ]
    receipts.clean_up("e-1", [], _ABSENCE)
    (job,) = receipts.of("e-1")
    assert (job.outcome, job.proof, job.uid) == ("gone", "no Job", "u")
    assert set(dapr.state) == {"receipt-e-1"}


def test_nothing_is_written_for_nothing(receipts: Receipts, dapr: FakeDapr) -> None:
    """A deployment of which every run was refused."""
    receipts.note("e-1", [])

    assert dapr.state == {}
    assert receipts.of("e-1") == []


def test_an_old_receipt_is_read_and_gone_on_with(receipts: Receipts, dapr: FakeDapr) -> None:
    """Of an evaluation that was under way when the service was replaced by this version."""
    old = [
        {"kind": "Job", "name": "r-1", "outcome": "deleted"},
        {"kind": "Pod", "name": "r-1-x", "outcome": "still ending"},
        {"kind": "Evaluation", "name": "e-1", "outcome": "CLEANUP_INCOMPLETE: some"},
    ]
    dapr.state["receipt-e-1"] = {"schema": 1, "objects": old}

    receipts.clean_up("e-1", [], _ABSENCE)

    assert [(item.kind, item.outcome) for item in receipts.of("e-1")] == [("Job", "deleted"), ("Pod", "gone")]


def test_a_playbook_does_not_run_without_its_entry(receipts: Receipts, dapr: FakeDapr) -> None:
    """Where the state store is away the caller is told, before anything is in the directory."""
    dapr.unreachable = True

    with pytest.raises(SidecarError):
        receipts.enter_directory("e-1", Path("/tmp/budeval-run-x"))  # noqa: S108 - never made
