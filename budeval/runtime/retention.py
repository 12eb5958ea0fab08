"""What ended long ago is forgotten, or state store and artifacts would grow for ever."""

import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Generic, Protocol, TypeVar

from budeval.errors import RequestError, SidecarError

SWEEP_SECONDS = 3600.0

_log = logging.getLogger(__name__)


class Kept(Protocol):
    """The record of a thing that is listed."""

    @property
    def ended(self) -> str | None:
        """When it ended: UTC, ISO 8601; None before."""


KeptT = TypeVar("KeptT", bound=Kept)
KeptT_co = TypeVar("KeptT_co", bound=Kept, covariant=True)


class Keeps(Protocol[KeptT_co]):
    """A store with a list (`budeval.runtime.listing`)."""

    def days(self) -> list[str]:
        """Days of which something is listed, the oldest first."""

    def of_day(self, day: str) -> list[str]:
        """What was created on a day."""

    def forget_day(self, day: str) -> None:
        """Take a day from the list."""

    def find(self, item_id: str, /) -> KeptT_co | None:
        """The record, None where there is none. Raises RequestError where it was deleted."""


class Retention(Generic[KeptT]):
    """Sweeps a list day by day, the oldest first."""

    def __init__(self, store: Keeps[KeptT], forget: Callable[[KeptT], None], keep: timedelta) -> None:
        """Wire it.

        Args:
            store: what has the list.
            forget: deletes what is kept of a thing; raises RequestError where it goes on after all.
            keep: how long after its end a thing stays.
        """
        self._store = store
        self._forget = forget
        self._keep = keep

    def sweep(self) -> None:
        """Forget what ended long enough ago, and days of the list of which nothing is left. May be repeated.

        Raises:
            SidecarError: state store or workflow engine did not answer; the next sweep goes on.
        """
        limit = datetime.now(UTC) - self._keep
        for day in self._store.days():
            if day >= limit.date().isoformat():
                return
            gone = [self._try(item_id, limit) for item_id in self._store.of_day(day)]
            if all(gone):
                self._store.forget_day(day)

    def _try(self, item_id: str, limit: datetime) -> bool:
        """One that cannot be read or forgotten must not keep those behind it from being forgotten."""
        try:
            return self._is_gone(item_id, limit)
        except SidecarError:
            raise  # there the next one would fail, too
        except Exception:  # noqa: BLE001 - see above; the next sweep tries again
            _log.exception("%s could not be forgotten", item_id)
            return False

    def _is_gone(self, item_id: str, limit: datetime) -> bool:
        """Whether nothing is left to be forgotten later."""
        try:
            record = self._store.find(item_id)
        except RequestError:  # it was deleted
            return True
        if record is None:  # a request that was cut off
            return True
        if record.ended is None or datetime.fromisoformat(record.ended) >= limit:
            return False
        try:
            self._forget(record)
        except RequestError:  # it has been begun anew since
            return False
        _log.info("forgotten: %s ended on %s", item_id, record.ended)
        return True
