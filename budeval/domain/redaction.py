"""Taking secrets out of texts of pods, endpoints and API servers, which echo what they are given."""

import base64
import json
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Any
from urllib.parse import quote

SHORTEST_SECRET = 8
"""Characters. What is shorter protects nothing (`EMPTY`, `none`), and would blot out ordinary words."""
SECRET_VALUES = "secret_values"  # noqa: S105 - the name of some
"""By this name, wherever it is in what a playbook is given, stands what nobody may be told."""
_INSTEAD = "***"
_ESCAPED_BY_GO = str.maketrans({"<": r"\u003c", ">": r"\u003e", "&": r"\u0026"})


def _by_python(text: str) -> str:
    return repr(text)[1:-1]


def _in_json(text: str) -> str:
    return json.dumps(text)[1:-1]


def _in_json_by_go(text: str) -> str:
    """As API servers and webhooks write it."""
    return _in_json(text).translate(_ESCAPED_BY_GO)


_QUOTINGS: tuple[Callable[[str], str], ...] = (str, _by_python, _in_json, _in_json_by_go)


def redacted(value: Any, secrets: Iterable[str], names: Collection[str] = ()) -> Any:
    """A JSON value with every secret in its strings replaced.

    Names of fields are ours and stay, and so does a string that is one of `names`, whatever is in it.
    """
    # The longest first: of one that has another in it nothing is left.
    hidden = sorted((one for one in secrets if len(one) >= SHORTEST_SECRET), key=len, reverse=True)
    return _redacted(value, hidden, names) if hidden else value


def spellings(secret: str) -> set[str]:
    """A secret as texts may have it: as it is, quoted by Python or in JSON or a URL, or within base64.

    Quoted twice, too: an API server's answer is JSON, and what it quotes in there was quoted before.
    """
    quoted = {outer(inner(secret)) for inner in _QUOTINGS for outer in _QUOTINGS}
    return {*quoted, quote(secret, safe=""), *within_base64(secret.encode(errors="replace"))}


def texts_in(document: Any, *, secret: bool) -> set[str]:
    """The texts in a JSON value: those by the name of `SECRET_VALUES`, or all others."""
    return {text for text, hidden in _texts(document, hidden=False) if hidden is secret}


def within_base64(secret: bytes) -> set[str]:
    """By what is before it in the encoded text; characters that it shares with its neighbours left out."""
    found = set()
    for before in range(3):
        encoded = base64.b64encode(bytes(before) + secret).decode()
        found.add(encoded[-(-before * 8 // 6) : (before + len(secret)) * 8 // 6])
    return found


def _redacted(value: Any, hidden: list[str], names: Collection[str]) -> Any:
    if isinstance(value, str):
        return value if value in names else _without(value, hidden)
    if isinstance(value, dict):
        return {name: _redacted(item, hidden, names) for name, item in value.items()}
    return [_redacted(item, hidden, names) for item in value] if isinstance(value, list) else value


def _without(text: str, hidden: list[str]) -> str:
    for secret in hidden:
        text = text.replace(secret, _INSTEAD)
    return text


def _texts(value: Any, *, hidden: bool) -> Iterator[tuple[str, bool]]:
    if isinstance(value, str):
        yield value, hidden
    elif isinstance(value, dict):
        for name, item in value.items():
            yield from _texts(item, hidden=hidden or name == SECRET_VALUES)
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item, hidden=hidden)
