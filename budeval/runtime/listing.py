"""Lists in a store that nobody can query: pages of ids by the day of their creation, and those not ended.

Keys: `index-days` the days there are, `index-<day>-<n>` pages of ids in the order of creation,
`active-<x>` what has not ended; each behind the list's own prefix.
"""

import hashlib
import logging
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol, TypeVar

from pydantic import BaseModel, ValidationError

from budeval.runtime.sidecar import Sidecar

KeptT = TypeVar("KeptT", bound=BaseModel)


class Listed(Protocol):
    """What is kept of a thing on a list."""

    @property
    def created(self) -> str:
        """UTC, ISO 8601."""


LineT = TypeVar("LineT", bound=Listed)

INDEX_PAGE = 200
Cursor = tuple[str, int, int]
"""(day, page, offset from the page's start) of an entry; below it the next ones follow."""
_READS, _PER_READ = 10, 200
"""What a filter looks at, at most."""
_ACTIVE_PAGES = 16
"""So that what begins or ends at the same time seldom writes the same one."""

_log = logging.getLogger(__name__)


def readable(kind: type[KeptT], stored: Any, key: str) -> KeptT | None:
    """One of many: what cannot be read must not keep the others from being read."""
    try:
        return kind.model_validate(stored)
    except ValidationError as error:
        where = [".".join(map(str, problem["loc"])) for problem in error.errors(include_input=False)]
        _log.error("%s cannot be read, and is passed over: %s", key, where)
        return None


def listed_at(line: LineT | None, place: Cursor) -> LineT | None:
    """What is to be shown at a place: each thing on the day of its creation alone.

    Tries of one request may have put it on the list before midnight and after.
    """
    return line if line is not None and line.created.startswith(place[0]) else None


