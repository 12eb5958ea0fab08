"""Ways to look at the running stack, and to wait for what it will show."""

import time
from collections.abc import Callable
from typing import Any, TypeVar

import httpx
import pytest

T = TypeVar("T")

_ENDED = {"COMPLETED", "FAILED", "TERMINATED"}


class Subscriber:
    """What the example subscriber has received."""

    def __init__(self, client: httpx.Client) -> None:
        self._client = client

    def events(self, subject: str) -> list[dict[str, Any]]:
        """The events of one subject, in the order of their arrival."""
        received = self._client.get("/events").raise_for_status().json()
        return [event for event in received if event["id"].startswith(f"{subject}/")]

    def wait_for_end(self, subject: str) -> list[dict[str, Any]]:
        """The events of one subject once the last one has come."""

        def ended() -> list[dict[str, Any]] | None:
            events = self.events(subject)
            return events if any(_status(event) in _ENDED for event in events) else None

        return wait_for(ended, f"the last event of {subject}")

    def dead_letters(self) -> list[dict[str, Any]]:
        """What no try could deliver."""
        letters: list[dict[str, Any]] = self._client.get("/dead-letters").raise_for_status().json()
        return letters


def _status(event: dict[str, Any]) -> str:
    return str(event["data"]["payload"]["content"]["status"])


def wait_for(look: Callable[[], T | None], what: str, seconds: float = 120) -> T:
    """Call `look` until it returns something; fail with `what` when the time is up."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = look()
        if found is not None:
            return found
        time.sleep(0.3)
    pytest.fail(f"waited {seconds:.0f} s for {what}")
