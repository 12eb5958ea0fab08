"""A template, a command or a path in every text of the API: refused, or kept to the letter.

The texts are found in the API's document, so one that is new is tried without a word here.
"""

import copy
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
import yaml

from budeval.ansible.runner import PlaybookRunner
from budeval.domain.cluster import FROM_REQUEST, ClusterTarget
from budeval.domain.evaluation import DEPLOYMENTS
from budeval.evals import addresses
from budeval.runtime.sealing import new_key
from tests.ansible.fake_api import FakeApi
from tests.evals import samples
from tests.evals.application_on_fakes import CLUSTER, ENDED, ApplicationOnFakes

_DOCUMENT = json.loads((Path(__file__).resolve().parents[2] / "docs" / "openapi.json").read_text())
_ID = "423e4567-e89b-12d3-a456-426614174020"
_PAYLOADS = [
    "{{ 7 * 191 }}",
    "{% set x = lookup('pipe', 'expr 7 \\* 191') %}{{ x }}",
    "'; expr 7 \\* 191; $((7 * 191)) `expr 7 \\* 191` $(expr 7 \\* 191)",
    "!unsafe %(a)s {0.__class__} ${7*191} #{7*191} <%= 7*191 %>",
    "x\nkind: Secret\n---",
    "../../../etc/passwd",
    "--kubeconfig=/etc/shadow",
]
_EVALUATED = "1337"
"""What comes out where one of them is taken for a program."""

Json = dict[str, Any]
Where = tuple[str, ...]
"""Names of fields from the outside in; `*` for an item of a list, `<key>` and `<value>` for any field."""

_START: Json = {
    "eval_id": _ID,
    "experiment_id": _ID,
    "eval_model_info": {"model_name": "m", "endpoint": "http://m.test/v1", "api_key": "sk-a-key"},
    "eval_datasets": [
        {
            "dataset_id": "d",
            "run_id": "r-1",
            "resources": {"cpu": "1", "memory": "1Gi"},
            "source": {
                "inline": '{"question": "q", "answer": "5"}',
                "prompt": "{question}",
            },
        }
    ],
    "eval_configs": [{"config_name": "c", "config_value": {}}],
    "cluster": CLUSTER,
    "labels": {},
    "notification_metadata": {"workflow_id": "w"},
}
_PART: Json = {"path": "a", "bytes": 1, "sha256": "0" * 64, "data": ""}
_SAMPLE: Json = {
    "question": "q",
    "answer": "a",
    "ground_truth": "g",
    "contexts": ["c"],
    "reference_contexts": ["c"],
    "context_ids": ["i"],
    "reference_context_ids": ["i"],
    "metrics": ["exact_match"],
}
_BODIES: dict[tuple[str, str], Json] = {
    ("POST", "/evals/start"): _START,
    ("POST", "/evals:validate"): _START,
    ("POST", "/evals/{eval_id}/retry"): {"api_key": "sk-a-key"},
    ("POST", "/data/parts"): _PART,
    ("POST", "/scores"): _SAMPLE,
    ("POST", "/scores:validate"): _SAMPLE,
    ("POST", "/scores:batch"): {
        "jsonl": '{"question": "q"}',
        "metrics": ["exact_match"],
        "allow_empty": True,
    },
}
_INSTEAD = {
    "secret_ref": ("api_key", {"name": "a"}),
    "path": ("inline", None),
    "kubeconfig": ("cluster", None),
}
"""Fields of which only one may be there: which goes, and what comes."""
_DRESSED: dict[str, Callable[[str], str]] = {
    "prompt": lambda text: f"{text} {{question}}",
    "inline": lambda text: json.dumps({"question": text, "answer": text}),
    "endpoint": lambda text: f"http://m.test/{text}",
    "jsonl": lambda text: json.dumps({"question": text}),
}
"""How a text must be put so that it is not refused for its form alone."""
_READ_BY_NOBODY = {
    ("eval_configs", "*", "config_name"),
    ("eval_configs", "*", "config_value", "<key>"),
    ("eval_configs", "*", "config_value", "<value>"),
    ("data", "<key>"),
    ("data", "<value>"),
    *((name,) for name in ("source", "specversion", "topic", "pubsubname", "type", "time")),
    *((name,) for name in ("traceid", "tracestate", "traceparent")),
}
"""What callers of the original service send with a request."""


