"""What became of everything that was made for an evaluation, and how several looks go together.

Kinds of entries: objects on the cluster (`CLUSTER_KINDS`), and what is kept elsewhere. `at` is UTC, ISO 8601.
"""

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

JOB, POD, CONFIG_MAP, SECRET = "Job", "Pod", "ConfigMap", "Secret"
CLUSTER_KINDS = frozenset({JOB, POD, CONFIG_MAP, SECRET})
PRIVATE_DIRECTORY = "PrivateDirectory"
"""Files of one playbook, on the service's machine: a credential is among them."""
SEALED_SECRETS = "SealedSecrets"
"""API key and kubeconfig in the state store."""
RESULT_TREE = "ResultTree"
"""The evaluation's files on the claim."""
CLEAN_UP = "CleanUp"
"""No object: that the clean-up could not be completed, and why."""

_DIRECTORIES_BY_NAME = 50
"""So many that are gone are told one by one; a long evaluation looks for itself hundreds of times."""


class Fate(StrEnum):
    """What became of something. Each has a proof or a reason."""

    IN_USE = "in_use"
    """It was made, and nobody has removed it yet."""
    DELETED = "deleted"
    """It was seen, deleted, and looked for in vain."""
    GONE = "gone"
    """It was there and is no more; who has deleted it was not seen."""
    KEPT = "kept"
    """It stays on purpose."""
    ENDING = "ending"
    """It is being deleted, and was still there at the last look."""
    REFUSED = "refused"
    """Its deletion was refused."""
    UNKNOWN = "unknown"
    """Nobody could look."""


SETTLED = frozenset({Fate.DELETED, Fate.GONE, Fate.KEPT})
"""There is nothing left to do."""


class ReceiptItem(BaseModel):
    """Something that was made for an evaluation, and what became of it."""

    model_config = ConfigDict(frozen=True)

    kind: str = Field(
        description="`Job`, `Pod`, `ConfigMap`, `Secret`; `PrivateDirectory`, `SealedSecrets`, `ResultTree`; "
        "`CleanUp` where the clean-up itself could not be completed."
    )
    name: str
    namespace: str | None = None
    uid: str | None = Field(None, description="Of an object on the cluster, as far as it was seen.")
    host: str | None = Field(None, description="Of a private directory: on which machine.")
    count: int = Field(1, description="Of private directories that are told together: how many.")
    outcome: Fate
    at: str | None = Field(None, description="When that was seen.")
    proof: str | None = Field(None, description="Of what is no more: what was seen.")
    reason: str | None = Field(None, description="Of what is there, or may be: why.")

    @model_validator(mode="before")
    @classmethod
    def _of_old(cls, stored: Any) -> Any:
        """Before there were proofs, an outcome was `deleted` or a text."""
        if not isinstance(stored, dict) or set(stored) != {"kind", "name", "outcome"}:
            return stored
        kind, text = stored["kind"], stored["outcome"]
        if text == Fate.DELETED:
            return {**stored, "proof": "The API server took the deletion; nobody looked again."}
        if kind == "Evaluation":
            return {"kind": CLEAN_UP, "name": stored["name"], "outcome": Fate.UNKNOWN, "reason": text}
        outcome = Fate.ENDING if text == "still ending" else Fate.REFUSED
        return {**stored, "outcome": outcome, "reason": text}

    @property
    def settled(self) -> bool:
        """There is nothing left to do about it."""
        return self.outcome in SETTLED


def with_news(before: Iterable[ReceiptItem], news: Iterable[ReceiptItem]) -> list[ReceiptItem]:
    """A receipt with newer entries in the place of those about the same things.

    A clean-up that could not be completed is told until everything on the cluster is settled.
    """
    known: dict[tuple[str, str, str | None], list[ReceiptItem]] = {}
    for item in before:
        known.setdefault(_key(item), []).append(item)
    fresh = []
    for item in news:
        others = known.get(_key(item), [])
        same = [old for old in others if None in {old.uid, item.uid} or old.uid == item.uid]
        known[_key(item)] = [old for old in others if old not in same]
        uid = item.uid or next((old.uid for old in same if old.uid), None)
        fresh.append(item.model_copy(update={"uid": uid}))
    items = [*(item for several in known.values() for item in several), *fresh]
    on_cluster = [item for item in items if item.kind in CLUSTER_KINDS]
    is_over = bool(on_cluster) and all(item.settled for item in on_cluster)
    return [item for item in items if not (is_over and item.kind == CLEAN_UP)]


def _key(item: ReceiptItem) -> tuple[str, str, str | None]:
    return item.kind, item.name, item.host


def after_clean_up(
    before: Iterable[ReceiptItem], found: Iterable[ReceiptItem], absence: Mapping[str, str], at: str
) -> list[ReceiptItem]:
    """A receipt after a clean-up, which has looked for every object of the evaluation on the cluster.

    Args:
        before: what was known.
        found: what it has found, and what became of each.
        absence: kind -> what shows that nothing else of that kind is there.
        at: when.
    """
    gone = [
        item.model_copy(update={"outcome": Fate.GONE, "at": at, "proof": absence[item.kind], "reason": None})
        if item.kind in absence and not item.settled
        else item
        for item in before
        if item.kind != CLEAN_UP
    ]
    return with_news(gone, found)


def left_behind(before: Iterable[ReceiptItem], eval_id: str, problem: str, at: str) -> list[ReceiptItem]:
    """A receipt after a clean-up that could not be completed, because of `problem`."""
    note = ReceiptItem(kind=CLEAN_UP, name=eval_id, outcome=Fate.UNKNOWN, at=at, reason=problem)
    others = [
        item.model_copy(update={"outcome": Fate.UNKNOWN, "at": at, "reason": problem})
        if item.kind in CLUSTER_KINDS and item.outcome is Fate.IN_USE
        else item
        for item in before
        if item.kind != CLEAN_UP
    ]
    return [*others, note]


def bounded(items: list[ReceiptItem]) -> list[ReceiptItem]:
    """A receipt in which only the newest of the private directories that are gone are told one by one."""
    gone = [item for item in items if item.kind == PRIVATE_DIRECTORY and item.outcome is Fate.DELETED]
    surplus = gone[:-_DIRECTORIES_BY_NAME]
    if not surplus:
        return items
    together = ReceiptItem(
        kind=PRIVATE_DIRECTORY,
        name="earlier ones",
        count=sum(item.count for item in surplus),
        outcome=Fate.DELETED,
        at=surplus[-1].at,
        proof="Each was looked for, and was not there.",
    )
    return [together, *(item for item in items if item not in surplus)]
