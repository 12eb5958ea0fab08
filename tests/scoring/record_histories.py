"""Write the histories of `score_sample` anew, for `histories/`.

    .venv/bin/python -m tests.scoring.record_histories

They are played turn by turn on the SDK's executor, not taken from a sidecar. Do it when the workflow is new,
or has changed under a new name: a history that does not fit any more is the warning that instances under way
would fail.
"""

import json
from pathlib import Path

from google.protobuf import json_format  # type: ignore[import-untyped]

from tests.scoring.stories import RECORDED

_HISTORIES = Path(__file__).parent / "histories"


def main() -> None:
    """Write `histories/<name>.json` of each story."""
    _HISTORIES.mkdir(exist_ok=True)
    for name, begin in RECORDED.items():
        story = begin()
        story.run()
        document = [json_format.MessageToDict(event) for event in story.replay.history]
        (_HISTORIES / f"{name}.json").write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
