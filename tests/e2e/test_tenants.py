"""Two teams at one service with API tokens, and one cluster: neither is in the other's way, or sees of it."""

import json
import os
import secrets
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from budeval.api.access import new_token
from dev.stack import Stack
from tests.e2e import evaluations
from tests.e2e.canaries import Watch, files_with, forms, kept
from tests.e2e.evaluations import Json, dataset, request
from tests.e2e.observe import Subscriber, wait_for

pytestmark = pytest.mark.e2e

_POD_USER = 10001
_BROKER = "http://127.0.0.1:13600/v1.0/publish/pubsub/budeval-requests"


@dataclass(frozen=True)
class Tokens:
    """Everybody's, and that of the sidecar."""

    began: float
    app: str
    of: dict[str, str]
    """By whose they are: `a`, `b`, `reader` (of team a), `admin`."""

    @property
    def all(self) -> list[str]:
        """Of them all."""
        return [self.app, *self.of.values()]


_SCOPES = {
    "a": ("team-a", ["read", "submit"]),
    "b": ("team-b", ["read", "submit"]),
    "reader": ("team-a", ["read"]),
    "admin": ("ops", ["admin"]),
}


@pytest.fixture(scope="module")
def tokens(stack: Stack) -> Iterator[Tokens]:
    """The service is started anew with them, and afterwards without."""
    made = {name: new_token() for name in _SCOPES}
    entries = [
        {"name": name, "sha256": made[name][1], "tenant": tenant, "scopes": scopes}
        for name, (tenant, scopes) in _SCOPES.items()
    ]
    tokens = Tokens(
        time.time(), secrets.token_urlsafe(32), {name: token for name, (token, _) in made.items()}
    )
    stack.up()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BUDEVAL_API_TOKENS", json.dumps(entries))
        patch.setenv("APP_API_TOKEN", tokens.app)
        stack.restart("apps")
        yield tokens
    stack.restart("apps")


class Caller:
    """Asks with a token, or without."""

    def __init__(self, service: httpx.Client, token: str | None) -> None:
        self._service = service
        self._headers = {"authorization": f"Bearer {token}"} if token else {}

    def ask(self, method: str, path: str, **more: Any) -> httpx.Response:
        """As it is answered."""
        return self._service.request(method, path, headers=self._headers, **more)

    def said(self, method: str, path: str, **more: Any) -> tuple[int, str | None]:
        """Status, and the code of a refusal."""
        answer = self.ask(method, path, **more)
        return answer.status_code, answer.json().get("code")

    def get(self, path: str) -> Any:
        """What there is."""
        return self.ask("GET", path).raise_for_status().json()


@pytest.fixture
def callers(service: httpx.Client, tokens: Tokens) -> dict[str, Caller]:
    """One for each token; `nobody` has none, `stranger` an unknown one."""
    known = {name: Caller(service, token) for name, token in tokens.of.items()}
    return {**known, "nobody": Caller(service, None), "stranger": Caller(service, secrets.token_urlsafe(32))}


def _own_rows(results_on_the_claim: Path, team: str, count: int) -> None:
    """A file `mine.jsonl` in the directory of a team."""
    directory = results_on_the_claim.parent / "tenants" / team / "datasets"
    directory.mkdir(parents=True, exist_ok=True)
    for path in (directory, directory.parent):
        os.chown(path, _POD_USER, _POD_USER)
    (directory / "mine.jsonl").write_text(evaluations.sums(count))


def _request(run_id: str) -> Json:
    run = dataset("mine", run_id=run_id, source={"inline": None, "path": "mine.jsonl"})
    return request(run, engine="lm-eval", model={"extra_args": {"max_out_len": 8}})


