"""Show every notification once, in the order of arrival.

What a consumer has to know: the broker delivers at least once, and repetitions carry the same CloudEvent id,
so a set of ids makes it exactly once. An event that a handler refuses is delivered again, and after the last
try it arrives at the dead-letter topic. `GET /events` lists what was received, `GET /dead-letters` the rest.
"""

import logging
from typing import Any

from dapr.ext.fastapi import DaprApp
from fastapi import FastAPI
from pydantic import BaseModel

PUBSUB = "pubsub"
TOPIC = "budeval-notifications"
DEAD_LETTERS = "budeval-dead-letters"

_log = logging.getLogger("subscriber")


class CloudEvent(BaseModel):
    """The envelope's fields that matter here; Dapr adds others."""

    id: str
    type: str
    source: str
    data: dict[str, Any]


def create_app() -> FastAPI:
    """One list of events, in memory: an example keeps nothing."""
    application = FastAPI(title="budeval example subscriber")
    dapr = DaprApp(application)
    received: dict[str, CloudEvent] = {}
    dead: dict[str, dict[str, Any]] = {}

    @dapr.subscribe(pubsub=PUBSUB, topic=TOPIC, dead_letter_topic=DEAD_LETTERS)
    def on_notification(event: CloudEvent) -> dict[str, str]:
        if event.id not in received:
            content = event.data["payload"]["content"]
            received[event.id] = event
            _log.info("%s %s: %s", event.id, content["status"], content["message"])
        return {"status": "SUCCESS"}

    @dapr.subscribe(pubsub=PUBSUB, topic=DEAD_LETTERS)
    def on_dead_letter(event: dict[str, Any]) -> dict[str, str]:
        dead[str(event.get("id"))] = event
        _log.warning("dead letter %s", event.get("id"))
        return {"status": "SUCCESS"}

    @application.get("/events")
    def events() -> list[CloudEvent]:
        return list(received.values())

    @application.get("/dead-letters")
    def dead_letters() -> list[dict[str, Any]]:
        return list(dead.values())

    @application.get("/healthz")
    def healthz() -> dict[str, str]:
        return {"status": "alive"}

    return application


logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
app = create_app()
