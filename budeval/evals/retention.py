"""Evaluations that ended long ago are forgotten, or the state store would grow for ever."""

import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from budeval.domain.evaluation import EvaluationRecord
from budeval.errors import RequestError
from budeval.evals.store import EvaluationStore
from budeval.runtime.logs import about

SWEEP_SECONDS = 3600.0

_log = logging.getLogger(__name__)


class Retention:
    """Sweeps the list day by day, the oldest first."""

    def __init__(
        self, store: EvaluationStore, forget: Callable[[EvaluationRecord], None], keep: timedelta
    ) -> None:
        """`forget` deletes what is kept of an evaluation; `keep` is how long after its end it stays."""
        self._store = store
        self._forget = forget
        self._keep = keep

    def sweep(self) -> None:
        """Forget what ended long enough ago, and days of the list of which nothing is left. May be repeated.

        Raises:
            SidecarError: state store or workflow engine did not answer; the next sweep goes on.
        """
        limit = datetime.now(UTC) - self._keep
        for day in self._store.days():
            if day >= limit.date().isoformat():
                return
            gone = [self._is_gone(eval_id, limit) for eval_id in self._store.of_day(day)]
            if all(gone):
                self._store.forget_day(day)

    def _is_gone(self, eval_id: str, limit: datetime) -> bool:
        """Whether nothing is left to be forgotten later."""
        try:
            record = self._store.find(eval_id)
        except RequestError:  # it was deleted
            return True
        if record is None:  # a request that was cut off
            return True
        if record.ended is None or datetime.fromisoformat(record.ended) >= limit:
            return False
        with about(eval_id=eval_id, workflow_id=record.evaluation.workflow_id):
            self._forget(record)
            _log.info("forgotten: it ended on %s", record.ended)
        return True
