"""From a request to a started evaluation, whatever is cut off in between."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from budeval.config import Settings, StorageConfig
from budeval.domain.cluster import FROM_REQUEST, ClusterTarget
from budeval.domain.evaluation import EvaluationRecord
from budeval.engines.opencompass.jobs import OpenCompass
from budeval.errors import RequestError, SidecarError
from budeval.evals.clusters import Clusters
from budeval.evals.intake import Intake
from budeval.evals.schema import EvaluationRequest
from budeval.evals.store import EvaluationStore
from budeval.runtime.sealing import Sealer
from budeval.runtime.vault import Vault
from tests.runtime.fake_dapr import FakeDapr

_ID = "223e4567-e89b-12d3-a456-426614174020"
_KEY = "sk-very-secret"
_TOKEN = "token-of-the-request"
_ROWS = '{"question": "What is 2 + 3?", "answer": "5"}\n'
_STOCK = "demo_gsm8k_chat_gen"

Json = dict[str, Any]


@dataclass
class FakeCutDapr(FakeDapr):
    """Goes away after so many writes, if told."""

    writes_left: int | None = None
    written: list[str] = field(default_factory=list)

    def _answer(self, request: httpx.Request) -> httpx.Response:
        if request.method == "POST" and request.url.path == "/v1.0/state/store":
            if self.writes_left == 0:
                return httpx.Response(500, text="cut")
            if self.writes_left is not None:
                self.writes_left -= 1
            self.written += [item["key"] for item in json.loads(request.content)]
        return super()._answer(request)


@dataclass
class Desk:
    """An intake with all that is behind it."""

    clusters_dir: Path
    seal_key: str
    dapr: FakeCutDapr = field(default_factory=FakeCutDapr)
    started: list[EvaluationRecord] = field(default_factory=list)
    secrets: dict[str, dict[str, str]] = field(default_factory=dict)
    changes: Json = field(default_factory=dict)
    """Of the settings."""
    start_fails: bool = False

    def accept(self, **changes: Any) -> EvaluationRecord:
        """Send a request."""
        return self.intake().accept(EvaluationRequest.model_validate(_body(**changes)))

    def intake(self) -> Intake:
        """A fresh one, as after a crash."""
        given: Json = {"default_cluster": "first", "clusters_dir": self.clusters_dir, **self.changes}
        settings = Settings(**given)
        sidecar = self.dapr.client()
        return Intake(
            settings,
            EvaluationStore(sidecar),
            Vault(sidecar, Sealer(self.seal_key)),
            Clusters(settings.clusters_dir, lambda _eval_id: None, Path("/nowhere")),
            {"opencompass": OpenCompass("an-image", StorageConfig())},
            lambda name: self.secrets.get(name, {}),
            self._start,
        )

    def opened(self) -> dict[str, str]:
        """What the intake has sealed for the evaluation that is there."""
        sidecar = self.dapr.client()
        record = EvaluationStore(sidecar).load(_ID)
        return Vault(sidecar, Sealer(self.seal_key)).open(record.sealed_as)

    def sealed(self) -> list[str]:
        """The keys of what is sealed."""
        return [key for key in self.dapr.state if key.startswith("sealed-")]

    def listed(self) -> list[str]:
        """Every id on the list, as often as it is there."""
        return EvaluationStore(self.dapr.client()).newest(None, 1000)[0]

    def _start(self, record: EvaluationRecord) -> None:
        if self.start_fails:
            raise SidecarError("the engine is away")
        self.started.append(record)


@pytest.fixture
def desk(tmp_path: Path, seal_keys: str) -> Desk:
    """One cluster is configured: `first`, the default."""
    (tmp_path / "first.yaml").write_text("never read here")
    return Desk(tmp_path, seal_keys)


def _kubeconfig(**changes: Any) -> str:
    document = {
        "clusters": [{"name": "c", "cluster": {"server": "https://10.0.0.1:6443"}}],
        "users": [{"name": "u", "user": {"token": _TOKEN}}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "x",
    }
    return yaml.safe_dump({**document, **changes})


def _model(**changes: Any) -> Json:
    model = {"model_name": "m", "endpoint": "http://m/v1", "api_key": _KEY, **changes}
    return {"eval_model_info": {name: value for name, value in model.items() if value is not None}}


def _body(**changes: Any) -> Json:
    own = {"dataset_id": "sums", "run_id": "sums-1", "source": {"inline": _ROWS}}
    return {
        "eval_id": _ID,
        "experiment_id": "123e4567-e89b-12d3-a456-426614174000",
        **_model(),
        "eval_datasets": [own, {"dataset_id": _STOCK, "run_id": "stock-1", "limit": 5}],
        **changes,
    }


def _refused(call: Callable[[], Any]) -> tuple[int, str, str | None]:
    with pytest.raises(RequestError) as refused:
        call()
    return refused.value.status, refused.value.code, refused.value.param


def test_an_accepted_request_becomes_an_evaluation(desk: Desk) -> None:
    """With all names resolved, and what was left out from the settings."""
    evaluation = desk.accept(labels={"team": "a"}, decoding={"seed": 7}).evaluation

    assert (evaluation.eval_id, evaluation.engine) == (_ID, "opencompass")
    assert evaluation.model.model_dump(include={"name", "seed", "batch_size"}) == {
        "name": "m",
        "seed": 7,
        "batch_size": 16,
    }
    assert evaluation.target == ClusterTarget(cluster="first", namespace="budeval")
    assert evaluation.claim == "eval-datasets-pvc-rwx"
    assert evaluation.audience.topics == ["budeval-notifications"]
    assert evaluation.audience.workflow_id == f"eval-{_ID}"
    assert evaluation.labels == {"team": "a"}
    own, stock = evaluation.runs
    assert own.own is not None
    assert own.own.digest == hashlib.sha256(_ROWS.encode()).hexdigest()
    assert (stock.own, stock.limit) == (None, 5)


def test_the_same_request_again_answers_the_same(desk: Desk) -> None:
    """Start is asked again, for it may have been cut; nothing is there twice."""
    first = desk.accept()
    stored = dict(desk.dapr.state)

    second = desk.accept()

    assert second == first
    assert desk.started == [first, first]
    assert desk.listed() == [_ID]
    assert desk.dapr.state == stored


def test_another_delivery_is_the_same_request(desk: Desk) -> None:
    """A new key, a new trace and a new time are nothing that was asked for."""
    first = desk.accept()

    second = desk.accept(**_model(api_key="sk-rotated"), time="later", traceid="2", traceparent="2")

    assert second == first


@pytest.mark.parametrize(
    "changes",
    [
        {"experiment_id": "323e4567-e89b-12d3-a456-426614174000"},
        {"namespace": "other"},
        _model(model_name="other"),
        {"eval_datasets": [{"dataset_id": _STOCK, "run_id": "stock-1"}]},
        {"eval_datasets": [{"dataset_id": "sums", "run_id": "sums-1", "source": {"inline": _ROWS * 2}}]},
        {"labels": {"team": "b"}},
    ],
    ids=["experiment", "namespace", "model", "datasets", "rows", "labels"],
)
def test_another_request_with_the_same_id_is_refused(desk: Desk, changes: Json) -> None:
    """409; what was there stays, secrets too, and nothing is started."""
    desk.accept()
    stored = dict(desk.dapr.state)

    refusal = _refused(lambda: desk.accept(**changes))

    assert refusal == (409, "EVALUATION_CONFLICT", "eval_id")
    assert desk.dapr.state == stored
    assert len(desk.started) == 1


def test_of_two_at_once_the_first_record_counts(desk: Desk) -> None:
    """Who comes second with another request is refused, even if neither saw the other."""
    theirs = desk.accept(namespace="other")
    key = f"eval-{_ID}"
    stored = desk.dapr.state.pop(key)
    save = EvaluationStore.create

    def lost(store: EvaluationStore, record: EvaluationRecord) -> EvaluationRecord:
        desk.dapr.state[key] = stored
        return save(store, record)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(EvaluationStore, "create", lost)
        refusal = _refused(desk.accept)

    assert refusal == (409, "EVALUATION_CONFLICT", "eval_id")
    assert desk.started == [theirs]


def test_who_comes_second_leaves_the_firsts_secrets(desk: Desk) -> None:
    """Otherwise his key would be sent to the other's endpoint."""
    desk.accept(namespace="other", **_model(api_key="sk-of-the-first"))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(EvaluationStore, "find", lambda _store, _eval_id: None)  # he looked before it was there
        refusal = _refused(desk.accept)

    assert refusal == (409, "EVALUATION_CONFLICT", "eval_id")
    assert desk.opened() == {"api_key": "sk-of-the-first"}
    assert len(desk.sealed()) == 1


