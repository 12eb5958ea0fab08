"""Finishes what a crash has cut, and what a workflow that broke has left behind.

Before an evaluation's record and between that and the start of its workflow the service may die; and an
operator may terminate a workflow, a mistake of ours end it, or Dapr hold it still, before the record says so.
Evaluations whose own time is up are ended. Only what is coming in or has not ended is looked at, however many
there are.
"""

import logging
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import Any, Protocol

from budeval.domain.evaluation import EvaluationBrief, EvaluationRecord
from budeval.domain.notification import ENDED, WorkflowStatus
from budeval.errors import RequestError, SidecarError
from budeval.evals.arrivals import Arrival, Arrivals
from budeval.evals.deletion import PurgesWorkflows
from budeval.evals.intake import Start
from budeval.evals.store import EvaluationStore
from budeval.runtime.logs import about

LOOK_SECONDS = 60.0
_STALLED_LOOKS = 10
"""In a row, after which a workflow that Dapr holds still is given up: time to raise the sidecar's limit."""
_STALLED = (
    "WORKFLOW_STALLED: Dapr holds its workflow still: what it carries is larger than the sidecar takes. "
    "Raise its maxBodySize (app.yaml), then retry the evaluation."
)

_log = logging.getLogger(__name__)


class EndsEvaluations(Protocol):
    """What of the activities is used here."""

    def close_broken(self, record: EvaluationRecord, reason: str) -> None:
        """End an evaluation whose workflow can't: results, clean-up, the end of the record."""

    def end_evaluation(self, order: dict[str, Any]) -> None:
        """{eval_id, outcome} -> whatever of its end was cut off."""


class Reconciler:
    """Looks at the start and then every minute."""

    def __init__(
        self,
        store: EvaluationStore,
        engine: PurgesWorkflows,
        start: Start,
        ends: EndsEvaluations,
        expire: Callable[[EvaluationRecord], None],
        arrivals: Arrivals,
    ) -> None:
        self._store = store
        self._engine = engine
        self._start = start
        self._ends = ends
        self._expire = expire
        self._arrivals = arrivals
        self._unrecorded: set[str] = set()
        self._stalled: dict[str, int] = {}
        """How many looks in a row have found its workflow held still."""

    def look(self) -> None:
        """Settle every evaluation that has not ended, and finish every end that was cut off.

        Raises:
            SidecarError: the state store or the engine does not answer.
        """
        for arrival in self._arrivals.all():
            self._try(arrival.eval_id, partial(self._settle_arrival, arrival))
        active = self._store.active()
        briefs = self._store.briefs(active)
        for brief in briefs:
            self._try(brief.eval_id, partial(self._settle, brief))
        self._forget_unrecorded(set(active) - {brief.eval_id for brief in briefs})

    def _settle_arrival(self, arrival: Arrival) -> None:
        """What has its record goes on; what was cut off before did not happen, and nothing of it is kept."""
        if arrival.belongs_to(self._record_of(arrival.eval_id)):
            self._store.activate(arrival.eval_id)
            self._arrivals.end(arrival)
        elif arrival.is_cut_off(datetime.now(UTC)):
            self._arrivals.forget(arrival)
            _log.warning("removed what a request had kept that was cut off at %s", arrival.at)

    def _record_of(self, eval_id: str) -> EvaluationRecord | None:
        try:
            return self._store.find(eval_id)
        except RequestError:  # it was deleted
            return None

    def _forget_unrecorded(self, eval_ids: set[str]) -> None:
        """What was deleted before its end was noted. At the first look it may just have been retried."""
        # Asked again: it may have been retried meanwhile. What cannot be read has a record all the same.
        standings = self._store.standings(eval_ids & self._unrecorded)
        for eval_id in eval_ids & self._unrecorded:
            if eval_id not in standings or standings[eval_id].deleted:
                self._store.deactivate(eval_id)
        self._unrecorded = eval_ids

    def _try(self, eval_id: str, work: Callable[[], None]) -> None:
        """One that cannot be settled must not keep those behind it from it."""
        with about(eval_id=eval_id):
            try:
                work()
            except SidecarError:
                raise  # there the next one would fail, too
            except Exception:  # noqa: BLE001 - see above; it is looked at again in a minute
                _log.exception("it could not be settled")

    def _settle(self, brief: EvaluationBrief) -> None:
        # Each is read when its turn comes: those before it may have taken minutes.
        record = self._record_of(brief.eval_id)
        if record is None:  # it has a line, so it had a record: it was deleted
            self._store.deactivate(brief.eval_id)
            return
        if brief.attempt != record.evaluation.attempt:  # a retry was cut off between the two
            self._store.save_brief(record)
        with about(workflow_id=record.evaluation.instance_id):
            if record.ended:
                self._finish(record)
            elif (remedy := self._remedy(record)) and self._is_still_open(record):
                remedy()

    def _finish(self, record: EvaluationRecord) -> None:
        evaluation = record.evaluation
        order = {"eval_id": evaluation.eval_id, "outcome": record.outcome, "attempt": evaluation.attempt}
        self._ends.end_evaluation(order)

    def _remedy(self, record: EvaluationRecord) -> Callable[[], None] | None:
        """What is to be done, by how it stands with the workflow; mostly nothing."""
        workflow = self._engine.find(record.evaluation.instance_id)
        if workflow is not None and workflow.status is WorkflowStatus.UNKNOWN:
            return self._remedy_of_stalled(record)
        self._stalled.pop(record.evaluation.eval_id, None)
        if workflow is None:
            return partial(self._start, record)
        if workflow.status in ENDED:
            reason = workflow.failure or f"INTERNAL: its workflow is {workflow.status.value}"
            return partial(self._close, record, reason)
        if record.cancellation is None and record.overdue_since(datetime.now(UTC)):
            return partial(self._expire, record)
        return None

    def _close(self, record: EvaluationRecord, reason: str) -> None:
        _log.error("its workflow has ended without a result: %s", reason)
        self._ends.close_broken(record, reason)

    def _remedy_of_stalled(self, record: EvaluationRecord) -> Callable[[], None] | None:
        """It goes on only if the sidecar comes back with a larger limit; nobody waits for that for ever."""
        eval_id = record.evaluation.eval_id
        looks = self._stalled[eval_id] = self._stalled.get(eval_id, 0) + 1
        _log.error("look %d of %d: %s", looks, _STALLED_LOOKS, _STALLED)
        return partial(self._give_up, record) if looks >= _STALLED_LOOKS else None

    def _give_up(self, record: EvaluationRecord) -> None:
        self._ends.close_broken(record, _STALLED)
        # Or it would go on one day, and clean up what a retry is about to do.
        self._engine.purge(record.evaluation.instance_id)
        del self._stalled[record.evaluation.eval_id]

    def _is_still_open(self, record: EvaluationRecord) -> bool:
        """Asked after the workflow was: the record may be older than that one's end, or than a retry."""
        now = self._record_of(record.evaluation.eval_id)
        return now is not None and now.ended is None and now.is_at(record.evaluation.attempt)
