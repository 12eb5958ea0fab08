"""Taking secrets out of texts that come from pods and endpoints, which echo what they are given."""

import base64
import json
from collections.abc import Iterable
from typing import Any
from urllib.parse import quote

SHORTEST_SECRET = 8
"""Characters. What is shorter protects nothing (`EMPTY`, `none`), and would blot out ordinary words."""
_INSTEAD = "***"


def redacted(value: Any, secrets: Iterable[str]) -> Any:
    """A JSON value with every secret in its strings replaced; names of fields are ours and stay."""
    # The longest first: of one that has another in it nothing is left.
    hidden = sorted((one for one in secrets if len(one) >= SHORTEST_SECRET), key=len, reverse=True)
    return _redacted(value, hidden) if hidden else value


def spellings(secret: str) -> set[str]:
    """A secret as texts may have it: as it is, quoted by Python or in JSON or a URL, or within base64."""
    quoted = {repr(secret)[1:-1], json.dumps(secret)[1:-1], quote(secret, safe="")}
    return {secret, *quoted, *within_base64(secret.encode(errors="replace"))}


def within_base64(secret: bytes) -> set[str]:
    """By what is before it in the encoded text; characters that it shares with its neighbours left out."""
    found = set()
    for before in range(3):
        encoded = base64.b64encode(bytes(before) + secret).decode()
        found.add(encoded[-(-before * 8 // 6) : (before + len(secret)) * 8 // 6])
    return found


def _redacted(value: Any, hidden: list[str]) -> Any:
    if isinstance(value, str):
        for secret in hidden:
            value = value.replace(secret, _INSTEAD)
        return value
    if isinstance(value, dict):
        return {name: _redacted(item, hidden) for name, item in value.items()}
    return [_redacted(item, hidden) for item in value] if isinstance(value, list) else value
