"""What is seen from outside while a stack is being broken: events, Jobs, and what stays."""

import base64
import json
import sqlite3
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx

from budeval.domain.evaluation import EvaluationRecord
from budeval.engines.manifests import ATTEMPT_LABEL, EVAL_LABEL, MANAGED_BY, RUN_LABEL
from dev.chaos.faults import playbooks
from dev.chaos.verdict import Delivery, Observed
from dev.cluster import api, objects
from dev.errors import DevError
from dev.layout import ClusterLayout
from dev.stack import Stack

_WATCH_SECONDS = 6
_CONNECT_SECONDS = 5.0
"""Short: what is sent to a network that is cut is repeated ever more seldom, also once it is there again."""
_PATIENCE = httpx.Timeout(_WATCH_SECONDS, connect=_CONNECT_SECONDS)
_QUIET_SECONDS = 780.0
"""What a request left that was cut off is removed after ten minutes."""
Stored = dict[str, tuple[str, int]]
"""The state store: name of a value -> itself, and whether it is in base64. Those of workflows have several
parts, divided by `||`."""

_KINDS = "jobs,pods,configmaps,secrets,persistentvolumeclaims,networkpolicies"


def deliveries(received: Path) -> tuple[list[Delivery], list[str]]:
    """All arrivals at the subscriber, repetitions too, and the ids of dead letters; from its log."""
    arrived, dead = [], []
    for line in received.read_text().splitlines():
        event = json.loads(line)
        subject, _, number = str(event["id"]).rpartition("/")
        if event["dead"] or not number.isdigit():
            dead.append(str(event["id"]))
        else:
            arrived.append(
                Delivery(subject, int(number), str(event["event"]), str(event["status"]), event["digest"])
            )
    return arrived, dead


class JobWatch:
    """Notes every Job that is made for a run; outages of the API server hide none.

    A watch goes on from the version it has seen last, which etcd keeps for five minutes.
    """

    def __init__(self, cluster: ClusterLayout, observed: Observed) -> None:
        self._cluster = cluster
        self._url = f"{cluster.server}/apis/batch/v1/namespaces/budeval/jobs"
        self._jobs = observed.jobs
        self._stopped = threading.Event()
        self._pool = ThreadPoolExecutor(1)
        self.gaps = 0
        """How often a version was no longer kept, as after each start of the API server.

        Then all Jobs are listed anew, and one that came and went since the last word of the watch is missed.
        It cannot be one of a run that has completed. While the server is away no Job is made or removed.
        Before and after, the watch is blind for seconds at most: it asks twice a second, and gives up a
        connection that does not come about after five. Such a Job stays for longer: until the clean-up,
        before which its pod has run an engine to the end, a look has seen that, and the pod of another Job
        has read the scores. What was cancelled as soon as it was made can be missed: of that nobody
        demands a Job.
        """

    def start(self) -> None:
        """In the background, in the calling thread's network namespace."""
        self._watching = self._pool.submit(self._watch)

    def stop(self) -> None:
        """Wait for its end, some seconds.

        Raises:
            Exception: a mistake of ours has ended it before: nobody knows what came since.
        """
        self._stopped.set()
        self._pool.shutdown()
        self._watching.result()

    def _watch(self) -> None:
        version = ""
        while not self._stopped.is_set():
            try:
                with api.client(self._cluster, timeout=_PATIENCE) as client:
                    version = version or self._list(client)
                    for change in self._changes(client, version):
                        version = self._note(change)
            except (httpx.HTTPError, OSError, json.JSONDecodeError):  # the last: a line that was cut off
                self._stopped.wait(0.5)

    def _list(self, client: httpx.Client) -> str:
        answer = client.get(self._url, params={"labelSelector": RUN_LABEL}).raise_for_status().json()
        for job in answer["items"]:
            self._note_job(job)
        return str(answer["metadata"]["resourceVersion"])

    def _changes(self, client: httpx.Client, version: str) -> Iterator[dict[str, Any]]:
        asked = {
            "watch": "1",
            "labelSelector": RUN_LABEL,
            "resourceVersion": version,
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(_WATCH_SECONDS // 2),
        }
        with client.stream("GET", self._url, params=asked) as answer:
            answer.raise_for_status()
            for line in answer.iter_lines():
                yield json.loads(line)

    def _note(self, change: dict[str, Any]) -> str:
        """The version to go on from; empty where a new list is needed."""
        if change["type"] == "ERROR":
            self.gaps += 1
            return ""
        if change["type"] != "BOOKMARK":
            self._note_job(change["object"])
        return str(change["object"]["metadata"]["resourceVersion"])

    def _note_job(self, job: dict[str, Any]) -> None:
        labels, uid = job["metadata"]["labels"], job["metadata"]["uid"]
        key = (labels[EVAL_LABEL], labels[RUN_LABEL], int(labels[ATTEMPT_LABEL]))
        self._jobs.setdefault(key, set()).add(uid)


def leftovers(stack: Stack, state: Path) -> list[str]:
    """What is there of evaluations though all have ended, once it does not get less any more.

    Args:
        stack: up.
        state: the state store's file.
    """
    deadline = time.monotonic() + _QUIET_SECONDS
    while True:
        stored = _stored(state)
        left = [*_objects(stack), *_in_state(stored), *_of_playbooks(stack), *_on_claim(stack, stored)]
        if not left or time.monotonic() > deadline:
            return left
        time.sleep(5)


def _objects(stack: Stack) -> list[str]:
    """Of all clusters' objects, those that bear the service's mark."""
    selector = f"--selector={MANAGED_BY}=budeval"
    try:
        return stack.kubectl(1, "get", _KINDS, "-n", "budeval", selector, "-o", "name").split()
    except DevError as error:
        return [str(error)]


def _of_playbooks(stack: Stack) -> list[str]:
    directories = (stack.layout.directory / "dapr" / "tmp").glob("budeval-run-*")
    return [*map(str, directories), *(f"playbook {record.pid}" for record in playbooks(stack))]


def _on_claim(stack: Stack, stored: Stored) -> list[str]:
    cluster = stack.clusters[0]
    try:
        claim = objects.claim_directory(cluster, stack.namespace_of(cluster))
    except DevError as error:
        return [str(error)]
    return list(_files_of_deleted(stored, claim / "results"))


def _files_of_deleted(stored: Stored, results: Path) -> Iterator[str]:
    """What deleted evaluations have on the claim. Kubernetes' directory for it stays, empty."""
    for eval_id in _deleted(stored):
        if any((results / eval_id).glob("*")):
            yield f"files of the deleted {eval_id}"


def _stored(path: Path) -> Stored:
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=10)) as database:
        rows = database.execute("SELECT key, value, is_binary FROM state").fetchall()
    return {str(key).partition("||")[2]: (value, is_binary) for key, value, is_binary in rows}


