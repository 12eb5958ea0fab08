"""Crashes for real: a process that dies right before its n-th step on a disk, without a word."""

import os
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

_DIED, _FAILED = 3, 4
_STEPS = {"open", "write", "flush", "fsync", "mkdir", "rename", "replace", "unlink", "remove", "rmdir"}
"""Functions of the system and of files; what is only in a file's buffer is lost with the process."""


def dies_at(step: int, work: Callable[[], object]) -> bool:
    """Work in a process that is gone right before its n-th step, the first is 0.

    Returns:
        Whether it died; False where the work had fewer steps and was done.
    """
    child = os.fork()
    if child == 0:
        _work_and_die(step, work)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status in {0, _DIED}, f"the work itself failed: {status}"
    return status == _DIED


def _work_and_die(step: int, work: Callable[[], object]) -> None:
    left = step

    def watch(_frame: FrameType, event: str, called: Any) -> None:
        nonlocal left
        if event == "c_call" and called.__name__ in _STEPS:
            if left == 0:
                os._exit(_DIED)
            left -= 1

    sys.setprofile(watch)
    try:
        work()
    except BaseException:  # noqa: BLE001 - the parent must not be run twice
        os._exit(_FAILED)
    os._exit(0)
