"""What workflows do outside themselves; each may run twice."""

from pathlib import Path
from typing import Any

import pytest

from budeval.ansible.runner import Tell
from budeval.config import EngineConfig, StorageConfig
from budeval.errors import ClusterError, SidecarError
from budeval.evals.activities import VerificationActivities, verification_key
from budeval.evals.ansible_orchestrator import AnsibleOrchestrator
from budeval.evals.clusters import Clusters
from budeval.evals.installation import Installation
from budeval.evals.receipts import Receipts
from budeval.evals.workflows import verify_cluster
from tests.evals.replay import Call, Replay
from tests.runtime.fake_dapr import FakeDapr

_TARGET = {"cluster": "first", "namespace": "team-a"}
_VERIFICATION = {
    "target": _TARGET,
    "ok": False,
    "code": "KUBECONFIG_INVALID",
    "message": "No kubeconfig of cluster 'first' can be read.",
    "server_version": None,
    "claim": "eval-datasets-pvc-rwx",
    "claim_phase": None,
}


class FakeRunner:
    """A cluster that is away."""

    def run(
        self,
        playbook: str,  # noqa: ARG002
        data: dict[str, Any],  # noqa: ARG002
        kubeconfig: str,  # noqa: ARG002
        patience: float = 0,  # noqa: ARG002
        tell: Tell | None = None,  # noqa: ARG002
    ) -> dict[str, Any]:
        """Never reach it."""
        raise ClusterError("nobody answers", code="CLUSTER_UNREACHABLE", retryable=True)


def _activities(dapr: FakeDapr, directory: Path | None = None) -> VerificationActivities:
    clusters = Clusters(directory, lambda _eval_id: None)
    sidecar = dapr.client()
    orchestrator = AnsibleOrchestrator(
        FakeRunner(),
        clusters,
        {},
        StorageConfig(),
        EngineConfig(),
        Receipts(sidecar, {}),
        Installation(sidecar),
    )
    return VerificationActivities(orchestrator, sidecar, "notifications")


def test_every_activity_that_the_workflow_calls_is_there() -> None:
    """A name that is called but not registered would fail an instance for good."""
    known = {name for name, _ in _activities(FakeDapr()).all()}
    results = {"verify_cluster_connection": _VERIFICATION}
    replay = Replay(verify_cluster, _TARGET)

    called = []
    while isinstance(call := replay.decisions[0], Call):
        called.append(call.activity)
        replay.complete(call, results.get(call.activity))

    assert set(called) == known


def test_the_activities_fit_the_workflow() -> None:
    """What the workflow sends each activity is understood, and what they return is understood by it."""
    dapr = FakeDapr()
    activities = dict(_activities(dapr).all())
    replay = Replay(verify_cluster, _TARGET)

    while isinstance(call := replay.decisions[0], Call):
        replay.complete(call, activities[call.activity](call.argument))

    assert dapr.state[verification_key("verify-1")] == {"schema": 1, **_VERIFICATION}
    assert [message.url.params["metadata.cloudevent.id"] for message in dapr.messages] == [
        "verify-1/1",
        "verify-1/2",
    ]


def test_a_saved_verification_may_be_saved_again() -> None:
    """A repetition leaves the state as it is."""
    dapr = FakeDapr()
    activities = _activities(dapr)
    outcome = {"workflow_id": "verify-1", "verification": _VERIFICATION}

    activities.save_verification(outcome)
    once = dict(dapr.state)
    activities.save_verification(outcome)

    assert dapr.state == once == {"verification-verify-1": {"schema": 1, **_VERIFICATION}}


def test_a_cluster_that_may_come_back_is_raised_with_its_code(tmp_path: Path) -> None:
    """The exception's text is all that crosses the sidecar, so it begins with the code."""
    (tmp_path / "first.yaml").write_text(
        "{clusters: [{name: c, cluster: {server: 'https://c'}}], users: [{name: u, user: {token: t}}],"
        " contexts: [{name: x, context: {cluster: c, user: u}}], current-context: x}"
    )

    with pytest.raises(ClusterError) as raised:
        _activities(FakeDapr(), tmp_path).verify_cluster_connection(_TARGET)

    assert str(raised.value) == "CLUSTER_UNREACHABLE: nobody answers"


def test_a_failed_save_is_not_swallowed() -> None:
    """The workflow must know, since it is the one who tries again."""
    activities = _activities(FakeDapr(unreachable=True))

    with pytest.raises(SidecarError):
        activities.save_verification({"workflow_id": "verify-1", "verification": _VERIFICATION})
