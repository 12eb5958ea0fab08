"""What callers are told of evaluations."""

import base64
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from budeval.domain.evaluation import Evaluation, EvaluationRecord, Outcome
from budeval.domain.notification import Announcement, WorkflowStatus
from budeval.errors import RequestError
from budeval.evals.announcer import Announcer
from budeval.evals.answers import EvaluationPage
from budeval.evals.receipts import Receipts
from budeval.evals.store import EvaluationStore
from budeval.evals.views import EvaluationViews, Wanted
from budeval.runtime import listing
from tests.evals import samples
from tests.runtime.fake_dapr import FakeDapr

_NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
_CREATED = "2026-01-01T11:00:00+00:00"
_ENDED = "2026-01-01T13:00:00+00:00"

Json = dict[str, Any]


def _evaluation(eval_id: str = "e-1") -> Evaluation:
    runs = [{"run_id": "good", "dataset_id": "d"}, {"run_id": "other", "dataset_id": "d2"}]
    return samples.evaluation(eval_id, runs=runs, labels={"team": "a"})


class Case:
    """A state store with evaluations in it, and the views on it."""

    def __init__(self) -> None:
        sidecar = FakeDapr().client()
        self.store = EvaluationStore(sidecar)
        self.views = EvaluationViews(self.store, sidecar, Receipts(sidecar, {}))
        self._sidecar = sidecar

    def create(self, eval_id: str = "e-1", **data: Any) -> None:
        """A record, on the list."""
        self.store.add_to_index(eval_id, "2026-01-01")
        made = {"evaluation": _evaluation(eval_id), "digest": "d", "created": _CREATED, **data}
        self.store.create(EvaluationRecord.model_validate(made))

    def announce(self, *orders: Json, eval_id: str = "e-1") -> None:
        """What an announcer has worded."""
        for order in orders:
            announcement = Announcement.model_validate(order["announcement"])
            self._sidecar.announce([], announcement.model_copy(update={"subject": f"eval-{eval_id}"}))

    def look(self, *runs: Json) -> None:
        """A snapshot."""
        self.store.save_snapshot("e-1", _NOON, lambda _before: list(runs))


@pytest.fixture
def case() -> Case:
    """With an evaluation that was just taken in."""
    made = Case()
    made.create()
    return made


def _begun() -> tuple[Announcer, list[Json]]:
    announcer = Announcer(_evaluation(), 0)
    return announcer, [
        announcer.status(WorkflowStatus.STARTED, "Started."),
        announcer.step("verify_cluster_connection", WorkflowStatus.RUNNING, "Looking."),
        announcer.step("verify_cluster_connection", WorkflowStatus.COMPLETED, "Fine."),
        announcer.step("preparing_eval_engine", WorkflowStatus.RUNNING, "Warming up."),
        announcer.eta(7),
        announcer.eta(5),
    ]


def _refused(call: Callable[[], Any]) -> tuple[int, str, str | None]:
    with pytest.raises(RequestError) as refused:
        call()
    return refused.value.status, refused.value.code, refused.value.param


def test_an_evaluation_that_was_taken_in_is_running(case: Case) -> None:
    """As the list says it; every step and every run is there from the beginning."""
    state = case.views.state("e-1")

    assert state.status is WorkflowStatus.RUNNING
    assert {step.status for step in state.steps} == {WorkflowStatus.PENDING}
    assert state.runs == {
        "good": {"dataset_id": "d", "state": "pending"},
        "other": {"dataset_id": "d2", "state": "pending"},
    }
    assert (state.progress_percent, state.eta_minutes, state.error, state.events) == (0, None, None, 0)
    assert (state.workflow_id, state.cluster, state.namespace) == ("eval-e-1", "local", "team-a")


def test_a_step_is_as_its_newest_event_says(case: Case) -> None:
    """What was said later counts; so it is with the minutes."""
    case.announce(*_begun()[1])

    state = case.views.state("e-1")

    assert state.status is WorkflowStatus.RUNNING
    assert [(step.status.value, step.message) for step in state.steps] == [
        ("COMPLETED", "Fine."),
        ("RUNNING", "Warming up."),
        ("PENDING", None),
        ("PENDING", None),
        ("PENDING", None),
    ]
    assert (state.eta_minutes, state.events) == (5, 6)


