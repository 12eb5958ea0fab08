"""Requests that are meant to harm, through the API: each is refused with a reason, and changes nothing."""

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from budeval.api.body_limit import BodyLimit
from budeval.config import Settings
from budeval.domain.evaluation import Outcome
from budeval.main import create_app
from tests.asgi import Caller
from tests.evals.test_evaluation_routes import Service, request_body

_KUBECONFIG = """
current-context: x
contexts: [{name: x, context: {cluster: c, user: u}}]
clusters: [{name: c, cluster: {server: "https://10.0.0.1:6443"%s}}]
users: [{name: u, user: {%s}}]
"""
_ID = "223e4567-e89b-12d3-a456-426614174020"


@pytest.fixture
def service(tmp_path: Path, seal_keys: str) -> Service:
    """The API, and one cluster."""
    (tmp_path / "first.yaml").write_text("never read here")
    return Service(tmp_path, seal_keys)


def _send(service: Service, text: str | bytes) -> tuple[int, str, str | None]:
    content = text if isinstance(text, bytes) else text.encode()
    answer = service.caller.post(
        "/evals/start", content=content, headers={"content-type": "application/json"}
    )
    body = answer.json()
    return answer.status_code, body.get("code"), body.get("param")


def _with(name: str, json_text: str) -> str:
    """A request with one more field, whose value is given as text."""
    return f"{json.dumps(request_body())[:-1]}, {json.dumps(name)}: {json_text}}}"


def _config(json_text: str) -> str:
    return f'[{{"config_name": "any", "config_value": {json_text}}}]'


def _nested(depth: int) -> str:
    return '{"a":' * depth + "1" + "}" * depth


@pytest.mark.parametrize(
    ("text", "status", "param"),
    [
        ("[" * 100_000, 400, None),
        ("[" * 100_000 + "]" * 100_000, 400, None),
        (_with("data", _nested(40)), 422, "data"),
        (_with("data", _nested(300)), 422, "data"),
        (_with("data", _nested(900)), 422, "data"),
        (_with("data", _nested(5000)), 400, None),
        (_with("eval_configs", _config(_nested(40))), 422, "eval_configs.0.config_value"),
        (_with("eval_configs", _config(_nested(300))), 422, "eval_configs.0.config_value"),
        (_with("eval_configs", _config(_nested(900))), 422, "eval_configs.0.config_value"),
        (_with("labels", _nested(300)), 422, "labels.a"),
        (_with("notification_metadata", _nested(900)), 422, "notification_metadata.workflow_id"),
        (_with("decoding", f'{{"seed": {10**22}}}'), 422, "decoding.seed"),
        (_with("data", f'{{"a": [{10**22}]}}'), 422, "data"),
        (_with("notification_metadata", f'{{"workflow_id": "w", "actor": "{"x" * 7_000_000}"}}'), 422, None),
        (_with("x" * 1_000_000, "1"), 422, "x" * 100),
        (_with("data", '{"a": ' + "9" * 5000 + "}"), 400, None),
        (_with("timeouts", '{"run": 1e999}'), 422, "timeouts.run"),
        (_with("timeouts", '{"run": NaN}'), 422, "timeouts.run"),
        (_with("labels", '{"a": "\\ud800"}'), 422, "labels.a"),
        (_with("labels", '{"a\\u0000": "b"}'), 422, None),
        (_with("experiment_id", '"a\\u0000b"'), 422, "experiment_id"),
        (b'{"a": "\xff"}', 400, None),
        ("", 422, None),
        ("[]", 422, None),
        ("null", 422, None),
    ],
    ids=lambda value: value[:20] if isinstance(value, str) else str(value)[:20],
)
def test_a_body_that_would_break_its_readers_is_refused(
    service: Service, text: str | bytes, status: int, param: str | None
) -> None:
    """As the caller's mistake, not as a fault of the service."""
    told = _send(service, text)

    assert told[:2] == (status, "REQUEST_INVALID")
    assert len(str(told)) < 300
    assert param is None or told[2] == param
    assert service.started == []


def test_a_body_as_deep_as_callers_send_is_taken(service: Service) -> None:
    """The limit is for what nobody means."""
    assert _send(service, _with("data", _nested(20)))[0] == 200


_TEMPLATES = [
    "{{ lookup('pipe', 'touch /tmp/owned') }}",
    "{% for x in ().__class__.__base__.__subclasses__() %}{% endfor %}",
    "!unsafe '{{ 7*7 }}'",
    "$(touch /tmp/owned)",
    "`touch /tmp/owned`",
    "'; touch /tmp/owned; '",
    "a\nkind: Secret",
    "../../etc/passwd",
    "--kubeconfig=/etc/shadow",
]


