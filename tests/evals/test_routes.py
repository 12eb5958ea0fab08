"""The HTTP API as its callers see it, with fakes behind it."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI

from budeval.api import http_errors
from budeval.config import Settings
from budeval.domain.notification import WorkflowStatus
from budeval.errors import SidecarError
from budeval.evals import routes
from budeval.evals.activities import verification_key
from budeval.evals.clusters import Clusters
from budeval.evals.workflows import verify_cluster
from budeval.runtime.readiness import ReadinessCheck
from budeval.runtime.workflow_engine import WorkflowBody, WorkflowSnapshot
from tests.asgi import Caller
from tests.runtime.fake_dapr import FakeDapr

_FOUND = {
    "target": {"cluster": "first", "namespace": "team-a"},
    "ok": True,
    "code": None,
    "message": "Evaluations can run.",
    "server_version": "v1.34.4",
    "claim": "a-claim",
    "claim_phase": "Bound",
}


class FakeRunner:
    """No route runs a playbook."""

    def run(self, playbook: str, data: dict[str, Any], kubeconfig: str) -> dict[str, Any]:
        """Never asked."""
        raise AssertionError(playbook, data, kubeconfig)


@dataclass
class FakeEngine:
    """Workflows that were started, and those that can be found."""

    started: list[tuple[WorkflowBody, str, Any]] = field(default_factory=list)
    known: dict[str, WorkflowSnapshot] = field(default_factory=dict)
    away: bool = False
    hanging: bool = False

    def schedule(self, workflow: WorkflowBody, workflow_id: str, argument: Any) -> None:
        """Remember it."""
        self._answer()
        self.started.append((workflow, workflow_id, argument))

    def find(self, workflow_id: str) -> WorkflowSnapshot | None:
        """One of the known."""
        self._answer()
        return self.known.get(workflow_id)

    def probe(self) -> None:
        """Fail when workflows don't run."""
        if self.hanging:
            raise SidecarError("a workflow did not run")

    def _answer(self) -> None:
        if self.away:
            raise SidecarError("Dapr did not answer")


@dataclass
class Service:
    """The API with all that is behind it."""

    clusters: Path
    engine: FakeEngine = field(default_factory=FakeEngine)
    dapr: FakeDapr = field(default_factory=FakeDapr)

    def client(self, default_cluster: str | None = "first") -> Caller:
        """A caller."""
        given = Settings(default_cluster=default_cluster, clusters_dir=self.clusters)
        sidecar = self.dapr.client()
        clusters = Clusters(given.clusters_dir, lambda _eval_id: None)
        application = FastAPI()
        application.include_router(routes.health_routes(ReadinessCheck(sidecar, self.engine)))
        application.include_router(routes.workflow_routes(given, self.engine, sidecar, clusters))
        http_errors.install(application)
        return Caller(application)


@pytest.fixture
def service(tmp_path: Path) -> Service:
    """Two clusters are configured: `first` and `second`."""
    for name in ("first", "second"):
        (tmp_path / f"{name}.yaml").write_text("never read here")
    return Service(tmp_path)


def _snapshot(status: WorkflowStatus, failure: str | None = None) -> WorkflowSnapshot:
    return WorkflowSnapshot(workflow_id="verify-1", name="verify_cluster", status=status, failure=failure)


def test_a_started_verification_is_told_at_once(service: Service) -> None:
    """202 with the workflow's id, and the steps that notifications will name."""
    answer = service.client().post("/clusters:verify", json={"cluster": "second", "namespace": "team-a"})

    assert answer.status_code == 202
    body = answer.json()
    steps = body.pop("steps")
    assert re.fullmatch(r"verify-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", body.pop("workflow_id"))
    assert body == {
        "object": "workflow_metadata",
        "workflow_name": "verify_cluster",
        "status": "PENDING",
        "eta": None,
    }
    assert [step["id"] for step in steps] == ["verify_cluster_connection"]
    assert set(steps[0]) == {"id", "title", "description"}


