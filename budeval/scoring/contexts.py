"""Contexts as callers of the original scoring manager give them: a list, or one text that holds several."""

import ast
import json
import re
import warnings
from typing import Any

BYTE_ORDER_MARK = "\ufeff"
"""What some programs of Windows put before a text in UTF-8; it is no part of it."""
_BLANK_LINES = re.compile(r"\r?\n\s*\n")
_ENTRY = re.compile(
    r"""\s*([uU]?'(?:[^'\\\n]|\\.)*'|[uU]?"(?:[^"\\\n]|\\.)*"|None|nan)(?:\s*,|\s|(?=\]))""", re.DOTALL
)
"""Of a list in Python, with a comma or a space behind it. None and nan stand where a table has nothing."""
_LONGEST_LITERAL = 65_536
"""Characters of a list of more than texts: Python's parser takes a hundred times the memory of it."""


def parse_contexts(text: str) -> list[Any]:
    """The contexts in a text: a JSON list, else a Python one, else what blank lines divide, else itself.

    A list is given as it is, also where an entry is no text: whoever takes lists refuses it. Nothing but
    spaces between blank lines is no context.
    """
    text = text.removeprefix(BYTE_ORDER_MARK)
    listed = _json_list(text)
    if listed is None:
        listed = _python_list(text.strip())
    if listed is None:
        listed = [part for part in _BLANK_LINES.split(text) if part.strip()]
    return listed


def _json_list(text: str) -> list[Any] | None:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, list) else None


def _python_list(text: str) -> list[Any] | None:
    if not text.startswith("["):
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about odd escapes in somebody's text
            entries = _entries(text)
            if entries is not None or len(text) > _LONGEST_LITERAL:
                return entries
            value = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None
    return value if isinstance(value, list) else None


def _entries(text: str) -> list[str | None] | None:
    """Of a list of texts; None where it is none.

    Texts with a space between are two: so numpy prints its lists, which Python would read as one glued text.
    """
    entries: list[str | None] = []
    end = 1
    while entry := _ENTRY.match(text, end):
        entries.append(None if entry[1] == "nan" else ast.literal_eval(entry[1]))
        end = entry.end()
    return entries if text[end:].strip() == "]" else None
