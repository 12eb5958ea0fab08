"""Several lists, each newest first, as one.

The cursor of the one list has the place of each: where the next page begins there. So no run is shown twice
or left out, whatever comes in meanwhile, and however far one list is ahead of the others.
"""

from collections import deque
from collections.abc import Sequence
from datetime import datetime

from budeval.api.cursors import decoded, encoded
from budeval.errors import RequestError
from budeval.runs.run import Run, RunKind
from budeval.runs.source import Entry, RunSource
from budeval.runtime.listing import Cursor

_READS = 10
"""Of each list for one page."""
_BETWEEN_KINDS, _BEFORE_PLACE = "~", "."
"""What no cursor of a single list has in it."""


def merged(
    sources: Sequence[RunSource], cursor: str | None, limit: int, tenant: str | None
) -> tuple[list[Run], str | None]:
    """A page of all sources' runs, newest first, and the cursor for the next; None where this is the last.

    Raises:
        RequestError: CURSOR_INVALID.
    """
    places = _places(cursor, sources)
    readers = [
        _Reader(source, places[source.kind], limit, tenant) for source in sources if source.kind in places
    ]
    found: list[Run] = []
    while len(found) < limit:
        open_ones = [reader for reader in readers if reader.has_more()]
        heads = [(reader.head, reader) for reader in open_ones if reader.head]
        if not heads or len(heads) < len(open_ones):
            break
        run, reader = max(heads, key=lambda head: datetime.fromisoformat(head[0].created))
        reader.take()
        found.append(run)
    return found, _cursor([reader for reader in readers if reader.has_more()])


class _Reader:
    """One source's list, of which runs are taken from the top."""

    def __init__(self, source: RunSource, below: Cursor | None, count: int, tenant: str | None) -> None:
        self.kind = source.kind
        self.below = below
        """Where the next page begins."""
        self._source = source
        self._count = count
        self._tenant = tenant
        self._read: deque[Entry] = deque()
        self._ended = False
        self._reads_left = _READS

    @property
    def head(self) -> Run | None:
        """The next run; None where too many entries had to be passed over to find one."""
        return self._read[0].run if self._read else None

    def has_more(self) -> bool:
        """Whether anything may follow. Reads on until there is a run to be shown."""
        while not self._read and not self._ended and self._reads_left:
            self._read_on()
        return bool(self._read) or not self._ended

    def take(self) -> None:
        """The head is shown: the next one is the head."""
        self.below = self._read.popleft().cursor
        self._pass_over()

    def _read_on(self) -> None:
        self._reads_left -= 1
        entries = self._source.entries(self.below, self._count)
        self._ended = len(entries) < self._count
        self._read.extend(entries)
        # New entries come above: from here on the next page does not begin anew.
        if self.below is None and entries:
            self.below = _above(entries[0].cursor)
        self._pass_over()

    def _pass_over(self) -> None:
        """Leave out what is not to be shown."""
        while self._read and not self._is_shown(self._read[0].run):
            self.below = self._read.popleft().cursor

    def _is_shown(self, run: Run | None) -> bool:
        return run is not None and self._tenant in {None, run.tenant}


def _above(cursor: Cursor) -> Cursor:
    day, page, offset = cursor
    return day, page, offset + 1


def _cursor(readers: Sequence[_Reader]) -> str | None:
    """Of those lists that go on; None where none does."""
    places = [f"{reader.kind}{_BEFORE_PLACE}{encoded(reader.below)}" for reader in readers]
    return _BETWEEN_KINDS.join(places) or None


def _places(cursor: str | None, sources: Sequence[RunSource]) -> dict[RunKind, Cursor | None]:
    """Where to go on in each list; those that have ended are left out."""
    if cursor is None:
        return {source.kind: None for source in sources}
    kinds = {source.kind.value: source.kind for source in sources}
    places: dict[RunKind, Cursor | None] = {}
    for part in cursor.split(_BETWEEN_KINDS):
        kind, _, place = part.partition(_BEFORE_PLACE)
        if kind not in kinds:
            text = "The cursor is none of this list. Leave it out to begin anew."
            raise RequestError(text, code="CURSOR_INVALID", param="cursor")
        places[kinds[kind]] = decoded(place)
    return places
