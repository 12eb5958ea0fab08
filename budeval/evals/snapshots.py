"""What was seen of evaluations' runs, kept in the state store: the newest look of each."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from budeval.domain.evaluation import Evaluation
from budeval.domain.observation import TERMINAL, JobFacts, observe
from budeval.evals.store import EvaluationStore


class Snapshots:
    """Keeps snapshots {tick, at, runs} and the logs that came with them."""

    def __init__(self, store: EvaluationStore) -> None:
        self._store = store

    def keep(self, evaluation: Evaluation, facts: Mapping[str, JobFacts]) -> dict[str, Any]:
        """Store a look at an evaluation's runs, and return the newest one, which may be another's."""
        runs = [observe(run.run_id, facts.get(run.run_id)).model_dump(mode="json") for run in evaluation.runs]
        for run_id, item in facts.items():
            if item.log:
                self._store.save_log(evaluation.eval_id, run_id, item.log)
        return self._store.save_snapshot(evaluation.eval_id, datetime.now(UTC), runs)

    def settled(self, eval_id: str) -> list[list[str]]:
        """[eval_id, run_id] of the runs that were seen to have ended: their logs need not be read again."""
        snapshot = self._store.snapshot(eval_id) or {"runs": []}
        return [[eval_id, item["run_id"]] for item in snapshot["runs"] if item["state"] in TERMINAL]
