"""What a judge is asked beside the prompt."""

import asyncio
import json
from typing import Any

import pytest
from pydantic import BaseModel

from budeval.scoring.dialect import Dialects
from budeval.scoring.engines.ragas.shapes import SHAPES
from budeval.scoring.failures import JudgeError
from budeval.scoring.judge import Judge
from budeval.scoring.limiter import Limiter
from budeval.scoring.metrics.correctness import BothStatements
from budeval.scoring.metrics.grounding import Attributions
from budeval.scoring.metrics.similarity import Questions
from budeval.scoring.metrics.statements import Statements
from budeval.scoring.metrics.verdicts import verdicts_of
from tests.scoring.asking import asked, judge_settings
from tests.scoring.fake_judge import FakeJudge, refusal, says

_SHAPES = [Attributions, BothStatements, Questions, Statements, verdicts_of(2), *SHAPES.values()]


@pytest.mark.parametrize("shape", _SHAPES, ids=lambda shape: shape.__name__)
def test_a_schema_says_nothing_that_only_people_read(fake: FakeJudge, shape: type[BaseModel]) -> None:
    """Some endpoints bill it, and the prompt says what is meant; what is required and forbidden stays."""
    fake.will_say(*[says("no answer")] * 2)
    with pytest.raises(JudgeError):
        asked(fake, shape)

    schema = fake.requests[0]["body"]["response_format"]["json_schema"]["schema"]

    assert "title" not in json.dumps(schema)
    assert "description" not in json.dumps(schema)
    assert set(schema["required"]) == set(shape.model_fields) == set(schema["properties"])
    assert schema["additionalProperties"] is False


def _ask(fake: FakeJudge, dialects: Dialects, seed: int | None) -> None:
    async def run() -> None:
        async with Judge(judge_settings(fake), Limiter(1), dialects, seed) as judge:
            await judge.ask("Judge!", Statements)

    asyncio.run(run())


def _bodies(fake: FakeJudge) -> list[dict[str, Any]]:
    return [request["body"] for request in fake.requests]


def test_a_seed_is_sent_where_there_is_one(fake: FakeJudge) -> None:
    """Beside all else, which stays as it is."""
    fake.will_say(*[says({"statements": ["s"]})] * 2)

    _ask(fake, {}, None)
    _ask(fake, {}, 2)

    without, seeded = _bodies(fake)
    assert "seed" not in without
    assert seeded == {**without, "seed": 2}


@pytest.mark.parametrize(
    "words",
    [
        "Unrecognized request argument supplied: seed",
        '{"input": {"response_format": {}, "temperature": 0, "seed": 2}}',
    ],
    ids=["named", "echoed"],
)
def test_who_refuses_a_seed_is_asked_without(fake: FakeJudge, words: str) -> None:
    """From then on; all else is still sent, also to who names all of the request."""
    fake.will_say(refusal(400, words), *[says({"statements": ["s"]})] * 2)
    dialects: Dialects = {}

    _ask(fake, dialects, 2)
    _ask(fake, dialects, 3)

    first, second, third = _bodies(fake)
    assert second == third
    assert first == {**second, "seed": 2}


def test_a_refusal_of_a_seed_that_was_not_sent_is_for_good(fake: FakeJudge) -> None:
    """The same again would be refused again."""
    fake.will_say(refusal(400, "seed"))

    with pytest.raises(JudgeError):
        _ask(fake, {}, None)

    assert len(fake.requests) == 1