def test_secrets_are_sealed_before_anything_else(desk: Desk) -> None:
    """Then rows, the list, the record: who finds a record finds all that it needs."""
    desk.accept(kubeconfig=_kubeconfig())

    digest = hashlib.sha256(_ROWS.encode()).hexdigest()
    sealed, rows, active, days, page, record, brief = desk.dapr.written
    assert active.startswith("active-")
    assert sealed.startswith(f"sealed-{_ID}.")
    assert (rows, days) == (f"dataset-{_ID}-{digest}", "index-days")
    assert page.startswith("index-20")
    assert (record, brief) == (f"eval-{_ID}", f"brief-{_ID}")


def test_no_secret_is_stored_in_the_clear(desk: Desk) -> None:
    """Nor in the record that workflows get; sealed they open for this evaluation only."""
    record = desk.accept(kubeconfig=_kubeconfig())

    everything = json.dumps(desk.dapr.state) + record.model_dump_json()
    assert _KEY not in everything
    assert _TOKEN not in everything
    assert desk.opened() == {"api_key": _KEY, "kubeconfig": _kubeconfig()}
    assert record.evaluation.target == ClusterTarget(cluster=FROM_REQUEST, namespace="budeval", eval_id=_ID)


def test_inline_rows_are_stored_by_what_they_are(desk: Desk) -> None:
    """Once, under their SHA-256; the record holds only that."""
    record = desk.accept()

    digest = hashlib.sha256(_ROWS.encode()).hexdigest()
    assert desk.dapr.state[f"dataset-{_ID}-{digest}"] == {"schema": 1, "rows": _ROWS}
    assert "What is 2 + 3?" not in record.model_dump_json()


