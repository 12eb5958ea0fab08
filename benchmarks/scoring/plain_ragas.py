"""ragas 0.4.3 as its users run it, with its own clients; runs in its own environment (`make ragas`).

Reads one JSON object on standard input:

    {"base_url", "samples": [fields as ragas calls them], "metrics": [class names], "shape", "in_flight"}

`shape` is "together" (all metrics of all samples at once, as many requests in flight as `in_flight` says)
or "in sequence" (the metrics of a sample one after the other, `in_flight` samples at once).
Prints one:

    {"seconds": of the scoring alone, "values": [{metric: value, or null for NaN or an error}], "errors": [text]}
"""

import asyncio
import inspect
import json
import math
import os
import sys
import time
from typing import Any

os.environ["RAGAS_DO_NOT_TRACK"] = "true"

import httpx
from openai import AsyncOpenAI
from ragas.embeddings.base import embedding_factory
from ragas.llms import llm_factory
from ragas.metrics import collections


class _Scorer:
    def __init__(self, client: AsyncOpenAI, names: list[str], errors: list[str]) -> None:
        parts = {
            "llm": llm_factory("judge", client=client),
            "embeddings": embedding_factory("openai", model="embedder", client=client),
        }
        self._metrics = {name: _made(getattr(collections, name), parts) for name in names}
        self._errors = errors

    async def one(self, name: str, sample: dict[str, Any]) -> float | None:
        metric = self._metrics[name]
        given = {field: sample[field] for field in inspect.signature(metric.ascore).parameters}
        try:
            value = float((await metric.ascore(**given)).value)
        except Exception as error:  # noqa: BLE001 - as the reference does: an error is no value
            self._errors.append(f"{name}: {type(error).__name__}: {error}")
            return None
        return value if math.isfinite(value) else None

    async def together(self, sample: dict[str, Any]) -> dict[str, float | None]:
        values = await asyncio.gather(*(self.one(name, sample) for name in self._metrics))
        return dict(zip(self._metrics, values, strict=True))

    async def in_sequence(self, sample: dict[str, Any]) -> dict[str, float | None]:
        return {name: await self.one(name, sample) for name in self._metrics}


def _made(kind: Any, parts: dict[str, Any]) -> Any:
    wanted = inspect.signature(kind).parameters
    return kind(**{name: part for name, part in parts.items() if name in wanted or name == "llm"})


async def _scored(job: dict[str, Any]) -> dict[str, Any]:
    together = job["shape"] == "together"
    limits = httpx.Limits(max_connections=job["in_flight"]) if together else httpx.Limits()
    errors: list[str] = []
    async with (
        httpx.AsyncClient(limits=limits, timeout=None, trust_env=False) as http,  # noqa: S113
        AsyncOpenAI(base_url=job["base_url"], api_key="none", max_retries=0, http_client=http) as client,
    ):
        scorer = _Scorer(client, job["metrics"], errors)
        await scorer.together(job["samples"][0])  # connections and imports are not what is measured
        begun = time.monotonic()
        if together:
            values = await asyncio.gather(*(scorer.together(sample) for sample in job["samples"]))
        else:
            values = await _some_at_once(scorer, job)
        seconds = time.monotonic() - begun
    return {"seconds": seconds, "values": values, "errors": errors}


async def _some_at_once(scorer: _Scorer, job: dict[str, Any]) -> list[dict[str, float | None]]:
    room = asyncio.Semaphore(job["in_flight"])

    async def one(sample: dict[str, Any]) -> dict[str, float | None]:
        async with room:
            return await scorer.in_sequence(sample)

    return await asyncio.gather(*(one(sample) for sample in job["samples"]))


def main() -> None:
    """Do one job."""
    json.dump(asyncio.run(_scored(json.load(sys.stdin))), sys.stdout)


if __name__ == "__main__":
    main()
