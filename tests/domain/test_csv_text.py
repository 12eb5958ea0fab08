"""Tables that a spreadsheet shows as they are."""

import csv
import io
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from budeval.domain.csv_text import csv_text

_TEXTS = st.text(max_size=30) | st.sampled_from(
    ["=1+1", " =1", "\ufeff=1", "\r\n", '"', '","', "a\rb", "\x00", "x\u2028y"]
)


def _read(text: str) -> list[list[str]]:
    return list(csv.reader(io.StringIO(text, newline="")))


def _only(value: object) -> str:
    """The one cell of a table, as a reader finds it."""
    header, row = _read(csv_text(["column"], [{"column": value}]))
    assert header == ["column"]
    (cell,) = row
    return cell


@pytest.mark.parametrize(
    "text",
    [
        "=1+1",
        "+1",
        "-1",
        "@SUM(A1)",
        "\t=1",
        "\r=1",
        '=HYPERLINK("http://x","y")',
        "\uff1d1",
        "\uff0b1",
        "\uff0d1",
        "\uff20x",
        " =1",
        "\n=1",
        "\r\n =1",
        "\u00a0=1",
        "\ufeff=1",
        "\u200b\u2060@x",
        "\x00=1",
        "\tplain",
    ],
)
def test_a_formula_is_only_a_text(text: str) -> None:
    """It begins with a quote, which spreadsheets do not show; also behind what they may not show either."""
    assert _only(text) == f"'{text}"


@pytest.mark.parametrize("text", ["", "a=1", "1-2", "'=1", " 1", "\n'=1", "北京", "a@b.c"])
def test_any_other_text_is_as_it_was(text: str) -> None:
    """Whatever it holds further on."""
    assert _only(text) == text


@pytest.mark.parametrize(("number", "written"), [(-0.25, "-0.25"), (3, "3"), (1e-7, "1e-07"), (0.1, "0.1")])
def test_a_number_stays_a_number(number: float, written: str) -> None:
    """Without quotes, and negative ones without a guard."""
    assert csv_text(["a"], [{"a": number}]) == f'"a"\n{written}\n'


@pytest.mark.parametrize("nothing", [None, math.nan, math.inf, -math.inf])
def test_what_is_no_number_is_empty(nothing: float | None) -> None:
    """`nan` is never written."""
    assert _only(nothing) == ""


def test_what_a_row_lacks_is_empty_and_what_it_has_beyond_is_left_out() -> None:
    """A row need not know its table."""
    assert _read(csv_text(["a", "b"], [{"b": "x", "c": "y"}])) == [["a", "b"], ["", "x"]]


@given(st.lists(st.lists(_TEXTS, min_size=3, max_size=3), max_size=5))
def test_every_text_comes_back_from_its_own_cell(rows: list[list[str]]) -> None:
    """But for the guard; whatever line breaks, quotes and separators are in it. No cell is a formula."""
    columns = ["a", "b", "c"]
    named: list[dict[str, Any]] = [dict(zip(columns, row, strict=True)) for row in rows]

    _, *found = _read(csv_text(columns, named))

    assert len(found) == len(rows)
    for row, cells in zip(rows, found, strict=True):
        assert [cell.removeprefix("'") for cell in cells] == [text.removeprefix("'") for text in row]
        assert not any(cell.lstrip("\ufeff\u200b\0").lstrip().startswith(tuple("=+-@")) for cell in cells)
