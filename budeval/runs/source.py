"""Where runs come from. Each kind has one source, which knows where its runs and their files are kept."""

from dataclasses import dataclass
from typing import BinaryIO, Protocol

from budeval.errors import RequestError
from budeval.runs.run import Run, RunFile, RunKind
from budeval.runtime.listing import Cursor


@dataclass(frozen=True)
class Entry:
    """A place in a source's list."""

    cursor: Cursor
    run: Run | None
    """None where there is nothing to be shown: it was deleted, or its request was cut off."""


class RunSource(Protocol):
    """The runs of one kind."""

    kind: RunKind

    def entries(self, below: Cursor | None, count: int) -> list[Entry]:
        """Newest first, of all tenants, from below a cursor; fewer than `count` only at the end."""

    def find(self, run_id: str, tenant: str | None) -> Run | None:
        """The run; None where it is none of this source's, or another tenant's.

        Args:
            run_id: whatever somebody put into a path.
            tenant: that must own it; None for any.

        Raises:
            RequestError: it was deleted (410).
        """

    def files(self, run: Run) -> list[RunFile]:
        """What there is by now."""

    def open(self, run: Run, name: str) -> tuple[str, BinaryIO] | None:
        """Media type and content of a file, to be closed; None where it is not there yet.

        Raises:
            RequestError: ARTIFACT_UNKNOWN: runs of this kind have no file of that name.
        """


def unknown_file(name: str, names: list[str]) -> RequestError:
    """What is asked of a file that no run of a kind ever has."""
    text = f"There is no artifact {name[:64]!r}. There are: {', '.join(names)}."
    return RequestError(text, status=404, code="ARTIFACT_UNKNOWN", param="name")
