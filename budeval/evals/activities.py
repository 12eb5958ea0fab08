"""What workflows do outside themselves. Each may run twice without harm: Dapr runs them at least once.

Arguments and answers are JSON and stand in the workflow's history: ids and facts, never secrets or bodies.
"""

import logging
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from budeval.domain.cluster import ClusterTarget, ClusterVerification
from budeval.domain.evaluation import DEPLOYMENTS, EvaluationRecord, Outcome, Run, workflow_id
from budeval.domain.notification import Announcement
from budeval.domain.observation import CANCELLED, TERMINAL, RunObservation, refused
from budeval.domain.redaction import redacted, spellings
from budeval.domain.results import (
    Result,
    evaluation_outcome,
    failed_result,
    first_error,
    for_event,
    in_a_status,
    run_result,
    summary_of,
    totals,
    with_earlier_scores,
)
from budeval.domain.steps import ETA_EVENT
from budeval.engines.base import Engine, JobSpec, RunSecrets
from budeval.errors import BudevalError, EvaluationError, SidecarError, code_and_message
from budeval.evals import receipt_entries
from budeval.evals.ansible_orchestrator import AnsibleOrchestrator
from budeval.evals.receipts import Receipts
from budeval.evals.snapshots import Snapshots
from budeval.evals.store import EvaluationStore
from budeval.runtime.sidecar import Sidecar
from budeval.runtime.vault import Vault
from budeval.runtime.workflow_engine import Activity

RESULTS_IN_EVENT_LIMIT = 1024 * 1024
"""Bytes up to which an event carries complete results."""

_log = logging.getLogger(__name__)


def verification_key(verification_id: str) -> str:
    """Where a verification's outcome is in the state store."""
    return f"verification-{verification_id}"


class VerificationActivities:
    """Those of `verify_cluster`."""

    def __init__(self, orchestrator: AnsibleOrchestrator, sidecar: Sidecar, topic: str) -> None:
        self._orchestrator = orchestrator
        self._sidecar = sidecar
        self._topic = topic

    def all(self) -> list[tuple[str, Activity]]:
        """Every activity under the name by which workflows call it."""
        return [
            ("verify_cluster_connection", self.verify_cluster_connection),
            ("save_verification", self.save_verification),
            ("announce", self.announce),
        ]

    def verify_cluster_connection(self, target: dict[str, Any]) -> dict[str, Any]:
        """ClusterTarget -> ClusterVerification. Raises ClusterError where another try may help."""
        verification = self._orchestrator.verify(ClusterTarget.model_validate(target))
        return verification.model_dump(mode="json")

    def save_verification(self, outcome: dict[str, Any]) -> None:
        """{workflow_id, verification} -> the state store."""
        verification = ClusterVerification.model_validate(outcome["verification"])
        value = {"schema": 1, **verification.model_dump(mode="json")}
        self._sidecar.save_state(verification_key(outcome["workflow_id"]), value)

    def announce(self, announcement: dict[str, Any]) -> None:
        """Announcement -> stored, then published."""
        self._sidecar.announce([self._topic], Announcement.model_validate(announcement))


