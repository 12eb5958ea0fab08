"""Make the Job, ConfigMap and Secret of each run, then release the Job. May be repeated without harm."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
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
_TAKEN_OVER = "budeval.dev/taken-over"
_MERGE = "application/merge-patch+json"
_OURS = ("budeval.dev/eval-id", "budeval.dev/run-id", "budeval.dev/attempt")


class ActionModule(ClusterAction):  # type: ignore[misc] # Ansible has no types
    """Arguments: kubeconfig, input_file with {namespace, runs}.

    Each run: {run_id, names, parts, job, files, secret_values}.
    """

    def run(self, _tmp: Any = None, task_vars: dict[str, Any] | None = None) -> Object:
        """{runs: [{run_id, job, uid, parts} or {run_id, msg}]}: one that is refused does not stop the others.

        `parts` are the uids of ConfigMap and Secret, None where an earlier try has made them.
        """
        return self.handle(_deploy_all, task_vars)


def _deploy_all(cluster: Cluster, order: Object) -> Object:
    with ThreadPoolExecutor(_AT_ONCE) as deployers:
        runs = deployers.map(lambda run: _deploy(cluster, order["namespace"], run), order["runs"])
        return {"changed": True, "runs": list(runs)}


def _deploy(cluster: Cluster, namespace: str, run: Object) -> Object:
    parts = {"ConfigMap": None, "Secret": None}
    try:
        job = _ensure_job(cluster, namespace, run)
        # Once it is released it has its parts, and its pod may be about to mount them.
        if job["spec"].get("suspend"):
            parts = _ensure_parts(cluster, namespace, run, job)
            release = {"spec": {"suspend": False}}
            path = jobs_path(namespace, job["metadata"]["name"])
            cluster.request("PATCH", path, release, content_type=_MERGE)
    except ApiError as error:
        if error.status in _OF_ALL_RUNS:
            raise
        return {"run_id": run["run_id"], "msg": str(error)}
    meta = job["metadata"]
    return {"run_id": run["run_id"], "job": meta["name"], "uid": meta["uid"], "parts": parts}


def _ensure_job(cluster: Cluster, namespace: str, run: Object) -> Object:
    """The run's Job under the first of its names that is free or already its own."""
    for name in run["names"]:
        wanted = {**run["job"], "metadata": {**run["job"]["metadata"], "name": name}}
        job = _made(cluster, jobs_path(namespace), wanted) or _taken_over(cluster, namespace, wanted)
        if job:
            return job
    taken = " and ".join(run["names"])
    raise ApiError(_CONFLICT, f"the Job names {taken} are taken by other Jobs")


def _taken_over(cluster: Cluster, namespace: str, wanted: Object) -> Object | None:
    """The Job that an earlier try has made; None where the name is another's.

    It is written to, so that whoever wanted to remove it as it was (`remove_objects`) leaves it alone.
    """
    path = jobs_path(namespace, wanted["metadata"]["name"])
    mark = {"metadata": {"annotations": {_TAKEN_OVER: datetime.now(UTC).isoformat()}}}
    try:
        if not _same_run(cluster.request("GET", path), wanted):
            return None
        job: Object = cluster.request("PATCH", path, mark, content_type=_MERGE)
    except ApiError as error:
        if error.status != _MISSING:
            raise
        return _made(cluster, jobs_path(namespace), wanted)  # it went meanwhile
    return job


def _same_run(existing: Object, wanted: Object) -> bool:
    """Made for the same run by an earlier try. A Job that is being deleted is nobody's."""
    has, wants = existing["metadata"], wanted["metadata"]
    labels = has.get("labels", {})
    same = all(labels.get(label) == wants["labels"][label] for label in _OURS)
    same_spec = has.get("annotations", {}).get(_SPEC) == wants["annotations"][_SPEC]
    return same and same_spec and "deletionTimestamp" not in has


def _ensure_parts(cluster: Cluster, namespace: str, run: Object, job: Object) -> Object:
    """The uids of ConfigMap and Secret."""
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
    files = {**base, "kind": "ConfigMap", "data": run["files"]}
    secrets = {**base, "kind": "Secret", "stringData": run["secret_values"]}
    return {
        "ConfigMap": _replace(cluster, namespace, "configmaps", files),
        "Secret": _replace(cluster, namespace, "secrets", secrets) if run["secret_values"] else None,
    }


def _replace(cluster: Cluster, namespace: str, kind: str, wanted: Object) -> str | None:
    """Make it, anew where there is one of an earlier try or of a Job that is gone: Secrets can't be read.

    Returns:
        Its uid, None where another try of the same deployment has just made the same.
    """
    made = _made(cluster, core_path(namespace, kind), wanted)
    if made is None:
        try:
            cluster.request("DELETE", core_path(namespace, kind, wanted["metadata"]["name"]))
        except ApiError as error:
            if error.status != _MISSING:
                raise
        made = _made(cluster, core_path(namespace, kind), wanted)
    return made["metadata"]["uid"] if made else None


def _made(cluster: Cluster, path: str, wanted: Object) -> Object | None:
    """None where there is one of the name."""
    try:
        made: Object = cluster.request("POST", path, wanted)
    except ApiError as error:
        if error.status != _CONFLICT:
            raise
        return None
    return made
