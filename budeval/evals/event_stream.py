"""Announcements as they come, as Server-Sent Events.

https://html.spec.whatwg.org/multipage/server-sent-events.html: an event's id is its number, so a client that
was cut off goes on by `Last-Event-ID`, as browsers do by themselves. Who comes again after the end gets 204.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from datetime import timedelta

from fastapi import Response
from fastapi.concurrency import run_in_threadpool
from fastapi.sse import KEEPALIVE_COMMENT, EventSourceResponse, format_sse_event

from budeval.domain.notification import ENDED, Announcement
from budeval.domain.steps import STATUS_EVENT
from budeval.evals.views import EvaluationViews

_POLL_SECONDS = 1.0
_KEEPALIVE_SECONDS = 15.0
_PATIENCE = timedelta(seconds=30)
"""An evaluation whose workflow was terminated by hand never says its last word."""


class EventStream:
    """Streams of one service. Each asks the state store once a second, and holds no thread in between."""

    def __init__(self, views: EvaluationViews, poll_seconds: float = _POLL_SECONDS) -> None:
        self._views = views
        self._poll_seconds = poll_seconds

    async def open(self, eval_id: str, after: int) -> Response:
        """A stream from the number after `after` on; 204 where nothing more will come.

        Raises:
            RequestError: EVALUATION_UNKNOWN.
        """
        events, is_over = await run_in_threadpool(self._look, eval_id, after)
        if is_over and not events:
            return Response(status_code=204)
        headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
        return EventSourceResponse(self._stream(eval_id, after), headers=headers)

    async def _stream(self, eval_id: str, after: int) -> AsyncIterator[bytes]:
        quiet_since = time.monotonic()
        while True:
            events, is_over = await run_in_threadpool(self._look, eval_id, after)
            for event in events:
                after = event.number
                yield _written(event)
            if events:
                quiet_since = time.monotonic()
            elif is_over:
                return
            elif time.monotonic() - quiet_since > _KEEPALIVE_SECONDS:
                yield KEEPALIVE_COMMENT
                quiet_since = time.monotonic()
            await asyncio.sleep(self._poll_seconds)

    def _look(self, eval_id: str, after: int) -> tuple[list[Announcement], bool]:
        """(What is new, whether it is the last): the one that the caller has may have been the last word."""
        found = self._views.events(eval_id, max(after - 1, 0)).events
        new = [event for event in found if event.number > after]
        # The last word of an attempt before this one is none: since a retry there is no end.
        patience = timedelta(0) if found and _is_last_word(found[-1]) else _PATIENCE
        return new, self._views.has_ended_for(eval_id, patience)


def _written(event: Announcement) -> bytes:
    name = event.notification.payload.event
    return format_sse_event(data_str=event.model_dump_json(), event=name, id=str(event.number))


def _is_last_word(event: Announcement) -> bool:
    payload = event.notification.payload
    return payload.event == STATUS_EVENT and payload.content.status in ENDED