@pytest.mark.parametrize(
    ("request_body", "target"),
    [
        ({"cluster": "second", "namespace": "team-a"}, {"cluster": "second", "namespace": "team-a"}),
        ({"cluster": "second"}, {"cluster": "second", "namespace": "budeval"}),
        ({"namespace": "team-a"}, {"cluster": "first", "namespace": "team-a"}),
        ({}, {"cluster": "first", "namespace": "budeval"}),
        ({"cluster": None, "namespace": None}, {"cluster": "first", "namespace": "budeval"}),
    ],
    ids=["both", "cluster", "namespace", "neither", "nulls"],
)
def test_what_is_left_out_comes_from_the_settings(
    service: Service, request_body: dict[str, Any], target: dict[str, str]
) -> None:
    """The workflow is started under the id that was answered, with a target that names everything."""
    answer = service.client().post("/clusters:verify", json=request_body)

    assert service.engine.started == [(verify_cluster, answer.json()["workflow_id"], target)]


def test_each_request_starts_a_workflow_of_its_own(service: Service) -> None:
    """The same request twice gets two ids."""
    client = service.client()

    ids = {client.post("/clusters:verify", json={}).json()["workflow_id"] for _ in range(2)}

    assert len(ids) == 2


def test_an_unknown_cluster_is_refused_with_the_known_ones(service: Service) -> None:
    """404 names the field and says what could be chosen; nothing is started."""
    answer = service.client().post("/clusters:verify", json={"cluster": "third"})

    assert answer.status_code == 404
    assert answer.json() == {
        "object": "error",
        "message": "There is no cluster 'third'. Configured: first, second.",
        "type": "RequestError",
        "param": "cluster",
        "code": "CLUSTER_UNKNOWN",
    }
    assert service.engine.started == []


def test_without_a_default_a_cluster_must_be_named(service: Service) -> None:
    """The service never chooses a cluster silently, not even the only one."""
    answer = service.client(default_cluster=None).post("/clusters:verify", json={})

    assert answer.status_code == 400
    assert (answer.json()["code"], answer.json()["param"]) == ("CLUSTER_REQUIRED", "cluster")
    assert service.engine.started == []


def test_a_default_that_is_not_configured_is_refused(service: Service) -> None:
    """A wrong setting is told to the first who depends on it."""
    answer = service.client(default_cluster="third").post("/clusters:verify", json={})

    assert (answer.status_code, answer.json()["code"]) == (404, "CLUSTER_UNKNOWN")


@pytest.mark.parametrize("name", ["", "A", "-a", "a-", "a.b", "../a", "a/b", "a\n", "a b", "ä", "a" * 64, 7])
@pytest.mark.parametrize("name_of", ["cluster", "namespace"])
def test_a_name_that_is_no_label_is_refused(service: Service, name_of: str, name: Any) -> None:
    """What could not be a Kubernetes name, or would lead out of a directory, gets 422 with its field."""
    answer = service.client().post("/clusters:verify", json={name_of: name})

    assert answer.status_code == 422
    assert (answer.json()["code"], answer.json()["param"]) == ("REQUEST_INVALID", name_of)
    assert answer.json()["message"].startswith(f"{name_of}: ")
    assert service.engine.started == []


def test_an_unknown_field_is_refused(service: Service) -> None:
    """A misspelt field is named instead of ignored."""
    answer = service.client().post("/clusters:verify", json={"cluster": "first", "name_space": "x"})

    assert answer.status_code == 422
    assert (answer.json()["code"], answer.json()["param"]) == ("REQUEST_INVALID", "name_space")


@pytest.mark.parametrize("content", ["{", "{'a': 1}", "[]", "null", "1", '"text"', ""])
def test_a_body_that_is_no_object_is_refused(service: Service, content: str) -> None:
    """Broken JSON, or JSON of another kind, gets 422; no field is at fault."""
    answer = service.client().post(
        "/clusters:verify", content=content, headers={"content-type": "application/json"}
    )

    assert answer.status_code == 422
    assert (answer.json()["code"], answer.json()["param"]) == ("REQUEST_INVALID", None)
    assert answer.json()["message"].startswith("body: ")


@pytest.mark.parametrize(
    ("method", "path", "status"), [("GET", "/nowhere", 404), ("GET", "/clusters:verify", 405)]
)
def test_an_unknown_route_is_an_error_like_any_other(
    service: Service, method: str, path: str, status: int
) -> None:
    """Every answer that is not a success has the same shape."""
    answer = service.client().request(method, path)

    assert answer.status_code == status
    assert set(answer.json()) == {"object", "message", "type", "param", "code"}
    assert answer.json()["code"] == "ROUTE_UNKNOWN"


