"""Characters that nobody sees: they decide neither whether there is a text, nor how it begins."""

import unicodedata

_CATEGORIES = {"Zs", "Zl", "Zp", "Cc", "Cf"}
"""Spaces, controls and formatting, as zero-width ones. Not what this Python's Unicode does not know yet (Cn):
the emoji and Han of a later version are to be seen."""


def is_invisible(character: str) -> bool:
    """Whether it only takes space, or not even that."""
    return unicodedata.category(character) in _CATEGORIES
