"""`budeval doctor`: everything that somebody who uses a service needs, part by part."""

import time
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, version

from budeval.client import BudevalClient, ServiceUnreachableError
from budeval.domain.notification import ENDED
from budeval.errors import BudevalError
from budeval.evals.answers import Check, WorkflowState

_VERIFY_SECONDS = 180.0


def examine(client: BudevalClient, cluster: str | None, namespace: str | None) -> Iterator[Check]:
    """Each part with its state and, if it is not well, what to do. Ends early where nobody answers."""
    try:
        found = client.version()
    except ServiceUnreachableError as error:
        yield _failed("service", error)
        return
    except BudevalError as error:
        yield _failed("service", error)
        found = "of unknown version"
    else:
        yield Check(name="service", ok=True, message=f"answers; version {found}")
    yield _versions(found)
    yield from _dependencies(client)
    yield _checked("engines", lambda: _engines(client))
    yield _checked("cluster", lambda: _cluster(client, cluster, namespace))


def _checked(name: str, check: Callable[[], str]) -> Check:
    try:
        return Check(name=name, ok=True, message=check())
    except BudevalError as error:
        return _failed(name, error)


def _failed(name: str, error: BudevalError) -> Check:
    return Check(name=name, ok=False, code=error.code, message=error.message)


def _versions(service: str) -> Check:
    """Another version of the command is told, but is no fault: the API is versioned by its fields."""
    try:
        ours = version("budeval")
    except PackageNotFoundError:
        return Check(
            name="versions", ok=True, message=f"service {service}, this command runs from a checkout"
        )
    advice = "" if ours == service else "; install the service's if something is not understood"
    return Check(name="versions", ok=True, message=f"service {service}, this command {ours}{advice}")


def _dependencies(client: BudevalClient) -> Iterator[Check]:
    try:
        readiness = client.ready()
    except BudevalError as error:
        yield _failed("dependencies", error)
        return
    for dependency in readiness.dependencies:
        advice = "; whoever runs the service must see to it"
        known = f", {dependency.version}" if dependency.version else ""
        message = f"{dependency.problem}{advice}" if dependency.problem else f"reached{known}"
        yield Check(name=dependency.name, ok=dependency.problem is None, message=message)


def _engines(client: BudevalClient) -> str:
    engines = client.engines()
    if not engines:
        raise BudevalError(
            "The service has no engine. Whoever runs it must configure one.", code="ENGINE_UNKNOWN"
        )
    return ", ".join(
        f"{engine.name} ({engine.image}) with {engine.stock_datasets} stock datasets" for engine in engines
    )


def _cluster(client: BudevalClient, cluster: str | None, namespace: str | None) -> str:
    """Verify it as an evaluation would.

    Raises:
        BudevalError: evaluations cannot run there; the message says what to do.
    """
    started = client.verify_cluster(cluster, namespace)
    state = _ended(client, started.workflow_id)
    found = state.verification
    if found is None:
        code, _, message = (state.error or f"INTERNAL: The verification is {state.status}.").partition(": ")
        raise BudevalError(message, code=code)
    if not found.ok:
        raise BudevalError(found.message, code=found.code)
    where = f"{found.target.cluster}/{found.target.namespace}"
    return f"{where}, Kubernetes {found.server_version}, claim {found.claim} {found.claim_phase}"


def _ended(client: BudevalClient, workflow_id: str) -> WorkflowState:
    deadline = time.monotonic() + _VERIFY_SECONDS
    while True:
        state = client.workflow(workflow_id)
        if state.status in ENDED or time.monotonic() > deadline:
            return state
        time.sleep(client.poll_seconds)
