"""From a request to a started evaluation, in an order in which nothing is lost whatever is cut off.

Note that it comes in, seal the secrets, keep inline datasets, put it on the list, create the record, put it
among those that have not ended, schedule the workflow. Until the record is there, the request has not
happened, and the reconciler removes what it has kept; from then on the reconciler, or the same request again,
finishes the rest.
"""

import hashlib
import json
import logging
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from urllib.parse import urlsplit

from budeval.config import Settings
from budeval.domain.cluster import FROM_REQUEST, ClusterTarget
from budeval.domain.evaluation import (
    Audience,
    Evaluation,
    EvaluationRecord,
    Model,
    OwnDataset,
    Run,
    workflow_id,
)
from budeval.engines.base import Engine
from budeval.errors import ClusterError, RequestError
from budeval.evals.addresses import require_allowed, rules_from
from budeval.evals.arrivals import Arrivals
from budeval.evals.clusters import Clusters
from budeval.evals.schema import EvalDataset, EvaluationRequest, ModelKey, SecretRef
from budeval.evals.store import EvaluationStore, rows_digest
from budeval.runtime.logs import about

_NOT_DIGESTED = {"kubeconfig", "time", "traceid", "traceparent", "tracestate"}
"""Secrets, and what differs between two deliveries of the same message."""

ENDPOINT_FIELD = "eval_model_info.endpoint"
"""Where requests have the model's endpoint."""

QUEUE_FULL = "QUEUE_FULL"
"""The code of a refusal that passes."""

_CARRIED_LIMIT = 4 * 1024 * 1024
"""Bytes of an evaluation without its rows. Its workflow carries it along, and has what else happens in its
history beside it: Dapr stalls one that is larger than the sidecar takes (16 MiB, app.yaml)."""

_log = logging.getLogger(__name__)

Start = Callable[[EvaluationRecord], None]
"""Schedules the workflow of a record unless it was scheduled before."""
ReadSecret = Callable[[str], dict[str, str]]
"""Name of a secret in the secret store -> its keys and values."""


