"""What callers send and get."""

from pydantic import BaseModel, ConfigDict, Field

from budeval.domain.cluster import ClusterVerification
from budeval.domain.identifiers import DnsLabel
from budeval.domain.notification import WorkflowStatus
from budeval.runtime.readiness import DependencyHealth


class VerifyClusterRequest(BaseModel):
    """Which cluster to verify; whatever is left out comes from the settings."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    cluster: DnsLabel | None = Field(None, description="Name of a configured cluster.")
    namespace: DnsLabel | None = Field(
        None, description="Kubernetes namespace that evaluations would run in."
    )


class WorkflowStep(BaseModel):
    """A step that notifications will name in `payload.event`."""

    id: str
    title: str
    description: str


class WorkflowStarted(BaseModel):
    """A workflow was started."""

    object: str = "workflow_metadata"
    workflow_id: str
    workflow_name: str
    steps: list[WorkflowStep]
    status: WorkflowStatus = WorkflowStatus.PENDING
    eta: int | None = Field(None, description="Seconds.")


class WorkflowState(BaseModel):
    """How far a workflow is."""

    object: str = "workflow_state"
    workflow_id: str
    workflow_name: str
    status: WorkflowStatus
    verification: ClusterVerification | None = Field(None, description="The outcome, once there is one.")
    error: str | None = Field(None, description="`CODE: message` when the workflow failed.")


class Readiness(BaseModel):
    """Whether the service can take work, dependency by dependency."""

    ready: bool
    dependencies: list[DependencyHealth]


class ErrorResponse(BaseModel):
    """Every answer that is not a success."""

    object: str = "error"
    message: str
    type: str = Field(description="Class of the failure, as `RequestError`.")
    param: str | None = Field(None, description="The field at fault.")
    code: str = Field(description="Stable; never changes its meaning.")
