"""What callers are told of evaluations: folds of the record, the events and the newest snapshot."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from budeval.api.cursors import decoded, encoded
from budeval.domain.evaluation import EvaluationBrief, EvaluationRecord, Outcome
from budeval.domain.monitoring import fraction_of, run_view
from budeval.domain.notification import ENDED, Announcement, NotificationContent, WorkflowStatus, last_status
from budeval.domain.observation import RunObservation
from budeval.domain.results import evaluation_outcome, first_error, totals
from budeval.domain.steps import ETA_EVENT, EVALUATION_STEPS
from budeval.errors import RequestError
from budeval.evals import receipt_entries
from budeval.evals.answers import (
    EvaluationPage,
    EvaluationResults,
    EvaluationState,
    EvaluationSummary,
    EventPage,
    Receipt,
    RunLog,
    StepState,
)
from budeval.evals.receipts import Receipts
from budeval.evals.store import EvaluationStore
from budeval.runtime.sidecar import Sidecar

_WHOLE = 100


class EvaluationViews:
    """Answers questions about evaluations; asks no cluster."""

    def __init__(self, store: EvaluationStore, sidecar: Sidecar, receipts: Receipts) -> None:
        self._store = store
        self._sidecar = sidecar
        self._receipts = receipts

    def state(self, eval_id: str) -> EvaluationState:
        """How far an evaluation is.

        Raises:
            RequestError: EVALUATION_UNKNOWN.
        """
        record = self._store.load(eval_id)
        events = self._sidecar.announcements(record.evaluation.workflow_id, 0)
        return _state(record, events, self._store.snapshot(eval_id))

    def results(self, eval_id: str) -> EvaluationResults:
        """The results of every run.

        Raises:
            RequestError: EVALUATION_UNKNOWN, or RESULTS_NOT_READY (409) while there are none.
        """
        self._store.load(eval_id)
        results = self._store.load_results(eval_id)
        success = all(result["status"] == "success" for result in results)
        outcome = evaluation_outcome(results)
        return EvaluationResults(
            success=success, results=results, outcome=outcome, eval_id=eval_id, **totals(results)
        )

    def events(self, eval_id: str, after: int) -> EventPage:
        """What was announced after a number.

        Raises:
            RequestError: EVALUATION_UNKNOWN.
        """
        record = self._store.load(eval_id)
        events = self._sidecar.announcements(record.evaluation.workflow_id, after)
        return EventPage(events=events, last=events[-1].number if events else after)

    def has_ended_for(self, eval_id: str, least: timedelta) -> bool:
        """Whether an evaluation ended so long ago.

        Raises:
            RequestError: EVALUATION_UNKNOWN.
        """
        ended = self._store.load(eval_id).ended
        if ended is None:
            return False
        return datetime.now(UTC) - datetime.fromisoformat(ended) >= least

    def log(self, eval_id: str, run_id: str) -> RunLog:
        """The end of a run's log.

        Raises:
            RequestError: EVALUATION_UNKNOWN, RUN_UNKNOWN, or LOG_NOT_READY where none was seen.
        """
        record = self._store.load(eval_id)
        if run_id not in {run.run_id for run in record.evaluation.runs}:
            text = f"Evaluation {eval_id} has no run {run_id!r}."
            raise RequestError(text, status=404, code="RUN_UNKNOWN", param="run_id")
        log = self._store.log(eval_id, run_id)
        if log is None:
            text = f"No log of run {run_id} was seen (yet): it has not started."
            raise RequestError(text, status=404, code="LOG_NOT_READY", param="run_id")
        return RunLog(eval_id=eval_id, run_id=run_id, log=log)

    def receipt(self, eval_id: str) -> Receipt:
        """What was made for an evaluation, and what became of each.

        Raises:
            RequestError: EVALUATION_UNKNOWN.
        """
        record = self._store.load(eval_id)
        items = self._receipts.of(eval_id)
        if record.ended is None:
            items.append(receipt_entries.secrets_in_use(record.sealed_as))
        clean = all(item.settled for item in items)
        return Receipt(eval_id=eval_id, ended=record.ended is not None, clean=clean, objects=items)

    def page(self, cursor: str | None, limit: int, wanted: "Wanted | None" = None) -> EvaluationPage:
        """Evaluations, newest first.

        It looks at about 2,000 at most; to what it has not found by then the cursor leads.

        Raises:
            RequestError: the cursor is not one of ours.
        """
        wanted = wanted or Wanted()
        found, place = self._store.matching(decoded(cursor), limit, self._lines, wanted.matches)
        return EvaluationPage(evaluations=found, cursor=encoded(place))

    def _lines(self, eval_ids: list[str]) -> dict[str, EvaluationSummary]:
        return {brief.eval_id: _summary(brief) for brief in self._store.briefs(eval_ids)}


@dataclass(frozen=True)
class Wanted:
    """Which evaluations a list shall have."""

    status: WorkflowStatus | None = None
    since: datetime | None = None
    until: datetime | None = None
    tenant: str | None = None
    """None for those of all."""

    def matches(self, line: EvaluationSummary) -> bool:
        """Whether one is wanted."""
        created = datetime.fromisoformat(line.created)
        return (
            (self.tenant is None or line.tenant == self.tenant)
            and (self.status is None or line.status is self.status)
            and (self.since is None or created >= _in_utc(self.since))
            and (self.until is None or created < _in_utc(self.until))
        )


def _in_utc(time: datetime) -> datetime:
    """A time without a zone is taken as UTC."""
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def _summary(brief: EvaluationBrief) -> EvaluationSummary:
    return EvaluationSummary(status=_status(brief.outcome), **brief.model_dump())


def _status(outcome: Outcome | None) -> WorkflowStatus:
    """RUNNING until the record has an outcome: list and single view say the same at the same time."""
    return WorkflowStatus.RUNNING if outcome is None else last_status(outcome)


def _state(
    record: EvaluationRecord, events: list[Announcement], snapshot: dict[str, Any] | None
) -> EvaluationState:
    evaluation = record.evaluation
    of_attempt = [event.notification.payload for event in events if event.number > record.announced]
    said = {payload.event: payload.content for payload in of_attempt}
    status = _status(record.outcome)
    seen = [RunObservation.model_validate(item) for item in snapshot["runs"]] if snapshot else []
    return EvaluationState(
        eval_id=evaluation.eval_id,
        experiment_id=evaluation.experiment_id,
        workflow_id=evaluation.workflow_id,
        status=status,
        outcome=record.outcome,
        attempt=evaluation.attempt,
        engine=evaluation.engine,
        model=evaluation.model.name,
        cluster=evaluation.target.cluster,
        namespace=evaluation.target.namespace,
        labels=evaluation.labels,
        created=record.created,
        ended=record.ended,
        cancelling=record.cancellation is not None and record.ended is None,
        deleting=record.deletion is not None,
        steps=_steps(said),
        progress_percent=int(_WHOLE * fraction_of(seen)),
        eta_minutes=None if status in ENDED else _minutes(said),
        runs=_runs(record, seen),
        completeness=record.completeness,
        headline=record.headline,
        error=_error(record),
        events=len(events),
    )


def _error(record: EvaluationRecord) -> str | None:
    """The first run's reason of an evaluation without any score."""
    if record.outcome is not Outcome.FAILED:
        return None
    code, message = first_error(record.extraction_results or [])
    return f"{code}: {message}"


