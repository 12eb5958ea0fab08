"""A fake source of runs: a list in memory, read as the real ones are."""

import io
from datetime import UTC, datetime, timedelta
from typing import BinaryIO

from budeval.runs.run import Run, RunFile, RunKind, RunStatus
from budeval.runs.source import Entry, unknown_file
from budeval.runtime.listing import Cursor

_FIRST = datetime(2026, 1, 1, tzinfo=UTC)


def run(run_id: str, minute: int = 0, kind: RunKind = RunKind.EVALUATION, tenant: str = "default") -> Run:
    """A run that was created so many minutes after the first."""
    created = (_FIRST + timedelta(minutes=minute)).isoformat()
    return Run(
        run_id=run_id,
        kind=kind,
        name=run_id,
        status=RunStatus.RUNNING,
        created=created,
        models=[],
        tenant=tenant,
        href="/",
    )


class FakeSource:
    """Runs of one kind in the order in which they were added."""

    def __init__(self, kind: RunKind, per_page: int = 3) -> None:
        self.kind = kind
        self.reads = 0
        self._per_page = per_page
        self._runs: list[Run | None] = []

    def add(self, *runs: Run | None) -> None:
        """The newest last; None is one that is not to be shown."""
        self._runs += runs

    def entries(self, below: Cursor | None, count: int) -> list[Entry]:
        """As the real ones do."""
        self.reads += 1
        placed = [Entry(("day", *divmod(at, self._per_page)), one) for at, one in enumerate(self._runs)]
        return [entry for entry in reversed(placed) if below is None or entry.cursor < below][:count]

    def find(self, run_id: str, tenant: str | None) -> Run | None:
        """As the real ones do."""
        found = [one for one in self._runs if one and one.run_id == run_id and tenant in {None, one.tenant}]
        return found[0] if found else None

    def files(self, run: Run) -> list[RunFile]:
        """One file of each run, which holds its name."""
        return [RunFile(name="name.txt", media_type="text/plain", bytes=len(run.name))]

    def open(self, run: Run, name: str) -> tuple[str, BinaryIO] | None:
        """As the real ones do; `later.txt` is never there yet."""
        if name not in {"name.txt", "later.txt"}:
            raise unknown_file(name, ["name.txt", "later.txt"])
        return ("text/plain", io.BytesIO(run.name.encode())) if name == "name.txt" else None
