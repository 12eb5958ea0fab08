"""The HTTP API of runs. Translates, and decides nothing."""

import os
from collections.abc import Iterator
from typing import Annotated, BinaryIO

from fastapi import APIRouter, Query
from fastapi.responses import StreamingResponse

from budeval.api.access import AskedBy
from budeval.api.error_response import ERRORS
from budeval.runs.run import Run, RunFiles, RunKind, RunPage
from budeval.runs.runs import Runs

_PIECE = 64 * 1024


def run_routes(runs: Runs) -> APIRouter:
    """The list of all runs, and their files."""
    router = APIRouter(responses=ERRORS, tags=["runs"])

    @router.get("/runs")
    def all_runs(
        caller: AskedBy,
        kind: RunKind | None = None,
        cursor: str | None = None,
        limit: Annotated[int, Query(ge=1, le=200)] = 50,
    ) -> RunPage:
        """Evaluations and jobs of scoring in one list, newest first."""
        return runs.page(kind, cursor, limit, caller.sees)

    @router.get("/runs/{run_id}")
    def run(run_id: str, caller: AskedBy) -> Run:
        """One run; `href` tells where to find all of it."""
        return runs.find(run_id, caller.sees)

    @router.get("/runs/{run_id}/artifacts")
    def artifacts(run_id: str, caller: AskedBy) -> RunFiles:
        """The files that a run has by now."""
        return runs.files(run_id, caller.sees)

    @router.get(
        "/runs/{run_id}/artifacts/{name}",
        response_class=StreamingResponse,
        responses={200: {"content": {"application/octet-stream": {}}, "description": "The file."}},
    )
    def artifact(run_id: str, name: str, caller: AskedBy) -> StreamingResponse:
        """A file, to be kept and not shown: it holds what models and users wrote."""
        media_type, content = runs.open(run_id, name, caller.sees)
        headers = {
            "Content-Disposition": f'attachment; filename="{name}"',
            "Content-Length": str(content.seek(0, os.SEEK_END)),
            "X-Content-Type-Options": "nosniff",
        }
        content.seek(0)
        return StreamingResponse(_pieces(content), media_type=media_type, headers=headers)

    return router


def _pieces(content: BinaryIO) -> Iterator[bytes]:
    with content:
        while piece := content.read(_PIECE):
            yield piece
