"""One metric of one sample, whatever is cut off: an outcome, and nothing paid for twice."""

import asyncio
import itertools
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from budeval.domain.score_job import ScoreRecord
from budeval.domain.scoring import MetricStatus, Usage
from budeval.errors import BudevalError, RequestError, SidecarError
from budeval.scoring import stored_ledger
from budeval.scoring.failures import EndpointBusyError
from budeval.scoring.store import ScoreStore
from tests.scoring.asking import embedder_settings, judge_settings
from tests.scoring.desk import Desk
from tests.scoring.fake_cut_dapr import FakeCutDapr
from tests.scoring.fake_judge import NO, YES, FakeJudge, Reply, refusal, says, verdicts
from tests.scoring.measured import accepted, ledgers, order, outcome, score
from tests.scoring.replies import embedded_alike, for_answer_relevancy, for_context_recall, for_faithfulness

_BUSY = refusal(503, "loading")
_ONE_CALL = Usage(calls=1, prompt_tokens=100, completion_tokens=10)


@pytest.fixture
def dapr() -> FakeCutDapr:
    """Outlives the desks that work with it."""
    return FakeCutDapr()


@pytest.fixture
def desk(fake: FakeJudge, tmp_path: Path, dapr: FakeCutDapr) -> Desk:
    """As the first process has it."""
    return Desk(fake, tmp_path, dapr)


def _restarted(desk: Desk, fake: FakeJudge, **settings: Any) -> Desk:
    """As the next process has it, on the same state store."""
    return Desk(fake, Path(desk.settings.artifacts), desk.dapr, **settings)


def test_an_outcome_is_stored_with_its_cost(desk: Desk, fake: FakeJudge) -> None:
    """The workflow gets its status only, and nothing is left of the way there."""
    fake.will_say(*for_faithfulness(YES, NO))
    record = accepted(desk, "faithfulness")

    assert score(desk, record) == "scored"

    found = outcome(desk, record)
    assert (found.value, found.usage) == (0.5, Usage(calls=2, prompt_tokens=200, completion_tokens=20))
    assert [item["supported"] for item in found.evidence] == [True, False]
    assert ledgers(desk) == []


@pytest.mark.parametrize(
    "replies",
    [for_faithfulness(YES), [says({"statements": []})], [refusal(401, "no")]],
    ids=["scored", "undetermined", "failed"],
)
def test_a_stored_outcome_is_never_scored_again(desk: Desk, fake: FakeJudge, replies: list[Reply]) -> None:
    """The worker may die after storing it and before telling it; whoever comes next finds it."""
    fake.will_say(*replies)
    record = accepted(desk, "faithfulness")
    first = score(desk, record)
    found, asked = outcome(desk, record), len(fake.requests)

    assert score(_restarted(desk, fake), record) == first
    assert (outcome(desk, record), len(fake.requests)) == (found, asked)


@pytest.mark.parametrize(
    ("replies", "status", "asked"),
    [(for_faithfulness(YES), "scored", 2), ([says({"statements": []})], "undetermined", 1)],
)
def test_the_next_attempt_repeats_only_what_has_failed(
    desk: Desk, fake: FakeJudge, replies: list[Reply], status: str, asked: int
) -> None:
    """Other outcomes stand in every attempt."""
    fake.will_say(*replies)
    record = accepted(desk, "faithfulness")
    score(desk, record)

    assert score(desk, record, attempt=2) == status
    assert len(fake.requests) == asked


def test_the_next_attempt_scores_what_has_failed(desk: Desk, fake: FakeJudge) -> None:
    """And stores it in the place of the failure."""
    fake.will_say(refusal(401, "no"), *for_faithfulness(YES))
    record = accepted(desk, "faithfulness")
    score(desk, record)
    begun = record.job.model_copy(update={"attempt": 2})
    desk.store.update(record.job.job_id, lambda now: now.model_copy(update={"job": begun}))

    assert score(desk, record, attempt=2) == "scored"
    assert outcome(desk, record).value == 1.0


