"""What a judge may do wrong, and what then becomes of a question."""

import asyncio
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest

from budeval.domain.scoring import MetricStatus, Usage
from budeval.scoring import endpoint
from budeval.scoring.dialect import Dialects
from budeval.scoring.failures import EndpointBusyError, ReplyUnusableError, RequestRefusedError
from budeval.scoring.judge import Judge
from budeval.scoring.limiter import Limiter
from budeval.scoring.replies import Answer
from budeval.scoring.settings import JudgeSettings
from tests.scoring.asking import FULL, asked, judge_settings, scored_by
from tests.scoring.fake_judge import YES, FakeJudge, Reply, fake_judge, refusal, says, says_raw, verdicts

KEY = "sk-very-secret"


class _Mood(Answer):
    happy: bool


def _formats(fake: FakeJudge) -> list[str | None]:
    """The response formats asked for, one for each request."""
    formats = [request["body"].get("response_format") for request in fake.requests]
    return [asked_for["type"] if asked_for else None for asked_for in formats]


def test_the_request_is_cold_bounded_and_shows_the_schema(fake: FakeJudge) -> None:
    """One user message, temperature 0, strict JSON schema, the key as bearer."""
    fake.will_say(says({"happy": True}))

    answer, usage = asked(fake, _Mood, "How?", api_key=KEY, max_tokens=77)

    body = fake.requests[0]["body"]
    assert answer.happy is True
    assert usage == Usage(calls=1, prompt_tokens=100, completion_tokens=10)
    assert fake.requests[0]["headers"]["Authorization"] == f"Bearer {KEY}"
    assert body["messages"] == [{"role": "user", "content": "How?"}]
    assert (body["model"], body["temperature"], body["max_tokens"]) == ("m", 0, 77)
    assert body["response_format"]["json_schema"]["strict"] is True
    schema = body["response_format"]["json_schema"]["schema"]
    assert (schema["required"], schema["additionalProperties"]) == (["happy"], False)


@pytest.mark.parametrize(
    "content",
    [
        '{"happy": true}',
        '```json\n{"happy": true}\n```',
        'Sure! Here it is: {"happy": true} I hope that helps.',
        '<think>Is it {"happy": false}? No.</think>{"happy": true}',
        '<Thinking>Is it {"happy": false}? No.</Thinking>{"happy": true}',
        '{"happy": true} <think>Or is it {"happy": false}',
        'It speaks of the <think> tag, so: {"happy": true}',
        'no tag at the start</think>\n\n{"happy": true}',
        'For example {"happy": false}, so: {"happy": true}',
        '{"mood": "{", "happy": 1}',
        '{"happy": true, "reason": "a line\nbreak, a \\"quote\\" and </think>"}',
        '{"happy": true, "reason": "it says <think>"}',
        '{ {broken} {"happy": "yes"}',
    ],
)
def test_an_answer_is_found_in_what_surrounds_it(fake: FakeJudge, content: str) -> None:
    """In a fence, in prose, after thoughts; the last one counts, without a second call."""
    fake.will_say(says(content))

    answer, usage = asked(fake, _Mood)

    assert (answer.happy, usage.calls) == (True, 1)


_UNREADABLE = {
    "prose": says("I am fine, thank you."),
    "null": says(None),
    "blank": says(" \n"),
    "wrong type": says({"happy": "perhaps"}),
    "wrong field": says({"sad": False}),
    "NaN": says('{"happy": NaN}'),
    "list": says([True]),
    "single quotes": says("{'happy': True}"),
    "thoughts only": says('<think>Perhaps {"happy": false}?</think>I cannot say.'),
    "thoughts without end": says('<think>Perhaps {"happy": false}. But wait, let me check again'),
    "thoughts by another name": says('<thinking>Perhaps {"happy": false}'),
    "thoughts begun anew": says('<think>Well.</think>So:\n<think>Is it {"happy": false}? <think>'),
    "too many braces": says("{ " * 2000 + '{"happy": true}'),
    "only braces": says("{" * 5000),
    "deep": says('{"a":' * 20_000),
    "too long": says("x" * 300_000),
    "parts": says_raw({"choices": [{"message": {"content": [{"text": "{}"}]}}]}),
    "no parts": says_raw({"choices": [{"message": {"content": [None, 1, {}, {"type": "text", "text": 1}]}}]}),
    "absent": says_raw({"choices": [{"message": {"role": "assistant"}, "finish_reason": "stop"}]}),
}


