"""All runs of all sources: the list, one of them, its files."""

from collections.abc import Sequence
from typing import BinaryIO

from budeval.errors import RequestError
from budeval.runs.merging import merged
from budeval.runs.run import Run, RunFiles, RunKind, RunPage
from budeval.runs.source import RunSource


class Runs:
    """What callers ask of runs. Each is shown the runs of his tenant only."""

    def __init__(self, sources: Sequence[RunSource]) -> None:
        self._sources = sources

    def page(self, kind: RunKind | None, cursor: str | None, limit: int, tenant: str | None) -> RunPage:
        """Runs, newest first.

        Args:
            kind: of one kind only.
            cursor: of the page before; None for the newest.
            limit: at most. There may be fewer though more follow: where most are other tenants', a page is
                not looked for for ever.
            tenant: whose; None for those of all.

        Raises:
            RequestError: CURSOR_INVALID.
        """
        sources = [source for source in self._sources if kind in {None, source.kind}]
        runs, following = merged(sources, cursor, limit, tenant)
        return RunPage(runs=runs, cursor=following)

    def find(self, run_id: str, tenant: str | None) -> Run:
        """One run.

        Raises:
            RequestError: RUN_UNKNOWN (404), or that it was deleted (410).
        """
        return self._found(run_id, tenant)[1]

    def files(self, run_id: str, tenant: str | None) -> RunFiles:
        """The files of a run.

        Raises:
            RequestError: as `find`.
        """
        source, run = self._found(run_id, tenant)
        return RunFiles(run_id=run_id, artifacts=source.files(run))

    def open(self, run_id: str, name: str, tenant: str | None) -> tuple[str, BinaryIO]:
        """Media type and content of a file of a run, to be closed.

        Raises:
            RequestError: as `find`; ARTIFACT_UNKNOWN, ARTIFACT_NOT_READY (404).
        """
        source, run = self._found(run_id, tenant)
        opened = source.open(run, name)
        if opened is None:
            text = f"Run {run_id} has no {name} (yet). GET /runs/{run_id}/artifacts lists what it has."
            raise RequestError(text, status=404, code="ARTIFACT_NOT_READY", param="name")
        return opened

    def _found(self, run_id: str, tenant: str | None) -> tuple[RunSource, Run]:
        for source in self._sources:
            run = source.find(run_id, tenant)
            if run is not None:
                return source, run
        raise RequestError(
            f"There is no run {run_id[:80]!r}.", status=404, code="RUN_UNKNOWN", param="run_id"
        )