def test_a_worker_that_ends_between_two_calls_pays_for_none_twice(desk: Desk, fake: FakeJudge) -> None:
    """The next one asks for what was not answered, and knows what the first has spent."""
    split, judged = for_faithfulness(YES)
    fake.will_say(split, Reply(hangs=True))
    record = accepted(desk, "faithfulness")

    async def end_at_the_second_call() -> None:
        scoring = asyncio.create_task(desk.measuring.score_metric(order(record)))
        while len(fake.requests) < 2:  # noqa: ASYNC110 - the fake is in another thread
            await asyncio.sleep(0.01)
        scoring.cancel()
        with suppress(asyncio.CancelledError):
            await scoring
        assert scoring.cancelled()

    asyncio.run(end_at_the_second_call())
    assert desk.store.outcome(record.job.job_id, 1, "faithfulness") is None
    fake.will_say(judged)

    assert score(_restarted(desk, fake), record) == "scored"
    prompts = fake.prompts()
    assert len(prompts) == 3
    assert prompts[0] != prompts[1] == prompts[2]
    assert outcome(desk, record).usage == _ONE_CALL + _ONE_CALL + Usage(calls=1)


def test_another_attempt_pays_for_nothing_that_was_answered(desk: Desk, fake: FakeJudge) -> None:
    """The first question was answered; six failures at the second one end the attempt, not the ledger."""
    split, judged = for_faithfulness(YES)
    fake.will_say(split, *[_BUSY] * 6)
    record = accepted(desk, "faithfulness")
    for _ in range(5):
        with pytest.raises(EndpointBusyError):
            score(desk, record)
    assert score(desk, record) == "failed"
    assert outcome(desk, record).usage.calls == 7

    again = record.model_copy(update={"job": record.job.model_copy(update={"attempt": 2})})
    desk.store.update(record.job.job_id, lambda _: again)
    fake.will_say(_BUSY, judged)
    with pytest.raises(EndpointBusyError):
        score(desk, again)

    assert score(desk, again) == "scored"
    assert len(fake.requests) == 9
    assert len(set(fake.prompts())) == 2
    assert outcome(desk, record).usage.calls == 9
    assert ledgers(desk) == []


@pytest.mark.parametrize("takes_the_last", [False, True], ids=["refused", "answer-lost"])
def test_a_state_store_that_goes_away_costs_one_answer_at_most(
    fake: FakeJudge, tmp_path: Path, *, takes_the_last: bool
) -> None:
    """At whichever call: only an answer that it did not take is paid for again."""
    fake.vectors = {"In 1969.": [1.0, 0.0], "In July 1969.": [1.0, 0.0]}
    replies = [says({"answer": ["one"], "ground_truth": ["two"]}), verdicts(YES, YES)]
    paid_again = []
    for at in itertools.count():
        dapr = FakeCutDapr(takes_the_last=takes_the_last)
        desk = Desk(fake, tmp_path, dapr)
        record = accepted(desk, "answer_correctness")
        fake.requests.clear()
        fake.will_say(*replies)
        dapr.left = at
        with suppress(SidecarError):
            score(desk, record)
        if dapr.left >= 0:
            break
        dapr.left = None
        lost = dapr.refused_at.startswith("score-ledger-")
        answered = len(fake.prompts())
        fake.chat.clear()
        fake.will_say(*replies[max(answered - lost, 0) :])
        assert score(_restarted(desk, fake), record) == "scored"
        assert (len(fake.requests), outcome(desk, record).value) == (3 + lost, 1.0)
        paid_again.append(lost)
    assert paid_again.count(True) == (0 if takes_the_last else 3)


def _away_at_ledgers(
    monkeypatch: pytest.MonkeyPatch, times: int, mistake: type[Exception], *, takes: bool = False
) -> None:
    """The state store fails so many writes of ledgers; it may have taken them all the same."""
    save, left = ScoreStore.save_ledger, itertools.count(1)

    def failing(store: ScoreStore, *given: Any) -> None:
        fails = next(left) <= times
        if takes or not fails:
            save(store, *given)
        if fails:
            raise mistake("away")

    monkeypatch.setattr(ScoreStore, "save_ledger", failing)


