"""Datasets on the claim, through the whole application: only the playbook runner is a fake."""

import base64
import gzip
import hashlib
import json
import threading
from pathlib import Path
from typing import Any

import pytest

from budeval.ansible.runner import Tell
from budeval.api.access import digest_of
from budeval.config import ApiToken, Scope, Settings
from budeval.domain.datasets import PART_LIMIT
from budeval.engines.claim.frame import framed
from budeval.errors import ClusterError
from budeval.main import Service
from tests.asgi import Caller
from tests.evals import samples
from tests.runtime.fake_dapr import FakeDapr

_WHOLE = b'{"question": "1+1?", "answer": "2"}\n' * 3

Json = dict[str, Any]


def _part(**changes: Any) -> Json:
    """The whole file as one part."""
    given = changes.pop("packed", gzip.compress(changes.pop("raw", _WHOLE)))
    return {
        "path": "team/a.jsonl",
        "bytes": len(_WHOLE),
        "sha256": hashlib.sha256(_WHOLE).hexdigest(),
        "data": base64.b64encode(given).decode(),
        **changes,
    }


class FakeRunner:
    """Answers as a pod would print it, and takes down what it is asked."""

    def __init__(self) -> None:
        self.answer: Json = {"state": "stored", "received": len(_WHOLE)}
        self.log: str | None = None
        self.orders: list[tuple[str, Json, str]] = []
        self.hold = threading.Event()
        self.hold.set()
        self.begun = threading.Semaphore(0)

    def run(
        self, playbook: str, data: Json, kubeconfig: str, patience: float = 0, tell: Tell | None = None
    ) -> Json:
        """What the playbook publishes."""
        assert (patience, tell) == (300, None)
        self.orders.append((playbook, data, kubeconfig))
        self.begun.release()
        assert self.hold.wait(10)
        purpose = data["job"]["metadata"]["name"].split("-")[1]
        return {"pods": [], "log": framed(purpose, self.answer) if self.log is None else self.log}

    def close(self) -> None:
        """Nothing."""


class Desk:
    """The application of a service with one cluster."""

    def __init__(self, directory: Path, **settings: Any) -> None:
        for name in ("first", "second"):
            (directory / f"{name}.yaml").write_text(samples.kubeconfig(f"token-of-{name}"))
        given = {"clusters_dir": directory, "default_cluster": "first", **settings}
        service = Service(Settings(**given))
        service.sidecar._http = FakeDapr().client()._http
        service.sidecar._state_url = "/v1.0/state/store"
        self.runner = FakeRunner()
        service._data_runner = self.runner  # type: ignore[assignment]
        self.caller = Caller(service.application())

    def push(self, token: str | None = None, **changes: Any) -> Any:
        """A part."""
        return self.ask("POST", "/data/parts", token, json=_part(**changes))

    def ask(self, method: str, path: str, token: str | None = None, **more: Any) -> Any:
        """By whom."""
        headers = {"authorization": f"Bearer {token}"} if token else {}
        return self.caller.request(method, path, headers=headers, **more)

    def refused(self, **changes: Any) -> tuple[int, str, str | None]:
        """Status, code and field of a refusal for which no Job was made."""
        answer = self.push(**changes)
        assert self.runner.orders == []
        return _said(answer)


def _said(answer: Any) -> tuple[int, str, str | None]:
    body = answer.json()
    return answer.status_code, body["code"], body["param"]


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    """Without tokens."""
    return Desk(tmp_path)


def _order_of(data: Json) -> Json:
    order: Json = json.loads(data["config_maps"][0]["data"]["order.json"])
    return order


def test_a_part_becomes_a_job(desk: Desk) -> None:
    """With what the program must know, and the part as it came."""
    answer = desk.push(replace=True)
    assert answer.status_code == 200, answer.text
    assert answer.json() == {
        "object": "dataset_part",
        "path": "team/a.jsonl",
        "state": "stored",
        "received": len(_WHOLE),
        "bytes": len(_WHOLE),
        "sha256": hashlib.sha256(_WHOLE).hexdigest(),
    }
    ((playbook, data, credential),) = desk.runner.orders
    order = _order_of(data)
    assert playbook == "run_at_datasets_k8s.yml"
    assert "token-of-first" in credential
    assert (order["path"], order["bytes"], order["offset"], order["replace"]) == (
        "team/a.jsonl",
        len(_WHOLE),
        0,
        True,
    )
    piece = data["config_maps"][1]["binaryData"]["piece-0"]
    assert gzip.decompress(base64.b64decode(piece)) == _WHOLE
    assert len(data["job"]["metadata"]["name"]) <= 57