@pytest.mark.parametrize("writes", range(5), ids=["secrets", "rows", "days", "page", "record"])
def test_the_same_request_completes_what_was_cut(desk: Desk, writes: int) -> None:
    """Until the record is there nothing has happened; then the same request does all of it, once."""
    desk.dapr.writes_left = writes
    with pytest.raises(SidecarError):
        desk.accept()
    assert f"eval-{_ID}" not in desk.dapr.state
    assert desk.started == []

    desk.dapr.writes_left = None
    record = desk.accept()

    assert desk.started == [record]
    assert desk.listed() == [_ID]
    assert desk.opened()["api_key"] == _KEY
    assert set(desk.dapr.state) >= {f"eval-{_ID}", f"brief-{_ID}", "index-days"}
    assert len(desk.sealed()) == 1


def test_a_start_that_was_cut_is_made_up_for(desk: Desk) -> None:
    """The record is there, so the same request only starts it."""
    desk.start_fails = True
    with pytest.raises(SidecarError):
        desk.accept()
    stored = dict(desk.dapr.state)

    desk.start_fails = False
    record = desk.accept()

    assert desk.started == [record]
    assert desk.dapr.state == stored


@pytest.mark.parametrize(
    ("changes", "refusal"),
    [
        pytest.param({"engine": "other"}, (400, "ENGINE_UNKNOWN", "engine"), id="engine"),
        pytest.param(
            {"eval_datasets": [{"dataset_id": _STOCK, "run_id": "a"}, {"dataset_id": "?", "run_id": "b"}]},
            (400, "DATASET_UNKNOWN", "eval_datasets.1.dataset_id"),
            id="dataset",
        ),
        pytest.param({"cluster": "third"}, (404, "CLUSTER_UNKNOWN", "cluster"), id="cluster"),
        pytest.param({"kubeconfig": "a: ["}, (422, "KUBECONFIG_INVALID", "kubeconfig"), id="no-yaml"),
        pytest.param(
            {"kubeconfig": _kubeconfig(users=[{"name": "u", "user": {"exec": {"command": "sh"}}}])},
            (422, "KUBECONFIG_INVALID", "kubeconfig"),
            id="program",
        ),
        pytest.param({"source_topic": "news"}, (400, "TOPIC_NOT_ALLOWED", "source_topic"), id="topic"),
        pytest.param(
            {"source_topic": ["budeval-notifications", "news"]},
            (400, "TOPIC_NOT_ALLOWED", "source_topic"),
            id="second-topic",
        ),
        pytest.param(
            _model(api_key=None, secret_ref={"name": "mine"}),
            (400, "SECRET_UNKNOWN", "eval_model_info.secret_ref"),
            id="secret",
        ),
    ],
)
def test_what_cannot_be_is_refused_with_its_field(
    desk: Desk, changes: Json, refusal: tuple[int, str, str]
) -> None:
    """Nothing is stored or started then."""
    assert _refused(lambda: desk.accept(**changes)) == refusal
    assert desk.dapr.state == {}
    assert desk.started == []


