"""From a request to a started evaluation, whatever is cut off in between."""

import hashlib
import json
from collections.abc import Callable
from typing import Any

import pytest

from budeval.domain.cluster import FROM_REQUEST, ClusterTarget
from budeval.domain.evaluation import EvaluationRecord
from budeval.errors import RequestError, SidecarError
from budeval.evals.store import EvaluationStore
from tests.evals.intake_desk import (
    ID,
    KEY,
    ROWS,
    STOCK,
    TOKEN,
    WRITES,
    Desk,
    Json,
    kubeconfig,
    model,
)


def _refused(call: Callable[[], Any]) -> tuple[int, str, str | None]:
    with pytest.raises(RequestError) as refused:
        call()
    return refused.value.status, refused.value.code, refused.value.param


def test_an_accepted_request_becomes_an_evaluation(desk: Desk) -> None:
    """With all names resolved, and what was left out from the settings."""
    evaluation = desk.accept(labels={"team": "a"}, decoding={"seed": 7}).evaluation

    assert (evaluation.eval_id, evaluation.engine) == (ID, "opencompass")
    assert evaluation.model.model_dump(include={"name", "seed", "batch_size"}) == {
        "name": "m",
        "seed": 7,
        "batch_size": 16,
    }
    assert evaluation.target == ClusterTarget(cluster="first", namespace="budeval")
    assert evaluation.claim == "eval-datasets-pvc-rwx"
    assert evaluation.audience.topics == ["budeval-notifications"]
    assert evaluation.audience.workflow_id == f"eval-{ID}"
    assert evaluation.labels == {"team": "a"}
    own, stock = evaluation.runs
    assert own.own is not None
    assert own.own.digest == hashlib.sha256(ROWS.encode()).hexdigest()
    assert (stock.own, stock.limit) == (None, 5)


def test_the_same_request_again_answers_the_same(desk: Desk) -> None:
    """Start is asked again, for it may have been cut; nothing is there twice."""
    first = desk.accept()
    stored = dict(desk.dapr.state)

    second = desk.accept()

    assert second == first
    assert desk.started == [first, first]
    assert desk.listed() == [ID]
    assert desk.dapr.state == stored


def test_another_delivery_is_the_same_request(desk: Desk) -> None:
    """A new key, a new trace and a new time are nothing that was asked for."""
    first = desk.accept()

    second = desk.accept(**model(api_key="sk-rotated"), time="later", traceid="2", traceparent="2")

    assert second == first


@pytest.mark.parametrize(
    "changes",
    [
        {"experiment_id": "323e4567-e89b-12d3-a456-426614174000"},
        {"namespace": "other"},
        model(model_name="other"),
        {"eval_datasets": [{"dataset_id": STOCK, "run_id": "stock-1"}]},
        {"eval_datasets": [{"dataset_id": "sums", "run_id": "sums-1", "source": {"inline": ROWS * 2}}]},
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
    key = f"eval-{ID}"
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
    desk.accept(namespace="other", **model(api_key="sk-of-the-first"))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(EvaluationStore, "find", lambda _store, _eval_id: None)  # he looked before it was there
        refusal = _refused(desk.accept)

    assert refusal == (409, "EVALUATION_CONFLICT", "eval_id")
    assert desk.opened() == {"api_key": "sk-of-the-first"}
    assert len(desk.kept("sealed")) == 1


def test_before_anything_is_kept_it_is_noted_that_it_will_be(desk: Desk) -> None:
    """Then secrets, rows, the list, the record: who finds a record finds all that it needs."""
    desk.accept(kubeconfig=kubeconfig())

    digest = hashlib.sha256(ROWS.encode()).hexdigest()
    written = desk.dapr.written
    assert [key.startswith(start) for key, start in zip(written, WRITES, strict=True)] == [True] * 9
    name = written[1].removeprefix("sealed-")
    assert name.startswith(f"{ID}.")
    assert written[2] == f"dataset-{name}-{digest}"


def test_no_secret_is_stored_in_the_clear(desk: Desk) -> None:
    """Nor in the record that workflows get; sealed they open for this evaluation only."""
    record = desk.accept(kubeconfig=kubeconfig())

    everything = json.dumps(desk.dapr.state) + record.model_dump_json()
    assert KEY not in everything
    assert TOKEN not in everything
    assert desk.opened() == {"api_key": KEY, "kubeconfig": kubeconfig()}
    target = record.evaluation.target
    assert target == ClusterTarget(
        cluster=FROM_REQUEST, namespace="budeval", eval_id=ID, server=target.server
    )
    assert "10.0.0.1" not in target.model_dump_json()


def _elsewhere(server: str) -> str:
    return kubeconfig(clusters=[{"name": "c", "cluster": {"server": server}}])


def test_another_cluster_is_another_request(desk: Desk) -> None:
    """A renewed credential is not; who asks again with another server would be told that it runs there."""
    first = desk.accept(kubeconfig=kubeconfig())
    renewed = kubeconfig(users=[{"name": "u", "user": {"token": "renewed"}}])

    assert desk.accept(kubeconfig=renewed) == first
    assert desk.accept(kubeconfig=_elsewhere("https://10.0.0.1:6443/")) == first
    refusal = _refused(lambda: desk.accept(kubeconfig=_elsewhere("https://10.0.0.2:6443")))
    assert refusal == (409, "EVALUATION_CONFLICT", "eval_id")


@pytest.mark.parametrize("server", ["https://10.0.0.2:6443", "https://10.0.0.1", "https://10.0.0.1:6443/k8s"])
def test_a_kubeconfig_that_comes_again_is_of_the_same_cluster(desk: Desk, server: str) -> None:
    """On another there is nothing of the evaluation: nothing could be proved to be deleted."""
    target = desk.accept(kubeconfig=kubeconfig()).evaluation.target
    intake, other = desk.intake(), _elsewhere(server)
    renewed = kubeconfig(users=[{"name": "u", "user": {"token": "renewed"}}])

    assert _refused(lambda: intake.kubeconfig_again(target, other)) == (409, "CLUSTER_MISMATCH", "kubeconfig")
    assert intake.kubeconfig_again(target, renewed) == renewed
    of_old = target.model_copy(update={"server": None})
    assert intake.kubeconfig_again(of_old, other) == other


def test_inline_rows_are_stored_by_what_they_are(desk: Desk) -> None:
    """Once, under their SHA-256; the record holds only that."""
    record = desk.accept()

    digest = hashlib.sha256(ROWS.encode()).hexdigest()
    assert desk.dapr.state[f"dataset-{record.rows_kept_as}-{digest}"] == {"schema": 1, "rows": ROWS}
    assert "What is 2 + 3?" not in record.model_dump_json()


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
            {"eval_datasets": [{"dataset_id": STOCK, "run_id": "a"}, {"dataset_id": "?", "run_id": "b"}]},
            (400, "DATASET_UNKNOWN", "eval_datasets.1.dataset_id"),
            id="dataset",
        ),
        pytest.param({"cluster": "third"}, (404, "CLUSTER_UNKNOWN", "cluster"), id="cluster"),
        pytest.param({"kubeconfig": "a: ["}, (422, "KUBECONFIG_INVALID", "kubeconfig"), id="no-yaml"),
        pytest.param(
            {"kubeconfig": kubeconfig(users=[{"name": "u", "user": {"exec": {"command": "sh"}}}])},
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
            model(api_key=None, secret_ref={"name": "mine"}),
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
        ({"name": "mine", "key": "openai"}, {"other": "x", "openai": KEY}),
        ({"name": "mine"}, {"mine": KEY}),
    ],
    ids=["key", "only-key"],
)
def test_a_referenced_secret_is_followed(desk: Desk, reference: Json, stored: dict[str, str]) -> None:
    """The value is sealed as one that came with the request; the record has the reference only."""
    desk.secrets["mine"] = stored

    record = desk.accept(**model(api_key=None, secret_ref=reference))

    assert desk.opened() == {"api_key": KEY}
    assert KEY not in json.dumps(desk.dapr.state) + record.model_dump_json()


