"""A refusal is believed once it has stood for a while.

An API server that has just started answers 401 and 403 to everybody until it has read its own rules: some
seconds in which nobody must lose an evaluation, or be told that a right is missing.
"""

import logging
import threading
from collections.abc import Sequence
from typing import Any, Protocol

from budeval.ansible.failures import classify
from budeval.errors import ClusterError

PAUSES = (3.0, 6.0, 10.0)
"""Seconds between the tries. A busy machine's API server has taken nine to read its rules."""
_DOUBTED = {"AUTH_FAILED", "FORBIDDEN"}

_log = logging.getLogger(__name__)


class RunsPlaybooks(Protocol):
    """What of the playbook runner is used here; tests put a fake in its place."""

    def run(self, playbook: str, *arguments: Any, **more: Any) -> dict[str, Any]:
        """Run a playbook and return what it published, or raise ClusterError."""

    def close(self) -> None:
        """Take no more runs."""


class PatientRunner:
    """A playbook runner that asks again before it reports that it was refused. Playbooks may be repeated."""

    def __init__(self, runner: RunsPlaybooks, pauses: Sequence[float] = PAUSES) -> None:
        self._runner = runner
        self._pauses = pauses
        self._closing = threading.Event()

    def run(self, playbook: str, *arguments: Any, **more: Any) -> dict[str, Any]:
        """See `PlaybookRunner.run`. Between the tries no worker is held."""
        for pause in self._pauses:
            try:
                found = self._runner.run(playbook, *arguments, **more)
            except ClusterError as error:
                if error.code not in _DOUBTED or self._closing.is_set():
                    raise
                refusal = str(error)
            else:
                refused = _refused_run(found)
                if refused is None:
                    return found
                refusal = refused
            _log.warning("asked again in %.0f s, as an API server that starts may say so: %s", pause, refusal)
            self._closing.wait(pause)
        return self._runner.run(playbook, *arguments, **more)

    def close(self) -> None:
        """Take no more runs, and wait for nothing."""
        self._closing.set()
        self._runner.close()


def _refused_run(found: dict[str, Any]) -> str | None:
    """Why a run was refused, of several that were to be deployed."""
    failures = [item for item in found.get("runs", ()) if "msg" in item]
    refusals = [error for item in failures if (error := classify(item, "Deploy the run")).code in _DOUBTED]
    return str(refusals[0]) if refusals else None