def _texts_of(schema: Json, where: Where = ()) -> Iterator[Where]:
    """Every place of a text in what a schema describes."""
    if "$ref" in schema:
        schema = _DOCUMENT["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    for choice in (*schema.get("anyOf", []), *schema.get("oneOf", [])):
        yield from _texts_of(choice, where)
    for name, inner in schema.get("properties", {}).items():
        yield from _texts_of(inner, (*where, name))
    if "items" in schema:
        yield from _texts_of(schema["items"], (*where, "*"))
    if schema.get("type") == "string":
        yield where
    if schema.get("type") == "object" and "properties" not in schema:
        yield from ((*where, "<key>"), (*where, "<value>"))


def _operations() -> Iterator[tuple[str, str, Json]]:
    for path, operations in _DOCUMENT["paths"].items():
        for method, operation in operations.items():
            yield method.upper(), path, operation


def _in_bodies() -> list[tuple[str, str, Where]]:
    return sorted(
        {
            (method, path, where)
            for method, path, operation in _operations()
            if "requestBody" in operation
            for where in _texts_of(operation["requestBody"]["content"]["application/json"]["schema"])
        }
    )


def _in_parameters() -> list[tuple[str, str, str, str]]:
    return [
        (method, path, parameter["in"], parameter["name"])
        for method, path, operation in _operations()
        for parameter in operation.get("parameters", [])
    ]


def _put(body: Any, where: Where, text: str) -> None:
    """Put a text at a place, and what else must be there or must not."""
    name, *rest = where
    if name == "<key>":
        body[text] = "v"
    elif name == "<value>":
        body["k"] = text
    elif name == "*":
        body[0] = text if not rest else body[0]
        _put_deeper(body, 0, rest, text)
    else:
        other, instead = _INSTEAD.get(name, (None, None))
        if other in body:
            del body[other]
            body[name] = copy.deepcopy(instead)
        _put_deeper(body, name, rest, text)


def _put_deeper(body: Any, name: Any, rest: list[str], text: str) -> None:
    if not rest:
        body[name] = text
        return
    if isinstance(body, dict) and not body.get(name):
        body[name] = [None] if rest[0] == "*" else {}
    _put(body[name], tuple(rest), text)


def _strings(value: Any) -> Iterator[str]:
    """All texts of a JSON value, names too; files that are JSON themselves are opened."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield name
            yield from _strings(json.loads(inner) if str(name).endswith(".json") else inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _strings(inner)
    elif isinstance(value, str):
        yield value


@pytest.fixture(scope="module")
def fakes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApplicationOnFakes]:
    """One application for all; no name stands for an address, so nobody is asked."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BUDEVAL_SEAL_KEYS", new_key())
        patch.setattr(addresses, "_addresses_of", lambda *_: [])
        yield ApplicationOnFakes(tmp_path_factory.mktemp("clusters"))


def _kept(fakes: ApplicationOnFakes, eval_id: str) -> set[str]:
    """All texts that the service keeps of a request: stored, sealed, scheduled, and handed to a playbook."""
    record = fakes.service.store.load(eval_id)
    evaluating = fakes.service._evaluating
    first = (record.evaluation.attempt - 1) * DEPLOYMENTS + 1
    evaluating.deploy_eval_job({"eval_id": eval_id, "run_ids": ["r-1"], "attempt": first})
    secrets = fakes.service.vault.open(record.sealed_as)
    everything = [fakes.changed, secrets, fakes.engine.scheduled, fakes.cluster.orders]
    return set(_strings(everything))


