"""What callers of scoring send in tests."""

import json
from typing import Any

from budeval.scoring.schema import BatchRequest, ScoreRequest

Json = dict[str, Any]

SAMPLE: Json = {
    "question": "When was it?",
    "answer": "In 1969.",
    "contexts": ["It was in 1969.", "It was far away."],
    "ground_truth": "In July 1969.",
}
"""Has what most metrics need."""
PLAIN = ["exact_match", "non_llm_string_similarity"]
"""Metrics that ask nobody."""


def body(**changes: Any) -> Json:
    """Of one sample; scored by nobody's judgement unless `metrics` are given."""
    return {**SAMPLE, "metrics": PLAIN, **changes}


def request(**changes: Any) -> ScoreRequest:
    """Of one sample."""
    return ScoreRequest.model_validate(body(**changes))


def lines(count: int) -> str:
    """Samples that differ, a line each."""
    return "\n".join(json.dumps({**SAMPLE, "question": f"Question {at}?"}) for at in range(1, count + 1))


def batch(jsonl: str, **changes: Any) -> BatchRequest:
    """Of many samples."""
    return BatchRequest.model_validate({"jsonl": jsonl, "metrics": PLAIN, **changes})
