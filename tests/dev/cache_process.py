"""One process that wants a cache entry, as `python -m dev build` would: run by test_cache.py.

Usage: cache_process.py JOURNAL GATE OUTCOME. It writes a line to JOURNAL when it builds, goes on when the
file GATE is there, and then fails if OUTCOME is `fail`. The entry's path is its output.
"""

import sys
import time
from pathlib import Path

from dev import cache


def main(journal: Path, gate: Path, outcome: str) -> None:
    """Ask for the entry, and build it where it is missing."""

    def build(target: Path) -> None:
        (target / "half").write_text("begun")
        with journal.open("a") as lines:
            lines.write("built\n")
        while not gate.exists():
            time.sleep(0.01)
        if outcome == "fail":
            raise RuntimeError("the compiler gave up")
        (target / "whole").write_text("done")

    sys.stdout.write(str(cache.entry("thing", ["1.0"], build, what="building a thing", usually="1 s")))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
