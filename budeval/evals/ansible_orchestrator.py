"""Kubernetes operations in the service's own terms; each is one playbook run."""

from pathlib import Path
from typing import Any, Protocol

from budeval.ansible import kubeconfig
from budeval.config import StorageConfig
from budeval.domain.cluster import ClusterTarget, ClusterVerification
from budeval.errors import ClusterError, RequestError


class RunsPlaybooks(Protocol):
    """What of the playbook runner is used here; tests put a fake in its place."""

    def run(self, playbook: str, data: dict[str, Any], kubeconfig: str) -> dict[str, Any]:
        """Run a playbook and return what it published, or raise ClusterError."""


class AnsibleOrchestrator:
    """The one who speaks to clusters."""

    def __init__(self, runner: RunsPlaybooks, clusters_dir: Path | None, storage: StorageConfig) -> None:
        self._runner = runner
        self._clusters_dir = clusters_dir
        self._storage = storage

    def cluster_names(self) -> list[str]:
        """The clusters that requests may choose by name."""
        if self._clusters_dir is None or not self._clusters_dir.is_dir():
            return []
        return sorted(path.stem for path in self._clusters_dir.glob("*.yaml"))

    def require_known(self, cluster: str) -> None:
        """Refuse a cluster that is not configured.

        Raises:
            RequestError: CLUSTER_UNKNOWN.
        """
        names = self.cluster_names()
        if cluster not in names:
            known = (
                ", ".join(names) or "none; set BUDEVAL_CLUSTERS_DIR to a directory of <name>.yaml kubeconfigs"
            )
            raise RequestError(
                f"There is no cluster {cluster!r}. Configured: {known}.",
                status=404,
                code="CLUSTER_UNKNOWN",
                param="cluster",
            )

    def verify(self, target: ClusterTarget) -> ClusterVerification:
        """Find out whether evaluations can run at the target; a reason why not is an answer, not an error.

        Raises:
            ClusterError: only one that is worth another try, as an unreachable API server.
        """
        try:
            found = self._run("verify_cluster_k8s.yml", target, self._verify_input(target))
        except ClusterError as error:
            if error.retryable:
                raise
            return self._unusable(target, error.code, error.message)
        version, phase = found["server_version"], found["claim_phase"]
        missing = self._what_is_missing(target, found)
        if missing:
            code = "NAMESPACE_OR_PVC_MISSING"
            return self._unusable(target, code, missing, server_version=version, claim_phase=phase)
        return ClusterVerification(
            target=target,
            ok=True,
            message=f"Evaluations can run in namespace {target.namespace} of cluster {target.cluster}.",
            server_version=version,
            claim=self._storage.claim,
            claim_phase=phase,
        )

    def _what_is_missing(self, target: ClusterTarget, found: dict[str, Any]) -> str | None:
        if not found["namespace_exists"]:
            return f"There is no namespace {target.namespace}. Create it, or name another one."
        if not found["claim_phase"]:
            return (
                f"Namespace {target.namespace} has no PersistentVolumeClaim {self._storage.claim}. Create it."
            )
        return None

    def _unusable(
        self, target: ClusterTarget, code: str, message: str, **known: str | None
    ) -> ClusterVerification:
        return ClusterVerification(
            target=target, ok=False, code=code, message=message, claim=self._storage.claim, **known
        )

    def _verify_input(self, target: ClusterTarget) -> dict[str, Any]:
        return {
            "namespace": target.namespace,
            "claim": self._storage.claim,
            "probe_job": _probe_job(target.namespace, self._storage),
        }

    def _run(self, playbook: str, target: ClusterTarget, data: dict[str, Any]) -> dict[str, Any]:
        return self._runner.run(playbook, data, self._credential(target.cluster))

    def _credential(self, cluster: str) -> str:
        """Never of another cluster: a name that is not configured is an error."""
        try:
            text = (self._clusters_dir / f"{cluster}.yaml").read_text() if self._clusters_dir else None
        except (OSError, UnicodeDecodeError):
            text = None
        if text is None:
            reason = f"No kubeconfig of cluster {cluster!r} can be read."
            raise ClusterError(reason, code="KUBECONFIG_INVALID", retryable=False)
        return kubeconfig.rebuild(text)


def _probe_job(namespace: str, storage: StorageConfig) -> dict[str, Any]:
    """A Job with the shape and the security settings of an evaluation's; only ever sent as a dry run."""
    container = {
        "name": "probe",
        "image": "budeval.local/probe:none",
        "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}, "limits": {"memory": "64Mi"}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [{"name": "shared", "mountPath": storage.mount_path}],
    }
    pod = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": 10001,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [container],
        "volumes": [{"name": "shared", "persistentVolumeClaim": {"claimName": storage.claim}}],
    }
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": "budeval-verify-probe",
            "namespace": namespace,
            "labels": {"app.kubernetes.io/managed-by": "budeval"},
        },
        "spec": {"backoffLimit": 0, "activeDeadlineSeconds": 60, "suspend": True, "template": {"spec": pod}},
    }
