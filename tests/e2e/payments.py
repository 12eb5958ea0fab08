"""Whether answers were paid for without need while things were killed.

Judged by three records: when the judge was asked what, when the state store's file was seen to hold an answer
or an outcome, and when something was down. All times are those of the machine's clock, in seconds.
"""

import base64
import json
import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Self

_LOOKS_EVERY = 0.05


@dataclass(frozen=True)
class Outage:
    """From a kill until all was up again."""

    began: float
    ended: float


@dataclass(frozen=True)
class Question:
    """That came to the judge."""

    at: float
    name: str
    """The same for the same question; as the ledger calls it."""


@dataclass(frozen=True)
class Payments:
    """What was seen of one job with one metric."""

    asked: Sequence[Question]
    """In order."""
    stored: Mapping[str, float]
    """Questions whose answers the store was seen to hold, and when first."""
    scored: float | None
    """When the store was first seen to hold the outcome; None if never."""
    ended: float
    """When its scores were there, as the API tells it."""


def needless(job: Payments, outages: Sequence[Outage]) -> list[str]:
    """What was asked though there was no need.

    The rule: a question comes again only if its answer was not stored yet, and something was down between its
    coming and its coming again. So it must not come

    - once the store was seen to hold its answer;
    - once another question has come, which a metric asks when the answer to this one is stored;
    - once the outcome was seen in the store, or the job had ended;
    - more often than once and once more for each outage between its first coming and its last.
    """
    found = []
    for at, question in enumerate(job.asked):
        before = job.asked[:at]
        if question.at > job.stored.get(question.name, question.at):
            found.append(f"{question.name} came when its answer was stored")
        if question.name in {other.name for other in before} and before[-1].name != question.name:
            found.append(f"{question.name} came again after another question")
        if question.at > min(job.ended, question.at if job.scored is None else job.scored):
            found.append(f"{question.name} came after the end")
    return [*found, *_unexplained(job, outages)]


def _unexplained(job: Payments, outages: Sequence[Outage]) -> Iterator[str]:
    for name in dict.fromkeys(question.name for question in job.asked):
        times = [question.at for question in job.asked if question.name == name]
        reasons = sum(outage.began <= times[-1] and outage.ended >= times[0] for outage in outages)
        if len(times) - 1 > reasons:
            yield f"{name} came {len(times)} times for {reasons} outages"


class StoreWatch:
    """Looks into the state store's file all the time, while it is open: what it sees was stored before."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._answers: dict[str, dict[str, float]] = {}
        self._outcomes: dict[str, float] = {}

    def __enter__(self) -> Self:
        """Begin."""
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        """End, after a last look."""
        self._closing.set()
        self._thread.join()
        self.look()

    def answers(self, job_id: str) -> Mapping[str, float]:
        """Questions of a job whose answers were seen, and when first."""
        return self._answers.get(job_id, {})

    def outcome(self, job_id: str) -> float | None:
        """When an outcome of a job was first seen."""
        return self._outcomes.get(job_id)

    def look(self) -> None:
        """Note what is there now.

        Raises:
            sqlite3.Error: the file cannot be read, as while its owner starts.
        """
        with closing(sqlite3.connect(f"file:{self._path}?mode=ro", uri=True, timeout=5)) as database:
            ledgers = _rows(database, "score-ledger-", "value, is_binary")
            outcomes = _rows(database, "score-outcome-", "NULL, NULL")
        now = time.time()
        for key, text, is_binary in ledgers:
            answers = self._answers.setdefault(_job_of(key), {})
            for question in json.loads(base64.b64decode(text) if is_binary else text)["paid"]:
                answers.setdefault(question, now)
        for key, _, _ in outcomes:
            self._outcomes.setdefault(_job_of(key), now)

    def _watch(self) -> None:
        while not self._closing.wait(_LOOKS_EVERY):
            try:
                self.look()
            except sqlite3.Error:
                continue


def _rows(database: sqlite3.Connection, kind: str, columns: str) -> list[tuple[str, str, int]]:
    """Of the keys that begin so: by their range, which the index serves."""
    begin = f"budeval||{kind}"
    query = f"SELECT key, {columns} FROM state WHERE key >= ? AND key < ?"  # noqa: S608 - our own words
    return database.execute(query, (begin, f"{begin}~")).fetchall()


def _job_of(key: str) -> str:
    """`budeval||score-ledger-<job>-…`."""
    return key.split("-")[2]