def test_a_missing_key_of_a_secret_is_told_without_the_others(desk: Desk) -> None:
    """The refusal names what was asked for, and nothing that the secret holds."""
    desk.secrets["mine"] = {"theirs": KEY}

    with pytest.raises(RequestError) as refused:
        desk.accept(**model(api_key=None, secret_ref={"name": "mine", "key": "ours"}))

    assert refused.value.code == "SECRET_UNKNOWN"
    assert "'ours'" in refused.value.message
    assert KEY not in str(refused.value)
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
    stock = {"dataset_id": STOCK, "run_id": "stock-1"}

    with pytest.raises(RequestError, match=said) as refused:
        desk.accept(eval_datasets=[stock, own])

    assert (refused.value.code, refused.value.param) == ("DATASET_INVALID", "eval_datasets.1.source.inline")
    assert desk.dapr.state == {}


def test_only_the_rows_that_are_used_are_looked_at(desk: Desk) -> None:
    """With a limit, what comes after it does not matter."""
    rows = '{"question": "2 + 3?", "answer": "5"}\n{"question": "no answer"}\n'
    own = {"dataset_id": "own", "run_id": "own-1", "limit": 1, "source": {"inline": rows}}

    assert desk.accept(eval_datasets=[own]).evaluation.runs[0].limit == 1


def test_an_evaluation_that_no_workflow_could_carry_is_refused(desk: Desk) -> None:
    """As its history has it: what is no ASCII takes twelve bytes of JSON there. Its rows do not count."""
    prompts = [f"{{question}} {'😀' * 18_000}" for _ in range(20)]
    datasets = [
        {"dataset_id": "d", "run_id": f"r-{at}", "source": {"inline": ROWS, "prompt": prompt}}
        for at, prompt in enumerate(prompts)
    ]

    refused = (413, "REQUEST_TOO_LARGE", "eval_datasets")
    assert _refused(lambda: desk.accept(eval_datasets=datasets)) == refused
    assert desk.dapr.state == {}
    assert desk.accept(eval_datasets=datasets[:18]).evaluation.runs


@pytest.mark.parametrize("by", ["value", "reference"])
def test_a_key_from_a_file_is_sealed_without_the_end_of_its_line(desk: Desk, by: str) -> None:
    """As it goes into the header, and as it is looked for in whatever echoes it."""
    key = f" {KEY}\r\n"
    desk.secrets["mine"] = {"key": key}
    given: Json = {"api_key": key} if by == "value" else {"api_key": None, "secret_ref": {"name": "mine"}}

    desk.accept(**model(**given))

    assert desk.opened()["api_key"] == KEY
