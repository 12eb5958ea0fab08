"""How far a run is, for the watcher."""

from __future__ import annotations

import json


class Progress:
    """Progress lines: only when something has changed, never backwards."""

    def __init__(self) -> None:
        self._samples = 0
        self._last: tuple[int, int, str] | None = None

    def tell(self, done: int, total: int, phase: str) -> None:
        """Print a line if it says something new. `infer` counts samples, `evaluate` counts datasets."""
        if phase == "infer":
            self._samples = total
        if self._last and self._last[2] == phase:
            done = max(done, self._last[0])
        now = (done, total, phase)
        if now != self._last:
            self._last = now
            line = {"done": done, "total": total, "phase": phase}
            print("BUDEVAL1-PROGRESS " + json.dumps(line), flush=True)

    def finish(self) -> None:
        """Everything is done, in samples."""
        self.tell(self._samples, self._samples, "done")
