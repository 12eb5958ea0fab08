"""What is read of a judge's reply, and what is refused: half characters, two answers in one, placeholders."""

import json
from typing import Any

import pytest

from budeval.domain.scoring import MetricStatus
from budeval.scoring.replies import Answer, UnreadableError, read
from tests.scoring.asking import FULL, scored_by
from tests.scoring.fake_judge import NO, YES, FakeJudge, says, verdicts


class _Said(Answer):
    text: str
    more: Any = None


_HALF = "\ud83d"


@pytest.mark.parametrize("half", ["\\ud83d", "\\ude00", _HALF], ids=["first", "second", "raw"])
@pytest.mark.parametrize(
    "document",
    ['{"text": "a%sb"}', '{"text": "ab", "more": [{"%s": ["%s"]}]}', '{"text": "%s", "text": "%s"}'],
)
def test_half_characters_are_replaced(document: str, half: str) -> None:
    """In names and values, however deep, also where the reply has them raw: what is read can be stored."""
    answer = read(document.replace("%s", half), _Said)

    text = json.dumps(answer.model_dump(), ensure_ascii=False)
    text.encode()
    assert "\ufffd" in text


def test_whole_characters_stay() -> None:
    """Also where JSON writes them as two escapes."""
    assert read('{"text": "\\ud83d\\ude00 \U0001f600"}', _Said).text == "\U0001f600 \U0001f600"


_CONTRADICTORY = [
    '{"text": "yes", "text": "no"}',
    '{"text": "yes", "more": {"a": [1], "a": [2]}}',
    '{"text": "yes", "more": [{"a": {"b": 1}, "a": {"b": 1, "c": 2}}]}',
    '{"text": "yes", "text": "no", "more": {"text": "inner"}}',
    'Perhaps {"text": "yes"}. No: {"text": "yes", "text": "no"}',
    '{"text": "yes", "a\\ud83d": 1, "a\\ud83e": 2}',
]


@pytest.mark.parametrize("content", _CONTRADICTORY)
def test_a_field_that_says_two_things_says_nothing(content: str) -> None:
    """JSON's parsers take the last in silence; nor is what stands before it, or within, taken for it."""
    with pytest.raises(UnreadableError, match="twice, with different values"):
        read(content, _Said)


@pytest.mark.parametrize(
    "content",
    [
        '{"text": "yes", "text": "yes", "more": {"a": [1, {}], "a": [1, {}]}}',
        '<think>{"text": "yes", "text": "no"}</think>{"text": "yes"}',
        'Not {"text": "yes", "text": "no"}, but {"text": "yes"}',
    ],
)
def test_what_is_said_twice_or_taken_back_counts_once(content: str) -> None:
    """The same again is no harm; nor are thoughts and examples before the answer."""
    assert read(content, _Said).text == "yes"


def test_what_is_nested_without_need_is_refused() -> None:
    """Deeper than can be looked through."""
    with pytest.raises(UnreadableError):
        read('{"text": "yes", "more": ' + "[" * 900 + "]" * 900 + "}", _Said)


@pytest.mark.parametrize(
    ("metric", "twice"),
    [
        ("context_precision", '{"verdicts": [{"number": 1, "verdict": true, "verdict": false}]}'),
        ("context_recall", '{"statements": [{"statement": "s", "attributed": false, "attributed": true}]}'),
    ],
)
def test_a_judge_that_contradicts_itself_is_asked_again(fake: FakeJudge, metric: str, twice: str) -> None:
    """Once; then it has failed."""
    fake.will_say(says(twice), says(twice))

    outcome = scored_by(fake, metric, FULL.model_copy(update={"contexts": ("one",)}))

    assert (outcome.status, outcome.reason_code) == (MetricStatus.FAILED, "judge_output_invalid")
    assert "twice" in str(outcome.message)
    assert outcome.usage.calls == 2


_PLACEHOLDERS = ["...", "\u2026", "-", "?!", "\u3002"]


@pytest.mark.parametrize("text", _PLACEHOLDERS)
@pytest.mark.parametrize(
    "metric", ["faithfulness", "context_recall", "answer_correctness", "answer_relevancy"]
)
def test_placeholders_are_no_statements(fake: FakeJudge, metric: str, text: str) -> None:
    """Without a letter or a digit nothing is stated or asked: the judge has copied, and is asked again."""
    fake.vectors = {given: [1.0, 0.0] for given in (text, FULL.question, "In 1969.", "In July 1969.")}
    copied = {
        "faithfulness": {"statements": [text]},
        "context_recall": {"statements": [{"statement": text, "attributed": True}]},
        "answer_correctness": {"answer": [text], "ground_truth": [text]},
        "answer_relevancy": {"questions": [text] * 3, "noncommittal": False},
    }[metric]
    fake.will_say(says(copied), says(copied), verdicts(YES, YES))

    outcome = scored_by(fake, metric)

    assert (outcome.status, outcome.reason_code) == (MetricStatus.FAILED, "judge_output_invalid")
    assert outcome.usage.calls == 2


@pytest.mark.parametrize("text", ["1969", "月", "حدث", "เดือน", "½", "η"])
def test_a_letter_or_digit_of_any_script_is_a_statement(fake: FakeJudge, text: str) -> None:
    """However short."""
    fake.will_say(says({"statements": [{"statement": text, "attributed": True}]}))

    assert scored_by(fake, "context_recall").value == 1.0


def test_placeholders_among_statements_do_not_count(fake: FakeJudge) -> None:
    """Neither for nor against."""
    items = [("...", YES), ("It was in July.", NO), (" ", YES)]
    found = [{"statement": text, "attributed": verdict} for text, verdict in items]
    fake.will_say(says({"statements": found}))

    outcome = scored_by(fake, "context_recall")

    assert outcome.value == 0.0
    assert outcome.evidence == ({"statement": "It was in July.", "attributed": False},)


def test_a_blank_question_is_not_embedded(fake: FakeJudge) -> None:
    """Three that ask something are three, whatever stands between them."""
    fake.vectors = {text: [1.0, 0.0] for text in (FULL.question, "q1", "q2", "q3")}
    fake.will_say(says({"questions": ["q1", " ", "q2", "...", "q3"], "noncommittal": False}))

    outcome = scored_by(fake, "answer_relevancy")

    assert outcome.value == 1.0
    assert [item["question"] for item in outcome.evidence] == ["q1", "q2", "q3"]