@pytest.mark.parametrize("reply", _UNREADABLE.values(), ids=_UNREADABLE)
def test_what_cannot_be_read_is_asked_for_once_more(fake: FakeJudge, reply: Reply) -> None:
    """With what was wrong instead of the conversation; both calls are counted."""
    fake.will_say(reply, says({"happy": True}))

    answer, usage = asked(fake, _Mood, "How are you?")

    first, second = fake.prompts()
    assert answer.happy is True
    assert usage == Usage(calls=2, prompt_tokens=200, completion_tokens=20)
    assert second.startswith(f"{first}\n\nYour last reply could not be used")
    assert len(second) < len(first) + 300


@pytest.mark.parametrize("reply", _UNREADABLE.values(), ids=_UNREADABLE)
def test_what_cannot_be_read_twice_is_given_up(fake: FakeJudge, reply: Reply) -> None:
    """For good, with an excerpt of at most 200 characters."""
    fake.will_say(reply, reply)

    with pytest.raises(ReplyUnusableError) as failed:
        asked(fake, _Mood)

    assert (failed.value.reason_code, failed.value.retryable) == ("judge_output_invalid", False)
    assert failed.value.usage == Usage(calls=2, prompt_tokens=200, completion_tokens=20)
    assert len(failed.value.message) < 400


@pytest.mark.parametrize(
    "reply",
    [
        Reply(body=b"<html>Welcome</html>"),
        Reply(body=b"[1]"),
        Reply(body=b'{"error": null}'),
        Reply(body=b'{"choices": []}'),
        Reply(body=b'{"choices": null}'),
        Reply(body=b'{"choices": ["x"]}'),
        Reply(body=b'{"choices": [{}]}'),
        Reply(body=b'{"choices": [{"message": null}]}'),
        Reply(body=b'{"choices": [{"message": "x"}]}'),
        Reply(body=b"[" * 100_000),
        Reply(body=b'{"x": NaN}'),
    ],
)
def test_what_is_no_chat_completion_is_given_up(fake: FakeJudge, reply: Reply) -> None:
    """That is no judge's doing: asking again would be answered the same."""
    fake.will_say(reply)

    with pytest.raises(ReplyUnusableError) as failed:
        asked(fake, _Mood)

    assert (failed.value.reason_code, failed.value.usage.calls) == ("judge_output_invalid", 1)


