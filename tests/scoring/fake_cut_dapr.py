"""A sidecar that goes away at a certain call, for tests of what is then finished by whom."""

import json
from dataclasses import dataclass, field
from threading import RLock
from typing import Any

import httpx

from tests.runtime.fake_dapr import FakeDapr

_CUT = 500


@dataclass
class FakeCutDapr(FakeDapr):
    """As the real one, a call is whole before the next one begins, from whichever thread it comes."""

    left: int | None = None
    """Calls until it goes away; None while it stays."""
    takes_the_last: bool = False
    """The call at which it goes away is carried out, and only its answer is lost."""
    keys: list[str] = field(default_factory=list)
    """What was written, in order."""
    refused_at: str = ""
    """What the call was to write at which it went away; empty where it was a question."""
    _one_at_a_time: Any = field(default_factory=RLock, repr=False, compare=False)

    def _answer(self, request: httpx.Request) -> httpx.Response:
        with self._one_at_a_time:
            if self.left is None:
                return self._carried_out(request)
            self.left -= 1
            if self.left >= 0:
                return self._carried_out(request)
            if self.left == -1:
                self._go_away_at(request)
            return httpx.Response(_CUT, text="cut")

    def _go_away_at(self, request: httpx.Request) -> None:
        if self.takes_the_last:
            self._carried_out(request)
        else:
            self.refused_at = " ".join(_written(request))

    def _carried_out(self, request: httpx.Request) -> httpx.Response:
        self.keys += _written(request)
        return super()._answer(request)


def _written(request: httpx.Request) -> list[str]:
    if request.method != "POST" or request.url.path != "/v1.0/state/store":
        return []
    return [item["key"] for item in json.loads(request.content)]
