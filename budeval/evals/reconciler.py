"""Finishes what a crash has cut between an evaluation's record and the start of its workflow."""

import logging
import threading

from budeval.errors import BudevalError
from budeval.evals.intake import Start
from budeval.evals.store import EvaluationStore

_EVERY_SECONDS = 60.0
_NEWEST = 500
"""Evaluations that are looked at: a cut is minutes old, not weeks."""

_log = logging.getLogger(__name__)


class Reconciler:
    """A thread that looks at the start and then every minute."""

    def __init__(self, store: EvaluationStore, start: Start) -> None:
        self._store = store
        self._start = start
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="reconciler", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """Look no more; a look under way ends by itself."""
        self._stopping.set()

    def look(self) -> None:
        """Start the workflow of every evaluation that has a record, has not ended, and has none.

        Raises:
            SidecarError: the state store or the engine does not answer.
        """
        ids, _ = self._store.newest(None, _NEWEST)
        for record in self._store.load_all(ids):
            if record.ended is None:
                self._start(record)

    def _run(self) -> None:
        while True:
            try:
                self.look()
            except BudevalError as error:
                _log.warning("could not look for cut evaluations: %s", error)
            except Exception:  # noqa: BLE001 - the next look may succeed; without this thread nobody looks
                _log.exception("looking for cut evaluations failed")
            if self._stopping.wait(_EVERY_SECONDS):
                return
