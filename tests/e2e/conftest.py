"""One real stack for the whole session, brought up here, and the ways to ask its parts.

The test process itself moves into the stack's network namespace, so tests use the parts' own addresses. What
belongs to the host (other stacks, the forwarder) is reached by `HOST.call`. Where the stack cannot run, every
test fails with the reason; none is skipped.
"""

import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from dev import apps
from dev import stack as stacks
from dev.cluster import objects
from dev.layout import StackLayout
from dev.network import HOST
from dev.stack import Stack
from tests.e2e.observe import Subscriber


@pytest.fixture(scope="session")
def stack() -> Iterator[Stack]:
    """This checkout's test stack, with two clusters; taken down at the end."""
    layout = StackLayout.of_checkout("test")
    stacks.down(layout)  # what a session that was killed has left
    try:
        running = stacks.up(layout, clusters=2, kubeconfig=None)
        running.namespace.enter()
        yield running
    finally:
        HOST.enter()
        stacks.down(layout)


@pytest.fixture
def service(stack: Stack) -> Iterator[httpx.Client]:
    """The service's API, inside the namespace."""
    stack.up()  # whatever a test before this one broke
    with httpx.Client(
        base_url=f"http://127.0.0.1:{apps.SERVICE_PORT}", timeout=30, trust_env=False
    ) as client:
        yield client


@pytest.fixture
def results_on_the_claim(stack: Stack) -> Path:
    """Where the shared claim's results lie on the node."""
    stack.up()
    return objects.claim_directory(stack.clusters[0], stack.namespace) / "results"


@pytest.fixture
def subscriber(service: httpx.Client) -> Iterator[Subscriber]:
    """The example subscriber, inside the namespace."""
    assert service  # it is up once the service's fixture is
    url = f"http://127.0.0.1:{apps.SUBSCRIBER_PORT}"
    with httpx.Client(base_url=url, timeout=30, trust_env=False) as client:
        yield Subscriber(client)


_MEMBER = """
apiVersion: v1
kind: ServiceAccount
metadata: {name: doomed, namespace: budeval-system}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: doomed, namespace: budeval}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: budeval-evaluations}
subjects: [{kind: ServiceAccount, name: doomed, namespace: budeval-system}]
"""


@pytest.fixture
def new_kubeconfig(stack: Stack) -> Iterator[Callable[[], str]]:
    """Makes credentials with the service's rights, each with a token of its own, of an account that goes."""
    stack.kubectl(1, "apply", "--filename", "-", stdin=_MEMBER)

    def make() -> str:
        token = stack.kubectl(1, "create", "token", "doomed", "--namespace", "budeval-system").strip()
        document = yaml.safe_load((stack.layout.clusters_directory / "local.yaml").read_text())
        document["users"][0]["user"] = {"token": token}
        return yaml.safe_dump(document)

    yield make
    stack.kubectl(1, "delete", "--ignore-not-found", "--filename", "-", stdin=_MEMBER)


@pytest.fixture
def doomed_kubeconfig(new_kubeconfig: Callable[[], str]) -> str:
    """One of them; its account can be deleted."""
    return new_kubeconfig()


class _RefusingEndpoint(BaseHTTPRequestHandler):
    """An endpoint that wants another key, and echoes the one it got."""

    def do_POST(self) -> None:
        """401, with the key in the answer."""
        body = f'{{"error": {{"message": "bad key {self.headers["Authorization"]}"}}}}'.encode()
        self.send_response(401)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_arguments: Any) -> None:
        """Silence."""


@pytest.fixture
def refusing_endpoint(service: httpx.Client) -> Iterator[str]:
    """Base URL of a server in the stack's namespace that refuses every key."""
    assert service
    with ThreadingHTTPServer(("10.88.0.1", 0), _RefusingEndpoint) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://10.88.0.1:{server.server_address[1]}/v1"
        server.shutdown()
