"""Crashes for real: a process that dies at its n-th step on a disk, without a word."""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

_DIED, _FAILED = 3, 4
_STEPS = {"open", "os.rename", "os.mkdir", "os.remove", "os.rmdir"}


def dies_at(step: int, directory: Path, work: Callable[[], object]) -> bool:
    """Work in a process that is gone right before its n-th step below a directory, the first is 0.

    Returns:
        Whether it died; False where the work had fewer steps and was done.
    """
    child = os.fork()
    if child == 0:
        _work_and_die(step, directory, work)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status in {0, _DIED}, f"the work itself failed: {status}"
    return status == _DIED


def _work_and_die(step: int, directory: Path, work: Callable[[], object]) -> None:
    left = step

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal left
        if event in _STEPS and str(arguments[0]).startswith(str(directory)):
            if left == 0:
                os._exit(_DIED)
            left -= 1

    sys.addaudithook(watch)
    try:
        work()
    except BaseException:  # noqa: BLE001 - the parent must not be run twice
        os._exit(_FAILED)
    os._exit(0)