def test_each_part_has_a_job_of_its_own(desk: Desk) -> None:
    """The same twice at once would fight for a name."""
    for _ in range(2):
        desk.push()
    assert len({data["job"]["metadata"]["name"] for _, data, _ in desk.runner.orders}) == 2


def test_where_it_goes_can_be_said(desk: Desk) -> None:
    """Cluster, namespace and claim; else those of the settings."""
    desk.push()
    desk.push(cluster="second", namespace="team-b", claim="their-claim")
    places = [
        (data["namespace"], data["job"]["spec"]["template"]["spec"]["volumes"][0]["persistentVolumeClaim"])
        for _, data, _ in desk.runner.orders
    ]
    assert places == [
        ("budeval", {"claimName": "eval-datasets-pvc-rwx"}),
        ("team-b", {"claimName": "their-claim"}),
    ]
    assert "token-of-second" in desk.runner.orders[1][2]


@pytest.mark.parametrize(
    "path",
    [
        "", "/etc/passwd", "../a", "a/../b", "a/..", "a//b", "a/", "./a", ".hidden", "a/.hidden",
        "-rf", "a/-b", "a b", "a\n", "a\x00", "a\\b", "ä.jsonl", "x" * 201, "a:b", "{{ a }}", ".budeval/lock",
    ],
)  # fmt: skip
def test_a_path_that_is_not_plain_is_refused(desk: Desk, path: str) -> None:
    """The field is named, and nothing is asked of the cluster."""
    assert desk.refused(path=path) == (422, "REQUEST_INVALID", "path")


@pytest.mark.parametrize("path", ["a", "A_b-1.jsonl", "team/x/a.csv", "x" * 200, "_a", "1..2"])
def test_a_plain_path_is_taken(desk: Desk, path: str) -> None:
    """All of them are paths that requests can name."""
    assert desk.push(path=path).status_code == 200


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"bytes": 0}, (422, "REQUEST_INVALID", "bytes")),
        ({"sha256": "abc"}, (422, "REQUEST_INVALID", "sha256")),
        ({"offset": -1}, (422, "REQUEST_INVALID", "offset")),
        ({"offset": len(_WHOLE)}, (422, "REQUEST_INVALID", "offset")),
        ({"data": "no base64"}, (422, "REQUEST_INVALID", "data")),
        ({"packed": b"no gzip"}, (422, "REQUEST_INVALID", "data")),
        ({"packed": gzip.compress(_WHOLE)[:-4]}, (422, "REQUEST_INVALID", "data")),
        ({"packed": gzip.compress(_WHOLE) + b"more"}, (422, "REQUEST_INVALID", "data")),
        ({"raw": b""}, (422, "REQUEST_INVALID", "data")),
        ({"raw": _WHOLE + b"."}, (422, "REQUEST_INVALID", "data")),
        ({"raw": bytes(64 * 2**20)}, (422, "REQUEST_INVALID", "data")),
        ({"offset": 1}, (422, "REQUEST_INVALID", "data")),
        ({"packed": bytes(PART_LIMIT + 1)}, (413, "REQUEST_TOO_LARGE", "data")),
        ({"bytes": 2**40}, (413, "DATASET_TOO_LARGE", "bytes")),
        ({"cluster": "third"}, (404, "CLUSTER_UNKNOWN", "cluster")),
        ({"more": 1}, (422, "REQUEST_INVALID", "more")),
    ],
)
def test_a_part_that_cannot_be_of_the_file_makes_no_job(desk: Desk, changes: Json, said: Any) -> None:
    """Nor is it unpacked further than its file is long."""
    assert desk.refused(**changes) == said


def test_the_limit_is_a_setting_and_named(tmp_path: Path) -> None:
    """So whoever runs the service can raise it."""
    answer = Desk(tmp_path, max_dataset_bytes=10).push()
    assert (answer.status_code, answer.json()["code"]) == (413, "DATASET_TOO_LARGE")
    assert "BUDEVAL_MAX_DATASET_BYTES" in answer.json()["message"]


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ({"state": "taken", "received": 0, "reason": "a link"}, (409, "DATASET_EXISTS", "path")),
        ({"state": "corrupt", "received": 0}, (422, "DATASET_CORRUPT", "sha256")),
        ({"state": "failed", "received": 0, "reason": "full"}, (502, "DATASET_JOB_FAILED", None)),
    ],
)
def test_what_the_program_has_not_done_is_told(desk: Desk, answer: Json, said: Any) -> None:
    """With its reason."""
    desk.runner.answer = answer
    refusal = desk.push()
    assert _said(refusal) == said
    assert answer.get("reason", "") in refusal.json()["message"]


