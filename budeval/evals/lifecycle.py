"""What callers do to evaluations that are there. The state store has the order; events only hurry it."""

import logging
from typing import Any, Protocol

from budeval.domain.evaluation import EvaluationRecord, Outcome
from budeval.domain.notification import ENDED, WorkflowStatus
from budeval.errors import RequestError, SidecarError
from budeval.evals.arrivals import Arrivals
from budeval.evals.evaluate import RUNS_CHANGED
from budeval.evals.intake import Intake, Start
from budeval.evals.schema import RetryRequest
from budeval.evals.store import EvaluationStore, deleted, require_attempt, running
from budeval.runtime.logs import about
from budeval.runtime.sidecar import Sidecar
from budeval.runtime.workflow_engine import WorkflowSnapshot

_SILENT = ENDED | {WorkflowStatus.UNKNOWN}

_log = logging.getLogger(__name__)


class FindsWorkflows(Protocol):
    """What of the workflow engine is used here; tests put a fake in its place."""

    def find(self, workflow_id: str) -> WorkflowSnapshot | None:
        """What is known of an instance, None where there is none."""


def require_ended(record: EvaluationRecord, engine: FindsWorkflows) -> None:
    """Refuse what can be done only when all is over: the record ends before the last word is said.

    A workflow that Dapr holds still says none any more: after the record's end nobody waits for it.

    Raises:
        RequestError: EVALUATION_RUNNING (409).
    """
    workflow = engine.find(record.evaluation.instance_id)
    if record.ended is None or (workflow is not None and workflow.status not in _SILENT):
        raise running(record.evaluation.eval_id)


class KnowsWorkflows(FindsWorkflows, Protocol):
    """What a lifecycle needs of it."""

    def raise_event(self, workflow_id: str, event: str, data: Any) -> None:
        """Raise an event to an instance."""


class Lifecycle:
    """Ends evaluations before their time, and begins them anew."""

    def __init__(
        self,
        store: EvaluationStore,
        engine: KnowsWorkflows,
        sidecar: Sidecar,
        intake: Intake,
        arrivals: Arrivals,
        start: Start,
    ) -> None:
        self._store = store
        self._engine = engine
        self._sidecar = sidecar
        self._intake = intake
        self._arrivals = arrivals
        self._start = start

    def cancel(self, eval_id: str, *, extract: bool, attempt: int | None = None) -> None:
        """Ask an evaluation to end. Its workflow does it: at once where it waits, else after what it is at.

        Args:
            eval_id: which. One that was cancelled stays so.
            extract: read the scores that are there.
            attempt: the one that is meant; None for whichever it is at.

        Raises:
            RequestError: EVALUATION_UNKNOWN, ATTEMPT_OVER (409), or EVALUATION_ENDED (409) where it has ended
                otherwise.
        """
        self._store.load(eval_id)
        record = self._store.cancel(eval_id, extract=extract, attempt=attempt)
        if record.outcome not in {None, Outcome.CANCELLED}:
            text = f"Evaluation {eval_id} has ended: {record.outcome}. There is nothing to cancel."
            raise RequestError(text, status=409, code="EVALUATION_ENDED", param="eval_id")
        if record.outcome is None:
            self._wake(eval_id, record.evaluation.instance_id)

    def expire(self, record: EvaluationRecord) -> None:
        """Ask an evaluation to end whose own time is up (`timeouts.evaluation`). May be repeated."""
        evaluation = record.evaluation
        text = f"Its time, {evaluation.timeouts.evaluation} s (timeouts.evaluation), is up."
        self._store.cancel(evaluation.eval_id, extract=True, why=text, attempt=evaluation.attempt)
        self._wake(evaluation.eval_id, evaluation.instance_id)

    def _wake(self, eval_id: str, workflow_id: str) -> None:
        with about(eval_id=eval_id, workflow_id=workflow_id):
            _log.info("cancellation requested")
            try:
                self._engine.raise_event(workflow_id, RUNS_CHANGED, {"cancel": True})
            except SidecarError as error:
                # It looks for itself within two minutes; one that is not started yet will not go far.
                _log.warning("the workflow could not be woken: %s", error)

    def retry(self, eval_id: str, request: RetryRequest) -> None:
        """Begin another attempt with the runs that have no whole result; each goes on with what it had.

        Args:
            eval_id: of an evaluation that has ended.
            request: its secrets, which were destroyed at its end.

        Raises:
            RequestError: EVALUATION_UNKNOWN; EVALUATION_DELETED, also where its deletion has begun;
                ATTEMPT_OVER, EVALUATION_RUNNING or NOTHING_TO_RETRY (409);
                KUBECONFIG_REQUIRED; QUEUE_FULL (429); what `Intake` says of the secrets.
            SidecarError: it could not be stored. It is safe to ask again: what was begun is RUNNING.
        """
        record = self._store.load(eval_id)
        if record.deletion:  # its results may be half gone: they would tell wrongly what there is to repeat
            raise deleted(eval_id)
        require_attempt(record, request.attempt)
        run_ids = self._to_retry(record)
        self._intake.require_room()
        secrets = self._secrets(record, request)
        announced = self._sidecar.announcements(record.evaluation.workflow_id, 0)
        arrival = self._arrivals.begin(eval_id)
        self._arrivals.seal(arrival, secrets)
        try:
            last = announced[-1].number if announced else 0
            begun = self._store.retry(eval_id, record.evaluation.attempt, run_ids, last, arrival.arrival)
        except RequestError:  # somebody else has begun one, or its deletion
            self._arrivals.forget(arrival)
            raise
        # Once more: the end of the attempt before may just have taken it off, when the record was not there.
        self._store.activate(eval_id)
        self._arrivals.end(arrival)
        with about(eval_id=eval_id, workflow_id=begun.evaluation.instance_id):
            _log.info("retry attempt=%d runs=%d", begun.evaluation.attempt, len(run_ids))
            self._start(begun)

    def _to_retry(self, record: EvaluationRecord) -> list[str]:
        eval_id = record.evaluation.eval_id
        require_ended(record, self._engine)
        results, _ = self._store.results(eval_id) or ([], {})
        done = {result["run_id"] for result in results if result["outcome"] == Outcome.COMPLETED}
        run_ids = [run.run_id for run in record.evaluation.runs if run.run_id not in done]
        if not run_ids:
            text = f"Every run of evaluation {eval_id} has its scores."
            raise RequestError(text, status=409, code="NOTHING_TO_RETRY", param="eval_id")
        return run_ids

    def _secrets(self, record: EvaluationRecord, request: RetryRequest) -> dict[str, str]:
        kubeconfig = self._intake.kubeconfig_again(record.evaluation.target, request.kubeconfig_text)
        return self._intake.secrets(request, kubeconfig, "secret_ref")
