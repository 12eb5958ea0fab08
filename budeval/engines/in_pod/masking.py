"""The API key is in no file and no message that a run leaves: engines write down what endpoints echo."""

from __future__ import annotations

import json
import mmap
import os
from typing import Any

from budeval.engines.in_pod.files import say

DATABASE = b"SQLite format 3\0"
SHORTEST_SECRET = 8  # what is shorter protects nothing (EMPTY, none) and stands in ordinary words


def without_key(text: str, key: str) -> str:
    """Servers echo what they refuse."""
    if len(key) < SHORTEST_SECRET:
        return text
    for form in forms_of(key):
        text = text.replace(form, "***")
    return text


def forms_of(key: str) -> list[str]:
    """A key as it is, and as it stands in JSON."""
    return list(dict.fromkeys([key, json.dumps(key)[1:-1]]))


def mask(run_dir: str, key: str) -> None:
    """The engine writes down what an endpoint says, and endpoints echo keys; files stay on the claim."""
    if len(key) < SHORTEST_SECRET:
        return
    for directory, _, names in os.walk(run_dir):
        for name in names:
            path = os.path.join(directory, name)
            if os.path.isfile(path) and not os.path.islink(path) and os.path.getsize(path):
                mask_file(path, [form.encode() for form in forms_of(key)])


def mask_file(path: str, keys: list[bytes]) -> None:
    """Rewrite a file that has the key in it, whatever else is in it.

    A database cannot be rewritten so: it is removed. Engines fill such a cache of replies again.
    """
    try:
        if is_database(path):
            if database_holds(path, keys):
                say(f"removing {path}: it holds the key")
                os.remove(path)
            return
        with open(path, "r+b") as file, mmap.mmap(file.fileno(), 0) as content:
            if all(content.find(key) < 0 for key in keys):  # as nearly always: nothing is copied then
                return
            masked = content[:]
        for key in keys:
            masked = masked.replace(key, b"***")
        with open(path, "wb") as whole:
            whole.write(masked)
    except OSError as error:
        say(f"{path} could not be searched for the key: {error.strerror}")


def is_database(path: str) -> bool:
    """Whether it is one of SQLite's."""
    with open(path, "rb") as file:
        return file.read(len(DATABASE)) == DATABASE


def database_holds(path: str, keys: list[bytes]) -> bool:
    """Whether a value of any row has the key in it; long values are not in one piece in the file.

    Also true of a database that cannot be read: nobody else could read it either.
    """
    import sqlite3  # noqa: PLC0415 - only where there is a database

    try:
        connection = sqlite3.connect(path)
        try:
            tables = [
                name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
            ]
            return any(
                any(key in as_bytes(value) for key in keys)
                for table in tables
                for row in connection.execute('SELECT * FROM "{}"'.format(table.replace('"', '""')))  # noqa: S608
                for value in row
            )
        finally:
            connection.close()
    except sqlite3.Error as error:
        say(f"{path} cannot be read: {error}")
        return True


def as_bytes(value: Any) -> bytes:
    """A value of a database, as it is searched."""
    return value if isinstance(value, bytes) else str(value).encode("utf-8", "surrogateescape")
