"""State, messages and health through the sidecar's HTTP API."""

import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from budeval.domain.notification import (
    Announcement,
    NotificationContent,
    NotificationPayload,
    NotificationRequest,
    WorkflowStatus,
)
from budeval.errors import SidecarError
from budeval.runtime.sidecar import Sidecar
from tests.runtime.fake_dapr import FakeDapr

_VALUES = [{"a": [1, None, "ü"]}, [], "", 0, False]
_CALLS: dict[str, Callable[[Sidecar], object]] = {
    "get_state": lambda sidecar: sidecar.get_state("key"),
    "save_state": lambda sidecar: sidecar.save_state("key", 1),
    "save_state_first": lambda sidecar: sidecar.save_state_first("key", 1),
    "announce": lambda sidecar: sidecar.announce(["topic"], _announcement()),
    "check_alive": lambda sidecar: sidecar.check_alive(),
    "check_state_store": lambda sidecar: sidecar.check_state_store(),
    "check_broker": lambda sidecar: sidecar.check_broker(),
    "check_workers": lambda sidecar: sidecar.check_workers(),
}
_CALL_CASES = pytest.mark.parametrize("call", _CALLS.values(), ids=_CALLS.keys())


def _announcement(message: str = "Looking.") -> Announcement:
    content = NotificationContent(title="Verifying", message=message, status=WorkflowStatus.RUNNING)
    payload = NotificationPayload(
        type="verify_cluster", event="verify", workflow_id="verify-1", content=content
    )
    return Announcement(subject="verify-1", number=2, notification=NotificationRequest(payload=payload))


@pytest.mark.parametrize("value", _VALUES, ids=repr)
@pytest.mark.parametrize("key", ["plain", "with space", "a/b?c#d", "100%"])
def test_what_is_saved_is_read_back(key: str, value: Any) -> None:
    """Any JSON value under any key, whatever characters it has."""
    sidecar = FakeDapr().client()

    sidecar.save_state(key, value)

    assert sidecar.get_state(key) == value


def test_a_key_that_was_never_written_is_none() -> None:
    """An empty answer is no value, not an error."""
    assert FakeDapr().client().get_state("nothing") is None


def test_a_later_write_replaces_the_earlier_one() -> None:
    """`save_state` writes whatever was there."""
    dapr = FakeDapr(state={"key": "old"})

    dapr.client().save_state("key", "new")

    assert dapr.state == {"key": "new"}


@pytest.mark.parametrize(
    ("dapr", "now"),
    [
        (FakeDapr(), "mine"),
        (FakeDapr(state={"key": "theirs"}), "theirs"),
        (FakeDapr(rival="theirs"), "theirs"),
    ],
    ids=["free", "taken", "taken-meanwhile"],
)
def test_the_first_write_wins(dapr: FakeDapr, now: str) -> None:
    """A value that is there stays and is returned, also when it came between our look and our write."""
    returned = dapr.client().save_state_first("key", "mine")

    assert returned == now
    assert dapr.state["key"] == now


def test_an_announcement_is_stored_and_published() -> None:
    """The message carries the notification as its data and an id that consumers can tell repetitions by."""
    dapr = FakeDapr()

    dapr.client().announce(["news"], _announcement())

    (message,) = dapr.messages
    assert message.url.path == "/v1.0/publish/broker/news"
    assert message.url.params["metadata.cloudevent.id"] == "verify-1/2"
    assert message.url.params["metadata.cloudevent.source"] == "budeval"
    assert message.url.params["metadata.cloudevent.type"] == "verify_cluster"
    assert message.headers["content-type"] == "application/json"
    assert json.loads(message.content) == _announcement().notification.model_dump(mode="json")
    assert dapr.state == {"event-verify-1-2": _announcement().model_dump(mode="json")}