class Intake:
    """Takes evaluation requests in."""

    def __init__(  # noqa: PLR0917 - a composition of what main wires
        self,
        settings: Settings,
        store: EvaluationStore,
        arrivals: Arrivals,
        clusters: Clusters,
        engines: Mapping[str, Engine],
        read_secret: ReadSecret,
        start: Start,
    ) -> None:
        self._settings = settings
        self._store = store
        self._arrivals = arrivals
        self._clusters = clusters
        self._engines = engines
        self._read_secret = read_secret
        self._start = start

    def accept(self, request: EvaluationRequest, tenant: str = "default") -> EvaluationRecord:
        """Start an evaluation, or answer what the same request of the same tenant has started before.

        Raises:
            RequestError: something in it cannot be; EVALUATION_CONFLICT: another request has this eval_id;
                QUEUE_FULL (429): there are too many.
            SidecarError: it could not be stored or started; the same request again is safe.
        """
        evaluation = self.check(request).model_copy(update={"tenant": tenant})
        digest = request_digest(request, tenant)
        try:
            existing = self._store.find(evaluation.eval_id)
        except RequestError as error:
            error.status = 409  # it was deleted, and what it was is not known any more
            raise
        if existing is None:
            self.require_room()
            existing = self._record(request, evaluation, digest)
        elsewhere = existing.evaluation.target.is_elsewhere(evaluation.target.server)
        if existing.digest != digest or elsewhere:
            text = f"Evaluation {evaluation.eval_id} exists with another request. Take another eval_id."
            raise RequestError(text, status=409, code="EVALUATION_CONFLICT", param="eval_id")
        with about(eval_id=evaluation.eval_id, workflow_id=evaluation.workflow_id):
            self._start(existing)
            _log.info("accepted runs=%d tenant=%s", len(evaluation.runs), tenant)
        return existing

    def _record(self, request: EvaluationRequest, evaluation: Evaluation, digest: str) -> EvaluationRecord:
        """The record that is there then; another's, where another request was faster."""
        secrets = self.secrets_of(request)
        arrival = self._arrivals.begin(evaluation.eval_id, _digests(evaluation))
        self._arrivals.seal(arrival, secrets)
        self._keep_rows(request, arrival.kept_as)
        created = datetime.now(UTC).isoformat(timespec="seconds")
        # Before the record: what is on the list without one is passed over, one without a list is lost.
        self._store.add_to_index(evaluation.eval_id, created[:10])
        record = EvaluationRecord(
            evaluation=evaluation, digest=digest, created=created, arrival=arrival.arrival
        )
        existing = self._store.create(record)
        if arrival.belongs_to(existing):
            # After the record, and before the arrival's end, which would make up for it.
            self._store.activate(evaluation.eval_id)
            self._arrivals.end(arrival)
        else:
            self._arrivals.forget(arrival)
        return existing

    def require_room(self) -> None:
        """Refuse what would be one too many.

        Raises:
            RequestError: QUEUE_FULL (429).
        """
        limit = self._settings.max_active_evaluations
        if len(self._store.active()) >= limit:
            text = f"{limit} evaluations have not ended: no more are taken (BUDEVAL_MAX_ACTIVE_EVALUATIONS)."
            raise RequestError(f"{text} Try again when some have.", status=429, code=QUEUE_FULL)

    def check(self, request: EvaluationRequest) -> Evaluation:
        """The evaluation that a request asks for, all names resolved; asks no cluster.

        Raises:
            RequestError: names the field.
        """
        engine = self._engine(request)
        _check_datasets(engine, request.eval_datasets)
        runs = [_run(dataset) for dataset in request.eval_datasets]
        _check_rows(engine, request.eval_datasets, runs)
        model, extra = request.eval_model_info, request.eval_model_info.extra_args
        self._check_endpoint(model.endpoint)
        given = {name: value for name, value in extra.model_dump().items() if value is not None}
        evaluation = Evaluation(
            eval_id=str(request.eval_id),
            experiment_id=str(request.experiment_id),
            engine=engine.name,
            model=Model(
                name=model.model_name, endpoint=model.endpoint, **given, **request.decoding.model_dump()
            ),
            runs=runs,
            target=self._target(request),
            claim=request.claim or self._settings.storage.claim,
            timeouts=request.timeouts,
            audience=self._audience(request),
            labels=request.labels,
        )
        _require_portable(evaluation)
        return evaluation

    def knows(self, eval_id: str) -> bool:
        """Whether an evaluation has this id, or had it before it was deleted."""
        return self._store.tenant_of(eval_id) is not None

    def _check_endpoint(self, endpoint: str) -> None:
        """What a name stands for only pods can tell: they ask it."""
        host = urlsplit(endpoint).hostname or ""
        require_allowed(rules_from(self._settings), host, ENDPOINT_FIELD, resolve=False)

    def secrets_of(self, request: EvaluationRequest) -> dict[str, str]:
        """`secrets` of a request."""
        return self.secrets(request.eval_model_info, request.kubeconfig_text, "eval_model_info.secret_ref")

    def secrets(self, model: ModelKey, kubeconfig: str | None, param: str) -> dict[str, str]:
        """API key and kubeconfig as they are sealed, references followed.

        Args:
            model: has the key.
            kubeconfig: if there is one.
            param: where the caller has the reference, for errors.

        Raises:
            RequestError: SECRET_UNKNOWN.
        """
        if model.secret_ref:
            values = self._read_secret(model.secret_ref.name)
            secrets = {"api_key": _referred(model.secret_ref, values, param)}
        else:
            secrets = {"api_key": model.api_key.get_secret_value() if model.api_key else ""}
        if kubeconfig:
            secrets["kubeconfig"] = kubeconfig
        return secrets

    def _keep_rows(self, request: EvaluationRequest, kept_as: str) -> None:
        for dataset in request.eval_datasets:
            if dataset.source and dataset.source.inline is not None:
                self._store.save_rows(kept_as, dataset.source.inline)

    def _engine(self, request: EvaluationRequest) -> Engine:
        engine = self._engines.get(request.engine)
        if engine is None:
            known = ", ".join(sorted(self._engines))
            text = f"There is no engine {request.engine!r}. There are: {known}."
            raise RequestError(text, code="ENGINE_UNKNOWN", param="engine")
        return engine

    def _target(self, request: EvaluationRequest) -> ClusterTarget:
        namespace = request.namespace or self._settings.namespace
        if request.kubeconfig_text:
            server = self.check_kubeconfig(request.kubeconfig_text)
            return ClusterTarget(
                cluster=FROM_REQUEST, namespace=namespace, eval_id=str(request.eval_id), server=server
            )
        cluster = request.cluster or self._settings.default_cluster
        if cluster is None:
            raise RequestError(
                "Name a cluster, or give a kubeconfig: no default is set (BUDEVAL_DEFAULT_CLUSTER).",
                code="CLUSTER_REQUIRED",
                param="cluster",
            )
        self._clusters.require_known(cluster)
        return ClusterTarget(cluster=cluster, namespace=namespace)

    def check_kubeconfig(self, text: str) -> str:
        """Whether it may be used here; returns which server it names, as `ClusterTarget.server` has it.

        Raises:
            RequestError: KUBECONFIG_INVALID, ADDRESS_FORBIDDEN.
        """
        try:
            return self._clusters.check(text)
        except ClusterError as error:
            raise RequestError(error.message, status=422, code=error.code, param="kubeconfig") from error

    def kubeconfig_again(self, target: ClusterTarget, text: str | None) -> str | None:
        """The kubeconfig of an evaluation that has ended, at whose end its own was destroyed.

        Args:
            target: of the evaluation.
            text: what the caller has given.

        Raises:
            RequestError: KUBECONFIG_REQUIRED, what `check_kubeconfig` says, none is wanted, or
                CLUSTER_MISMATCH (409): it is of another cluster, where nothing of the evaluation is.
        """
        brought = target.cluster == FROM_REQUEST
        if brought and not text:
            missing = (
                "The evaluation brought its own kubeconfig, which was destroyed at its end: give it again."
            )
            raise RequestError(missing, code="KUBECONFIG_REQUIRED", param="kubeconfig")
        if not brought and text:
            superfluous = f"The evaluation runs on the configured cluster {target.cluster!r}."
            raise RequestError(superfluous, param="kubeconfig")
        if text and target.is_elsewhere(self.check_kubeconfig(text)):
            other = (
                "The kubeconfig names another server than the one that the evaluation ran on. Give one with "
                "the same host, port and path; its credential and its authority may be new."
            )
            raise RequestError(other, status=409, code="CLUSTER_MISMATCH", param="kubeconfig")
        return text

    def _audience(self, request: EvaluationRequest) -> Audience:
        default = self._settings.notification_topic
        for topic in request.topics:
            if topic != default and topic not in self._settings.allowed_topics:
                text = f"Topic {topic!r} is not allowed (BUDEVAL_ALLOWED_TOPICS)."
                raise RequestError(text, code="TOPIC_NOT_ALLOWED", param="source_topic")
        fields = request.notification_metadata.model_dump() if request.notification_metadata else {}
        fields.setdefault("workflow_id", workflow_id(str(request.eval_id)))
        return Audience(topics=list(dict.fromkeys(request.topics)) or [default], **fields)


