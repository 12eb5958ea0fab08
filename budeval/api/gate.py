"""Who may not ask is told so before the body is read: the framework would parse it before it asks a guard."""

from collections.abc import Callable, Iterable, Sequence
from typing import TypeAlias

from fastapi import Request
from starlette.routing import BaseRoute, Match
from starlette.types import ASGIApp, Receive, Scope, Send

from budeval.api.http_errors import answer_failure
from budeval.errors import RequestError

Guarded: TypeAlias = tuple[Sequence[BaseRoute], Callable[[Request], object]]
"""Routes, and what lets a request to them pass by its head alone, or raises RequestError."""


class Gate:
    """ASGI middleware in front of the guards of routes, which have the last word."""

    def __init__(self, application: ASGIApp, guarded: Iterable[Guarded]) -> None:
        """What goes to no route of these passes: there is nobody to read its body, or nothing to guard."""
        self._application = application
        self._guarded = list(guarded)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request."""
        try:
            self._admit(scope)
        except RequestError as error:
            await answer_failure(Request(scope), error)(scope, receive, send)
        else:
            await self._application(scope, receive, send)

    def _admit(self, scope: Scope) -> None:
        if scope["type"] != "http":
            return
        for routes, admit in self._guarded:
            if any(route.matches(scope)[0] is Match.FULL for route in routes):
                admit(Request(scope))
