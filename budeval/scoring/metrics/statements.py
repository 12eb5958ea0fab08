"""Texts as lists of statements that can be judged one by one."""

from collections.abc import Callable
from typing import Annotated, Protocol, TypeVar

from pydantic import AfterValidator

from budeval.scoring.replies import Answer

T = TypeVar("T")

SPLIT_RULES = (
    "Each states one fact, is understood without the others (names, no pronouns), and keeps the text's "
    "language. Add nothing. A text that states no fact, as a greeting, gives an empty list."
)


class Judged(Protocol):
    """A statement with what the judge says of it."""

    @property
    def statement(self) -> str:
        """Its text."""


JudgedT = TypeVar("JudgedT", bound=Judged)


def says_something(text: str) -> bool:
    """Whether it has a letter or a digit, of any script: blanks, and dots in place of a text, have none."""
    return any(character.isalnum() for character in text)


def stated(items: list[JudgedT]) -> list[JudgedT]:
    """The judged statements that state something.

    Raises:
        ValueError: none does, though there are some that are not blank: the judge has copied placeholders.
    """
    return _saying(items, lambda item: item.statement)


def _saying(items: list[T], text_of: Callable[[T], str]) -> list[T]:
    found = [item for item in items if says_something(text_of(item))]
    if not found and any(text_of(item).strip() for item in items):
        raise ValueError("no statement has a letter or a digit")
    return found


def _trimmed(texts: list[str]) -> list[str]:
    return [text.strip() for text in _saying(texts, str)]


StatementList = Annotated[list[str], AfterValidator(_trimmed)]
"""Those that state something, as of `stated`."""


class Statements(Answer):
    """Of one text; none where it states nothing."""

    statements: StatementList