def test_a_reply_without_end_is_not_read_to_its_end(fake: FakeJudge, monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory is bounded, whatever an endpoint sends."""
    monkeypatch.setattr(endpoint, "MAX_REPLY", 1000)
    fake.will_say(says("x" * 2000))

    with pytest.raises(ReplyUnusableError, match="more than 1000 bytes"):
        asked(fake, _Mood)


def test_a_reply_that_was_cut_off_is_asked_for_with_twice_the_tokens(fake: FakeJudge) -> None:
    """Once, by the same prompt."""
    fake.will_say(says('{"hap', finish="length"), says({"happy": True}))

    answer, usage = asked(fake, _Mood, max_tokens=50)

    assert (answer.happy, usage.calls) == (True, 2)
    assert [request["body"]["max_tokens"] for request in fake.requests] == [50, 100]
    assert fake.prompts()[0] == fake.prompts()[1]


@pytest.mark.parametrize("message", [{"content": None}, {}, {"content": []}], ids=["null", "absent", "parts"])
def test_thoughts_that_took_all_tokens_are_a_cut(fake: FakeJudge, message: dict[str, Any]) -> None:
    """However an endpoint writes that there is no content: with more tokens there may be some."""
    fake.will_say(
        says_raw({"choices": [{"message": message, "finish_reason": "length"}]}), says({"happy": True})
    )

    answer, usage = asked(fake, _Mood, max_tokens=50)

    assert (answer.happy, usage.calls) == (True, 2)
    assert [request["body"]["max_tokens"] for request in fake.requests] == [50, 100]


def test_an_answer_may_come_in_parts(fake: FakeJudge) -> None:
    """Its texts are one text; thoughts and what else there is are no part of it."""
    parts = [
        {"type": "thinking", "thinking": [{"type": "text", "text": "?"}], "text": '{"happy": false} {'},
        {"type": "text", "text": '{"happy": '},
        {"type": "text", "text": "true}"},
    ]
    fake.will_say(says_raw({"choices": [{"message": {"content": parts}, "finish_reason": "stop"}]}))

    answer, usage = asked(fake, _Mood)

    assert (answer.happy, usage.calls) == (True, 1)


def test_a_reply_that_is_cut_off_again_is_given_up(fake: FakeJudge) -> None:
    """Also where it was half of the truth: what is cut off is not trusted."""
    fake.will_say(says({"happy": True}, finish="length"), says({"happy": True}, finish="length"))

    with pytest.raises(ReplyUnusableError) as failed:
        asked(fake, _Mood)

    assert (failed.value.reason_code, failed.value.usage.calls) == ("judge_truncated", 2)


def test_a_question_is_widened_and_repeated_once_at_most(fake: FakeJudge) -> None:
    """Three calls are the most that one question costs."""
    cut, prose = says("", finish="length"), says("Well...")
    fake.will_say(cut, prose, cut)

    with pytest.raises(ReplyUnusableError) as failed:
        asked(fake, _Mood)

    assert (failed.value.reason_code, failed.value.usage.calls) == ("judge_truncated", 3)


def _busy(fake: FakeJudge, reply: Reply, **settings: Any) -> EndpointBusyError:
    fake.will_say(reply)
    with pytest.raises(EndpointBusyError) as failed:
        asked(fake, _Mood, **settings)
    assert failed.value.retryable is True
    assert failed.value.usage == Usage(calls=1)
    assert len(fake.requests) == 1, "nothing here tries again"
    return failed.value


class _NotingLimiter(Limiter):
    """Notes the pauses, and does not keep them."""

    def __init__(self) -> None:
        super().__init__(1)
        self.pauses: list[float] = []

    def pause(self, seconds: float) -> None:
        """Note it."""
        self.pauses.append(seconds)


def _paused(fake: FakeJudge, reply: Reply) -> float:
    """Seconds for which the endpoint is left alone after that reply."""
    limiter = _NotingLimiter()

    async def run() -> None:
        async with Judge(judge_settings(fake), limiter) as judge:
            await judge.ask("Judge!", _Mood)

    fake.will_say(reply)
    with pytest.raises(EndpointBusyError):
        asyncio.run(run())
    (seconds,) = limiter.pauses
    return seconds


_NOT_SAID = ["soon", "nan", "", "Sat, 28 Nov 99999999999999999999 07:00:00 GMT"]


@pytest.mark.parametrize(
    ("said", "seconds"), [("17", 17.0), ("0.5", 0.5), ("-3", 0.0), *[(said, 0.0) for said in _NOT_SAID]]
)
@pytest.mark.parametrize("status", [429, 503])
def test_an_endpoint_says_when_to_come_back(fake: FakeJudge, status: int, said: str, seconds: float) -> None:
    """By a rate limit, or while it loads its model; in seconds, or not at all."""
    assert _paused(fake, refusal(status, "slow down", Retry_After=said)) == seconds


def test_an_endpoint_may_name_a_time(fake: FakeJudge) -> None:
    """RFC 9110 allows a date."""
    then = format_datetime(datetime.now(UTC) + timedelta(hours=1), usegmt=True)

    assert 3000 < _paused(fake, refusal(429, "slow down", Retry_After=then)) <= 3600


def test_a_rate_limit_is_told_by_its_name(fake: FakeJudge) -> None:
    """Worth trying again."""
    busy = _busy(fake, refusal(429, "slow down"))

    assert busy.reason_code == "rate_limited"
    assert str(busy).startswith("RATE_LIMITED: ")


def _with_status_200(error: Any, **more: Any) -> Reply:
    return Reply(body=json.dumps({"error": error, **more}).encode())


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        ({"code": 429, "message": "upstream"}, "rate_limited"),
        ({"code": "429", "message": "upstream"}, "rate_limited"),
        ({"code": "502"}, "judge_unavailable"),
        ({"code": "rate_limit_exceeded", "message": "slow down"}, "judge_unavailable"),
        ({"code": True}, "judge_unavailable"),
        ({"code": 200}, "judge_unavailable"),
        ({"type": "overloaded_error", "message": "overloaded"}, "judge_unavailable"),
        ("overloaded", "judge_unavailable"),
    ],
)
def test_a_fault_may_come_with_status_200(fake: FakeJudge, error: Any, reason: str) -> None:
    """As gateways send it: the status is in the document, or nobody knows whether it will pass."""
    assert _busy(fake, _with_status_200(error, choices=[])).reason_code == reason


@pytest.mark.parametrize("code", [401, "401", "400"])
def test_a_fault_with_status_200_may_be_for_good(fake: FakeJudge, code: Any) -> None:
    """Where its code says so, as HTTP's would."""
    assert _refused(fake, _with_status_200({"code": code})).reason_code == "judge_refused"


def test_a_fault_with_status_200_may_be_of_the_length(fake: FakeJudge) -> None:
    """By its words, as any other."""
    too_long = {"code": "context_length_exceeded", "message": "Reduce the length."}

    assert _refused(fake, _with_status_200(too_long)).reason_code == "context_too_long"


def test_an_answer_beside_an_error_without_status_is_an_answer(fake: FakeJudge) -> None:
    """Some warn there."""
    choices = [{"message": {"content": '{"happy": true}'}, "finish_reason": "stop"}]
    fake.will_say(_with_status_200({"message": "deprecated"}, choices=choices))

    assert asked(fake, _Mood)[0].happy is True


@pytest.mark.parametrize("more", [{"message": {"content": '{"happy": true}'}}, {}], ids=["begun", "nothing"])
def test_an_answer_that_broke_off_is_none(fake: FakeJudge, more: Any) -> None:
    """Whatever it had said by then; as gateways tell of an upstream that is gone."""
    broken = {"finish_reason": "error", "error": {"code": 502, "message": "upstream"}, **more}
    fake.will_say(Reply(body=json.dumps({"choices": [broken]}).encode()))

    with pytest.raises(EndpointBusyError, match="upstream") as failed:
        asked(fake, _Mood)

    assert (failed.value.reason_code, failed.value.usage.calls) == ("judge_unavailable", 1)


@pytest.mark.parametrize(
    "reply",
    [
        says_raw({"choices": [{"message": {"content": None, "refusal": "I cannot help with that."}}]}),
        says_raw({"choices": [{"message": {"content": ""}, "finish_reason": "content_filter"}]}),
    ],
)
def test_a_judge_that_declines_is_not_asked_again(fake: FakeJudge, reply: Reply) -> None:
    """In the model's words, or by the endpoint's filter."""
    assert _refused(fake, reply).reason_code == "judge_refused"


@pytest.mark.parametrize("status", [500, 502, 503, 529])
def test_an_endpoint_with_a_fault_is_unavailable(fake: FakeJudge, status: int) -> None:
    """Worth trying again, later."""
    assert _busy(fake, refusal(status, "oops")).reason_code == "judge_unavailable"


def test_an_endpoint_that_hangs_times_out(fake: FakeJudge) -> None:
    """Also after its headers have come."""
    assert _busy(fake, Reply(hangs=True, body=b"{}"), timeout=0.2).reason_code == "judge_timeout"
    fake.requests.clear()
    assert _busy(fake, refusal(408, "too slow")).reason_code == "judge_timeout"


def test_an_endpoint_that_is_not_there_is_unavailable() -> None:
    """Nobody listens where the fake has been."""
    with fake_judge() as gone:
        pass

    with pytest.raises(EndpointBusyError) as failed:
        asked(gone, _Mood)

    assert failed.value.reason_code == "judge_unavailable"


def _refused(fake: FakeJudge, reply: Reply, **settings: Any) -> RequestRefusedError:
    fake.will_say(reply)
    with pytest.raises(RequestRefusedError) as failed:
        asked(fake, _Mood, **settings)
    assert failed.value.retryable is False
    return failed.value


@pytest.mark.parametrize("status", [302, 400, 401, 403, 404, 422])
def test_a_refusal_is_for_good(fake: FakeJudge, status: int) -> None:
    """No second call."""
    refused = _refused(fake, refusal(status, "no such model"))

    assert (refused.reason_code, refused.status, refused.usage.calls) == ("judge_refused", status, 1)
    assert "no such model" in refused.message


@pytest.mark.parametrize("status", [401, 404])
def test_only_a_bad_request_is_asked_more_simply(fake: FakeJudge, status: int) -> None:
    """Whatever words another refusal uses."""
    assert _refused(fake, refusal(status, "response_format temperature")).usage.calls == 1


def test_a_budget_that_is_used_up_is_no_rate_limit(fake: FakeJudge) -> None:
    """OpenAI says 429 to both; waiting fills no purse."""
    assert _refused(fake, refusal(429, "insufficient_quota")).reason_code == "judge_refused"


@pytest.mark.parametrize(
    "reply",
    [
        refusal(400, "This model's maximum context length is 4096 tokens, max_tokens is too large"),
        refusal(400, "context_length_exceeded"),
        refusal(500, "the request exceeds the available context size"),
        refusal(400, "exceed_context_size_error"),
        refusal(413, "Payload Too Large"),
        refusal(500, "input (600 tokens) is too large to process. increase the physical batch size"),
        refusal(422, "`inputs` tokens + `max_new_tokens` must be <= 4096. Given: 5000"),
        refusal(413, "`inputs` must have less than 512 tokens. Given: 600"),
        refusal(400, "The input token count (1200000) exceeds the maximum number of tokens allowed"),
        refusal(400, "The prompt is longer than the maximum model length of 4096"),
    ],
)
def test_a_context_that_is_too_long_is_told_by_its_name(fake: FakeJudge, reply: Reply) -> None:
    """As OpenAI, vLLM, llama.cpp, TGI and Gemini say it, whatever the status."""
    assert _refused(fake, reply).reason_code == "context_too_long"


_ON_LENGTH = "What is the context length of GPT-4?"
_ECHO = f"Your request was: {_ON_LENGTH}"


@pytest.mark.parametrize(
    "words",
    [f"response_format is not supported. {_ECHO}", "response_format: see what the context window holds"],
    ids=["echoed", "its own"],
)
def test_words_on_length_do_not_hide_what_an_endpoint_lacks(fake: FakeJudge, words: str) -> None:
    """It is asked more simply first; only what is refused all the same is too long."""
    fake.will_say(refusal(400, words), says({"happy": True}))

    answer, usage = asked(fake, _Mood, _ON_LENGTH)

    assert (answer.happy, usage.calls) == (True, 2)


def test_an_echo_of_a_question_on_length_is_none_of_a_long_one(fake: FakeJudge) -> None:
    """What the endpoint means is in the rest; a fault of its own is worth trying again, as any other."""
    fake.will_say(refusal(400, f"No such model. {_ECHO}"), refusal(500, f"Oops. {_ECHO}"))

    with pytest.raises(RequestRefusedError) as refused:
        asked(fake, _Mood, _ON_LENGTH)
    with pytest.raises(EndpointBusyError) as busy:
        asked(fake, _Mood, _ON_LENGTH)

    assert (refused.value.reason_code, busy.value.reason_code) == ("judge_refused", "judge_unavailable")


def test_a_question_on_length_may_be_too_long_itself(fake: FakeJudge) -> None:
    """Endpoints say so in more ways than one at once."""
    openai = "This model's maximum context length is 4096 tokens. Please reduce the length of the messages."
    fake.will_say(refusal(400, f"{openai} {_ECHO}"))

    with pytest.raises(RequestRefusedError) as refused:
        asked(fake, _Mood, _ON_LENGTH)

    assert refused.value.reason_code == "context_too_long"


def test_two_megabytes_are_refused_before_they_are_paid_for(fake: FakeJudge) -> None:
    """Nothing is sent."""
    sample = FULL.model_copy(update={"contexts": ("x" * 2_000_000,)})

    outcome = scored_by(fake, "context_precision", sample)

    assert (outcome.status, outcome.reason_code) == (MetricStatus.FAILED, "context_too_long")
    assert (fake.requests, outcome.usage) == ([], Usage())


def test_keys_that_an_endpoint_echoes_are_not_passed_on(fake: FakeJudge) -> None:
    """Messages go into states and logs."""
    refused = _refused(fake, refusal(401, f"Incorrect API key provided: {KEY}"), api_key=KEY)

    assert KEY not in str(refused)
    assert KEY not in repr(JudgeSettings(alias="j", base_url="http://x/v1", model="m", api_key=KEY))


@pytest.mark.parametrize("status", [400, 422])
def test_an_endpoint_without_schemas_is_asked_more_simply(fake: FakeJudge, status: int) -> None:
    """Down to no format at all; each refused request counts as a call."""
    unknown = refusal(status, "Unknown field: response_format")
    fake.will_say(unknown, unknown, says({"happy": True}))

    answer, usage = asked(fake, _Mood)

    assert (answer.happy, usage.calls) == (True, 3)
    assert _formats(fake) == ["json_schema", "json_object", None]


def test_what_an_endpoint_does_not_know_is_remembered(fake: FakeJudge) -> None:
    """The second question of a metric does not try it again."""
    fake.will_say(
        refusal(400, "response_format is not supported"), says({"statements": ["s"]}), verdicts(YES)
    )

    outcome = scored_by(fake, "faithfulness")

    assert (outcome.value, outcome.usage.calls) == (1.0, 3)
    assert _formats(fake) == ["json_schema", "json_object", "json_object"]


def test_a_refusal_that_echoes_the_request_teaches_nothing(fake: FakeJudge) -> None:
    """It names all that was sent, whatever is wrong; the next question is asked as fully as the first."""
    echo = '{"input": {"temperature": 0, "response_format": {}, "max_completion_tokens": 1}}'
    dialects: Dialects = {}

    async def ask() -> None:
        async with Judge(judge_settings(fake), Limiter(1), dialects) as judge:
            await judge.ask("Judge!", _Mood)

    fake.will_say(*[refusal(422, echo) for _ in range(5)])
    with pytest.raises(RequestRefusedError):
        asyncio.run(ask())
    fake.will_say(says({"happy": True}))
    asyncio.run(ask())

    last = fake.requests[-1]["body"]
    assert last["response_format"]["type"] == "json_schema"
    assert (last["temperature"], "max_tokens" in last) == (0, True)


def test_settings_say_where_to_begin(fake: FakeJudge) -> None:
    """A known endpoint need not refuse first."""
    fake.will_say(says({"happy": True}))

    asked(fake, _Mood, structured="none")

    assert _formats(fake) == [None]


def test_reasoning_models_are_asked_in_their_way(fake: FakeJudge) -> None:
    """OpenAI's take neither `max_tokens` nor a temperature, and say so one after the other."""
    fake.will_say(
        refusal(400, "'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead."),
        refusal(400, "'temperature' does not support 0 with this model."),
        says({"happy": True}),
    )

    asked(fake, _Mood, max_tokens=50)

    last = fake.requests[-1]["body"]
    assert last["max_completion_tokens"] == 50
    assert not {"max_tokens", "temperature"} & last.keys()


def test_a_refusal_that_stays_ends(fake: FakeJudge) -> None:
    """An endpoint that refuses everything by the same words is asked as often as there is less to say."""
    always = "response_format max_completion_tokens temperature"
    fake.will_say(*[refusal(400, always) for _ in range(9)])

    with pytest.raises(RequestRefusedError) as failed:
        asked(fake, _Mood)

    assert failed.value.usage.calls == 5


@pytest.mark.parametrize("usage", [None, [], {"prompt_tokens": None}, {"prompt_tokens": "7"}])
def test_tokens_that_are_not_counted_are_none(fake: FakeJudge, usage: Any) -> None:
    """Not every endpoint says."""
    choices = [{"message": {"content": '{"happy": true}'}, "finish_reason": "stop"}]
    fake.will_say(says_raw({"choices": choices, "usage": usage}))

    assert asked(fake, _Mood)[1] == Usage(calls=1)


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (lambda: refusal(401, "no"), "judge_refused"),
        (lambda: says("{}", finish="length"), "judge_truncated"),
        (lambda: says("prose"), "judge_output_invalid"),
    ],
)
def test_a_lasting_fault_is_an_outcome_with_its_cost(
    fake: FakeJudge, reply: Callable[[], Reply], reason: str
) -> None:
    """Of all calls: also of those before the one that failed."""
    fake.will_say(says({"statements": ["s"]}), reply(), reply())

    outcome = scored_by(fake, "faithfulness")

    assert (outcome.status, outcome.reason_code, outcome.value) == (MetricStatus.FAILED, reason, None)
    assert outcome.usage.calls == len(fake.requests)
    assert outcome.usage.prompt_tokens >= 100
    json.dumps(outcome.model_dump(mode="json"), allow_nan=False)


@pytest.mark.parametrize("reply", [refusal(429, "slow"), refusal(500, "oops")])
def test_a_passing_fault_is_the_workflows_to_retry(fake: FakeJudge, reply: Reply) -> None:
    """It is raised, with the cost of all calls."""
    fake.will_say(says({"statements": ["s"]}), reply)

    with pytest.raises(EndpointBusyError) as failed:
        scored_by(fake, "faithfulness")

    assert failed.value.usage == Usage(calls=2, prompt_tokens=100, completion_tokens=10)
