"""What ragas 0.4.3 asks judges for, under its own names of the shapes.

The judge's replies are read into these before ragas gets them, so that what it would take for a value in
silence is asked for again, and refused: no verdicts at all, verdicts other than 0 and 1, and statements and
questions without a letter or digit. Blank ones are left out, as natively. Its own prompts tell the judge what
each field means. An end-to-end test holds that these are ragas' own shapes.
"""

from collections.abc import Sequence
from typing import Annotated, Any, Self

from pydantic import AfterValidator, Field, model_validator

from budeval.scoring.metrics.metric import Evidence
from budeval.scoring.metrics.statements import StatementList, says_something, stated
from budeval.scoring.replies import Answer

Verdict = Annotated[int, Field(ge=0, le=1)]


class RagasAnswer(Answer):
    """The base of them."""

    @property
    def states_nothing(self) -> bool:
        """Whether the judge found no statement in a text: the definition gives no value then."""
        return False

    def evidence(self, rank: int) -> Evidence:  # noqa: ARG002 - those that are asked for one by one need it
        """In the words of native evidence; `rank` counts the answers from 1."""
        return ()


class StatementGeneratorOutput(RagasAnswer):
    """The statements of a text."""

    statements: StatementList

    @property
    def states_nothing(self) -> bool:
        """See `RagasAnswer`."""
        return not self.statements


class StatementFaithfulnessAnswer(Answer):
    """On one statement."""

    statement: str
    reason: str
    verdict: Verdict


class NLIStatementOutput(RagasAnswer):
    """Which statements follow from the contexts. ragas does not look whether each was judged."""

    statements: Annotated[list[StatementFaithfulnessAnswer], AfterValidator(stated), Field(min_length=1)]

    def evidence(self, rank: int) -> Evidence:  # noqa: ARG002
        """See `RagasAnswer`."""
        return tuple(
            {"statement": item.statement, "supported": item.verdict == 1, "reason": item.reason}
            for item in self.statements
        )


class AnswerRelevanceOutput(RagasAnswer):
    """A question that the answer might have been given to."""

    question: str
    noncommittal: Verdict

    @model_validator(mode="after")
    def _asked(self) -> Self:
        """As natively: an answer that commits itself to nothing may leave no question to ask."""
        if not self.noncommittal and not says_something(self.question):
            raise ValueError("the question has no letter or digit")
        return self

    def evidence(self, rank: int) -> Evidence:  # noqa: ARG002
        """See `RagasAnswer`."""
        return ({"question": self.question},)


class ContextPrecisionOutput(RagasAnswer):
    """Whether one context is useful."""

    reason: str
    verdict: Verdict

    def evidence(self, rank: int) -> Evidence:
        """See `RagasAnswer`."""
        return ({"context": rank, "useful": self.verdict == 1, "reason": self.reason},)


class ContextRecallClassification(Answer):
    """Of one statement."""

    statement: str
    reason: str
    attributed: Verdict


class ContextRecallOutput(RagasAnswer):
    """Which statements can be attributed to the contexts."""

    classifications: Annotated[list[ContextRecallClassification], AfterValidator(stated)]

    @property
    def states_nothing(self) -> bool:
        """See `RagasAnswer`."""
        return not self.classifications

    def evidence(self, rank: int) -> Evidence:  # noqa: ARG002
        """See `RagasAnswer`."""
        return tuple(
            {"statement": item.statement, "attributed": item.attributed == 1, "reason": item.reason}
            for item in self.classifications
        )


class StatementsWithReason(Answer):
    """One statement, and why it is where it is."""

    statement: str
    reason: str


StatementsWithReasons = Annotated[list[StatementsWithReason], AfterValidator(stated)]


class ClassificationWithReason(RagasAnswer):
    """True positives, false positives and false negatives."""

    TP: StatementsWithReasons
    FP: StatementsWithReasons
    FN: StatementsWithReasons

    @model_validator(mode="after")
    def _something(self) -> Self:
        """Three empty lists are a perfect answer to ragas."""
        if not (self.TP or self.FP or self.FN):
            raise ValueError("each statement belongs to TP, FP or FN; all are empty")
        return self

    def evidence(self, rank: int) -> Evidence:  # noqa: ARG002
        """See `RagasAnswer`."""
        kinds: Sequence[tuple[dict[str, Any], list[StatementsWithReason]]] = (
            ({"source": "answer", "supported": True}, self.TP),
            ({"source": "answer", "supported": False}, self.FP),
            ({"source": "ground_truth", "covered": False}, self.FN),
        )
        return tuple(
            {**kind, "statement": item.statement, "reason": item.reason}
            for kind, items in kinds
            for item in items
        )


_ALL: Sequence[type[RagasAnswer]] = (
    StatementGeneratorOutput,
    NLIStatementOutput,
    AnswerRelevanceOutput,
    ContextPrecisionOutput,
    ContextRecallOutput,
    ClassificationWithReason,
)
SHAPES = {shape.__name__: shape for shape in _ALL}


def evidence_of(answers: Sequence[RagasAnswer]) -> Evidence:
    """What a value rests on, of all that the judge answered to one metric."""
    flags = [answer.noncommittal for answer in answers if isinstance(answer, AnswerRelevanceOutput)]
    if flags and all(flags):
        return ({"noncommittal": True},)
    return tuple(item for rank, answer in enumerate(answers, 1) for item in answer.evidence(rank))
