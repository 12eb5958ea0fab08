"""What crashes have cut off is finished within a minute, whatever it was."""

import itertools
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from budeval.domain.notification import WorkflowStatus
from budeval.domain.score_job import JobOutcome, ScoreRecord
from budeval.errors import SidecarError
from budeval.runtime.logs import SubjectFormatter
from budeval.runtime.sidecar import Sidecar
from budeval.runtime.workflow_engine import WorkflowSnapshot
from budeval.scoring.reconciler import ScoreReconciler
from tests.scoring.bodies import batch, lines, request
from tests.scoring.desk import Desk, unasking_desk
from tests.scoring.fake_cut_dapr import FakeCutDapr
from tests.scoring.measured import score

_KEY = "order-7"


class Shift:
    """A desk and its reconciler; what each look has started and closed."""

    def __init__(self, directory: Path) -> None:
        self.dapr = FakeCutDapr()
        self.desk: Desk = unasking_desk(directory, self.dapr)
        self.started: list[str] = []
        self.closed: list[tuple[str, str]] = []
        self.reconciler = ScoreReconciler(self.desk.store, self.desk.workflows, self._start, self._close)
        self.starting: Callable[[str], None] = lambda _job_id: None
        """What goes wrong where one is started."""

    def accepted(self, key: str | None = None) -> str:
        """A job that is on the list with its record; its workflow was never seen."""
        return self.desk.intake.accept(request(), "default", key).job.job_id

    def has(self, job_id: str, status: str, failure: str | None = None) -> None:
        """There is a workflow of a job."""
        name = f"score-{job_id}"
        self.desk.workflows.instances[name] = WorkflowSnapshot(
            workflow_id=name, name="score_sample", status=WorkflowStatus(status), failure=failure
        )

    def look(self) -> None:
        """As every minute."""
        self.started.clear()
        self.closed.clear()
        self.reconciler.look()

    def let_time_pass(self) -> None:
        """What is coming in now has been cut off for long."""
        long_ago = (datetime.now(UTC) - timedelta(minutes=11)).isoformat()
        for key, claim in self.dapr.state.items():
            if key.startswith("score-claim-"):
                claim["at"] = long_ago

    def _start(self, record: ScoreRecord) -> None:
        self.starting(record.job.job_id)
        self.started.append(record.job.instance_id)

    def _close(self, record: ScoreRecord, reason: str) -> None:
        self.closed.append((record.job.job_id, reason))
        self.desk.activities.close_broken(record, reason)


@pytest.fixture
def shift(tmp_path: Path) -> Shift:
    """Nothing has happened yet."""
    return Shift(tmp_path)


def test_an_empty_list_is_nothing_to_do(shift: Shift) -> None:
    """As in a new installation."""
    shift.look()

    assert (shift.started, shift.closed) == ([], [])


def test_a_job_without_a_workflow_is_started(shift: Shift) -> None:
    """The service died between the two; with each look until there is one."""
    job_id = shift.accepted()

    for _ in range(2):
        shift.look()
        assert shift.started == [f"score-{job_id}"]
    shift.has(job_id, "RUNNING")
    shift.look()

    assert (shift.started, shift.closed) == ([], [])


def test_another_attempt_has_a_workflow_of_its_own(shift: Shift) -> None:
    """That of the first is there, and is none of its."""
    job_id = shift.accepted()
    shift.has(job_id, "FAILED", "NOTHING_SCORED: x")
    shift.desk.store.update(
        job_id, lambda now: now.model_copy(update={"job": now.job.model_copy(update={"attempt": 2})})
    )

    shift.look()

    assert (shift.started, shift.closed) == ([f"score-{job_id}-a2"], [])


@pytest.mark.parametrize("status", ["RUNNING", "PENDING", "SUSPENDED"])
def test_what_is_under_way_is_left_alone(shift: Shift, status: str) -> None:
    """Its workflow goes on."""
    shift.has(shift.accepted(), status)

    shift.look()

    assert (shift.started, shift.closed) == ([], [])


