"""Progress on standard error: what is being done, how long it usually takes, how long it took."""

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

_HEARTBEAT_SECONDS = 15.0
_start = time.monotonic()


def say(text: str) -> None:
    """Print one line with the seconds since the command began."""
    sys.stderr.write(f"[{time.monotonic() - _start:6.1f} s] {text}\n")
    sys.stderr.flush()


@contextmanager
def step(what: str, usually: str = "") -> Iterator[None]:
    """Announce `what`, repeat it while it lasts, and say how long it took.

    Args:
        what: in the progressive form, as in "building Dapr".
        usually: the duration to expect on two cores, as in "5 min".
    """
    say(f"{what} ..." + (f" (usually {usually})" if usually else ""))
    began = time.monotonic()
    done = threading.Event()

    def beat() -> None:
        while not done.wait(_HEARTBEAT_SECONDS):
            say(f"  still {what} ({time.monotonic() - began:.0f} s)")

    heartbeat = threading.Thread(target=beat, daemon=True)
    heartbeat.start()
    try:
        yield
    except BaseException:
        say(f"{what}: failed after {time.monotonic() - began:.1f} s")
        raise
    finally:
        done.set()
        heartbeat.join()
    say(f"{what}: done in {time.monotonic() - began:.1f} s")