def _steps(said: dict[str, NotificationContent]) -> list[StepState]:
    states = []
    for step in EVALUATION_STEPS:
        content = said.get(step.id)
        status = content.status if content else WorkflowStatus.PENDING
        message = content.message if content else None
        states.append(StepState(id=step.id, title=step.title, status=status, message=message))
    return states


def _minutes(said: dict[str, NotificationContent]) -> int | None:
    return int(said[ETA_EVENT].message) if ETA_EVENT in said else None


def _runs(record: EvaluationRecord, observations: list[RunObservation]) -> dict[str, dict[str, Any]]:
    runs: dict[str, dict[str, Any]] = {
        run.run_id: {"dataset_id": run.dataset_id, "state": "pending"} for run in record.evaluation.runs
    }
    for seen in observations:
        runs[seen.run_id] |= run_view(seen)
    for result in record.extraction_results or []:
        seen_last = runs[result["run_id"]]
        runs[result["run_id"]] = {**_without_reason(seen_last), **_ended(result)}
    return runs


def _without_reason(run: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in run.items() if name not in {"code", "message"}}


def _ended(result: dict[str, Any]) -> dict[str, Any]:
    """How a run ended, whatever a look that came after it has seen."""
    ended = {"state": result["job_state"], "status": result["status"], "outcome": result["outcome"]}
    return ended | ({"code": result["code"], "error": result["error"]} if result["code"] else {})
