"""The API key is in no file and no message that a run leaves: engines write down what endpoints echo."""

from __future__ import annotations

import mmap
import os

from budeval.engines.in_pod.files import say

SHORTEST_SECRET = 8  # what is shorter protects nothing (EMPTY, none) and stands in ordinary words


def without_key(text: str, key: str) -> str:
    """Servers echo what they refuse."""
    return text.replace(key, "***") if len(key) >= SHORTEST_SECRET else text


def mask(run_dir: str, key: str) -> None:
    """The engine writes down what an endpoint says, and endpoints echo keys; files stay on the claim."""
    if len(key) < SHORTEST_SECRET:
        return
    for directory, _, names in os.walk(run_dir):
        for name in names:
            path = os.path.join(directory, name)
            if os.path.isfile(path) and not os.path.islink(path) and os.path.getsize(path):
                mask_file(path, key.encode())


def mask_file(path: str, key: bytes) -> None:
    """Rewrite a file that has the key in it, whatever else is in it."""
    try:
        with open(path, "r+b") as file, mmap.mmap(file.fileno(), 0) as content:
            if content.find(key) < 0:  # as nearly always: nothing is copied then
                return
            masked = content[:].replace(key, b"***")
        with open(path, "wb") as whole:
            whole.write(masked)
    except OSError as error:
        say(f"{path} could not be searched for the key: {error.strerror}")
