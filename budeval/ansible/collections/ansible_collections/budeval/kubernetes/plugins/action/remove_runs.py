"""Delete every object of an evaluation and wait until its pods are gone."""

import time
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
_WAIT_SECONDS = 40.0
_PAUSE_SECONDS = 0.5


class ActionModule(ClusterAction):  # type: ignore[misc] # Ansible has no types
    """Arguments: kubeconfig, input_file with {namespace, selector, secrets}.

    `secrets` are names: the identity may delete Secrets, not list them.
    """

    def run(self, _tmp: Any = None, task_vars: dict[str, Any] | None = None) -> Object:
        """{receipt: [{kind, name, outcome}]}; outcome is `deleted`, `gone` or what the API server said."""
        return self.handle(_remove, task_vars)


def _remove(cluster: Cluster, order: Object) -> Object:
    namespace, selector = order["namespace"], {"labelSelector": order["selector"]}
    jobs = [item["metadata"]["name"] for item in cluster.list_all(jobs_path(namespace), selector)]
    maps = _names(cluster, namespace, "configmaps", selector)
    # Secrets and ConfigMaps belong to Jobs, and the garbage collector would take them with those: they come
    # first, so that the receipt can say of each that it was deleted.
    parts = [("Secret", core_path(namespace, "secrets", name), name) for name in order["secrets"]]
    parts += [("ConfigMap", core_path(namespace, "configmaps", name), name) for name in maps]
    owners = [("Job", jobs_path(namespace, name), name) for name in jobs]
    with ThreadPoolExecutor(_AT_ONCE) as removers:
        receipt = [
            found
            for objects in (parts, owners)
            for found in removers.map(lambda item: _delete(cluster, *item), objects)
        ]
    receipt += _wait_for_pods(cluster, namespace, selector)
    return {"changed": True, "receipt": [item for item in receipt if item["outcome"] != "gone"]}


def _names(cluster: Cluster, namespace: str, kind: str, selector: Object) -> list[str]:
    return [item["metadata"]["name"] for item in cluster.list_all(core_path(namespace, kind), selector)]


def _delete(cluster: Cluster, kind: str, path: str, name: str) -> Object:
    outcome = "deleted"
    try:
        # Without it the Batch API would orphan a Job's pods.
        cluster.request("DELETE", path, {"propagationPolicy": "Background"})
    except ApiError as error:
        outcome = "gone" if error.status == _MISSING else str(error)[:300]
    return {"kind": kind, "name": name, "outcome": outcome}


def _wait_for_pods(cluster: Cluster, namespace: str, selector: Object) -> list[Object]:
    """Pods end in their grace period; what is still there after that is told."""
    deadline = time.monotonic() + _WAIT_SECONDS
    left = _names(cluster, namespace, "pods", selector)
    seen = set(left)
    while left and time.monotonic() < deadline:
        time.sleep(_PAUSE_SECONDS)
        left = _names(cluster, namespace, "pods", selector)
        seen |= set(left)
    return [
        {"kind": "Pod", "name": name, "outcome": "still ending" if name in left else "deleted"}
        for name in sorted(seen)
    ]