def test_a_running_workflow_has_no_outcome_yet(service: Service) -> None:
    """Its status is told, and what is not known yet is null."""
    service.engine.known["verify-1"] = _snapshot(WorkflowStatus.RUNNING)

    answer = service.client().get("/workflow/verify-1/status")

    assert answer.status_code == 200
    assert answer.json() == {
        "object": "workflow_state",
        "workflow_id": "verify-1",
        "workflow_name": "verify_cluster",
        "status": "RUNNING",
        "param": {"status": "RUNNING"},
        "verification": None,
        "error": None,
    }


@pytest.mark.parametrize(
    ("status", "failure"),
    [(WorkflowStatus.COMPLETED, None), (WorkflowStatus.FAILED, "FORBIDDEN: You may not.")],
)
def test_an_ended_workflow_is_told_with_its_outcome(
    service: Service, status: WorkflowStatus, failure: str | None
) -> None:
    """The outcome comes from the state store, without the mark of its schema."""
    service.engine.known["verify-1"] = _snapshot(status, failure)
    service.dapr.state[verification_key("verify-1")] = {"schema": 1, **_FOUND}

    body = service.client().get("/workflow/verify-1/status").json()

    assert (body["status"], body["error"]) == (status, failure)
    assert body["verification"] == _FOUND


def test_an_unknown_workflow_is_not_found(service: Service) -> None:
    """404 names the field."""
    answer = service.client().get("/workflow/verify-2/status")

    assert answer.status_code == 404
    assert (answer.json()["code"], answer.json()["param"]) == ("WORKFLOW_UNKNOWN", "workflow_id")


def _verify(client: Caller) -> Any:
    return client.post("/clusters:verify", json={})


def _status(client: Caller) -> Any:
    return client.get("/workflow/verify-1/status")


@pytest.mark.parametrize("call", [_verify, _status])
def test_dapr_that_does_not_answer_is_told(service: Service, call: Callable[[Caller], Any]) -> None:
    """503 with a code, so that callers know that another try may help."""
    service.engine.away = True

    answer = call(service.client())

    assert answer.status_code == 503
    assert (answer.json()["type"], answer.json()["code"]) == ("SidecarError", "SIDECAR_UNAVAILABLE")


def test_a_state_store_that_does_not_answer_is_told(service: Service) -> None:
    """A status that is only half known is not answered as if it were whole."""
    service.engine.known["verify-1"] = _snapshot(WorkflowStatus.COMPLETED)
    service.dapr.refused["/v1.0/state"] = 500

    answer = _status(service.client())

    assert (answer.status_code, answer.json()["code"]) == (503, "SIDECAR_UNAVAILABLE")


def test_a_ready_service_names_what_it_reached(service: Service) -> None:
    """200 with each dependency, none of which has a problem."""
    answer = service.client().get("/readyz")

    names = ["sidecar", "state store", "broker", "workflow engine", "playbooks"]
    assert (answer.status_code, answer.json()["ready"]) == (200, True)
    told = [(one["name"], one["problem"]) for one in answer.json()["dependencies"]]
    assert told == [(name, None) for name in names]


def _lose_sidecar(service: Service) -> None:
    service.dapr.unreachable = True


def _lose_store(service: Service) -> None:
    service.dapr.refused["/v1.0/state"] = 500


def _lose_broker(service: Service) -> None:
    service.dapr.refused["/v1.0/publish"] = 403


def _lose_worker(service: Service) -> None:
    service.dapr.metadata = {}


def _lose_scheduler(service: Service) -> None:
    service.engine.hanging = True


@pytest.mark.parametrize(
    ("lose", "lost"),
    [
        (_lose_sidecar, {"sidecar", "state store", "broker", "workflow engine"}),
        (_lose_store, {"state store"}),
        (_lose_broker, {"broker"}),
        (_lose_worker, {"workflow engine"}),
        (_lose_scheduler, {"workflow engine"}),
    ],
)
def test_a_service_that_is_not_ready_names_what_it_misses(
    service: Service, lose: Callable[[Service], None], lost: set[str]
) -> None:
    """503 tells the problem of each dependency that is not reached; the others stay without one."""
    lose(service)

    answer = service.client().get("/readyz")

    problems = {one["name"]: one["problem"] for one in answer.json()["dependencies"]}
    assert answer.status_code == 503
    assert answer.json()["ready"] is False
    assert {name for name, problem in problems.items() if problem} == lost


def test_a_service_without_dapr_is_alive(service: Service) -> None:
    """Who restarts the process asks `/healthz`, which asks nobody else."""
    service.dapr.unreachable = True

    answer = service.client().get("/healthz")

    assert (answer.status_code, answer.json()) == (200, {"status": "alive"})
