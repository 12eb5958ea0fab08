"""What workflows do outside themselves. Each may run twice without harm: Dapr runs them at least once."""

from typing import Any

from budeval.domain.cluster import ClusterTarget, ClusterVerification
from budeval.domain.notification import Announcement
from budeval.evals.ansible_orchestrator import AnsibleOrchestrator
from budeval.runtime.sidecar import Sidecar
from budeval.runtime.workflow_engine import Activity


def verification_key(workflow_id: str) -> str:
    """Where a verification's outcome is in the state store."""
    return f"verification-{workflow_id}"


class Activities:
    """The activities with what they work on, wired by `main`."""

    def __init__(self, orchestrator: AnsibleOrchestrator, sidecar: Sidecar, topic: str) -> None:
        self._orchestrator = orchestrator
        self._sidecar = sidecar
        self._topic = topic

    def all(self) -> list[tuple[str, Activity]]:
        """Every activity under the name by which workflows call it."""
        return [
            ("verify_cluster_connection", self.verify_cluster_connection),
            ("save_verification", self.save_verification),
            ("announce", self.announce),
        ]

    def verify_cluster_connection(self, target: dict[str, Any]) -> dict[str, Any]:
        """ClusterTarget -> ClusterVerification. Raises ClusterError where another try may help."""
        verification = self._orchestrator.verify(ClusterTarget.model_validate(target))
        return verification.model_dump(mode="json")

    def save_verification(self, outcome: dict[str, Any]) -> None:
        """{workflow_id, verification} -> the state store."""
        verification = ClusterVerification.model_validate(outcome["verification"])
        value = {"schema": 1, **verification.model_dump(mode="json")}
        self._sidecar.save_state(verification_key(outcome["workflow_id"]), value)

    def announce(self, announcement: dict[str, Any]) -> None:
        """Announcement -> stored, then published."""
        self._sidecar.announce(self._topic, Announcement.model_validate(announcement))
