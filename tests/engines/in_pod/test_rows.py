"""The rows of a team's own dataset."""

import json
from pathlib import Path
from typing import Any

import pytest

from budeval.engines.in_pod.rows import plain_number, prepare_rows
from tests.engines.pods import dataset_entry, refused

_JSONL = '{"question": "1+1?", "answer": " 2 "}\n\n  \n{"question": "ä\\n2+2?", "answer": 4, "more": null}'


_CSV = 'answer,question\n2,1+1?\n\n4,"ä\n2+2?"\n'


def _prepared(tmp_path: Path, name: str, text: str, **changes: Any) -> list[tuple[str, Any]]:
    """(prompt, answer) of each row as OpenCompass gets it."""
    (tmp_path / name).write_text(text, encoding="utf-8")
    limit = changes.pop("limit", None)
    prepared = prepare_rows(dataset_entry(tmp_path / name, **changes), limit, str(tmp_path))
    rows = [json.loads(line) for line in Path(prepared["file"]).read_text().splitlines()]
    assert prepared["rows"] == len(rows)
    return [(row["budeval_prompt"], row["budeval_answer"]) for row in rows]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("rows.jsonl", _JSONL),
        ("rows.jsonl", "\ufeff" + _JSONL.replace("\n", "\r\n")),
        ("rows.csv", _CSV),
        ("rows.csv", "\ufeff" + _CSV),
    ],
    ids=["jsonl", "jsonl-windows", "csv", "csv-windows"],
)
def test_rows_become_prompts_and_answers(tmp_path: Path, name: str, text: str) -> None:
    """Of either format; blank lines are none."""
    assert _prepared(tmp_path, name, text) == [("Q: 1+1?", "2"), ("Q: ä\n2+2?", "4")]


def test_only_the_first_rows_are_taken(tmp_path: Path) -> None:
    """As many as the limit says."""
    assert _prepared(tmp_path, "rows.jsonl", _JSONL, limit=1) == [("Q: 1+1?", "2")]


def test_a_prompt_is_filled_in_once(tmp_path: Path) -> None:
    """What stands in a row's text stays, whatever it looks like; so do braces that are no column."""
    text = json.dumps({"question": "{answer} \\1 \\g<0> {0}", "answer": "5", "my column": "c"})

    prompts = _prepared(tmp_path, "rows.jsonl", text, prompt='{question} {my column} {question} {"a": 1} {0}')

    asked = "{answer} \\1 \\g<0> {0}"
    assert prompts == [(f'{asked} c {asked} {{"a": 1}} {{0}}', "5")]


@pytest.mark.parametrize(
    ("evaluator", "answer"),
    [("exact", "1,000.0"), ("last_number", "1000"), ("contains", "1,000.0")],
)
def test_an_answer_is_as_its_evaluator_needs_it(tmp_path: Path, evaluator: str, answer: str) -> None:
    """Numbers without separators, and without decimals that are nothing."""
    text = '{"question": "?", "answer": " 1,000.0 "}'

    assert _prepared(tmp_path, "rows.jsonl", text, evaluator=evaluator) == [("Q: ?", answer)]


@pytest.mark.parametrize(
    ("evaluator", "answer", "says"),
    [
        ("exact", " ", "the answer ''; exact wants a text"),
        ("contains", "", "the answer ''; contains wants a text"),
        ("choice", "K", "the answer 'K'; choice wants one letter, A to J"),
        ("choice", "b", "the answer 'b'; choice"),
        ("choice", "AB", "the answer 'AB'; choice"),
        ("last_number", "seven " * 20, "seven …'; last_number wants a number"),
        ("last_number", "Infinity", "the answer 'Infinity'; last_number wants a number"),
        ("last_number", "1e" + "9" * 30, "wants a number"),
    ],
)
def test_an_answer_that_every_reply_or_none_matches_is_refused(
    tmp_path: Path, evaluator: str, answer: str, says: str
) -> None:
    """Each reply contains nothing, and no reply is read as option K: a score of it would mislead."""
    rows = [
        {"question": "?", "answer": 7 if evaluator != "choice" else "A"},
        {"question": "?", "answer": answer},
    ]
    text = "\n".join(map(json.dumps, rows))

    error = refused(lambda: _prepared(tmp_path, "rows.jsonl", text, evaluator=evaluator))

    assert error.code == "DATASET_INVALID"
    assert error.message.startswith("Row 2 of sums has ")
    assert says in error.message


