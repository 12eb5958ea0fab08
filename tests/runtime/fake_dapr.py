"""A sidecar without processes: what its HTTP API would answer, and what it was sent."""

import hashlib
import json
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

import httpx

from budeval.runtime.sidecar import EventFormat, Sidecar

_STATE = "/v1.0/state/store"
_HEALTHY = {
    "workflows": {"connectedWorkers": 1},
    "actorRuntime": {"hostReady": True, "placement": "placement: connected"},
}


@dataclass
class FakeDapr:
    """State by key, messages in order, and what goes wrong on purpose."""

    state: dict[str, Any] = field(default_factory=dict)
    messages: list[httpx.Request] = field(default_factory=list)
    invocations: list[httpx.Request] = field(default_factory=list)
    metadata: dict[str, Any] = field(default_factory=lambda: dict(_HEALTHY))
    refused: dict[str, int] = field(default_factory=dict)
    """Status code by the start of a path."""
    unreachable: bool = False
    forgetful: bool = False
    """Takes writes and keeps nothing."""
    unreadable: set[str] = field(default_factory=set)
    """Keys that a read of many does not give, though its status is 200."""
    rival: Any = None
    """What someone else writes between a read and the write that follows it."""

    def client(self, event_format: EventFormat = "cloudevents") -> Sidecar:
        """A Sidecar that speaks to this one."""
        transport = httpx.MockTransport(self._answer)
        return Sidecar("http://dapr", "store", "broker", 1.0, transport, event_format)

    def _answer(self, request: httpx.Request) -> httpx.Response:
        if self.unreachable:
            raise httpx.ConnectError("Connection refused", request=request)
        path = request.url.path
        for start, status in self.refused.items():
            if path.startswith(start):
                return httpx.Response(status, text='{"errorCode": "ERR_ON_PURPOSE"}')
        if path == f"{_STATE}/bulk":
            keys = json.loads(request.content)["keys"]
            return httpx.Response(200, json=[self._one_of_many(key) for key in keys if key in self.state])
        if path.startswith(_STATE):
            return self._of_state(request)
        if path.startswith(("/v1.0/publish/broker/", "/v1.0/invoke/")):
            (self.messages if path.startswith("/v1.0/publish/") else self.invocations).append(request)
            return httpx.Response(204)
        if path == "/v1.0/metadata":
            return httpx.Response(200, json=self.metadata)
        return httpx.Response(204 if path == "/v1.0/healthz/outbound" else 404)

    def _one_of_many(self, key: str) -> dict[str, Any]:
        if key in self.unreadable:
            return {"key": key, "error": "redis: i/o timeout"}
        return {"key": key, "data": self.state[key]}

    def _of_state(self, request: httpx.Request) -> httpx.Response:
        if request.method == "DELETE":
            self.state.pop(unquote(request.url.raw_path.decode().removeprefix(f"{_STATE}/")), None)
            return httpx.Response(204)
        return self._keep(request) if request.method == "POST" else self._give(request)

    def _give(self, request: httpx.Request) -> httpx.Response:
        segment = request.url.raw_path.decode().removeprefix(f"{_STATE}/")
        if "/" in segment or "?" in segment:
            return httpx.Response(404)
        key = unquote(segment)
        if key not in self.state:
            return httpx.Response(204)
        return httpx.Response(200, json=self.state[key], headers={"ETag": _etag(self.state[key])})

    def _keep(self, request: httpx.Request) -> httpx.Response:
        for item in json.loads(request.content, parse_float=_number):
            if self.rival is not None:
                self.state[item["key"]] = self.rival
            first_write = item.get("options", {}).get("concurrency") == "first-write"
            now = _etag(self.state[item["key"]]) if item["key"] in self.state else None
            if first_write and now != item.get("etag"):
                return httpx.Response(409, text='{"errorCode": "ERR_STATE_SAVE"}')
            if not self.forgetful:
                self.state[item["key"]] = item["value"]
        return httpx.Response(204)


def _number(text: str) -> float:
    """As the real one keeps a number: 1.0 becomes 1."""
    number = float(text)
    return int(number) if number.is_integer() else number


def _etag(value: Any) -> str:
    """The same for the same value, which is as good as a counter here."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