class EvaluationActivities:
    """Those of `evaluate_model`. Each argument has the `eval_id`; the record tells the rest."""

    def __init__(  # noqa: PLR0917 - a composition of what main wires
        self,
        orchestrator: AnsibleOrchestrator,
        sidecar: Sidecar,
        store: EvaluationStore,
        vault: Vault,
        engines: Mapping[str, Engine],
        receipts: Receipts,
        eta_receiver: str | None = None,
    ) -> None:
        self._orchestrator = orchestrator
        self._sidecar = sidecar
        self._store = store
        self._snapshots = Snapshots(store, vault)
        self._vault = vault
        self._engines = engines
        self._receipts = receipts
        self._eta_receiver = eta_receiver

    def all(self) -> list[tuple[str, Activity]]:
        """Every activity under the name by which workflows call it."""
        return [
            (activity.__name__, activity)
            for activity in (
                self.announce_event,
                self.verify_evaluation_cluster,
                self.prepare_engine,
                self.deploy_eval_job,
                self.check_jobs_status,
                self.read_snapshot,
                self.extract_eval_results,
                self.record_failure,
                self.read_cancellation,
                self.report_results,
                self.cleanup_evaluation,
                self.record_leftovers,
                self.end_evaluation,
                self.workflow_output,
            )
        ]

    def announce_event(self, order: dict[str, Any]) -> None:
        """{announcement, topics, eval_id, attach} -> stored, then published to every topic.

        Not of what was deleted: Dapr runs again, late, what it has run before, and nobody would forget it.
        """
        if self._store.is_deleted(order["eval_id"]):
            return
        announcement = Announcement.model_validate(order["announcement"])
        if order.get("attach"):
            announcement = self._with_results(announcement, order["eval_id"], order["attach"])
        self._sidecar.announce(order["topics"], announcement)
        payload = announcement.notification.payload
        if payload.event == ETA_EVENT and self._eta_receiver:
            self._send_eta(self._eta_receiver, order["eval_id"], int(payload.content.message) * 60)

    def _send_eta(self, receiver: str, eval_id: str, seconds: int) -> None:
        app_id, _, method = receiver.partition("/")
        try:
            body = {"evaluation_id": eval_id, "eta_seconds": seconds}
            self._sidecar.invoke(app_id, method, "PATCH", body)
        except SidecarError as error:
            _log.warning("the ETA could not be sent to %s: %s", receiver, error)

    def _with_results(self, announcement: Announcement, eval_id: str, place: str) -> Announcement:
        found = self._store.results(eval_id)
        if found is None:
            return announcement
        document = {
            "results": _in_event(*found),
            "evaluation_id": eval_id,
            "outcome": evaluation_outcome(found[0]),
            **totals(found[0]),
        }
        notification = announcement.notification
        content = notification.payload.content.model_copy(update={place: document})
        payload = notification.payload.model_copy(update={"content": content})
        changed = notification.model_copy(update={"payload": payload})
        return announcement.model_copy(update={"notification": changed})

    def verify_evaluation_cluster(self, order: dict[str, Any]) -> dict[str, Any]:
        """{eval_id, target, claim} -> ClusterVerification. Raises ClusterError where another try may help."""
        self._going_on(order)
        target = ClusterTarget.model_validate(order["target"])
        found = self._orchestrator.verify(
            target, order["claim"], owner=order["eval_id"], check=lambda: self._going_on(order)
        )
        return found.model_dump(mode="json")

    def prepare_engine(self, order: dict[str, Any]) -> str:
        """{eval_id} -> what will run. Builds every Job once, so that what cannot be built fails here."""
        record = self._going_on(order)
        evaluation = record.current
        specs = self._specs(record, evaluation.runs, attempt=1)
        images = sorted({spec.image for spec in specs})
        return f"{evaluation.engine} with image {', '.join(images)}"

    def _specs(self, record: EvaluationRecord, runs: list[Run], attempt: int) -> list[JobSpec]:
        api_key = self._vault.open(record.sealed_as)["api_key"]
        evaluation = record.evaluation
        engine = self._engines[evaluation.engine]
        return [
            engine.build_job(evaluation, run, attempt, RunSecrets(api_key, self._rows(record, run)))
            for run in runs
        ]

    def _rows(self, record: EvaluationRecord, run: Run) -> str | None:
        """The rows of an inline dataset, None where the run has none."""
        if run.own is None or run.own.digest is None:
            return None
        rows = self._store.rows(record.rows_kept_as, run.own.digest)
        if rows is None:
            raise EvaluationError(f"The rows of run {run.run_id} are lost.", code="DATASET_LOST")
        return rows

    def deploy_eval_job(self, order: dict[str, Any]) -> list[dict[str, Any]]:
        """{eval_id, run_ids, attempt} -> [{run_id, job, code, message}], code where a run was refused.

        `attempt` is the number of the deployment, counted through all attempts.
        """
        of_evaluation = (order["attempt"] - 1) // DEPLOYMENTS + 1
        record = self._going_on({**order, "attempt": of_evaluation})
        evaluation = record.evaluation
        runs = [run for run in evaluation.runs if run.run_id in set(order["run_ids"])]
        specs = self._specs(record, runs, order["attempt"])
        # A sidecar that comes back has it run once more, and the first still waits for a worker: it may be
        # its turn when all is over and cleaned up.
        deployed = self._orchestrator.deploy(
            evaluation, specs, lambda: self._going_on({**order, "attempt": of_evaluation})
        )
        for item in deployed:
            _log.info("deployed run_id=%s job=%s code=%s", item.run_id, item.job, item.code)
        self._snapshots.keep_refusals(
            evaluation.eval_id,
            [refused(item.run_id, item.code, item.message or "") for item in deployed if item.code],
        )
        return [asdict(item) for item in deployed]

    def check_jobs_status(self, order: dict[str, Any]) -> dict[str, Any]:
        """{eval_id} -> {tick, runs: [RunObservation]}: looks, and keeps the snapshot and the logs."""
        eval_id, record = order["eval_id"], self._going_on(order)
        settled = self._snapshots.settled(eval_id)
        begun = datetime.now(UTC)
        target = record.evaluation.target
        found = self._orchestrator.check_jobs_status(
            target, [eval_id], settled, owner=eval_id, check=lambda: self._going_on(order)
        )
        return self._snapshots.keep(record, found.get(eval_id, {}), begun)

    def read_snapshot(self, order: dict[str, Any]) -> dict[str, Any]:
        """{eval_id} -> {tick, runs}: the newest look that anybody kept, tick 0 where there is none."""
        self._going_on(order)
        return self._snapshots.newest(order["eval_id"])

    def extract_eval_results(self, order: dict[str, Any]) -> str:
        """{eval_id, attempt?, runs: [RunObservation]} -> the guide's sentence; the results are stored."""
        record = self._unended(order)
        evaluation = record.evaluation
        seen = [RunObservation.model_validate(item) for item in order["runs"]]
        # What never had a Job has left nothing to read.
        run_ids = [item.run_id for item in seen if item.job or item.code == "JOB_GONE"]
        documents = (
            self._orchestrator.extract_job_results(evaluation, run_ids, lambda: self._unended(order))
            if run_ids
            else {}
        )
        documents = redacted(documents, spellings(self._vault.open(record.sealed_as)["api_key"]))
        results = [run_result(evaluation, item, documents.get(item.run_id), None) for item in seen]
        return summary_of(self._keep_results(record, results, "completed"))

    def record_failure(self, order: dict[str, Any]) -> None:
        """{eval_id, attempt?, code, message, runs} -> each run without a result gets one with that reason."""
        record = self._unended(order)
        evaluation = record.current
        seen = {item["run_id"]: RunObservation.model_validate(item) for item in order["runs"]}
        problem = f"{order['code']}: {order['message']}"
        results = [
            run_result(evaluation, seen[run.run_id], None, problem)
            if run.run_id in seen and seen[run.run_id].state in TERMINAL
            else failed_result(evaluation, run.run_id, order["code"], order["message"])
            for run in evaluation.runs
        ]
        self._keep_results(record, results, "failed")

    def _keep_results(self, record: EvaluationRecord, found: list[Result], status: str) -> list[Result]:
        """Those of this attempt, and of the runs that it did not repeat; all, in the order of the request.

        A repeated run of which this attempt has no scores keeps those that it had.
        """
        evaluation = record.evaluation
        stored, _ = (self._store.results(evaluation.eval_id) if record.retried else None) or ([], {})
        before = {result["run_id"]: result for result in stored}
        found = [
            with_earlier_scores(result, before.get(result["run_id"]), evaluation.attempt) for result in found
        ]
        for result in found:
            _log.info(
                "result run_id=%s status=%s code=%s scores=%d",
                result["run_id"],
                result["status"],
                result["code"],
                len(result["scores"]),
            )
        by_run = before | {result["run_id"]: result for result in found}
        results = [by_run[run.run_id] for run in evaluation.runs if run.run_id in by_run]
        index = self._store.save_results(evaluation.eval_id, results)
        data = {"extraction_results": _in_event(results, index), "extraction_status": status}
        data |= totals(results)
        self._store.update_workflow_data_in_statestore(evaluation.workflow_id, data)
        return results

    def report_results(self, order: dict[str, Any]) -> dict[str, Any]:
        """{eval_id} -> {summary, outcome, error, code, message, shown}: how the evaluation ended."""
        results, _ = self._store.results(order["eval_id"]) or ([], {})
        outcome = evaluation_outcome(results)
        code, message = first_error(results)
        return {
            "summary": summary_of(results),
            "outcome": outcome,
            "error": f"{code}: {message}",
            "code": code,
            "message": message,
            "shown": in_a_status(results) if outcome is Outcome.FAILED else "",
        }

    def cleanup_evaluation(self, order: dict[str, Any]) -> None:
        """{eval_id, attempt?} -> nothing is left on the cluster but its results; the receipt is kept."""
        evaluation = self._unended(order).evaluation
        self._orchestrator.cleanup(evaluation, check=lambda: self._unended(order))

    def record_leftovers(self, order: dict[str, Any]) -> None:
        """{eval_id, attempt?, problem} -> the receipt tells what was not removed."""
        self._unended(order)
        self._receipts.leave(order["eval_id"], order["problem"])
        _log.error("left over problem=%s", order["problem"])

    def end_evaluation(self, order: dict[str, Any]) -> None:
        """{eval_id, outcome, attempt?} -> its secrets are destroyed; the record says that it has ended."""
        record = self._of_this_attempt(order)
        # First: whoever reads that it has ended finds no secrets any more, and a receipt that says so.
        self._destroy_secrets(record)
        eval_id, attempt = record.evaluation.eval_id, record.evaluation.attempt
        if self._store.end(eval_id, Outcome(order["outcome"]), attempt):
            self._store.deactivate(eval_id)
            _log.info("ended outcome=%s", order["outcome"])

    def _destroy_secrets(self, record: EvaluationRecord) -> None:
        name = record.sealed_as
        self._vault.destroy(name)
        entry = receipt_entries.secrets_destroyed(name, still_there=self._vault.holds(name))
        self._receipts.note(record.evaluation.eval_id, [entry])

    def close_broken(self, record: EvaluationRecord, reason: str) -> None:
        """End an evaluation whose workflow has ended without: `reason` is `CODE: message`.

        Not an activity: no workflow is left to call it. May be repeated without harm.
        """
        order: dict[str, Any] = {"eval_id": record.evaluation.eval_id, "attempt": record.evaluation.attempt}
        if record.ended is None:
            self._conclude(record, order, reason)
        self.end_evaluation({**order, "outcome": Outcome.FAILED})

    def _conclude(self, record: EvaluationRecord, order: dict[str, Any], reason: str) -> None:
        code, message = code_and_message(reason)
        if record.extraction_status is None:
            runs = self._snapshots.newest(order["eval_id"])["runs"]
            self.record_failure({**order, "code": code, "message": message, "runs": runs})
        try:
            self.cleanup_evaluation(order)
        except BudevalError as error:
            self.record_leftovers({**order, "problem": str(error)})

    def workflow_output(self, order: dict[str, Any]) -> dict[str, Any]:
        """{eval_id} -> what the workflow returns, readable by Dapr's own workflow API."""
        found = self._store.results(order["eval_id"]) or ([], {})
        return {
            "workflow_id": workflow_id(order["eval_id"]),
            "status": "completed",
            "outcome": evaluation_outcome(found[0]),
            "extraction_status": "completed",
            "extraction_results": _in_event(*found),
            **totals(found[0]),
        }

    def read_cancellation(self, order: dict[str, Any]) -> dict[str, Any]:
        """{eval_id} -> {extract, runs}: whether scores shall be read, and what was seen last."""
        cancellation = self._store.load(order["eval_id"]).cancellation
        runs = self._snapshots.newest(order["eval_id"])["runs"]
        return {"extract": bool(cancellation and cancellation.extract), "runs": runs}

    def _going_on(self, order: dict[str, Any]) -> EvaluationRecord:
        """The record of an evaluation that nobody wants to end: else what has begun goes no further.

        Raises:
            EvaluationError: CANCELLED, ATTEMPT_OVER.
        """
        record = self._unended(order)
        if record.cancellation:
            raise EvaluationError(record.cancellation.why, code=CANCELLED)
        return record

    def _unended(self, order: dict[str, Any]) -> EvaluationRecord:
        """The record of an attempt that goes on, as wanted or not. Raises EvaluationError: ATTEMPT_OVER."""
        record = self._of_this_attempt(order)
        if record.ended:
            raise _attempt_over(order)
        return record

    def _of_this_attempt(self, order: dict[str, Any]) -> EvaluationRecord:
        """The record. Orders of older versions say no attempt: they mean whichever it is at.

        Raises:
            EvaluationError: ATTEMPT_OVER: Dapr runs again, late, what it has run before. Nobody hears it.
        """
        record = self._store.load(order["eval_id"])
        if not record.is_at(order.get("attempt")):
            raise _attempt_over(order)
        return record


def _attempt_over(order: dict[str, Any]) -> EvaluationError:
    return EvaluationError(f"This attempt of evaluation {order['eval_id']} is over.", code="ATTEMPT_OVER")


def _in_event(results: list[Result], index: dict[str, dict[str, Any]]) -> list[Result]:
    return for_event(results, RESULTS_IN_EVENT_LIMIT, index)