@pytest.mark.parametrize(
    ("answer", "plain"),
    [("7", "7"), ("-7.50", "-7.50"), ("1e3", "1000"), ("1e999", "1e999"), ("1,234,567.00", "1234567")],
)
def test_numbers_are_plain(answer: str, plain: str) -> None:
    """A huge one is not written out."""
    assert plain_number(answer) == plain


def test_another_prompt_leaves_the_digest_of_the_rows(tmp_path: Path) -> None:
    """And a limit changes both; the number that is there is told."""
    (tmp_path / "rows.jsonl").write_text(_JSONL, encoding="utf-8")

    def prepared(limit: int | None = None, **changes: str) -> dict[str, Any]:
        return prepare_rows(dataset_entry(tmp_path / "rows.jsonl", **changes), limit, str(tmp_path))

    whole, asked, part = prepared(), prepared(prompt="{question}"), prepared(1)
    other_answers = prepared(answer="question")

    assert whole["rows_sha256"] == asked["rows_sha256"] != part["rows_sha256"]
    assert len({whole["sha256"], asked["sha256"], part["sha256"]}) == 3
    assert other_answers["rows_sha256"] != whole["rows_sha256"]
    assert (part["rows"], part["rows_there"]) == (1, 2)


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        pytest.param("r.jsonl", "", "Dataset sums has no rows", id="empty"),
        pytest.param("r.jsonl", " \n\n", "Dataset sums has no rows", id="blank"),
        pytest.param("r.csv", "question,answer\n", "Dataset sums has no rows", id="csv-header"),
        pytest.param("r.jsonl", '{"question": "?", "answer": 1}\n{"a"', "Line 2 is not JSON", id="torn"),
        pytest.param(
            "r.jsonl", '{"question": "?", "answer": 1}\n[1]', "Line 2 is not a JSON object", id="list"
        ),
        pytest.param(
            "r.jsonl",
            '{"question": "?", "answer": 1}\n{"query": "?", "answer": 1}',
            "Row 2 of sums has no column 'question'. It has: answer, query.",
            id="no-question",
        ),
        pytest.param(
            "r.jsonl", '{"question": "?", "answer": null}', "Row 1 of sums has no column 'answer'", id="null"
        ),
        pytest.param("r.csv", "question,key\n?,1\n", "Row 1 of sums has no column 'answer'", id="csv-column"),
        pytest.param(
            "r.csv", "question,answer\n?,1\n?\n", "Row 2 of sums has no column 'answer'", id="csv-short-row"
        ),
    ],
)
def test_rows_that_cannot_be_are_named(tmp_path: Path, name: str, text: str, says: str) -> None:
    """By row and column, with what is there."""
    error = refused(lambda: _prepared(tmp_path, name, text))

    assert error.code == "DATASET_INVALID"
    assert says in error.message


@pytest.mark.parametrize(
    "name", ["missing.jsonl", "latin.jsonl", ""], ids=["missing", "latin-1", "directory"]
)
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, name: str) -> None:
    """With what to check."""
    (tmp_path / "latin.jsonl").write_bytes(b'{"question": "\xe4", "answer": 1}')

    error = refused(lambda: prepare_rows(dataset_entry(tmp_path / name), None, str(tmp_path)))

    assert error.code == "DATASET_INVALID"
    assert "Check source.path and format" in error.message


def test_an_engine_may_want_answers_in_another_form(tmp_path: Path) -> None:
    """Such as lists."""
    (tmp_path / "rows.jsonl").write_text(_JSONL, encoding="utf-8")

    prepared = prepare_rows(dataset_entry(tmp_path / "rows.jsonl"), 1, str(tmp_path), lambda answer: [answer])

    assert json.loads(Path(prepared["file"]).read_text())["budeval_answer"] == ["2"]