def _kept_of(fakes: ApplicationOnFakes, path: str) -> set[str]:
    """See `_kept`. Of scores nothing is sealed, and nothing goes to a playbook."""
    if path.startswith("/scores"):
        return set(_strings([fakes.changed, fakes.engine.scheduled]))
    return _kept(fakes, ENDED if "{eval_id}" in path else _ID)


def _as_kept(text: str, where: Where) -> str:
    """Lines of samples are taken apart."""
    return str(json.loads(text)["question"]) if where == ("jsonl",) else text


def _require_refused(fakes: ApplicationOnFakes, answer: httpx.Response, field: str) -> None:
    assert 400 <= answer.status_code < 500, answer.text
    refusal = answer.json()
    assert refusal["code"]
    assert field in (refusal["param"] or ""), refusal
    assert (fakes.changed, fakes.engine.scheduled, fakes.cluster.orders) == ({}, [], [])


def _tries(path: str, where: Where) -> list[str]:
    """Each as it is, and so that it is not refused for its form alone; a validation reads as a start does."""
    payloads = _PAYLOADS[:1] if path == "/evals:validate" else _PAYLOADS
    dress = _DRESSED.get(where[-1])
    return payloads + ([dress(payload) for payload in payloads] if dress else [])


@pytest.mark.parametrize(("method", "path", "where"), _in_bodies(), ids=str)
def test_a_text_in_a_body_is_refused_or_kept(
    fakes: ApplicationOnFakes, method: str, path: str, where: Where
) -> None:
    """Nothing is made of it, and what is refused changes nothing."""
    for text in _tries(path, where):
        fakes.begin_anew()
        body = copy.deepcopy(_BODIES.get((method, path), {}))
        if where[-1] == "answer" and "eval_datasets" in body:
            body["eval_datasets"][0]["source"]["inline"] = json.dumps({"question": "q", text: "5"})
        _put(body, where, text)

        answer = fakes.ask(method, path.replace("{eval_id}", ENDED), json=body)

        assert _EVALUATED not in answer.text
        if answer.status_code >= 400:
            _require_refused(fakes, answer, where[0])
        elif path.endswith(":validate"):
            assert fakes.changed == {}
        else:
            kept = _kept_of(fakes, path)
            assert (_as_kept(text, where) in kept) is (where not in _READ_BY_NOBODY), text
            assert not any(_EVALUATED in one for one in kept)


def test_free_texts_are_kept_and_not_all_refused(fakes: ApplicationOnFakes) -> None:
    """The test above would pass if everything were refused."""
    fakes.begin_anew()
    body = copy.deepcopy(_START)
    first = _PAYLOADS[2]
    source = body["eval_datasets"][0]["source"]
    source["prompt"] = f"{first} {{question}}"
    source["inline"] = json.dumps({"question": first, "answer": "5"})
    body |= {"labels": {"a": first}}

    answer = fakes.ask("POST", "/evals/start", json=body)

    assert answer.status_code == 200, answer.text
    assert {source["prompt"], source["inline"], first} <= _kept(fakes, _ID)


@pytest.mark.parametrize(("method", "path", "place", "name"), _in_parameters())
def test_a_text_in_a_parameter_is_refused_or_no_more_than_a_text(
    fakes: ApplicationOnFakes, method: str, path: str, place: str, name: str
) -> None:
    """In a path, a query or a header: nothing is changed, and no answer has made anything of it."""
    for payload in _PAYLOADS:
        fakes.begin_anew()
        quoted = quote(payload, safe="")
        url = (
            path.replace(f"{{{name}}}", quoted).replace("{eval_id}", ENDED).replace("{engine}", "opencompass")
        )
        if place == "query":
            url += f"?{name}={quoted}"
        headers = {name: quoted} if place == "header" else {}

        answer = fakes.ask(method, url.replace("{workflow_id}", "w"), headers=headers)

        assert answer.status_code < 500
        assert _EVALUATED not in answer.text
        assert (fakes.changed, fakes.engine.scheduled, fakes.cluster.orders) == ({}, [], [])


