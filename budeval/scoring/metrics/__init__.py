"""The metrics, after RAGAS 0.4.3's definitions, with prompts of our own.

Where the values differ on the same judgements:

- no statements: undetermined, where answer_correctness takes factuality for 1 and others give NaN;
- average precision has no epsilon: 1 is 1, not 0.99999999997;
- a noncommittal flag is one for the answer, not one for each question, all of which must say so;
- a zero embedding fails, where relevancy gives NaN and answer_correctness takes the similarity for 0;
- cosines are cut to [0, 1], with the definition's own value beside it;
- non_llm_context_recall counts a similarity of exactly 0.5 as found, as the precision does in RAGAS too;
- texts are compared in NFC, and blank ones are missing: nothing is an exact match of nothing.

Where fewer calls ask for the same: the contexts of a ranking are judged in one call, the three questions of
answer_relevancy are written in one, the statements of both texts of answer_correctness too.
"""

from collections.abc import Mapping
from types import MappingProxyType

from budeval.scoring.metrics.correctness import ANSWER_CORRECTNESS
from budeval.scoring.metrics.grounding import CONTEXT_RECALL, FAITHFULNESS
from budeval.scoring.metrics.ids import ID_CONTEXT_PRECISION, ID_CONTEXT_RECALL
from budeval.scoring.metrics.metric import Metric, Need
from budeval.scoring.metrics.ranking import CONTEXT_PRECISION, CONTEXT_UTILIZATION
from budeval.scoring.metrics.similarity import ANSWER_RELEVANCY, SEMANTIC_SIMILARITY
from budeval.scoring.metrics.texts import (
    EXACT_MATCH,
    NON_LLM_CONTEXT_PRECISION,
    NON_LLM_CONTEXT_RECALL,
    STRING_SIMILARITY,
)

__all__ = ["METRICS", "Metric", "Need"]

_ALL = (
    FAITHFULNESS,
    ANSWER_RELEVANCY,
    CONTEXT_PRECISION,
    CONTEXT_UTILIZATION,
    CONTEXT_RECALL,
    ANSWER_CORRECTNESS,
    SEMANTIC_SIMILARITY,
    EXACT_MATCH,
    STRING_SIMILARITY,
    ID_CONTEXT_PRECISION,
    ID_CONTEXT_RECALL,
    NON_LLM_CONTEXT_PRECISION,
    NON_LLM_CONTEXT_RECALL,
)

METRICS: Mapping[str, Metric] = MappingProxyType({metric.name: metric for metric in _ALL})
