"""Keeps evaluations and faults in step, so that every fault meets evaluations that are under way."""

import threading

AT_ONCE = 8
"""Evaluations that may have begun beyond those that the faults so far are meant for."""


class Pace:
    """Who is ahead waits: an evaluation for its share of the faults, a fault for its share of evaluations.

    Neither waits for the other at the same time: an evaluation waits only where more of them have begun than
    the faults so far ask for, a fault only where fewer have.
    """

    def __init__(self, evaluations: int, faults: int) -> None:
        self._evaluations = evaluations
        self._faults = faults
        self._begun = 0
        self._struck = 0
        self._over = False
        self._moved = threading.Condition()

    def begin(self) -> None:
        """Return when another evaluation may begin, and count it; at once where all is over."""
        with self._moved:
            self._moved.wait_for(self._may_begin)
            self._begun += 1
            self._moved.notify_all()

    def end(self) -> None:
        """Let nobody wait any more."""
        with self._moved:
            self._over = True
            self._moved.notify_all()

    def _may_begin(self) -> bool:
        if self._over:
            return True
        ahead = self._begun - AT_ONCE
        return self._struck == self._faults or ahead * self._faults < self._struck * self._evaluations

    def await_strike(self) -> None:
        """Return when another fault may strike."""
        with self._moved:
            self._moved.wait_for(lambda: self._begun * self._faults >= self._struck * self._evaluations)

    def struck(self) -> None:
        """Count a fault, or one that had no victim."""
        with self._moved:
            self._struck += 1
            self._moved.notify_all()
