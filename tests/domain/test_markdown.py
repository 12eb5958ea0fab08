"""Foreign text in Markdown, as a parser of CommonMark with GitHub's tables reads it."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token

from budeval.domain.markdown import code, escaped, fenced, one_line

_PARSER = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
_PIECES = st.sampled_from(
    [*"\\`*_[]()<>#+-.!|~&=$:{}'\"\n\r\t 1a\u00e9\u5317\x00\x1b", "://x.y", "www.", "@", "&amp;", "]("]
)
_TEXTS = st.lists(_PIECES, max_size=25).map("".join) | st.text(max_size=25)
_LINK_BY_ITSELF = re.compile(r"://|www\.|@[^\s&]", re.IGNORECASE)
"""What GitHub's flavour looks for where there is no markup; and the site, for names."""
_ATTACKS = [
    "<script>alert(1)</script>",
    "![x](http://tracker/pixel.png)",
    "[click](javascript:alert(1))",
    "# heading",
    "- item",
    "1. item",
    "1) item",
    "> quote",
    "```\ncode\n```",
    "a | b\n--|--\nc | d",
    "***",
    "&lt;b&gt;",
    "<http://x.y>",
    "text\n===",
    "    indented",
    "snake_case and __bold__ and _it_",
    "~~gone~~",
    "trailing\\",
    "=",
    "+",
]


def _leaves(markdown: str) -> list[Token]:
    tokens = _PARSER.parse(markdown)
    assert [token.type for token in tokens] == ["paragraph_open", "inline", "paragraph_close"]
    return tokens[1].children or []


def _shown(markdown: str) -> str:
    """The text of a paragraph that has nothing but text, without what takes no room in it."""
    leaves = _leaves(markdown)
    assert {leaf.type for leaf in leaves} <= {"text", "text_special"}
    return _seen("".join(leaf.content for leaf in leaves))


def _seen(text: str) -> str:
    return text.replace("\u200b", "")


@pytest.mark.parametrize("text", _ATTACKS)
def test_nothing_in_a_text_is_markup(text: str) -> None:
    """Neither at the beginning of a line nor within one."""
    assert _shown(escaped(text)) == one_line(text)
    assert _shown(f"label: {escaped(text)}") == f"label: {one_line(text)}"


@given(_TEXTS)
def test_every_text_is_shown_as_it_is(text: str) -> None:
    """On one line, and without its control characters."""
    line = one_line(text)

    assert not line or _shown(escaped(text)) == _seen(line)
    assert _shown(f"label: {escaped(text)}") == _seen(f"label: {line}".rstrip())


@pytest.mark.parametrize(
    "text",
    [
        "see https://evil.example/x",
        "HTTP://evil.example",
        "ftp://a.b/c",
        "www.evil.example",
        "WWW.evil.example",
        "mail a_b@evil.example",
        "mailto:a@b.cc",
        "@user, look",
        "@*user*",
    ],
)
def test_no_text_becomes_a_link_by_itself(text: str) -> None:
    """As GitHub makes them of addresses, mails and names; the text looks the same."""
    assert _LINK_BY_ITSELF.search(text)

    assert not _LINK_BY_ITSELF.search(escaped(text))
    assert _shown(escaped(text)) == text


@given(_TEXTS)
def test_every_text_is_free_of_links(text: str) -> None:
    """Whatever stands around them."""
    assert not _LINK_BY_ITSELF.search(escaped(text))


@given(_TEXTS)
def test_a_text_stays_in_its_item_of_a_list(text: str) -> None:
    """Also where it looks like another one."""
    tokens = _PARSER.parse(f"- one\n- {escaped(text)}\n- three")

    assert [token.type for token in tokens].count("list_item_open") == 3
    assert [token.type for token in tokens].count("bullet_list_open") == 1


@given(_TEXTS)
def test_a_code_span_ends_where_it_should(text: str) -> None:
    """Whatever ticks are in it."""
    before, span, after = _leaves(f"a {code(text)} b")

    assert (before.content, span.type, after.content) == ("a ", "code_inline", " b")
    assert span.content.strip() == one_line(text)


@given(_TEXTS)
def test_a_block_ends_where_it_should(text: str) -> None:
    """Whatever fences are in it."""
    first, second, *_ = _PARSER.parse(f"{fenced(text)}\n\nafter")

    assert (first.type, second.type) == ("fence", "paragraph_open")


@pytest.mark.parametrize(
    ("limit", "shown"), [(5, "abcd…"), (8, "abcd ef…"), (9, "abcd efgh"), (None, "abcd efgh")]
)
def test_a_text_is_cut_where_it_is_too_long(limit: int | None, shown: str) -> None:
    """The sign of the cut counts."""
    assert one_line("abcd\n\tefgh", limit) == shown


def test_names_with_underscores_stay_readable() -> None:
    """Within a word an underscore is none."""
    assert escaped("answer_relevancy is 0.5 (n 3)") == "answer_relevancy is 0.5 (n 3)"
