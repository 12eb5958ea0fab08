"""Show every notification once, in the order of arrival.

What a consumer has to know: the broker delivers at least once, and repetitions carry the same CloudEvent id,
so a set of ids makes it exactly once. The number at the end of an id tells the order: Redis keeps it with the
component's `concurrency` of 1, but for what a killed sidecar had read and not delivered. An event that a
handler refuses is delivered again, and after the last try it arrives at the dead-letter topic. `GET /events`
lists what was received, `GET /dead-letters` the rest.

With SUBSCRIBER_LOG each arrival, repetitions too, is a line of JSON in that file before it is acknowledged.
"""

import hashlib
import json
import logging
import os
from pathlib import Path
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


class ArrivalLog:
    """Appends what arrives to a file, and returns when the disk has it."""

    def __init__(self, path: str) -> None:
        self._path = Path(path)

    def add(self, event: dict[str, Any], *, dead: bool) -> None:
        """{id, event, status, digest, dead}; the digest is of the event's whole data.

        A dead letter may be anything: what is not ours has neither event nor status.
        """
        payload = _object(_object(event.get("data")).get("payload"))
        line = {
            "id": event.get("id"),
            "event": payload.get("event"),
            "status": _object(payload.get("content")).get("status"),
            "digest": hashlib.sha256(json.dumps(event.get("data"), sort_keys=True).encode()).hexdigest(),
            "dead": dead,
        }
        with self._path.open("a") as file:
            file.write(json.dumps(line) + "\n")
            file.flush()
            os.fsync(file.fileno())


def _object(value: Any) -> dict[str, Any]:
    """`value` where it is a JSON object, else an empty one."""
    return value if isinstance(value, dict) else {}


def create_app() -> FastAPI:
    """One list of events, in memory: an example keeps nothing."""
    application = FastAPI(title="budeval example subscriber")
    dapr = DaprApp(application)
    received: dict[str, CloudEvent] = {}
    dead: dict[str, dict[str, Any]] = {}
    log = ArrivalLog(os.environ.get("SUBSCRIBER_LOG") or os.devnull)

    @dapr.subscribe(pubsub=PUBSUB, topic=TOPIC, dead_letter_topic=DEAD_LETTERS)
    def on_notification(event: CloudEvent) -> dict[str, str]:
        log.add(event.model_dump(), dead=False)
        if event.id not in received:
            content = event.data["payload"]["content"]
            received[event.id] = event
            _log.info("%s %s: %s", event.id, content["status"], content["message"])
        return {"status": "SUCCESS"}

    @dapr.subscribe(pubsub=PUBSUB, topic=DEAD_LETTERS)
    def on_dead_letter(event: dict[str, Any]) -> dict[str, str]:
        log.add(event, dead=True)
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
