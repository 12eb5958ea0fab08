"""Announcements as Server-Sent Events."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.sse import KEEPALIVE_COMMENT

from budeval.api import http_errors
from budeval.domain.evaluation import EvaluationRecord, Outcome
from budeval.domain.notification import ENDED, Announcement, WorkflowStatus
from budeval.evals import event_stream
from budeval.evals.announcer import Announcer
from budeval.evals.evaluation_routes import stream_routes
from budeval.evals.event_stream import EventStream
from budeval.evals.receipts import Receipts
from budeval.evals.store import EvaluationStore
from budeval.evals.views import EvaluationViews
from tests.asgi import Caller
from tests.evals import samples
from tests.runtime.fake_dapr import FakeDapr


class Desk:
    """The route, and an evaluation that announces."""

    def __init__(self) -> None:
        self._sidecar = FakeDapr().client()
        self.store = EvaluationStore(self._sidecar)
        self._announcer = Announcer(samples.evaluation("e-1"), 0)
        record = EvaluationRecord(evaluation=samples.evaluation("e-1"), digest="d", created="2026-01-01")
        self.store.create(record)
        self.views = EvaluationViews(self.store, self._sidecar, Receipts(self._sidecar, {}))
        self.stream = EventStream(self.views, poll_seconds=0.001)
        application = FastAPI()
        application.include_router(stream_routes(self.stream))
        http_errors.install(application)
        self._caller = Caller(application)

    def announce(self, *statuses: WorkflowStatus) -> None:
        """Events of the whole evaluation, whose record ends before the last word."""
        for status in statuses:
            if status in ENDED:
                self.store.end("e-1", Outcome.COMPLETED)
            order = self._announcer.status(status, "said")
            from_order = Announcement.model_validate(order["announcement"])
            self._sidecar.announce([], from_order)

    def ask(self, query: str = "", **headers: str) -> Any:
        """To the end of the stream."""
        return self._caller.request("GET", f"/evals/e-1/events/stream{query}", headers=headers)


@pytest.fixture
def desk() -> Desk:
    """Nothing was announced yet."""
    return Desk()


def _ids(text: str) -> list[str]:
    return [line.removeprefix("id: ") for line in text.splitlines() if line.startswith("id: ")]


_WHOLE = (WorkflowStatus.STARTED, WorkflowStatus.COMPLETED)


def test_a_stream_ends_with_the_last_word(desk: Desk) -> None:
    """Each event has its number as id, its name, and the announcement on one line."""
    desk.announce(*_WHOLE)

    answer = desk.ask()

    assert answer.headers["content-type"].startswith("text/event-stream")
    assert _ids(answer.text) == ["1", "2"]
    blocks = answer.text.strip().split("\n\n")
    assert len(blocks) == 2
    assert "event: evaluate_model_status" in blocks[0]
    assert all(sum(line.startswith("data: ") for line in block.splitlines()) == 1 for block in blocks)


@pytest.mark.parametrize(
    ("query", "headers", "ids"),
    [
        ("?after=1", {}, ["2"]),
        ("", {"last-event-id": "1"}, ["2"]),
        ("?after=0", {"last-event-id": "1"}, ["2"]),
    ],
)
def test_a_stream_goes_on_where_it_was_cut(
    desk: Desk, query: str, headers: dict[str, str], ids: list[str]
) -> None:
    """A browser sends `Last-Event-ID` by itself, with the address that it began with."""
    desk.announce(*_WHOLE)

    assert _ids(desk.ask(query, **headers).text) == ids


def test_who_has_everything_is_told_not_to_come_again(desk: Desk) -> None:
    """204, by which browsers end their reconnecting."""
    desk.announce(*_WHOLE)

    assert desk.ask("?after=2").status_code == 204


def test_what_comes_later_is_sent_when_it_comes(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """In between there are comments, so that nobody takes the silence for a broken line."""
    monkeypatch.setattr(event_stream, "_KEEPALIVE_SECONDS", 0)
    desk.announce(WorkflowStatus.STARTED)

    async def follow() -> list[bytes]:
        parts = []
        async for part in desk.stream._stream("e-1", 0):
            parts.append(part)
            if part == KEEPALIVE_COMMENT:
                desk.announce(WorkflowStatus.COMPLETED)
        return parts

    parts = asyncio.run(asyncio.wait_for(follow(), 20))

    assert _ids(b"".join(parts).decode()) == ["1", "2"]
    assert parts[1] == KEEPALIVE_COMMENT


def test_an_evaluation_that_never_says_its_last_word_ends_its_stream(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its workflow was terminated by hand."""
    monkeypatch.setattr(event_stream, "_PATIENCE", timedelta(seconds=-10))
    desk.announce(WorkflowStatus.STARTED)
    desk.store.end("e-1", Outcome.FAILED)

    assert _ids(desk.ask().text) == ["1"]
    assert desk.ask("?after=1").status_code == 204


def test_a_stream_goes_on_with_the_next_attempt(desk: Desk) -> None:
    """Who follows a retry before it has said anything hears it to its own end."""
    desk.announce(*_WHOLE)
    desk.store.retry("e-1", 1, ["r-1"], 2, "again")

    async def follow() -> list[bytes]:
        parts = []
        async for part in desk.stream._stream("e-1", 0):
            parts.append(part)
            if len(parts) == 2:
                desk.announce(WorkflowStatus.STARTED, WorkflowStatus.COMPLETED)
        return parts

    assert desk.stream._look("e-1", 2) == ([], False)
    parts = asyncio.run(asyncio.wait_for(follow(), 20))

    assert _ids(b"".join(parts).decode()) == ["1", "2", "3", "4"]


def test_an_unknown_evaluation_has_no_stream(desk: Desk) -> None:
    """Told before anything is sent."""
    answer = desk._caller.get("/evals/other/events/stream")

    assert (answer.status_code, answer.json()["code"]) == (404, "EVALUATION_UNKNOWN")


@pytest.mark.parametrize("number", ["x", "-1"])
def test_a_number_that_is_none_is_refused(desk: Desk, number: str) -> None:
    """With its field."""
    assert desk.ask(f"?after={number}").status_code == 422
