"""What callers send: validated strictly, and wrong input named by its field."""

import re
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit
from uuid import UUID

from pydantic import (
    Base64Bytes,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    SecretStr,
    StringConstraints,
    Tag,
    field_validator,
    model_validator,
)

from budeval.domain.datasets import PART_LIMIT, DatasetPath
from budeval.domain.evaluation import Evaluator, Resources, Timeouts
from budeval.domain.identifiers import DnsLabel, RunId
from budeval.domain.json_values import LARGEST_INTEGER, FreeObject
from budeval.evals.request_examples import EXAMPLES

INLINE_LIMIT = 512 * 1024
"""Bytes of an inline dataset: with the scripts it must fit into a ConfigMap."""
_MAX_RUNS = 1000
_MAX_TOPICS = 20
_MAX_RECIPIENTS = 100
"""Of one kind. They are in every event of an evaluation, and so, many times, in its workflow's history."""
_PLACEHOLDER = re.compile(r"\{([A-Za-z_][A-Za-z0-9_ ]*)\}")

Text = Annotated[str, StringConstraints(min_length=1, max_length=500, pattern=r"^[^\x00-\x1f\x7f]*$")]
"""One line of text without control characters."""
LabelKey = Annotated[
    str, StringConstraints(max_length=63, pattern=r"^[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$")
]
Name = Annotated[str, StringConstraints(max_length=255)]
"""Of a topic or a recipient."""


def _kind_of(value: Any) -> str:
    return "list" if isinstance(value, list) else "text"


# By its kind, or who sends a list that is too long would be told to send a text.
Recipients = Annotated[
    Annotated[Name, Tag("text")] | Annotated[list[Name], Field(max_length=_MAX_RECIPIENTS), Tag("list")],
    Discriminator(_kind_of),
]
Topics = Annotated[
    Annotated[Name, Tag("text")] | Annotated[list[Name], Field(max_length=_MAX_TOPICS), Tag("list")],
    Discriminator(_kind_of),
]
Passed = Annotated[str, StringConstraints(max_length=2000)] | None
"""What comes along with a request and is read by nobody."""
Secret = Annotated[SecretStr, Field(max_length=8192)]
"""As long as a header may be."""
Kubeconfig = Annotated[SecretStr, Field(max_length=256 * 1024)]


class _Request(BaseModel):
    # What is refused may be a secret, so no error quotes it.
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class VerifyClusterRequest(_Request):
    """Which cluster to verify; whatever is left out comes from the settings."""

    cluster: DnsLabel | None = Field(None, description="Name of a configured cluster.")
    namespace: DnsLabel | None = Field(
        None, description="Kubernetes namespace that evaluations would run in."
    )


class OrphanRequest(_Request):
    """Where to remove what no evaluation owns; whatever is left out comes from the settings."""

    cluster: DnsLabel | None = Field(None, description="Name of a configured cluster.")
    namespace: DnsLabel | None = None
    installation: DnsLabel | None = Field(
        None,
        description="Id of another service that is no more, or `unmarked`; this one's if left out.",
    )


class DatasetPart(_Request):
    """A part of a file that is to lie below the tenant's datasets on the claim."""

    path: DatasetPath = Field(description="What requests give as `source.path`.")
    bytes: int = Field(ge=1, le=LARGEST_INTEGER, description="Of the whole file.")
    sha256: str = Field(max_length=64, pattern=r"^[0-9a-f]{64}$", description="Of the whole file.")
    offset: int = Field(0, ge=0, le=LARGEST_INTEGER, description="Where in the file the part begins.")
    data: Base64Bytes = Field(
        max_length=2 * PART_LIMIT,  # who sends more than a part may have is told so in its own words
        description="The part, gzipped, in base64; 4500 KiB at most before base64.",
    )
    replace: bool = Field(default=False, description="Take the place of another file with this path.")
    cluster: DnsLabel | None = Field(None, description="Name of a configured cluster.")
    namespace: DnsLabel | None = Field(None, description="Whose claim it is.")
    claim: DnsLabel | None = Field(None, description="PersistentVolumeClaim, if not the one of the settings.")


class ExtraArgs(_Request):
    """How the model is asked; the names are those of the original service."""

    model_config = ConfigDict(extra="ignore", frozen=True, hide_input_in_errors=True)

    query_per_second: float | None = Field(None, gt=0, le=10_000)
    max_out_len: int | None = Field(None, ge=1, le=1_000_000, description="Tokens of a reply.")
    max_seq_len: int | None = Field(None, ge=1, le=10_000_000, description="Tokens of prompt and reply.")
    batch_size: int | None = Field(None, ge=1, le=1024, description="Requests at once.")