def test_without_a_default_a_cluster_must_be_named(desk: Desk) -> None:
    """The service never chooses one silently."""
    desk.changes = {"default_cluster": None}

    assert _refused(desk.accept) == (400, "CLUSTER_REQUIRED", "cluster")


@pytest.mark.parametrize(
    ("reference", "stored"),
    [
        ({"name": "mine", "key": "openai"}, {"other": "x", "openai": _KEY}),
        ({"name": "mine"}, {"mine": _KEY}),
    ],
    ids=["key", "only-key"],
)
def test_a_referenced_secret_is_followed(desk: Desk, reference: Json, stored: dict[str, str]) -> None:
    """The value is sealed as one that came with the request; the record has the reference only."""
    desk.secrets["mine"] = stored

    record = desk.accept(**_model(api_key=None, secret_ref=reference))

    assert desk.opened() == {"api_key": _KEY}
    assert _KEY not in json.dumps(desk.dapr.state) + record.model_dump_json()


def test_a_missing_key_of_a_secret_is_told_without_the_others(desk: Desk) -> None:
    """The refusal names what was asked for, and nothing that the secret holds."""
    desk.secrets["mine"] = {"theirs": _KEY}

    with pytest.raises(RequestError) as refused:
        desk.accept(**_model(api_key=None, secret_ref={"name": "mine", "key": "ours"}))

    assert refused.value.code == "SECRET_UNKNOWN"
    assert "'ours'" in refused.value.message
    assert _KEY not in str(refused.value)
    assert "theirs" not in str(refused.value)


def test_who_is_told_is_what_the_request_says(desk: Desk) -> None:
    """Allowed topics, each once, and the caller's own fields echoed."""
    desk.changes = {"allowed_topics": frozenset({"news", "more"})}

    audience = desk.accept(
        source_topic=["news", "more", "news"],
        notification_metadata={"workflow_id": "theirs", "name": "bud", "subscriber_ids": ["7"]},
    ).evaluation.audience

    assert audience.topics == ["news", "more"]
    assert (audience.workflow_id, audience.name, audience.subscriber_ids) == ("theirs", "bud", ["7"])


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ('{"question": "2 + 3?", "answer": "5"}\n{"question": "no answer"}\n', "Row 2 of own has no column"),
        ("question,answer\n2 + 3?,5\n", "Line 1 is not JSON"),
        ("[1]\n", "Line 1 is not a JSON object"),
        ("\n", "has no rows"),
    ],
    ids=["column", "format", "list", "empty"],
)
def test_rows_that_do_not_fit_are_refused_at_once(desk: Desk, rows: str, said: str) -> None:
    """By the pod's own code, which would find it minutes later; nothing is kept of the request."""
    own = {"dataset_id": "own", "run_id": "own-1", "source": {"inline": rows}}
    stock = {"dataset_id": _STOCK, "run_id": "stock-1"}

    with pytest.raises(RequestError, match=said) as refused:
        desk.accept(eval_datasets=[stock, own])

    assert (refused.value.code, refused.value.param) == ("DATASET_INVALID", "eval_datasets.1.source.inline")
    assert desk.dapr.state == {}


def test_only_the_rows_that_are_used_are_looked_at(desk: Desk) -> None:
    """With a limit, what comes after it does not matter."""
    rows = '{"question": "2 + 3?", "answer": "5"}\n{"question": "no answer"}\n'
    own = {"dataset_id": "own", "run_id": "own-1", "limit": 1, "source": {"inline": rows}}

    assert desk.accept(eval_datasets=[own]).evaluation.runs[0].limit == 1
