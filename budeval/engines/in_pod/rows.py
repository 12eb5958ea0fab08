"""The rows of a team's own dataset: checked, and turned into prompts and answers."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import re
from collections.abc import Callable, Iterable
from decimal import Decimal
from typing import Any

from budeval.engines.in_pod.failure import RunError
from budeval.engines.in_pod.files import write

PLACEHOLDER = re.compile(r"\{([A-Za-z_][A-Za-z0-9_ ]*)\}")
PROMPT, ANSWER = "budeval_prompt", "budeval_answer"
OPTIONS = "ABCDEFGHIJ"
LONGEST_QUOTE = 60
LARGEST_PLAIN = 10**30  # beyond, a number such as 1e999999 would be written out


def is_own(dataset: dict[str, Any]) -> bool:
    """Whether its rows come from the team and not with OpenCompass."""
    return bool(dataset["kind"] == "own")


def prepare_rows(
    dataset: dict[str, Any], limit: int | None, scratch: str, answer_for: Callable[[str], Any] = str
) -> dict[str, Any]:
    """Check the rows of an own dataset and write them as an engine gets them: prompt and answer.

    Prompts are filled in here: engines would also replace what in a row's text looks like a template.
    `answer_for` is how the engine wants an answer. `sha256` is of what every engine gets, prompts and
    answers; `rows_sha256` of the rows themselves with their answers, which another prompt leaves as they are.
    """
    there = list(read_rows(dataset))
    rows = there[:limit]
    if not rows:
        raise RunError("DATASET_INVALID", f"Dataset {dataset['dataset_id']} has no rows.")
    target = os.path.join(scratch, f"{dataset['abbr']}.jsonl")
    pairs = [prompt_and_answer(dataset, number, row) for number, row in enumerate(rows, 1)]
    lines = [json.dumps({PROMPT: prompt, ANSWER: answer_for(answer)}) for prompt, answer in pairs]
    write(target, "\n".join(lines) + "\n")
    digests = {"sha256": digest_of(pairs), "rows_sha256": digest_of([rows, [answer for _, answer in pairs]])}
    return {**dataset, "file": target, "rows": len(rows), "rows_there": len(there), **digests}


def digest_of(value: Any) -> str:
    """SHA-256 of a value as JSON."""
    return hashlib.sha256(json.dumps(value).encode("ascii")).hexdigest()


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
    answer = usable_answer(dataset, number, str(row[dataset["answer"]]).strip())
    return PLACEHOLDER.sub(lambda match: str(row[match.group(1)]), dataset["prompt"]), answer


def usable_answer(dataset: dict[str, Any], number: int, answer: str) -> str:
    """The answer as evaluators take it. One that every reply or none can match would be scored in silence."""
    evaluator = dataset["evaluator"]
    if evaluator == "last_number":
        usable, wanted = plain_number(answer), "a number"
    elif evaluator == "choice":
        usable, wanted = answer if len(answer) == 1 and answer in OPTIONS else "", "one letter, A to J"
    else:
        usable, wanted = answer, "a text"
    if not usable:
        said = answer if len(answer) <= LONGEST_QUOTE else answer[:LONGEST_QUOTE] + "…"
        text = f"Row {number} of {dataset['dataset_id']} has the answer {said!r}; {evaluator} wants {wanted}."
        raise RunError("DATASET_INVALID", text)
    return usable


def plain_number(text: str) -> str:
    """A number without separators, and without decimals that are nothing; empty where it is none."""
    plain = text.replace(",", "")
    try:
        value = Decimal(plain)
    except ArithmeticError:
        return ""
    if not value.is_finite():
        return ""
    return str(int(value)) if value == value.to_integral_value() and abs(value) < LARGEST_PLAIN else plain
