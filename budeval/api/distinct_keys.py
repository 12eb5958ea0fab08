"""A key that is there twice says two things, and readers of JSON take the last without a word."""

import json
from collections import Counter
from typing import Any

from fastapi import Request

from budeval.errors import RequestError

_LONGEST_NAME = 100
"""Characters of a key in an answer."""


async def require_distinct_keys(request: Request) -> None:
    """Refuse a body in which some object has a key twice. What is no JSON, whoever reads it refuses.

    Raises:
        RequestError: names the key.
    """
    try:
        json.loads(await request.body(), object_pairs_hook=_require_distinct)
    except (ValueError, RecursionError):
        return


def _require_distinct(pairs: list[tuple[str, Any]]) -> None:
    keys = [key for key, _ in pairs]
    if len(set(keys)) == len(keys):
        return
    twice = next(key for key, count in Counter(keys).items() if count > 1)
    name = twice[:_LONGEST_NAME].encode(errors="replace").decode()
    text = f"{name}: this key is there twice, and nobody knows which value is meant."
    raise RequestError(text, status=422, param=name)
