"""What the workflow of scoring does beside scoring. Each may run twice without harm, also late.

Dapr may run what it has run before when the job is at another attempt by then: that does nothing.
Arguments and answers are JSON and stand in the workflow's history: ids and numbers, never texts.
"""

import asyncio
import logging
from typing import Any, Protocol
from weakref import WeakValueDictionary

from budeval.domain.notification import (
    Announcement,
    NotificationContent,
    NotificationPayload,
    NotificationRequest,
    WorkflowStatus,
)
from budeval.domain.score_job import AdviceStatus, AttemptEnd, JobOutcome, JobResult, Phase, ScoreRecord
from budeval.domain.score_run import ScoreRun
from budeval.errors import SidecarError, code_and_message
from budeval.runtime.sidecar import Sidecar
from budeval.runtime.workflow_engine import Activity
from budeval.scoring.artifacts import ArtifactStore, write_artifacts
from budeval.scoring.assembling import Assembly, outcome_of, result_of, without_texts
from budeval.scoring.ledger import Ledger
from budeval.scoring.measuring import MeasuringActivities
from budeval.scoring.store import Change, ScoreStore, now

WORKFLOW_TYPE = "score_sample"
RESULTS_EVENT = "score_results"
ADVICE_EVENT = "score_advice"

_TOLD = {
    JobOutcome.FAILED: WorkflowStatus.FAILED,
    JobOutcome.CANCELLED: WorkflowStatus.TERMINATED,
}

_log = logging.getLogger(__name__)


class Advises(Protocol):
    """What of the adviser is used here; tests put a fake in its place."""

    async def advise(self, run: ScoreRun, ledger: Ledger) -> AdviceStatus:
        """Write the advice on a run beside it. May be repeated; raises nothing that a run could cause."""


class ScoringActivities:
    """Those of `score_sample`. Each argument has `job_id` and `attempt`; the record tells the rest."""

    def __init__(  # noqa: PLR0917 - a composition of what main wires
        self,
        store: ScoreStore,
        sidecar: Sidecar,
        topic: str,
        assembly: Assembly,
        artifacts: ArtifactStore,
        adviser: Advises,
        measuring: MeasuringActivities,
    ) -> None:
        self._store = store
        self._sidecar = sidecar
        self._topic = topic
        self._assembly = assembly
        self._artifacts = artifacts
        self._adviser = adviser
        self._measuring = measuring
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    def all(self) -> list[tuple[str, Activity]]:
        """Every activity under the name by which the workflow calls it."""
        activities: tuple[Activity, ...] = (
            self.begin_scoring,
            self.note_progress,
            self._measuring.score_metric,
            self._measuring.give_up_metrics,
            self.write_artifacts,
            self.settle_job,
            self.announce_scores,
            self.advise,
            self.end_job,
        )
        return [(activity.__name__, activity) for activity in activities]

    def begin_scoring(self, order: dict[str, Any]) -> None:
        """{job_id} -> it is running."""

        def begun(record: ScoreRecord) -> ScoreRecord:
            if record.outcome:
                return record
            return record.model_copy(update={"started": record.started or now(), "phase": Phase.SCORING})

        self._change(order, begun)

    def _change(self, order: dict[str, Any], change: Change) -> ScoreRecord:
        """The record, changed if it is at the order's attempt."""

        def changed(record: ScoreRecord) -> ScoreRecord:
            return change(record) if _is_for(record, order) else record

        return self._store.update(order["job_id"], changed)

    def note_progress(self, order: dict[str, Any]) -> None:
        """{job_id, done} -> the record tells how many samples are scored."""
        change = {"done": order["done"]}
        self._change(order, lambda record: record.model_copy(update=change))

    def write_artifacts(self, order: dict[str, Any]) -> dict[str, Any] | None:
        """{job_id, late} -> JobResult of the run that is there now; None for one that was cancelled."""
        record = self._finished(order)
        if not _is_for(record, order):
            return None
        if record.phase is not Phase.WRITING:  # cancelled before, or settled when this had been done
            return record.result.model_dump(mode="json") if record.result else None
        run = self._run_of(record, order)
        # By its own policy the workflow tries again for some minutes; then the job has failed.
        write_artifacts(run, self._artifacts, advised=record.job.advise)
        return result_of(run).model_dump(mode="json")

    def _run_of(self, record: ScoreRecord, order: dict[str, Any]) -> ScoreRun:
        """As it may be kept."""
        run = self._assembly.run_of(record, late=order["late"])
        return run if record.job.store_inputs else without_texts(run)

    def _finished(self, order: dict[str, Any]) -> ScoreRecord:
        """The record, with the time at which the scores were there: the same in every repetition.

        It is at writing unless it was cancelled before. Later it is written all the same: an earlier try may
        have written the run, and been cut off before it could tell.
        """

        def finished(record: ScoreRecord) -> ScoreRecord:
            if record.outcome:
                return record
            writes = record.phase is Phase.WRITING or not record.cancelled
            phase = Phase.WRITING if writes else None
            return record.model_copy(update={"finished": record.finished or now(), "phase": phase})

        return self._change(order, finished)

    def settle_job(self, order: dict[str, Any]) -> dict[str, Any]:
        """{job_id, result, problem} -> {outcome, advise, code, message}: how the job has ended."""
        result = JobResult.model_validate(order["result"]) if order["result"] else None
        outcome, error = _ending(result, order["problem"])
        update = {"outcome": outcome, "result": result, "error": error, "before": None}

        def settled(record: ScoreRecord) -> ScoreRecord:
            if record.outcome:
                return record
            if result is None and record.before:
                return record.model_copy(update=_taken_back(record.before, order["problem"]))
            advise = (
                record.job.advise
                and result is not None
                and any(score is not None for score in result.scores.values())
            )
            more: dict[str, Any] = {"phase": Phase.ADVISING} if advise else {"advice": AdviceStatus.SKIPPED}
            return record.model_copy(update={"phase": None, **update, **more})

        record = self._change(order, settled)
        code, message = code_and_message(record.error or "")
        _log.info("scored outcome=%s code=%s", record.outcome, code if record.error else None)
        advise = record.phase is Phase.ADVISING
        return {"outcome": record.outcome, "advise": advise, "code": code, "message": message}

    def announce_scores(self, order: dict[str, Any]) -> None:
        """{job_id, number, advice} -> told under that number: the scores, or what became of the advice."""
        record = self._store.load(order["job_id"])
        if not _is_for(record, order):
            return
        content = _advice_content(record) if order["advice"] else _results_content(record)
        payload = NotificationPayload(
            type=WORKFLOW_TYPE,
            event=ADVICE_EVENT if order["advice"] else RESULTS_EVENT,
            workflow_id=record.job.subject,
            content=content,
        )
        announcement = Announcement(
            subject=record.job.subject,
            number=order["number"],
            notification=NotificationRequest(payload=payload),
        )
        self._sidecar.announce([self._topic], announcement)

    async def advise(self, order: dict[str, Any]) -> None:
        """{job_id, late} -> the advice is beside the run, or the record says that it is not."""
        # As metrics are scored: what a sidecar that came back gives out again would be paid for twice.
        async with self._turns.setdefault(order["job_id"], asyncio.Lock()):
            await self._advise(order)

    async def _advise(self, order: dict[str, Any]) -> None:
        apart = self._measuring.apart
        record = await apart(lambda: self._store.load(order["job_id"]))
        if not _is_for(record, order):
            return
        if record.phase is Phase.ADVISING:
            status = await self._advice_on(record, order)
            change = {"advice": status, "phase": None}
            await apart(lambda: self._change(order, lambda now_: now_.model_copy(update=change)))
        await apart(lambda: self._store.forget_advice_ledger(order["job_id"]))

    async def _advice_on(self, record: ScoreRecord, order: dict[str, Any]) -> AdviceStatus:
        try:
            run = await self._measuring.apart(lambda: self._run_of(record, order))
            return await self._adviser.advise(run, await self._measuring.ledger_of_advice(record.job))
        except SidecarError:
            raise
        except Exception:  # noqa: BLE001 - advice is the least of it: the scores stand
            _log.exception("no advice could be given")
            return AdviceStatus.FAILED

    def end_job(self, order: dict[str, Any]) -> None:
        """{job_id} -> there is nothing left to do for it; its texts are deleted if that was asked for."""

        def ended(record: ScoreRecord) -> ScoreRecord:
            # Nobody gives advice any more where its workflow broke before.
            advice = record.advice or AdviceStatus.FAILED
            return record.model_copy(update={"ended": record.ended or now(), "phase": None, "advice": advice})

        record = self._store.load(order["job_id"])
        if not _is_for(record, order):
            return
        # Before its end: whose end is there has nothing left to be deleted.
        if not record.job.store_inputs:
            self._store.forget_texts(record)
        if _is_for(self._change(order, ended), order):
            self._store.deactivate(order["job_id"])

    def close_broken(self, record: ScoreRecord, reason: str) -> None:
        """End a job whose workflow has ended without: `reason` is `CODE: message`. May be repeated."""
        order = {"job_id": record.job.job_id, "attempt": record.job.attempt}
        if record.outcome is None:
            self._finished(order)
            self.settle_job({**order, "result": None, "problem": reason})
        self.end_job(order)


