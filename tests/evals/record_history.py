"""Take the history of a workflow out of a sidecar's SQLite state store, for `histories/`.

    .venv/bin/python -m tests.evals.record_history <stack>/dapr/budeval-state.db <instance id> <name>

Do it when a workflow is new, or has changed under a new name: a history that does not fit any more is the
warning that instances under way would fail.
"""

import base64
import json
import sqlite3
import sys
from pathlib import Path

from dapr.ext.workflow._durabletask.internal import protos as pb
from google.protobuf import json_format  # type: ignore[import-untyped]

_HISTORIES = Path(__file__).parent / "histories"


def main(database: str, instance: str, name: str) -> None:
    """Write `histories/<name>.json`."""
    key = f"budeval||dapr.internal.default.budeval.workflow||{instance}||history-%"
    with sqlite3.connect(f"file:{database}?mode=ro", uri=True) as store:
        rows = store.execute("select value from state where key like ? order by key", (key,)).fetchall()
    events = [pb.HistoryEvent.FromString(base64.b64decode(value)) for (value,) in rows]
    document = [json_format.MessageToDict(event) for event in events]
    (_HISTORIES / f"{name}.json").write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
