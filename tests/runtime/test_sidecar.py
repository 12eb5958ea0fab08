"""State, messages and health through the sidecar's HTTP API."""

import json
from collections.abc import Callable
from dataclasses import dataclass
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
    "update_state": lambda sidecar: sidecar.update_state("key", lambda _value: 1),
    "delete_state": lambda sidecar: sidecar.delete_state("key"),
    "announce": lambda sidecar: sidecar.announce(["topic"], _announcement()),
    "check_alive": lambda sidecar: sidecar.check_alive(),
    "check_state_store": lambda sidecar: sidecar.check_state_store(),
    "check_broker": lambda sidecar: sidecar.check_broker(),
    "check_workers": lambda sidecar: sidecar.check_workers(),
}
_CALL_CASES = pytest.mark.parametrize("call", _CALLS.values(), ids=_CALLS.keys())


def _announcement(message: str = "Looking.", result: Any = None) -> Announcement:
    content = NotificationContent(
        title="Verifying", message=message, status=WorkflowStatus.RUNNING, result=result
    )
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


def test_the_original_consumers_get_the_envelope_that_they_know() -> None:
    """Their model forbids every other field at the top, an id too; Dapr adds its own."""
    dapr = FakeDapr()

    dapr.client(event_format="bud").publish(["news"], _announcement())

    (message,) = dapr.messages
    assert message.headers["content-type"] == "application/cloudevents+json"
    assert dict(message.url.params) == {}
    assert json.loads(message.content) == {
        **_announcement().notification.model_dump(mode="json"),
        "source": None,
        "source_topic": "news",
        "type": "verify_cluster",
    }


def test_another_service_is_called_through_dapr() -> None:
    """By its app id; what it does not take is an error."""
    dapr = FakeDapr()
    dapr.client().invoke("budapp", "evaluations/eta", "PATCH", {"eta_seconds": 60})

    (call,) = dapr.invocations
    assert (call.method, call.url.path) == ("PATCH", "/v1.0/invoke/budapp/method/evaluations/eta")
    assert json.loads(call.content) == {"eta_seconds": 60}
    dapr.refused = {"/v1.0/invoke": 500}
    with pytest.raises(SidecarError):
        dapr.client().invoke("budapp", "evaluations/eta", "PATCH", {})


def test_a_repeated_announcement_publishes_the_same_again() -> None:
    """An activity may run twice: what was stored first is published, not what the repetition brings."""
    dapr = FakeDapr()
    sidecar = dapr.client()

    sidecar.announce(["news"], _announcement("Looking."))
    sidecar.announce(["news"], _announcement("Something else."))

    first, again = dapr.messages
    assert (again.url, again.content) == (first.url, first.content)


def test_a_repetition_publishes_the_same_bytes() -> None:
    """Though the store gives 1.0 back as 1: consumers tell repetitions by their content, too."""
    dapr = FakeDapr()
    sidecar = dapr.client()
    announcement = _announcement(result={"weight": 1.0, "score": 0.5, "list": [2.0]})

    sidecar.announce(["news"], announcement)
    sidecar.announce(["news"], announcement)

    first, again = dapr.messages
    assert again.content == first.content
    assert b"0.5" in first.content


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


def test_a_change_is_made_on_what_somebody_else_wrote_in_between() -> None:
    """Read again and changed again; nothing of either is lost."""
    dapr = FakeDapr(state={"key": ["before"]}, rival=["before", "theirs"])

    written = dapr.client().update_state("key", lambda value: [*value, "ours"])

    assert written == dapr.state["key"] == ["before", "theirs", "ours"]


def test_a_first_change_does_not_replace_what_came_first() -> None:
    """Two who both find nothing."""
    dapr = FakeDapr(rival=["theirs"])

    dapr.client().update_state("key", lambda value: [*(value or []), "ours"])

    assert dapr.state["key"] == ["theirs", "ours"]


@dataclass
class FakeBusyDapr(FakeDapr):
    """Somebody else writes each time."""

    writes: int = 0

    def _answer(self, request: httpx.Request) -> httpx.Response:
        if request.method == "POST":
            self.writes += 1
            self.rival = self.writes
        return super()._answer(request)


def test_a_change_that_never_comes_through_is_told() -> None:
    """After 20 tries; it may be tried again."""
    dapr = FakeBusyDapr()

    with pytest.raises(SidecarError, match="key was changed by others 20 times"):
        dapr.client().update_state("key", lambda _value: "ours")

    assert dapr.writes == 20


