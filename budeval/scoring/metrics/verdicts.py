"""Numbered items to the judge, a verdict for each number back."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Annotated

from pydantic import AfterValidator, Field, create_model

from budeval.scoring.metrics.metric import Panel
from budeval.scoring.replies import Answer

SHAPE = 'Reply with JSON only, each number once: {"verdicts": [{"number": 1, "verdict": true|false}]}'
"""The end of a task that `verdicts_of` belongs to. As of all shapes, a copy of it is no answer."""


class Verdict(Answer):
    """Of one item."""

    number: int
    verdict: bool


class Verdicts(Answer):
    """Of all items, in their order."""

    verdicts: list[Verdict]


@lru_cache(maxsize=256)
def verdicts_of(count: int) -> type[Verdicts]:
    """What is asked for `count` items: each number from 1 on exactly once.

    The count is in the schema, so that judges that are held to it cannot leave one out.
    """
    exactly = Field(min_length=count, max_length=count)
    return create_model(
        "Verdicts",
        __base__=Verdicts,
        verdicts=(Annotated[list[Verdict], exactly, AfterValidator(_in_order)], ...),
    )


def _in_order(verdicts: list[Verdict]) -> list[Verdict]:
    if sorted(verdict.number for verdict in verdicts) != list(range(1, len(verdicts) + 1)):
        raise ValueError(f"there must be one verdict for each number from 1 to {len(verdicts)}")
    return sorted(verdicts, key=lambda verdict: verdict.number)


def numbered(items: Sequence[str], first: int = 1) -> dict[str, str]:
    """Items as the judge gets them."""
    return {str(number): item for number, item in enumerate(items, first)}


async def judged(panel: Panel, prompt: str, count: int) -> list[bool]:
    """The verdicts on the `count` numbered items in a prompt, in their order.

    Raises:
        JudgeError: judge_output_invalid too where the judge did not judge each item once.
    """
    answer = await panel.ask(prompt, verdicts_of(count))
    return [verdict.verdict for verdict in answer.verdicts]
