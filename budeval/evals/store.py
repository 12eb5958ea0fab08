"""What the state store keeps of evaluations, and under which keys.

`eval-<id>` the record, `brief-<id>` its line in lists; `dataset-<id>.<arrival>-<sha256>` inline rows;
`observed-<id>` the newest look at its runs;
`logs-<id>-<run>` the tail of a log; `results-<id>-<run>` a run's result and `results-<id>` their index;
`receipt-<id>`: see `receipts`; and the list (`budeval.runtime.listing`).
Of an evaluation that was deleted a tombstone stays in the place of the record.
"""

import hashlib
import json
import re
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any

from budeval.domain.evaluation import EvaluationBrief, EvaluationRecord, Outcome, Tombstone, workflow_id
from budeval.domain.orphans import Standing
from budeval.domain.results import Result
from budeval.errors import RequestError, SidecarError
from budeval.evals.receipts import receipt_key
from budeval.runtime.listing import Listing, readable

Look = Callable[[list[dict[str, Any]]], list[dict[str, Any]]]

_LONGEST_ID = 64
_ID = re.compile(rf"[A-Za-z0-9][A-Za-z0-9_.-]{{0,{_LONGEST_ID - 1}}}")


def rows_digest(rows: str) -> str:
    """By what the rows of an inline dataset are found: their SHA-256."""
    return hashlib.sha256(rows.encode()).hexdigest()


def _rows_key(kept_as: str, digest: str) -> str:
    """Not shared between evaluations: what is deleted with one must not be missed by another."""
    return f"dataset-{kept_as}-{digest}"


def running(eval_id: str) -> RequestError:
    """What can be done only to an evaluation that has ended."""
    text = f"Evaluation {eval_id} has not ended. Wait for its end, or cancel it."
    return RequestError(text, status=409, code="EVALUATION_RUNNING", param="eval_id")


def unknown(eval_id: str) -> RequestError:
    """What is asked of an evaluation that is not there, or not there for whoever asks."""
    text = f"There is no evaluation {eval_id[:_LONGEST_ID]!r}."
    return RequestError(text, status=404, code="EVALUATION_UNKNOWN", param="eval_id")


def require_attempt(record: EvaluationRecord, attempt: int | None) -> None:
    """Refuse what is asked of another attempt than the one at which an evaluation is; None means any.

    Raises:
        RequestError: ATTEMPT_OVER (409).
    """
    evaluation = record.evaluation
    if not record.is_at(attempt):
        text = f"Evaluation {evaluation.eval_id} is at attempt {evaluation.attempt}, not {attempt}."
        raise RequestError(text, status=409, code="ATTEMPT_OVER", param="attempt")


def deleted(eval_id: str) -> RequestError:
    """What is asked of an evaluation that is no more."""
    text = f"Evaluation {eval_id} was deleted."
    return RequestError(text, status=410, code="EVALUATION_DELETED", param="eval_id")


def _record(stored: Any) -> EvaluationRecord:
    """A record as it is stored. Raises EVALUATION_DELETED for a tombstone."""
    if _is_tombstone(stored):
        raise deleted(stored["eval_id"])
    return EvaluationRecord.model_validate(stored)


def _is_tombstone(stored: Any) -> bool:
    return "evaluation" not in stored


def _standing(stored: Any) -> Standing:
    if _is_tombstone(stored):
        return Standing(ended=True, deleted=True)
    return Standing(attempt=stored["evaluation"].get("attempt", 1), ended=stored.get("ended") is not None)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


