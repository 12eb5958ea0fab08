"""List Jobs, their newest pods and warnings about them, and read the tails of their logs in parallel."""

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from typing import Any

from ansible_collections.budeval.kubernetes.plugins.plugin_utils.cluster import (
    ApiError,
    Cluster,
    ClusterAction,
    Object,
    core_path,
    jobs_path,
)

_LOG_READERS = 8
_RUNNING_TAIL = {"tailLines": 100, "limitBytes": 1024 * 1024}
_ENDED_TAIL = {"tailLines": 1000, "limitBytes": 4 * 1024 * 1024}
_LOG_BYTES = 64 * 1024
_EVENTS = 5
_EVAL, _RUN, _ATTEMPT = ("budeval.dev/eval-id", "budeval.dev/run-id", "budeval.dev/attempt")


class ActionModule(ClusterAction):  # type: ignore[misc] # Ansible has no types
    """Arguments: kubeconfig, input_file with {namespace, selector, evaluations, settled}.

    Only runs of the listed evaluations are looked at; logs of settled runs, [[eval_id, run_id], …], are not
    read again.
    """

    def run(self, _tmp: Any = None, task_vars: dict[str, Any] | None = None) -> Object:
        """{jobs: [facts]}, one for each run: that of its newest attempt."""
        return self.handle(_observe, task_vars)


def _observe(cluster: Cluster, order: Object) -> Object:
    namespace, selector = order["namespace"], {"labelSelector": order["selector"]}
    wanted = set(order["evaluations"])
    listed = cluster.list_all(jobs_path(namespace), selector).items
    jobs = _newest_attempts(job for job in listed if job["metadata"]["labels"][_EVAL] in wanted)
    pods = _newest_pods(cluster.list_all(core_path(namespace, "pods"), selector).items)
    facts = [_facts_of(job, pods.get(job["metadata"]["uid"])) for job in jobs]
    if any(not item["complete"] and _waits(item) for item in facts):
        _add_events(cluster, namespace, facts)
    settled = {tuple(pair) for pair in order["settled"]}
    unread = [item for item in facts if item["pod"] and (item["eval_id"], item["run_id"]) not in settled]
    with ThreadPoolExecutor(_LOG_READERS) as readers:
        logs = readers.map(lambda item: _log(cluster, namespace, item), unread)
        for item, log in zip(unread, logs, strict=True):
            item.update(log)
    return {"jobs": facts}


def _newest_attempts(jobs: Iterable[Object]) -> list[Object]:
    newest: dict[tuple[str, str], Object] = {}
    for job in jobs:
        labels = job["metadata"]["labels"]
        if _RUN not in labels:
            continue
        key = (labels[_EVAL], labels[_RUN])
        if key not in newest or _attempt(job) > _attempt(newest[key]):
            newest[key] = job
    return list(newest.values())


def _attempt(job: Object) -> int:
    return int(job["metadata"]["labels"].get(_ATTEMPT, "1"))


def _newest_pods(pods: Iterable[Object]) -> dict[str, Object]:
    """Job uid -> its newest pod."""
    newest: dict[str, Object] = {}
    for pod in pods:
        for owner in pod["metadata"].get("ownerReferences", []):
            other = newest.get(owner["uid"])
            if (
                other is None
                or pod["metadata"]["creationTimestamp"] >= other["metadata"]["creationTimestamp"]
            ):
                newest[owner["uid"]] = pod
    return newest


def _facts_of(job: Object, pod: Object | None) -> Object:
    metadata, status = job["metadata"], job.get("status", {})
    conditions = {item["type"]: item for item in status.get("conditions", []) if item["status"] == "True"}
    failed = conditions.get("Failed", {})
    ended = conditions.get("Complete") or failed
    return {
        "eval_id": metadata["labels"][_EVAL],
        "run_id": metadata["labels"][_RUN],
        "name": metadata["name"],
        "uid": metadata["uid"],
        "created": metadata["creationTimestamp"],
        "started": status.get("startTime"),
        "ended": status.get("completionTime") or ended.get("lastTransitionTime"),
        "complete": "Complete" in conditions,
        "failed": failed.get("reason"),
        "failed_message": failed.get("message"),
        "pod": _pod_facts(pod) if pod else None,
        "events": [],
        "log": None,
    }


def _pod_facts(pod: Object) -> Object:
    status = pod.get("status", {})
    conditions = {item["type"]: item for item in status.get("conditions", [])}
    scheduled = conditions.get("PodScheduled", {})
    containers = status.get("containerStatuses", [])
    return {
        "name": pod["metadata"]["name"],
        "uid": pod["metadata"]["uid"],
        "phase": status.get("phase", "Pending"),
        "reason": status.get("reason"),
        "message": status.get("message"),
        "unschedulable": scheduled.get("message") if scheduled.get("status") == "False" else None,
        "image": containers[0].get("image") if containers else None,
        "image_id": containers[0].get("imageID") if containers else None,
        "container": _container_facts(containers),
    }


def _container_facts(statuses: list[Object]) -> Object:
    state = statuses[0]["state"] if statuses else {}
    waiting, ended = state.get("waiting", {}), state.get("terminated", {})
    return {
        "waiting": waiting.get("reason"),
        "message": waiting.get("message"),
        "exit_code": ended.get("exitCode"),
        "reason": ended.get("reason"),
        "termination": ended.get("message"),
    }


def _waits(facts: Object) -> bool:
    return facts["pod"] is None or facts["pod"]["phase"] == "Pending"


def _add_events(cluster: Cluster, namespace: str, facts: list[Object]) -> None:
    """Warnings about the Jobs and pods that wait: why no pod is made, why a volume is not mounted."""
    about: dict[str, Object] = {item["uid"]: item for item in facts if _waits(item)}
    about |= {item["pod"]["uid"]: item for item in about.values() if item["pod"]}
    warnings = cluster.list_all(core_path(namespace, "events"), {"fieldSelector": "type=Warning"})
    for event in sorted(warnings.items, key=_event_time):
        item = about.get(event["involvedObject"].get("uid", ""))
        if item:
            said = f"{event['reason']}: {event.get('message', '')}"
            item["events"] = [*item["events"], said][-_EVENTS:]


def _event_time(event: Object) -> str:
    return str(event.get("lastTimestamp") or event.get("eventTime") or "")


def _log(cluster: Cluster, namespace: str, facts: Object) -> Object:
    """{log: the tail of a pod's log, or None where there is none yet, or none any more; log_unread}."""
    if facts["pod"]["phase"] == "Pending":
        return {}
    tail = _ENDED_TAIL if facts["complete"] or facts["failed"] else _RUNNING_TAIL
    path = core_path(namespace, "pods", facts["pod"]["name"]) + "/log"
    try:
        text = cluster.request("GET", path, query=tail)
    except ApiError as error:
        return {"log_unread": error.status != HTTPStatus.NOT_FOUND}
    return {"log": _whole_words(str(text), tail["limitBytes"])}


def _whole_words(text: str, limit: int) -> str:
    """The end of a log without torn words: a secret is not recognised by its half."""
    if len(text.encode()) >= limit:
        text = text.rsplit(maxsplit=1)[0]
    if len(text) > _LOG_BYTES:
        text = text[-_LOG_BYTES:].split(maxsplit=1)[-1]
    return text
