"""Who may do what, on the whole application."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from budeval.api.access import digest_of, new_token
from budeval.config import ApiToken, Scope, Settings
from budeval.domain.evaluation import EvaluationRecord, Outcome
from budeval.evals.messages import ROUTE
from budeval.main import Service
from tests.asgi import Caller
from tests.evals import samples
from tests.runtime.fake_dapr import FakeDapr

_THEIRS = "223e4567-e89b-12d3-a456-426614174020"
_OURS = "323e4567-e89b-12d3-a456-426614174020"


def _token(name: str, *scopes: Scope, tenant: str = "team-a") -> ApiToken:
    """Whose text is its name."""
    return ApiToken(name=name, sha256=digest_of(name), tenant=tenant, scopes=frozenset(scopes))


_TOKENS = (
    _token("reader", Scope.READ),
    _token("submitter", Scope.SUBMIT),
    _token("both", Scope.READ, Scope.SUBMIT),
    _token("other", Scope.READ, Scope.SUBMIT, tenant="team-b"),
    _token("admin", Scope.ADMIN, tenant="ops"),
)


_open: list[Service] = []


@pytest.fixture(autouse=True)
def _stopped() -> Iterator[None]:
    """Each service has some twenty files open, and no test of the process could use `select` after fifty."""
    yield
    while _open:
        _open.pop().stop()


class Desk:
    """The application, with one evaluation of each of two teams that has ended."""

    def __init__(self, tokens: tuple[ApiToken, ...] = _TOKENS, app_token: str | None = None) -> None:
        given: dict[str, Any] = {"BUDEVAL_APP_TOKEN": app_token} if app_token else {}
        service = Service(Settings(api_tokens=tokens, **given))
        _open.append(service)
        service.sidecar._http = FakeDapr().client()._http
        service.sidecar._state_url, service.sidecar._publish_url = "/v1.0/state/store", "/v1.0/publish/broker"
        for eval_id, tenant in ((_OURS, "team-a"), (_THEIRS, "team-b")):
            evaluation = samples.evaluation(eval_id, tenant=tenant)
            service.store.add_to_index(eval_id, "2026-01-01")
            record = EvaluationRecord(evaluation=evaluation, digest="d", created="2026-01-01T00:00:00+00:00")
            service.store.create(record)
            service.store.end(eval_id, Outcome.FAILED)
        self.service = service
        self._application = service.application()

    def ask(
        self, method: str, path: str, token: str | None = None, client: str = "127.0.0.1", **more: Any
    ) -> Any:
        """By whom, and from where."""
        headers = {"authorization": f"Bearer {token}"} if token else {}
        if "content" in more:
            headers["content-type"] = "application/json"
        return Caller(self._application, client).request(method, path, headers=headers, **more)


def _said(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


def test_without_a_token_nothing_is_told() -> None:
    """Of no route but those for health checks; a new route is guarded, too."""
    desk = Desk()
    paths = desk.service.application().openapi()["paths"]
    routes = [(method.upper(), path) for path, methods in paths.items() for method in methods]
    assert len(routes) > 15

    for method, path in routes:
        answer = desk.ask(method, path.replace("{eval_id}", _OURS).replace("{", "").replace("}", ""))
        if path in {"/healthz", "/readyz"}:
            assert answer.status_code in {200, 503}
        else:
            assert _said(answer) == (401, "TOKEN_REQUIRED"), path
    refused = desk.ask("GET", "/evals", "wrong")
    assert _said(refused) == (401, "TOKEN_INVALID")
    assert refused.headers["WWW-Authenticate"] == "Bearer"
    assert _said(desk.ask("GET", "/evals", digest_of("reader"))) == (401, "TOKEN_INVALID")


def test_who_may_not_ask_is_told_so_before_the_body_is_read() -> None:
    """On each route that takes a body, whatever is in it; nothing of it is waited for."""
    desk = Desk()
    paths = desk.service.application().openapi()["paths"]
    with_bodies = [
        (method.upper(), path.replace("{eval_id}", _OURS).replace("{", "").replace("}", ""))
        for path, methods in paths.items()
        for method, operation in methods.items()
        if method == "post" or "requestBody" in operation
    ]
    assert len(with_bodies) > 8
    read = []

    async def body() -> Any:
        read.append(1)
        yield b"{ this is no JSON"

    for method, path in with_bodies:
        assert _said(desk.ask(method, path, content=body())) == (401, "TOKEN_REQUIRED"), path
        assert _said(desk.ask(method, path, "wrong", content=body())) == (401, "TOKEN_INVALID"), path
        assert _said(desk.ask(method, path, "reader", content=body())) == (403, "SCOPE_MISSING"), path
    assert read == []
    assert desk.ask("POST", "/evals/start", "both", content=body()).status_code == 422
    assert read == [1]


def test_nor_is_what_is_not_from_the_sidecar() -> None:
    """Of the routes that Dapr calls."""
    answer = Desk(app_token="secret").ask("POST", ROUTE, content=b"{ this is no JSON")

    assert _said(answer) == (403, "SIDECAR_ONLY")


@pytest.mark.parametrize("header", ["Basic both", "both", "bearer", ""])
def test_a_token_is_shown_as_a_bearers(header: str) -> None:
    """In no other way."""
    answer = Caller(Desk()._application).request("GET", "/evals", headers={"authorization": header})

    assert _said(answer) == (401, "TOKEN_REQUIRED")


@pytest.mark.parametrize(
    ("token", "method", "path", "status"),
    [
        ("reader", "GET", f"/evals/{_OURS}", 200),
        ("reader", "POST", f"/evals/{_OURS}/cancel", 403),
        ("reader", "DELETE", f"/evals/{_OURS}", 403),
        ("reader", "POST", "/evals/start", 403),
        ("submitter", "GET", f"/evals/{_OURS}", 403),
        ("submitter", "POST", f"/evals/{_OURS}/cancel", 409),
        ("both", "POST", f"/evals/{_OURS}/cancel", 409),
        ("admin", "POST", f"/evals/{_OURS}/cancel", 409),
        ("admin", "GET", f"/evals/{_THEIRS}", 200),
    ],
)
def test_a_token_allows_what_its_scopes_say(token: str, method: str, path: str, status: int) -> None:
    """409: there is nothing to cancel; whoever may ask is told so."""
    answer = Desk().ask(method, path, token)

    assert answer.status_code == status
    assert status != 403 or answer.json()["code"] == "SCOPE_MISSING"


@pytest.mark.parametrize("deleted", [False, True])
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", ""),
        ("GET", "/results"),
        ("GET", "/events"),
        ("GET", "/events/stream"),
        ("GET", "/logs?run_id=r-1"),
        ("GET", "/receipt"),
        ("POST", "/cancel"),
        ("POST", "/retry"),
        ("DELETE", ""),
    ],
)
def test_anothers_evaluation_is_not_there(method: str, path: str, *, deleted: bool) -> None:
    """Not told from one that never was, whatever is asked of it, and after its deletion."""
    desk = Desk()
    if deleted:
        desk.service.store.bury(desk.service.store.load(_THEIRS))

    answer = desk.ask(method, f"/evals/{_THEIRS}{path}", "both", json={"api_key": "k"})
    none = desk.ask("GET", "/evals/423e4567-e89b-12d3-a456-426614174020", "both")

    assert _said(answer) == (404, "EVALUATION_UNKNOWN")
    assert answer.text.replace(_THEIRS, "-") == none.text.replace("423e4567-e89b-12d3-a456-426614174020", "-")


def test_nor_is_it_in_lists_comparisons_and_workflows() -> None:
    """Admins see those of all."""
    desk = Desk()

    def listed(token: str) -> list[str]:
        return [line["eval_id"] for line in desk.ask("GET", "/evals", token).json()["evaluations"]]

    assert (listed("both"), listed("other"), listed("admin")) == ([_OURS], [_THEIRS], [_THEIRS, _OURS])
    for query in (f"base={_OURS}&candidate={_THEIRS}", f"base={_THEIRS}&candidate={_OURS}"):
        assert _said(desk.ask("GET", f"/compare?{query}", "both")) == (404, "EVALUATION_UNKNOWN")
    for workflow in (f"eval-{_THEIRS}", f"eval-{_THEIRS}-a2"):
        assert _said(desk.ask("GET", f"/workflow/{workflow}/status", "both")) == (404, "EVALUATION_UNKNOWN")


def test_a_workflows_id_that_looks_like_an_attempt_is_no_way_round() -> None:
    """The end of an evaluation's id may read as the number of an attempt of another one."""
    desk = Desk()
    tricky = "223e4567-e89b-12d3-a456-a26614174020"
    desk.service.store.create(
        EvaluationRecord(
            evaluation=samples.evaluation(tricky, tenant="team-b"),
            digest="d",
            created="2026-01-01T00:00:00+00:00",
        )
    )

    for workflow in (f"eval-{tricky}", f"eval-{tricky}-a2"):
        assert _said(desk.ask("GET", f"/workflow/{workflow}/status", "both")) == (404, "EVALUATION_UNKNOWN")


