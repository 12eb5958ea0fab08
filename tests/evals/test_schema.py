"""What a request may say, and what it is told where it is wrong."""

import json
from typing import Any

import pytest
from pydantic import ValidationError

from budeval.api.http_errors import first_problem
from budeval.evals.request_examples import EXAMPLES
from budeval.evals.schema import INLINE_LIMIT, EvaluationRequest

_KEY = "sk-very-secret"
_KUBECONFIG = "token-in-the-kubeconfig"

Json = dict[str, Any]


def _model(**changes: Any) -> Json:
    model = {"model_name": "m", "endpoint": "http://m/v1", "api_key": _KEY, **changes}
    return {"eval_model_info": {name: value for name, value in model.items() if value is not None}}


def _dataset(run_id: str = "r-1", **more: Any) -> Json:
    return {"dataset_id": "sums", "run_id": run_id, **more}


def _own(**source: Any) -> Json:
    rows = {} if "path" in source else {"inline": "rows"}
    return {"eval_datasets": [_dataset(source={**rows, **source})]}


def _body(**changes: Any) -> Json:
    return {
        "eval_id": "223e4567-e89b-12d3-a456-426614174020",
        "experiment_id": "123e4567-e89b-12d3-a456-426614174000",
        **_model(),
        "eval_datasets": [_dataset()],
        **changes,
    }


def _parsed(**changes: Any) -> EvaluationRequest:
    return EvaluationRequest.model_validate(_body(**changes))


def _audience(**fields: Any) -> Json:
    return {"notification_metadata": {"workflow_id": "theirs", **fields}}


def _config(value: Json) -> Json:
    return {"config_name": "any", "config_value": value}


_AUDIENCE = "notification_metadata"
_CONFIG = "eval_configs.0.config_value"
_ENDPOINT = "eval_model_info.endpoint"
_SOURCE = "eval_datasets.0.source"


