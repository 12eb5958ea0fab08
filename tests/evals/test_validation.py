"""What can be known before an evaluation is started."""

import json
import socketserver
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from budeval.ansible.runner import Tell
from budeval.config import EngineConfig, Settings, StorageConfig
from budeval.domain.evaluation import EvaluationRecord
from budeval.engines.opencompass.jobs import OpenCompass
from budeval.errors import ClusterError
from budeval.evals import validation
from budeval.evals.addresses import rules_from
from budeval.evals.ansible_orchestrator import AnsibleOrchestrator
from budeval.evals.answers import ValidationReport
from budeval.evals.arrivals import Arrivals
from budeval.evals.clusters import Clusters
from budeval.evals.installation import Installation
from budeval.evals.intake import Intake
from budeval.evals.receipts import Receipts
from budeval.evals.schema import EvaluationRequest
from budeval.evals.store import EvaluationStore
from budeval.evals.validation import Validation
from budeval.runtime.sealing import Sealer
from budeval.runtime.vault import Vault
from tests.evals import samples
from tests.runtime.fake_dapr import FakeDapr

_KEY = "sk-very-secret"

Json = dict[str, Any]


@dataclass
class FakeRunner:
    """A cluster that evaluations can run on, unless told otherwise."""

    found: Json = field(
        default_factory=lambda: {
            "namespace_exists": True,
            "claim_phase": "Bound",
            "quota_used_up": False,
            "server_version": "v1.34.4",
        }
    )
    trouble: ClusterError | None = None
    asked: list[tuple[Json, str]] = field(default_factory=list)

    def run(
        self,
        playbook: str,
        data: Json,
        kubeconfig: str,
        patience: float = 0,  # noqa: ARG002
        tell: Tell | None = None,  # noqa: ARG002
    ) -> Json:
        """Verify only."""
        assert playbook == "verify_cluster_k8s.yml"
        self.asked.append((data, kubeconfig))
        if self.trouble:
            raise self.trouble
        return self.found


@dataclass
class Case:
    """A validation with all that is behind it."""

    clusters_dir: Path
    seal_key: str
    dapr: FakeDapr = field(default_factory=FakeDapr)
    runner: FakeRunner = field(default_factory=FakeRunner)
    started: list[EvaluationRecord] = field(default_factory=list)
    asked: list[httpx.Request] = field(default_factory=list)
    endpoint: Callable[[httpx.Request], httpx.Response] = lambda _request: httpx.Response(200, json={})
    at_the_wire: bool = False
    """The endpoint is a server of its own, on this machine."""

    def report(self, **changes: Any) -> ValidationReport:
        """Of a request."""
        here = (ip_network("127.0.0.1"),) if self.at_the_wire else ()
        settings = Settings(default_cluster="first", clusters_dir=self.clusters_dir, allowed_networks=here)
        sidecar = self.dapr.client()
        clusters = Clusters(settings.clusters_dir, lambda _eval_id: None, Path("/nowhere"))
        engines = {"opencompass": OpenCompass("an-image", settings.storage)}
        store = EvaluationStore(sidecar)
        intake = Intake(
            settings,
            store,
            Arrivals(sidecar, store, Vault(sidecar, Sealer(self.seal_key))),
            clusters,
            engines,
            lambda _name: {},
            self.started.append,
        )
        orchestrator = AnsibleOrchestrator(
            self.runner,
            clusters,
            engines,
            StorageConfig(),
            EngineConfig(),
            Receipts(sidecar, {}),
            Installation(sidecar),
        )
        transport = None if self.at_the_wire else httpx.MockTransport(self._answer)
        checker = Validation(intake, orchestrator, rules_from(settings), transport)
        return checker.report(EvaluationRequest.model_validate(_body(**changes)))

    def codes(self, **changes: Any) -> Json:
        """By check, the code of what failed."""
        report = self.report(**changes)
        assert report.ok is all(check.ok for check in report.checks)
        assert all(check.ok is (check.code is None) for check in report.checks)
        return {check.name: check.code for check in report.checks}

    def _answer(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request)
        return self.endpoint(request)


@pytest.fixture
def case(tmp_path: Path, seal_keys: str) -> Case:
    """One cluster is configured: `first`, the default."""
    (tmp_path / "first.yaml").write_text(samples.kubeconfig("token-of-first"))
    return Case(tmp_path, seal_keys)


