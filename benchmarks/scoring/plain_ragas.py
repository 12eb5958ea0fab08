"""ragas 0.4.3 as its users run it, with its own clients; runs in its own environment (`make ragas`).

Reads jobs, one JSON object on each line of standard input:

    {"base_url", "samples": [fields as ragas calls them], "metrics": [class names], "shape", "in_flight"}

`shape` is "together" (all metrics of all samples at once, as many requests in flight as `in_flight` says)
or "in sequence" (the metrics of a sample one after the other, `in_flight` samples at once). For each job it
prints a line, once all is scored:

    {"seconds", "values": [{metric: value, null for NaN or an error}], "errors": [text]}
"""

import asyncio
import inspect
import json
import math
import os
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

os.environ["RAGAS_DO_NOT_TRACK"] = "true"

import httpx
from openai import AsyncOpenAI
from ragas.embeddings.base import embedding_factory
from ragas.llms import llm_factory
from ragas.metrics import collections

Values = dict[str, float | None]


class _Scorer:
    def __init__(self, client: AsyncOpenAI, names: list[str]) -> None:
        parts = {
            "llm": llm_factory("judge", client=client),
            "embeddings": embedding_factory("openai", model="embedder", client=client),
        }
        self._metrics = {name: _made(getattr(collections, name), parts) for name in names}
        self.errors: list[str] = []

    async def together(self, sample: dict[str, Any]) -> Values:
        values = await asyncio.gather(*(self._one(name, sample) for name in self._metrics))
        return dict(zip(self._metrics, values, strict=True))

    async def in_sequence(self, sample: dict[str, Any]) -> Values:
        return {name: await self._one(name, sample) for name in self._metrics}

    async def _one(self, name: str, sample: dict[str, Any]) -> float | None:
        metric = self._metrics[name]
        given = {field: sample[field] for field in inspect.signature(metric.ascore).parameters}
        try:
            value = float((await metric.ascore(**given)).value)
        except Exception as error:  # noqa: BLE001 - as the reference does: an error is no value
            self.errors.append(f"{name}: {type(error).__name__}: {error}")
            return None
        return value if math.isfinite(value) else None


def _made(kind: Any, parts: dict[str, Any]) -> Any:
    wanted = inspect.signature(kind).parameters
    return kind(**{name: part for name, part in parts.items() if name in wanted or name == "llm"})


async def _done(job: dict[str, Any]) -> dict[str, Any]:
    together = job["shape"] == "together"
    limits = httpx.Limits(max_connections=job["in_flight"]) if together else httpx.Limits()
    async with (
        httpx.AsyncClient(limits=limits, timeout=None, trust_env=False) as http,  # noqa: S113
        AsyncOpenAI(base_url=job["base_url"], api_key="none", max_retries=0, http_client=http) as client,
    ):
        scorer = _Scorer(client, job["metrics"])
        begun = time.monotonic()
        if together:
            values = await asyncio.gather(*(scorer.together(sample) for sample in job["samples"]))
        else:
            values = await _some_at_once(job["in_flight"], scorer.in_sequence, job["samples"])
        seconds = time.monotonic() - begun
    return {"seconds": seconds, "values": values, "errors": scorer.errors}


async def _some_at_once(
    at_once: int, score: Callable[[dict[str, Any]], Awaitable[Values]], samples: list[dict[str, Any]]
) -> list[Values]:
    room = asyncio.Semaphore(at_once)

    async def one(sample: dict[str, Any]) -> Values:
        async with room:
            return await score(sample)

    return await asyncio.gather(*(one(sample) for sample in samples))


def main() -> None:
    """Do the jobs, one after the other."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever libraries print is no answer
    for line in sys.stdin:
        answers.write(json.dumps(asyncio.run(_done(json.loads(line)))) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
