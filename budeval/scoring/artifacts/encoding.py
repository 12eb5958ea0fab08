"""How artifacts become bytes: the same ones for the same run, in UTF-8, and JSON that every parser reads."""

import json
import math
from typing import Any

_LINE_SEPARATORS = {separator: f"\\u{ord(separator):04x}" for separator in "\u0085\u2028\u2029"}


def utf8(text: str) -> bytes:
    """The text; a lone surrogate, which no UTF-8 can have, is written as its escape."""
    return text.encode(errors="backslashreplace")


def json_document(value: Any) -> bytes:
    """Strict JSON for people and programs. What is no finite number is null."""
    return utf8(json.dumps(_finite(value), ensure_ascii=False, allow_nan=False, indent=2) + "\n")


def json_line(value: Any) -> str:
    """Strict JSON on one line, whatever a reader takes for the end of a line."""
    line = json.dumps(_finite(value), ensure_ascii=False, allow_nan=False)
    for separator, escape in _LINE_SEPARATORS.items():
        line = line.replace(separator, escape)
    return f"{line}\n"


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {name: _finite(item) for name, item in value.items()}
    return [_finite(item) for item in value] if isinstance(value, list | tuple) else value
