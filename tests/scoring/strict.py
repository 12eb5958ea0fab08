"""Looks through all that is left of a job: nothing in it is NaN, and every document is strict JSON."""

import csv
import io
import json
import re
from collections.abc import Iterator
from typing import Any, NoReturn

import yaml

from budeval.scoring.artifacts import Artifact
from tests.scoring.desk import Desk

_NO_NUMBER = re.compile(r"\b(nan|-?inf|-?infinity)\b", re.IGNORECASE)


def left_of(desk: Desk, run_id: str) -> dict[str, str]:
    """State, messages and artifacts as texts, by where they are."""
    texts = {f"state {key}": json.dumps(value) for key, value in desk.dapr.state.items()}
    texts |= {f"message {at}": sent.content.decode() for at, sent in enumerate(desk.dapr.messages)}
    return texts | {f"artifact {name}": text for name, text in artifacts(desk, run_id)}


def artifacts(desk: Desk, run_id: str) -> Iterator[tuple[Artifact, str]]:
    """The files of a run."""
    for name in desk.artifacts.sizes(run_id) or {}:
        file = desk.artifacts.open(run_id, name)
        assert file
        with file:
            yield name, file.read().decode()


def document(desk: Desk, run_id: str, name: Artifact) -> Any:
    """A JSON file of a run."""
    return _strictly(dict(artifacts(desk, run_id))[name])


def assert_strict(desk: Desk, run_id: str) -> None:
    """Messages may quote what a judge has said; numbers, cells and means may not be what is no number."""
    for where, text in left_of(desk, run_id).items():
        kind = where.rpartition(".")[2]
        if kind == "csv":
            cells = [cell for row in csv.reader(io.StringIO(text)) for cell in row]
            assert not any(map(_NO_NUMBER.fullmatch, cells)), where
        elif kind == "yaml":
            json.dumps(yaml.safe_load(text), allow_nan=False)
        elif kind == "md":
            assert not _NO_NUMBER.search(text.partition("## Per-sample Scores")[0]), where
        else:
            for line in text.splitlines() if kind == "jsonl" else [text]:
                _strictly(line)


def _strictly(text: str) -> Any:
    return json.loads(text, parse_constant=_refuse)


def _refuse(word: str) -> NoReturn:
    raise AssertionError(word)
