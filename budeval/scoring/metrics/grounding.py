"""What of a text rests on the contexts: faithfulness of the answer, context_recall of the ground truth.

Both are the share of a text's statements that follow from the contexts, and undetermined where a text states
nothing. RAGAS, https://arxiv.org/abs/2309.15217, and
https://docs.ragas.io/en/v0.4.3/concepts/metrics/available_metrics/ (faithfulness, context_recall).
"""

from typing import Annotated

from pydantic import AfterValidator

from budeval.domain.scoring import Sample
from budeval.scoring.metrics.metric import Evidence, Metric, Need, NoValue, Panel, Task, Value
from budeval.scoring.metrics.statements import SPLIT_RULES, Statements, stated
from budeval.scoring.metrics.verdicts import SHAPE, judged, numbered
from budeval.scoring.replies import Answer

_SPLIT = Task(
    f'Split the answer into statements. {SPLIT_RULES} Reply with JSON only: {{"statements": ["..."]}}'
)
_INFER = Task(
    "Judge each numbered statement: can it be inferred from the contexts alone, without other knowledge? "
    f"{SHAPE}"
)
_ATTRIBUTE = Task(
    "Split the ground truth into its sentences, word for word; judge each: is it attributable to the "
    'contexts? Reply with JSON only: {"statements": [{"statement": "...", "attributed": true|false}]}'
)


class Attribution(Answer):
    """Of one sentence."""

    statement: str
    attributed: bool


class Attributions(Answer):
    """Of the ground truth."""

    statements: Annotated[list[Attribution], AfterValidator(stated)]


async def _faithfulness(sample: Sample, panel: Panel) -> Value | NoValue:
    split = await panel.ask(_SPLIT.on(question=sample.question, answer=sample.answer), Statements)
    statements = split.statements
    if not statements:
        return NoValue("no_statements", "the judge finds no statement in the answer")
    prompt = _INFER.on(contexts=sample.contexts, statements=numbered(statements))
    verdicts = await judged(panel, prompt, len(statements))
    pairs = zip(statements, verdicts, strict=True)
    return _share(verdicts, tuple({"statement": text, "supported": verdict} for text, verdict in pairs))


async def _context_recall(sample: Sample, panel: Panel) -> Value | NoValue:
    prompt = _ATTRIBUTE.on(
        question=sample.question, contexts=sample.contexts, ground_truth=sample.ground_truth
    )
    answer = await panel.ask(prompt, Attributions)
    found = answer.statements
    if not found:
        return NoValue("no_statements", "the judge finds no statement in the ground truth")
    return _share(
        [statement.attributed for statement in found], tuple(statement.model_dump() for statement in found)
    )


def _share(verdicts: list[bool], evidence: Evidence) -> Value:
    return Value(sum(verdicts) / len(verdicts), evidence)


FAITHFULNESS = Metric(
    name="faithfulness",
    description="The share of the answer's statements that can be inferred from the contexts.",
    needs=(Need.QUESTION, Need.ANSWER, Need.CONTEXTS),
    measure=_faithfulness,
    tasks=(_SPLIT, _INFER),
)
CONTEXT_RECALL = Metric(
    name="context_recall",
    description="The share of the ground truth's statements that can be attributed to the contexts.",
    needs=(Need.QUESTION, Need.CONTEXTS, Need.GROUND_TRUTH),
    measure=_context_recall,
    tasks=(_ATTRIBUTE,),
)
