"""The key is in no file that a run leaves."""

import json
import pickle
import sqlite3
from pathlib import Path

import pytest

from budeval.engines.in_pod.masking import mask, without_key


def test_a_word_is_not_a_secret(tmp_path: Path) -> None:
    """Servers without keys are given one such as `EMPTY`, which ordinary texts have in them."""
    (tmp_path / "a.out").write_text("EMPTY reply")

    mask(str(tmp_path), "EMPTY")

    assert (tmp_path / "a.out").read_text() == "EMPTY reply"


_KEY = "sk-0123456789abcdefghijklmnopqrstuvwxyz"


def _database(path: Path, reply: str) -> None:
    """A cache of replies as lm-eval's: pickled, in a file of pages."""
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE unnamed (key TEXT PRIMARY KEY, value BLOB)")
        connection.execute("INSERT INTO unnamed VALUES ('q', ?)", (pickle.dumps(reply),))
    connection.close()


@pytest.mark.parametrize("before", range(3900, 4100, 20))
def test_a_database_with_the_key_is_removed(tmp_path: Path, before: int) -> None:
    """Masked it would be broken; and where the key lies across two pages, no search of the file finds it."""
    _database(tmp_path / "answers.db", "x" * before + _KEY)

    mask(str(tmp_path), _KEY)

    assert list(tmp_path.iterdir()) == []


def test_a_key_is_found_in_json(tmp_path: Path) -> None:
    """Where it is written in another way."""
    key = 'sk-"quoted"\\back'
    (tmp_path / "a.json").write_text(json.dumps({"said": f"Bearer {key}"}))

    mask(str(tmp_path), key)

    assert json.loads((tmp_path / "a.json").read_text()) == {"said": "Bearer ***"}
    assert without_key(f"{key} {json.dumps(key)}", key) == '*** "***"'


def test_a_database_without_the_key_stays(tmp_path: Path) -> None:
    """Replies are paid for."""
    _database(tmp_path / "answers.db", "a reply")
    before = (tmp_path / "answers.db").read_bytes()

    mask(str(tmp_path), _KEY)

    assert (tmp_path / "answers.db").read_bytes() == before


def test_a_broken_database_is_removed(tmp_path: Path) -> None:
    """The engine could not read it either."""
    (tmp_path / "answers.db").write_bytes(b"SQLite format 3\0" + b"?" * 5000)

    mask(str(tmp_path), _KEY)

    assert list(tmp_path.iterdir()) == []
