"""Health and messages on the real Dapr: what is away is named, what was sent is not lost in silence."""

import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from typing import Any
from uuid import uuid4

import httpx
import pytest

from budeval.domain.notification import (
    Announcement,
    NotificationContent,
    NotificationPayload,
    NotificationRequest,
    WorkflowStatus,
)
from budeval.runtime.sidecar import Sidecar
from dev import apps
from dev.stack import Stack
from tests.e2e.evaluations import SIDECAR
from tests.e2e.observe import Subscriber, wait_for

pytestmark = pytest.mark.e2e


@contextmanager
def _frozen(stack: Stack, name: str) -> Iterator[None]:
    """Stop a part in its tracks, as a machine that swaps or a network that hangs would."""
    pid = next(row.pid for row in stack.status() if row.name == name)
    assert pid
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def test_readyz_names_each_dependency(service: httpx.Client) -> None:
    """A ready service reaches sidecar, state store, broker and workflow engine, and knows their versions."""
    answer = service.get("/readyz")

    assert answer.status_code == 200
    versions = {dependency["name"]: dependency["version"] for dependency in answer.json()["dependencies"]}
    assert list(versions) == ["sidecar", "state store", "broker", "workflow engine", "playbooks"]
    assert versions["sidecar"] == "Dapr 1.18.2"
    assert (versions["state store"], versions["broker"]) == ("state.sqlite v1", "pubsub.redis v1")
    assert all(versions.values())


@pytest.mark.parametrize(
    ("part", "dependency"),
    [("redis", "broker"), ("service-sidecar", "sidecar"), ("service-sidecar", "workflow engine")],
)
def test_readyz_names_what_hangs(service: httpx.Client, stack: Stack, part: str, dependency: str) -> None:
    """A dependency that does not answer is named with 503, while the process says that it is alive."""
    with _frozen(stack, part):
        problems = wait_for(lambda: _problems(service), f"readyz to notice that {part} hangs")
        alive = service.get("/healthz")

    assert problems[dependency]
    assert alive.status_code == 200


def test_a_hanging_sidecar_does_not_hang_the_service(service: httpx.Client, stack: Stack) -> None:
    """With many requests that wait for it, each is answered with a code, and `/healthz` all the while."""
    with _frozen(stack, "service-sidecar"), ThreadPoolExecutor(50) as callers:
        answers = [callers.submit(service.post, "/clusters:verify", json={}, timeout=120) for _ in range(50)]
        alive = httpx.get(f"{service.base_url}/healthz", timeout=10)
        codes = {answer.result().json()["code"] for answer in answers}

    assert alive.status_code == 200
    assert codes == {"SIDECAR_UNAVAILABLE"}


def _problems(service: httpx.Client) -> dict[str, str] | None:
    """What an unready service says of each dependency; None while it is ready."""
    answer = service.get("/readyz", timeout=60)
    if answer.status_code != 503:
        return None
    return {item["name"]: item["problem"] for item in answer.json()["dependencies"] if item["problem"]}


@pytest.mark.parametrize("part", ["dapr-placement", "dapr-scheduler"])
def test_readyz_notices_a_dead_control_plane(service: httpx.Client, stack: Stack, part: str) -> None:
    """Without placement or scheduler no workflow runs, so the service is not ready."""
    victim = next(part_ for part_ in stack.parts() if part_.name == part)
    victim.stop()

    problems = wait_for(lambda: _problems(service), f"readyz to notice that {part} is gone", 60)

    assert problems.keys() == {"workflow engine"}
    assert part.removeprefix("dapr-") in problems["workflow engine"]


def test_an_event_that_the_subscriber_refuses_becomes_a_dead_letter(
    service: httpx.Client, subscriber: Subscriber
) -> None:
    """pubsub.redis acknowledges what a handler failed; inbound retry and dead-letter topic keep it."""
    assert service
    sidecar = next(member for member in apps.members() if member.name == "service-sidecar")
    url = f"{sidecar.address}/v1.0/publish/pubsub/budeval-notifications"
    envelope = {"metadata.cloudevent.id": "poison/1"}

    httpx.post(url, params=envelope, json={"payload": "not a notification"}).raise_for_status()

    def arrived() -> bool | None:
        return any(letter.get("id") == "poison/1" for letter in subscriber.dead_letters()) or None

    assert wait_for(arrived, "the dead letter")
    assert subscriber.events("poison") == []


def test_events_that_have_waited_come_in_their_order(
    service: httpx.Client, stack: Stack, subscriber: Subscriber
) -> None:
    """While the subscriber's sidecar hangs they gather at the broker, and are then delivered all at once."""
    assert service
    eval_id, count = str(uuid4()), 60
    content = NotificationContent(title="ETA", message="1", status=WorkflowStatus.RUNNING)
    payload = NotificationPayload(type="evaluate_model", event="eta", workflow_id=eval_id, content=content)
    notification = NotificationRequest(payload=payload)

    with (
        _frozen(stack, "subscriber-sidecar"),
        closing(Sidecar(SIDECAR, "statestore", "pubsub", 10)) as sidecar,
    ):
        for number in range(1, count + 1):
            announcement = Announcement(subject=f"eval-{eval_id}", number=number, notification=notification)
            sidecar.publish(["budeval-notifications"], announcement)

    def arrived() -> list[str] | None:
        ids = [event["id"] for event in subscriber.events(f"eval-{eval_id}")]
        return ids if len(ids) == count else None

    assert wait_for(arrived, "all events") == [f"eval-{eval_id}/{number}" for number in range(1, count + 1)]


def test_the_original_consumers_envelope(subscriber: Subscriber) -> None:
    """Sent bare, a message has the fields that their model knows and no id: Dapr adds only its own.

    The example subscriber wants an id, so the message ends as a dead letter, as it came.
    """
    content = NotificationContent(title="ETA", message="1", status=WorkflowStatus.RUNNING)
    payload = NotificationPayload(
        type="evaluate_model", event="eta", workflow_id=str(uuid4()), content=content
    )
    notification = NotificationRequest(payload=payload)
    announcement = Announcement(subject="bare", number=1, notification=notification)
    with closing(Sidecar(SIDECAR, "statestore", "pubsub", 10, event_format="bud")) as sidecar:
        sidecar.publish(["budeval-notifications"], announcement)

    def arrived() -> dict[str, Any] | None:
        letters = [one for one in subscriber.dead_letters() if _workflow_of(one) == payload.workflow_id]
        return letters[0] if letters else None

    letter = wait_for(arrived, "the bare message")
    ours = {**notification.model_dump(mode="json"), "source_topic": "budeval-notifications"}
    of_dapr = {"specversion", "topic", "pubsubname", "source", "time", "traceid", "traceparent", "tracestate"}
    assert set(letter) == {*ours, "type", *of_dapr}
    assert {name: letter[name] for name in ours} == ours


def _workflow_of(letter: dict[str, Any]) -> object:
    return letter.get("payload", {}).get("workflow_id")