def test_the_steps_are_those_of_the_newest_attempt(case: Case) -> None:
    """What an earlier attempt has told is told of it no more; it counts among the events."""
    _, orders = _begun()
    case.announce(*orders)
    case.store.save_results("e-1", [])
    case.store.end("e-1", Outcome.FAILED)
    case.store.retry("e-1", 1, ["good"], len(orders), "a-2")

    state = case.views.state("e-1")

    assert {step.status for step in state.steps} == {WorkflowStatus.PENDING}
    assert (state.eta_minutes, state.events, state.attempt) == (None, len(orders), 2)


def test_runs_are_as_the_newest_snapshot_has_them(case: Case) -> None:
    """With samples, and the reason where one cannot go on."""
    case.announce(*_begun()[1])
    progress = {"done": 5, "total": 10, "phase": "infer"}
    case.look(
        {"run_id": "good", "state": "running", "progress": progress},
        {"run_id": "other", "state": "blocked", "code": "UNSCHEDULABLE", "message": "no node"},
    )

    state = case.views.state("e-1")

    assert state.runs == {
        "good": {"dataset_id": "d", "state": "running", **progress},
        "other": {
            "dataset_id": "d2",
            "state": "blocked",
            "code": "UNSCHEDULABLE",
            "message": "no node",
        },
    }
    assert state.progress_percent == 22  # half of inference, of one of two runs


_GOOD = {
    "run_id": "good",
    "job_state": "succeeded",
    "status": "success",
    "outcome": "COMPLETED",
    "scores": [{"score": 1}],
    "code": None,
    "error": None,
}
_BAD = {
    "run_id": "other",
    "job_state": "failed",
    "status": "error",
    "outcome": "FAILED",
    "scores": [],
    "code": "OOM",
    "error": "too much",
}


def test_an_ended_evaluation_tells_how_each_run_ended(case: Case) -> None:
    """No minutes are left; a run that was never seen has failed."""
    case.announce(*_begun()[1])
    case.look({"run_id": "good", "state": "succeeded"})
    ended = {"ended": _ENDED, "outcome": "PARTIAL", "extraction_results": [_GOOD, _BAD]}
    case.store.update_workflow_data_in_statestore("eval-e-1", ended)

    state = case.views.state("e-1")

    assert (state.status, state.outcome, state.ended) == (WorkflowStatus.COMPLETED, Outcome.PARTIAL, _ENDED)
    assert (state.eta_minutes, state.error) == (None, None)
    assert state.runs == {
        "good": {"dataset_id": "d", "state": "succeeded", "status": "success", "outcome": "COMPLETED"},
        "other": {
            "dataset_id": "d2",
            "state": "failed",
            "status": "error",
            "outcome": "FAILED",
            "code": "OOM",
            "error": "too much",
        },
    }


def test_a_look_after_the_clean_up_does_not_change_how_runs_ended(case: Case) -> None:
    """A watcher's look may come last, and finds no Jobs any more: a success stays one."""
    gone = {"state": "gone", "code": "JOB_GONE", "message": "The Job is not on the cluster any more"}
    case.look({"run_id": "good", **gone}, {"run_id": "other", **gone})
    ended = {"ended": _ENDED, "outcome": "PARTIAL", "extraction_results": [_GOOD, _BAD]}
    case.store.update_workflow_data_in_statestore("eval-e-1", ended)

    runs = case.views.state("e-1").runs

    assert runs["good"]["state"] == "succeeded"
    assert "not on the cluster" not in str(runs["good"].get("message"))
    assert (runs["other"]["state"], runs["other"]["code"]) == ("failed", "OOM")


