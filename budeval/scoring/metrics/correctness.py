"""answer_correctness: three quarters F1 of statements against the ground truth, one quarter similarity.

True positives are the answer's statements that the ground truth supports, false positives its others, false
negatives the ground truth's statements that the answer does not cover.
https://docs.ragas.io/en/v0.4.3/concepts/metrics/available_metrics/answer_correctness/
"""

from budeval.domain.scoring import Sample
from budeval.scoring.metrics.metric import Evidence, Metric, Need, NoValue, Panel, Task, Value
from budeval.scoring.metrics.similarity import similarity_to_truth
from budeval.scoring.metrics.statements import SPLIT_RULES, StatementList
from budeval.scoring.metrics.verdicts import SHAPE, judged, numbered
from budeval.scoring.replies import Answer

_FACTUALITY_WEIGHT, _SIMILARITY_WEIGHT = 0.75, 0.25
_SPLIT_BOTH = Task(
    f"Split the answer and the ground truth, each by itself, into statements. {SPLIT_RULES} "
    'Reply with JSON only: {"answer": ["..."], "ground_truth": ["..."]}'
)
_COMPARE = Task(
    "Judge each numbered statement; the numbers run through both lists. One of the answer: is it supported "
    f"by statements of the ground truth? One of the ground truth: is it contained in the answer? {SHAPE}"
)


class BothStatements(Answer):
    """Of the two texts."""

    answer: StatementList
    ground_truth: StatementList


async def _answer_correctness(sample: Sample, panel: Panel) -> Value | NoValue:
    # The embeddings first: where they fail, no judge needs to be paid.
    similarity = await similarity_to_truth(sample, panel)
    prompt = _SPLIT_BOTH.on(question=sample.question, answer=sample.answer, ground_truth=sample.ground_truth)
    both = await panel.ask(prompt, BothStatements)
    for name, statements in (("answer", both.answer), ("ground truth", both.ground_truth)):
        if not statements:
            return NoValue("no_statements", f"the judge finds no statement in the {name}")
    supported, covered = await _compared(sample.question, both, panel)
    factuality = _f1(supported, covered)
    value = _FACTUALITY_WEIGHT * factuality + _SIMILARITY_WEIGHT * similarity
    parts = {"factuality": factuality, "similarity": similarity}
    return Value(value, (parts, *_evidence(both, supported, covered)))


async def _compared(question: str, both: BothStatements, panel: Panel) -> tuple[list[bool], list[bool]]:
    """The verdicts on the answer's statements, and on the ground truth's."""
    answered = len(both.answer)
    prompt = _COMPARE.on(
        question=question,
        answer=numbered(both.answer),
        ground_truth=numbered(both.ground_truth, answered + 1),
    )
    verdicts = await judged(panel, prompt, answered + len(both.ground_truth))
    return verdicts[:answered], verdicts[answered:]


def _f1(supported: list[bool], covered: list[bool]) -> float:
    """2 TP / (2 TP + FP + FN). There is at least one statement of the answer, so no 0 / 0."""
    true_positives = sum(supported)
    wrong = supported.count(False) + covered.count(False)
    return 2 * true_positives / (2 * true_positives + wrong)


def _evidence(both: BothStatements, supported: list[bool], covered: list[bool]) -> Evidence:
    answer = [
        {"source": "answer", "statement": text, "supported": verdict}
        for text, verdict in zip(both.answer, supported, strict=True)
    ]
    truth = [
        {"source": "ground_truth", "statement": text, "covered": verdict}
        for text, verdict in zip(both.ground_truth, covered, strict=True)
    ]
    return (*answer, *truth)


ANSWER_CORRECTNESS = Metric(
    name="answer_correctness",
    description="3/4 F1 of the answer's statements against the ground truth's, 1/4 semantic similarity.",
    needs=(Need.QUESTION, Need.ANSWER, Need.GROUND_TRUTH),
    measure=_answer_correctness,
    tasks=(_SPLIT_BOTH, _COMPARE),
    needs_embedder=True,
)
