"""How a reply is compared with the reference answer: `budeval.domain.evaluation.Evaluator`, for lm-eval.

lm-eval loads this file beside its task files (`process_results: !function evaluators.exact`) and calls a
function with a row and the replies to it; each returns 1.0 for a right reply, 0.0 for a wrong one.
"""

from __future__ import annotations

import math
import re

ANSWER = "budeval_answer"
NUMBER = re.compile(r"-?\d+(?:,\d{3})*(?:\.\d+)?")
OPTION = re.compile(r"\b([A-J])\b")


def exact(row: dict[str, str], replies: list[str]) -> dict[str, float]:
    """The whole reply equals the answer."""
    return {"accuracy": float(said(replies) == row[ANSWER])}


def contains(row: dict[str, str], replies: list[str]) -> dict[str, float]:
    """The answer appears in the reply, in whatever case, as with RULER."""
    return {"accuracy": float(row[ANSWER].lower() in said(replies).lower())}


def last_number(row: dict[str, str], replies: list[str]) -> dict[str, float]:
    """The last number of the reply equals the answer, as with GSM8K."""
    numbers = NUMBER.findall(said(replies).split("Question:")[0])
    return {"accuracy": float(bool(numbers) and same_number(numbers[-1], row[ANSWER]))}


def choice(row: dict[str, str], replies: list[str]) -> dict[str, float]:
    """The first option letter of the reply equals the answer."""
    option = OPTION.search(said(replies))
    return {"accuracy": float(option is not None and option.group(1) == row[ANSWER])}


def said(replies: list[str]) -> str:
    """The reply without the reasoning before it."""
    return replies[0].rpartition("</think>")[2].strip()


def same_number(number: str, answer: str) -> bool:
    """Whether both are the same number, however it is written."""
    number = number.replace(",", "")
    try:
        return number == answer or math.isclose(float(number), float(answer), abs_tol=1e-6)
    except ValueError:
        return False