@pytest.mark.parametrize(
    ("results", "error"),
    [
        ([_BAD], "OOM: too much"),
        ([], "EVALUATION_FAILED: No run has a score."),
        (None, "EVALUATION_FAILED: No run has a score."),
    ],
    ids=["reason", "no-run", "nothing"],
)
def test_a_failed_evaluation_tells_why(case: Case, results: list[Json] | None, error: str) -> None:
    """By its first run's reason, in the form `CODE: message`."""
    case.announce(*_begun()[1])
    ended = {"ended": _ENDED, "outcome": "FAILED", "extraction_results": results}
    case.store.update_workflow_data_in_statestore("eval-e-1", ended)

    state = case.views.state("e-1")

    assert state.status is WorkflowStatus.FAILED
    assert state.error == error


@pytest.mark.parametrize("outcome", [None, *Outcome])
def test_list_and_single_view_agree(case: Case, outcome: Outcome | None) -> None:
    """At the same time both say the same."""
    case.announce(*_begun()[1])
    if outcome:
        case.store.end("e-1", outcome)

    (line,) = case.views.page(None, 10).evaluations
    state = case.views.state("e-1")

    assert (line.status, line.outcome) == (state.status, state.outcome)
    assert (line.created, line.ended, line.labels) == (state.created, state.ended, state.labels)


@pytest.mark.parametrize(
    "ask",
    [
        lambda views: views.state("e-2"),
        lambda views: views.results("e-2"),
        lambda views: views.events("e-2", 0),
        lambda views: views.log("e-2", "good"),
    ],
    ids=["state", "results", "events", "log"],
)
def test_an_unknown_evaluation_is_not_found(case: Case, ask: Callable[[EvaluationViews], Any]) -> None:
    """404 whatever is asked of it."""
    assert _refused(lambda: ask(case.views)) == (404, "EVALUATION_UNKNOWN", "eval_id")


def test_results_that_are_not_there_yet_are_refused(case: Case) -> None:
    """409 and not 404: they will be."""
    assert _refused(lambda: case.views.results("e-1")) == (409, "RESULTS_NOT_READY", "eval_id")


@pytest.mark.parametrize(
    ("results", "success", "outcome"),
    [
        ([_GOOD], True, "COMPLETED"),
        ([_GOOD, _BAD], False, "PARTIAL"),
        ([_BAD], False, "FAILED"),
    ],
    ids=["all", "some", "none"],
)
def test_results_are_a_success_only_if_all_are(
    case: Case, results: list[Json], *, success: bool, outcome: str
) -> None:
    """Every run is in them."""
    case.store.save_results("e-1", results)

    told = case.views.results("e-1")

    assert (told.success, told.outcome.value, told.results) == (success, outcome, results)


def test_events_are_told_from_a_number_on(case: Case) -> None:
    """`last` is what to ask for next, also where there is nothing new."""
    case.announce(*_begun()[1])

    everything, rest, nothing = (case.views.events("e-1", after) for after in (0, 4, 6))

    assert [event.number for event in everything.events] == [1, 2, 3, 4, 5, 6]
    assert [event.number for event in rest.events] == [5, 6]
    assert (everything.last, rest.last, nothing.last) == (6, 6, 6)
    assert nothing.events == []


def test_many_events_are_all_told(case: Case) -> None:
    """More than one read of the state store gives."""
    announcer, orders = _begun()
    case.announce(*orders, *(announcer.eta(minutes) for minutes in range(150, 0, -1)))

    assert [event.number for event in case.views.events("e-1", 1).events] == list(range(2, 157))
    assert case.views.state("e-1").eta_minutes == 1


def test_a_log_is_told_as_it_was_last_seen(case: Case) -> None:
    """Of one run."""
    case.store.save_log("e-1", "good", "the end")

    assert case.views.log("e-1", "good").log == "the end"


def test_a_log_that_is_not_there_is_refused(case: Case) -> None:
    """An unknown run is told apart from one without a log."""
    assert _refused(lambda: case.views.log("e-1", "third")) == (404, "RUN_UNKNOWN", "run_id")
    assert _refused(lambda: case.views.log("e-1", "good")) == (404, "LOG_NOT_READY", "run_id")


