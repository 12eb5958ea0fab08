"""The settings: one frozen object, read once from the environment (`BUDEVAL_…`, Dapr's own `DAPR_…`).

Importing this module reads nothing; `main` makes the object.
"""

from enum import StrEnum
from pathlib import Path
from typing import Literal

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, IPvAnyNetwork, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


class Scope(StrEnum):
    """What a token allows."""

    READ = "read"
    SUBMIT = "submit"
    """Start, cancel, retry and delete evaluations, verify clusters."""
    ADMIN = "admin"
    """Both, for the evaluations of all tenants; and find and remove what no evaluation owns."""


class ApiToken(BaseModel):
    """A token of the API, known by its digest only."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(min_length=1, max_length=63)
    """For logs and errors."""
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    tenant: str = Field("default", pattern=r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$")
    scopes: frozenset[Scope] = Field(min_length=1)


class StorageConfig(BaseSettings):
    """What evaluations find in a namespace of the cluster. Each name has this one owner."""

    model_config = SettingsConfigDict(env_prefix="BUDEVAL_STORAGE_", frozen=True)

    claim: str = "eval-datasets-pvc-rwx"
    """PersistentVolumeClaim (ReadWriteMany) that must exist in each evaluation namespace."""
    mount_path: str = "/workspace/shared"
    """Where pods mount it. Results are below `results/<eval_id>` of it, the teams' own datasets below
    `datasets` (those of a tenant other than `default` below `tenants/<tenant>/datasets`), the engines' stock
    data below `data`."""
    pull_secret: str | None = None
    """Name of a Secret in the namespace with the credentials of a private image registry."""


class EngineConfig(BaseSettings):
    """The container images that Jobs run."""

    model_config = SettingsConfigDict(env_prefix="BUDEVAL_IMAGE_", frozen=True)

    opencompass: str = "budeval.local/opencompass:0.5.4"
    """OpenCompass with a tokenizer at /opt/tokenizer and tini as entry point (dev/images/opencompass)."""
    lm_eval: str = "budeval.local/lm-eval:0.4.13"
    """lm-eval with tini as entry point (dev/images/lm-eval)."""
    extractor: str = "python:3.11-slim"
    """Any Python >= 3.9: extraction needs nothing else."""


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
    """Where notifications go that name no topic."""
    event_format: Literal["cloudevents", "bud"] = "cloudevents"
    """How notifications are sent: as CloudEvents with an id, by which repetitions can be dropped, or in the
    original service's bare envelope, whose consumers refuse an id."""
    eta_receiver: str | None = None
    """`<app id>/<method>` of a service that each ETA is sent to, in seconds, by PATCH through Dapr: the
    original caller's is `budapp/experiments/internal/evaluations/eta`. Best effort: events have it too."""
    allowed_topics: frozenset[str] = frozenset()
    """Further topics that a request's `source_topic` may name (a JSON list)."""
    request_topic: str = "budeval-requests"
    """Where evaluation requests come from, beside the HTTP API."""
    dead_letter_topic: str = "budeval-dead-letters"
    """Where requests go that could not be taken in."""
    secret_store: str = "secretstore"  # noqa: S105 - the name of a component
    """Dapr component that a request's `secret_ref` points into."""

    max_body_bytes: int = Field(8 * 1024 * 1024, gt=0)
    """Of a request's body; more is refused (REQUEST_TOO_LARGE). Below the sidecar's own limit, 16 MiB."""
    max_dataset_bytes: int = Field(256 * 1024 * 1024, gt=0)
    """Of a file that is pushed to the claim; more is refused (DATASET_TOO_LARGE). Each
    4.4 MiB of it, compressed, cost a Job of some seconds: more is copied faster by other means."""
    max_active_evaluations: int = Field(1000, gt=0)
    """That have not ended; beyond them requests are refused (QUEUE_FULL), messages delivered again."""
    retention_days: int = Field(30, gt=0)
    """Days after its end for which an evaluation is kept. Its files on the claim stay."""
    keep_scores: int | None = Field(None, gt=0)
    """Scoring jobs of a tenant that have ended and are kept, the newest; None: all, for `retention_days`."""

    api_tokens: tuple[ApiToken, ...] = ()
    """Who may use the API (a JSON list; `budeval new-token` makes an entry). Without any only loopback is
    served, and everybody there may do everything as tenant `default`."""
    app_token: SecretStr | None = Field(
        None, validation_alias=AliasChoices("BUDEVAL_APP_TOKEN", "APP_API_TOKEN")
    )
    """What the sidecar shows when it delivers messages: Dapr's APP_API_TOKEN. Without it loopback may."""

    forbidden_networks: tuple[IPvAnyNetwork, ...] = ()
    """Networks (a JSON list) to which no request may send the service, by the server of a kubeconfig or by a
    model's endpoint, beside those that always are forbidden (`budeval.domain.addresses`)."""
    allowed_networks: tuple[IPvAnyNetwork, ...] = ()
    """Networks that requests may name in spite of that: `["127.0.0.0/8"]` for a cluster on this machine."""

    seal_keys: SecretStr
    """AES-256 keys in base64, separated by commas: the first seals secrets, all open them. `budeval new-key`
    makes one. No default: secrets are never stored in the clear."""

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
    images: EngineConfig = Field(default_factory=EngineConfig)
