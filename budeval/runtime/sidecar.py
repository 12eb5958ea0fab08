"""State, messages and health through the Dapr sidecar's HTTP API, each call with a time limit.

The SDK's client has none for state and publishing, and its constructor waits up to a minute for a sidecar
(docs/decisions/0001). https://docs.dapr.io/reference/api/
"""

import logging
from collections.abc import Callable, Iterable
from http import HTTPStatus
from typing import Any, Literal
from urllib.parse import quote

import httpx

from budeval.domain.notification import SOURCE, Announcement
from budeval.errors import SidecarError

_log = logging.getLogger(__name__)

_READINESS_KEY = "readiness"
_READINESS_TOPIC = "budeval-readiness"
_UPDATE_TRIES = 20
_EVENTS_PER_READ = 50
_NO_SECRETS = {"bulk", ".", ".."}
"""At the end of a path they mean all secrets of a store, or another path."""
_BARE = {"Content-Type": "application/cloudevents+json"}
"""With it Dapr takes the body for the whole envelope, and adds to it what is missing."""

EventFormat = Literal["cloudevents", "bud"]


class Sidecar:
    """One connection pool to this service's sidecar. Safe to share between threads."""

    def __init__(
        self,
        base_url: str,
        statestore: str,
        pubsub: str,
        timeout: float,
        transport: httpx.BaseTransport | None = None,
        event_format: EventFormat = "cloudevents",
    ) -> None:
        self._http = httpx.Client(base_url=base_url, timeout=timeout, transport=transport, trust_env=False)
        self._state_url = f"/v1.0/state/{quote(statestore)}"
        self._publish_url = f"/v1.0/publish/{quote(pubsub)}"
        self._components = {"state store": statestore, "broker": pubsub}
        self._event_format = event_format

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def get_state(self, key: str) -> Any:
        """The JSON value of a key, None where there is none."""
        answer = self._send("GET", f"{self._state_url}/{quote(key, safe='')}")
        return answer.json() if answer.content else None

    def save_state(self, key: str, value: Any) -> None:
        """Write a JSON value, whatever was there."""
        self._send("POST", self._state_url, json=[{"key": key, "value": value}])

    def save_state_first(self, key: str, value: Any) -> Any:
        """Write a JSON value unless the key has one; return what the key has now, as the store gives it back.

        Dapr keeps 1.0 as 1: who went on with his own value would say something else than who reads it.
        """
        item = {"key": key, "value": value, "options": {"concurrency": "first-write"}}
        existing = self.get_state(key)
        if existing is not None:
            return existing
        try:
            self._send("POST", self._state_url, json=[item])
        except _ConflictError:
            return self.get_state(key)
        kept = self.get_state(key)
        return value if kept is None else kept  # somebody has deleted it meanwhile

    def update_state(self, key: str, change: Callable[[Any], Any]) -> Any:
        """Read, change, write; anew where somebody else wrote in between. Returns what was written.

        Args:
            key: of the value.
            change: gets the value (None where there is none) and returns the new one; may be called again.

        Raises:
            SidecarError: others wrote each time.
        """
        for _ in range(_UPDATE_TRIES):
            answer = self._send("GET", f"{self._state_url}/{quote(key, safe='')}")
            value = change(answer.json() if answer.content else None)
            item = {"key": key, "value": value, "options": {"concurrency": "first-write"}}
            etag = answer.headers.get("ETag")
            try:
                self._send("POST", self._state_url, json=[item | ({"etag": etag} if etag else {})])
            except _ConflictError:
                continue
            return value
        raise SidecarError(f"{key} was changed by others {_UPDATE_TRIES} times in a row")

    def get_states(self, keys: list[str]) -> list[Any]:
        """The JSON values of keys in their order, None where there is none.

        Raises:
            SidecarError: also where only some could not be read, which Dapr tells within a 200.
        """
        if not keys:
            return []
        items = self._send("POST", f"{self._state_url}/bulk", json={"keys": keys, "parallelism": 8}).json()
        for item in items:
            if item.get("error"):
                raise SidecarError(f"The state store did not give {item['key']}: {item['error']}")
        found = {item["key"]: item.get("data") for item in items}
        return [found.get(key) for key in keys]

    def delete_state(self, key: str) -> None:
        """Forget a key; also where there is none."""
        self._send("DELETE", f"{self._state_url}/{quote(key, safe='')}")

    def get_secret(self, store: str, name: str) -> dict[str, str]:
        """A secret of a secret store: its keys and values.

        Empty where there is none, or none for us. Stores say that in many ways (no content, a status of 400,
        403 or 500); only a sidecar that does not answer, or says itself that something is away, is an outage.

        Raises:
            SidecarError: see above.
        """
        if name in _NO_SECRETS:
            return {}
        try:
            answer = self._send("GET", f"/v1.0/secrets/{quote(store)}/{quote(name, safe='')}")
        except _RefusedError as error:
            _log.warning("no secret: %s", error)
            return {}
        secret: dict[str, str] = answer.json() if answer.content else {}
        return secret

    def announce(self, topics: Iterable[str], announcement: Announcement) -> None:
        """Store an announcement (the first write wins), then publish what is stored to every topic.

        May be repeated without harm: a repetition publishes the same bytes under the same event id.
        """
        key = event_key(announcement.subject, announcement.number)
        stored = self.save_state_first(key, announcement.model_dump(mode="json"))
        self.publish(topics, Announcement.model_validate(stored))

    def announcements(self, subject: str, after: int) -> list[Announcement]:
        """What was announced about a subject, from number `after` + 1 on."""
        found: list[Announcement] = []
        while True:
            first = after + len(found) + 1
            page = self.get_states([event_key(subject, first + at) for at in range(_EVENTS_PER_READ)])
            there = [Announcement.model_validate(value) for value in page if value is not None]
            found += there
            if len(there) < _EVENTS_PER_READ:
                return found

    def forget_announcements(self, subject: str) -> None:
        """Delete what was announced about a subject: the last first, or a repetition would find none."""
        for announcement in reversed(self.announcements(subject, 0)):
            self.delete_state(event_key(subject, announcement.number))

    def publish(self, topics: Iterable[str], announcement: Announcement) -> None:
        """Publish without storing."""
        for topic in topics:
            url = f"{self._publish_url}/{quote(topic)}"
            if self._event_format == "bud":
                self._send("POST", url, json=announcement.bare(topic), headers=_BARE)
            else:
                body = announcement.notification.model_dump(mode="json")
                self._send("POST", url, params=_envelope(announcement), json=body)

    def invoke(self, app_id: str, method: str, verb: str, body: Any) -> None:
        """Call another service through Dapr.

        Raises:
            SidecarError: it is not there, or said no.
        """
        self._send(verb, f"/v1.0/invoke/{quote(app_id)}/method/{quote(method)}", json=body)

    def check_alive(self) -> None:
        """The sidecar answers, its components are loaded.

        Raises:
            SidecarError: it does not.
        """
        self._send("GET", "/v1.0/healthz/outbound")

    def check_state_store(self) -> None:
        """A value can be written and read back.

        Raises:
            SidecarError: it cannot.
        """
        self.save_state(_READINESS_KEY, {"schema": 1})
        if self.get_state(_READINESS_KEY) is None:
            raise SidecarError("the state store does not give back what was written to it")

    def check_broker(self) -> None:
        """The broker takes a message. Only a message proves that; nobody subscribes to its topic.

        Raises:
            SidecarError: it does not.
        """
        self._send("POST", f"{self._publish_url}/{_READINESS_TOPIC}", json={})

    def check_workers(self) -> None:
        """This service's workflow worker and placement are connected to the sidecar.

        Raises:
            SidecarError: one of them is not.
        """
        metadata = self._send("GET", "/v1.0/metadata").json()
        actors = metadata.get("actorRuntime", {})
        if not metadata.get("workflows", {}).get("connectedWorkers"):
            raise SidecarError("this service's workflow worker is not connected to the sidecar")
        if not actors.get("hostReady"):
            raise SidecarError(f"placement is not reached ({actors.get('placement', 'unknown')})")

    def versions(self) -> dict[str, str]:
        """Of the sidecar, and of the components that stand for the state store and the broker.

        Raises:
            SidecarError: it does not answer.
        """
        metadata = self._send("GET", "/v1.0/metadata").json()
        kinds = {item["name"]: f"{item['type']} {item['version']}" for item in metadata.get("components", [])}
        found = {name: kinds.get(component) for name, component in self._components.items()}
        runtime = metadata.get("runtimeVersion")
        found["sidecar"] = f"Dapr {runtime}" if runtime else None
        return {name: version for name, version in found.items() if version}

    def _send(self, method: str, url: str, **more: Any) -> httpx.Response:
        try:
            answer = self._http.request(method, url, **more)
        except httpx.HTTPError as error:
            raise SidecarError(f"{method} {url}: {type(error).__name__} {error}".rstrip()) from error
        if answer.is_success:
            return answer
        text = f"{method} {url} answered {answer.status_code}: {answer.text[:300]}"
        raise _ANSWERED.get(answer.status_code, SidecarError)(text)


def _envelope(announcement: Announcement) -> dict[str, str]:
    return {
        "metadata.cloudevent.id": announcement.event_id,
        "metadata.cloudevent.source": SOURCE,
        "metadata.cloudevent.type": announcement.notification.payload.type,
    }


def event_key(subject: str, number: int) -> str:
    """Where an announcement is in the state store."""
    return f"event-{subject}-{number}"


class _ConflictError(SidecarError):
    """A first write that came second."""


class _RefusedError(SidecarError):
    """The building block behind the sidecar says no."""


_ANSWERED: dict[int, type[SidecarError]] = {
    HTTPStatus.CONFLICT: _ConflictError,
    HTTPStatus.BAD_REQUEST: _RefusedError,
    HTTPStatus.FORBIDDEN: _RefusedError,
    HTTPStatus.NOT_FOUND: _RefusedError,
    HTTPStatus.INTERNAL_SERVER_ERROR: _RefusedError,
}
