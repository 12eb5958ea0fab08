"""The ledger of a metric in the state store: it outlives our own end.

What it cannot take is asked for again; that it was spent is remembered here until the ledger can be written.
"""

import asyncio
from collections.abc import Mapping, MutableMapping
from concurrent.futures import Executor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from budeval.domain.scoring import MetricOutcome, Usage
from budeval.errors import SidecarError
from budeval.scoring.ledger import Paid
from budeval.scoring.store import ScoreStore

WAITS = (0.1, 0.5, 2.0)
"""Seconds before each further try of a write: what could not be stored would be paid for again."""


@dataclass(frozen=True)
class Place:
    """Whose ledger it is."""

    job_id: str
    sample: int
    metric: str
    repeat: int
    attempt: int = field(compare=False)
    """Answers outlive it; failures count anew in each, and what has failed is asked again."""


@dataclass(frozen=True)
class _Books:
    """What stands in a ledger."""

    paid: Mapping[str, Paid]
    lost: Usage
    failures: int
    failed: MetricOutcome | None

    @property
    def spent(self) -> Usage:
        return sum((paid.usage for paid in self.paid.values()), self.lost)


Unwritten = MutableMapping[Place, Usage]
"""All that was spent of ledgers whose last write has failed, was cut off, or is under way."""


class StoredLedger:
    """A `Ledger`, written at each change. Whoever scores a metric of a sample does so alone.

    An answer that cannot be written is not in it either, so that what comes after it can be; what it has cost
    counts as lost.
    """

    def __init__(
        self, store: ScoreStore, place: Place, stored: dict[str, Any], aside: Executor, unwritten: Unwritten
    ) -> None:
        """Go on from what is stored; `aside` has threads for calls of the sidecar."""
        self._store = store
        self._place = place
        self._aside = aside
        self._unwritten = unwritten
        same_attempt = stored.get("attempt") == place.attempt
        books = _Books(
            paid={key: Paid.model_validate(value) for key, value in stored.get("paid", {}).items()},
            lost=Usage.model_validate(stored.get("lost", {})),
            failures=stored["failures"] if same_attempt else 0,
            failed=_outcome(stored.get("failed")) if same_attempt else None,
        )
        # Compared with what is there: of a write that failed only the answer may have been lost.
        missing = unwritten.get(place, Usage()).beyond(books.spent)
        self._books = replace(books, lost=books.lost + missing)

    @classmethod
    def load(cls, store: ScoreStore, place: Place, aside: Executor, unwritten: Unwritten) -> "StoredLedger":
        """As it was left."""
        stored = store.ledger(place.job_id, place.sample, place.metric, place.repeat)
        return cls(store, place, stored, aside, unwritten)

    @property
    def lost(self) -> Usage:
        """See `Ledger`."""
        return self._books.lost

    @property
    def failures(self) -> int:
        """How often in this attempt an endpoint, or an engine, gave nothing."""
        return self._books.failures

    @property
    def failed(self) -> MetricOutcome | None:
        """How it has failed for good in this attempt; None where it has not."""
        return self._books.failed

    @property
    def spent(self) -> Usage:
        """All that was spent."""
        return self._books.spent

    def find(self, question: str) -> Paid | None:
        """See `Ledger`."""
        return self._books.paid.get(question)

    async def keep(self, question: str, paid: Paid) -> None:
        """See `Ledger`."""
        await self._write(replace(self._books, paid={**self._books.paid, question: paid}))

    async def lose(self, usage: Usage) -> None:
        """See `Ledger`."""
        await self._write(replace(self._books, lost=self.lost + usage, failures=self.failures + 1))

    async def cut_off(self, usage: Usage) -> None:
        """See `Ledger`."""
        await self._write(replace(self._books, lost=self.lost + usage))

    async def fail(self, outcome: MetricOutcome) -> None:
        """Store that it has failed for good: in this attempt nobody asks again."""
        await self._write(replace(self._books, failed=outcome))

    async def _write(self, books: _Books) -> None:
        # In force at once: who is cut off while it is written has spent it.
        before, self._books = self._books, books
        self._unwritten[self._place] = books.spent
        try:
            await self._persist(books)
        except Exception:
            self._books = replace(before, lost=before.lost + books.spent.beyond(before.spent))
            raise
        self._unwritten.pop(self._place, None)

    async def _persist(self, books: _Books) -> None:
        save = partial(asyncio.get_running_loop().run_in_executor, self._aside, self._save, books)
        for wait in WAITS:
            with suppress(SidecarError):
                await save()
                return
            await asyncio.sleep(wait)
        await save()

    def _save(self, books: _Books) -> None:
        document = {
            "schema": 1,
            "paid": {key: paid.model_dump(mode="json") for key, paid in books.paid.items()},
            "lost": books.lost.model_dump(mode="json"),
            "attempt": self._place.attempt,
            "failures": books.failures,
            "failed": books.failed and books.failed.model_dump(mode="json"),
        }
        place = self._place
        self._store.save_ledger(place.job_id, place.sample, place.metric, place.repeat, document)


def _outcome(stored: Any) -> MetricOutcome | None:
    return MetricOutcome.model_validate(stored) if stored else None