def _kubeconfig(field: str, text: str) -> str:
    """With a text in one of its fields, or as all of its names."""
    document = yaml.safe_load(samples.kubeconfig("a-token"))
    cluster, user = document["clusters"][0]["cluster"], document["users"][0]["user"]
    if field == "names":
        document["current-context"] = document["contexts"][0]["name"] = text
    elif field == "namespace":
        document["contexts"][0]["context"]["namespace"] = text
    else:
        (user if field in {"token", "client-certificate-data", "client-key-data"} else cluster)[field] = text
    return yaml.safe_dump(document)


@pytest.mark.parametrize(
    "field",
    [
        "server",
        "tls-server-name",
        "certificate-authority-data",
        "token",
        "client-certificate-data",
        "client-key-data",
        "names",
        "namespace",
    ],
)
def test_a_text_in_a_kubeconfig_is_refused_or_kept(fakes: ApplicationOnFakes, field: str) -> None:
    """What playbooks get is YAML that says the same."""
    for payload in [*_PAYLOADS, "https://m.test/{{ 7 * 191 }}", "https://m.test/$(expr 7 \\* 191)"]:
        fakes.begin_anew()
        brought = _kubeconfig(field, payload)
        body = {**copy.deepcopy(_START), "kubeconfig": brought}
        del body["cluster"]

        answer = fakes.ask("POST", "/evals/start", json=body)

        if answer.status_code != 200:
            _require_refused(fakes, answer, "kubeconfig")
            continue
        credential = fakes.service.clusters.credential(
            ClusterTarget(cluster=FROM_REQUEST, namespace="n", eval_id=_ID), brought
        )
        fields = {**yaml.safe_load(credential)["clusters"][0]["cluster"]}
        fields |= yaml.safe_load(credential)["users"][0]["user"]
        assert fields.get(field, payload) == payload
        assert _EVALUATED not in credential


def test_what_is_kept_passes_through_ansible_to_the_letter(fakes: ApplicationOnFakes, tmp_path: Path) -> None:
    """Real Ansible makes Job, ConfigMap and Secret: in them is what was sent, and nothing was executed."""
    trace = tmp_path / "executed"
    hostile = f"{{{{ lookup('pipe', 'touch {trace}') }}}} $(touch {trace}) `touch {trace}` {{% raw %}}"
    fakes.begin_anew()
    body = copy.deepcopy(_START)
    body["eval_datasets"][0] |= {"dataset_id": hostile}
    source = body["eval_datasets"][0]["source"]
    source["inline"] = json.dumps({"question": hostile, "answer": hostile})
    source["prompt"] = f"{hostile} {{question}}"
    body["eval_model_info"] |= {"api_key": hostile, "model_name": "$(touch x) {% raw %}"}
    assert fakes.ask("POST", "/evals/start", json=body).status_code == 200
    _kept(fakes, _ID)
    order = fakes.cluster.orders[-1][0]
    runner = PlaybookRunner(1, timeout=120, module_timeout=60)

    with FakeApi().served() as api:
        try:
            runner.run("deploy_eval_jobs_k8s.yml", order, api.kubeconfig())
        finally:
            runner.close()

    (made,) = api.objects["configmaps"].values()
    (secret,) = api.objects["secrets"].values()
    assert made["data"] == order["runs"][0]["files"]
    assert json.loads(made["data"]["run.json"])["datasets"][0]["prompt"] == source["prompt"]
    assert made["data"]["dataset-0.jsonl"] == source["inline"]
    assert secret["stringData"] == {"OPENAI_API_KEY": hostile}
    assert not trace.exists()