@pytest.mark.parametrize(
    ("changes", "param", "says"),
    [
        pytest.param(_model(endpoint="http://me:pw@m/v1"), _ENDPOINT, "user or password", id="credentials"),
        pytest.param(_model(endpoint="m:8000/v1"), _ENDPOINT, "pattern", id="no-scheme"),
        pytest.param(_model(endpoint="file:///etc/passwd"), _ENDPOINT, "pattern", id="other-scheme"),
        pytest.param(_model(endpoint="http://m/v1 x"), _ENDPOINT, "pattern", id="blank-in-endpoint"),
        pytest.param(_model(model_name=""), "eval_model_info.model_name", "at least 1", id="no-model"),
        pytest.param(_model(model_name="a\nb"), "eval_model_info.model_name", "pattern", id="two-lines"),
        pytest.param(_model(api_key=""), "eval_model_info.api_key", "must not be empty", id="empty-key"),
        pytest.param(_model(api_key=" \n"), "eval_model_info.api_key", "must not be empty", id="blank-key"),
        pytest.param(_model(api_key=None), "eval_model_info", "either api_key or secret_ref", id="no-key"),
        pytest.param(
            _model(secret_ref={"name": "s"}), "eval_model_info", "either api_key or secret_ref", id="two-keys"
        ),
        pytest.param({"eval_datasets": []}, "eval_datasets", "at least 1", id="no-dataset"),
        pytest.param(
            {"eval_datasets": [_dataset("a"), _dataset("a")]},
            "eval_datasets",
            "'a' is there twice",
            id="twin",
        ),
        pytest.param(
            {"eval_datasets": [_dataset("../a")]}, "eval_datasets.0.run_id", "pattern", id="run-id-path"
        ),
        pytest.param(
            {"eval_datasets": [_dataset("a"), _dataset("b" * 64)]},
            "eval_datasets.1.run_id",
            "at most 63",
            id="run-id-long",
        ),
        pytest.param(
            {"eval_datasets": [_dataset(limit=0)]},
            "eval_datasets.0.limit",
            "at least 1|or equal",
            id="limit-0",
        ),
        pytest.param(
            {"eval_datasets": [_dataset(resources={"memory": "much"})]},
            "eval_datasets.0.resources.memory",
            "pattern",
            id="memory",
        ),
        pytest.param(
            _own(inline="rows", path="a.jsonl"), _SOURCE, "either inline or path", id="both-sources"
        ),
        pytest.param(_own(inline=None), _SOURCE, "either inline or path", id="no-source"),
        pytest.param(_own(path="../../etc/passwd"), f"{_SOURCE}.path", "pattern", id="path-climbs"),
        pytest.param(_own(path="a/../../b"), _SOURCE, "must not leave", id="path-climbs-later"),
        pytest.param(_own(path="/etc/passwd"), f"{_SOURCE}.path", "pattern", id="path-from-root"),
        pytest.param(_own(prompt="What?"), _SOURCE, "no {column}", id="no-placeholder"),
        pytest.param(_own(prompt='What is {"a": 1}?'), _SOURCE, "no {column}", id="json-is-no-placeholder"),
        pytest.param(_own(inline="x" * (INLINE_LIMIT + 1)), _SOURCE, "limited to 524288 bytes", id="too-big"),
        pytest.param(
            _own(inline="ä" * (INLINE_LIMIT // 2 + 1)), _SOURCE, "limited to 524288 bytes", id="bytes-count"
        ),
        pytest.param(_own(evaluator="guess"), f"{_SOURCE}.evaluator", "'exact'", id="evaluator"),
        pytest.param(_own(format="xml"), f"{_SOURCE}.format", "'jsonl'", id="format"),
        pytest.param({"eval_id": "one"}, "eval_id", "UUID", id="eval-id"),
        pytest.param({"cluster": "../other"}, "cluster", "pattern", id="cluster"),
        pytest.param({"labels": {"a b": "c"}}, "labels.a b.[key]", "pattern", id="label"),
        pytest.param({"decoding": {"temperature": 3}}, "decoding.temperature", "less than", id="temperature"),
        pytest.param({"eval_datset": []}, "eval_datset", "not permitted", id="misspelt"),
        pytest.param(
            {"eval_datasets": [_dataset(limit=10**22)]},
            "eval_datasets.0.limit",
            "or equal",
            id="limit-that-floats-lose",
        ),
        pytest.param({"decoding": {"seed": 2**53}}, "decoding.seed", "or equal", id="seed-beyond-floats"),
        pytest.param({"decoding": {"seed": -(2**53)}}, "decoding.seed", "or equal", id="seed-below-floats"),
        pytest.param({"decoding": {"seed": 10**400}}, "decoding.seed", "or equal", id="seed-beyond-all"),
        pytest.param(_audience(actor="x" * 256), f"{_AUDIENCE}.actor", "at most 255", id="long-actor"),
        pytest.param(
            _audience(topic_keys=["x"] * 101), f"{_AUDIENCE}.topic_keys.list", "at most 100", id="many-keys"
        ),
        pytest.param({"eval_configs": [_config({"a": 2**53})]}, _CONFIG, "as text", id="integer-in-config"),
        pytest.param({"data": {"a": [-(2**53)]}}, "data", "as text", id="integer-in-data"),
        pytest.param({"data": {"a": float("nan")}}, "data", "not finite", id="no-number-in-data"),
        pytest.param(_model(api_key="x" * 8193), "eval_model_info.api_key", "at most 8192", id="long-key"),
        pytest.param({"kubeconfig": "x" * 262145}, "kubeconfig", "at most 262144", id="long-kubeconfig"),
        pytest.param({"source_topic": "x" * 256}, "source_topic.text", "at most 255", id="long-topic"),
        pytest.param({"x" * 1000: 1}, "x" * 100, "not permitted", id="long-name"),
        pytest.param(
            {"eval_datasets": [_dataset(dataset="x")]}, "eval_datasets.0.dataset", "not permitted", id="deep"
        ),
    ],
)
def test_what_is_wrong_is_named(changes: Json, param: str, says: str) -> None:
    """The field by its path, and what it should be."""
    with pytest.raises(ValidationError) as refused:
        _parsed(**changes)

    problem = first_problem(refused.value.errors(), skip=0)

    assert (problem.status, problem.code, problem.param) == (422, "REQUEST_INVALID", param)
    assert any(words in problem.message for words in says.split("|")), problem.message


def test_a_cluster_and_a_kubeconfig_are_one_too_many() -> None:
    """Nobody guesses which of them counts."""
    with pytest.raises(ValidationError, match="either cluster or kubeconfig"):
        _parsed(cluster="first", kubeconfig=_KUBECONFIG)


def test_inline_rows_may_fill_their_limit() -> None:
    """Half a MiB is the last size that is taken."""
    request = _parsed(**_own(inline="x" * INLINE_LIMIT))

    source = request.eval_datasets[0].source
    assert source is not None
    assert source.inline is not None
    assert len(source.inline) == INLINE_LIMIT


def test_the_end_of_an_endpoint_does_not_matter() -> None:
    """With a slash or without, it is the same place."""
    assert _parsed(**_model(endpoint="http://m/v1/")).eval_model_info.endpoint == "http://m/v1"


@pytest.mark.parametrize("endpoint", ["http://m/v1?version=1", "http://m/v1#here"])
def test_an_endpoint_is_a_base_to_which_a_path_is_added(endpoint: str) -> None:
    """Behind a query or a fragment, `/chat/completions` would be no path any more."""
    with pytest.raises(ValidationError):
        _parsed(**_model(endpoint=endpoint))


def test_secrets_are_not_shown_by_a_request() -> None:
    """Neither in print, nor as JSON."""
    request = _parsed(kubeconfig=_KUBECONFIG)

    shown = f"{request!r} {request} {request.model_dump()} {request.model_dump_json()}"

    assert _KEY not in shown
    assert _KUBECONFIG not in shown
    assert request.eval_model_info.api_key is not None
    assert request.eval_model_info.api_key.get_secret_value() == _KEY
    assert request.kubeconfig_text == _KUBECONFIG


@pytest.mark.parametrize(
    "changes",
    [
        {"kubeconfig": [_KUBECONFIG]},
        {"kubeconfig": _KUBECONFIG, "cluster": "first"},
        _model(api_key=[_KEY]),
        _model(api_key={"value": _KEY}),
        _model(secret_ref={"name": "s"}),
        _model(endpoint=f"http://{_KEY}@m/v1"),
    ],
    ids=["kubeconfig-list", "two-clusters", "key-list", "key-object", "two-keys", "key-in-endpoint"],
)
def test_what_callers_are_told_has_no_secret(changes: Json) -> None:
    """The text of a refusal never quotes the value."""
    with pytest.raises(ValidationError) as refused:
        _parsed(**changes)

    problem = first_problem(refused.value.errors(), skip=0)

    assert _KEY not in str(problem)
    assert _KUBECONFIG not in str(problem)


def test_what_the_original_services_callers_send_is_taken() -> None:
    """Their CloudEvent fields, an empty kubeconfig, one topic as text, metadata, arguments we don't know."""
    original = {
        "eval_id": "223e4567-e89b-12d3-a456-426614174020",
        "experiment_id": "123e4567-e89b-12d3-a456-426614174000",
        "eval_model_info": {
            "model_name": "gpt-oss-20b",
            "endpoint": "https://gateway.example/v1",
            "api_key": "sk-1",
            "extra_args": {"query_per_second": 2, "max_out_len": 128, "batch_size": 4, "top_k": 1},
        },
        "eval_datasets": [{"dataset_id": "demo_gsm8k_chat_gen", "run_id": "923e4567-e89b"}],
        "eval_configs": [{"config_name": "any", "config_value": {"a": 1}}],
        "kubeconfig": "",
        "engine": "opencompass",
        "source": "budapp",
        "source_topic": "budapp-news",
        "notification_metadata": {
            "name": "bud-internal",
            "subscriber_ids": "7",
            "workflow_id": "theirs",
        },
        "specversion": "1.0",
        "topic": "requests",
        "pubsubname": "pubsub",
        "traceid": "00-1",
        "tracestate": "",
        "traceparent": "00-1",
        "type": "evaluation",
        "time": "2026-01-01T00:00:00Z",
        "debug": False,
    }

    request = EvaluationRequest.model_validate_json(json.dumps(original))

    assert request.kubeconfig_text is None
    assert request.topics == ["budapp-news"]
    assert request.notification_metadata is not None
    assert request.notification_metadata.workflow_id == "theirs"
    assert request.eval_model_info.extra_args.model_dump() == {
        "query_per_second": 2,
        "max_out_len": 128,
        "max_seq_len": None,
        "batch_size": 4,
    }


@pytest.mark.parametrize(
    ("named", "topics"), [(None, []), ("a", ["a"]), (["a", "b"], ["a", "b"]), ([], [])], ids=str
)
def test_topics_come_one_or_many(named: Any, topics: list[str]) -> None:
    """A text is a list of one."""
    assert _parsed(source_topic=named).topics == topics


@pytest.mark.parametrize("example", EXAMPLES, ids=["inline", "claim", "original"])
def test_the_examples_of_the_documentation_are_requests(example: Json) -> None:
    """Whoever copies one is understood."""
    assert EvaluationRequest.model_validate(example).eval_datasets