def _body(**changes: Any) -> Json:
    return {
        "eval_id": "223e4567-e89b-12d3-a456-426614174020",
        "experiment_id": "123e4567-e89b-12d3-a456-426614174000",
        "eval_model_info": {"model_name": "m", "endpoint": "http://10.0.0.7/v1", "api_key": _KEY},
        "eval_datasets": [{"dataset_id": "sums", "run_id": "r-1", "source": {"inline": samples.ROWS}}],
        **changes,
    }


_FINE = {"request": None, "cluster": None, "endpoint": None}


def test_a_request_that_can_be_is_fine(case: Case) -> None:
    """Every check says what it has found; nothing is stored or started."""
    report = case.report(claim="mine")

    assert report.ok
    assert [check.name for check in report.checks] == ["request", "cluster", "endpoint"]
    assert "1 runs, engine opencompass" in report.checks[0].message
    assert "Claim mine is Bound" in report.checks[1].message
    assert report.checks[2].message == "http://10.0.0.7/v1/chat/completions answers for model m."
    assert (case.dapr.state, case.started) == ({}, [])


def test_the_endpoint_is_asked_for_one_token(case: Case) -> None:
    """By the chat API, as runs will ask it, with the key of the request."""
    case.report()

    (request,) = case.asked
    assert (request.method, str(request.url)) == ("POST", "http://10.0.0.7/v1/chat/completions")
    assert request.headers["Authorization"] == f"Bearer {_KEY}"
    body = json.loads(request.content)
    assert (body["model"], body["max_tokens"]) == ("m", 1)
    assert request.headers["Accept-Encoding"] == "identity"


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"engine": "other"}, "ENGINE_UNKNOWN"),
        ({"cluster": "third"}, "CLUSTER_UNKNOWN"),
        ({"kubeconfig": "a: ["}, "KUBECONFIG_INVALID"),
        ({"eval_datasets": [{"dataset_id": "?", "run_id": "a"}]}, "DATASET_UNKNOWN"),
        ({"source_topic": "news"}, "TOPIC_NOT_ALLOWED"),
        (
            {
                "eval_model_info": {
                    "model_name": "m",
                    "endpoint": "http://10.0.0.7/v1",
                    "secret_ref": {"name": "mine"},
                }
            },
            "SECRET_UNKNOWN",
        ),
    ],
)
def test_a_request_that_cannot_be_is_checked_no_further(case: Case, changes: Json, code: str) -> None:
    """Nobody knows what to ask whom."""
    assert case.codes(**changes) == {"request": code}
    assert (case.runner.asked, case.asked) == ([], [])


@pytest.mark.parametrize(
    ("found", "says"),
    [
        ({"namespace_exists": False}, "no namespace budeval"),
        ({"claim_phase": None}, "no PersistentVolumeClaim"),
    ],
    ids=["namespace", "claim"],
)
def test_what_the_cluster_lacks_is_told(case: Case, found: Json, says: str) -> None:
    """The endpoint is checked all the same."""
    case.runner.found |= found

    report = case.report()

    assert [check.code for check in report.checks] == [None, "NAMESPACE_OR_PVC_MISSING", None]
    assert says in report.checks[1].message


@pytest.mark.parametrize(("code", "retryable"), [("CLUSTER_UNREACHABLE", True), ("FORBIDDEN", False)])
def test_a_cluster_that_cannot_be_asked_is_told(case: Case, code: str, *, retryable: bool) -> None:
    """Whether or not another try may help."""
    case.runner.trouble = ClusterError("no", code=code, retryable=retryable)

    assert case.codes() == {**_FINE, "cluster": code}


def test_the_kubeconfig_of_the_request_is_used(case: Case) -> None:
    """Though it is stored nowhere yet."""
    assert case.codes(kubeconfig=samples.kubeconfig("brought")) == _FINE

    ((_, kubeconfig),) = case.runner.asked
    assert yaml.safe_load(kubeconfig)["users"][0]["user"] == {"token": "brought"}


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (200, None),
        (401, "ENDPOINT_AUTH_FAILED"),
        (403, "ENDPOINT_AUTH_FAILED"),
        (404, "ENDPOINT_REFUSED"),
        (400, "ENDPOINT_REFUSED"),
        (500, "ENDPOINT_ERROR"),
        (503, "ENDPOINT_ERROR"),
    ],
)
def test_what_the_endpoint_answers_is_told(case: Case, status: int, code: str | None) -> None:
    """By its status; what it says may hold the key and is not told."""
    case.endpoint = lambda _request: httpx.Response(status, text=f"you sent {_KEY}")

    assert case.codes() == {**_FINE, "endpoint": code}
    assert _KEY not in case.report().model_dump_json()