class EvaluationStore(Listing):
    """Evaluations in the state store, through the sidecar. Nothing queries, so any Dapr store serves."""

    def create(self, record: EvaluationRecord) -> EvaluationRecord:
        """Store a record unless there is one; returns the one that is there now.

        Raises:
            RequestError: EVALUATION_DELETED (410): there was one.
        """
        key = workflow_id(record.evaluation.eval_id)
        existing = _record(self._sidecar.save_state_first(key, record.model_dump(mode="json")))
        self.save_brief(existing)
        return existing

    def save_brief(self, record: EvaluationRecord) -> None:
        """Its line in lists, which each change of the record brings up to date."""
        brief = record.brief
        self._sidecar.save_state(f"brief-{brief.eval_id}", brief.model_dump(mode="json"))

    def _is_open(self, item_id: str) -> bool:
        standing = self.standings([item_id]).get(item_id)
        return standing is not None and not standing.ended

    def find(self, eval_id: str) -> EvaluationRecord | None:
        """The record of an evaluation, None where there is none.

        Raises:
            RequestError: EVALUATION_DELETED (410): there was one.
        """
        stored = self._stored(eval_id)
        return _record(stored) if stored else None

    def tenant_of(self, eval_id: str) -> str | None:
        """Whose evaluation it is, or was before it was deleted; None where there is none."""
        stored = self._stored(eval_id)
        if stored is None:
            return None
        return str((stored if _is_tombstone(stored) else stored["evaluation"]).get("tenant", "default"))

    def is_deleted(self, eval_id: str) -> bool:
        """Whether there was one, or its deletion has begun."""
        stored = self._stored(eval_id)
        return stored is not None and (_is_tombstone(stored) or stored.get("deletion") is not None)

    def _stored(self, eval_id: str) -> Any:
        """The store is not asked for whatever somebody puts into a path."""
        return self._sidecar.get_state(workflow_id(eval_id)) if _ID.fullmatch(eval_id) else None

    def load(self, eval_id: str) -> EvaluationRecord:
        """The record of an evaluation.

        Raises:
            RequestError: EVALUATION_UNKNOWN, EVALUATION_DELETED.
        """
        record = self.find(eval_id)
        if record is None:
            raise unknown(eval_id)
        return record

    def standings(self, eval_ids: Iterable[str]) -> dict[str, Standing]:
        """How it stands with evaluations, by their records; those without one are left out."""
        wanted = [eval_id for eval_id in eval_ids if _ID.fullmatch(eval_id)]
        found = self._sidecar.get_states([workflow_id(eval_id) for eval_id in wanted])
        return {eval_id: _standing(value) for eval_id, value in zip(wanted, found, strict=True) if value}

    def load_all(self, eval_ids: list[str]) -> list[EvaluationRecord]:
        """The records of evaluations that are there, and can be read."""
        keys = [workflow_id(eval_id) for eval_id in eval_ids]
        found = zip(keys, self._sidecar.get_states(keys), strict=True)
        records = [
            readable(EvaluationRecord, value, key)
            for key, value in found
            if value and not _is_tombstone(value)
        ]
        return [record for record in records if record]

    def briefs(self, eval_ids: list[str]) -> list[EvaluationBrief]:
        """The lines of evaluations that are there; a record that was cut off from its line gives one."""
        stored = self._sidecar.get_states([f"brief-{eval_id}" for eval_id in eval_ids])
        found = dict(zip(eval_ids, stored, strict=True))
        missing = [eval_id for eval_id, value in found.items() if value is None]
        records = {record.evaluation.eval_id: record.brief for record in self.load_all(missing)}
        lines = [
            readable(EvaluationBrief, value, f"brief-{eval_id}") if value else records.get(eval_id)
            for eval_id, value in found.items()
        ]
        return [line for line in lines if line]

    def end(self, eval_id: str, outcome: Outcome, attempt: int | None = None) -> bool:
        """The record says that the evaluation has ended. What has ended stays as it ended.

        Returns:
            False where it is at another attempt by now than the one that ended: then nothing is changed.
        """

        def ended(stored: Any) -> Any:
            if _record(stored).ended or attempt not in {None, stored["evaluation"]["attempt"]}:
                return stored
            return {
                **stored,
                "ended": _now(),
                "outcome": outcome.value,
            }

        record = _record(self._sidecar.update_state(workflow_id(eval_id), ended))
        self.save_brief(record)
        return record.ended is not None

    def cancel(
        self, eval_id: str, *, extract: bool, why: str | None = None, attempt: int | None = None
    ) -> EvaluationRecord:
        """Note in the record that it shall end, unless it has. Returns the record as it is then.

        Args:
            eval_id: which.
            extract: read the scores that are there.
            why: where it is not on request.
            attempt: the one that is meant; None for whichever it is at.

        Raises:
            RequestError: ATTEMPT_OVER (409).
        """
        now = _now()
        first = {"requested": now, "extract": False, "why": why or f"It was cancelled on request at {now}."}

        def asked(stored: Any) -> Any:
            record = _record(stored)
            require_attempt(record, attempt)
            if record.ended:
                return stored
            before = stored.get("cancellation") or first
            return {**stored, "cancellation": {**before, "extract": before["extract"] or extract}}

        return _record(self._sidecar.update_state(workflow_id(eval_id), asked))

    def begin_deletion(self, eval_id: str, *, keep_files: bool = False) -> EvaluationRecord:
        """Note in the record of an evaluation that has ended that it shall be deleted: nobody retries it.

        Args:
            eval_id: which.
            keep_files: whether its files on the claim shall stay.

        Raises:
            RequestError: EVALUATION_RUNNING (409); EVALUATION_DELETED (410).
        """
        return self._begin_deletion(eval_id, lambda _: {"keep_files": keep_files})

    def begin_expiry(self, eval_id: str) -> EvaluationRecord:
        """As `begin_deletion`, by retention; files that a deletion was to keep are kept."""

        def noted(stored: dict[str, Any]) -> dict[str, Any]:
            # Older versions did not note what a deletion was to keep: better too much than too little.
            kept = stored.get("keep_files", stored.get("deletion") is not None)
            return {"expiry": stored.get("expiry") or _now(), "keep_files": kept}

        return self._begin_deletion(eval_id, noted)

    def _begin_deletion(
        self, eval_id: str, noted: Callable[[dict[str, Any]], dict[str, Any]]
    ) -> EvaluationRecord:
        def begun(stored: Any) -> Any:
            if not _record(stored).ended:
                raise running(eval_id)
            return {**stored, **noted(stored), "deletion": stored.get("deletion") or _now()}

        return _record(self._sidecar.update_state(workflow_id(eval_id), begun))

    def bury(self, record: EvaluationRecord) -> None:
        """Forget all of an evaluation that has ended; last its record, which becomes a tombstone.

        Cut off, it may be repeated. In the list its id stays, which nobody is shown.
        """
        evaluation = record.evaluation
        eval_id = evaluation.eval_id
        # Before what it leads to, or who reads meanwhile would find it and nothing behind it. The record
        # says which runs there are, also to a repetition.
        self._sidecar.delete_state(f"results-{eval_id}")
        for run in evaluation.runs:
            for kind in ("results", "logs"):
                self._sidecar.delete_state(f"{kind}-{eval_id}-{run.run_id}")
            if run.own and run.own.digest:
                self.forget_rows(record.rows_kept_as, run.own.digest)
        self._sidecar.forget_announcements(evaluation.workflow_id)
        for key in (f"observed-{eval_id}", receipt_key(eval_id), f"brief-{eval_id}"):
            self._sidecar.delete_state(key)
        tombstone = Tombstone(eval_id=eval_id, tenant=evaluation.tenant, deleted=_now())
        self._sidecar.save_state(workflow_id(eval_id), tombstone.model_dump(mode="json"))

    def retry(
        self, eval_id: str, attempt: int, run_ids: list[str], announced: int, arrival: str
    ) -> EvaluationRecord:
        """Begin another attempt with some runs; the results of the others stay.

        Args:
            eval_id: of an evaluation that has ended.
            attempt: the one that has; its runs were looked at.
            run_ids: which runs.
            announced: number of the last event so far.
            arrival: by which its secrets are found.

        Raises:
            RequestError: EVALUATION_RUNNING or ATTEMPT_OVER (409): somebody else has begun one;
                EVALUATION_DELETED (410): its deletion has begun.
        """

        def begun(stored: Any) -> Any:
            record = _record(stored)
            if record.deletion:
                raise deleted(eval_id)
            if not record.ended:
                raise running(eval_id)
            require_attempt(record, attempt)
            kept = [item for item in stored["extraction_results"] or [] if item["run_id"] not in run_ids]
            fresh = dict.fromkeys(
                ("ended", "outcome", "cancellation", "extraction_status", "completeness", "headline")
            )
            evaluation = {**stored["evaluation"], "attempt": stored["evaluation"]["attempt"] + 1}
            news = {
                "retried": run_ids,
                "announced": announced,
                "retry_arrival": arrival,
                "extraction_results": kept,
                "begun": _now(),
            }
            return {**stored, **fresh, **news, "evaluation": evaluation}

        # Before the record: looks of the last attempt are none of this one's, and what began is looked after.
        self._sidecar.delete_state(f"observed-{eval_id}")
        self.activate(eval_id)
        record = _record(self._sidecar.update_state(workflow_id(eval_id), begun))
        self.save_brief(record)
        return record

    def update_workflow_data_in_statestore(self, workflow: str, data: dict[str, Any]) -> None:
        """Merge data into a workflow's record, as the guide has it. May be repeated without harm."""
        self._sidecar.update_state(workflow, lambda stored: {**(stored or {}), **data})

    def save_rows(self, kept_as: str, rows: str) -> str:
        """Keep the rows of an inline dataset. Returns their SHA-256, by which the evaluation finds them."""
        digest = rows_digest(rows)
        self._sidecar.save_state(_rows_key(kept_as, digest), {"schema": 1, "rows": rows})
        return digest

    def rows(self, kept_as: str, digest: str) -> str | None:
        """The rows of an inline dataset."""
        stored = self._sidecar.get_state(_rows_key(kept_as, digest))
        return str(stored["rows"]) if stored else None

    def forget_rows(self, kept_as: str, digest: str) -> None:
        """Delete the rows of an inline dataset. May be repeated."""
        self._sidecar.delete_state(_rows_key(kept_as, digest))

    def save_snapshot(self, eval_id: str, at: datetime, look: Look) -> dict[str, Any]:
        """Keep a look at an evaluation's runs and return the newest; an older one never replaces a newer.

        Ticks count the looks that were kept, whoever looked.

        Args:
            eval_id: whose runs.
            at: when the look began.
            look: from the runs of the look before (none at first) to those of this one.
        """
        taken = at.isoformat()

        def newer(stored: Any) -> Any:
            if stored and stored["at"] > taken:
                return stored
            tick = stored["tick"] + 1 if stored else 1
            runs = look(stored["runs"] if stored else [])
            return {"schema": 1, "tick": tick, "at": taken, "runs": runs}

        snapshot: dict[str, Any] = self._sidecar.update_state(f"observed-{eval_id}", newer)
        return snapshot

    def snapshot(self, eval_id: str) -> dict[str, Any] | None:
        """The newest look at an evaluation's runs."""
        stored: dict[str, Any] | None = self._sidecar.get_state(f"observed-{eval_id}")
        return stored

    def save_log(self, eval_id: str, run_id: str, log: str) -> None:
        """Keep the tail of a run's log; it outlives the pod."""
        self._sidecar.save_state(f"logs-{eval_id}-{run_id}", {"schema": 1, "log": log})

    def log(self, eval_id: str, run_id: str) -> str | None:
        """The tail of a run's log as it was last seen."""
        stored = self._sidecar.get_state(f"logs-{eval_id}-{run_id}")
        return str(stored["log"]) if stored else None

    def save_results(self, eval_id: str, results: list[Result]) -> dict[str, dict[str, Any]]:
        """Keep each run's result under its own key; returns the index, run id -> {key, digest, bytes}."""
        index = {}
        for result in results:
            key = f"results-{eval_id}-{result['run_id']}"
            text = json.dumps(result, sort_keys=True)
            digest = hashlib.sha256(text.encode()).hexdigest()
            index[result["run_id"]] = {"key": key, "digest": digest, "bytes": len(text)}
            self._sidecar.save_state(key, result)
        self._sidecar.save_state(f"results-{eval_id}", {"schema": 1, "runs": index})
        return index

    def results(self, eval_id: str) -> tuple[list[Result], dict[str, dict[str, Any]]] | None:
        """Every run's result in the order of the request, and the index.

        None before there are any, and once a deletion has begun to remove them.

        Raises:
            SidecarError: also where some of those that the index names are not there.
        """
        stored = self._sidecar.get_state(f"results-{eval_id}")
        if stored is None:
            return None
        index: dict[str, dict[str, Any]] = stored["runs"]
        results = self._sidecar.get_states([item["key"] for item in index.values()])
        if None not in results:
            return results, index
        if self.is_deleted(eval_id):
            return None
        raise SidecarError(f"The state store has no results of some runs of evaluation {eval_id}.")

    def load_results(self, eval_id: str) -> list[Result]:
        """Every run's result of an evaluation that is there.

        Raises:
            RequestError: RESULTS_NOT_READY (409) while there are none; EVALUATION_DELETED (410) where its
                deletion has removed them; EVALUATION_UNKNOWN.
        """
        found = self.results(eval_id)
        if found is None:
            # Read after the results: whatever was there before says nothing of why they are gone.
            if self.load(eval_id).deletion:
                raise deleted(eval_id)
            text = f"Evaluation {eval_id} has no results yet. GET /evals/{eval_id} tells how far it is."
            raise RequestError(text, status=409, code="RESULTS_NOT_READY", param="eval_id")
        return found[0]
