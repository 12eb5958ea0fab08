"""What playbooks have published of a cluster, in the service's own terms."""

from dataclasses import dataclass
from typing import Any

from budeval.ansible.failures import classify
from budeval.domain.cluster import ClusterTarget, ClusterVerification
from budeval.errors import ClusterError

_CODE_OF_WAITING = {
    "ErrImagePull": "IMAGE_PULL",
    "ImagePullBackOff": "IMAGE_PULL",
    "InvalidImageName": "IMAGE_PULL",
}


@dataclass(frozen=True)
class Deployed:
    """What became of one run's deployment."""

    run_id: str
    job: str | None = None
    code: str | None = None
    message: str | None = None
    """Why there is no Job, with its code."""


def verification(target: ClusterTarget, claim: str, found: dict[str, Any]) -> ClusterVerification:
    """Whether evaluations can run there, by what `verify_cluster_k8s.yml` published."""
    missing = None
    if not found["namespace_exists"]:
        missing = f"There is no namespace {target.namespace}. Create it, or name another one."
    elif not found["claim_phase"]:
        missing = f"Namespace {target.namespace} has no PersistentVolumeClaim {claim}. Create it."
    ready = f"Evaluations can run in namespace {target.namespace} of cluster {target.cluster}."
    if found["quota_used_up"]:
        ready += " Its quota is used up at the moment: runs will wait for it."
    return ClusterVerification(
        target=target,
        ok=missing is None,
        code="NAMESPACE_OR_PVC_MISSING" if missing else None,
        message=missing or ready,
        server_version=found["server_version"],
        claim=claim,
        claim_phase=found["claim_phase"],
    )


def deployed(item: dict[str, Any]) -> Deployed:
    """One of the runs that `deploy_eval_jobs_k8s.yml` published."""
    if "msg" not in item:
        return Deployed(run_id=item["run_id"], job=item["job"])
    error = classify(item, "Deploy the run")
    return Deployed(run_id=item["run_id"], code=error.code, message=error.message)


def why_no_log(pods: list[dict[str, Any]], code: str, waited: float) -> ClusterError:
    """The pod of a program of ours did not end in time, or there never was one.

    Args:
        pods: their statuses.
        code: of the failure, where nothing tells a better one.
        waited: for how many seconds.
    """
    statuses = [status for pod in pods for status in pod.get("containerStatuses", [])]
    waiting = [status["state"]["waiting"] for status in statuses if "waiting" in status.get("state", {})]
    if waiting:
        code = _CODE_OF_WAITING.get(waiting[0].get("reason", ""), code)
        text = f"The Job could not start: {waiting[0].get('reason')} {waiting[0].get('message', '')}"
        return ClusterError(text, code=code, retryable=code != "IMAGE_PULL")
    phases = ", ".join(pod.get("phase", "unknown") for pod in pods) or "no pod"
    text = f"The Job did not end within {waited:.0f} s ({phases})."
    return ClusterError(text, code=code, retryable=True)
