"""What a metric had asked when it was cut off is told, though nobody waited for the answers."""

import asyncio
import threading
from pathlib import Path

import pytest

from budeval.domain.score_job import ScoreRecord
from budeval.domain.scoring import Usage
from budeval.scoring.failures import EndpointBusyError
from tests.scoring.asking import judge_settings
from tests.scoring.desk import Desk
from tests.scoring.fake_judge import YES, FakeJudge, Reply, refusal, says
from tests.scoring.measured import accepted, order, outcome, score
from tests.scoring.replies import for_context_recall

_ONE_CALL = Usage(calls=1, prompt_tokens=100, completion_tokens=10)


@pytest.fixture
def desk(fake: FakeJudge, tmp_path: Path) -> Desk:
    """Of the fake."""
    return Desk(fake, tmp_path)


def _cancelled_at(desk: Desk, record: ScoreRecord, fake: FakeJudge, requests: int) -> None:
    """Score all metrics of a job, and cancel it once so many requests have come."""

    async def scored() -> None:
        metrics = record.job.metrics
        await asyncio.gather(*(desk.measuring.score_metric(order(record, metric)) for metric in metrics))

    thread = threading.Thread(target=lambda: asyncio.run(scored()))
    thread.start()
    while len(fake.requests) < requests:
        thread.join(0.01)
    desk.lifecycle.cancel(record.job.job_id)
    thread.join()


def test_a_cancellation_tells_what_was_asked_by_then(desk: Desk, fake: FakeJudge) -> None:
    """An answer of no use was paid for, too, and the repetition that was cut off came to the judge."""
    fake.will_say(says("prose"), Reply(hangs=True))
    record = accepted(desk, "faithfulness")

    _cancelled_at(desk, record, fake, requests=2)

    found = outcome(desk, record)
    assert (found.reason_code, found.usage) == ("cancelled", _ONE_CALL + Usage(calls=1))


def test_an_embedder_that_was_cut_off_is_counted(desk: Desk, fake: FakeJudge) -> None:
    """As a judge is."""
    fake.embeddings.append(Reply(hangs=True))
    record = accepted(desk, "semantic_similarity")

    _cancelled_at(desk, record, fake, requests=1)

    assert outcome(desk, record).usage == Usage(embedding_calls=1)


def test_who_only_waited_for_its_turn_has_asked_nobody(fake: FakeJudge, tmp_path: Path) -> None:
    """The endpoint takes one request at once: the metric that came second has spent nothing."""
    desk = Desk(fake, tmp_path, judges=(judge_settings(fake, concurrency=1),))
    fake.will_say(Reply(hangs=True))
    record = accepted(desk, "faithfulness", "context_recall")

    _cancelled_at(desk, record, fake, requests=1)

    told = [outcome(desk, record, metric) for metric in record.job.metrics]
    assert [found.reason_code for found in told] == ["cancelled"] * 2
    assert sorted(found.usage.calls for found in told) == [0, 1]


def test_what_was_cut_off_is_told_of_the_next_attempt(desk: Desk, fake: FakeJudge) -> None:
    """It led to its outcome; and being cut off is no failure of the judge."""
    fake.will_say(says("prose"), Reply(hangs=True))
    record = accepted(desk, "context_recall")
    _cancelled_at(desk, record, fake, requests=2)
    again = record.model_copy(update={"job": record.job.model_copy(update={"attempt": 2}), "cancelled": None})
    desk.store.update(record.job.job_id, lambda _: again)
    fake.will_say(*[refusal(503, "loading")] * 5, *for_context_recall(YES))

    for _ in range(5):
        with pytest.raises(EndpointBusyError):
            score(desk, again)
    assert score(desk, again) == "scored"

    assert outcome(desk, again).usage.calls == len(fake.requests) == 8


def test_what_is_given_up_while_it_runs_tells_what_it_has_spent(desk: Desk, fake: FakeJudge) -> None:
    """The workflow's clock may be the first: who gives up waits for the end of what runs here."""
    fake.will_say(says("prose"), Reply(hangs=True))
    record = accepted(desk, "faithfulness")
    given_up = [{"sample": 1, "metric": "faithfulness", "code": "DEADLINE", "message": "late"}]

    async def both() -> str:
        scoring = asyncio.create_task(desk.measuring.score_metric(order(record, seconds=3)))
        while len(fake.requests) < 2 and not scoring.done():  # noqa: ASYNC110 - the fake is in another thread
            await asyncio.sleep(0.01)
        await desk.measuring.give_up_metrics({"job_id": record.job.job_id, "given_up": given_up})
        return await scoring

    assert asyncio.run(both()) == "failed"

    found = outcome(desk, record)
    assert found.reason_code == "deadline"
    assert len(fake.requests) <= found.usage.calls <= 2
