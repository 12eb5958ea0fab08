"""Secrets are taken out of whatever comes from pods."""

from typing import Any

import pytest

from budeval.domain.redaction import redacted

_KEY = "sk-very-secret"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (f"401 for {_KEY}, {_KEY}", "401 for ***, ***"),
        ({"error": f"no {_KEY}", _KEY: 1}, {"error": "no ***", "***": 1}),
        ([{"log": [f"{_KEY}"]}, None, 1.5, True], [{"log": ["***"]}, None, 1.5, True]),
        ("nothing to hide", "nothing to hide"),
    ],
)
def test_a_secret_is_found_wherever_it_is(value: Any, shown: Any) -> None:
    """In texts, in lists, in values and names of objects."""
    assert redacted(value, [_KEY]) == shown


@pytest.mark.parametrize("word", ["", "EMPTY", "none", "sk-1234"])
def test_a_word_is_not_a_secret(word: str) -> None:
    """Servers without keys are given one; ordinary texts stay as they are."""
    text = "EMPTY reply, none of sk-1234"

    assert redacted({"log": text}, [word]) == {"log": text}


def test_each_of_several_secrets_is_hidden() -> None:
    """As a key and a token."""
    assert redacted("key-number-1 and key-number-2", ["key-number-2", "key-number-1"]) == "*** and ***"
