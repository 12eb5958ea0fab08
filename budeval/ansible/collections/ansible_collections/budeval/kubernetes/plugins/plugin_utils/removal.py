"""Deleting objects, and looking afterwards whether they are gone.

An object is {kind, name, uid?, version?}: with them it is deleted only if it is still that object, in that
version. Of each comes an entry of a receipt: {kind, name, uid, outcome, proof or reason}.
"""

import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from ansible_collections.budeval.kubernetes.plugins.plugin_utils.cluster import (
    METADATA_ONLY,
    ApiError,
    Cluster,
    Listing,
    Object,
    core_path,
    jobs_path,
)

JOB, POD, CONFIG_MAP, SECRET = "Job", "Pod", "ConfigMap", "Secret"
LISTED = (JOB, CONFIG_MAP, POD)
"""Kinds that the service's identity may list. Secrets it can make and delete only."""
MISSING = 404
CONFLICT = 409

_AT_ONCE = 8
_WAIT_SECONDS = 40.0
_PAUSE_SECONDS = 0.5
_LONGEST_REASON = 300
_PLURALS = {POD: "pods", CONFIG_MAP: "configmaps", SECRET: "secrets"}


def path_of(namespace: str, kind: str, name: str = "") -> str:
    """Of the objects of a kind, or of one of them."""
    path: str = jobs_path(namespace, name) if kind == JOB else core_path(namespace, _PLURALS[kind], name)
    return path


def delete_all(cluster: Cluster, namespace: str, items: Iterable[Object]) -> list[Object]:
    """Ask for the deletion of objects, several at once; see `delete`."""
    with ThreadPoolExecutor(_AT_ONCE) as removers:
        return list(removers.map(lambda item: delete(cluster, namespace, item), items))


def delete(cluster: Cluster, namespace: str, item: Object) -> Object:
    """Ask for the deletion of an object: the item with its uid, or with `status` and `refused`."""
    try:
        uid = asked_for_deletion(cluster, namespace, item)
    except ApiError as error:
        return {**item, "status": error.status, "refused": error.in_words[:_LONGEST_REASON]}
    return {**item, "uid": uid}


def asked_for_deletion(
    cluster: Cluster, namespace: str, item: Object, *, dry_run: bool = False
) -> str | None:
    """The uid of what is deleted, or would be. Raises ApiError."""
    conditions = {"uid": item.get("uid"), "resourceVersion": item.get("version")}
    # Without a propagation the Batch API would orphan a Job's pods.
    options: Object = {"propagationPolicy": "Background"}
    options["preconditions"] = {name: value for name, value in conditions.items() if value}
    if dry_run:
        options["dryRun"] = ["All"]
    answer = cluster.request("DELETE", path_of(namespace, item["kind"], item["name"]), options)
    return item.get("uid") or _uid_in(answer)


def _uid_in(answer: Any) -> str | None:
    """Of what was deleted: in a Status where it is gone already, else it is the object itself."""
    found: str | None = (answer.get("details") or answer.get("metadata") or {}).get("uid")
    return found


def pods_once_gone(
    cluster: Cluster, namespace: str, selector: str, uids: set[str] | None = None
) -> list[Object]:
    """Wait for the end of pods, at most their grace period.

    Args:
        cluster: where.
        namespace: where.
        selector: of pods.
        uids: only of these; None for all that are selected.

    Returns:
        All that were seen.
    """
    seen: dict[str, Object] = {}
    deadline = time.monotonic() + _WAIT_SECONDS
    while True:
        pods = listed(list_of(cluster, namespace, POD, selector), POD)
        there = {pod["uid"]: pod for pod in pods if uids is None or pod["uid"] in uids}
        seen |= there
        if not there or time.monotonic() > deadline:
            return list(seen.values())
        time.sleep(_PAUSE_SECONDS)


def list_of(cluster: Cluster, namespace: str, kind: str, selector: str) -> Listing:
    """The metadata of all objects of a kind that a selector selects."""
    return cluster.list_all(path_of(namespace, kind), {"labelSelector": selector}, METADATA_ONLY)


def listed(listing: Listing, kind: str) -> list[Object]:
    """What was listed, as objects to be deleted."""
    metas = [item["metadata"] for item in listing.items]
    return [{"kind": kind, "name": meta["name"], "uid": meta["uid"]} for meta in metas]


class LastLook:
    """What is left when all was deleted that was asked for."""

    def __init__(self, cluster: Cluster, namespace: str, selector: str) -> None:
        self._cluster = cluster
        self._namespace = namespace
        listings = {kind: list_of(cluster, namespace, kind, selector) for kind in LISTED}
        self.there = {item["uid"]: item for kind in LISTED for item in listed(listings[kind], kind)}
        self.absence = {
            kind: f"The API server's list of {kind}s at resource version {listing.version} did not have it."
            for kind, listing in listings.items()
        }
        """What shows that an object of a kind is not there."""

    def receipt(self, items: Iterable[Object]) -> list[Object]:
        """Of each what became of it."""
        with ThreadPoolExecutor(_AT_ONCE) as lookers:
            return list(lookers.map(self._entry, items))

    def _entry(self, item: Object) -> Object:
        entry = {"kind": item["kind"], "name": item["name"], "uid": item.get("uid")}
        proof = self._absence_of_secret(item) if item["kind"] == SECRET else self._absence_of(item)
        if proof:
            return {**entry, "outcome": "deleted", "proof": proof}
        if item.get("refused"):
            return {**entry, "outcome": "refused", "reason": item["refused"]}
        return {**entry, "outcome": "ending", "reason": "It is being deleted, and was still there."}

    def _absence_of(self, item: Object) -> str | None:
        return None if item["uid"] in self.there else self.absence[item["kind"]]

    def _absence_of_secret(self, item: Object) -> str | None:
        """It cannot be listed: a second deletion of the same one must find none."""
        status = item.get("status") or delete(self._cluster, self._namespace, item).get("status")
        if status == MISSING:
            return "The API server answered another deletion with 404: there is none of that name."
        if status == CONFLICT:
            return "The API server answered another deletion with 409: what has the name now is another one."
        return None