@pytest.mark.parametrize("query", [f"base={_OURS}&base={_THEIRS}", f"base={_THEIRS}&base={_OURS}"])
def test_a_doubled_parameter_is_no_way_round(query: str) -> None:
    """Whichever of the two would be taken."""
    answer = Desk().ask("GET", f"/compare?{query}&candidate={_OURS}", "both")

    assert _said(answer) == (404, "EVALUATION_UNKNOWN")


def test_anothers_id_is_taken_whatever_the_request() -> None:
    """The same request of another tenant is another one: it gets no answer, and overwrites nothing."""
    desk = Desk()
    desk.service.intake._start = lambda _record: None
    body = {
        "eval_id": "523e4567-e89b-12d3-a456-426614174020",
        "experiment_id": _OURS,
        "eval_model_info": {"model_name": "m", "endpoint": "http://m/v1", "api_key": "sk-first"},
        "eval_datasets": [{"dataset_id": "demo_gsm8k_chat_gen", "run_id": "r-1"}],
        "kubeconfig": samples.kubeconfig("t"),
    }

    assert desk.ask("POST", "/evals/start", "both", json=body).status_code == 200
    assert _said(desk.ask("POST", "/evals/start", "other", json=body)) == (409, "EVALUATION_CONFLICT")
    record = desk.service.store.load(str(body["eval_id"]))
    assert record.evaluation.tenant == "team-a"
    assert desk.service.vault.open(record.sealed_as)["api_key"] == "sk-first"


