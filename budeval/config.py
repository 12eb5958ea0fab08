"""The settings: one frozen object, read once from the environment (`BUDEVAL_…`, Dapr's own `DAPR_…`).

Importing this module reads nothing; `main` makes the object.
"""

from pathlib import Path

from pydantic import AliasChoices, Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class StorageConfig(BaseSettings):
    """Where evaluations keep datasets and results inside the cluster. Each name has this one owner."""

    model_config = SettingsConfigDict(env_prefix="BUDEVAL_STORAGE_", frozen=True)

    claim: str = "eval-datasets-pvc-rwx"
    """PersistentVolumeClaim (ReadWriteMany) that must exist in each evaluation namespace."""
    mount_path: str = "/workspace/shared"
    """Where pods mount it."""


class Settings(BaseSettings):
    """What the service is told from outside."""

    model_config = SettingsConfigDict(env_prefix="BUDEVAL_", frozen=True)

    clusters_dir: Path | None = None
    """Directory of kubeconfigs, `<name>.yaml` each: the clusters that requests may choose by name."""
    default_cluster: str | None = None
    """The cluster of requests that name none. Without it such requests are refused: never a silent choice."""
    namespace: str = "budeval"
    """Kubernetes namespace of requests that name none."""

    statestore: str = "statestore"
    """Dapr component that holds workflows and state."""
    pubsub: str = "pubsub"
    """Dapr component that carries notifications."""
    notification_topic: str = "budeval-notifications"
    """Where notifications go."""

    sidecar_host: str = "127.0.0.1"
    """Where the sidecar listens. Loopback: it is not an API for others."""
    sidecar_http_port: int = Field(
        3500, validation_alias=AliasChoices("BUDEVAL_SIDECAR_HTTP_PORT", "DAPR_HTTP_PORT")
    )
    """Set by `dapr run`."""
    sidecar_grpc_port: int = Field(
        50001, validation_alias=AliasChoices("BUDEVAL_SIDECAR_GRPC_PORT", "DAPR_GRPC_PORT")
    )
    """Set by `dapr run`."""
    sidecar_timeout: float = 5.0
    """Seconds for one call to the sidecar; it is on the same host."""

    playbook_workers: int = 2
    """Playbooks at once. A run is CPU-bound and takes about 130 MB, so: the number of cores."""
    playbook_timeout: float = 90.0
    """Seconds after which a playbook is stopped. More than its modules' own limits together."""
    module_timeout: float = 20.0
    """Seconds for one Kubernetes module: kubernetes.core itself has no time limit."""

    storage: StorageConfig = Field(default_factory=StorageConfig)
