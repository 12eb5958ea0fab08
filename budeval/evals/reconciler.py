"""Finishes what a crash has cut, and what a workflow that broke has left behind.

Between an evaluation's record and the start of its workflow the service may die; and an operator may
terminate a workflow, or a mistake of ours end it, before the record says so.
"""

import logging
import threading
from typing import Protocol

from budeval.domain.evaluation import EvaluationRecord
from budeval.domain.notification import ENDED
from budeval.errors import BudevalError, SidecarError
from budeval.evals.intake import Start
from budeval.evals.store import EvaluationStore
from budeval.runtime.logs import about
from budeval.runtime.workflow_engine import WorkflowSnapshot

_EVERY_SECONDS = 60.0
_NEWEST = 500
"""Evaluations that are looked at: a cut is minutes old, not weeks."""

_log = logging.getLogger(__name__)


class FindsWorkflows(Protocol):
    """What of the workflow engine is used here; tests put a fake in its place."""

    def find(self, workflow_id: str) -> WorkflowSnapshot | None:
        """What is known of an instance, None where there is none."""


class Closes(Protocol):
    """Ends an evaluation whose workflow can't."""

    def __call__(self, record: EvaluationRecord, reason: str) -> None:
        """Results, clean-up, the end of the record."""


class Reconciler:
    """A thread that looks at the start and then every minute."""

    def __init__(self, store: EvaluationStore, engine: FindsWorkflows, start: Start, close: Closes) -> None:
        self._store = store
        self._engine = engine
        self._start = start
        self._close = close
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="reconciler", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """Look no more; a look under way ends by itself."""
        self._stopping.set()

    def look(self) -> None:
        """Start the workflow of every evaluation that has a record, has not ended, and has none.

        Raises:
            SidecarError: the state store or the engine does not answer.
        """
        ids, _ = self._store.newest(None, _NEWEST)
        unended = [brief.eval_id for brief in self._store.briefs(ids) if brief.ended is None]
        for record in self._store.load_all(unended):
            evaluation = record.evaluation
            with about(eval_id=evaluation.eval_id, workflow_id=evaluation.workflow_id):
                self._try_to_settle(record)

    def _try_to_settle(self, record: EvaluationRecord) -> None:
        """One that cannot be settled must not keep those behind it from it."""
        try:
            self._settle(record)
        except SidecarError:
            raise  # there the next one would fail, too
        except Exception:  # noqa: BLE001 - see above; it is looked at again in a minute
            _log.exception("it could not be settled")

    def _settle(self, record: EvaluationRecord) -> None:
        workflow = self._engine.find(record.evaluation.workflow_id)
        if workflow is None:
            self._start(record)
        elif workflow.status in ENDED and self._is_open(record):
            reason = workflow.failure or f"INTERNAL: its workflow is {workflow.status.value}"
            _log.error("its workflow has ended without a result: %s", reason)
            self._close(record, reason)

    def _is_open(self, record: EvaluationRecord) -> bool:
        """Asked again: the record may have been read before the workflow's end, which comes later."""
        now = self._store.find(record.evaluation.eval_id)
        return now is not None and now.ended is None

    def _run(self) -> None:
        while True:
            try:
                self.look()
            except BudevalError as error:
                _log.warning("could not look for cut evaluations: %s", error)
            except Exception:  # noqa: BLE001 - the next look may succeed; without this thread nobody looks
                _log.exception("looking for cut evaluations failed")
            if self._stopping.wait(_EVERY_SECONDS):
                return
