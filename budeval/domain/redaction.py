"""Taking secrets out of texts that come from pods and endpoints, which echo what they are given."""

from collections.abc import Iterable
from typing import Any

SHORTEST_SECRET = 8
"""Characters. What is shorter protects nothing (`EMPTY`, `none`), and would blot out ordinary words."""
_INSTEAD = "***"


def redacted(value: Any, secrets: Iterable[str]) -> Any:
    """A JSON value with every secret in its strings replaced; names of fields are ours and stay."""
    hidden = [secret for secret in secrets if len(secret) >= SHORTEST_SECRET]
    return _redacted(value, hidden) if hidden else value


def _redacted(value: Any, hidden: list[str]) -> Any:
    if isinstance(value, str):
        for secret in hidden:
            value = value.replace(secret, _INSTEAD)
        return value
    if isinstance(value, dict):
        return {name: _redacted(item, hidden) for name, item in value.items()}
    return [_redacted(item, hidden) for item in value] if isinstance(value, list) else value