class SecretRef(_Request):
    """A secret in Dapr's secret store, so that no message carries it."""

    name: Text = Field(description="Name of the secret in the store of the settings.")
    key: Text | None = Field(None, description="Key in the secret; its name where it has only one.")


Attempt = Annotated[
    int | None,
    Field(
        ge=1,
        le=LARGEST_INTEGER,
        description="The attempt that is meant, as `GET /evals/{id}` tells it: a repetition that comes late "
        "then does nothing to the next one.",
    ),
]


class CancelRequest(_Request):
    """How an evaluation shall be ended."""

    extract: bool = Field(default=False, description="Read the scores that are there.")
    attempt: Attempt = None


class _BringsKubeconfig(_Request):
    """Says, for an evaluation that was given a kubeconfig, the same or a newer one again."""

    kubeconfig: Kubeconfig | None = Field(
        None, description="Where the evaluation brought its own: of the same cluster, JSON or YAML."
    )

    @property
    def kubeconfig_text(self) -> str | None:
        """The kubeconfig, None where it is missing or empty."""
        return (self.kubeconfig.get_secret_value() or None) if self.kubeconfig else None


class DeletionRequest(_BringsKubeconfig):
    """How an evaluation shall be deleted."""

    keep_files: bool = Field(
        default=False, description="Leave the cluster alone: its objects and the files on the claim stay."
    )


class ModelKey(_Request):
    """What the model's endpoint wants to see."""

    api_key: Secret | None = Field(None, description="Kept sealed; never in histories, logs or events.")
    secret_ref: SecretRef | None = Field(None, description="Instead of `api_key`.")

    @model_validator(mode="after")
    def _one_key(self) -> Self:
        if (self.api_key is None) == (self.secret_ref is None):
            raise ValueError("give either api_key or secret_ref")
        return self

    @field_validator("api_key")
    @classmethod
    def _sendable(cls, key: SecretStr | None) -> SecretStr | None:
        """A key goes into an HTTP header; a newline at its end comes from files."""
        if key is None:
            return None
        text = key.get_secret_value().strip()
        if not text:
            raise ValueError("must not be empty; an endpoint without keys takes any word, as EMPTY")
        if not text.isascii() or not text.isprintable():
            raise ValueError("must be printable ASCII on one line")
        return SecretStr(text)


class RetryRequest(_BringsKubeconfig, ModelKey):
    """The secrets of another attempt: those of the last one were destroyed at its end."""

    attempt: Attempt = None


class EvalModelInfo(ModelKey):
    """The model and how it is reached."""

    model_name: Text = Field(description="As the endpoint calls it.")
    endpoint: Annotated[str, StringConstraints(pattern=r"^https?://[^\s\x00-\x1f]+$", max_length=2000)] = (
        Field(
            description="Base URL of an OpenAI-compatible API, as the pods reach it: `http://10.0.0.7:8000/v1`."
        )
    )
    extra_args: ExtraArgs = ExtraArgs()

    @field_validator("endpoint")
    @classmethod
    def _usable_url(cls, endpoint: str) -> str:
        try:
            parts = urlsplit(endpoint)
            host, _ = parts.hostname, parts.port
        except ValueError:
            host = None
        if not host:
            raise ValueError("must be a URL with a host, as http://10.0.0.7:8000/v1")
        if "@" in parts.netloc:
            raise ValueError("must not hold a user or password; give api_key")
        if parts.query or parts.fragment or endpoint.endswith(("?", "#")):
            raise ValueError("must have no query and no fragment: /chat/completions is added to it")
        return endpoint.rstrip("/")

    @field_validator("model_name", "endpoint")
    @classmethod
    def _no_template(cls, text: str) -> str:
        """OpenCompass' configuration reader would expand it, with the pod's environment."""
        if "{{" in text:
            raise ValueError("must not contain '{{'")
        return text


