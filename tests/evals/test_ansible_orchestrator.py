"""Kubernetes operations, with a fake in place of the playbook runner."""

from pathlib import Path
from typing import Any

import pytest

from budeval.ansible import kubeconfig
from budeval.config import EngineConfig, StorageConfig
from budeval.domain.cluster import ClusterTarget
from budeval.errors import ClusterError
from budeval.evals.ansible_orchestrator import AnsibleOrchestrator
from budeval.evals.clusters import Clusters
from tests.evals import samples

_STORAGE = StorageConfig(claim="a-claim", mount_path="/shared")
_TARGET = ClusterTarget(cluster="first", namespace="team-a")
_FOUND = {"server_version": "v1.34.4", "namespace_exists": True, "claim_phase": "Bound"}


class FakeRunner:
    """Takes down what is run, and answers with what it was made with."""

    def __init__(self, outcome: dict[str, Any] | ClusterError) -> None:
        self.outcome = outcome
        self.runs: list[tuple[str, dict[str, Any], str]] = []

    def run(
        self, playbook: str, data: dict[str, Any], kubeconfig: str, patience: float = 0
    ) -> dict[str, Any]:
        """Return the outcome, or raise it."""
        self.patience = patience
        self.runs.append((playbook, data, kubeconfig))
        if isinstance(self.outcome, ClusterError):
            raise self.outcome
        return self.outcome


def _orchestrator(runner: FakeRunner, directory: Path) -> AnsibleOrchestrator:
    clusters = Clusters(directory, lambda _eval_id: None)
    return AnsibleOrchestrator(runner, clusters, {}, _STORAGE, EngineConfig())


@pytest.fixture
def clusters(tmp_path: Path) -> Path:
    """Two configured clusters, and files that are none."""
    for name in ("second", "first"):
        (tmp_path / f"{name}.yaml").write_text(samples.kubeconfig(f"token-of-{name}"))
    (tmp_path / "notes.txt").write_text("no cluster")
    return tmp_path


def test_a_usable_cluster_is_told_with_what_was_found(clusters: Path) -> None:
    """Version and phase of the claim come from the playbook, the claim's name from the settings."""
    verification = _orchestrator(FakeRunner(_FOUND), clusters).verify(_TARGET)

    assert verification.model_dump() == {
        "target": {"cluster": "first", "namespace": "team-a"},
        "ok": True,
        "code": None,
        "message": "Evaluations can run in namespace team-a of cluster first.",
        "server_version": "v1.34.4",
        "claim": "a-claim",
        "claim_phase": "Bound",
    }


@pytest.mark.parametrize(
    ("found", "missing"),
    [
        ({"namespace_exists": False, "claim_phase": None}, "no namespace team-a"),
        ({"claim_phase": None}, "no PersistentVolumeClaim a-claim"),
    ],
    ids=["namespace", "claim"],
)
def test_what_is_missing_is_named(clusters: Path, found: dict[str, Any], missing: str) -> None:
    """A cluster that answers but lacks something is an answer: not usable, and why."""
    verification = _orchestrator(FakeRunner(_FOUND | found), clusters).verify(_TARGET)

    assert (verification.ok, verification.code) == (False, "NAMESPACE_OR_PVC_MISSING")
    assert missing in verification.message
    assert verification.server_version == "v1.34.4"


def test_a_final_refusal_is_an_answer(clusters: Path) -> None:
    """Another try would not help, so the code is in the outcome instead of an exception."""
    refusal = ClusterError("You may not.", code="FORBIDDEN", retryable=False)

    verification = _orchestrator(FakeRunner(refusal), clusters).verify(_TARGET)

    assert (verification.ok, verification.code, verification.message) == (False, "FORBIDDEN", "You may not.")
    assert verification.claim == "a-claim"


def test_what_may_pass_is_raised(clusters: Path) -> None:
    """The caller decides on another try."""
    away = ClusterError("nobody answers", code="CLUSTER_UNREACHABLE", retryable=True)

    with pytest.raises(ClusterError) as raised:
        _orchestrator(FakeRunner(away), clusters).verify(_TARGET)

    assert raised.value is away


@pytest.mark.parametrize("cluster", ["first", "second"])
def test_the_credential_is_that_of_the_cluster(clusters: Path, cluster: str) -> None:
    """The playbook gets the named cluster's kubeconfig, rebuilt, and no other."""
    runner = FakeRunner(_FOUND)

    _orchestrator(runner, clusters).verify(ClusterTarget(cluster=cluster, namespace="team-a"))

    ((_, _, credential),) = runner.runs
    assert credential == kubeconfig.rebuild(samples.kubeconfig(f"token-of-{cluster}"))


@pytest.mark.parametrize(
    "content",
    [None, b"", b"users: [{name: u, user: {exec: {command: sh}}}]", b"\xff\xfe\x00"],
    ids=["absent", "empty", "incomplete", "no-text"],
)
def test_a_kubeconfig_that_cannot_be_used_runs_nothing(clusters: Path, content: bytes | None) -> None:
    """No playbook is run, and none with another cluster's credential: the outcome says why."""
    runner = FakeRunner(_FOUND)
    path = clusters / "first.yaml"
    path.unlink()
    if content is not None:
        path.write_bytes(content)

    verification = _orchestrator(runner, clusters).verify(_TARGET)

    assert (verification.ok, verification.code) == (False, "KUBECONFIG_INVALID")
    assert runner.runs == []


def test_the_playbook_is_asked_about_a_job_like_an_evaluations(clusters: Path) -> None:
    """The probe is a restricted Job that mounts the claim, names the namespace and would start nothing."""
    runner = FakeRunner(_FOUND)

    _orchestrator(runner, clusters).verify(_TARGET)

    ((playbook, data, _),) = runner.runs
    job = data["probe_job"]
    pod = job["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert playbook == "verify_cluster_k8s.yml"
    assert (data["namespace"], data["claim"]) == ("team-a", "a-claim")
    assert (job["kind"], job["metadata"]["namespace"], job["spec"]["suspend"]) == ("Job", "team-a", True)
    assert pod["volumes"][0]["persistentVolumeClaim"] == {"claimName": "a-claim"}
    assert container["volumeMounts"] == [{"name": pod["volumes"][0]["name"], "mountPath": "/shared"}]


def test_the_probe_satisfies_the_restricted_level(clusters: Path) -> None:
    """All that Kubernetes' restricted pod security level demands is set, or namespaces with it refuse us."""
    runner = FakeRunner(_FOUND)

    _orchestrator(runner, clusters).verify(_TARGET)

    pod = runner.runs[0][1]["probe_job"]["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] > 0
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["automountServiceAccountToken"] is False
    for container in pod["containers"]:
        assert container["securityContext"]["allowPrivilegeEscalation"] is False
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
