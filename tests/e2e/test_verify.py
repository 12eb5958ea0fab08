"""The verify workflow, from the request to what the subscriber received."""

import base64
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from dev import apps
from dev.stack import Stack
from tests.e2e.observe import Subscriber, wait_for

pytestmark = pytest.mark.e2e

_TRACE = Path(tempfile.gettempdir()) / "budeval-was-here"
"""What the program in a kubeconfig would make, if it were run."""


def _start(service: httpx.Client, **request: str) -> str:
    answer = service.post("/clusters:verify", json=request)
    assert answer.status_code == 202, answer.text
    return str(answer.json()["workflow_id"])


def _end(service: httpx.Client, workflow: str) -> dict[str, Any]:
    def ended() -> dict[str, Any] | None:
        state: dict[str, Any] = service.get(f"/workflow/{workflow}/status").raise_for_status().json()
        return state if state["status"] in {"COMPLETED", "FAILED"} else None

    return wait_for(ended, f"the end of {workflow}")


def test_the_subscriber_sees_the_outcome_of_a_verification(
    service: httpx.Client, subscriber: Subscriber
) -> None:
    """The notification carries what was found on the real cluster, once, after the one that said RUNNING."""
    workflow = _start(service, cluster="local", namespace="team-a")

    events = subscriber.wait_for_end(workflow)

    assert [event["id"] for event in events] == [f"{workflow}/1", f"{workflow}/2"]
    first, last = (event["data"]["payload"] for event in events)
    assert (first["event"], first["content"]["status"]) == ("verify_cluster_connection", "RUNNING")
    assert (last["event"], last["content"]["status"]) == ("verify_cluster_connection", "COMPLETED")
    assert last["workflow_id"] == workflow
    assert last["content"]["result"] == {
        "target": {"cluster": "local", "namespace": "team-a"},
        "ok": True,
        "code": None,
        "message": "Evaluations can run in namespace team-a of cluster local.",
        "server_version": "v1.34.4",
        "claim": "eval-datasets-pvc-rwx",
        "claim_phase": "Bound",
    }


def test_the_outcome_is_in_the_state_store_and_in_the_status(
    service: httpx.Client, subscriber: Subscriber
) -> None:
    """State store, workflow status and notification tell the same."""
    workflow = _start(service)

    state = _end(service, workflow)
    (announced,) = (e["data"]["payload"]["content"] for e in subscriber.wait_for_end(workflow)[1:])

    sidecar = next(member for member in apps.members() if member.name == "service-sidecar")
    stored = httpx.get(f"{sidecar.address}/v1.0/state/statestore/verification-{workflow}").json()
    assert state["status"] == "COMPLETED"
    assert state["verification"] == announced["result"]
    assert stored == {"schema": 1, **announced["result"]}


def test_the_second_cluster_is_chosen_by_name(service: httpx.Client, stack: Stack) -> None:
    """A request that names the second cluster reaches that one: only there is namespace `only-here`."""
    stack.kubectl(2, "create", "namespace", "only-here")
    binding = ["--clusterrole", "budeval-evaluations", "--serviceaccount", "budeval-system:budeval"]
    stack.kubectl(2, "create", "rolebinding", "here", "--namespace", "only-here", *binding)

    second = _end(service, _start(service, cluster="second", namespace="only-here"))
    first = _end(service, _start(service, cluster="local", namespace="only-here"))

    assert second["verification"]["code"] == "NAMESPACE_OR_PVC_MISSING"
    assert "no PersistentVolumeClaim" in second["verification"]["message"]
    assert first["verification"]["code"] == "FORBIDDEN"


def test_a_namespace_without_rights_fails_with_the_servers_words(
    service: httpx.Client, subscriber: Subscriber
) -> None:
    """The workflow ends FAILED, and the subscriber is told the code and what the API server said."""
    workflow = _start(service, namespace="kube-system")

    state = _end(service, workflow)
    content = subscriber.wait_for_end(workflow)[-1]["data"]["payload"]["content"]

    assert state["status"] == "FAILED"
    assert state["error"].startswith("FORBIDDEN: ")
    assert content["status"] == "FAILED"
    assert content["result"]["code"] == "FORBIDDEN"
    assert 'cannot get resource "namespaces"' in content["message"]


@pytest.fixture
def extra_cluster(stack: Stack, request: pytest.FixtureRequest) -> Iterator[str]:
    """A further configured cluster, `local` with one thing changed by the test's parameter."""
    document = yaml.safe_load((stack.layout.clusters_directory / "local.yaml").read_text())
    request.param(document)
    path = stack.layout.clusters_directory / "changed.yaml"
    path.touch(mode=0o600)
    path.write_text(yaml.safe_dump(document))
    yield "changed"
    path.unlink()


def _wrong_token(document: dict[str, Any]) -> None:
    document["users"][0]["user"]["token"] = "not-a-token"


def _wrong_port(document: dict[str, Any]) -> None:
    document["clusters"][0]["cluster"]["server"] = "https://10.88.0.1:1"


def _wrong_authority(document: dict[str, Any]) -> None:
    other = next(Path("/etc/ssl/certs").glob("ISRG_Root_X1.pem"))
    document["clusters"][0]["cluster"]["certificate-authority-data"] = _base64(other)


def _runs_a_program(document: dict[str, Any]) -> None:
    document["users"][0]["user"] = {"exec": {"command": "/bin/touch", "args": [str(_TRACE)]}}


def _base64(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()


@pytest.mark.parametrize(
    ("extra_cluster", "code"),
    [
        (_wrong_token, "AUTH_FAILED"),
        (_wrong_port, "CLUSTER_UNREACHABLE"),
        (_wrong_authority, "CLUSTER_UNREACHABLE"),
        (_runs_a_program, "KUBECONFIG_INVALID"),
    ],
    indirect=["extra_cluster"],
    ids=["wrong-token", "wrong-port", "wrong-authority", "exec"],
)
def test_a_cluster_that_cannot_be_used_is_named_with_a_code(
    service: httpx.Client, subscriber: Subscriber, extra_cluster: str, code: str
) -> None:
    """Whatever is wrong with the way to a cluster ends the workflow as failed, with its stable code."""
    workflow = _start(service, cluster=extra_cluster)

    state = _end(service, workflow)
    content = subscriber.wait_for_end(workflow)[-1]["data"]["payload"]["content"]

    assert state["status"] == "FAILED"
    assert state["verification"]["code"] == code
    assert content["result"]["code"] == code
    assert not _TRACE.exists()


def test_nothing_of_a_run_stays_on_disk(service: httpx.Client, stack: Stack) -> None:
    """The private directory of a playbook run, with the credential in it, is gone when the workflow ended."""
    temporary = stack.layout.directory / "dapr" / "tmp"
    before = set(temporary.glob("budeval-run-*"))  # of a service that a test has killed
    workflow = _start(service)

    during = wait_for(lambda: set(temporary.glob("budeval-run-*")) - before or None, "the run's directory")
    _end(service, workflow)

    assert len(during) == 1
    assert set(temporary.glob("budeval-run-*")) <= before


def test_kubeconfigs_of_the_service_are_for_root_alone(stack: Stack) -> None:
    """Only their owner can read what `make up` wrote for the service."""
    modes = [stat.S_IMODE(path.stat().st_mode) for path in stack.layout.clusters_directory.glob("*.yaml")]

    assert modes == [0o600, 0o600]
