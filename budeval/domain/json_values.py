"""JSON values of any shape that callers may send, as far as every reader of JSON gives them back unchanged.

Whatever is kept passes through readers that take each number for a float (Dapr's do), and through some that
fall over deep nesting.
"""

import math
from typing import Annotated, Any

from pydantic import AfterValidator

LARGEST_INTEGER = 2**53 - 1
"""The largest that every reader of JSON gives back unchanged (RFC 8259); the smallest is its negative."""
DEEPEST = 32
"""Levels of objects and lists; callers mean a few."""


def _readable(document: dict[str, Any]) -> dict[str, Any]:
    """Refuse what whoever walks through it would fall over, or give back as something else."""
    level: list[Any] = [document]
    for _ in range(DEEPEST):
        inner = [item.values() if isinstance(item, dict) else item for item in level]
        children = [child for items in inner for child in items]
        for child in children:
            _require_exact(child)
        level = [child for child in children if isinstance(child, dict | list)]
        if not level:
            return document
    raise ValueError(f"is nested more than {DEEPEST} levels deep")


def _require_exact(value: Any) -> None:
    if isinstance(value, int) and abs(value) > LARGEST_INTEGER:
        raise ValueError(f"holds an integer beyond {LARGEST_INTEGER}: send it as text")
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("holds a number that is not finite")


FreeObject = Annotated[dict[str, Any], AfterValidator(_readable)]
"""An object of any shape: not nested too deeply, every number finite and within `LARGEST_INTEGER`."""
