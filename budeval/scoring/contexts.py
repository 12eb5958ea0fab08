"""Contexts as callers of the original scoring manager give them: a list, or one text that holds several."""

import ast
import json
import re
import warnings

BYTE_ORDER_MARK = "\ufeff"
"""What some programs of Windows put before a text in UTF-8; it is no part of it."""
_BLANK_LINES = re.compile(r"\r?\n\s*\n")
_LONGEST_LITERAL = 65_536
"""Characters. Python's parser takes a hundred times the memory of what it reads."""


def parse_contexts(text: str) -> list[str]:
    """The contexts in a text: a JSON list, else a Python one, else what blank lines divide, else itself.

    A list is given as it is; nothing but spaces between blank lines is no context.
    """
    text = text.removeprefix(BYTE_ORDER_MARK)
    listed = _json_list(text)
    if listed is None:
        listed = _python_list(text)
    if listed is None:
        listed = [part for part in _BLANK_LINES.split(text) if part.strip()]
    return listed


def _json_list(text: str) -> list[str] | None:
    try:
        return _texts(json.loads(text))
    except (ValueError, RecursionError):
        return None


def _python_list(text: str) -> list[str] | None:
    stripped = text.strip()
    if not stripped.startswith("[") or len(stripped) > _LONGEST_LITERAL:
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about odd escapes in somebody's text
            return _texts(ast.literal_eval(stripped))
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None


def _texts(value: object) -> list[str] | None:
    """Where it is a list of texts."""
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return value
    return None