def test_an_evaluation_on_two_days_is_shown_once(case: Case) -> None:
    """A request that came on both sides of midnight is listed twice: the day of the record counts."""
    for day in ("2025-12-31", "2026-01-02"):
        case.store.add_to_index("e-1", day)

    shown = case.views.page(None, 9).evaluations

    assert [line.eval_id for line in shown] == ["e-1"]
    assert [shown] == [page.evaluations for page in _pages(case, 1) if page.evaluations]


def _pages(case: Case, limit: int) -> list[EvaluationPage]:
    pages = [case.views.page(None, limit)]
    while pages[-1].cursor:
        pages.append(case.views.page(pages[-1].cursor, limit))
    return pages


def test_the_list_is_walked_by_its_cursors() -> None:
    """Newest first; what is on the list without a record is passed over."""
    case = Case()
    for number in range(7):
        case.create(f"e-{number}")
    case.store.add_to_index("cut", "2026-01-01")

    met, cursor, pages = [], None, 0
    while pages == 0 or cursor:
        page = case.views.page(cursor, 3)
        met += [line.eval_id for line in page.evaluations]
        cursor = page.cursor
        pages += 1

    assert met == [f"e-{number}" for number in reversed(range(7))]
    assert pages == 3


@pytest.mark.parametrize(
    ("wanted", "hours"),
    [
        (Wanted(), [3, 2, 1, 0]),
        (Wanted(status=WorkflowStatus.RUNNING), [2, 0]),
        (Wanted(status=WorkflowStatus.FAILED), [3, 1]),
        (Wanted(status=WorkflowStatus.SUSPENDED), []),
        (Wanted(since=_NOON + timedelta(hours=1)), [3, 2, 1]),
        (Wanted(until=_NOON + timedelta(hours=1)), [0]),
        (Wanted(since=datetime(2026, 1, 1, 14)), [3, 2]),  # noqa: DTZ001 - without a zone it is UTC
        (Wanted(WorkflowStatus.RUNNING, _NOON, _NOON + timedelta(hours=2)), [0]),
    ],
    ids=["all", "running", "failed", "none", "since", "until", "since-naive", "both"],
)
def test_the_list_has_what_is_wanted(wanted: Wanted, hours: list[int]) -> None:
    """By status and by time; `since` is the first moment, `until` the first one after."""
    case = Case()
    for hour in range(4):
        created = (_NOON + timedelta(hours=hour)).isoformat()
        case.create(f"e-{hour}", created=created, outcome="FAILED" if hour % 2 else None)

    page = case.views.page(None, 10, wanted)

    assert [line.eval_id for line in page.evaluations] == [f"e-{hour}" for hour in hours]
    assert page.cursor is None


@pytest.mark.parametrize(("per_read", "pages_then"), [(200, 1), (1, 4)])
def test_a_filter_finds_what_is_far_away(
    monkeypatch: pytest.MonkeyPatch, per_read: int, pages_then: int
) -> None:
    """It fills its page; where it has looked at enough the page is short, or empty: its cursor leads on."""
    monkeypatch.setattr(listing, "_PER_READ", per_read)
    case = Case()
    for number in range(40):
        case.create(f"e-{number}", outcome="FAILED" if number in {0, 5} else None)

    met, cursor, pages = [], None, 0
    while pages == 0 or cursor:
        page = case.views.page(cursor, 2, Wanted(status=WorkflowStatus.FAILED))
        assert len(page.evaluations) <= 2
        met += [line.eval_id for line in page.evaluations]
        cursor = page.cursor
        pages += 1

    assert met == ["e-5", "e-0"]
    assert pages == pages_then


def _cursor(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode()


@pytest.mark.parametrize(
    "cursor",
    [
        "",
        "x",
        "ä",
        "####",
        _cursor("{"),
        _cursor("7"),
        _cursor("null"),
        _cursor('["2026-01-01", 0]'),
        _cursor('["2026-01-01", "a", 0]'),
        _cursor('["2026-01-01", null, 0]'),
        _cursor('["2026-01-01", NaN, 0]'),
    ],
)
def test_a_cursor_that_is_none_of_ours_is_refused(case: Case, cursor: str) -> None:
    """400 with its field, whatever it is."""
    assert _refused(lambda: case.views.page(cursor, 10)) == (400, "CURSOR_INVALID", "cursor")
