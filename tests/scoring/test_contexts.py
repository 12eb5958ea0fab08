"""Contexts that come in one text are found as the original scoring manager finds them."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from budeval.scoring.contexts import parse_contexts
from tests.scoring.bodies import request

_ANY_TEXT = st.text(st.characters(exclude_categories=()))
"""With controls and lone surrogates."""


@pytest.mark.parametrize(
    ("text", "contexts"),
    [
        pytest.param('["one", "two"]', ["one", "two"], id="json"),
        pytest.param(' \n["one"]\n', ["one"], id="json-with-spaces"),
        pytest.param('["a\\n\\nb"]', ["a\n\nb"], id="json-with-blank-lines-inside"),
        pytest.param("[]", [], id="nothing"),
        pytest.param("['one', \"it's\"]", ["one", "it's"], id="python"),
        pytest.param("['one', 'it''s']", ["one", "its"], id="python-glued"),  # nobody prints two so
        pytest.param("['one', ('two, '\n 'and on')]", ["one", "two, and on"], id="python-glued-in-brackets"),
        pytest.param("['''one''', u'two']", ["one", "two"], id="python-with-other-quotes"),
        pytest.param("['one.' 'two.']", ["one.", "two."], id="numpy"),
        pytest.param(
            "['one,'\n \"it's, \"\r\n '\\'two\\''\n]", ["one,", "it's, ", "'two'"], id="numpy-over-lines"
        ),
        pytest.param("['one' '' '\\n']", ["one", "", "\n"], id="numpy-with-nothing"),
        pytest.param("['one',\n\n 'two',]", ["one", "two"], id="python-over-lines"),
        pytest.param("['\\d']", ["\\d"], id="python-with-an-odd-escape"),
        pytest.param("one\n\ntwo\n \t\nthree", ["one", "two", "three"], id="blank-lines"),
        pytest.param("one\r\n\r\ntwo\r\n \r\nthree\r\n", ["one", "two", "three\r\n"], id="windows"),
        pytest.param("\n\none\n\n\n\ntwo\n\n", ["one", "two"], id="blank-lines-around"),
        pytest.param('\ufeff["one", "two"]', ["one", "two"], id="json-behind-a-mark"),
        pytest.param("\ufeff['one']", ["one"], id="python-behind-a-mark"),
        pytest.param("\ufeffone\n\ntwo", ["one", "two"], id="texts-behind-a-mark"),
        pytest.param("one\nstill one", ["one\nstill one"], id="line-break"),
        pytest.param("only one", ["only one"], id="text"),
        pytest.param("第一\n\n第二", ["第一", "第二"], id="chinese"),
    ],
)
def test_a_text_holds_contexts(text: str, contexts: list[str]) -> None:
    """A JSON list, else a Python one, else what blank lines divide, else one."""
    assert parse_contexts(text) == contexts


@pytest.mark.parametrize(
    "text",
    [
        '{"one": 1}',
        "('one', 'two')",
        "['one'",
        "['one' two]",
        "['one',, 'two']",
        "['one'] ['two']",
        "[f'{1}']",
        "[open('x')]",
        "['a'] * 9",
        "null",
        "NaN",
        "see [1] and [2]",
    ],
)
def test_what_is_no_list_of_texts_is_a_text(text: str) -> None:
    """It is somebody's context, and nothing in it is run."""
    assert parse_contexts(text) == [text]


@pytest.mark.parametrize(
    "text",
    ["[" * 60_000, "[" + "-" * 60_000 + "1]", "[" + "1+" * 30_000 + "1]", "[" + "9" * 60_000 + "]", "[\0]"],
    ids=["nested", "unary", "sum", "number", "nul"],
)
def test_a_text_that_wears_parsers_out_is_a_text(text: str) -> None:
    """Neither recursion nor memory nor long numbers are its way through."""
    assert parse_contexts(text) == [text]


_LONG = ["a" * 60_000, "it's\n" * 10_000, "b" * 60_000]


@pytest.mark.parametrize("between", [", ", " "], ids=["python", "numpy"])
def test_a_list_of_texts_may_be_as_long_as_a_sample(between: str) -> None:
    """Each text has its own bound; in one piece the list would be refused as one that is too long."""
    printed = f"[{between.join(map(repr, _LONG))}]"

    assert request(contexts=printed).sample.contexts == tuple(_LONG)


def test_a_long_list_of_more_than_texts_is_a_text() -> None:
    """Python's parser is given no more than it can be trusted with."""
    printed = "[(" + "), (".join(map(repr, _LONG)) + ")]"

    assert parse_contexts(printed) == [printed]


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ('["one", null]', 1),
        ("['one', None]", 1),
        ("['one' None 'two']", 1),
        ("[nan, 'one']", 0),
        ('["one", 2]', 1),
        ("['one', ['two']]", 1),
        ("[1, 2]", 0),
    ],
)
def test_a_list_in_a_text_is_refused_as_the_list_itself(text: str, wrong: int) -> None:
    """By the entry that is no text: in one piece it would be scored as a context that nobody retrieved."""
    with pytest.raises(ValidationError) as refusal:
        request(contexts=text)

    assert refusal.value.errors()[0]["loc"] == ("contexts", wrong)


@given(st.lists(st.text(), min_size=1))
def test_every_list_survives_as_numpy_prints_it(contexts: list[str]) -> None:
    """With spaces, or ends of lines, where Python has commas."""
    printed = [repr(context) for context in contexts]

    assert parse_contexts(f"[{' '.join(printed)}]") == contexts
    assert parse_contexts(f"[{chr(10).join(printed)}]") == contexts


@given(st.lists(_ANY_TEXT))
def test_every_list_survives_as_json(contexts: list[str]) -> None:
    """Whatever stands in it."""
    assert parse_contexts(json.dumps(contexts)) == contexts


@given(st.lists(st.text()))
def test_every_list_survives_as_python(contexts: list[str]) -> None:
    """As `str()` of a list, which is what the original's CSV files hold."""
    assert parse_contexts(str(contexts)) == contexts


@given(_ANY_TEXT)
def test_every_text_holds_contexts(text: str) -> None:
    """No text is an error, and none warns. What is no list has a context, and each is a text."""
    found = parse_contexts(text)

    is_list = text.strip("\ufeff \t\r\n").startswith("[")
    assert is_list or all(isinstance(context, str) for context in found)
    assert is_list or found or not text.removeprefix("\ufeff").strip()


@pytest.mark.parametrize(
    ("contexts", "kept"),
    [
        ("one\n\n \n\ntwo\n\n", ("one", "two")),
        ('["", " ", "one"]', ("one",)),
        (["", "\u200b\u00a0", "one", "\t\n"], ("one",)),
        ("", ()),
        (" \n\n ", ()),
        ([], ()),
    ],
)
def test_blank_contexts_are_left_out(contexts: str | list[str], kept: tuple[str, ...]) -> None:
    """However they came: they would be paid for, and count as retrieved."""
    assert request(contexts=contexts).sample.contexts == kept
