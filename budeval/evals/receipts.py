"""The receipts of evaluations in the state store, `receipt-<eval_id>`: what was made, and what became of it.

A private directory is entered before its playbook runs, so that one which a killed service has left is known.
What became of it nobody notes: whoever writes or reads the receipt looks for it.
"""

import socket
import tempfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from budeval.domain.receipt import (
    PRIVATE_DIRECTORY,
    Fate,
    ReceiptItem,
    after_clean_up,
    bounded,
    left_behind,
    with_news,
)
from budeval.evals.receipt_entries import directory_in_use, now
from budeval.runtime.sidecar import Sidecar

Items = list[ReceiptItem]

_ELSEWHERE = "It was on another machine, or in another TMPDIR: what became of it cannot be seen from here."


def receipt_key(eval_id: str) -> str:
    """Where the receipt of an evaluation is in the state store."""
    return f"receipt-{eval_id}"


class Receipts:
    """Keeps receipts. Everything may be said twice."""

    def __init__(self, sidecar: Sidecar, swept: Mapping[str, str]) -> None:
        """Wire it.

        Args:
            sidecar: the state store.
            swept: private directories that this service has found left behind when it started: path -> when.
        """
        self._sidecar = sidecar
        self._swept = swept

    def of(self, eval_id: str) -> Items:
        """What is known so far; private directories as they are now."""
        return self._looked_for(_loaded(self._sidecar.get_state(receipt_key(eval_id))))

    def enter_directory(self, eval_id: str, path: Path) -> None:
        """A playbook of the evaluation is about to put its files there."""
        self.note(eval_id, [directory_in_use(path)])

    def note(self, eval_id: str, items: Iterable[ReceiptItem]) -> None:
        """Keep what was made, or what became of it."""
        news = list(items)
        if news:
            self._update(eval_id, lambda before: with_news(before, news))

    def clean_up(self, eval_id: str, found: Items, absence: Mapping[str, str]) -> None:
        """Keep what a clean-up has done; see `after_clean_up`."""
        at = now()
        self._update(eval_id, lambda before: after_clean_up(before, found, absence, at))

    def leave(self, eval_id: str, problem: str) -> None:
        """Keep why a clean-up could not be completed."""
        at = now()
        self._update(eval_id, lambda before: left_behind(before, eval_id, problem, at))

    def _update(self, eval_id: str, change: Callable[[Items], Items]) -> None:
        def changed(stored: Any) -> Any:
            items = bounded(self._looked_for(change(_loaded(stored))))
            return {
                "schema": 2,
                "objects": [item.model_dump(mode="json", exclude_defaults=True) for item in items],
            }

        self._sidecar.update_state(receipt_key(eval_id), changed)

    def _looked_for(self, items: Items) -> Items:
        return [self._looked_for_one(item) if _is_open_directory(item) else item for item in items]

    def _looked_for_one(self, entry: ReceiptItem) -> ReceiptItem:
        path = Path(entry.name)
        if entry.host != socket.gethostname() or path.parent != Path(tempfile.gettempdir()):
            fate: dict[str, Any] = {"outcome": Fate.UNKNOWN, "reason": _ELSEWHERE}
        elif path.exists():
            return entry
        else:
            fate = {"outcome": Fate.DELETED, "proof": self._proof(entry), "reason": None}
        return entry.model_copy(update={**fate, "at": now()})

    def _proof(self, entry: ReceiptItem) -> str:
        text = f"There is no {entry.name} on {entry.host}."
        if entry.name not in self._swept:
            return text
        return f"{text} A killed service had left it; the next one removed it at {self._swept[entry.name]}."


def _is_open_directory(item: ReceiptItem) -> bool:
    return item.kind == PRIVATE_DIRECTORY and not item.settled


def _loaded(stored: Any) -> Items:
    return [ReceiptItem.model_validate(item) for item in stored["objects"]] if stored else []
