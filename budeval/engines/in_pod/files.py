"""Small files and lines for people."""

from __future__ import annotations

import json
import os
from typing import Any

TAIL = 1500


def write(path: str, text: str) -> None:
    """A whole file."""
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)


def write_json(path: str, document: dict[str, Any]) -> None:
    """An object as a file, whole or not at all; its directory is made."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    write(path + ".new", json.dumps(document))
    os.replace(path + ".new", path)


def read_json(path: str) -> dict[str, Any] | None:
    """The object in a file, None where there is none."""
    try:
        with open(path, encoding="utf-8") as file:
            document = json.load(file)
    except (OSError, ValueError):
        return None
    return document if isinstance(document, dict) else None


def tail(path: str) -> str:
    """The end of a log; of a line that overwrites itself only its last state."""
    try:
        with open(path, "rb") as file:
            file.seek(max(0, os.path.getsize(path) - 8 * TAIL))
            text = file.read().decode("utf-8", "replace")
    except OSError:
        return "(no log)"
    return "\n".join(line.rpartition("\r")[2] for line in text.rstrip().split("\n"))[-TAIL:]


def say(text: str) -> None:
    """A line for people."""
    print(f"run_in_pod: {text}", flush=True)
