"""The HTTP API of datasets on the claim. Translates, and decides nothing."""

from typing import Annotated

from fastapi import APIRouter, Query

from budeval.api.access import AskedBy
from budeval.api.error_response import ERRORS
from budeval.domain.identifiers import DnsLabel
from budeval.evals.answers import ClaimFiles, PushedPart
from budeval.evals.datasets import Datasets
from budeval.evals.schema import DatasetPart

_Name = Annotated[DnsLabel | None, Query()]


def dataset_routes(datasets: Datasets) -> APIRouter:
    """Put files on the claim, and list them. Each tenant has a directory of its own there."""
    router = APIRouter(responses=ERRORS, tags=["datasets"])

    @router.post("/data/parts")
    def push(part: DatasetPart, caller: AskedBy) -> PushedPart:
        """Write a part of a file, by a Job. The next part begins at `received`; the same again is harmless.

        Begin at 0: what is there from an earlier try is told. The file is in its place once all has come.
        """
        return datasets.push(part, caller.tenant)

    @router.get("/data")
    def files(
        caller: AskedBy, cluster: _Name = None, namespace: _Name = None, claim: _Name = None
    ) -> ClaimFiles:
        """The tenant's files on the claim with size and digest, by a Job; takes some seconds."""
        return datasets.files(cluster, namespace, claim, caller.tenant)

    return router
