"""Delete objects that `list_marked` has listed, only as they were then, and look whether they are gone."""

from typing import Any

from ansible_collections.budeval.kubernetes.plugins.plugin_utils import removal
from ansible_collections.budeval.kubernetes.plugins.plugin_utils.cluster import (
    Cluster,
    ClusterAction,
    Object,
)


class ActionModule(ClusterAction):  # type: ignore[misc] # Ansible has no types
    """Arguments: kubeconfig, input_file with {namespace, selector, objects}.

    Each object: {kind, name, uid, version, owners}; `owners` are the uids of the Jobs that it belongs to.
    """

    def run(self, _tmp: Any = None, task_vars: dict[str, Any] | None = None) -> Object:
        """{receipt: entries as of `removal`}, one for each object."""
        return self.handle(_remove, task_vars)


def _remove(cluster: Cluster, order: Object) -> Object:
    namespace, selector = order["namespace"], order["selector"]
    jobs = [item for item in order["objects"] if item["kind"] == removal.JOB]
    parts = [item for item in order["objects"] if item["kind"] != removal.JOB]
    # The Jobs first, and in the version that was listed: whoever takes one over writes to it (`deploy_runs`),
    # and then all that belongs to it is his, too. What is made anew has another uid.
    asked = removal.delete_all(cluster, namespace, jobs)
    there = removal.listed(removal.list_of(cluster, namespace, removal.JOB, selector), removal.JOB)
    staying = {item["uid"] for item in asked if item.get("refused")} & {job["uid"] for job in there}
    kept = [item for item in parts if staying & set(item["owners"])]
    asked += removal.delete_all(
        cluster, namespace, [{**item, "version": None} for item in parts if item not in kept]
    )
    pods = {item["uid"] for item in asked if item["kind"] == removal.POD}
    removal.pods_once_gone(cluster, namespace, selector, pods)
    receipt = removal.LastLook(cluster, namespace, selector).receipt(asked)
    return {"changed": True, "receipt": receipt + [_kept(item) for item in kept]}


def _kept(item: Object) -> Object:
    entry = {"kind": item["kind"], "name": item["name"], "uid": item["uid"]}
    return {**entry, "outcome": "refused", "reason": "Its Job stays."}
