"""Notices what a workflow's body must not do: its replay would do it again, or differently."""

import datetime as dt
import gc
import os
import pathlib
import random
import secrets
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

# Whoever enters a function of these asks the world for something.
_PYTHON = {"os", "pathlib", "random", "secrets", "socket", "subprocess", "tempfile", "threading", "uuid"}
_BUILT_IN = {"posix", "time", "io", "_io", "_posixsubprocess", "_random", "_socket", "_thread", "select"}
_CLOCK_READERS = {"now", "utcnow", "today"}


@contextmanager
def noticed() -> Iterator[list[str]]:
    """Gather the names of the forbidden functions that this thread calls until the block ends."""
    calls: list[str] = []

    def notice(frame: FrameType, event: str, argument: Any) -> None:
        if event == "call" and frame.f_globals.get("__name__") in _PYTHON:
            calls.append(f"{frame.f_globals['__name__']}.{frame.f_code.co_qualname}")
        elif event == "c_call" and _is_forbidden(argument):
            calls.append(argument.__qualname__)

    gc.disable()  # the finalizers of others would be noticed too
    sys.setprofile(notice)
    try:
        yield calls
    finally:
        sys.setprofile(None)
        gc.enable()


def _is_forbidden(function: Any) -> bool:
    owner = getattr(function, "__self__", None)
    modules = {getattr(function, "__module__", None), type(owner).__module__}
    reads_a_clock = function.__name__ in _CLOCK_READERS and getattr(owner, "__module__", None) == "datetime"
    return reads_a_clock or not modules.isdisjoint(_BUILT_IN | {"random"})


OFFENCES: dict[str, Callable[[], object]] = {
    "open": lambda: open(os.devnull).close(),  # noqa: PTH123
    "read": lambda: pathlib.Path(os.devnull).read_text(),
    "list": lambda: os.listdir("/"),  # noqa: PTH208
    "socket": lambda: socket.socket().close(),
    "subprocess": lambda: subprocess.run(["true"], check=True),
    "environ": lambda: os.environ["PATH"],
    "environ.get": lambda: os.environ.get("PATH"),
    "getenv": lambda: os.getenv("PATH"),
    "time": time.time,
    "monotonic": time.monotonic,
    "sleep": lambda: time.sleep(0),
    "now": lambda: dt.datetime.now(tz=dt.UTC),
    "today": dt.date.today,
    "uuid": uuid.uuid4,
    "random": random.random,
    "randint": lambda: random.randint(1, 2),  # noqa: S311
    "secrets": secrets.token_hex,
    "thread": lambda: threading.Thread(target=int).start(),
}
"""One example each of what a body must not do."""
