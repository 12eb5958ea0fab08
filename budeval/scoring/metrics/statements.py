"""Texts as lists of statements that can be judged one by one."""

from typing import Annotated

from pydantic import AfterValidator

from budeval.scoring.replies import Answer

SPLIT_RULES = (
    "Each states one fact, is understood without the others (names, no pronouns), and keeps the text's "
    "language. Add nothing. A text that states no fact, as a greeting, gives an empty list."
)


def _without_blanks(texts: list[str]) -> list[str]:
    return [text.strip() for text in texts if text.strip()]


StatementList = Annotated[list[str], AfterValidator(_without_blanks)]


class Statements(Answer):
    """Of one text; none where it states nothing."""

    statements: StatementList
