"""How tests ask: clients of the fake, opened and closed within one event loop as an activity does."""

import asyncio
from typing import Any

from budeval.domain.scoring import MetricOutcome, Sample, Usage
from budeval.scoring.embedder import Embedder, Vector
from budeval.scoring.judge import Judge
from budeval.scoring.limiter import Limiter
from budeval.scoring.replies import AnswerT
from budeval.scoring.score import score_metric
from budeval.scoring.settings import EmbedderSettings, JudgeSettings
from tests.scoring.fake_judge import FakeJudge

FULL = Sample(
    question="When was it?",
    contexts=("It was in 1969.", "It was far away."),
    answer="In 1969.",
    ground_truth="In July 1969.",
    reference_contexts=("It was in 1969.",),
    context_ids=("a", "b"),
    reference_context_ids=("a",),
)
"""Has everything."""


def judge_settings(fake: FakeJudge, **more: Any) -> JudgeSettings:
    """Of the fake."""
    given = {"alias": "j", "base_url": fake.url, "model": "m", "timeout": 30.0, **more}
    return JudgeSettings.model_validate(given)


def embedder_settings(fake: FakeJudge, **more: Any) -> EmbedderSettings:
    """Of the fake."""
    return EmbedderSettings.model_validate({"alias": "e", "base_url": fake.url, "model": "em", **more})


def scored_by(fake: FakeJudge, metric: str, sample: Sample = FULL, **more: Any) -> MetricOutcome:
    """The outcome of a metric, with a judge and an embedder; `more` are settings of the judge."""

    async def run() -> MetricOutcome:
        limiter = Limiter(4)
        async with (
            Judge(judge_settings(fake, **more), limiter) as judge,
            Embedder(embedder_settings(fake), limiter) as embedder,
        ):
            return await score_metric(metric, sample, judge, embedder)

    return asyncio.run(run())


def asked(
    fake: FakeJudge, answer_model: type[AnswerT], prompt: str = "Judge!", **more: Any
) -> tuple[AnswerT, Usage]:
    """One answer of the judge; `more` are its settings."""

    async def run() -> tuple[AnswerT, Usage]:
        async with Judge(judge_settings(fake, **more), Limiter(4)) as judge:
            return await judge.ask(prompt, answer_model)

    return asyncio.run(run())


def embedded(fake: FakeJudge, *texts: str, **more: Any) -> tuple[list[Vector], Usage]:
    """Vectors of texts; `more` are settings of the embedder."""

    async def run() -> tuple[list[Vector], Usage]:
        async with Embedder(embedder_settings(fake, **more), Limiter(4)) as embedder:
            return await embedder.embed(texts)

    return asyncio.run(run())