@pytest.mark.parametrize("text", _TEMPLATES)
@pytest.mark.parametrize(
    "field", ["eval_id", "experiment_id", "engine", "cluster", "namespace", "claim", "run_id", "source_topic"]
)
def test_a_name_is_a_name(service: Service, field: str, text: str) -> None:
    """Where a name is expected, no template, command, path or option gets further than the edge."""
    body = request_body()
    if field == "run_id":
        body["eval_datasets"][0]["run_id"] = text
    else:
        body[field] = text

    status, code, param = _send(service, json.dumps(body))

    assert 400 <= status < 500
    assert code in {"REQUEST_INVALID", "ENGINE_UNKNOWN", "TOPIC_NOT_ALLOWED"}
    assert param
    assert field in param
    assert service.started == []
    assert service.dapr.state == {}


@pytest.mark.parametrize("text", _TEMPLATES[:6])
def test_a_text_is_kept_as_it_is(service: Service, text: str) -> None:
    """Where any text is allowed it is data: what comes out is what went in."""
    assert _send(service, json.dumps(request_body(labels={"a": text})))[0] == 200

    (record,) = service.started
    assert record.evaluation.labels == {"a": text}


def test_a_models_name_is_no_template(service: Service) -> None:
    """OpenCompass' own configuration would expand it, with the key in reach."""
    body = request_body()
    body["eval_model_info"]["model_name"] = "{{ env.OPENAI_API_KEY }}"

    assert _send(service, json.dumps(body)) == (422, "REQUEST_INVALID", "eval_model_info.model_name")


@pytest.mark.parametrize(
    ("cluster", "user"),
    [
        ("", "exec: {apiVersion: client.authentication.k8s.io/v1, command: touch}"),
        ("", "auth-provider: {name: gcp}"),
        ("", "tokenFile: /etc/passwd"),
        ("", "client-certificate: /etc/passwd, client-key: /etc/shadow"),
        (", certificate-authority: /etc/passwd", "token: t"),
        (", proxy-url: http://10.0.0.9:3128", "token: t"),
        (", insecure-skip-tls-verify: true", "token: t"),
        (", tls-server-name: other", "exec: {}"),
    ],
)
def test_a_kubeconfig_that_reaches_further_than_its_cluster_is_refused(
    service: Service, cluster: str, user: str
) -> None:
    """Programs, files of this machine, proxies. Its token is in no answer."""
    status, code, param = _send(service, json.dumps(request_body(kubeconfig=_KUBECONFIG % (cluster, user))))

    assert (status, code, param) == (422, "KUBECONFIG_INVALID", "kubeconfig")
    assert service.dapr.state == {}


_FORBIDDEN = [
    "127.0.0.1",
    "2130706433",
    "localhost",
    "[::1]",
    "169.254.169.254",
    "[fe80::1]",
    "0",
    "[::ffff:7f00:1]",
]


def _at(host: str) -> str:
    return (_KUBECONFIG % ("", "token: t")).replace("10.0.0.1", host)


@pytest.mark.parametrize("host", _FORBIDDEN)
def test_a_kubeconfig_leads_neither_to_this_machine_nor_to_its_clouds_secrets(
    service: Service, host: str
) -> None:
    """Whatever its server is called; refused before anything is connected to or stored."""
    refused = (422, "ADDRESS_FORBIDDEN", "kubeconfig")

    assert _send(service, json.dumps(request_body(kubeconfig=_at(host)))) == refused
    assert service.dapr.state == {}


def test_nor_does_one_that_is_given_again(service: Service) -> None:
    """With a retry or a deletion."""
    assert service.start(kubeconfig=_at("10.0.0.1")).status_code == 200
    service.store.end(_ID, Outcome.FAILED)

    for method, path, body in (("POST", "/retry", {"api_key": "k"}), ("DELETE", "", {})):
        again = {**body, "kubeconfig": _at("169.254.169.254")}
        answer = service.caller.request(method, f"/evals/{_ID}{path}", json=again)
        assert (answer.status_code, answer.json()["code"]) == (422, "ADDRESS_FORBIDDEN")
    assert service.store.load(_ID).evaluation.attempt == 1


def test_nor_does_it_lead_to_another_cluster(service: Service) -> None:
    """Where nothing of the evaluation is: what is gone there would prove nothing."""
    assert service.start(kubeconfig=_at("10.0.0.1")).status_code == 200
    service.store.end(_ID, Outcome.FAILED)

    for method, path, body in (("POST", "/retry", {"api_key": "k"}), ("DELETE", "", {})):
        again = {**body, "kubeconfig": _at("10.0.0.2")}
        answer = service.caller.request(method, f"/evals/{_ID}{path}", json=again)
        told = answer.json()
        assert (answer.status_code, told["code"], told["param"]) == (409, "CLUSTER_MISMATCH", "kubeconfig")
    record = service.store.load(_ID)
    assert (record.evaluation.attempt, record.deletion) == (1, None)


