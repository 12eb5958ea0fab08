"""What was paid for once is not paid for again, and stands for nothing else."""

import asyncio

import pytest

from budeval.scoring.judge import Judge
from budeval.scoring.ledger import MemoryLedger
from budeval.scoring.limiter import Limiter
from budeval.scoring.metrics.metric import Panel
from budeval.scoring.replies import Answer
from tests.scoring.asking import judge_settings
from tests.scoring.fake_judge import FakeJudge, says


class _Mood(Answer):
    happy: bool


@pytest.mark.parametrize(("second", "turn", "calls"), [("m", 1, 1), ("other", 1, 2), ("m", 2, 2)])
def test_an_answer_stands_for_its_model_and_its_turn_alone(
    fake: FakeJudge, second: str, turn: int, calls: int
) -> None:
    """After a retry the settings may name another model: its judgement is another one."""
    ledger = MemoryLedger()

    async def ask(model: str, turn: int) -> bool:
        async with Judge(judge_settings(fake, model=model), Limiter(1)) as judge:
            return (await Panel(judge, None, ledger).ask("How?", _Mood, turn)).happy

    fake.will_say(says({"happy": True}), says({"happy": False}))
    first = asyncio.run(ask("m", 1))
    again = asyncio.run(ask(second, turn))

    assert (first, again) == (True, calls == 1)
    assert len(fake.requests) == calls
