"""The rows of a team's own dataset: checked, and turned into prompts and answers."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import re
from collections.abc import Callable, Iterable
from typing import Any

from budeval.engines.in_pod.failure import RunError
from budeval.engines.in_pod.files import write

PLACEHOLDER = re.compile(r"\{([A-Za-z_][A-Za-z0-9_ ]*)\}")
PROMPT, ANSWER = "budeval_prompt", "budeval_answer"


def is_own(dataset: dict[str, Any]) -> bool:
    """Whether its rows come from the team and not with OpenCompass."""
    return bool(dataset["kind"] == "own")


def prepare_rows(
    dataset: dict[str, Any], limit: int | None, scratch: str, answer_for: Callable[[str], Any] = str
) -> dict[str, Any]:
    """Check the rows of an own dataset and write them as an engine gets them: prompt and answer.

    Prompts are filled in here: engines would also replace what in a row's text looks like a template.
    `answer_for` is how the engine wants an answer. The digest is of what every engine gets: prompts, answers.
    """
    rows = list(read_rows(dataset))[:limit]
    if not rows:
        raise RunError("DATASET_INVALID", f"Dataset {dataset['dataset_id']} has no rows.")
    target = os.path.join(scratch, f"{dataset['abbr']}.jsonl")
    pairs = [prompt_and_answer(dataset, number, row) for number, row in enumerate(rows, 1)]
    lines = [json.dumps({PROMPT: prompt, ANSWER: answer_for(answer)}) for prompt, answer in pairs]
    write(target, "\n".join(lines) + "\n")
    digest = hashlib.sha256(json.dumps(pairs).encode("ascii")).hexdigest()
    return {**dataset, "file": target, "rows": len(rows), "sha256": digest}


def read_rows(dataset: dict[str, Any]) -> Iterable[dict[str, Any]]:
    """The rows of a JSON Lines or CSV file, blank lines left out."""
    path = dataset["file"]
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            if dataset["format"] == "csv":
                yield from csv.DictReader(file)
                return
            for number, line in enumerate(file, 1):
                if line.strip():
                    yield parse_row(line, number)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        text = f"The rows of {dataset['dataset_id']} cannot be read: {error}. Check source.path and format."
        raise RunError("DATASET_INVALID", text) from error


def parse_row(line: str, number: int) -> dict[str, Any]:
    """One line of JSON Lines."""
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        text = f"Line {number} is not JSON: {type(error).__name__} {error}."
        raise RunError("DATASET_INVALID", text) from error
    if not isinstance(row, dict):
        raise RunError("DATASET_INVALID", f"Line {number} is not a JSON object.")
    return row


def prompt_and_answer(dataset: dict[str, Any], number: int, row: dict[str, Any]) -> tuple[str, str]:
    """What the model is asked, and the reference answer."""
    missing = [
        name for name in [*PLACEHOLDER.findall(dataset["prompt"]), dataset["answer"]] if row.get(name) is None
    ]
    if missing:
        there = ", ".join(sorted(map(str, row)))
        text = f"Row {number} of {dataset['dataset_id']} has no column {missing[0]!r}. It has: {there}."
        raise RunError("DATASET_INVALID", text)
    answer = str(row[dataset["answer"]]).strip()
    if dataset["evaluator"] == "last_number":
        answer = answer.replace(",", "")
    return PLACEHOLDER.sub(lambda match: str(row[match.group(1)]), dataset["prompt"]), answer
