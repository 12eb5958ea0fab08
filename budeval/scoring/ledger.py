"""What the answers to one metric's questions were and cost, so that none is paid for twice.

A metric asks more than once, and may be cut off in between, by a limit of the endpoint or by our own end.
Whoever repeats it finds here what was answered before, and asks only for the rest.
"""

import hashlib
from collections.abc import Sequence
from typing import Any, Protocol

from pydantic import BaseModel, ConfigDict

from budeval.domain.scoring import Usage


class Paid(BaseModel):
    """An answer, and what it cost."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    answer: Any
    usage: Usage


class Ledger(Protocol):
    """Of one metric of one sample."""

    @property
    def lost(self) -> Usage:
        """What was spent on questions that were not answered."""

    def find(self, question: str) -> Paid | None:
        """The answer that was given to a question before."""

    async def keep(self, question: str, paid: Paid) -> None:
        """Store an answer before anything is made of it."""

    async def lose(self, usage: Usage) -> None:
        """Store what an unanswered question has cost; it counts as a failure."""

    async def cut_off(self, usage: Usage) -> None:
        """Store what a question has cost that was cut off by a cancellation, which is nobody's failure."""


class MemoryLedger:
    """Forgets with its process: for those who score without the service."""

    def __init__(self) -> None:
        self._paid: dict[str, Paid] = {}
        self.lost = Usage()

    def find(self, question: str) -> Paid | None:
        """See `Ledger`."""
        return self._paid.get(question)

    async def keep(self, question: str, paid: Paid) -> None:
        """See `Ledger`."""
        self._paid[question] = paid

    async def lose(self, usage: Usage) -> None:
        """See `Ledger`."""
        self.lost += usage

    async def cut_off(self, usage: Usage) -> None:
        """See `Ledger`."""
        self.lost += usage


def question_of(parts: Sequence[str]) -> str:
    """A digest that is the same for the same question."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(f"{len(part)}:".encode())
        digest.update(part.encode(errors="surrogatepass"))
    return digest.hexdigest()[:32]