@pytest.mark.parametrize(
    ("client", "status"), [("127.0.0.1", 200), ("::1", 200), ("10.0.0.7", 401), ("testclient", 401)]
)
def test_without_tokens_only_this_machine_is_served(client: str, status: int) -> None:
    """As tenant `default`."""
    answer = Desk(tokens=()).ask("GET", "/evals", client=client)

    assert answer.status_code == status
    assert status == 200 or answer.json()["code"] == "TOKEN_REQUIRED"


@pytest.mark.parametrize(
    ("app_token", "shown", "client", "passes"),
    [
        (None, None, "127.0.0.1", True),
        (None, None, "10.0.0.7", False),
        (None, "guess", "10.0.0.7", False),
        ("secret", "secret", "10.0.0.7", True),
        ("secret", "guess", "127.0.0.1", False),
        ("secret", None, "127.0.0.1", False),
    ],
)
@pytest.mark.parametrize(("method", "path"), [("GET", "/dapr/subscribe"), ("POST", ROUTE)])
def test_what_is_the_sidecars_is_its_alone(
    method: str, path: str, app_token: str | None, shown: str | None, client: str, *, passes: bool
) -> None:
    """By Dapr's app token, else by where it comes from; an API token is of no use there."""
    desk = Desk(app_token=app_token)
    headers = {"dapr-api-token": shown} if shown else {"authorization": "Bearer admin"}

    answer = Caller(desk._application, client).request(method, path, headers=headers, json={})

    assert answer.status_code == (200 if passes else 403)
    assert passes or answer.json()["code"] == "SIDECAR_ONLY"


def test_the_document_says_how_to_authenticate() -> None:
    """Every route but the health checks asks for a bearer token."""
    document = Desk().service.application().openapi()

    assert document["components"]["securitySchemes"]["HTTPBearer"]["scheme"] == "bearer"
    for path, methods in document["paths"].items():
        assert all("security" in method for method in methods.values()) == (
            path not in {"/healthz", "/readyz"}
        )


def test_tokens_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a JSON list; only the digest is in it."""
    token, digest = new_token()
    entry = {"name": "ci", "sha256": digest, "tenant": "team-a", "scopes": ["read"]}
    monkeypatch.setenv("BUDEVAL_API_TOKENS", json.dumps([entry]))
    monkeypatch.setenv("APP_API_TOKEN", "secret")

    settings = Settings()

    assert [known.name for known in settings.api_tokens] == ["ci"]
    assert settings.app_token
    assert token not in repr(settings)
    assert "secret" not in repr(settings.app_token)
    assert Path(token).name == token
