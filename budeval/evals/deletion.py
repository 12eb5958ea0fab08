"""Deleting evaluations: what is on the cluster, what Dapr knows of them, and what the state store keeps.

In that order, so that what is cut off can be repeated: the record, which says what there is, goes last.
"""

import logging
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Protocol

from budeval.domain.cluster import FROM_REQUEST
from budeval.domain.evaluation import EvaluationRecord, instance_id
from budeval.errors import BudevalError, ClusterError, SidecarError
from budeval.evals import receipt_entries
from budeval.evals.ansible_orchestrator import AnsibleOrchestrator
from budeval.evals.answers import Deletion
from budeval.evals.intake import Intake
from budeval.evals.lifecycle import FindsWorkflows, require_ended
from budeval.evals.receipts import Receipts
from budeval.evals.schema import DeletionRequest
from budeval.evals.store import EvaluationStore
from budeval.runtime.logs import about
from budeval.runtime.vault import Vault

_FILES_TRIED_FOR = timedelta(days=7)
"""How long retention tries to remove the files of an evaluation, with each sweep."""

_log = logging.getLogger(__name__)


class PurgesWorkflows(FindsWorkflows, Protocol):
    """What of the workflow engine is used here; tests put a fake in its place."""

    def purge(self, workflow_id: str) -> None:
        """Forget an instance that has ended."""


class Deletions:
    """Deletes evaluations that have ended."""

    def __init__(
        self,
        store: EvaluationStore,
        engine: PurgesWorkflows,
        vault: Vault,
        intake: Intake,
        orchestrator: AnsibleOrchestrator,
        receipts: Receipts,
    ) -> None:
        self._store = store
        self._engine = engine
        self._vault = vault
        self._intake = intake
        self._orchestrator = orchestrator
        self._receipts = receipts

    def delete(self, eval_id: str, request: DeletionRequest) -> Deletion:
        """Delete an evaluation with its files on the claim. Where it fails, the same again goes on.

        Raises:
            RequestError: EVALUATION_UNKNOWN, EVALUATION_DELETED; EVALUATION_RUNNING (409);
                KUBECONFIG_REQUIRED; what `Intake` says of a kubeconfig.
            ClusterError: something could not be removed there. Then nothing else is deleted.
            SidecarError: the state store or the workflow engine did not answer.
        """
        record = self._store.load(eval_id)
        require_ended(record, self._engine)
        target, given = record.evaluation.target, request.kubeconfig_text
        kubeconfig = None if request.keep_files else self._intake.kubeconfig_again(target, given)
        record = self._store.begin_deletion(eval_id, keep_files=request.keep_files)
        with about(eval_id=eval_id, workflow_id=record.evaluation.instance_id):
            try:
                files = self._clear_cluster(record, kubeconfig, keep_files=request.keep_files)
            except BudevalError:
                self._bury_again(record)
                raise
            receipt = self._receipts.of(eval_id)
            self.forget(record)
            _log.info("deleted files=%s", files)
        return Deletion(eval_id=eval_id, files_removed=files, objects=receipt)

    def _bury_again(self, record: EvaluationRecord) -> None:
        """Another deletion may have been faster: what this one has noted since would stay for ever."""
        eval_id = record.evaluation.eval_id
        with suppress(SidecarError):  # what has kept this one from its end says more
            standing = self._store.standings([eval_id]).get(eval_id)
            if standing and standing.deleted:
                self._store.bury(record)

    def expire(self, record: EvaluationRecord) -> None:
        """Forget an evaluation whose time to be kept is over, with its files on a configured cluster.

        Those of a cluster that came with the request stay: its kubeconfig was destroyed. So do those that a
        deletion which was cut off was to keep. May be repeated.

        Raises:
            RequestError: EVALUATION_RUNNING: it is being retried.
            ClusterError: its files could not be removed; a week after the first try they are left.
            SidecarError: the state store or the workflow engine did not answer.
        """
        record = self._store.begin_expiry(record.evaluation.eval_id)
        evaluation = record.evaluation
        if evaluation.target.cluster != FROM_REQUEST and not record.keep_files:
            with about(eval_id=evaluation.eval_id, workflow_id=evaluation.instance_id):
                self._remove_files_in_time(record)
        self.forget(record)

    def _remove_files_in_time(self, record: EvaluationRecord) -> None:
        try:
            self._orchestrator.remove_results(record.evaluation)
        except ClusterError as error:
            self._bury_again(record)
            if _tried_for(record) < _FILES_TRIED_FOR:
                raise
            where = f"results/{record.evaluation.eval_id} on claim {record.evaluation.claim}"
            _log.error("%s of cluster %s is left: %s", where, record.evaluation.target.cluster, error)

    def forget(self, record: EvaluationRecord) -> None:
        """Delete what this service and Dapr keep of an evaluation that has ended. May be repeated.

        Raises:
            SidecarError: the state store or the workflow engine did not answer.
        """
        evaluation = record.evaluation
        for attempt in range(1, evaluation.attempt + 1):
            self._engine.purge(instance_id(evaluation.eval_id, attempt))
        self._vault.destroy(record.sealed_as)
        self._store.bury(record)

    def _clear_cluster(
        self, record: EvaluationRecord, kubeconfig: str | None, *, keep_files: bool
    ) -> int | None:
        """How many files went; None where the cluster is left alone."""
        evaluation = record.evaluation
        if keep_files:
            self._receipts.note(evaluation.eval_id, [receipt_entries.tree_left(evaluation)])
            return None
        self._orchestrator.cleanup(evaluation, kubeconfig)
        return self._orchestrator.remove_results(evaluation, kubeconfig)


def _tried_for(record: EvaluationRecord) -> timedelta:
    """Since retention first tried; somebody's own deletion may have failed long before."""
    return datetime.now(UTC) - datetime.fromisoformat(record.expiry) if record.expiry else timedelta(0)
