"""Secrets are taken out of whatever comes from pods."""

import base64
import json
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from budeval.domain.redaction import SECRET_VALUES, SHORTEST_SECRET, redacted, spellings, texts_in

_KEY = "sk-very-secret"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (f"401 for {_KEY}, {_KEY}", "401 for ***, ***"),
        ({"error": f"no {_KEY}", "count": 1}, {"error": "no ***", "count": 1}),
        ([{"log": [f"{_KEY}"]}, None, 1.5, True], [{"log": ["***"]}, None, 1.5, True]),
        ({"a": {"b": [{"c": f"of {_KEY}"}]}}, {"a": {"b": [{"c": "of ***"}]}}),
        ("nothing to hide", "nothing to hide"),
    ],
)
def test_a_secret_is_found_wherever_it_is(value: Any, shown: Any) -> None:
    """In texts, in lists, in objects of objects."""
    assert redacted(value, [_KEY]) == shown


@pytest.mark.parametrize("word", ["", "EMPTY", "none", "sk-1234"])
def test_a_word_is_not_a_secret(word: str) -> None:
    """Servers without keys are given one; ordinary texts stay as they are."""
    text = "EMPTY reply, none of sk-1234"

    assert redacted({"log": text}, [word]) == {"log": text}


@pytest.mark.parametrize("short", [0, 1])
def test_a_secret_has_a_length(short: int) -> None:
    """One character less is a word."""
    secret = "x" * (SHORTEST_SECRET - short)

    assert redacted(f"<{secret}>", [secret]) == (f"<{secret}>" if short else "<***>")


def test_names_of_fields_are_no_secrets() -> None:
    """They are ours; a key that is the same word must not tear a document."""
    assert redacted({"progress": "progress of 3"}, ["progress"]) == {"progress": "*** of 3"}


def test_what_is_given_stays_as_it_is() -> None:
    """The caller's own value is not changed."""
    given = {"log": [_KEY]}

    assert redacted(given, [_KEY]) == {"log": ["***"]}
    assert given == {"log": [_KEY]}


def test_each_of_several_secrets_is_hidden() -> None:
    """As a key and a token."""
    assert redacted("key-number-1 and key-number-2", ["key-number-2", "key-number-1"]) == "*** and ***"


def test_of_a_secret_around_another_nothing_is_left() -> None:
    """Whichever is given first."""
    assert redacted("of key-number-12", ["key-number-1", "key-number-12"]) == "of ***"


def test_a_name_stays_what_it_is() -> None:
    """By it answers are told apart: a key that servers without keys document may be the beginning of one."""
    value = {"run_id": "lm-studio-sums", "job": "lm-studio", "said": "lm-studio-sums has lm-studio"}

    shown = redacted(value, ["lm-studio"], {"lm-studio-sums"})

    assert shown == {"run_id": "lm-studio-sums", "job": "***", "said": "***-sums has ***"}


def test_the_texts_that_nobody_may_be_told_are_those_of_one_name() -> None:
    """Wherever it stands, and whatever is in it; the same text may stand elsewhere, too."""
    document = {
        "runs": [{"run_id": "a", "count": 1, SECRET_VALUES: {"KEY": "a", "MORE": [{"deep": "b"}, None]}}],
        "files": {"run.json": "{}"},
    }

    assert texts_in(document, secret=True) == {"a", "b"}
    assert texts_in(document, secret=False) == {"a", "{}"}


def _as_go_writes_json(text: str) -> str:
    for sign in "<>&":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return text


@pytest.mark.parametrize("quoted", [json.dumps, repr])
def test_a_secret_is_found_in_what_an_api_server_quotes(quoted: Callable[[str], str]) -> None:
    """Its answer is JSON as Go writes it; read as that, it still has none."""
    secret = 'sk-<a>&"b"\\c\'-0123456789'
    answer = _as_go_writes_json(json.dumps({"message": f"Invalid value: {quoted(secret)}: no"}))

    shown = json.loads(redacted(answer, spellings(secret)))["message"]

    assert shown.replace("'", '"') == 'Invalid value: "***": no'


@given(st.text(min_size=12), st.binary(max_size=5), st.binary(max_size=5))
def test_a_secret_is_found_however_it_is_spelled(secret: str, before: bytes, after: bytes) -> None:
    """Quoted, or anywhere within base64; of that the characters at its ends may have a part of it."""
    hidden = spellings(secret)
    inside = base64.b64encode(before + secret.encode(errors="replace") + after).decode()

    for text in (secret, repr(secret)[1:-1], json.dumps(secret)[1:-1], quote(secret, safe="")):
        assert redacted(f"<{text}>", hidden) == "<***>"
    assert "***" in redacted(inside, hidden)
