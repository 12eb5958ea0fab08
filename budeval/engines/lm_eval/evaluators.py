"""How a reply is compared with the reference answer: `budeval.domain.evaluation.Evaluator`, for lm-eval.

lm-eval loads this file beside its task files (`process_results: !function evaluators.exact`) and calls a
function with a row and the replies to it; each returns 1.0 for a right reply, 0.0 for a wrong one.
"""

from __future__ import annotations

import re
from decimal import Decimal

ANSWER = "budeval_answer"
THOUGHT_BEGINS, THOUGHT_ENDS = "<think>", "</think>"
# A hyphen after a digit, a letter or a bracket is no sign: "pages 3-5".
NUMBER = re.compile(r"(?:(?<![\w.)])[-\u2212])?(?:(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?|(?<!\d)\.\d+)")
NEXT_QUESTION = re.compile(r"\n[^\S\n]*Question:")
NEAR = Decimal("1e-6")
# "A" and "I" before an ordinary word are words: "A car", "I think", "I'm".
GOES_ON = "is|because|since|as|and|or|but|which|with|for|not|over|rather|while|where|if|so|that|than"
LETTER = (
    r"(?:([B-HJ])(?![\w'\u2019])"
    r"|([AI])(?![\w'\u2019])(?![^\S\n]+(?!(?:" + GOES_ON + r")\b)[a-z]))"
)
WRAPPING = r"(?:[\s({\[*\"'`$\u201c\u2018]|</?\w{1,10}>|\\(?:text|mathrm|mathbf|boxed)\{)*"
# "the answer is (C)", "Answer: **B**", "\boxed{D}"; the last one counts, as a model may argue first.
CONCLUDED = re.compile(
    r"(?:(?i:answer|choice|option)\s*(?i:is|would\s+be|must\s+be|[:=])(?:\s*(?i:option|choice))?:?|\\boxed\{)"
    + WRAPPING
    + LETTER
)
LONE = re.compile(r"(?<![\w'\u2019])" + LETTER)


def exact(row: dict[str, str], replies: list[str]) -> dict[str, float]:
    """The whole reply equals the answer."""
    return {"accuracy": float(said(replies) == row[ANSWER])}


def contains(row: dict[str, str], replies: list[str]) -> dict[str, float]:
    """The answer appears in the reply, in whatever case, as with RULER."""
    return {"accuracy": float(row[ANSWER].lower() in said(replies).lower())}


def last_number(row: dict[str, str], replies: list[str]) -> dict[str, float]:
    """The last number of the reply equals the answer, as with GSM8K."""
    numbers = NUMBER.findall(NEXT_QUESTION.split(said(replies))[0])
    return {"accuracy": float(bool(numbers) and same_number(numbers[-1], row[ANSWER]))}


def choice(row: dict[str, str], replies: list[str]) -> dict[str, float]:
    """The option that the reply names equals the answer."""
    return {"accuracy": float(option(said(replies)) == row[ANSWER])}


def option(text: str) -> str | None:
    """The letter that a text concludes with ("the answer is C"), else the first that stands alone."""
    found = [*CONCLUDED.finditer(text)][-1:] or [*LONE.finditer(text)][:1]
    return found[0].group(1) or found[0].group(2) if found else None


def said(replies: list[str]) -> str:
    """The reply without its reasoning, by OpenCompass' rule (`extract-non-reasoning-content`)."""
    reply = replies[0]
    if THOUGHT_BEGINS not in reply:
        return reply.rpartition(THOUGHT_ENDS)[2].strip()
    kept = []
    rest = 0
    # Not by a regular expression: where thoughts begin and none ends, each would look for its end.
    while (begin := reply.find(THOUGHT_BEGINS, rest)) >= 0 and (end := reply.find(THOUGHT_ENDS, begin)) >= 0:
        kept.append(reply[rest:begin])
        rest = end + len(THOUGHT_ENDS)
    return "".join([*kept, reply[rest:]]).strip()


def same_number(number: str, answer: str) -> bool:
    """Whether both are the same number, however it is written; up to a millionth, as with GSM8K."""
    try:
        plain = number.replace(",", "").replace("\u2212", "-")
        return abs(Decimal(plain) - Decimal(answer)) < NEAR
    except ArithmeticError:  # no number, or one beyond all bounds
        return False