def _in_state(stored: Stored) -> Iterator[str]:
    """What the state store keeps and should not.

    Whatever is of a deleted evaluation, but its tombstone; secrets, requests that are still coming in,
    evaluations that are still listed as active, and inline rows that no record tells of. A record keeps its
    own for a retry; a request that came several times has kept rows each time under another name, of which
    all but the record's are to be removed.
    """
    deleted = _deleted(stored)
    kept = {f"eval-{eval_id}" for eval_id in deleted}
    kept |= {name for record in _records(stored) for name in _rows_of(record)}
    for name, value in stored.items():
        if name in kept:
            continue
        if name.startswith(("sealed-", "dataset-")) or any(eval_id in name for eval_id in deleted):
            yield f"state {name}"
        elif name.startswith("arriving-"):
            yield from (f"request that comes in {arrival}" for arrival in _content(*value) or {})
        elif name.startswith("active-"):
            yield from (f"active evaluation {eval_id}" for eval_id in _content(*value) or [])


def _records(stored: Stored) -> list[Any]:
    """Of evaluations; of those that were deleted their tombstones."""
    return [_content(*value) for name, value in stored.items() if name.startswith("eval-")]


def _deleted(stored: Stored) -> list[str]:
    return [record["eval_id"] for record in _records(stored) if "evaluation" not in record]


def _rows_of(stored: Any) -> Iterator[str]:
    """Under which names a record's inline rows are kept; a tombstone tells of none."""
    if "evaluation" in stored:
        record = EvaluationRecord.model_validate(stored)
        for run in record.evaluation.runs:
            if run.own and run.own.digest:
                yield f"dataset-{record.rows_kept_as}-{run.own.digest}"


def _content(value: str, is_binary: int) -> Any:
    return json.loads(base64.b64decode(value) if is_binary else value)