@pytest.mark.parametrize(
    ("status", "failure", "reason"),
    [
        ("FAILED", "INTERNAL: KeyError in settle_job", "INTERNAL: KeyError in settle_job"),
        ("TERMINATED", None, "INTERNAL: its workflow is TERMINATED"),
        ("COMPLETED", None, "INTERNAL: its workflow is COMPLETED"),
    ],
)
def test_what_its_workflow_has_left_is_closed(
    shift: Shift, status: str, failure: str | None, reason: str
) -> None:
    """It broke, or somebody terminated it: nobody else would end the job."""
    job_id = shift.accepted()
    shift.has(job_id, status, failure)

    shift.look()

    assert (shift.closed, shift.started) == ([(job_id, reason)], [])
    record = shift.desk.store.load(job_id)
    assert (record.outcome, record.error) == (JobOutcome.FAILED, reason)
    assert record.ended
    assert shift.desk.store.active() == []
    shift.look()
    assert shift.closed == []


def test_a_job_that_broke_after_its_scores_keeps_them(shift: Shift) -> None:
    """Only the advice is missing then."""
    job_id = shift.accepted()
    order = {"job_id": job_id, "attempt": 1, "late": False}
    record = shift.desk.store.load(job_id)
    for metric in record.job.metrics:
        score(shift.desk, record, metric)
    result = shift.desk.activities.write_artifacts(order)
    shift.desk.activities.settle_job({**order, "result": result, "problem": None})
    shift.has(job_id, "TERMINATED")

    shift.look()

    record = shift.desk.store.load(job_id)
    assert (record.outcome, record.error) == (JobOutcome.COMPLETED, None)
    assert (record.result and record.result.scores["exact_match"], bool(record.ended)) == (0.0, True)


def test_what_ends_during_the_look_is_left_alone(shift: Shift, monkeypatch: pytest.MonkeyPatch) -> None:
    """The record was read before its workflow's end, which writes it first."""
    job_id = shift.accepted()
    shift.has(job_id, "COMPLETED")
    find = shift.desk.workflows.find

    def ends(workflow_id: str) -> WorkflowSnapshot | None:
        shift.desk.activities.end_job({"job_id": job_id})
        return find(workflow_id)

    monkeypatch.setattr(shift.desk.workflows, "find", ends)

    shift.look()

    assert shift.closed == []


def test_an_end_that_was_cut_off_is_finished(shift: Shift) -> None:
    """It is written, but it is among those that have not ended; its workflow may be purged."""
    job_id = shift.accepted()
    shift.desk.activities.end_job({"job_id": job_id})
    shift.desk.store.activate(job_id)

    shift.look()

    assert (shift.started, shift.closed, shift.desk.store.active()) == ([], [], [])


def test_a_deletion_leaves_nothing_to_look_at(shift: Shift) -> None:
    """Where its end was cut off before, the tombstone is forgotten by the list alone."""
    job_id = shift.accepted()
    shift.desk.store.bury(shift.desk.store.load(job_id))

    for _ in range(2):
        shift.look()

    assert (shift.started, shift.closed, shift.desk.store.active()) == ([], [], [])
    assert shift.desk.store.tenant_of(job_id) == "default"


def _cut_before_its_record(shift: Shift, *, samples: int = 1) -> str:
    """A request that is on the list, with its texts; its id."""

    def away(_record: ScoreRecord) -> ScoreRecord:
        raise SidecarError("cut")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shift.desk.store, "create", away)
        with pytest.raises(SidecarError):
            shift.desk.intake.accept_many(batch(f"{lines(samples)}\nnone"), "default", _KEY)
    shift.let_time_pass()
    (job_id,) = shift.desk.store.active()
    return job_id


