"""The messages that budeval publishes, in the wire shape of its callers.

`NotificationRequest` with its payload and content is what consumers of the original service parse; the
results travel in `content.result`, because their model has no other place.
"""

from enum import StrEnum
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from budeval.domain.evaluation import Outcome

SOURCE = "budeval"


class WorkflowStatus(StrEnum):
    """The states that consumers know."""

    UNKNOWN = "UNKNOWN"
    STARTED = "STARTED"
    RUNNING = "RUNNING"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    TERMINATED = "TERMINATED"
    PENDING = "PENDING"
    SUSPENDED = "SUSPENDED"


ENDED = {WorkflowStatus.COMPLETED, WorkflowStatus.FAILED, WorkflowStatus.TERMINATED}
"""The states that are the last."""


def last_status(outcome: Outcome) -> WorkflowStatus:
    """How an evaluation's end is told: a part of the scores is an end like a whole."""
    ends = {Outcome.FAILED: WorkflowStatus.FAILED, Outcome.CANCELLED: WorkflowStatus.TERMINATED}
    return ends.get(outcome, WorkflowStatus.COMPLETED)


class NotificationContent(BaseModel):
    """What a person reads, and the result for programs."""

    model_config = ConfigDict(frozen=True)

    title: str
    message: str
    status: WorkflowStatus
    result: dict[str, Any] | None = None
    metadata: dict[str, Any] | None = Field(None, exclude_if=lambda value: value is None)
    """The guide's place for the results; the original consumers ignore it."""
    primary_action: str | None = None
    secondary_action: str | None = None


class NotificationPayload(BaseModel):
    """Which workflow and which of its steps the content is about."""

    model_config = ConfigDict(frozen=True)

    category: Literal["inapp", "internal", "email"] = "internal"
    type: str
    event: str
    workflow_id: str
    source: str = SOURCE
    content: NotificationContent


class NotificationRequest(BaseModel):
    """The message as it stands in a CloudEvent's `data`."""

    model_config = ConfigDict(frozen=True)

    notification_type: Literal["event", "topic", "broadcast"] = "event"
    name: str = "bud-internal"
    subscriber_ids: str | list[str] | None = None
    payload: NotificationPayload
    actor: str | None = None
    topic_keys: str | list[str] | None = None


class Announcement(BaseModel):
    """A notification with its place in the order of its workflow."""

    model_config = ConfigDict(frozen=True)

    subject: str
    """What it is about, as `verify-4c1f…`; with `number` it makes the event's id."""
    number: int
    """1 for the first of its subject, then without a gap."""
    notification: NotificationRequest

    @property
    def event_id(self) -> str:
        """The CloudEvent's id: the same for every repetition, so that consumers can drop repetitions."""
        return f"{self.subject}/{self.number}"

    def bare(self, topic: str) -> dict[str, Any]:
        """The envelope of the original service, whose consumers know no other field: there is no id in it."""
        kind = self.notification.payload.type
        return {
            **self.notification.model_dump(mode="json"),
            "source": None,
            "source_topic": topic,
            "type": kind,
        }
