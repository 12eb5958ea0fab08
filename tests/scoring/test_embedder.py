"""What an embedder may do wrong."""

from typing import Any

import pytest

from budeval.domain.scoring import MetricStatus, Usage
from budeval.scoring.failures import EndpointBusyError, JudgeError
from tests.scoring.asking import embedded, scored_by
from tests.scoring.fake_judge import FakeJudge, Reply, embeddings, refusal, says


def test_all_texts_go_in_one_request(fake: FakeJudge) -> None:
    """As floats, and come back with length 1."""
    fake.embeddings.append(embeddings([3.0, 4.0], [0, -2]))

    vectors, usage = embedded(fake, "one", "two")

    assert vectors == [pytest.approx((0.6, 0.8)), (0.0, -1.0)]
    assert usage == Usage(embedding_calls=1, prompt_tokens=7)
    assert fake.requests[0]["path"] == "/v1/embeddings"
    assert fake.requests[0]["body"] == {"model": "em", "input": ["one", "two"], "encoding_format": "float"}


def test_embeddings_belong_to_indices_not_to_places(fake: FakeJudge) -> None:
    """The protocol numbers them."""
    body = b'{"data": [{"index": 1, "embedding": [0, 1]}, {"index": 0, "embedding": [1, 0]}]}'
    fake.embeddings.append(Reply(body=body))

    assert embedded(fake, "one", "two")[0] == [(1.0, 0.0), (0.0, 1.0)]


_BAD: list[Any] = [
    embeddings([1.0, 0.0]),
    embeddings([1.0], [1.0], [1.0]),
    embeddings([1.0, 0.0], [1.0]),
    embeddings([1.0, 0.0], ["x", 0.0]),
    embeddings([1.0, 0.0], [None, 0.0]),
    embeddings([1.0, 0.0], [10**400, 0.0]),
    Reply(body=b'{"data": [{"index": 0, "embedding": [1e999]}, {"index": 1, "embedding": [1]}]}'),
    Reply(body=b'{"data": [{"index": 0, "embedding": [NaN]}, {"index": 1, "embedding": [1]}]}'),
    Reply(body=b'{"data": [{"index": 0, "embedding": [1]}, {"index": 0, "embedding": [1]}]}'),
    Reply(body=b'{"data": [{"index": 0, "embedding": "AACAPw=="}, {"index": 1, "embedding": "AACAPw=="}]}'),
    embeddings("1234", "5678"),
    embeddings(["1", "2"], ["3", "4"]),
    embeddings([True, False], [False, True]),
    embeddings({"0": 1}, {"0": 1}),
    Reply(body=b'{"data": null}'),
    Reply(body=b'{"data": [[], []]}'),
    Reply(body=b"{}"),
    Reply(body=b"<html>"),
]


@pytest.mark.parametrize("reply", _BAD)
def test_what_are_no_embeddings_is_refused(fake: FakeJudge, reply: Reply) -> None:
    """One for each text, all of one dimension, all finite numbers: digits in a text are none."""
    fake.embeddings.append(reply)

    with pytest.raises(JudgeError) as failed:
        embedded(fake, "one", "two")

    assert (failed.value.reason_code, failed.value.retryable) == ("embedding_invalid", False)
    assert failed.value.usage.embedding_calls == 1


@pytest.mark.parametrize("metric", ["semantic_similarity", "answer_correctness", "answer_relevancy"])
@pytest.mark.parametrize("zero", [[0.0, 0.0], [-0.0, 0.0]])
def test_a_zero_embedding_has_no_similarity(fake: FakeJudge, metric: str, zero: list[float]) -> None:
    """Neither NaN nor 0."""
    fake.will_say(says({"questions": ["q1", "q2", "q3"], "noncommittal": False}))
    count = 4 if metric == "answer_relevancy" else 2
    fake.embeddings.append(embeddings(*[[1.0, 0.0]] * (count - 1), zero))

    outcome = scored_by(fake, metric)

    assert (outcome.status, outcome.reason_code) == (MetricStatus.FAILED, "embedding_zero_norm")
    assert outcome.value is None
    assert outcome.usage.embedding_calls == 1


def test_correctness_pays_no_judge_where_embeddings_fail(fake: FakeJudge) -> None:
    """The embedder is asked first."""
    fake.embeddings.append(embeddings([0.0], [1.0]))

    assert scored_by(fake, "answer_correctness").usage.calls == 0


def test_an_embedding_without_numbers_is_zero(fake: FakeJudge) -> None:
    """It has no direction either."""
    fake.embeddings.append(embeddings([], []))

    with pytest.raises(JudgeError) as failed:
        embedded(fake, "one", "two")

    assert failed.value.reason_code == "embedding_zero_norm"


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (refusal(429, "slow down", Retry_After="2"), "rate_limited"),
        (refusal(500, "oops"), "embedder_unavailable"),
        (Reply(hangs=True, body=b"{}"), "embedder_timeout"),
    ],
)
def test_an_embedder_may_be_busy(fake: FakeJudge, reply: Reply, reason: str) -> None:
    """As a judge may; the reason tells which of them it was."""
    fake.embeddings.append(reply)

    with pytest.raises(EndpointBusyError) as failed:
        embedded(fake, "one", timeout=30.0 if not reply.hangs else 0.2)

    assert failed.value.reason_code == reason
    assert failed.value.usage == Usage(embedding_calls=1)


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (refusal(404, "no such model"), "embedder_refused"),
        (refusal(500, "input is too large to process"), "context_too_long"),
    ],
)
def test_an_embedder_may_refuse(fake: FakeJudge, reply: Reply, reason: str) -> None:
    """For good: an outcome."""
    fake.embeddings.append(reply)

    assert scored_by(fake, "semantic_similarity").reason_code == reason


def test_too_much_text_is_not_sent(fake: FakeJudge) -> None:
    """All texts of a request count together."""
    with pytest.raises(JudgeError) as failed:
        embedded(fake, "x" * 60, "x" * 60, max_input_chars=100)

    assert (failed.value.reason_code, fake.requests) == ("context_too_long", [])
