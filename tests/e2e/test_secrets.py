"""Canaries: an API key and a token that exist nowhere else are looked for wherever they must not be."""

import base64
import mmap
import threading
import uuid
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Self

import httpx
import pytest
import yaml

from dev.stack import Stack
from tests.e2e import evaluations
from tests.e2e.evaluations import dataset, request
from tests.e2e.observe import Subscriber, wait_for

pytestmark = pytest.mark.e2e


class Watch:
    """Looks at the arguments of every process on this machine and at the stack's Jobs, while it is open."""

    def __init__(self, stack: Stack, canaries: list[bytes]) -> None:
        self._stack = stack
        self._canaries = canaries
        self._closing = threading.Event()
        self._threads = [threading.Thread(target=look) for look in (self._processes, self._objects)]
        self.found: set[str] = set()
        self.seen: set[str] = set()
        """What shows that it looked at the right things: engines in pods, Jobs."""

    def __enter__(self) -> Self:
        """Begin."""
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        """End."""
        self._closing.set()
        for thread in self._threads:
            thread.join()

    def _processes(self) -> None:
        while not self._closing.wait(0.01):
            for path in Path("/proc").glob("[0-9]*/cmdline"):
                with suppress(OSError):
                    self._note(path.read_bytes(), "a process's arguments", b"/budeval")

    def _objects(self) -> None:
        while not self._closing.wait(0.5):
            listed = self._stack.kubectl(1, "get", "jobs,pods,configmaps", "-n", "budeval", "-o", "yaml")
            self._note(listed.encode(), "a Job, pod or ConfigMap", b"OPENAI_API_KEY")

    def _note(self, text: bytes, where: str, sign: bytes) -> None:
        if any(canary in text for canary in self._canaries):
            self.found.add(where)
        if sign in text:
            self.seen.add(where)


def _files_with(directories: list[Path], words: list[bytes]) -> Iterator[Path]:
    """Those that hold one of the words."""
    for path in (path for directory in directories for path in directory.rglob("*")):
        if path.is_file() and not path.is_symlink() and path.stat().st_size:
            with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
                if any(content.find(word) >= 0 for word in words):
                    yield path


def _forms(secret: str) -> list[bytes]:
    """As it is, and as Kubernetes and others write it down."""
    raw = secret.encode()
    return [raw, base64.b64encode(raw)]


@pytest.mark.parametrize("ends", ["well", "badly"])
def test_secrets_are_nowhere_but_where_they_must_be(
    stack: Stack,
    service: httpx.Client,
    subscriber: Subscriber,
    doomed_kubeconfig: str,
    refusing_endpoint: str,
    ends: str,
) -> None:
    """In use not in process arguments, Jobs or ConfigMaps; afterwards in no file, answer or event.

    Looked through are the service's and its sidecar's directories (state store, scheduler, temporary files),
    Redis, the logs of every process, and the claim. The cluster's own etcd and container runtime are not
    ours: what they keep of a deleted Secret is the cluster's business.
    """
    home = stack.layout.directory
    # A service that was killed with its workers, as by other tests, leaves some (docs/operations.md).
    private_before = set((home / "dapr" / "tmp").glob("budeval-run-*"))
    key = f"sk-canary-{uuid.uuid4().hex}"
    token = yaml.safe_load(doomed_kubeconfig)["users"][0]["user"]["token"]
    canaries = _forms(key) + _forms(token)
    endpoint = {"endpoint": refusing_endpoint} if ends == "badly" else {}
    body = request(
        dataset(source={"inline": evaluations.sums(4)}),
        engine="lm-eval",
        api_key=key,
        kubeconfig=doomed_kubeconfig,
        **endpoint,
    )

    with Watch(stack, canaries) as watch:
        eval_id = evaluations.start(service, body)
        state = evaluations.wait_for_end(service, eval_id)
    events = str(wait_for(lambda: subscriber.events(f"eval-{eval_id}"), "events"))
    evaluations.told(subscriber, eval_id)
    answers = [
        service.get(path).text
        for path in (
            *(
                f"/evals/{eval_id}{part}"
                for part in ("", "/results", "/events", "/events/stream", "/receipt")
            ),
            f"/evals/{eval_id}/logs?run_id={body['eval_datasets'][0]['run_id']}",
            f"/workflow/eval-{eval_id}/status",
            "/evals",
        )
    ]

    assert state["outcome"] == ("COMPLETED" if ends == "well" else "FAILED")
    assert watch.seen == {"a process's arguments", "a Job, pod or ConfigMap"}
    assert watch.found == set()
    told = [text for text in (*answers, events) if key in text or token in text]
    assert (told, eval_id in events) == ([], True)
    places = [home / "dapr", home / "redis", home / "log", home / "k1" / "volumes", home / "k1" / "pod-logs"]
    # What was looked through is what holds the evaluation: its state, its events, its logs.
    holding = {path.relative_to(home).parts[0] for path in _files_with(places, [eval_id.encode()])}
    assert holding >= {"dapr", "redis", "log"}
    assert list(_files_with(places, canaries)) == []
    wait_for(
        lambda: set((home / "dapr" / "tmp").glob("budeval-run-*")) <= private_before or None,
        "the private directories of its playbooks to go",
    )