def _is_for(record: ScoreRecord, order: dict[str, Any]) -> bool:
    return record.is_at(order.get("attempt"))


def _ending(result: JobResult | None, problem: str | None) -> tuple[JobOutcome, str | None]:
    if problem:
        return JobOutcome.FAILED, problem
    if result is None:
        return JobOutcome.CANCELLED, "CANCELLED: It was cancelled on request."
    outcome = outcome_of(result)
    if outcome is not JobOutcome.FAILED:
        return outcome, None
    first = next(iter(result.reasons.items()), ("", "no metric has a value"))
    return outcome, f"NOTHING_SCORED: No metric has a value. {': '.join(first)}"


def _taken_back(before: AttemptEnd, problem: str | None) -> dict[str, Any]:
    """Of a retry that has failed or was cancelled: its job is as it was, as its run is."""
    error = problem or "CANCELLED: The retry was cancelled; what the attempt before it has found stands."
    return {**dict(before), "error": error, "phase": None, "before": None}


def _results_content(record: ScoreRecord) -> NotificationContent:
    outcome, result = record.outcome or JobOutcome.FAILED, record.result
    document = {
        "job_id": record.job.job_id,
        "status": record.status,
        "outcome": outcome,
        "run_id": record.job.run_id if result else None,
        "scores": result.scores if result else {},
        "weighted_score": result.weighted_score if result else None,
        "weight_coverage": result.weight_coverage if result else 0,
        "error": record.error,
    }
    message = record.error or f"weighted score {document['weighted_score']}"
    status = _TOLD.get(outcome, WorkflowStatus.COMPLETED)
    return NotificationContent(title="Scores", message=message, status=status, result=document)


def _advice_content(record: ScoreRecord) -> NotificationContent:
    failed = record.advice is AdviceStatus.FAILED
    return NotificationContent(
        title="Optimization advice",
        message=str(record.advice),
        status=WorkflowStatus.FAILED if failed else WorkflowStatus.COMPLETED,
        result={"job_id": record.job.job_id, "run_id": record.job.run_id, "advice_status": record.advice},
    )
