"""Samples on which a judge has planned opinions, and each metric's value for them, worked out by hand."""

from budeval.domain.scoring import Sample
from tests.scoring.fake_opinionated_judge import Plan, Statement

_ALONG, _ACROSS, _BETWEEN, _NEAR, _AGAINST = [2.0, 0.0], [0.0, 5.0], [3.0, 4.0], [4.0, 3.0], [-1.0, 0.0]
"""Their cosines with the first are 1, 0, 0.6, 0.8 and -1."""


def _statements(name: str, grounded: str, confirmed: str) -> tuple[Statement, ...]:
    """One for each letter: y or n."""
    pairs = zip(grounded, confirmed, strict=True)
    return tuple(
        Statement(f"{name} {number}", ground == "y", confirm == "y")
        for number, (ground, confirm) in enumerate(pairs, 1)
    )


def _plan(
    texts: tuple[str, str, str],
    *,
    answer: tuple[str, str],
    truth: tuple[str, str],
    useful: str,
    questions: tuple[list[float], list[float], list[float]],
    similar: list[float],
    noncommittal: bool = False,
) -> Plan:
    """`answer` and `truth` are what is grounded, and what the other text confirms."""
    question, given, should_be = texts
    asked_back = tuple(f"{question} ({number})" for number in (1, 2, 3))
    contexts = tuple(f"{question} [{rank}]" for rank in range(1, len(useful) + 1))
    return Plan(
        sample=Sample(question=question, answer=given, ground_truth=should_be, contexts=contexts),
        answer=_statements(given, *answer),
        truth=_statements(should_be, *truth),
        useful=tuple(letter == "y" for letter in useful),
        questions=(asked_back[0], asked_back[1], asked_back[2]),
        noncommittal=noncommittal,
        vectors={
            question: _ALONG,
            given: _ALONG,
            should_be: similar,
            **dict(zip(asked_back, questions, strict=True)),
        },
    )


PLANS = (
    _plan(
        ("When did they land?", "They landed in 1969, in May.", "They landed in July 1969."),
        answer=("yn", "yn"),
        truth=("yy", "yn"),
        useful="yny",
        questions=(_ALONG, _ALONG, _ALONG),
        similar=_BETWEEN,
    ),
    _plan(
        ("Who was first?", "Armstrong, then Aldrin.", "Armstrong was the first."),
        answer=("yyy", "yyy"),
        truth=("yn", "yy"),
        useful="ny",
        questions=(_ALONG, _ACROSS, _BETWEEN),
        similar=_ALONG,
    ),
    _plan(
        ("How far is it?", "A day's walk.", "About 384,400 km."),
        answer=("n", "n"),
        truth=("nnn", "nnn"),
        useful="nn",
        questions=(_ACROSS, _ACROSS, _ACROSS),
        similar=_ACROSS,
    ),
    _plan(
        ("登月在哪一年", "在1969年。", "1969年7月。"),
        answer=("ynny", "yynn"),
        truth=("yyny", "ynny"),
        useful="yyny",
        questions=(_NEAR, _NEAR, _NEAR),
        similar=_NEAR,
    ),
    _plan(
        ("متى كان ذلك؟", "كان ذلك عام 1969.", "في يوليو 1969."),
        answer=("yyn", "nyy"),
        truth=("yyy", "yyn"),
        useful="nny",
        questions=(_ALONG, _ALONG, _ACROSS),
        similar=_ALONG,
    ),
    _plan(
        ("What did it cost?", "I don't know.", "25.8 billion dollars."),
        answer=("n", "n"),
        truth=("y", "n"),
        useful="y",
        questions=(_ALONG, _ALONG, _ALONG),
        similar=_BETWEEN,
        noncommittal=True,
    ),
    _plan(
        ("Was it a hoax?", "It was not.", "No, it was real."),
        answer=("y", "y"),
        truth=("ynyny", "yyyyy"),
        useful="yyy",
        questions=(_AGAINST, _AGAINST, _AGAINST),
        similar=_AGAINST,
    ),
)

VALUES = {
    "faithfulness": (1 / 2, 1.0, 0.0, 1 / 2, 2 / 3, 0.0, 1.0),
    "context_recall": (1.0, 1 / 2, 0.0, 3 / 4, 1.0, 1.0, 3 / 5),
    "context_precision": ((1 + 2 / 3) / 2, 1 / 2, 0.0, (1 + 1 + 3 / 4) / 3, 1 / 3, 1.0, 1.0),
    "context_utilization": ((1 + 2 / 3) / 2, 1 / 2, 0.0, (1 + 1 + 3 / 4) / 3, 1 / 3, 1.0, 1.0),
    "answer_relevancy": (1.0, (1 + 0 + 0.6) / 3, 0.0, 0.8, 2 / 3, 0.0, 0.0),
    "semantic_similarity": (0.6, 1.0, 0.0, 0.8, 1.0, 0.6, 0.0),
    "answer_correctness": (
        0.75 * (2 / 4) + 0.25 * 0.6,  # TP 1, FP 1, FN 1
        0.75 * 1 + 0.25 * 1,  # TP 3
        0.0,  # TP 0
        0.75 * (4 / 8) + 0.25 * 0.8,  # TP 2, FP 2, FN 2
        0.75 * (4 / 6) + 0.25 * 1,  # TP 2, FP 1, FN 1
        0.75 * 0 + 0.25 * 0.6,  # TP 0
        0.75 * 1 - 0.25 * 1,  # TP 1
    ),
}
"""Of each plan, in their order."""
