"""What was seen of evaluations' runs, kept in the state store: the newest look of each."""

from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from typing import Any

from budeval.domain.evaluation import EvaluationRecord
from budeval.domain.observation import TERMINAL, JobFacts, RunObservation, RunState, observe
from budeval.domain.redaction import redacted, spellings
from budeval.evals.store import EvaluationStore
from budeval.runtime.vault import Vault

_TEXTS = {"log", "events", "message", "failed_message", "unschedulable", "termination"}
NOTHING_SEEN: dict[str, Any] = {"tick": 0, "runs": []}


class Snapshots:
    """Keeps snapshots {tick, at, runs} and the logs that came with them, without the API key."""

    def __init__(self, store: EvaluationStore, vault: Vault) -> None:
        self._store = store
        self._vault = vault

    def newest(self, eval_id: str) -> dict[str, Any]:
        """The newest look that anybody kept, tick 0 where there is none."""
        return self._store.snapshot(eval_id) or NOTHING_SEEN

    def keep(
        self, record: EvaluationRecord, facts: Mapping[str, JobFacts], begun: datetime
    ) -> dict[str, Any]:
        """Store a look at an evaluation's runs.

        Args:
            record: of the evaluation; once it has ended its Jobs are gone, and nothing is kept any more.
            facts: run id -> what the cluster listed.
            begun: when the look began: of two that overlap the one that began later counts.

        Returns:
            The newest snapshot, which may be another's.

        Raises:
            SealError: the key, which logs must not show, cannot be read.
        """
        eval_id = record.evaluation.eval_id
        if record.ended:
            return self.newest(eval_id)
        key = spellings(self._vault.open(record.sealed_as)["api_key"])
        # Before anything is cut from it: half a key is still one.
        shown = {run_id: _without(key, item) for run_id, item in facts.items()}
        runs = [
            observe(run.run_id, shown.get(run.run_id)).model_dump(mode="json") for run in record.current.runs
        ]
        snapshot = self._store.save_snapshot(eval_id, begun, lambda before: _with_what_stays(before, runs))
        if snapshot["at"] == begun.isoformat():  # otherwise the logs of a later look are there
            for run_id, item in shown.items():
                if item.log:
                    self._store.save_log(eval_id, run_id, item.log)
        return snapshot

    def keep_refusals(self, eval_id: str, refusals: list[RunObservation]) -> None:
        """Runs of which no Job could be made: no look will find one."""
        if refusals:
            runs = [item.model_dump(mode="json") for item in refusals]
            self._store.save_snapshot(eval_id, datetime.now(UTC), lambda before: _with_refused(before, runs))

    def settled(self, eval_id: str) -> list[list[str]]:
        """[eval_id, run_id] of the runs that have ended and whose logs were read since."""
        runs = self.newest(eval_id)["runs"]
        return [[eval_id, item["run_id"]] for item in runs if item["state"] in TERMINAL and not _unread(item)]


def _unread(run: dict[str, Any]) -> bool:
    return bool(run.get("log_unread"))


def _without(key: Collection[str], facts: JobFacts) -> JobFacts:
    return JobFacts.model_validate(_shown("", facts.model_dump(mode="json"), key))


def _shown(name: str, value: Any, key: Collection[str]) -> Any:
    """Without the key in what pods and endpoints may have said; a state stays one, even if it is the key."""
    if isinstance(value, dict):
        return {inner: _shown(inner, item, key) for inner, item in value.items()}
    return redacted(value, key) if name in _TEXTS else value


def _with_what_stays(before: list[dict[str, Any]], runs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """How a run ended stays, whatever is seen later; and so do the samples that its log has told of."""
    known = {item["run_id"]: item for item in before}
    return [_merged(known.get(item["run_id"]), item) for item in runs]


def _with_refused(before: list[dict[str, Any]], refusals: list[dict[str, Any]]) -> list[dict[str, Any]]:
    new = {item["run_id"]: item for item in refusals}
    return [item for item in before if item["run_id"] not in new] + refusals


def _merged(before: dict[str, Any] | None, seen: dict[str, Any]) -> dict[str, Any]:
    if before is None:
        return seen
    never_made = before["state"] == RunState.BLOCKED and before["job"] is None
    if before["state"] in TERMINAL:
        read_now = _unread(before) and not _unread(seen)
        return {**before, "log_unread": False} if read_now else before
    if never_made and seen["state"] == RunState.GONE:
        return before
    return seen | {"progress": seen["progress"] or before["progress"]}
