"""Closeness by embeddings: semantic_similarity and answer_relevancy.

Cosines may be negative and stay so in the outcome's `raw_value`; its `value` is cut at 0.
"""

import math
from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from budeval.domain.scoring import Sample
from budeval.scoring.embedder import Vector
from budeval.scoring.metrics.metric import Metric, Need, NoValue, Panel, Task, Value
from budeval.scoring.metrics.statements import says_something
from budeval.scoring.replies import Answer

_QUESTIONS = 3
"""RAGAS' `strictness`."""
# `false` first: weak models take the first of two, and nearly all answers commit themselves to something.
_ASK_BACK = Task(
    f"Write {_QUESTIONS} questions that this text would answer completely, each worded in its own way, in "
    "the language of the text. Say whether the text is noncommittal (evasive, vague or ambiguous), as "
    '"I don\'t know". Reply with JSON only: {"questions": ["...", "...", "..."], "noncommittal": false|true}'
)


def _that_ask(questions: list[str]) -> list[str]:
    return [question for question in questions if says_something(question)]


class Questions(Answer):
    """That an answer might have been given to."""

    questions: Annotated[
        list[str],
        AfterValidator(_that_ask),
        Field(json_schema_extra={"minItems": _QUESTIONS, "maxItems": _QUESTIONS}),
    ]
    noncommittal: bool

    @model_validator(mode="after")
    def _complete(self) -> Self:
        """An answer that commits itself to nothing may well leave no question to ask."""
        if not self.noncommittal and len(self.questions) != _QUESTIONS:
            raise ValueError(f"there must be {_QUESTIONS} questions, not {len(self.questions)}")
        return self


def cosine(one: Vector, other: Vector) -> float:
    """Of the angle between vectors of length 1: -1 to 1, but for rounding."""
    return math.fsum(a * b for a, b in zip(one, other, strict=True))


async def similarity_to_truth(sample: Sample, panel: Panel) -> float:
    """Cosine of answer and ground truth."""
    answer, truth = await panel.embed(sample.answer or "", sample.ground_truth or "")
    return cosine(answer, truth)


async def _semantic_similarity(sample: Sample, panel: Panel) -> Value:
    return Value(await similarity_to_truth(sample, panel))


async def _answer_relevancy(sample: Sample, panel: Panel) -> Value | NoValue:
    """Mean cosine of the question and those the answer would answer; 0 for a noncommittal answer."""
    found = await panel.ask(_ASK_BACK.on(text=sample.answer), Questions)
    if found.noncommittal:
        return Value(0.0, ({"noncommittal": True},))
    question, *others = await panel.embed(sample.question, *found.questions)
    cosines = [cosine(question, other) for other in others]
    pairs = zip(found.questions, cosines, strict=True)
    evidence = tuple({"question": text, "similarity": similarity} for text, similarity in pairs)
    return Value(math.fsum(cosines) / len(cosines), evidence)


SEMANTIC_SIMILARITY = Metric(
    name="semantic_similarity",
    description="Cosine of the embeddings of answer and ground truth (https://arxiv.org/abs/2108.06130).",
    needs=(Need.ANSWER, Need.GROUND_TRUTH),
    measure=_semantic_similarity,
    needs_embedder=True,
)
ANSWER_RELEVANCY = Metric(
    name="answer_relevancy",
    description="Mean cosine of the question and three that the answer would answer; 0 if noncommittal.",
    needs=(Need.QUESTION, Need.ANSWER),
    measure=_answer_relevancy,
    tasks=(_ASK_BACK,),
    needs_embedder=True,
)
