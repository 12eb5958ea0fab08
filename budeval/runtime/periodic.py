"""Work that is done at the start and then again and again, in a thread of its own."""

import logging
import threading
from collections.abc import Callable

from budeval.errors import BudevalError

_log = logging.getLogger(__name__)


class Periodic:
    """Repeats a piece of work until it is stopped, whatever comes of it."""

    def __init__(self, name: str, seconds: float, work: Callable[[], None]) -> None:
        """`seconds` is the pause between two times."""
        self._name = name
        self._seconds = seconds
        self._work = work
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """Begin no more; what is under way ends by itself."""
        self._stopping.set()

    def _run(self) -> None:
        while True:
            try:
                self._work()
            except BudevalError as error:
                _log.warning("%s: %s", self._name, error)
            except Exception:  # noqa: BLE001 - the next time may succeed; without this thread there is none
                _log.exception("%s failed", self._name)
            if self._stopping.wait(self._seconds):
                return