@pytest.mark.parametrize("times", [1, 3])
def test_an_answer_in_hand_is_stored_with_a_further_try(
    desk: Desk, fake: FakeJudge, monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    """It would be thrown away, and bought again."""
    _away_at_ledgers(monkeypatch, times, SidecarError)
    fake.will_say(*for_context_recall(YES))
    record = accepted(desk, "context_recall")

    assert score(desk, record) == "scored"
    assert (len(fake.requests), outcome(desk, record).usage) == (1, _ONE_CALL)


@pytest.mark.parametrize("first", [for_context_recall(YES)[0], _BUSY], ids=["answered", "busy"])
@pytest.mark.parametrize("takes", [False, True], ids=["refused", "answer-lost"])
@pytest.mark.parametrize("tries", [1, 2])
def test_usage_has_what_could_not_be_stored(
    desk: Desk, fake: FakeJudge, monkeypatch: pytest.MonkeyPatch, first: Reply, *, takes: bool, tries: int
) -> None:
    """Once, whether the state store had it all the same or not."""
    _away_at_ledgers(monkeypatch, 4 * tries, SidecarError, takes=takes)
    fake.will_say(*[first] * tries, *for_context_recall(YES))
    record = accepted(desk, "context_recall")
    with pytest.raises(SidecarError):
        score(desk, record)
    if tries == 2:
        with suppress(SidecarError):
            score(desk, record)

    assert score(desk, record) == "scored"
    assert outcome(desk, record).usage.calls == len(fake.requests)


def test_usage_has_an_answer_that_was_cut_off_between_two_tries(
    desk: Desk, fake: FakeJudge, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A deadline or a cancellation does not wait for the state store."""
    monkeypatch.setattr(stored_ledger, "WAITS", (60.0,))
    refused, save = asyncio.Event(), ScoreStore.save_ledger

    async def cut_off(record: ScoreRecord) -> None:
        loop = asyncio.get_running_loop()

        def refusing(*_: Any) -> None:
            loop.call_soon_threadsafe(refused.set)
            raise SidecarError("away")

        monkeypatch.setattr(ScoreStore, "save_ledger", refusing)
        task = asyncio.create_task(desk.measuring.score_metric(order(record)))
        await refused.wait()
        monkeypatch.setattr(ScoreStore, "save_ledger", save)
        await asyncio.sleep(0.05)  # it waits for its second try
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task

    fake.will_say(*for_context_recall(YES) * 2)
    record = accepted(desk, "context_recall")
    asyncio.run(cut_off(record))

    assert score(desk, record) == "scored"
    assert outcome(desk, record).usage.calls == len(fake.requests) == 2


def test_usage_has_an_answer_that_no_store_can_take(
    desk: Desk, fake: FakeJudge, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is asked for again, and has cost what it has cost."""
    _away_at_ledgers(monkeypatch, 1, ValueError)
    fake.will_say(*for_context_recall(YES) * 2)
    record = accepted(desk, "context_recall")
    with pytest.raises(BudevalError, match="ValueError"):
        score(desk, record)

    assert score(desk, record) == "scored"
    assert outcome(desk, record).usage == _ONE_CALL + _ONE_CALL


def test_six_failures_are_one(desk: Desk, fake: FakeJudge) -> None:
    """The endpoint may give nothing five times, which the workflow waits out; then the metric has failed."""
    fake.will_say(*[_BUSY] * 6)
    record = accepted(desk, "faithfulness")

    for _ in range(5):
        with pytest.raises(EndpointBusyError):
            score(desk, record)
    assert score(_restarted(desk, fake), record) == "failed"

    found = outcome(desk, record)
    assert (found.reason_code, found.usage) == ("judge_unavailable", Usage(calls=6))
    assert "answered 503: " in str(found.message)
    assert len(fake.requests) == 6


def test_usage_adds_up_over_all_tries(desk: Desk, fake: FakeJudge) -> None:
    """What an unusable reply has cost was paid, too; what is answered is not asked for again."""
    split, judged = for_faithfulness(YES)
    cut_off = says("", finish="length")
    fake.will_say(_BUSY, split, cut_off, _BUSY, judged)
    record = accepted(desk, "faithfulness")

    for _ in range(2):
        with pytest.raises(EndpointBusyError):
            score(desk, record)
    assert score(desk, record) == "scored"

    assert len(fake.requests) == 5
    assert outcome(desk, record).usage == Usage(calls=5, prompt_tokens=300, completion_tokens=30)


def test_usage_has_the_embedders_part(desk: Desk, fake: FakeJudge) -> None:
    """Its failures as well."""
    fake.will_say(*for_answer_relevancy())
    fake.embeddings.extend([_BUSY, embedded_alike(4)])
    record = accepted(desk, "answer_relevancy")

    with pytest.raises(EndpointBusyError):
        score(desk, record)
    assert score(desk, record) == "scored"

    assert outcome(desk, record).usage == Usage(
        calls=1, embedding_calls=2, prompt_tokens=107, completion_tokens=10
    )


def test_repeats_are_scored_anew_and_their_mean_counts(desk: Desk, fake: FakeJudge) -> None:
    """With all values and their deviation; evidence is that of the first."""
    fake.will_say(*for_context_recall(YES), *for_context_recall(YES, NO), *for_context_recall(NO))
    record = accepted(desk, "context_recall", repeats=3)

    assert score(desk, record) == "scored"

    found = outcome(desk, record)
    assert (found.value, found.repeats) == (0.5, (1.0, 0.5, 0.0))
    assert found.stdev == 0.5
    assert [item["attributed"] for item in found.evidence] == [True]
    assert [request["body"].get("seed") for request in fake.requests] == [None, 2, 3]
    assert found.usage == Usage(calls=3, prompt_tokens=300, completion_tokens=30)
    assert ledgers(desk) == []


def test_answers_that_were_paid_for_before_there_were_seeds_are_found(desk: Desk, fake: FakeJudge) -> None:
    """A seed is no part of the question; each repeat has a ledger of its own."""
    fake.will_say(*for_context_recall(YES), _BUSY)
    record = accepted(desk, "context_recall", repeats=2)
    with pytest.raises(EndpointBusyError):
        score(desk, record)
    job_id = record.job.job_id
    paid = desk.store.ledger(job_id, 1, "context_recall", 1)["paid"]
    second = desk.store.ledger(job_id, 1, "context_recall", 2)
    assert (len(paid), second["paid"]) == (1, {})
    desk.store.save_ledger(job_id, 1, "context_recall", 2, {**second, "paid": paid})

    assert score(desk, record) == "scored"
    assert len(fake.requests) == 2


def test_a_repeat_that_is_cut_off_leaves_the_others(desk: Desk, fake: FakeJudge) -> None:
    """The first is not judged again, and failures of one do not count for another."""
    fake.will_say(*for_context_recall(YES), *[_BUSY] * 5, *for_context_recall(NO), *[_BUSY] * 5)
    fake.will_say(*for_context_recall(NO))
    record = accepted(desk, "context_recall", repeats=3)

    for _ in range(10):
        with pytest.raises(EndpointBusyError):
            score(desk, record)
    assert score(_restarted(desk, fake), record) == "scored"

    assert outcome(desk, record).repeats == (1.0, 0.0, 0.0)
    assert outcome(desk, record).usage.calls == len(fake.requests) == 13


@pytest.mark.parametrize("failing", [[refusal(401, "no")], [says("prose")] * 2, [_BUSY] * 6])
def test_a_repeat_that_has_failed_is_not_paid_for_again(
    desk: Desk, fake: FakeJudge, failing: list[Reply]
) -> None:
    """While another one waits for its judge, also in another process; the next attempt asks it again."""
    fake.will_say(*failing, *[_BUSY] * 3, *for_context_recall(NO))
    record = accepted(desk, "context_recall", repeats=2)
    for _ in range(len(failing) // 6 * 5 + 3):
        with pytest.raises(EndpointBusyError):
            score(_restarted(desk, fake), record)

    assert score(desk, record) == "scored"

    found = outcome(desk, record)
    assert (found.repeats, len(found.repeats_without_value)) == ((0.0,), 1)
    assert found.usage.calls == len(fake.requests) == len(failing) + 4
    assert ledgers(desk) == []


def test_the_next_attempt_asks_for_repeats_that_have_failed(desk: Desk, fake: FakeJudge) -> None:
    """All of them have: so has the metric, which a retry scores anew."""
    fake.will_say(*[refusal(401, "no")] * 2, *for_context_recall(YES), *for_context_recall(NO))
    record = accepted(desk, "context_recall", repeats=2)
    assert score(desk, record) == "failed"
    again = record.model_copy(update={"job": record.job.model_copy(update={"attempt": 2})})
    desk.store.update(record.job.job_id, lambda _: again)

    assert score(desk, again) == "scored"
    assert outcome(desk, record).repeats == (1.0, 0.0)


def test_repeats_without_a_value_do_not_count(desk: Desk, fake: FakeJudge) -> None:
    """The mean is that of those which have one; it is told how many have none, and why."""
    fake.will_say(says({"statements": []}), *for_context_recall(YES, NO), refusal(401, "no"))
    record = accepted(desk, "context_recall", repeats=3)

    assert score(desk, record) == "scored"

    found = outcome(desk, record)
    assert (found.value, found.repeats, found.stdev) == (0.5, (0.5,), None)
    assert found.repeats_without_value == ("no_statements", "judge_refused")


@pytest.mark.parametrize(
    ("metric", "asked"), [("exact_match", 0), ("non_llm_string_similarity", 0), ("semantic_similarity", 1)]
)
def test_what_nobody_judges_is_not_repeated(desk: Desk, fake: FakeJudge, metric: str, asked: int) -> None:
    """It would give the same."""
    fake.embeddings.append(embedded_alike(2))
    record = accepted(desk, metric, repeats=5)

    assert score(desk, record) == "scored"

    assert (outcome(desk, record).repeats, len(fake.requests)) == ((), asked)


def test_metrics_wait_side_by_side(desk: Desk, fake: FakeJudge) -> None:
    """In one event loop; none of them holds it, embeddings and plain metrics neither."""
    fake.thinks = 0.5
    fake.vectors = {"In 1969.": [1.0, 0.0], "In July 1969.": [0.0, 1.0]}
    fake.will_say(*for_context_recall(YES))
    metrics = ("context_recall", "semantic_similarity", "exact_match")
    record = accepted(desk, *metrics)

    async def all_of_them() -> list[str]:
        return await asyncio.gather(*(desk.measuring.score_metric(order(record, name)) for name in metrics))

    assert asyncio.run(all_of_them()) == ["scored"] * 3
    assert fake.most_at_once == 2


def test_the_deadline_ends_a_call(desk: Desk, fake: FakeJudge) -> None:
    """Although the judge may take longer; what was asked until then is told."""
    split, _ = for_faithfulness(YES)
    fake.will_say(split, Reply(hangs=True))
    record = accepted(desk, "faithfulness")

    assert score(desk, record, seconds=1) == "failed"

    found = outcome(desk, record)
    assert (found.reason_code, found.message) == ("deadline", "Its time was up before it had a value.")
    # A call is counted when it is sent, and may be cut off before it arrives.
    assert len(fake.requests) <= found.usage.calls <= 2
    # What was answered is kept: whoever scores it again shall not pay for it again.
    assert len(ledgers(desk)) == min(found.usage.calls, 1)


def test_after_the_deadline_nobody_is_asked(desk: Desk, fake: FakeJudge) -> None:
    """As after a restart that took too long; what was spent before it is told."""
    split, _ = for_faithfulness(YES)
    fake.will_say(split, _BUSY)
    record = accepted(desk, "faithfulness")
    with pytest.raises(EndpointBusyError):
        score(desk, record)

    assert score(_restarted(desk, fake), record, seconds=-5) == "failed"

    assert (outcome(desk, record).reason_code, outcome(desk, record).usage.calls) == ("deadline", 2)
    assert len(fake.requests) == 2


def _in_a_thread(work: Callable[[], str]) -> tuple[threading.Thread, list[str]]:
    found: list[str] = []
    thread = threading.Thread(target=lambda: found.append(work()))
    thread.start()
    return thread, found


def test_a_cancellation_ends_the_call(desk: Desk, fake: FakeJudge) -> None:
    """The judge's connection is closed, so it may stop, too."""
    fake.will_say(Reply(hangs=True))
    record = accepted(desk, "faithfulness")
    thread, found = _in_a_thread(lambda: score(desk, record))
    while not fake.requests:
        thread.join(0.01)

    desk.lifecycle.cancel(record.job.job_id)
    thread.join()

    assert found == ["failed"]
    assert outcome(desk, record).reason_code == "cancelled"
    while not fake.abandoned:
        thread.join(0.01)


def test_what_begins_after_a_cancellation_asks_nobody(desk: Desk, fake: FakeJudge) -> None:
    """The event may be lost: the record is what counts."""
    record = accepted(desk, "faithfulness")
    desk.lifecycle.cancel(record.job.job_id)

    assert score(desk, record) == "failed"

    assert (outcome(desk, record).reason_code, fake.requests) == ("cancelled", [])


def test_what_is_given_up_keeps_what_is_known(desk: Desk, fake: FakeJudge) -> None:
    """An outcome that came just before stands; others fail with their cost, or with the activity's reason."""
    split, _ = for_faithfulness(YES)
    fake.will_say(*for_context_recall(YES), split, _BUSY)
    record = accepted(desk, "context_recall", "faithfulness", "exact_match")
    score(desk, record)
    with pytest.raises(EndpointBusyError):
        score(desk, record, "faithfulness")
    codes = {"context_recall": "DEADLINE", "faithfulness": "DEADLINE", "exact_match": "INTERNAL"}
    given_up = [
        {"sample": 1, "metric": metric, "code": code, "message": "a bug"} for metric, code in codes.items()
    ]

    for _ in range(2):
        asyncio.run(desk.measuring.give_up_metrics({"job_id": record.job.job_id, "given_up": given_up}))

    assert outcome(desk, record).status is MetricStatus.SCORED
    late, broken = outcome(desk, record, "faithfulness"), outcome(desk, record, "exact_match")
    assert (late.status, late.reason_code, late.usage.calls) == (MetricStatus.FAILED, "deadline", 2)
    assert (broken.status, broken.reason_code, broken.message) == (MetricStatus.FAILED, "internal", "a bug")
    assert ledgers(desk) == [f"score-ledger-{record.job.job_id}-1-faithfulness-1"]


def test_an_endpoint_that_left_the_settings_fails_its_metrics(desk: Desk, fake: FakeJudge) -> None:
    """The service was restarted with others; the job ends with what it has."""
    record = accepted(desk, "faithfulness", "exact_match")
    changed = _restarted(
        desk, fake, judges=(judge_settings(fake, alias="new"),), embedders=(embedder_settings(fake),)
    )

    turn = changed.run(record)

    found = outcome(changed, record)
    assert (found.status, found.reason_code) == (MetricStatus.FAILED, "endpoint_unknown")
    assert "'j'" in str(found.message)
    assert changed.views.state(record.job.job_id).scores == {"faithfulness": None, "exact_match": 0.0}
    assert turn.calls[-1] == "end_job"


def test_a_deleted_job_is_not_scored(desk: Desk, fake: FakeJudge) -> None:
    """Nor does anything come back of it."""
    record = accepted(desk, "faithfulness")
    desk.store.bury(record)
    left = dict(desk.dapr.state)

    with pytest.raises(RequestError, match="was deleted"):
        score(desk, record)

    assert (desk.dapr.state, fake.requests) == (left, [])
