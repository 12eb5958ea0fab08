"""Credentials that go into a header of HTTP."""

import re

_HEADER_TEXT = re.compile(r"[!-~]+")


def sendable(credential: str) -> str | None:
    """Without the line's end that it has from a file; None unless the rest is printable ASCII without spaces.

    What a header cannot carry is to be refused before: libraries quote it when they refuse it.
    """
    text = credential.strip()
    return text if _HEADER_TEXT.fullmatch(text) else None
