"""Write the artifacts of the tests' runs anew, into `golden/`.

    .venv/bin/python -m tests.scoring.record_artifacts

Do it when a document shall look otherwise, and read what has changed: callers parse these files.
"""

import asyncio
import shutil
from pathlib import Path

from budeval.scoring.advice import Adviser
from budeval.scoring.artifacts import artifact_store, write_artifacts
from tests.scoring.runs import MIXED, many

GOLDEN = Path(__file__).parent / "golden"
RUNS = {
    "one": MIXED.model_copy(update={"run_id": "one"}),
    "many": many().model_copy(update={"run_id": "many"}),
}
"""By the directory that each is in."""


def record(directory: Path) -> None:
    """Write every run with its advice by rules."""
    store = artifact_store(str(directory))
    for run in RUNS.values():
        write_artifacts(run, store)
        asyncio.run(Adviser(store, None).advise(run))
    (directory / ".staging").rmdir()


if __name__ == "__main__":
    shutil.rmtree(GOLDEN, ignore_errors=True)
    record(GOLDEN)
