"""The messages that budeval publishes."""

import pytest
from pydantic import ValidationError

from budeval.domain.notification import (
    Announcement,
    NotificationContent,
    NotificationPayload,
    NotificationRequest,
    WorkflowStatus,
)


def _announcement(number: int = 1) -> Announcement:
    content = NotificationContent(
        title="Verifying", message="Done.", status=WorkflowStatus.COMPLETED, result={"ok": True}
    )
    payload = NotificationPayload(
        type="verify_cluster", event="verify", workflow_id="verify-1", content=content
    )
    return Announcement(subject="verify-1", number=number, notification=NotificationRequest(payload=payload))


def test_a_notification_has_the_shape_that_consumers_parse() -> None:
    """Field by field what the original service's consumers expect, with their defaults."""
    assert _announcement().notification.model_dump(mode="json") == {
        "notification_type": "event",
        "name": "bud-internal",
        "subscriber_ids": None,
        "payload": {
            "category": "internal",
            "type": "verify_cluster",
            "event": "verify",
            "workflow_id": "verify-1",
            "source": "budeval",
            "content": {
                "title": "Verifying",
                "message": "Done.",
                "status": "COMPLETED",
                "result": {"ok": True},
                "primary_action": None,
                "secondary_action": None,
            },
        },
        "actor": None,
        "topic_keys": None,
    }


@pytest.mark.parametrize("number", [1, 2, 17])
def test_an_events_id_is_subject_and_number(number: int) -> None:
    """The id follows from what is announced, so a repetition has the same."""
    assert _announcement(number).event_id == f"verify-1/{number}"


def test_an_announcement_survives_the_state_store() -> None:
    """What was stored is published again as the same bytes."""
    announcement = _announcement()

    again = Announcement.model_validate(announcement.model_dump(mode="json"))

    assert again.model_dump_json() == announcement.model_dump_json()


def test_a_status_that_consumers_do_not_know_is_refused() -> None:
    """Only the eight known states can be announced."""
    with pytest.raises(ValidationError):
        NotificationContent.model_validate({"title": "t", "message": "m", "status": "STALLED"})