class DatasetSource(_Request):
    """A dataset of the team's own: rows inline, or a file below `datasets/` of the claim."""

    # `_one_source` refuses more, and says what to do.
    inline: Annotated[str, Field(json_schema_extra={"maxLength": INLINE_LIMIT})] | None = Field(
        None, description=f"The rows; at most {INLINE_LIMIT // 1024} KiB."
    )
    path: (
        Annotated[str, StringConstraints(max_length=201, pattern=r"^[A-Za-z0-9_][A-Za-z0-9_./-]{0,200}$")]
        | None
    ) = None
    format: Literal["jsonl", "csv"] = "jsonl"
    prompt: Annotated[str, StringConstraints(min_length=1, max_length=20_000)] = Field(
        "{question}", description="What the model is asked; `{column}` stands for a row's value."
    )
    answer: Text = Field("answer", description="Column of the reference answer.")
    evaluator: Evaluator = Evaluator.EXACT

    @model_validator(mode="after")
    def _one_source(self) -> "DatasetSource":
        if (self.inline is None) == (self.path is None):
            raise ValueError("give either inline or path")
        if self.inline is not None and len(self.inline.encode()) > INLINE_LIMIT:
            raise ValueError(
                f"inline rows are limited to {INLINE_LIMIT} bytes; put the file on the claim, give path"
            )
        if self.path is not None and ".." in self.path.split("/"):
            raise ValueError("path must not leave the datasets directory")
        if not _PLACEHOLDER.search(self.prompt):
            raise ValueError("prompt has no {column}: every row would be asked the same")
        return self


class EvalDataset(_Request):
    """One run: a dataset, and what is special about it."""

    dataset_id: Text = Field(description="A stock dataset of the engine, or a name for `source`.")
    run_id: RunId
    source: DatasetSource | None = None
    limit: int | None = Field(None, ge=1, le=1_000_000_000, description="Only the first rows.")
    resources: Resources = Resources()


class EvalConfig(_Request):
    """Accepted for callers of the original service, which never used it either."""

    config_name: Annotated[str, StringConstraints(max_length=500)]
    config_value: FreeObject


class Decoding(_Request):
    """How tokens are chosen."""

    temperature: float = Field(0.0, ge=0, le=2)
    seed: int | None = Field(None, ge=-LARGEST_INTEGER, le=LARGEST_INTEGER)


class NotificationMetadata(_Request):
    """Echoed in every notification."""

    notification_type: Literal["event", "topic", "broadcast"] = "event"
    name: Text = "bud-internal"
    workflow_id: Text
    subscriber_ids: Recipients | None = None
    actor: Name | None = None
    topic_keys: Recipients | None = None
    category: Literal["inapp", "internal", "email"] = "internal"


class EvaluationRequest(_Request):
    """An evaluation: a model, datasets, and where to run. Also the data of a message on the request topic."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,
        json_schema_extra={"examples": EXAMPLES},
    )

    eval_id: UUID
    experiment_id: UUID
    eval_model_info: EvalModelInfo
    eval_datasets: Annotated[list[EvalDataset], Field(min_length=1, max_length=_MAX_RUNS)]
    eval_configs: Annotated[list[EvalConfig], Field(max_length=_MAX_RUNS)] = Field(default_factory=list)
    engine: Text = "opencompass"
    kubeconfig: Kubeconfig | None = Field(
        None, description="Of the cluster to run on, JSON or YAML; kept sealed. Empty is the same as none."
    )
    cluster: DnsLabel | None = Field(None, description="Name of a configured cluster, instead of kubeconfig.")
    namespace: DnsLabel | None = None
    claim: DnsLabel | None = Field(None, description="PersistentVolumeClaim, if not the one of the settings.")
    decoding: Decoding = Decoding()
    timeouts: Timeouts = Timeouts()
    labels: Annotated[dict[LabelKey, Text], Field(max_length=20)] = Field(default_factory=dict)

    source_topic: Topics | None = Field(None, description="Where notifications go; must be allowed.")
    notification_metadata: NotificationMetadata | None = None
    # Of the CloudEvents base of the original service's callers; read by nobody here.
    source: Passed = None
    specversion: Passed = None
    topic: Passed = None
    pubsubname: Passed = None
    data: FreeObject | None = None
    traceid: Passed = None
    tracestate: Passed = None
    traceparent: Passed = None
    type: Passed = None
    time: Passed = None
    debug: bool = False

    @field_validator("eval_datasets")
    @classmethod
    def _distinct_runs(cls, datasets: list[EvalDataset]) -> list[EvalDataset]:
        seen: set[str] = set()
        for dataset in datasets:
            if dataset.run_id in seen:
                raise ValueError(f"run_id {dataset.run_id!r} is there twice; each run needs its own")
            seen.add(dataset.run_id)
        return datasets

    @model_validator(mode="after")
    def _one_cluster(self) -> "EvaluationRequest":
        if self.cluster and self.kubeconfig_text:
            raise ValueError("give either cluster or kubeconfig")
        return self

    @property
    def kubeconfig_text(self) -> str | None:
        """The kubeconfig, None where it is missing or empty."""
        return (self.kubeconfig.get_secret_value() or None) if self.kubeconfig else None

    @property
    def topics(self) -> list[str]:
        """The topics it names."""
        named = self.source_topic
        return [named] if isinstance(named, str) else list(named or [])