def test_a_repeated_announcement_publishes_the_same_again() -> None:
    """An activity may run twice: what was stored first is published, not what the repetition brings."""
    dapr = FakeDapr()
    sidecar = dapr.client()

    sidecar.announce(["news"], _announcement("Looking."))
    sidecar.announce(["news"], _announcement("Something else."))

    first, again = dapr.messages
    assert (again.url, again.content) == (first.url, first.content)


def test_nothing_is_published_that_is_not_stored() -> None:
    """While the state store is away an announcement fails before anybody hears it."""
    dapr = FakeDapr(refused={"/v1.0/state": 500})

    with pytest.raises(SidecarError):
        dapr.client().announce(["news"], _announcement())

    assert dapr.messages == []


@_CALL_CASES
def test_a_healthy_sidecar_is_no_problem(call: Callable[[Sidecar], object]) -> None:
    """No call raises while all is well."""
    call(FakeDapr().client())


@_CALL_CASES
def test_a_sidecar_that_is_away_has_a_name(call: Callable[[Sidecar], object]) -> None:
    """Every call ends in SidecarError, which tells what was tried."""
    with pytest.raises(SidecarError, match=r"/v1\.0/.* ConnectError Connection refused") as failed:
        call(FakeDapr(unreachable=True).client())

    assert failed.value.code == "SIDECAR_UNAVAILABLE"


@_CALL_CASES
@pytest.mark.parametrize("status", [400, 403, 500])
def test_a_refusal_is_told_with_the_sidecars_words(call: Callable[[Sidecar], object], status: int) -> None:
    """Status and error code of the sidecar are in the message."""
    with pytest.raises(SidecarError, match=f"answered {status}.*ERR_ON_PURPOSE"):
        call(FakeDapr(refused={"/v1.0": status}).client())


@pytest.mark.parametrize("check", ["check_state_store", "check_broker"])
def test_each_check_uses_what_it_checks(check: str) -> None:
    """The state store is written to and the broker is sent a message: only that proves them."""
    dapr = FakeDapr()

    getattr(dapr.client(), check)()

    assert bool(dapr.state) == (check == "check_state_store")
    assert bool(dapr.messages) == (check == "check_broker")


def test_a_state_store_that_forgets_is_a_problem() -> None:
    """A write that was taken is read back before the store is called healthy."""
    with pytest.raises(SidecarError, match="state store"):
        FakeDapr(forgetful=True).client().check_state_store()


@pytest.mark.parametrize(
    ("metadata", "problem"),
    [
        ({}, "worker"),
        ({"workflows": {"connectedWorkers": 0}, "actorRuntime": {"hostReady": True}}, "worker"),
        (
            {
                "workflows": {"connectedWorkers": 1},
                "actorRuntime": {"hostReady": False, "placement": "disconnected"},
            },
            r"placement .*\(disconnected\)",
        ),
        ({"workflows": {"connectedWorkers": 1}}, r"placement .*\(unknown\)"),
    ],
    ids=["nothing", "no-worker", "no-placement", "no-actors"],
)
def test_a_missing_worker_or_placement_is_a_problem(metadata: dict[str, Any], problem: str) -> None:
    """The sidecar's metadata tell whether workflows can run, and the problem says what is missing."""
    with pytest.raises(SidecarError, match=problem):
        FakeDapr(metadata=metadata).client().check_workers()


def test_proxies_of_the_environment_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sidecar is on the same host: what it is sent never goes through a proxy."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    sidecar = Sidecar("http://dapr", "store", "broker", 1.0)

    mounts = sidecar._http._mounts

    assert mounts == {}
    sidecar.close()


def test_a_closed_sidecar_has_closed_its_connections() -> None:
    """After `close` the transport is closed, and nothing more can be sent."""

    class FakeTransport(httpx.BaseTransport):
        closed = False

        def close(self) -> None:
            self.closed = True

    transport = FakeTransport()
    sidecar = Sidecar("http://dapr", "store", "broker", 1.0, transport=transport)

    sidecar.close()

    assert transport.closed
