"""At the start and on a timer: finishes what crashes have cut off."""

import logging
from collections.abc import Callable

from budeval.domain.notification import ENDED
from budeval.domain.score_job import ScoreRecord
from budeval.errors import RequestError, SidecarError
from budeval.runtime.logs import about
from budeval.runtime.workflow_engine import WorkflowSnapshot
from budeval.scoring.intake import Start
from budeval.scoring.lifecycle import FindsWorkflows
from budeval.scoring.store import ScoreStore

_log = logging.getLogger(__name__)


class ScoreReconciler:
    """Settles jobs without a workflow, workflows that ended without a word, and requests without a record."""

    def __init__(
        self,
        store: ScoreStore,
        engine: FindsWorkflows,
        start: Start,
        close: Callable[[ScoreRecord, str], None],
    ) -> None:
        self._store = store
        self._engine = engine
        self._start = start
        self._close = close
        self._unrecorded: set[str] = set()

    def look(self) -> None:
        """Settle every job that has not ended.

        Raises:
            SidecarError: the state store or the engine does not answer.
        """
        active = self._store.active()
        recorded = [record.job.job_id for record in self._store.load_all(active)]
        for job_id in recorded:
            self._try(job_id)
        self._forget_unrecorded(set(active) - set(recorded))

    def _try(self, job_id: str) -> None:
        """One that cannot be settled must not keep those behind it from it."""
        with about(job_id=job_id):
            try:
                self._look_at(job_id)
            except SidecarError:
                raise  # there the next one would fail, too
            except Exception:  # noqa: BLE001 - see above; it is looked at again in a minute
                _log.exception("it could not be settled")

    def _look_at(self, job_id: str) -> None:
        # Each is read when its turn comes: those before it may have taken minutes.
        record = self._record_of(job_id)
        if record:
            with about(workflow_id=record.job.instance_id):
                self._settle(record)

    def _settle(self, record: ScoreRecord) -> None:
        if record.ended:  # its end was cut off
            self._store.deactivate(record.job.job_id)
            return
        workflow = self._engine.find(record.job.instance_id)
        if (workflow is None or workflow.status in ENDED) and self._is_still_open(record):
            self._remedy(record, workflow)

    def _remedy(self, record: ScoreRecord, workflow: WorkflowSnapshot | None) -> None:
        if workflow is None:
            self._start(record)
            return
        reason = workflow.failure or f"INTERNAL: its workflow is {workflow.status.value}"
        _log.error("its workflow has ended without a result: %s", reason)
        self._close(record, reason)

    def _is_still_open(self, record: ScoreRecord) -> bool:
        """Asked after the workflow was: the record may be older than that one's end, or than a retry."""
        now = self._record_of(record.job.job_id)
        return now is not None and now.ended is None and now.is_at(record.job.attempt)

    def _record_of(self, job_id: str) -> ScoreRecord | None:
        try:
            return self._store.find(job_id)
        except RequestError:  # it was deleted
            return None

    def _forget_unrecorded(self, job_ids: set[str]) -> None:
        """A request that never got its record did not happen, unless it is still coming in.

        A minute ago it may not even have had its claim.
        """
        for job_id in job_ids & self._unrecorded:
            if self._store.is_there(job_id):
                continue  # it has come again meanwhile, or cannot be read
            if self._store.forget_unrecorded(job_id):
                self._store.deactivate(job_id)
        self._unrecorded = job_ids