@pytest.mark.parametrize("key", ["plain", "with space", "a/b?c#d"])
def test_what_is_deleted_is_gone(key: str) -> None:
    """And only that; deleting again is no harm."""
    dapr = FakeDapr(state={key: 1, "other": 2})
    sidecar = dapr.client()

    sidecar.delete_state(key)
    sidecar.delete_state(key)

    assert dapr.state == {"other": 2}


def test_many_values_come_in_their_order() -> None:
    """None where there is none; nobody is asked about nothing."""
    sidecar = FakeDapr(state={"a": 1, "b": 0}).client()

    assert sidecar.get_states(["b", "missing", "a"]) == [0, None, 1]
    assert FakeDapr(unreachable=True).client().get_states([]) == []


def test_many_values_of_which_one_is_not_given_are_an_outage() -> None:
    """Dapr answers with 200 and an error beside the key: what is there must not look missing."""
    sidecar = FakeDapr(state={"a": 1, "b": 0}, unreadable={"b"}).client()

    with pytest.raises(SidecarError, match="did not give b: redis: i/o timeout"):
        sidecar.get_states(["a", "b"])


@pytest.mark.parametrize("status", [204, 400, 403, 404, 500])
def test_a_secret_is_read_from_its_store(status: int) -> None:
    """Its keys and values; a store's own no, in whatever status, is none."""
    asked = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.raw_path.decode())
        found = request.url.path.endswith("/a key")
        no = httpx.Response(status, text="" if status == 204 else "not found")
        return httpx.Response(200, json={"k": "v"}) if found else no

    sidecar = Sidecar("http://dapr", "store", "broker", 1.0, transport=httpx.MockTransport(answer))

    assert sidecar.get_secret("vault", "a key") == {"k": "v"}
    assert sidecar.get_secret("vault", "../state/store/key") == {}
    assert asked == ["/v1.0/secrets/vault/a%20key", "/v1.0/secrets/vault/..%2Fstate%2Fstore%2Fkey"]


@pytest.mark.parametrize("name", ["bulk", ".", ".."])
def test_no_name_of_a_secret_stands_for_all_of_them(name: str) -> None:
    """Dapr's own words in the place of a name; requests choose names."""
    everything = httpx.MockTransport(lambda _request: httpx.Response(200, json={"a": {"a": "secret"}}))
    sidecar = Sidecar("http://dapr", "store", "broker", 1.0, transport=everything)

    assert sidecar.get_secret("vault", name) == {}


@pytest.mark.parametrize("status", [502, 503, 504])
def test_a_secret_store_that_is_away_is_an_outage(status: int) -> None:
    """The same again may succeed."""
    transport = httpx.MockTransport(lambda _request: httpx.Response(status, text="away"))
    sidecar = Sidecar("http://dapr", "store", "broker", 1.0, transport=transport)

    with pytest.raises(SidecarError, match="away"):
        sidecar.get_secret("vault", "key")


@pytest.mark.parametrize("count", [0, 1, 49, 50, 51, 100])
@pytest.mark.parametrize("after", [0, 1, 60])
def test_announcements_are_read_from_a_number_on(count: int, after: int) -> None:
    """However many pages they fill."""
    sidecar = FakeDapr().client()
    for number in range(1, count + 1):
        sidecar.announce([], _announcement().model_copy(update={"number": number}))

    found = sidecar.announcements("verify-1", after)

    assert [announcement.number for announcement in found] == list(range(after + 1, count + 1))


def test_the_versions_of_what_is_used_are_known() -> None:
    """Of the components that the settings name, not of all that are there."""
    dapr = FakeDapr()
    components = [
        {"name": "store", "type": "state.sqlite", "version": "v1"},
        {"name": "other", "type": "state.redis", "version": "v1"},
        {"name": "broker", "type": "pubsub.redis", "version": "v1"},
    ]
    dapr.metadata = {"runtimeVersion": "1.18.2", "components": components}

    assert dapr.client().versions() == {
        "sidecar": "Dapr 1.18.2",
        "state store": "state.sqlite v1",
        "broker": "pubsub.redis v1",
    }


def test_a_sidecar_that_tells_nothing_has_no_versions() -> None:
    """Older ones."""
    dapr = FakeDapr()
    dapr.metadata = {}

    assert dapr.client().versions() == {}
