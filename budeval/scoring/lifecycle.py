"""What callers do to jobs that are there. The state store has the order; events only hurry it."""

import logging
from collections.abc import Callable
from typing import Any, Protocol

from budeval.domain.notification import ENDED
from budeval.domain.score_job import JobStatus, ScoreRecord
from budeval.domain.scoring import MetricStatus
from budeval.errors import RequestError, SidecarError
from budeval.runtime.sidecar import Sidecar
from budeval.runtime.workflow_engine import WorkflowSnapshot
from budeval.scoring.intake import Start
from budeval.scoring.store import ScoreStore, deleted, now, running
from budeval.scoring.workflows import CANCEL_EVENT

_OF_AN_ATTEMPT = (
    "started",
    "finished",
    "ended",
    "phase",
    "outcome",
    "result",
    "error",
    "advice",
    "cancelled",
)

_log = logging.getLogger(__name__)


class FindsWorkflows(Protocol):
    """What of the workflow engine is used here; tests put a fake in its place."""

    def find(self, workflow_id: str) -> WorkflowSnapshot | None:
        """What is known of an instance, None where there is none."""


class KnowsWorkflows(FindsWorkflows, Protocol):
    """What a lifecycle needs of it."""

    def raise_event(self, workflow_id: str, event: str, data: Any) -> None:
        """Raise an event to an instance."""

    def purge(self, workflow_id: str) -> None:
        """Forget an instance that has ended."""


class RemovesRuns(Protocol):
    """What of the artifacts is used here; tests put a fake in its place."""

    def remove(self, run_id: str) -> None:
        """Remove a run's artifacts. May be repeated."""


class ScoreLifecycle:
    """Ends jobs before their time, begins them anew, deletes them."""

    def __init__(  # noqa: PLR0917 - a composition of what the service wires
        self,
        store: ScoreStore,
        engine: KnowsWorkflows,
        sidecar: Sidecar,
        start: Start,
        stop: Callable[[str], None],
        artifacts: RemovesRuns,
        require_room: Callable[[str], None],
    ) -> None:
        """`stop` ends what this process is scoring for a job; `require_room` refuses one too many."""
        self._store = store
        self._engine = engine
        self._sidecar = sidecar
        self._start = start
        self._stop = stop
        self._artifacts = artifacts
        self._require_room = require_room

    def cancel(self, job_id: str) -> None:
        """End a job as soon as may be; what is scored by then stays known. May be repeated.

        Of a retry only the retry ends: the run of the attempt before stands.

        Raises:
            RequestError: SCORE_UNKNOWN; SCORE_ENDED (409) where it had ended before it was asked to.
        """
        self._store.load(job_id)

        def asked(record: ScoreRecord) -> ScoreRecord:
            if record.outcome and not record.cancelled:
                text = f"Scoring job {job_id} has ended: {record.outcome}. There is nothing to cancel."
                raise RequestError(text, status=409, code="SCORE_ENDED", param="job_id")
            return record.model_copy(update={"cancelled": record.cancelled or now()})

        record = self._store.update(job_id, asked)
        if record.outcome is None:
            self._stop(job_id)
            self._wake(record.job.instance_id)

    def _wake(self, instance: str) -> None:
        try:
            self._engine.raise_event(instance, CANCEL_EVENT, {})
        except SidecarError as error:
            # Each metric that begins looks at the record itself.
            _log.warning("the workflow %s could not be woken: %s", instance, error)

    def retry(self, job_id: str) -> ScoreRecord:
        """Begin another attempt with the metrics that have failed; the others keep their values.

        Raises:
            RequestError: SCORE_UNKNOWN; SCORE_RUNNING or NOTHING_TO_RETRY (409); INPUTS_GONE (409): its texts
                were not to be kept; QUEUE_FULL (429).
            SidecarError: it could not be stored. It is safe to ask again.
        """
        record = self._store.load(job_id)
        self._require_ended(record)
        self._require_something(record)
        self._require_room(job_id)
        told = self._sidecar.announcements(record.job.subject, 0)

        def begun(before: ScoreRecord) -> ScoreRecord:
            if before.deletion:
                raise deleted(job_id)
            if before.ended is None:
                raise running(job_id)
            job = before.job.model_copy(update={"attempt": before.job.attempt + 1})
            fresh: dict[str, Any] = dict.fromkeys(_OF_AN_ATTEMPT)
            announced = told[-1].number if told else 0
            more = {"job": job, "announced": announced, "done": 0, "before": before.attempt_end}
            return before.model_copy(update={**fresh, **more})

        self._store.activate(job_id)
        again = self._store.update(job_id, begun)
        # Once more: the end of the attempt before may just have taken it off, when the record was not there.
        self._store.activate(job_id)
        self._start(again)
        return again

    def _require_something(self, record: ScoreRecord) -> None:
        job_id = record.job.job_id
        if not record.job.store_inputs:
            text = f"The texts of scoring job {job_id} were not to be kept (store_inputs): send them anew."
            raise RequestError(text, status=409, code="INPUTS_GONE", param="job_id")
        numbers = range(1, record.job.samples + 1)
        stored = self._store.outcomes(job_id, numbers, record.job.metrics)
        failed = any(item.outcome.status is MetricStatus.FAILED for item in stored.values())
        missing = len(stored) < record.job.samples * len(record.job.metrics)
        # Where a retry failed or was cancelled, all may be scored and not be in the run yet.
        written = record.status is JobStatus.COMPLETED and not record.error
        if not failed and not missing and written:
            text = f"No metric of scoring job {job_id} has failed."
            raise RequestError(text, status=409, code="NOTHING_TO_RETRY", param="job_id")

    def delete(self, job_id: str) -> None:
        """Delete a job that has ended, with its run. Where it is cut off, the same again goes on.

        Raises:
            RequestError: SCORE_UNKNOWN, SCORE_DELETED; SCORE_RUNNING (409).
            SidecarError: state store or workflow engine did not answer.
        """
        record = self._store.load(job_id)
        self._require_ended(record)
        self.forget(record)

    def forget(self, record: ScoreRecord) -> None:
        """Delete what is kept of a job that has ended: from now on nobody retries it. May be repeated.

        Raises:
            RequestError: SCORE_RUNNING: it was retried meanwhile.
            SidecarError: state store or workflow engine did not answer.
        """
        record = self._store.begin_deletion(record.job.job_id)
        job = record.job
        for attempt in range(1, job.attempt + 1):
            self._engine.purge(job.model_copy(update={"attempt": attempt}).instance_id)
        self._artifacts.remove(job.run_id)
        self._store.bury(record)

    def _require_ended(self, record: ScoreRecord) -> None:
        workflow = self._engine.find(record.job.instance_id)
        if record.ended is None or (workflow is not None and workflow.status not in ENDED):
            raise running(record.job.job_id)
