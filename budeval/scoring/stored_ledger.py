"""The ledger of a metric in the state store: it outlives our own end."""

import asyncio
from collections.abc import Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from budeval.domain.scoring import MetricOutcome, Usage
from budeval.scoring.ledger import Paid
from budeval.scoring.store import ScoreStore


@dataclass(frozen=True)
class Place:
    """Whose ledger it is."""

    job_id: str
    sample: int
    metric: str
    repeat: int
    attempt: int
    """Answers outlive it; failures count anew in each, and what has failed is asked again."""


@dataclass(frozen=True)
class _Books:
    """What stands in a ledger."""

    paid: Mapping[str, Paid]
    lost: Usage
    failures: int
    failed: MetricOutcome | None


class StoredLedger:
    """A `Ledger`, written at each change. Whoever scores a metric of a sample does so alone.

    What cannot be written is not in it either, so that what comes after it can be.
    """

    def __init__(self, store: ScoreStore, place: Place, stored: dict[str, Any], aside: Executor) -> None:
        """Go on from what is stored; `aside` has threads for calls of the sidecar."""
        self._store = store
        self._place = place
        self._aside = aside
        same_attempt = stored.get("attempt") == place.attempt
        self._books = _Books(
            paid={key: Paid.model_validate(value) for key, value in stored.get("paid", {}).items()},
            lost=Usage.model_validate(stored.get("lost", {})),
            failures=stored["failures"] if same_attempt else 0,
            failed=_outcome(stored.get("failed")) if same_attempt else None,
        )

    @classmethod
    def load(cls, store: ScoreStore, place: Place, aside: Executor) -> "StoredLedger":
        """As it was left."""
        stored = store.ledger(place.job_id, place.sample, place.metric, place.repeat)
        return cls(store, place, stored, aside)

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
        return sum((paid.usage for paid in self._books.paid.values()), self.lost)

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
        try:
            await asyncio.get_running_loop().run_in_executor(self._aside, partial(self._save, books))
        except Exception:
            self._books = before
            raise

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