class Listing:
    """The list of one kind of thing by their ids; the base of the store that keeps them."""

    _prefix = ""
    """Keeps the keys of one list from those of another."""

    def __init__(self, sidecar: Sidecar) -> None:
        self._sidecar = sidecar

    def add_to_index(self, item_id: str, day: str) -> None:
        """Put it on the list. May be repeated.

        Args:
            item_id: which.
            day: of its creation, `2026-11-23`.
        """
        self._sidecar.update_state(self._days_key, lambda days: sorted({*(days or []), day}))
        number = 0
        while not self._add_to_page(item_id, self._page_key(day, number)):
            number += 1

    def _add_to_page(self, item_id: str, key: str) -> bool:
        def added(page: Any) -> Any:
            ids = page or []
            return ids if item_id in ids or len(ids) >= INDEX_PAGE else [*ids, item_id]

        return item_id in self._sidecar.update_state(key, added)

    def active(self) -> list[str]:
        """Those that have not ended, or whose end was cut off before all of it was done."""
        keys = [f"{self._prefix}active-{page:x}" for page in range(_ACTIVE_PAGES)]
        return [item_id for page in self._sidecar.get_states(keys) for item_id in page or []]

    def activate(self, item_id: str) -> None:
        """It has not ended: there is something to do for it. May be repeated."""
        self._sidecar.update_state(self._active_key(item_id), lambda ids: sorted({*(ids or []), item_id}))

    def deactivate(self, item_id: str) -> None:
        """There is nothing left to do for it; one that was begun anew meanwhile stays on the list."""
        self._take_off(item_id)
        # Asked afterwards: what a retry noted before is gone with it.
        if self._is_open(item_id):
            self.activate(item_id)

    def _is_open(self, item_id: str) -> bool:
        """Whether there is one, and it has not ended."""
        raise NotImplementedError

    def _take_off(self, item_id: str) -> None:
        self._sidecar.update_state(
            self._active_key(item_id), lambda ids: [other for other in ids or [] if other != item_id]
        )

    def newest(self, cursor: Cursor | None, count: int) -> tuple[list[str], Cursor | None]:
        """Ids, newest first.

        Args:
            cursor: of the entry below which to go on; None for the newest.
            count: at most.

        Returns:
            The ids and the cursor for the next ones, None where there are none.
        """
        found = self.entries(cursor, count + 1)
        ids = [item_id for item_id, _ in found[:count]]
        return ids, found[count - 1][1] if len(found) > count else None

    def matching(
        self,
        below: Cursor | None,
        count: int,
        load: Callable[[list[str]], Mapping[str, LineT]],
        wanted: Callable[[LineT], bool],
    ) -> tuple[list[LineT], Cursor | None]:
        """A page of what is wanted, newest first; of what is listed it looks at about 2,000 at most.

        Args:
            below: of the entry below which to go on; None for the newest.
            count: how many make a page.
            load: what there is of some ids, by id.
            wanted: whether one is.

        Returns:
            What was found, and the cursor for what comes next, or was not looked at; None where nothing does.
        """
        found: list[LineT] = []
        following = None
        for line, below_it in self._walk(below, count, load):
            following = below_it
            if line is not None and wanted(line):
                found.append(line)
            if len(found) == count:
                break
        return found, following

    def _walk(
        self, below: Cursor | None, at_once: int, load: Callable[[list[str]], Mapping[str, LineT]]
    ) -> Iterator[tuple[LineT | None, Cursor | None]]:
        """From below a place on, each with its own place, None where nothing follows; a bounded number.

        A line is None where there is none (any more), or none that can be read. `at_once` is how many are
        likely to be enough.
        """
        for _ in range(_READS):
            listed = self.entries(below, at_once + 1)
            taken, more = listed[:at_once], len(listed) > at_once
            found = load([item_id for item_id, _ in taken])
            for item_id, place in taken:
                yield listed_at(found.get(item_id), place), place if more or place != taken[-1][1] else None
            if not more:
                return
            below, at_once = taken[-1][1], _PER_READ

    def entries(self, cursor: Cursor | None, count: int) -> list[tuple[str, Cursor]]:
        """Ids with the cursor of each, newest first, from below a cursor; fewer than `count` at the end."""
        found: list[tuple[str, Cursor]] = []
        for day, number, ids in self._pages(cursor):
            for offset in reversed(range(len(ids))):
                if cursor is None or (day, number, offset) < cursor:
                    found.append((ids[offset], (day, number, offset)))
                if len(found) == count:
                    return found
        return found

    def days(self) -> list[str]:
        """Days of which something is listed, the oldest first."""
        days: list[str] = self._sidecar.get_state(self._days_key) or []
        return days

    def of_day(self, day: str) -> list[str]:
        """What was created on a day, and perhaps some whose request was cut off."""
        return [item_id for page in self._pages_of(day) for item_id in page]

    def forget_day(self, day: str) -> None:
        """Take a day from the list. May be repeated."""
        for number in reversed(range(len(self._pages_of(day)))):
            self._sidecar.delete_state(self._page_key(day, number))
        self._sidecar.update_state(
            self._days_key, lambda days: [other for other in days or [] if other != day]
        )

    def _pages_of(self, day: str) -> list[list[str]]:
        pages: list[list[str]] = []
        while page := self._sidecar.get_state(self._page_key(day, len(pages))):
            pages.append(page)
        return pages

    def _pages(self, cursor: Cursor | None) -> Iterator[tuple[str, int, list[str]]]:
        """Pages from the newest down, from the cursor's on."""
        for day in reversed(self.days()):
            if cursor and day > cursor[0]:
                continue
            pages = self._pages_of(day)
            for number in reversed(range(len(pages))):
                yield day, number, pages[number]

    @property
    def _days_key(self) -> str:
        return f"{self._prefix}index-days"

    def _page_key(self, day: str, number: int) -> str:
        return f"{self._prefix}index-{day}-{number}"

    def _active_key(self, item_id: str) -> str:
        page = int(hashlib.sha256(item_id.encode()).hexdigest(), 16) % _ACTIVE_PAGES
        return f"{self._prefix}active-{page:x}"
