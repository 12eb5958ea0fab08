"""The HTTP API. Translates, and decides nothing."""

import uuid
from typing import Any, Protocol

from fastapi import APIRouter, Response

from budeval.api.error_response import ERRORS
from budeval.config import Settings
from budeval.domain.cluster import ClusterVerification
from budeval.domain.steps import VERIFY, WorkflowStep
from budeval.errors import RequestError
from budeval.evals.activities import verification_key
from budeval.evals.answers import (
    Readiness,
    WorkflowStarted,
    WorkflowState,
)
from budeval.evals.clusters import Clusters
from budeval.evals.schema import VerifyClusterRequest
from budeval.evals.workflows import verify_cluster
from budeval.runtime.readiness import ReadinessCheck
from budeval.runtime.sidecar import Sidecar
from budeval.runtime.workflow_engine import WorkflowBody, WorkflowSnapshot

_VERIFY_STEPS = [
    WorkflowStep(
        id=VERIFY,
        title="Verifying the cluster",
        description="Reach the cluster; check namespace, storage claim and the right to run Jobs",
    )
]


class KnowsWorkflows(Protocol):
    """What of the workflow engine is used here; tests put a fake in its place."""

    def schedule(self, workflow: WorkflowBody, workflow_id: str, argument: Any) -> None:
        """Start an instance, or raise SidecarError."""

    def find(self, workflow_id: str) -> WorkflowSnapshot | None:
        """What is known of an instance, None where there is none, or raise SidecarError."""


def health_routes(readiness: ReadinessCheck) -> APIRouter:
    """`/healthz` and `/readyz`."""
    router = APIRouter(tags=["health"])

    @router.get("/healthz")
    async def healthz() -> dict[str, str]:
        """The process is alive. Asks nobody else, and waits for no thread that others may hold."""
        return {"status": "alive"}

    @router.get("/readyz", responses={503: {"model": Readiness}})
    def readyz(response: Response) -> Readiness:
        """Sidecar, state store, broker and workflow engine are reached; 503 names the one that is not."""
        dependencies = readiness.check()
        ready = not any(dependency.problem for dependency in dependencies)
        response.status_code = 200 if ready else 503
        return Readiness(ready=ready, dependencies=dependencies)

    return router


def workflow_routes(
    settings: Settings, engine: KnowsWorkflows, sidecar: Sidecar, clusters: Clusters
) -> APIRouter:
    """The routes that start workflows and tell of them."""
    router = APIRouter(responses=ERRORS)

    @router.post("/clusters:verify", tags=["clusters"], status_code=202)
    def verify(request: VerifyClusterRequest) -> WorkflowStarted:
        """Start to verify that evaluations can run on a cluster; the outcome comes as a notification."""
        target = clusters.target(request.cluster, request.namespace, settings)
        workflow_id = f"verify-{uuid.uuid4()}"
        engine.schedule(verify_cluster, workflow_id, target.model_dump(mode="json"))
        return WorkflowStarted(
            workflow_id=workflow_id, workflow_name=verify_cluster.__name__, steps=_VERIFY_STEPS
        )

    @router.get("/workflow/{workflow_id}/status", tags=["workflows"])
    def workflow_status(workflow_id: str) -> WorkflowState:
        """How far a workflow is, and its outcome once there is one."""
        snapshot = engine.find(workflow_id)
        if snapshot is None:
            raise RequestError(
                f"There is no workflow {workflow_id!r}.",
                status=404,
                code="WORKFLOW_UNKNOWN",
                param="workflow_id",
            )
        stored = sidecar.get_state(verification_key(workflow_id))
        return WorkflowState(
            workflow_id=workflow_id,
            workflow_name=snapshot.name,
            status=snapshot.status,
            param={"status": snapshot.status},
            verification=_without_schema(stored) if stored else None,
            error=snapshot.failure,
        )

    return router


def _without_schema(stored: dict[str, object]) -> ClusterVerification:
    return ClusterVerification.model_validate({name: stored[name] for name in stored if name != "schema"})