@pytest.mark.parametrize("host", [host for host in _FORBIDDEN if host != "localhost"])
def test_an_endpoint_is_no_forbidden_address(service: Service, host: str) -> None:
    """What a name stands for only pods can tell; a validation, which asks it from here, looks at that too."""
    body = request_body()
    body["eval_model_info"]["endpoint"] = f"http://{host}:8000/v1"

    assert _send(service, json.dumps(body)) == (422, "ADDRESS_FORBIDDEN", "eval_model_info.endpoint")
    assert service.dapr.state == {}


_MERGED = "m0: &m0 {a: b}\n" + "\n".join(
    f"m{n}: &m{n} {{<<: [{','.join([f'*m{n - 1}'] * 10)}]}}" for n in range(1, 20)
)
_BOMB = "\n".join(f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 9) if n else 'x'}]" for n in range(12))


@pytest.mark.parametrize(
    "text",
    [
        _BOMB,
        _MERGED,
        "[" * 20_000,
        "a: b\n" * 40_000,
        f"? 0x{'f' * 6000}\n: 1",
        "a: 0x" + "f" * 6000,
        "a: !!python/object/apply:os.system [id]",
        "&a [*a]",
        _KUBECONFIG % ("", 'token: "a\\nCANARY"'),
    ],
    ids=lambda text: text[:20],
)
def test_a_kubeconfig_that_would_break_its_reader_is_refused(service: Service, text: str) -> None:
    """References upon references, nesting, many entries, numbers, objects, a token that no header carries."""
    told = _send(service, json.dumps(request_body(kubeconfig=text)))

    assert told == (422, "KUBECONFIG_INVALID", "kubeconfig")


@pytest.mark.parametrize(
    "path",
    [
        "/evals/..%2f..%2fetc",
        "/evals/%00",
        "/evals/" + "a" * 5000,
        "/evals/a%7C%7Cb",
        "/evals/%ff",
        "/evals/a%0ab",
        "/evals/x/events/stream",
        "/compare?base=..%2f&candidate=%7C%7C",
        "/workflow/%00%7C%7C/status",
    ],
)
def test_an_id_that_is_none_is_not_found(service: Service, path: str) -> None:
    """Without a question to the state store, and without giving it back at length."""
    service.dapr.unreachable = True

    answer = service.caller.get(path)

    assert answer.status_code == 404
    assert len(answer.text) < 300


@pytest.mark.parametrize("cursor", ["%ff", "x", base64.urlsafe_b64encode(b"[" * 5000).decode(), "e30="])
def test_a_cursor_that_is_none_is_refused(service: Service, cursor: str) -> None:
    """As the caller's mistake."""
    assert service.caller.get(f"/evals?cursor={cursor}").json()["code"] == "CURSOR_INVALID"


def test_a_body_has_a_maximum(monkeypatch: pytest.MonkeyPatch, seal_keys: str) -> None:
    """Whatever route it is for, and whether or not it says how long it is; no more of it is read."""
    monkeypatch.setenv("BUDEVAL_SEAL_KEYS", seal_keys)
    caller = Caller(create_app(Settings(max_body_bytes=1000)))
    sent = []

    async def in_parts() -> Any:
        for _ in range(100):
            sent.append(1)
            yield b"x" * 100

    for path in ("/evals/start", "/evals:validate", "/clusters:verify", "/evals/x/cancel"):
        whole = caller.post(path, content=b"[" * 1001)
        assert (whole.status_code, whole.json()["code"]) == (413, "REQUEST_TOO_LARGE")
    parts = caller.post("/evals/start", content=in_parts())
    assert parts.status_code == 413
    assert len(sent) <= 11
    assert caller.post("/evals/start", content=b"[]" + b" " * 900).status_code == 422
    assert BodyLimit.__doc__


def test_too_many_evaluations_are_not_taken(service: Service) -> None:
    """Those that are there go on, and the same request again is answered; a message would be kept."""
    service.start()
    service.settings.__dict__["max_active_evaluations"] = 1

    full = service.start(eval_id="323e4567-e89b-12d3-a456-426614174020")

    assert (full.status_code, full.json()["code"]) == (429, "QUEUE_FULL")
    assert service.start().status_code == 200
    assert [record.evaluation.eval_id for record in service.started] == [_ID, _ID]
