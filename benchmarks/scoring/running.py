"""Running engines: ours in this process, ragas as its users run it in its own."""

import asyncio
import json
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from benchmarks.scoring.samples import OF_THE_REFERENCE
from budeval.domain.scoring import MetricOutcome, Sample
from budeval.scoring.engines.base import Order, ScoringEngine
from budeval.scoring.engines.native import NativeEngine
from budeval.scoring.engines.ragas.engine import RagasEngine
from budeval.scoring.ledger import MemoryLedger
from budeval.scoring.limiter import Limiters
from budeval.scoring.settings import EmbedderSettings, JudgeSettings

_RAGAS_PYTHON = Path(__file__).resolve().parents[2] / ".venv-ragas" / "bin" / "python"
_PLAIN_RAGAS = Path(__file__).with_name("plain_ragas.py")
_CLASSES = {
    "faithfulness": "Faithfulness",
    "answer_relevancy": "AnswerRelevancy",
    "context_precision": "ContextPrecision",
    "context_recall": "ContextRecall",
    "context_utilization": "ContextUtilization",
    "answer_correctness": "AnswerCorrectness",
}
"""Of ragas, by our names of the metrics."""


class Endpoints:
    """A judge and an embedder."""

    def __init__(self, judge: JudgeSettings, embedder: EmbedderSettings) -> None:
        self.judge = judge
        self.embedder = embedder

    @classmethod
    def scripted(cls, base_url: str, in_flight: int) -> "Endpoints":
        """Both at one address, which takes that many requests at once."""
        common = {"base_url": base_url, "concurrency": in_flight}
        judge = JudgeSettings.model_validate({"alias": "j", "model": "judge", **common})
        return cls(judge, EmbedderSettings.model_validate({"alias": "e", "model": "embedder", **common}))

    def native(self) -> NativeEngine:
        """The native engine."""
        return NativeEngine(Limiters([self.judge, self.embedder]))

    @contextmanager
    def ragas(self) -> Iterator[RagasEngine]:
        """Our engine ragas, with its process started."""
        engine = RagasEngine(Limiters([self.judge, self.embedder]), _RAGAS_PYTHON)
        try:
            scored(engine, self, [Sample(question="q", answer="a", ground_truth="a")], ["exact_match"])
            yield engine
        finally:
            engine.close()


def scored(
    engine: ScoringEngine, endpoints: Endpoints, samples: Sequence[Sample], metrics: Sequence[str]
) -> tuple[float, list[list[MetricOutcome]]]:
    """Seconds, and for each sample the outcomes; everything is asked for at once."""

    async def one(sample: Sample, metric: str) -> MetricOutcome:
        order = Order(metric, sample, endpoints.judge, endpoints.embedder)
        return await engine.score(order, MemoryLedger())

    async def run() -> tuple[float, list[MetricOutcome]]:
        begun = time.monotonic()
        outcomes = await asyncio.gather(*(one(sample, metric) for sample in samples for metric in metrics))
        return time.monotonic() - begun, outcomes

    seconds, flat = asyncio.run(run())
    return seconds, [flat[at : at + len(metrics)] for at in range(0, len(flat), len(metrics))]


class PlainRagas:
    """The program `plain_ragas`; a context manager."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [str(_RAGAS_PYTHON), "-I", str(_PLAIN_RAGAS)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()

    def score(
        self,
        base_url: str,
        samples: Sequence[Sample],
        metrics: Sequence[str] = OF_THE_REFERENCE,
        shape: str = "together",
        in_flight: int = 8,
    ) -> dict[str, Any]:
        """What it prints.

        Raises:
            RuntimeError: a metric failed, so that nothing can be compared.
        """
        job = {
            "base_url": base_url,
            "samples": [_as_ragas_calls_it(sample) for sample in samples],
            "metrics": [_CLASSES[metric] for metric in metrics],
            "shape": shape,
            "in_flight": in_flight,
        }
        if not self._process.stdin or not self._process.stdout:
            raise RuntimeError("the pipes are closed")
        self._process.stdin.write(json.dumps(job) + "\n")
        self._process.stdin.flush()
        found: dict[str, Any] = json.loads(self._process.stdout.readline())
        if found["errors"]:
            raise RuntimeError(f"ragas failed: {found['errors'][0]}")
        return found


def _as_ragas_calls_it(sample: Sample) -> dict[str, Any]:
    return {
        "user_input": sample.question,
        "response": sample.answer,
        "reference": sample.ground_truth,
        "retrieved_contexts": list(sample.contexts),
    }
