"""What each metric costs: requests to the judge, and the tokens of all that they say."""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from statistics import fmean
from typing import Any

from benchmarks.scoring import running
from benchmarks.scoring.running import Endpoints, PlainRagas
from benchmarks.scoring.samples import JUDGED, plan_of, samples
from budeval.domain.scoring import Sample
from tests.scoring.fake_judge import served
from tests.scoring.fake_opinionated_judge import FakeOpinionatedJudge

CONTEXT_CHARS = (None, 500, 1000, 2000)
"""As they are, and stretched: the longer the contexts, the less counts what is said around them."""

Count = Callable[[str], int]
Row = dict[str, Any]


def measure(count: Count) -> dict[str, Any]:
    """A row for each length of contexts and metric; `count` tells the tokens of a text."""
    lengths = [len(context) for sample in samples() for context in sample.contexts]
    with PlainRagas() as ragas:
        rows = [
            {
                "context_chars": chars,
                "metric": metric,
                "native": _by_native(samples(chars), metric, count),
                "ragas": _by_ragas(samples(chars), metric, count, ragas),
            }
            for chars in CONTEXT_CHARS
            for metric in JUDGED
        ]
    return {"samples": len(samples()), "own_context_chars": round(fmean(lengths)), "rows": rows}


def _by_native(chosen: Sequence[Sample], metric: str, count: Count) -> Row:
    with _judge(chosen) as judge:
        endpoints = Endpoints.scripted(judge.url, in_flight=8)
        running.scored(endpoints.native(), endpoints, chosen, [metric])
        return _cost(judge, count)


def _by_ragas(chosen: Sequence[Sample], metric: str, count: Count, ragas: PlainRagas) -> Row:
    with _judge(chosen) as judge:
        ragas.score(judge.url, chosen, [metric])
        return _cost(judge, count)


@contextmanager
def _judge(chosen: Sequence[Sample]) -> Iterator[FakeOpinionatedJudge]:
    judge = FakeOpinionatedJudge(map(plan_of, chosen))
    with served(judge):
        yield judge


def _cost(judge: FakeOpinionatedJudge, count: Count) -> Row:
    bodies = [request["body"] for request in judge.requests]
    said = [_said(body) for body in bodies if "messages" in body]
    return {
        "calls": len(said),
        "embedding_calls": len(bodies) - len(said),
        "chars": sum(map(len, said)),
        "tokens": sum(map(count, said)),
    }


def _said(body: dict[str, Any]) -> str:
    """All that a request has for the model to read: messages, and the schema where it is not in them."""
    texts = [message["content"] for message in body["messages"]]
    schema = body.get("response_format", {}).get("json_schema")
    return "\n".join([*texts, json.dumps(schema)] if schema else texts)
