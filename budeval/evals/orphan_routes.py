"""The HTTP API of what no evaluation owns, for administrators: it spans tenants. Translates only."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query

from budeval.api.access import require_admin
from budeval.api.error_response import ERRORS
from budeval.domain.identifiers import DnsLabel
from budeval.evals.answers import OrphanList, OrphanRemoval
from budeval.evals.orphans import Orphans
from budeval.evals.schema import OrphanRequest

_Name = Annotated[DnsLabel | None, Query()]
_Installation = Annotated[
    DnsLabel | None,
    Query(description="Another service's id, as `others` tells them, or `unmarked`; this one's if left out."),
]


def orphan_routes(orphans: Orphans) -> APIRouter:
    """Find what no evaluation owns, and remove it."""
    router = APIRouter(responses=ERRORS, tags=["receipts"], dependencies=[Depends(require_admin)])

    @router.get("/receipts/orphans")
    def find(
        cluster: _Name = None, namespace: _Name = None, installation: _Installation = None
    ) -> OrphanList:
        """What bears the service's mark in a namespace, or lies in its TMPDIR, and no evaluation owns.

        Takes some seconds: a playbook looks. Secrets cannot be listed; those of runs of which a Job or a
        ConfigMap is there are found by their names.
        """
        return orphans.find(cluster, namespace, installation)

    @router.post("/receipts/orphans:remove")
    def remove(request: OrphanRequest | None = None) -> OrphanRemoval:
        """Remove what is an orphan now, and tell what became of each.

        What an evaluation takes over meanwhile stays. With `installation` it removes what another service has
        made, whose evaluations this one does not know: only if that one is no more.
        """
        wanted = request or OrphanRequest()
        return orphans.remove(wanted.cluster, wanted.namespace, wanted.installation)

    return router