@pytest.mark.parametrize(
    ("endpoint", "codes"),
    [
        ("http://localhost:8000/v1", {**_FINE, "endpoint": "ADDRESS_FORBIDDEN"}),
        ("http://169.254.169.254/v1", {"request": "ADDRESS_FORBIDDEN"}),
    ],
)
def test_a_forbidden_endpoint_is_not_asked(case: Case, endpoint: str, codes: Json) -> None:
    """Of a name only the check of the endpoint can tell: pods may know it as something else."""
    model = {"model_name": "m", "endpoint": endpoint, "api_key": _KEY}

    assert case.codes(eval_model_info=model) == codes
    assert case.asked == []


def test_a_redirect_is_told_and_not_followed(case: Case) -> None:
    """Wherever it leads: the key is meant for one host."""
    case.endpoint = lambda _request: httpx.Response(307, headers={"Location": "http://10.0.0.8/"})

    assert case.codes() == {**_FINE, "endpoint": "ENDPOINT_REFUSED"}
    assert [request.url.host for request in case.asked] == ["10.0.0.7"]


@pytest.mark.parametrize(
    "failure", [httpx.ConnectError, httpx.ConnectTimeout, httpx.ReadTimeout, httpx.RemoteProtocolError]
)
def test_an_endpoint_that_does_not_answer_is_told(case: Case, failure: type[httpx.TransportError]) -> None:
    """With the kind of failure, which has no secret in it."""

    def fail(_request: httpx.Request) -> httpx.Response:
        raise failure(f"no way with {_KEY}")

    case.endpoint = fail

    (problem,) = (check for check in case.report().checks if not check.ok)
    assert (problem.name, problem.code) == ("endpoint", "ENDPOINT_UNREACHABLE")
    assert failure.__name__ in problem.message
    assert _KEY not in problem.message


def test_every_check_is_made_whatever_fails(case: Case) -> None:
    """One answer tells all that is to be mended."""
    case.runner.trouble = ClusterError("no", code="FORBIDDEN", retryable=False)
    case.endpoint = lambda _request: httpx.Response(401)

    assert case.codes() == {**_FINE, "cluster": "FORBIDDEN", "endpoint": "ENDPOINT_AUTH_FAILED"}


@dataclass
class Wordy:
    """A server that says its piece to whoever connects, as long as it is listened to."""

    address: str = ""
    heard_out: bool = False
    """Whether anybody has waited for the end of it."""


@contextmanager
def _saying(beginning: bytes, then: bytes, times: int, pause: float) -> Iterator[Wordy]:
    told = Wordy()

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            """One request."""
            self.request.recv(65536)
            try:
                self.request.sendall(beginning)
                for _ in range(times):
                    self.request.sendall(then)
                    time.sleep(pause)
                told.heard_out = True
            except OSError:
                """Nobody listens any more."""

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        told.address = f"http://127.0.0.1:{server.server_address[1]}/v1"
        yield told
        server.shutdown()
        thread.join()


def _ask(case: Case, wordy: Wordy) -> Json:
    case.at_the_wire = True
    model = {"model_name": "m", "endpoint": wordy.address, "api_key": _KEY}
    return case.codes(eval_model_info=model)


@pytest.mark.parametrize(("status", "code"), [(200, None), (500, "ENDPOINT_ERROR")])
def test_of_an_answer_only_the_status_is_read(case: Case, status: int, code: str | None) -> None:
    """Its body may be endless, or expand without an end."""
    head = f"HTTP/1.1 {status} X\r\nContent-Encoding: gzip\r\nContent-Length: 999999999\r\n\r\n"
    with _saying(head.encode(), bytes(1024 * 1024), times=64, pause=0) as wordy:
        codes = _ask(case, wordy)

    assert codes == {**_FINE, "endpoint": code}
    assert not wordy.heard_out


def test_an_endpoint_that_sends_a_byte_now_and_then_is_not_waited_for(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is one time limit for all of it, not one for each byte."""
    monkeypatch.setattr(validation, "_ENDPOINT_SECONDS", 0.5)

    with _saying(b"HTTP/1.1 200 OK\r\n", b"X-More: x\r\n", times=100, pause=0.05) as wordy:
        codes = _ask(case, wordy)

    assert codes == {**_FINE, "endpoint": "ENDPOINT_UNREACHABLE"}
    assert not wordy.heard_out
