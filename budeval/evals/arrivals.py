"""Requests that are coming in: what each is about to keep, noted before it keeps anything.

Nothing can search the state store. A service that dies between a request's secrets and its record would leave
secrets that nobody finds, if the caller does not ask again. Each time that a request comes in, again or for
the first time, it is an arrival of its own, and keeps its things under its own name (`kept_as`). So whatever
was cut off can be removed without harm to another that comes in at the same moment.

State: `arriving-<page>`, {arrival: what is known of it}.
"""

import hashlib
import secrets
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

from pydantic import BaseModel, ConfigDict

from budeval.domain.evaluation import EvaluationRecord, kept_as
from budeval.evals.store import EvaluationStore
from budeval.runtime.sidecar import Sidecar
from budeval.runtime.vault import Vault

_PAGES = 16
"""So that requests that come in at the same time seldom write the same one."""
_CUT_OFF_AFTER = timedelta(minutes=10)
"""A request takes seconds: after this nobody is working at it any more."""


class Arrival(BaseModel):
    """A request that is coming in, or was cut off."""

    model_config = ConfigDict(frozen=True)

    arrival: str
    eval_id: str
    rows: list[str]
    """Digests of its inline rows."""
    at: datetime

    @property
    def kept_as(self) -> str:
        """Under what it keeps its secrets and rows."""
        return kept_as(self.eval_id, self.arrival)

    def belongs_to(self, record: EvaluationRecord | None) -> bool:
        """Whether a record tells of it: then what it keeps is the record's."""
        return record is not None and self.arrival in {record.arrival, record.retry_arrival}

    def is_cut_off(self, now: datetime) -> bool:
        """Whether nobody is working at it any more."""
        return now - self.at > _CUT_OFF_AFTER


class Arrivals:
    """Knows what is coming in."""

    def __init__(self, sidecar: Sidecar, store: EvaluationStore, vault: Vault) -> None:
        self._sidecar = sidecar
        self._store = store
        self._vault = vault

    def begin(self, eval_id: str, rows: Iterable[str] = ()) -> Arrival:
        """A request comes in; to be called before anything of it is kept.

        Args:
            eval_id: of which evaluation.
            rows: digests of the rows that it will keep.
        """
        arrival = Arrival(
            arrival=secrets.token_hex(8), eval_id=eval_id, rows=sorted(rows), at=datetime.now(UTC)
        )
        noted = arrival.model_dump(mode="json", exclude={"arrival"})
        self._sidecar.update_state(_key(eval_id), lambda page: {**(page or {}), arrival.arrival: noted})
        return arrival

    def seal(self, arrival: Arrival, values: dict[str, str]) -> None:
        """Keep its secrets."""
        self._vault.put(arrival.kept_as, values)

    def end(self, arrival: Arrival) -> None:
        """Its record tells of it, or nothing of it is kept. May be repeated."""

        def without(page: Any) -> Any:
            return {name: noted for name, noted in (page or {}).items() if name != arrival.arrival}

        self._sidecar.update_state(_key(arrival.eval_id), without)

    def forget(self, arrival: Arrival) -> None:
        """Remove all that it keeps, which no record tells of. May be repeated."""
        self._vault.destroy(arrival.kept_as)
        for digest in arrival.rows:
            self._store.forget_rows(arrival.kept_as, digest)
        self.end(arrival)

    def all(self) -> list[Arrival]:
        """Those that have not been ended."""
        pages = self._sidecar.get_states([f"arriving-{page:x}" for page in range(_PAGES)])
        return [Arrival(arrival=name, **noted) for page in pages for name, noted in (page or {}).items()]


def _key(eval_id: str) -> str:
    return f"arriving-{int(hashlib.sha256(eval_id.encode()).hexdigest(), 16) % _PAGES:x}"
