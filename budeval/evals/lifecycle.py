"""What callers do to evaluations that are there. The state store has the order; events only hurry it."""

import logging
from typing import Protocol

from budeval.domain.evaluation import Outcome
from budeval.errors import RequestError, SidecarError
from budeval.evals.evaluate import RUNS_CHANGED
from budeval.evals.store import EvaluationStore
from budeval.runtime.logs import about

_log = logging.getLogger(__name__)


class WakesWorkflows(Protocol):
    """What of the workflow engine is used here; tests put a fake in its place."""

    def raise_event(self, workflow_id: str, event: str, data: object) -> None:
        """Raise an event to an instance."""


class Lifecycle:
    """Ends evaluations before their time."""

    def __init__(self, store: EvaluationStore, engine: WakesWorkflows) -> None:
        self._store = store
        self._engine = engine

    def cancel(self, eval_id: str, *, extract: bool) -> None:
        """Ask an evaluation to end. Its workflow does it: at once where it waits, else after what it is at.

        Args:
            eval_id: which. One that was cancelled stays so.
            extract: read the scores that are there.

        Raises:
            RequestError: EVALUATION_UNKNOWN, or EVALUATION_ENDED (409) where it has ended otherwise.
        """
        self._store.load(eval_id)
        record = self._store.cancel(eval_id, extract=extract)
        if record.outcome not in {None, Outcome.CANCELLED}:
            text = f"Evaluation {eval_id} has ended: {record.outcome}. There is nothing to cancel."
            raise RequestError(text, status=409, code="EVALUATION_ENDED", param="eval_id")
        if record.outcome is None:
            self._wake(eval_id, record.evaluation.workflow_id)

    def _wake(self, eval_id: str, workflow_id: str) -> None:
        with about(eval_id=eval_id, workflow_id=workflow_id):
            _log.info("cancellation requested")
            try:
                self._engine.raise_event(workflow_id, RUNS_CHANGED, {"cancel": True})
            except SidecarError as error:
                # It looks for itself within two minutes; one that is not started yet will not go far.
                _log.warning("the workflow could not be woken: %s", error)