@pytest.mark.parametrize(("log", "code"), [("", "DATASET_JOB_FAILED"), ("Killed", "LOG_CORRUPT")])
def test_a_job_that_says_nothing_is_a_failure(desk: Desk, log: str, code: str) -> None:
    """For its push, and for a list."""
    desk.runner.log = log
    for answer in (desk.push(), desk.ask("GET", "/data")):
        assert _said(answer) == (502, code, None)


def test_a_cluster_that_is_away_is_told(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same part again is safe; and its turn is free for others."""

    def away(*_arguments: Any) -> Json:
        raise ClusterError("nobody answers", code="CLUSTER_UNREACHABLE", retryable=True)

    monkeypatch.setattr(desk.runner, "run", away)
    assert {_said(desk.push())[:2] for _ in range(6)} == {(502, "CLUSTER_UNREACHABLE")}


def test_files_are_listed_by_path(desk: Desk) -> None:
    """Where digests are missing, they are null."""
    told = {"bytes": 3, "sha256": None, "modified": "2026-01-02T03:04:05+00:00"}
    desk.runner.answer = {"files": [{"path": path, **told} for path in ("b", "a/c", "a")], "truncated": True}
    answer = desk.ask("GET", "/data?namespace=team-b&cluster=second")
    assert answer.status_code == 200, answer.text
    found = answer.json()
    assert [file["path"] for file in found["files"]] == ["a", "a/c", "b"]
    assert (found["cluster"], found["namespace"], found["truncated"]) == ("second", "team-b", True)
    assert _said(desk.ask("GET", "/data?namespace=a/b"))[1:] == ("REQUEST_INVALID", "namespace")


_TOKENS = tuple(
    ApiToken(name=name, sha256=digest_of(name), tenant=tenant, scopes=frozenset(scopes))
    for name, tenant, scopes in (
        ("reader", "team-a", [Scope.READ]),
        ("writer", "team-a", [Scope.SUBMIT]),
        ("other", "team-b", [Scope.READ, Scope.SUBMIT]),
        ("admin", "default", [Scope.ADMIN]),
    )
)


@pytest.mark.parametrize(
    ("token", "push", "files"), [("reader", 403, 200), ("writer", 200, 403), ("admin", 200, 200)]
)
def test_who_lists_reads_and_who_pushes_submits(tmp_path: Path, token: str, push: int, files: int) -> None:
    """As everywhere in the API."""
    desk = Desk(tmp_path, api_tokens=_TOKENS)
    assert desk.push(token).status_code == push
    desk.runner.answer = {"files": [], "truncated": False}
    assert desk.ask("GET", "/data", token).status_code == files


@pytest.mark.parametrize(
    ("token", "tenant", "directory"),
    [
        ("writer", "team-a", "tenants/team-a/datasets"),
        ("other", "team-b", "tenants/team-b/datasets"),
        ("admin", "default", "datasets"),
    ],
)
def test_a_tenants_job_sees_its_own_directory(
    tmp_path: Path, token: str, tenant: str, directory: str
) -> None:
    """By the token, and by nothing in the request."""
    desk = Desk(tmp_path, api_tokens=_TOKENS)
    desk.push(token)
    ((_, data, _),) = desk.runner.orders
    mount = data["job"]["spec"]["template"]["spec"]["containers"][0]["volumeMounts"][0]
    assert mount["subPath"] == directory
    assert data["job"]["metadata"]["labels"]["budeval.dev/tenant"] == tenant


def test_too_many_at_once_are_refused(desk: Desk) -> None:
    """Each holds a thread of the API for seconds; afterwards there is room again."""
    desk.runner.hold.clear()
    answers: list[int] = []
    pushes = [
        threading.Thread(target=lambda: answers.append(desk.push().status_code), daemon=True)
        for _ in range(4)
    ]
    for push in pushes:
        push.start()
        assert desk.runner.begun.acquire(timeout=10)
    assert _said(desk.push()) == (429, "DATA_BUSY", None)
    assert _said(desk.ask("GET", "/data")) == (429, "DATA_BUSY", None)
    desk.runner.hold.set()
    for push in pushes:
        push.join(10)
    assert [*answers, desk.push().status_code] == [200] * 5
