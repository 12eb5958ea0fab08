"""An engine as a child process."""

import os
import signal
import threading
from pathlib import Path
from typing import Any

import pytest

from budeval.engines.in_pod.engine_process import is_running, run_engine
from budeval.engines.in_pod.program import Stopped, stop


class FakeEngine:
    """Gets a signal while it is asked, as `Popen.poll` may while it holds its lock."""

    answered = False

    def poll(self) -> None:
        """It runs."""
        signal.pthread_kill(threading.get_ident(), signal.SIGTERM)  # the tests have other threads
        self.answered = True


def test_a_signal_waits_until_the_engine_has_been_asked() -> None:
    """An exception in between would leave the lock of `Popen` held for ever."""
    engine: Any = FakeEngine()
    before = signal.signal(signal.SIGTERM, stop)

    try:
        with pytest.raises(Stopped):
            is_running(engine)
    finally:
        signal.signal(signal.SIGTERM, before)

    assert engine.answered


def test_an_engine_gets_its_signals(tmp_path: Path) -> None:
    """What is held here while it is started is not held there."""
    (tmp_path / ".budeval").mkdir()
    held = "import signal; print('held', sorted(signal.pthread_sigmask(signal.SIG_BLOCK, [])))"

    status = run_engine(
        ["python3", "-c", held], str(tmp_path), {**os.environ, "HOME": str(tmp_path)}, lambda: None
    )

    assert status == 0
    assert "held []" in (tmp_path / ".budeval" / "engine.log").read_text()
