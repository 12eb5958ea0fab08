"""Delete every object of an evaluation, wait until its pods are gone, and look whether all are."""

from typing import Any

from ansible_collections.budeval.kubernetes.plugins.plugin_utils import removal
from ansible_collections.budeval.kubernetes.plugins.plugin_utils.cluster import (
    Cluster,
    ClusterAction,
    Object,
)


class ActionModule(ClusterAction):  # type: ignore[misc] # Ansible has no types
    """Arguments: kubeconfig, input_file with {namespace, selector, secrets}.

    `secrets` are names: the identity may delete Secrets, not list them.
    """

    def run(self, _tmp: Any = None, task_vars: dict[str, Any] | None = None) -> Object:
        """{receipt: entries as of `removal`, absence: kind -> what shows that no more of it is there}."""
        return self.handle(_remove, task_vars)


def _remove(cluster: Cluster, order: Object) -> Object:
    namespace, selector = order["namespace"], order["selector"]
    # Pods, too: one that has ended goes at once with its Job.
    jobs, maps, pods = (
        removal.listed(removal.list_of(cluster, namespace, kind, selector), kind) for kind in removal.LISTED
    )
    secrets = [{"kind": removal.SECRET, "name": name} for name in order["secrets"]]
    # Secrets and ConfigMaps belong to Jobs, and the garbage collector would take them with those: they come
    # first, so that it is known which Secrets there were.
    asked = removal.delete_all(cluster, namespace, [*secrets, *maps])
    asked += removal.delete_all(cluster, namespace, jobs)
    pods += removal.pods_once_gone(cluster, namespace, selector)
    asked += {pod["uid"]: pod for pod in pods}.values()
    look = removal.LastLook(cluster, namespace, selector)
    receipt = look.receipt(item for item in asked if not _was_never_there(item))
    absence = {**look.absence, removal.SECRET: "The API server answered its deletion with 404."}
    return {"changed": True, "receipt": receipt + _newcomers(look, receipt), "absence": absence}


def _was_never_there(item: Object) -> bool:
    return bool(item["kind"] == removal.SECRET and item.get("status") == removal.MISSING)


def _newcomers(look: removal.LastLook, receipt: list[Object]) -> list[Object]:
    """What somebody has made meanwhile."""
    known = {entry["uid"] for entry in receipt}
    reason = "It was made during the clean-up."
    return [
        {**item, "outcome": "in_use", "reason": reason}
        for uid, item in look.there.items()
        if uid not in known
    ]