def request_digest(request: EvaluationRequest, tenant: str) -> str:
    """SHA-256 of the canonical request without its secrets: a new key does not make it another one.

    Another tenant does: what is sealed under it is then never the other's.
    """
    document = request.model_dump(mode="json", exclude=_NOT_DIGESTED)
    document["eval_model_info"].pop("api_key")
    document["tenant"] = tenant
    # A renewed credential is the same request; another way to choose the cluster is not.
    document["brings_kubeconfig"] = request.kubeconfig_text is not None
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()


def _require_portable(evaluation: Evaluation) -> None:
    size = len(json.dumps(evaluation.model_dump(mode="json")))
    if size > _CARRIED_LIMIT:
        text = f"Without its rows the evaluation takes {size} bytes, {_CARRIED_LIMIT} are allowed: "
        advice = "give it fewer datasets, or shorter prompts."
        raise RequestError(text + advice, status=413, code="REQUEST_TOO_LARGE", param="eval_datasets")


def _digests(evaluation: Evaluation) -> set[str]:
    """Of the inline rows of its runs."""
    return {run.own.digest for run in evaluation.runs if run.own and run.own.digest}


def _referred(reference: SecretRef, values: Mapping[str, str], param: str) -> str:
    """The value that a reference means, held to the same rules as a key in the clear."""
    if reference.key is None and len(values) > 1:
        text = f"The secret {reference.name!r} has several keys: name one of {', '.join(sorted(values))}."
        raise RequestError(text, code="SECRET_UNKNOWN", param=f"{param}.key")
    key = reference.key or next(iter(values), "")
    if key not in values:
        text = f"The secret store has no secret {reference.name!r} with key {key!r}."
        raise RequestError(text, code="SECRET_UNKNOWN", param=param)
    value = values[key].strip()
    if not value or not value.isascii() or not value.isprintable():
        text = f"The secret {reference.name!r} is empty, or has characters that no header can carry."
        raise RequestError(text, code="SECRET_UNKNOWN", param=param)
    return value


def _check_datasets(engine: Engine, datasets: list[EvalDataset]) -> None:
    known = set(engine.stock_datasets())
    for at, dataset in enumerate(datasets):
        if dataset.source is None and dataset.dataset_id not in known:
            text = (
                f"Engine {engine.name} has no stock dataset {dataset.dataset_id!r}. "
                + _datasets_there_are(engine)
            )
            raise RequestError(text, code="DATASET_UNKNOWN", param=f"eval_datasets.{at}.dataset_id")


def _datasets_there_are(engine: Engine) -> str:
    if not engine.stock_datasets():
        return "It has none: give `source` for one of your own."
    return f"GET /engines/{engine.name}/datasets lists them; give `source` for one of your own."


def _check_rows(engine: Engine, datasets: list[EvalDataset], runs: list[Run]) -> None:
    """Rows that came with the request; those on the claim only a pod can read."""
    for at, (dataset, run) in enumerate(zip(datasets, runs, strict=True)):
        if dataset.source is None or dataset.source.inline is None:
            continue
        try:
            engine.check_rows(run, dataset.source.inline)
        except RequestError as error:
            error.param = f"eval_datasets.{at}.source.inline"
            raise


def _run(dataset: EvalDataset) -> Run:
    own, source = None, dataset.source
    if source:
        digest = rows_digest(source.inline) if source.inline is not None else None
        own = OwnDataset(
            digest=digest,
            path=source.path,
            format=source.format,
            prompt=source.prompt,
            answer=source.answer,
            evaluator=source.evaluator,
        )
    return Run(
        run_id=dataset.run_id,
        dataset_id=dataset.dataset_id,
        own=own,
        limit=dataset.limit,
        resources=dataset.resources,
    )
