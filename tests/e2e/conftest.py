"""One real stack for the whole session, brought up here, and the ways to ask its parts.

The test process itself moves into the stack's network namespace, so tests use the parts' own addresses. What
belongs to the host (other stacks, the forwarder) is reached by `HOST.call`. Where the stack cannot run, every
test fails with the reason; none is skipped.
"""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from dev import apps
from dev import stack as stacks
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
    claim = ("get", "pvc", "eval-datasets-pvc-rwx", "-n", "budeval")
    volume = stack.kubectl(1, *claim, "-o", "jsonpath={.spec.volumeName}")
    path = stack.kubectl(1, "get", "pv", volume, "-o", "jsonpath={.spec.hostPath.path}{.spec.local.path}")
    return Path(path) / "results"


@pytest.fixture
def subscriber(service: httpx.Client) -> Iterator[Subscriber]:
    """The example subscriber, inside the namespace."""
    assert service  # it is up once the service's fixture is
    url = f"http://127.0.0.1:{apps.SUBSCRIBER_PORT}"
    with httpx.Client(base_url=url, timeout=30, trust_env=False) as client:
        yield Subscriber(client)
