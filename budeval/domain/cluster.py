"""Where evaluations run, and what is known of a cluster after it was looked at."""

from pydantic import BaseModel, ConfigDict, Field

from budeval.domain.identifiers import DnsLabel

FROM_REQUEST = "from-request"
"""Name of the cluster whose kubeconfig came with the request."""
IN_CLUSTER = "in-cluster"
"""Name of the cluster that the service itself runs in, reached by its own service account."""


class ClusterTarget(BaseModel):
    """Which cluster and which namespace of it. Holds a name, never a credential: it travels in histories."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    cluster: DnsLabel
    """A configured name, or one of the two above."""
    namespace: DnsLabel
    eval_id: str | None = Field(None, exclude_if=lambda value: value is None)
    """Whose sealed secrets hold the kubeconfig, where the cluster is `FROM_REQUEST`."""
    server: str | None = Field(None, exclude_if=lambda value: value is None)
    """SHA-256 of that kubeconfig's server; None in records of old."""

    def is_elsewhere(self, server: str | None) -> bool:
        """Whether a kubeconfig that comes again names another server, and so another cluster."""
        return None not in {self.server, server} and self.server != server


class ClusterVerification(BaseModel):
    """The outcome of verifying a target: usable, or why not."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    target: ClusterTarget
    ok: bool
    code: str | None = None
    """Stable reason when not `ok` (`budeval.ansible.failures`)."""
    message: str
    server_version: str | None = None
    """The API server's git version, as in `v1.34.4`; None when it was not reached."""
    claim: str
    """The storage claim that evaluations will mount."""
    claim_phase: str | None = None
    """`Bound` when usable, as Kubernetes reports it."""
