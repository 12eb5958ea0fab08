"""The ledger of a metric in the state store: it outlives our own end."""

import asyncio
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from typing import Any

from budeval.domain.scoring import Usage
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
    """Answers outlive it; failures count anew in each."""


class StoredLedger:
    """A `Ledger`, written at each change. One process at a time scores a metric of a sample."""

    def __init__(self, store: ScoreStore, place: Place, stored: dict[str, Any], aside: Executor) -> None:
        """Go on from what is stored; `aside` has threads for calls of the sidecar."""
        self._store = store
        self._place = place
        self._aside = aside
        self._paid = {key: Paid.model_validate(value) for key, value in stored.get("paid", {}).items()}
        self.lost = Usage.model_validate(stored.get("lost", {}))
        same_attempt = stored.get("attempt") == place.attempt
        self.failures: int = stored["failures"] if same_attempt else 0
        """How often in this attempt an endpoint, or an engine, gave nothing."""

    @classmethod
    def load(cls, store: ScoreStore, place: Place, aside: Executor) -> "StoredLedger":
        """As it was left."""
        stored = store.ledger(place.job_id, place.sample, place.metric, place.repeat)
        return cls(store, place, stored, aside)

    @property
    def spent(self) -> Usage:
        """All that was spent."""
        return sum((paid.usage for paid in self._paid.values()), self.lost)

    def find(self, question: str) -> Paid | None:
        """See `Ledger`."""
        return self._paid.get(question)

    async def keep(self, question: str, paid: Paid) -> None:
        """See `Ledger`."""
        self._paid[question] = paid
        await self._save()

    async def lose(self, usage: Usage) -> None:
        """See `Ledger`."""
        self.lost += usage
        self.failures += 1
        await self._save()

    async def _save(self) -> None:
        document = {
            "schema": 1,
            "paid": {key: paid.model_dump(mode="json") for key, paid in self._paid.items()},
            "lost": self.lost.model_dump(mode="json"),
            "attempt": self._place.attempt,
            "failures": self.failures,
        }
        place = self._place
        save = partial(
            self._store.save_ledger, place.job_id, place.sample, place.metric, place.repeat, document
        )
        await asyncio.get_running_loop().run_in_executor(self._aside, save)
