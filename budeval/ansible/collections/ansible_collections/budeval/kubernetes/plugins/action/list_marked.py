"""List what bears the service's mark in a namespace, and find out which of some Secrets there are."""

from typing import Any

from ansible_collections.budeval.kubernetes.plugins.plugin_utils import removal
from ansible_collections.budeval.kubernetes.plugins.plugin_utils.cluster import (
    ApiError,
    Cluster,
    ClusterAction,
    Object,
)


class ActionModule(ClusterAction):  # type: ignore[misc] # Ansible has no types
    """Arguments: kubeconfig, input_file with {namespace, selector, secrets}.

    `secrets` are names: the identity may not list Secrets, but a deletion that is only tried tells of each
    whether it is there.
    """

    def run(self, _tmp: Any = None, task_vars: dict[str, Any] | None = None) -> Object:
        """{objects: [{kind, name, uid, version, created, labels, owners}], secrets: [{name, uid}], date}."""
        return self.handle(_list, task_vars)


def _list(cluster: Cluster, order: Object) -> Object:
    namespace, selector = order["namespace"], order["selector"]
    listings = {kind: removal.list_of(cluster, namespace, kind, selector) for kind in removal.LISTED}
    objects = [_facts(kind, item["metadata"]) for kind in listings for item in listings[kind].items]
    secrets = [found for name in order["secrets"] if (found := _secret(cluster, namespace, name))]
    return {"objects": objects, "secrets": secrets, "date": listings[removal.JOB].date}


def _facts(kind: str, metadata: Object) -> Object:
    return {
        "kind": kind,
        "name": metadata["name"],
        "uid": metadata["uid"],
        "version": metadata["resourceVersion"],
        "created": metadata["creationTimestamp"],
        "labels": metadata.get("labels", {}),
        "owners": [owner["uid"] for owner in metadata.get("ownerReferences", [])],
    }


def _secret(cluster: Cluster, namespace: str, name: str) -> Object | None:
    wanted = {"kind": removal.SECRET, "name": name}
    try:
        uid = removal.asked_for_deletion(cluster, namespace, wanted, dry_run=True)
    except ApiError as error:
        if error.status != removal.MISSING:
            raise
        return None
    return {"name": name, "uid": uid}