def test_a_request_that_takes_long_keeps_its_texts(shift: Shift, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many looks see it without its record."""
    save = shift.desk.store.save_samples

    def slow(*given: Any) -> None:
        save(*given)
        for _ in range(3):
            shift.look()

    monkeypatch.setattr(shift.desk.store, "save_samples", slow)
    record = shift.desk.intake.accept_many(batch(lines(3)), "default")

    assert len(shift.desk.store.samples(record.job.job_id, range(1, 4))) == 3
    assert shift.desk.store.active() == [record.job.job_id]


@pytest.mark.parametrize("key", [None, _KEY])
def test_a_request_that_was_taken_for_cut_off_is_told(
    shift: Shift, monkeypatch: pytest.MonkeyPatch, key: str | None
) -> None:
    """As of a process that slept for long amid its samples: a job without texts would be worse."""
    save_state = Sidecar.save_state
    taken: list[str] = []

    def slept(sidecar: Sidecar, name: str, value: Any) -> None:
        save_state(sidecar, name, value)
        if name.startswith("score-sample-") and name.endswith("-60") and not taken:
            taken.append(name)
            shift.let_time_pass()
            for _ in range(2):
                shift.look()

    monkeypatch.setattr(Sidecar, "save_state", slept)
    with pytest.raises(SidecarError, match="again"):
        shift.desk.intake.accept_many(batch(lines(120)), "default", key)
    assert [name for name in shift.dapr.state if name.startswith(("score-claim-", "score-sample-"))] == []

    record = shift.desk.intake.accept_many(batch(lines(120)), "default", key)
    assert len(shift.desk.store.samples(record.job.job_id, range(1, 121))) == 120


def test_who_comes_while_it_is_forgotten_comes_again(shift: Shift) -> None:
    """What he kept meanwhile would be deleted with the rest."""
    job_id = _cut_before_its_record(shift, samples=2)
    shift.look()
    shift.dapr.left = 6
    with pytest.raises(SidecarError):
        shift.look()
    shift.dapr.left = None

    with pytest.raises(SidecarError, match="again in a minute"):
        shift.desk.intake.accept(request(), "default", _KEY)
    shift.look()

    assert shift.desk.intake.accept(request(), "default", _KEY).job.job_id == job_id


def test_a_claim_of_an_older_version_is_read(shift: Shift) -> None:
    """It is the digest alone: another request is refused by it, and what is under it is forgotten."""
    job_id = _cut_before_its_record(shift)
    key = f"score-claim-{job_id}"
    digest = shift.dapr.state[key] = shift.dapr.state[key]["digest"]

    assert shift.desk.store.claim(job_id, "another") == digest
    assert shift.dapr.state[key] == digest
    for _ in range(2):
        shift.look()

    assert [name for name in shift.dapr.state if job_id in name] == []


def test_a_request_without_a_record_is_forgotten_after_two_looks(shift: Shift) -> None:
    """At the first it may just have been coming in. Nothing of its texts stays."""
    job_id = _cut_before_its_record(shift, samples=3)
    stored = {key for key in shift.dapr.state if job_id in key}

    shift.look()
    assert {key for key in shift.dapr.state if job_id in key} == stored
    shift.look()

    assert [key for key in shift.dapr.state if job_id in key] == []
    assert shift.desk.store.active() == []
    assert (shift.started, shift.closed) == ([], [])


@pytest.mark.parametrize("takes_the_last", [False, True], ids=["refused", "answer-lost"])
def test_forgetting_a_request_goes_on_where_it_was_cut_off(tmp_path: Path, *, takes_the_last: bool) -> None:
    """With the next look; texts that nothing leads to would never be found again."""
    for at in itertools.count():
        shift = Shift(tmp_path)
        job_id = _cut_before_its_record(shift, samples=2)
        shift.look()
        shift.dapr.takes_the_last, shift.dapr.left = takes_the_last, at
        with suppress(SidecarError):
            shift.look()
        whole, shift.dapr.left = shift.dapr.left >= 0, None
        shift.look()
        assert [key for key in shift.dapr.state if job_id in key] == []
        assert shift.desk.store.active() == []
        if whole:
            break
    assert at > 8


def test_a_request_that_comes_again_is_not_forgotten(shift: Shift, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where it comes during the very look that would forget it: its job would have no texts."""
    job_id = _cut_before_its_record(shift)
    shift.look()
    load_all = shift.desk.store.load_all

    def overtaken(job_ids: list[str]) -> list[ScoreRecord]:
        found = load_all(job_ids)
        monkeypatch.setattr(shift.desk.store, "load_all", load_all)
        shift.desk.intake.accept_many(batch(f"{lines(1)}\nnone"), "default", _KEY)
        return found

    monkeypatch.setattr(shift.desk.store, "load_all", overtaken)
    shift.look()

    assert len(shift.desk.store.samples(job_id, [1])) == 1
    assert shift.desk.store.active() == [job_id]
    shift.look()
    assert shift.started == [f"score-{job_id}"]


def test_another_request_may_have_the_key_of_one_that_was_forgotten(shift: Shift) -> None:
    """It never happened, so there is no conflict, and nothing of it is in the other's run."""
    job_id = _cut_before_its_record(shift, samples=3)
    for _ in range(2):
        shift.look()

    record = shift.desk.intake.accept(request(), "default", _KEY)

    assert record.job.job_id == job_id
    assert shift.desk.store.invalid(job_id) == []
    with pytest.raises(LookupError):
        shift.desk.store.samples(job_id, [2])


def test_one_that_cannot_be_settled_stops_nobody(shift: Shift) -> None:
    """It would be met first with each look, and those behind it never."""
    for _ in range(3):
        shift.accepted()
    first, *others = shift.desk.store.active()

    def breaks(job_id: str) -> None:
        if job_id == first:
            raise ValueError("a bug")

    shift.starting = breaks
    shift.look()

    assert shift.started == [f"score-{job_id}" for job_id in others]


def test_lines_name_the_job_and_the_workflow_of_its_attempt(
    shift: Shift, caplog: pytest.LogCaptureFixture
) -> None:
    """Who looks for what has broken finds it in Dapr by that id, also where the look itself breaks."""
    caplog.handler.setFormatter(SubjectFormatter("%(message)s"))
    job_id = shift.accepted()
    _retry(shift, job_id)

    def breaks(_job_id: str) -> None:
        raise ValueError("a bug")

    shift.starting = breaks
    shift.look()
    shift.has(f"{job_id}-a2", "TERMINATED")
    shift.look()

    unsettled, ended = (line for line in caplog.text.splitlines() if line.startswith("it"))
    assert unsettled == f"it could not be settled job_id={job_id}"
    assert ended.endswith(f"TERMINATED job_id={job_id} workflow_id=score-{job_id}-a2")


def test_who_does_not_answer_is_told(shift: Shift) -> None:
    """The thread looks again a minute later; with the engine away the next one would fail, too."""
    for _ in range(2):
        shift.accepted()
    tried: list[str] = []

    def away(job_id: str) -> None:
        tried.append(job_id)
        raise SidecarError("the engine is away")

    shift.starting = away
    with pytest.raises(SidecarError):
        shift.look()
    assert len(tried) == 1

    shift.dapr.unreachable = True
    with pytest.raises(SidecarError):
        shift.look()


def test_a_start_that_was_cut_off_by_a_retry_is_made_up_for(shift: Shift) -> None:
    """The record has the new attempt; nobody has scheduled it."""
    job_id = shift.accepted()
    record = shift.desk.store.load(job_id)
    shift.desk.run(record, lambda turn: setattr(turn, "late", "DEADLINE"))
    shift.has(job_id, "FAILED", "NOTHING_SCORED: x")
    shift.desk.lifecycle.retry(job_id)

    shift.look()

    assert (shift.started, shift.closed) == ([f"score-{job_id}-a2"], [])


def test_a_record_that_cannot_be_read_stops_nobody(shift: Shift) -> None:
    """It is neither settled nor forgotten: nobody knows what it is."""
    poisoned, good = shift.accepted("order-1"), shift.accepted("order-2")
    shift.dapr.state[f"score-{poisoned}"]["job"]["repeats"] = "many"

    for _ in range(3):
        shift.look()

    assert shift.started == [f"score-{good}"]
    assert sorted(shift.desk.store.active()) == sorted([poisoned, good])
    assert f"score-{poisoned}" in shift.dapr.state


def _retry(shift: Shift, job_id: str) -> None:
    shift.desk.store.update(job_id, lambda record: record.model_copy(update={"ended": "2026-01-01"}))
    shift.desk.store.update(
        job_id,
        lambda record: record.model_copy(
            update={"ended": None, "job": record.job.model_copy(update={"attempt": 2})}
        ),
    )


def _delete(shift: Shift, job_id: str) -> None:
    shift.desk.store.bury(shift.desk.store.load(job_id))


@pytest.mark.parametrize("happens", [_retry, _delete])
@pytest.mark.parametrize("status", ["COMPLETED", None])
def test_what_has_happened_during_a_look_counts(
    shift: Shift,
    monkeypatch: pytest.MonkeyPatch,
    happens: Callable[[Shift, str], None],
    status: str | None,
) -> None:
    """The last workflow, or that there was none, says nothing of the next attempt, or of a tombstone."""
    job_id = shift.accepted()
    if status:
        shift.has(job_id, status)
    find = shift.desk.workflows.find

    def slowly(workflow_id: str) -> WorkflowSnapshot | None:
        found = find(workflow_id)
        happens(shift, job_id)
        return found

    monkeypatch.setattr(shift.desk.workflows, "find", slowly)
    shift.look()

    assert (shift.started, shift.closed) == ([], [])
