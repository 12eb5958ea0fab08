"""Of jobs that have ended so many are kept."""

import logging
from pathlib import Path

import pytest

from budeval.domain.notification import WorkflowStatus
from budeval.domain.score_job import ScoreRecord
from budeval.errors import RequestError, SidecarError
from budeval.runtime.workflow_engine import WorkflowSnapshot
from budeval.scoring import count_cap, intake
from budeval.scoring.count_cap import CountCap
from tests.scoring.bodies import request
from tests.scoring.desk import Desk, unasking_desk


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    """Nobody is asked."""
    return unasking_desk(tmp_path)


def _ended(desk: Desk, count: int) -> list[ScoreRecord]:
    """Jobs that have run, the oldest first."""
    records = [desk.intake.accept(request(), "default") for _ in range(count)]
    for record in records:
        desk.run(record)
    return records


def _left(desk: Desk) -> list[str]:
    """The oldest first."""
    return [record.job.job_id for record in desk.store.load_all(desk.store.newest(None, 100)[0])][::-1]


def _ids(records: list[ScoreRecord]) -> list[str]:
    return [record.job.job_id for record in records]


def test_the_newest_stay(desk: Desk) -> None:
    """The others are deleted with their runs; again there is nothing to do."""
    records = _ended(desk, 5)

    for _ in range(2):
        CountCap(desk.store, desk.lifecycle.delete, 2).sweep()

    assert _left(desk) == _ids(records[3:])
    assert desk.artifacts.sizes(records[2].job.run_id) is None
    assert desk.artifacts.sizes(records[3].job.run_id)
    with pytest.raises(RequestError, match="was deleted"):
        desk.store.load(records[0].job.job_id)


def test_what_has_not_ended_stays_and_does_not_count(desk: Desk) -> None:
    """However old it is."""
    running = desk.intake.accept(request(), "default")
    records = _ended(desk, 2)

    CountCap(desk.store, desk.lifecycle.delete, 1).sweep()

    assert _left(desk) == _ids([running, records[1]])


def test_a_busy_tenant_costs_the_others_nothing(desk: Desk) -> None:
    """Each has its own number."""
    theirs = desk.intake.accept(request(), "team-b")
    desk.run(theirs)
    records = _ended(desk, 2)

    CountCap(desk.store, desk.lifecycle.delete, 1).sweep()

    assert _left(desk) == _ids([theirs, records[1]])


def test_a_workflow_that_still_runs_keeps_its_job(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    """Until the next sweep, and without a cry."""
    records = _ended(desk, 2)
    instance = records[0].job.instance_id
    desk.workflows.instances[instance] = WorkflowSnapshot(
        workflow_id=instance, name="score_sample", status=WorkflowStatus.RUNNING
    )
    cap = CountCap(desk.store, desk.lifecycle.delete, 1)

    cap.sweep()
    before = _left(desk)
    desk.workflows.instances.clear()
    cap.sweep()

    assert (before, _left(desk)) == (_ids(records), _ids(records[1:]))
    assert not [entry for entry in caplog.records if entry.levelno >= logging.WARNING]


def test_the_list_may_be_long(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is read page by page; what was deleted before takes no place."""
    monkeypatch.setattr(count_cap, "_PER_READ", 2)
    records = _ended(desk, 7)
    desk.lifecycle.delete(records[5].job.job_id)

    CountCap(desk.store, desk.lifecycle.delete, 3).sweep()

    assert _left(desk) == _ids([records[3], records[4], records[6]])


def test_a_job_on_two_days_counts_once(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was cut off before midnight and came again after: it is shown once, and not one beside itself."""
    monkeypatch.setattr(intake, "now", lambda: "2026-01-01T23:59:59.999+00:00")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(desk.store, "create", _away)
        with pytest.raises(SidecarError):
            desk.intake.accept(request(), "default", "order-7")
    monkeypatch.setattr(intake, "now", lambda: "2026-01-02T00:00:00.500+00:00")
    record = desk.intake.accept(request(), "default", "order-7")
    desk.run(record)

    CountCap(desk.store, desk.lifecycle.delete, 1).sweep()

    assert desk.store.days() == ["2026-01-01", "2026-01-02"]
    assert [score.job_id for score in desk.views.page(None, 9, None, None).scores] == [record.job.job_id]


def _away(_record: ScoreRecord) -> ScoreRecord:
    raise SidecarError("away")


def test_one_that_cannot_be_deleted_does_not_stop_the_others(
    desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    """It is told, and tried again with the next sweep."""
    records = _ended(desk, 3)

    def stubborn(job_id: str) -> None:
        if job_id == records[1].job.job_id:
            raise OSError("the disk is full")
        desk.lifecycle.delete(job_id)

    with caplog.at_level(logging.ERROR):
        CountCap(desk.store, stubborn, 1).sweep()

    assert _left(desk) == _ids(records[1:])
    assert "could not be deleted" in caplog.text


def test_a_sidecar_that_is_away_ends_the_sweep(desk: Desk) -> None:
    """The next one would fail, too."""
    _ended(desk, 3)
    asked = []

    def away(job_id: str) -> None:
        asked.append(job_id)
        raise SidecarError("away")

    with pytest.raises(SidecarError):
        CountCap(desk.store, away, 1).sweep()

    assert len(asked) == 1
