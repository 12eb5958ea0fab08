"""Where in a list a caller goes on. To callers a cursor is a word without a meaning."""

import base64
import binascii
import json
from typing import TypeAlias

from budeval.errors import RequestError

Place: TypeAlias = tuple[str, int, int]
"""(day, page, offset) as of `budeval.runtime.listing`."""


def encoded(place: Place | None) -> str | None:
    """For the caller; None where there is nothing more."""
    return base64.urlsafe_b64encode(json.dumps(place).encode()).decode() if place else None


def decoded(cursor: str | None) -> Place | None:
    """What a caller brings back; None where he begins.

    Raises:
        RequestError: CURSOR_INVALID.
    """
    if cursor is None:
        return None
    try:
        day, page, offset = json.loads(base64.urlsafe_b64decode(cursor))
        return str(day), int(page), int(offset)
    except (ValueError, TypeError, OverflowError, RecursionError, binascii.Error) as error:
        text = "The cursor is not one that this service gave. Leave it out to begin anew."
        raise RequestError(text, code="CURSOR_INVALID", param="cursor") from error
