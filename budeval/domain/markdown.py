"""Foreign text in Markdown: as text, whatever is in it."""

import re

_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f]")
"""Not those that are spaces."""
_MARKUP = re.compile(r"([\\`*\[\]<>&|~$]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9]))")
"""An underscore within a word is none."""
_BLOCK = re.compile(r"^(\d*)([-+#=.)])")
"""What makes a heading, a list or a rule where a line begins with it."""
_LINKED_BY_ITSELF = re.compile(r"(?<=/)(?=/)|(?<=www)(?=\.)|(?<=@)(?=\S)", re.IGNORECASE)
"""Places within addresses, mails and names that GitHub's flavour makes links of without any markup."""
_GAP = "&#8203;"
"""A space of no width. Escapes do not serve: mails and names are looked for when those are undone."""
_TICKS = re.compile(r"`+")


def one_line(text: str, limit: int | None = None) -> str:
    """The text on one line without control characters, cut to so many characters."""
    line = " ".join(_CONTROL.sub("\ufffd", text).split())
    return line if limit is None or len(line) <= limit else f"{line[: limit - 1].rstrip()}\u2026"


def escaped(text: str, limit: int | None = None) -> str:
    """The text on one line, in which nothing is markup: no link, no image, no HTML, no table, no heading.

    What would be a link without markup has a space of no width in it.

    Args:
        text: whatever it is.
        limit: characters of it that are shown at most.
    """
    inline = _LINKED_BY_ITSELF.sub(_GAP, _MARKUP.sub(r"\\\1", one_line(text, limit)))
    return _BLOCK.sub(r"\1\\\2", inline)


def code(text: str) -> str:
    """The text as a code span on one line; not for cells of tables, in which a `|` would end it."""
    line = one_line(text)
    ticks = "`" * (_longest_ticks(line) + 1)
    padding = " " if line[:1] in {"`", ""} or line[-1] == "`" else ""
    return f"{ticks}{padding}{line}{padding}{ticks}"


def fenced(text: str) -> str:
    """The text as a block, its lines as they are."""
    fence = "`" * max(3, _longest_ticks(text) + 1)
    return f"{fence}text\n{text}\n{fence}"


def _longest_ticks(text: str) -> int:
    return max((len(ticks) for ticks in _TICKS.findall(text)), default=0)
