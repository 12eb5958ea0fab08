"""An engine as a child process: started in a session of its own, watched, and ended whole."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial

from budeval.engines.in_pod.files import say, tail
from budeval.engines.in_pod.masking import mask

STOP_GRACE_SECONDS = 8.0
POLL_SECONDS = 1.0
RAISING = {signal.SIGTERM, signal.SIGINT, signal.SIGALRM}
"""Signals whose handlers raise: see `program`."""


def run_engine(
    command: list[str],
    run_dir: str,
    environment: Mapping[str, str],
    tell_progress: Callable[[], None],
) -> int:
    """Run an engine to its end in a session of its own; a signal to us ends all of it. Its exit status."""
    log = log_file(run_dir)
    say("starting the engine")
    with open(log, "ab") as output:
        with signals_held() as before:
            engine = subprocess.Popen(
                command,
                env=environment,
                cwd=environment.get("HOME", "/scratch"),
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                # The engine would inherit that they are held. No other thread runs here.
                preexec_fn=partial(signal.pthread_sigmask, signal.SIG_SETMASK, before),  # noqa: PLW1509
            )
        try:
            while is_running(engine):
                tell_progress()
                time.sleep(POLL_SECONDS)
        finally:
            with signals_held():
                end_session(engine)
                mask(run_dir, environment.get("OPENAI_API_KEY", ""))
    tell_progress()
    say(f"the engine ended with exit status {engine.returncode}; the end of its output:")
    say(tail(log))
    return engine.returncode


@contextmanager
def signals_held() -> Iterator[set[int]]:
    """Signals come later: an exception inside `Popen` would leave its lock held, and its next call hang.

    Gives the signals that were held before.
    """
    before = {int(number) for number in signal.pthread_sigmask(signal.SIG_BLOCK, RAISING)}
    try:
        yield before
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def is_running(engine: subprocess.Popen[bytes]) -> bool:
    """Whether it has not ended."""
    with signals_held():
        return engine.poll() is None


def log_file(run_dir: str) -> str:
    """Where the engine's own output goes."""
    return os.path.join(run_dir, ".budeval", "engine.log")


def end_session(engine: subprocess.Popen[bytes]) -> None:
    """End the engine and its workers; those that outlive it would go on writing."""
    for number, patience in ((signal.SIGTERM, STOP_GRACE_SECONDS), (signal.SIGKILL, STOP_GRACE_SECONDS)):
        try:
            os.killpg(engine.pid, number)
        except ProcessLookupError:
            break
        try:
            engine.wait(patience)
        except subprocess.TimeoutExpired:
            continue
    engine.wait()
