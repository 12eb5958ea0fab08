"""Run a command to its end and keep its output for the error that it may cause."""

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from dev.errors import CommandFailedError

_TAIL_LINES = 25


def run(
    command: Sequence[str | Path],
    *,
    cwd: Path | None = None,
    environment: Mapping[str, str] | None = None,
    stdin: str | None = None,
    timeout: float | None = None,
) -> str:
    """Run `command`, return its standard output.

    Args:
        command: program and arguments; never a shell line.
        cwd: where to run it.
        environment: added to this process's own.
        stdin: given to the command; without it standard input is empty.
        timeout: seconds after which the command is killed.

    Raises:
        CommandFailedError: it could not be started, took too long, or ended with an error.
    """
    words = [str(word) for word in command]
    try:
        done = subprocess.run(
            words,
            cwd=cwd,
            env={**os.environ, **(environment or {})},
            input=stdin if stdin is not None else "",
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            timeout=timeout,
        )
    except OSError as error:
        raise CommandFailedError(f"{words[0]} could not be started: {error}") from error
    except subprocess.TimeoutExpired as error:
        raise CommandFailedError(f"`{' '.join(words)}` did not end within {timeout:.0f} s") from error
    if done.returncode:
        tail = "\n".join((done.stdout + done.stderr).strip().splitlines()[-_TAIL_LINES:])
        raise CommandFailedError(f"`{' '.join(words)}` ended with {done.returncode}:\n{tail}")
    return done.stdout
