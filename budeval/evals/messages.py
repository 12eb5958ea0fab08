"""Evaluation requests by pub/sub: the same body as `POST /evals/start`, in a CloudEvent's `data`.

Secrets come by reference only (`secret_ref`): messages are kept by brokers and seen by many. A message that
cannot be taken in is answered by an event with number 0, if it tells whom, and is not delivered again; only
where our own dependencies are away the broker is asked to try later, and those behind it wait. Where its id
is that of an evaluation that is there, whose events say how that one is, the log alone tells of the refusal.
"""

import json
import logging
from typing import Any
from uuid import UUID

from fastapi import APIRouter, Request
from fastapi.concurrency import run_in_threadpool
from pydantic import ValidationError

from budeval.api.http_errors import first_problem
from budeval.config import Settings
from budeval.domain.evaluation import Audience, workflow_id
from budeval.domain.notification import NotificationContent, WorkflowStatus
from budeval.domain.steps import STATUS_EVENT
from budeval.errors import BudevalError, RequestError, SidecarError
from budeval.evals.announcer import announcement_of
from budeval.evals.intake import QUEUE_FULL, Intake
from budeval.evals.schema import EvaluationRequest, NotificationMetadata
from budeval.runtime.sidecar import Sidecar

ROUTE = "/messages/evaluations"

_log = logging.getLogger(__name__)


def message_routes(settings: Settings, intake: Intake, sidecar: Sidecar) -> APIRouter:
    """The subscription, as Dapr asks for it, and the route it delivers to."""
    router = APIRouter(include_in_schema=False)

    @router.get("/dapr/subscribe")
    def subscriptions() -> list[dict[str, Any]]:
        return [
            {
                "pubsubname": settings.pubsub,
                "topic": settings.request_topic,
                "route": ROUTE,
                "deadLetterTopic": settings.dead_letter_topic,
            }
        ]

    @router.post(ROUTE)
    async def receive(request: Request) -> dict[str, str]:
        # As it comes: what the framework cannot parse it would refuse, and the broker would bring it again.
        body = await request.body()
        return {"status": await run_in_threadpool(_take_in, body, settings, intake, sidecar)}

    return router


def _take_in(body: bytes, settings: Settings, intake: Intake, sidecar: Sidecar) -> str:
    """What Dapr is told: https://docs.dapr.io/reference/api/pubsub_api/#expected-http-response."""
    message = _message_in(body)
    try:
        intake.accept(_parsed(message))
    except SidecarError:
        _log.exception("a request is delivered again")
        return "RETRY"
    except BudevalError as error:
        if error.code == QUEUE_FULL:
            _log.warning("a request is delivered again: %s", error)
            return "RETRY"
        eval_id = _eval_id_of(message)
        _log.warning("refused a request eval_id=%s: %s", eval_id, error)
        if not intake.knows(eval_id):
            _refuse(settings, sidecar, message, error)
    except Exception:  # noqa: BLE001 - whatever it is: those behind it wait, and it would fail again
        _log.exception("a request goes to the dead letters")
        return "DROP"
    return "SUCCESS"


def _message_in(body: bytes) -> Any:
    """The request in a CloudEvent; None where there is none that could be read."""
    try:
        event = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return _unnested(event.get("data")) if isinstance(event, dict) else None


def _unnested(message: Any) -> Any:
    """As callers of the original service send it, the request is once more in a `data`."""
    if not isinstance(message, dict) or not (message.get("topic") and message.get("pubsubname")):
        return message
    inner = message.get("data")
    outer = {name: value for name, value in message.items() if name != "data"}
    return {**outer, **inner} if isinstance(inner, dict) else message


def _parsed(message: Any) -> EvaluationRequest:
    if not isinstance(message, dict):
        raise RequestError("The message's data must be a JSON object.")
    model = message.get("eval_model_info")
    if message.get("kubeconfig") or (isinstance(model, dict) and model.get("api_key")):
        text = "A message must not carry secrets: give secret_ref, and a cluster by name."
        raise RequestError(text, code="SECRET_IN_MESSAGE", param="eval_model_info.api_key")
    try:
        return EvaluationRequest.model_validate(message)
    except ValidationError as error:
        raise first_problem(error.errors(), skip=0) from error


def _refuse(settings: Settings, sidecar: Sidecar, message: Any, error: BudevalError) -> None:
    """Tell the sender, as far as the message says who that is; always on a topic that is allowed."""
    fields = message if isinstance(message, dict) else {}
    eval_id = _eval_id_of(message)
    allowed = {settings.notification_topic, *settings.allowed_topics}
    named = fields.get("source_topic")
    names = named if isinstance(named, list) else [named]
    topics = list(dict.fromkeys(topic for topic in names if isinstance(topic, str) and topic in allowed))
    audience = _audience(
        fields.get("notification_metadata"), eval_id, topics or [settings.notification_topic]
    )
    result = {"evaluation_id": eval_id, "code": error.code, "param": error.param}
    content = NotificationContent(
        title="Evaluation Refused", message=str(error), status=WorkflowStatus.FAILED, result=result
    )
    announcement = announcement_of(audience, workflow_id(eval_id), 0, STATUS_EVENT, content)
    sidecar.publish(audience.topics, announcement)


def _eval_id_of(message: Any) -> str:
    try:
        return str(UUID(str(message["eval_id"])))
    except (ValueError, LookupError, TypeError):
        return "unknown"


def _audience(metadata: Any, eval_id: str, topics: list[str]) -> Audience:
    given = metadata if isinstance(metadata, dict) else {}
    own = {"workflow_id": workflow_id(eval_id)}
    try:
        echoed = NotificationMetadata.model_validate(
            {**own, **{name: value for name, value in given.items() if name != "topics"}}
        )
    except ValidationError:
        return Audience(**own, topics=topics)
    return Audience(**echoed.model_dump(), topics=topics)