def test_names_of_two_teams_never_meet(
    stack: Stack,
    callers: dict[str, Caller],
    tokens: Tokens,
    subscriber: Subscriber,
    results_on_the_claim: Path,
) -> None:
    """The same run id, dataset and path at the same time: each gets the scores of its own rows.

    What is one team's is not there for the other, and no token is anywhere, in use or afterwards.
    """
    rows = {"a": 2, "b": 3}
    run_id = f"same-{uuid.uuid4().hex[:8]}"
    bodies = {team: _request(run_id) for team in rows}
    for team, count in rows.items():
        _own_rows(results_on_the_claim, f"team-{team}", count)
    canaries = [form for token in tokens.all for form in forms(token)]

    with Watch(stack, canaries) as watch:
        for team, body in bodies.items():
            assert callers[team].said("POST", "/evals/start", json=body) == (200, None)
        states = {team: _ended(callers[team], body["eval_id"]) for team, body in bodies.items()}

    ids = {team: body["eval_id"] for team, body in bodies.items()}
    found = {team: callers[team].get(f"/evals/{ids[team]}/results")["results"] for team in rows}
    assert {team: state["outcome"] for team, state in states.items()} == {"a": "COMPLETED", "b": "COMPLETED"}
    samples = {team: [score["samples"] for score in found[team][0]["scores"]] for team in rows}
    assert samples == {team: [count] for team, count in rows.items()}
    jobs = {team: _jobs_of(callers[team], ids[team]) for team in rows}
    assert run_id in jobs["a"] + jobs["b"]
    assert len({*jobs["a"], *jobs["b"]}) == 2
    _check_that_each_sees_its_own(callers, ids)
    texts = [
        callers["admin"].ask("GET", f"/evals/{ids['a']}{part}").text for part in ("", "/results", "/events")
    ]
    evaluations.told(subscriber, ids["a"])
    texts.append(str(subscriber.events(f"eval-{ids['a']}")))
    assert (watch.found, watch.private) == (set(), set())
    assert [token for token in tokens.all if any(token in text for text in texts)] == []
    # What was looked through is what holds the evaluations.
    assert list(files_with(kept(stack), [ids["a"].encode()], tokens.began))
    assert list(files_with(kept(stack), canaries, tokens.began)) == []


def _ended(caller: Caller, eval_id: str) -> Json:
    def ended() -> Json | None:
        state: Json = caller.get(f"/evals/{eval_id}")
        return state if state["ended"] else None

    return wait_for(ended, f"the end of {eval_id}", 540)


def _jobs_of(caller: Caller, eval_id: str) -> list[str]:
    """Of its runs; that of the extraction is called otherwise."""
    objects = caller.get(f"/evals/{eval_id}/receipt")["objects"]
    return [item["name"] for item in objects if item["kind"] == "Job" and "extract" not in item["name"]]


def _check_that_each_sees_its_own(callers: dict[str, Caller], ids: dict[str, str]) -> None:
    for team, other in (("a", "b"), ("b", "a")):
        theirs = f"/evals/{ids[other]}"
        listed = [line["eval_id"] for line in callers[team].get("/evals")["evaluations"]]
        assert ids[team] in listed
        assert ids[other] not in listed
        for method, path in (
            *(("GET", f"{theirs}{part}") for part in ("", "/results", "/events", "/receipt")),
            ("GET", f"/compare?base={ids[team]}&candidate={ids[other]}"),
            ("GET", f"/workflow/eval-{ids[other]}/status"),
            ("POST", f"{theirs}/cancel"),
            ("DELETE", theirs),
        ):
            assert callers[team].said(method, path) == (404, "EVALUATION_UNKNOWN"), path
        taken = {**_request("r"), "eval_id": ids[other]}
        assert callers[team].said("POST", "/evals/start", json=taken) == (409, "EVALUATION_CONFLICT")
    assert set(ids.values()) <= {line["eval_id"] for line in callers["admin"].get("/evals")["evaluations"]}


def test_a_token_must_be_known_and_allow_it(callers: dict[str, Caller]) -> None:
    """None, a wrong one, and one without the scope; loopback alone is nobody any more."""
    body = _request("r")

    assert callers["nobody"].said("GET", "/evals") == (401, "TOKEN_REQUIRED")
    assert callers["stranger"].said("GET", "/evals") == (401, "TOKEN_INVALID")
    assert callers["reader"].said("POST", "/evals/start", json=body) == (403, "SCOPE_MISSING")
    assert callers["reader"].ask("GET", "/evals").status_code == 200
    assert callers["nobody"].ask("GET", "/healthz").status_code == 200


def test_daprs_routes_are_the_sidecars_alone(
    callers: dict[str, Caller], tokens: Tokens, service: httpx.Client, subscriber: Subscriber
) -> None:
    """By its own token, which it shows: a message is still taken in, though nobody else may deliver one."""
    body = _request("r")
    routes = (("GET", "/dapr/subscribe"), ("POST", "/messages/evaluations"))
    for who in ("nobody", "stranger", "admin"):
        for method, path in routes:
            assert callers[who].said(method, path, json={"data": body}) == (403, "SIDECAR_ONLY")
    wrong = service.post("/messages/evaluations", json={}, headers={"dapr-api-token": tokens.of["admin"]})
    assert wrong.status_code == 403

    # It carries a key in the clear: refused, and told so.
    httpx.post(_BROKER, json=body, trust_env=False, timeout=30).raise_for_status()

    (event, *_) = wait_for(lambda: subscriber.events(f"eval-{body['eval_id']}") or None, "the refusal")
    assert event["data"]["payload"]["content"]["result"]["code"] == "SECRET_IN_MESSAGE"
    assert callers["admin"].said("GET", f"/evals/{body['eval_id']}") == (404, "EVALUATION_UNKNOWN")
