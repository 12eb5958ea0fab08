"""Run a Job with the ConfigMaps that it mounts, read its log, and delete it; the ConfigMaps go with it."""

import time
from contextlib import suppress
from typing import Any

import httpx
from ansible_collections.budeval.kubernetes.plugins.plugin_utils.cluster import (
    AnswerTooLargeError,
    ApiError,
    Cluster,
    ClusterAction,
    Object,
    core_path,
    jobs_path,
)

_PAUSE_SECONDS = 0.3
_LOG_BYTES = 16 * 1024 * 1024
_ENDED = {"Succeeded", "Failed"}


class ActionModule(ClusterAction):  # type: ignore[misc] # Ansible has no types
    """Arguments: kubeconfig, input_file with {namespace, job, config_maps, wait_seconds}.

    The Job has one pod and one try; the ConfigMaps are manifests without an owner.
    """

    def run(self, _tmp: Any = None, task_vars: dict[str, Any] | None = None) -> Object:
        """{pods: their statuses, log: of the pod that has ended, or empty where none has in time}."""
        return self.handle(_run, task_vars)


def _run(cluster: Cluster, order: Object) -> Object:
    # The Job comes first, and not suspended. Its pod waits for the ConfigMaps; and whenever this is killed,
    # the Job ends by its deadline and is removed by the cluster, with the ConfigMaps that there are by then.
    namespace = order["namespace"]
    job = cluster.request("POST", jobs_path(namespace), order["job"])["metadata"]
    try:
        for wanted in order["config_maps"]:
            owned = {**wanted, "metadata": {**wanted["metadata"], "ownerReferences": [_owner(job)]}}
            cluster.request("POST", core_path(namespace, "configmaps"), owned)
        pods = _once_ended(cluster, namespace, job["name"], order["wait_seconds"])
        return {"changed": True, "pods": [pod["status"] for pod in pods], "log": _log(cluster, pods)}
    finally:
        # What is refused here does not hide what came before: the cluster removes the Job by itself.
        with suppress(ApiError, AnswerTooLargeError, httpx.HTTPError):
            path = jobs_path(namespace, job["name"])
            cluster.request("DELETE", path, query={"propagationPolicy": "Background"})


def _owner(job: Object) -> Object:
    return {"apiVersion": "batch/v1", "kind": "Job", "name": job["name"], "uid": job["uid"]}


def _once_ended(cluster: Cluster, namespace: str, job: str, seconds: float) -> list[Object]:
    """The Job's pods once one has ended, or when the time is up. The Job itself says so a second later."""
    deadline = time.monotonic() + seconds
    while True:
        query = {"labelSelector": f"job-name={job}"}
        pods: list[Object] = cluster.list_all(core_path(namespace, "pods"), query).items
        if any(_has_ended(pod) for pod in pods) or time.monotonic() > deadline:
            return pods
        time.sleep(_PAUSE_SECONDS)


def _has_ended(pod: Object) -> bool:
    return pod.get("status", {}).get("phase") in _ENDED


def _log(cluster: Cluster, pods: list[Object]) -> str:
    for pod in filter(_has_ended, pods):
        path = core_path(pod["metadata"]["namespace"], "pods", pod["metadata"]["name"])
        return str(cluster.request("GET", f"{path}/log", query={"limitBytes": _LOG_BYTES}))
    return ""
