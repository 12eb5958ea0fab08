"""The frame of every engine's program: a spec is read, signals end it, failures are reported."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

from budeval.engines.in_pod.failure import RunError, report
from budeval.engines.in_pod.files import say

TERMINATED = 143
NEEDED = ("eval_id", "run_id", "attempt", "model", "limit", "datasets", "run_dir", "data_dir", "seconds")

Run = Callable[[dict[str, Any], Mapping[str, str]], None]
"""Takes the spec and the environment; RunError where the run has not become what was asked for."""


class Stopped(BaseException):
    """SIGTERM or SIGINT came."""


class OutOfTime(BaseException):
    """The run's own time limit is over. No `except` on the way takes it for an answer of an endpoint."""


def main(spec_file: str, environment: Mapping[str, str], run: Run) -> int:
    """Run what `run.json` says, by the engine's own `run`. The exit status; 0 means that all is scored."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    try:
        spec = load_spec(spec_file)
        end_after(spec["seconds"])
        run(spec, environment)
    except RunError as error:
        report(error, environment)
        return 3
    except Exception as error:
        report(RunError("ENGINE_FAILED", f"run_in_pod.py failed: {type(error).__name__}"), environment)
        raise
    except OutOfTime as error:
        report(RunError("DEADLINE", str(error)), environment)
        return 3
    except Stopped:
        say("stopped by a signal")
        return TERMINATED
    finally:
        signal.alarm(0)
    return 0


def stop(_number: int, _frame: Any) -> NoReturn:
    """Whatever is under way ends by this exception, and with it the engine."""
    raise Stopped


def end_after(seconds: int) -> None:
    """The run's own time limit, from its start; the Job's deadline must also leave it time to get there."""

    def too_long(_number: int, _frame: Any) -> NoReturn:
        raise OutOfTime(f"The run took longer than its {seconds} s. Raise timeouts.run.")

    signal.signal(signal.SIGALRM, too_long)
    signal.alarm(seconds)


def load_spec(path: str) -> dict[str, Any]:
    """The content of run.json."""
    try:
        with open(path, encoding="utf-8") as file:
            spec: dict[str, Any] = json.load(file)
        for name in NEEDED:
            spec[name]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunError("SPEC_INVALID", f"run.json cannot be used: {type(error).__name__} {error}") from error
    return spec
