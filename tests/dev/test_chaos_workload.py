"""The callers of a run of faults."""

import threading
from collections import Counter
from random import Random
from typing import Any

import httpx
import pytest

from dev.chaos import plan
from dev.chaos.pace import Pace
from dev.chaos.plan import Fate, PlannedEvaluation
from dev.chaos.verdict import ACCEPTED, CancelAnswer, Ended, Observed
from dev.chaos.workload import Workload

_EVALUATIONS = 12
_ID = "37730edf-afbd-47f9-a196-99cfe1988ad9"
_INVALID = "DATASET_INVALID: no such file"


def test_a_run_that_is_broken_off_leaves_no_callers() -> None:
    """Neither those who ask a service that does not answer, nor those who wait to begin."""
    observed, pace = Observed(), Pace(_EVALUATIONS, faults=100)
    workload = Workload("127.0.0.1", plan.draw(1, _EVALUATIONS, 0).evaluations, pace, observed)
    workload.start()

    pace.end()
    workload.abandon()

    assert observed.ends == {}
    assert all(end.done() for end in workload._ends)


class FakeService:
    """Has one evaluation, whose attempts have ended as soon as they begin."""

    def __init__(self, *outcomes: str) -> None:
        self.outcomes = outcomes
        self.attempt = 1
        self.deleted = False
        self.loses_answers_to: str | None = None
        """The path whose first answer does not arrive."""
        self.asked: Counter[str] = Counter()
        self._lock = threading.Lock()

    def __call__(self, request: httpx.Request) -> httpx.Response:
        """Answer as the service would."""
        path = request.url.path.removeprefix(f"/evals/{_ID}")
        with self._lock:
            self.asked[f"{request.method} {path}"] += 1
            answer = self._answer(request.method, path)
            if self.loses_answers_to == path:
                self.loses_answers_to = None
                raise httpx.ReadError("it was killed")
            return answer

    def _answer(self, method: str, path: str) -> httpx.Response:
        if self.deleted:
            return _refusal(409 if path == "/evals/start" else 410, "EVALUATION_DELETED")
        if (method, path) == ("POST", "/retry"):
            return self._retry()
        if path == "/results":
            results = [{"run_id": run, "outcome": self._outcome_of(run)} for run in ("first", "second")]
            return httpx.Response(200, json={"completeness": {"ratio": 1.0}, "results": results})
        if path == "/cancel" and self.outcomes[0] == "COMPLETED":
            return _refusal(409, "EVALUATION_ENDED")
        self.deleted = method == "DELETE"
        status = 202 if path == "/cancel" else 200
        return httpx.Response(status, json=self._state())

    def _outcome_of(self, run: str) -> str:
        """The first run of what is partial is whole."""
        outcome = self.outcomes[self.attempt - 1]
        return "COMPLETED" if (run, outcome) == ("first", "PARTIAL") else outcome

    def _retry(self) -> httpx.Response:
        if self.outcomes[self.attempt - 1] == "COMPLETED":
            return _refusal(409, "NOTHING_TO_RETRY")
        self.attempt += 1
        return httpx.Response(202, json=self._state())

    def _state(self) -> dict[str, Any]:
        outcome = self.outcomes[self.attempt - 1]
        error = _INVALID if outcome == "FAILED" else None
        told = {"events": 7, "ended": "2026-01-01"}
        return {"outcome": outcome, "attempt": self.attempt, "error": error, **told}


def _refusal(status: int, code: str) -> httpx.Response:
    return httpx.Response(status, json={"code": code})


def _planned(fate: Fate = Fate.COMPLETE, **more: Any) -> PlannedEvaluation:
    what = {"retry": False, "delete": False, "calls": 1, **more}
    return PlannedEvaluation(
        _ID, "lm-eval", 1, 2, by_message=False, deliveries=1, fate=fate, cancel_after=0, **what
    )


def _callers(service: FakeService, *planned: PlannedEvaluation) -> tuple[Workload, Observed]:
    observed = Observed()
    workload = Workload("127.0.0.1", [*planned], Pace(len(planned), 0), observed)
    workload._http.close()
    workload._http = httpx.Client(transport=httpx.MockTransport(service))
    return workload, observed


def _seen_through(service: FakeService, planned: PlannedEvaluation, *, hit: bool = False) -> Ended:
    """How it ended for its caller, to whom nothing strange was answered."""
    workload, observed = _callers(service, planned)
    if hit:
        workload.hit(_ID)
    workload.start()
    workload.wait()
    assert observed.refusals == []
    return observed.ends[_ID]


