"""The example subscriber takes what comes, whatever it is."""

import json
from pathlib import Path
from typing import Any

import pytest

from examples.subscriber.app import ArrivalLog


@pytest.mark.parametrize(
    "letter",
    [
        {"id": "poison/1", "data": {"payload": "not a notification"}},
        {"id": "poison/1", "data": {"payload": {"content": ["neither"]}}},
        {"id": "poison/1", "data": "text"},
        {"id": "poison/1"},
    ],
)
def test_a_dead_letter_may_be_anything(letter: dict[str, Any], tmp_path: Path) -> None:
    """A dead letter that the log refused would be lost: nobody keeps the dead letters of dead letters."""
    ArrivalLog(str(tmp_path / "log")).add(letter, dead=True)

    (line,) = (tmp_path / "log").read_text().splitlines()
    told = json.loads(line)
    assert (told["id"], told["dead"]) == ("poison/1", True)
    assert (told["event"], told["status"]) == (None, None)
