"""Make the Job, ConfigMap and Secret of each run, then release the Job. May be repeated without harm."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

from ansible_collections.budeval.kubernetes.plugins.plugin_utils.cluster import (
    ApiError,
    Cluster,
    ClusterAction,
    Object,
    core_path,
    jobs_path,
)

_AT_ONCE = 8
_MISSING = 404
_CONFLICT = 409
_OF_ALL_RUNS = {401, 429, 500, 502, 503, 504}
_SPEC = "budeval.dev/spec"
_OURS = ("budeval.dev/eval-id", "budeval.dev/run-id", "budeval.dev/attempt")


class ActionModule(ClusterAction):  # type: ignore[misc] # Ansible has no types
    """Arguments: kubeconfig, input_file with {namespace, runs}.

    Each run: {run_id, names, parts, job, files, secrets}.
    """

    def run(self, _tmp: Any = None, task_vars: dict[str, Any] | None = None) -> Object:
        """{runs: [{run_id, job, uid} or {run_id, msg}]}: one run that is refused does not stop the others."""
        return self.handle(_deploy_all, task_vars)


def _deploy_all(cluster: Cluster, order: Object) -> Object:
    with ThreadPoolExecutor(_AT_ONCE) as deployers:
        runs = deployers.map(lambda run: _deploy(cluster, order["namespace"], run), order["runs"])
        return {"changed": True, "runs": list(runs)}


def _deploy(cluster: Cluster, namespace: str, run: Object) -> Object:
    try:
        job = _ensure_job(cluster, namespace, run)
        # Once it is released it has its parts, and its pod may be about to mount them.
        if job["spec"].get("suspend"):
            _ensure_parts(cluster, namespace, run, job)
            release = {"spec": {"suspend": False}}
            path = jobs_path(namespace, job["metadata"]["name"])
            cluster.request("PATCH", path, release, content_type="application/merge-patch+json")
    except ApiError as error:
        if error.status in _OF_ALL_RUNS:
            raise
        return {"run_id": run["run_id"], "msg": str(error)}
    return {"run_id": run["run_id"], "job": job["metadata"]["name"], "uid": job["metadata"]["uid"]}


def _ensure_job(cluster: Cluster, namespace: str, run: Object) -> Object:
    """The run's Job under the first of its names that is free or already its own."""
    for name in run["names"]:
        wanted = {**run["job"], "metadata": {**run["job"]["metadata"], "name": name}}
        try:
            job: Object = cluster.request("POST", jobs_path(namespace), wanted)
        except ApiError as error:
            if error.status != _CONFLICT:
                raise
            job = cluster.request("GET", jobs_path(namespace, name))
            if not _same_run(job, wanted):
                continue
        return job
    taken = " and ".join(run["names"])
    raise ApiError(_CONFLICT, f"the Job names {taken} are taken by other Jobs")


def _same_run(existing: Object, wanted: Object) -> bool:
    """Made for the same run by an earlier try. A Job that is being deleted is nobody's."""
    has, wants = existing["metadata"], wanted["metadata"]
    labels = has.get("labels", {})
    same = all(labels.get(label) == wants["labels"][label] for label in _OURS)
    same_spec = has.get("annotations", {}).get(_SPEC) == wants["annotations"][_SPEC]
    return same and same_spec and "deletionTimestamp" not in has


def _ensure_parts(cluster: Cluster, namespace: str, run: Object, job: Object) -> None:
    metadata = {
        "name": run["parts"],
        "namespace": namespace,
        "labels": run["job"]["metadata"]["labels"],
        "ownerReferences": [
            {
                "apiVersion": "batch/v1",
                "kind": "Job",
                "name": job["metadata"]["name"],
                "uid": job["metadata"]["uid"],
                "blockOwnerDeletion": False,
            }
        ],
    }
    base = {"apiVersion": "v1", "metadata": metadata, "immutable": True}
    _replace(cluster, namespace, "configmaps", {**base, "kind": "ConfigMap", "data": run["files"]})
    if run["secrets"]:
        _replace(cluster, namespace, "secrets", {**base, "kind": "Secret", "stringData": run["secrets"]})


def _replace(cluster: Cluster, namespace: str, kind: str, wanted: Object) -> None:
    """Make it, anew where there is one of an earlier try or of a Job that is gone: Secrets can't be read."""
    if _made(cluster, namespace, kind, wanted):
        return
    try:
        cluster.request("DELETE", core_path(namespace, kind, wanted["metadata"]["name"]))
    except ApiError as error:
        if error.status != _MISSING:
            raise
    # A conflict now is another try of the same deployment, which makes the same.
    _made(cluster, namespace, kind, wanted)


def _made(cluster: Cluster, namespace: str, kind: str, wanted: Object) -> bool:
    """False where there is one of the name."""
    try:
        cluster.request("POST", core_path(namespace, kind), wanted)
    except ApiError as error:
        if error.status != _CONFLICT:
            raise
        return False
    return True