def test_what_was_cancelled_is_retried_and_deleted_as_planned() -> None:
    """Both calls are sent as often as planned, and one attempt is asked for all the same."""
    service = FakeService("CANCELLED", "COMPLETED")

    end = _seen_through(service, _planned(Fate.CANCEL, retry=True, delete=True, calls=2))

    assert (end.outcome, end.attempt, end.asked, end.after_deletion) == ("COMPLETED", 2, 2, 410)
    assert (service.asked["POST /cancel"], service.asked["DELETE "]) == (2, 1)


@pytest.mark.parametrize(
    ("outcome", "answer"),
    [("CANCELLED", CancelAnswer(ACCEPTED, 7)), ("COMPLETED", CancelAnswer("EVALUATION_ENDED"))],
)
def test_what_each_cancellation_was_answered_is_kept(outcome: str, answer: CancelAnswer) -> None:
    """With how far the evaluation was when it was accepted, for the verdict."""
    end = _seen_through(FakeService(outcome), _planned(Fate.CANCEL, calls=2))

    assert end.cancels == [answer, answer]


def test_nothing_is_done_that_is_not_planned() -> None:
    """No retry, no deletion."""
    service = FakeService("CANCELLED", "COMPLETED")

    end = _seen_through(service, _planned(Fate.CANCEL))

    assert (end.outcome, end.asked, end.after_deletion) == ("CANCELLED", 1, None)
    assert service.asked["POST /retry"] == service.asked["DELETE "] == 0


def test_what_is_whole_is_refused_another_attempt() -> None:
    """Its caller awaits just that."""
    service = FakeService("COMPLETED")

    end = _seen_through(service, _planned(retry=True))

    assert (end.attempt, end.asked, service.asked["POST /retry"]) == (1, 1, 1)


def test_what_cannot_but_fail_is_retried_once() -> None:
    """It fails again, and that is its end."""
    end = _seen_through(FakeService("FAILED", "FAILED", "COMPLETED"), _planned(Fate.FAIL, retry=True))

    assert (end.outcome, end.error, end.attempt, end.asked) == ("FAILED", _INVALID, 2, 2)


def test_a_retry_does_not_hide_a_bad_end() -> None:
    """What should have completed and was hit by no fault stays as it ended, for the verdict."""
    end = _seen_through(FakeService("FAILED", "COMPLETED"), _planned(retry=True))

    assert (end.outcome, end.asked) == ("FAILED", 1)


def test_what_a_fault_has_hit_is_retried() -> None:
    """Though it is not planned."""
    end = _seen_through(FakeService("PARTIAL", "COMPLETED"), _planned(), hit=True)

    assert (end.outcome, end.attempt, end.asked) == ("COMPLETED", 2, 2)


def test_which_runs_were_whole_before_a_retry_is_kept() -> None:
    """With the attempt since which they are: a later one must not deploy them."""
    partial = _seen_through(FakeService("PARTIAL", "COMPLETED"), _planned(), hit=True)
    failed = _seen_through(FakeService("FAILED", "FAILED"), _planned(Fate.FAIL, retry=True))
    whole = _seen_through(FakeService("COMPLETED"), _planned(retry=True))

    assert partial.whole_since == {"first": 1}
    assert failed.whole_since == {}
    assert whole.whole_since == {"first": 1, "second": 1}


def test_what_has_hit_a_cancelled_attempt_is_no_reason_for_another_one() -> None:
    """The retry that was asked for ends badly by itself, and stays so."""
    service = FakeService("CANCELLED", "PARTIAL", "COMPLETED")

    end = _seen_through(service, _planned(Fate.CANCEL, retry=True), hit=True)

    assert (end.outcome, end.asked) == ("PARTIAL", 2)


def test_a_retry_whose_answer_was_lost_is_not_asked_for_again() -> None:
    """It has begun: to ask again would begin a third attempt of what fails at once."""
    service = FakeService("FAILED", "FAILED", "FAILED")
    service.loses_answers_to = "/retry"

    end = _seen_through(service, _planned(Fate.FAIL, retry=True))

    assert (end.attempt, end.asked, service.asked["POST /retry"]) == (2, 2, 1)


def test_what_was_deleted_can_be_requested_again_in_vain() -> None:
    """The refusal is what its caller awaits; he does not wait for another answer."""
    service = FakeService("COMPLETED")
    workload, observed = _callers(service)
    observed.accepted[_ID] = _planned()
    service.deleted = True

    assert workload.deliver_again(Random(1)) == _ID  # noqa: S311 - it chooses one of one

    assert (service.asked["POST /evals/start"], observed.refusals) == (2, [])
