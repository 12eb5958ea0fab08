"""Words an evaluation's events. Pure: it numbers them, so a replay gives the same numbers."""

from typing import Any, Literal

from budeval.domain.evaluation import Audience, Evaluation
from budeval.domain.notification import (
    Announcement,
    NotificationContent,
    NotificationPayload,
    NotificationRequest,
    WorkflowStatus,
)
from budeval.domain.steps import ETA_EVENT, RESULTS_EVENT, STATUS_EVENT, TITLES

WORKFLOW_TYPE = "evaluate_model"
_MAX_DETAILS = 50

Attach = Literal["result", "metadata"]
"""Where in an event's content the activity puts the results, which the workflow's history does not hold."""


class Announcer:
    """Makes the inputs of the activity `announce_event`, one number after the other."""

    def __init__(self, evaluation: Evaluation, announced: int) -> None:
        self._evaluation = evaluation
        self.announced = announced

    def step(
        self, step: str, status: WorkflowStatus, message: str, result: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """A step began, or ended."""
        return self._event(step, TITLES[step], message, status, result)

    def status(self, status: WorkflowStatus, message: str, attach: Attach | None = None) -> dict[str, Any]:
        """The evaluation began, or ended."""
        title = {
            WorkflowStatus.STARTED: "Evaluation Started",
            WorkflowStatus.COMPLETED: "Evaluation Completed Successfully",
            WorkflowStatus.FAILED: "Evaluation Failed",
            WorkflowStatus.TERMINATED: "Evaluation Cancelled",
        }[status]
        return self._event(STATUS_EVENT, title, message, status, attach=attach)

    def eta(self, minutes: int, progress: dict[str, Any] | None = None) -> dict[str, Any]:
        """Whole minutes that are left, as text: callers parse the message. Progress rides along."""
        title = "Estimated time to completion"
        return self._event(ETA_EVENT, title, str(minutes), WorkflowStatus.RUNNING, progress)

    def results(self, message: str) -> dict[str, Any]:
        """Every run with its status. Always COMPLETED: callers read the runs' own status."""
        return self._event(
            RESULTS_EVENT, "Evaluation Results", message, WorkflowStatus.COMPLETED, attach="result"
        )

    def _event(
        self,
        event: str,
        title: str,
        message: str,
        status: WorkflowStatus,
        result: dict[str, Any] | None = None,
        *,
        attach: Attach | None = None,
    ) -> dict[str, Any]:
        self.announced += 1
        content = NotificationContent(title=title, message=message, status=status, result=result)
        announcement = announcement_of(
            self._evaluation.audience, self._evaluation.workflow_id, self.announced, event, content
        )
        return {
            "announcement": announcement.model_dump(mode="json"),
            "topics": self._evaluation.audience.topics,
            "eval_id": self._evaluation.eval_id,
            "attach": attach,
        }


def announcement_of(
    audience: Audience, subject: str, number: int, event: str, content: NotificationContent
) -> Announcement:
    """A notification in the wire shape, for an audience."""
    payload = NotificationPayload(
        category=audience.category,
        type=WORKFLOW_TYPE,
        event=event,
        workflow_id=audience.workflow_id,
        content=content,
    )
    notification = NotificationRequest(
        notification_type=audience.notification_type,
        name=audience.name,
        subscriber_ids=audience.subscriber_ids,
        payload=payload,
        actor=audience.actor,
        topic_keys=audience.topic_keys,
    )
    return Announcement(subject=subject, number=number, notification=notification)


def failure_result(evaluation: Evaluation, failures: list[tuple[str, str, str]]) -> dict[str, Any]:
    """What callers read where monitoring failed: (run id, code, message) of each failed run."""
    categories = sorted({code for _, code, _ in failures})
    return {
        "evaluation_id": evaluation.eval_id,
        "failed_jobs": len(failures),
        "error_category": categories[0] if len(categories) == 1 else "MIXED",
        "error_details": [
            {
                "job_id": run_id,
                "category": code,
                "error_type": code,
                "message": message,
                "file": None,
                "line": None,
            }
            for run_id, code, message in failures[:_MAX_DETAILS]
        ],
    }
