"""Workflows by the SDK's client, with a fake in its place."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import grpc
import pytest
from dapr.ext.workflow import DaprWorkflowClient
from dapr.ext.workflow._durabletask.internal import orchestrator_service_pb2 as hub
from dapr.ext.workflow._durabletask.internal.orchestration_pb2 import ORCHESTRATION_STATUS_STALLED
from pydantic import BaseModel, ValidationError

from budeval.domain.notification import WorkflowStatus
from budeval.errors import ClusterError, SidecarError
from budeval.evals.workflows import verify_cluster
from budeval.runtime.logs import SubjectFormatter
from budeval.runtime.workflow_engine import NonRetryableError, WorkflowEngine, _without_context


class FakeRpcError(grpc.RpcError):
    """How gRPC tells that nobody answers."""

    def code(self) -> grpc.StatusCode:
        """Its status."""
        return grpc.StatusCode.UNAVAILABLE


@dataclass
class FakeName:
    """A runtime status of the SDK, or a failure's message."""

    name: str = ""
    message: str = ""


@dataclass
class FakeState:
    """What the SDK's client returns of an instance."""

    runtime_status: FakeName
    failure_details: FakeName | None = None
    name: str = "verify_cluster"
    serialized_output: str | None = None


@dataclass
class FakeClient:
    """Dapr with at most one instance in it."""

    state: FakeState | None = None
    away: bool = False
    scheduled: list[tuple[str, Any, str]] = field(default_factory=list)
    purged: list[str] = field(default_factory=list)
    closed: bool = False

    def purge_workflow(self, workflow_id: str) -> None:
        """Forget an instance."""
        self._answer()
        self.purged.append(workflow_id)

    def get_workflow_state(self, workflow_id: str, *, fetch_payloads: bool = False) -> FakeState | None:  # noqa: ARG002
        """The instance."""
        self._answer()
        return self.state

    def schedule_new_workflow(self, workflow: Any, *, instance_id: str, input: Any = None) -> str:  # noqa: A002
        """Remember it."""
        self._answer()
        self.scheduled.append((workflow.__name__, input, instance_id))
        return instance_id

    def wait_for_workflow_completion(self, workflow_id: str, *, timeout_in_seconds: int) -> None:
        """It ends at once."""

    def close(self) -> None:
        """Close the connection."""
        self.closed = True

    def _answer(self) -> None:
        if self.away:
            raise FakeRpcError


@pytest.fixture
def engine() -> Iterator[WorkflowEngine]:
    """An engine whose worker is not started."""
    engine = WorkflowEngine("127.0.0.1", 1)
    engine._client.close()
    yield engine
    engine.stop()


def _with(engine: WorkflowEngine, client: FakeClient) -> FakeClient:
    engine._client = client
    return client


def test_a_process_can_have_two_engines() -> None:
    """Registering a workflow with one engine does not spoil it for the next."""
    engines = [WorkflowEngine("127.0.0.1", 1) for _ in range(2)]

    for engine in engines:
        engine.register([verify_cluster], [("announce", print)])
        engine.stop()

    assert not hasattr(verify_cluster, "_workflow_registered")


def test_a_workflow_is_started_under_our_id(engine: WorkflowEngine) -> None:
    """Name, argument and id reach Dapr."""
    client = _with(engine, FakeClient())

    engine.schedule(verify_cluster, "verify-1", {"cluster": "first"})

    assert client.scheduled == [("verify_cluster", {"cluster": "first"}, "verify-1")]


def test_an_instance_that_is_not_there_is_none(engine: WorkflowEngine) -> None:
    """Nothing is invented for an unknown id."""
    _with(engine, FakeClient())

    assert engine.find("verify-1") is None


@pytest.mark.parametrize(
    ("name", "status"),
    [
        ("RUNNING", WorkflowStatus.RUNNING),
        ("COMPLETED", WorkflowStatus.COMPLETED),
        ("FAILED", WorkflowStatus.FAILED),
        ("SUSPENDED", WorkflowStatus.SUSPENDED),
        ("STALLED", WorkflowStatus.UNKNOWN),
    ],
)
def test_a_status_is_one_that_callers_know(engine: WorkflowEngine, name: str, status: WorkflowStatus) -> None:
    """A state that only Dapr knows is UNKNOWN to our callers, not an error."""
    _with(engine, FakeClient(FakeState(FakeName(name))))

    found = engine.find("verify-1")

    assert found is not None
    assert (found.workflow_id, found.status, found.failure) == ("verify-1", status, None)


def test_a_failure_is_told_in_its_own_words(engine: WorkflowEngine) -> None:
    """The message of the failure, as the workflow raised it."""
    state = FakeState(FakeName("FAILED"), failure_details=FakeName(message="FORBIDDEN: You may not."))
    _with(engine, FakeClient(state))

    found = engine.find("verify-1")

    assert found is not None
    assert found.failure == "FORBIDDEN: You may not."


def test_a_sidecar_that_is_away_has_a_name(engine: WorkflowEngine) -> None:
    """Starting, finding and probing end in SidecarError; gRPC's own error stays inside."""
    _with(engine, FakeClient(away=True))

    with pytest.raises(SidecarError, match="UNAVAILABLE"):
        engine.schedule(verify_cluster, "verify-1", {})
    with pytest.raises(SidecarError, match="UNAVAILABLE"):
        engine.find("verify-1")
    with pytest.raises(SidecarError, match="did not run"):
        engine.probe()


@pytest.mark.parametrize(
    ("state", "starts"),
    [
        (None, 1),
        (FakeState(FakeName("COMPLETED")), 1),
        (FakeState(FakeName("FAILED")), 1),
        (FakeState(FakeName("RUNNING")), 0),
        (FakeState(FakeName("PENDING")), 0),
    ],
    ids=["never", "completed", "failed", "running", "pending"],
)
def test_a_probe_runs_one_instance(engine: WorkflowEngine, state: FakeState | None, starts: int) -> None:
    """The probe is started anew once it has ended, and joined while it runs."""
    client = _with(engine, FakeClient(state))

    engine.probe()

    assert len(client.scheduled) == starts


class FakeInput(BaseModel):
    """An activity's argument."""

    number: int


@dataclass(frozen=True)
class FakeContext:
    """What an activity is told of its workflow."""

    workflow_id: str = "eval-e-1"


_CONTEXT: Any = FakeContext()


def test_an_activitys_lines_name_workflow_and_evaluation() -> None:
    """By which an operator finds them."""
    line = logging.LogRecord("x", logging.INFO, "x", 1, "looked", None, None)
    lines: list[str] = []

    _without_context(lambda _argument: lines.append(SubjectFormatter("%(message)s").format(line)))(
        _CONTEXT, {"eval_id": "223e"}
    )

    assert lines == ["looked workflow_id=eval-e-1 eval_id=223e"]


def _wrong_input(_argument: Any) -> None:
    FakeInput.model_validate({"number": "sk-secret"})


def _raises(error: Exception) -> Any:
    def activity(_argument: Any) -> None:
        raise error

    return activity


@pytest.mark.parametrize(
    "error",
    [
        KeyError("api_key"),
        TypeError("no"),
        AttributeError("no"),
        IndexError(),
        AssertionError(),
        NotImplementedError(),
    ],
)
def test_a_mistake_in_a_program_is_not_tried_for_days(error: Exception) -> None:
    """It would be made each time; its text, which may quote anything, stays in the log."""
    with pytest.raises(NonRetryableError) as raised:
        _without_context(_raises(error))(_CONTEXT, {})

    assert str(raised.value) == f"INTERNAL: {type(error).__name__} in activity"


def test_an_argument_that_does_not_fit_is_not_tried_again() -> None:
    """Though pydantic calls it a ValueError."""
    assert issubclass(ValidationError, ValueError)
    with pytest.raises(NonRetryableError, match="INTERNAL: ValidationError in _wrong_input"):
        _without_context(_wrong_input)(_CONTEXT, {})


@pytest.mark.parametrize(
    "error", [SidecarError("away"), OSError("no files left"), RuntimeError("shut down"), ValueError("torn")]
)
def test_what_may_pass_is_tried_again(error: Exception) -> None:
    """As whatever happens while a service stops."""
    with pytest.raises(type(error)):
        _without_context(_raises(error))(_CONTEXT, {})


def test_what_the_cluster_refuses_is_not_tried_again() -> None:
    """With its code, by which the workflow tells it."""
    error = ClusterError("you may not", code="FORBIDDEN", retryable=False)

    with pytest.raises(NonRetryableError, match="FORBIDDEN: you may not"):
        _without_context(_raises(error))(_CONTEXT, {})


def test_a_purge_may_be_repeated(engine: WorkflowEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is no instance there is nothing to purge."""
    client = FakeClient(FakeState(FakeName("COMPLETED")))
    monkeypatch.setattr(engine, "_client", client)

    engine.purge("w-1")
    client.state = None
    engine.purge("w-1")

    assert client.purged == ["w-1"]
    client.away = True
    with pytest.raises(SidecarError):
        engine.purge("w-1")


class FakeHub:
    """Dapr behind the SDK's own client: one instance, which it holds still."""

    def __init__(self) -> None:
        self.purged: list[hub.PurgeInstancesRequest] = []

    def GetInstance(self, request: hub.GetInstanceRequest) -> hub.GetInstanceResponse:  # noqa: N802 - gRPC's
        """The instance."""
        answer = hub.GetInstanceResponse(exists=True)
        answer.workflowState.instanceId = request.instanceId
        answer.workflowState.workflowStatus = ORCHESTRATION_STATUS_STALLED
        return answer

    def PurgeInstances(self, request: hub.PurgeInstancesRequest) -> None:  # noqa: N802 - gRPC's
        """Remember it."""
        self.purged.append(request)


def test_what_is_held_still_is_purged_by_force(engine: WorkflowEngine) -> None:
    """Dapr purges it in no other way; through the SDK's client as it is, since its inside is used."""
    client, dapr = DaprWorkflowClient(host="127.0.0.1", port="1"), FakeHub()
    client._DaprWorkflowClient__obj._stub = dapr
    engine._client = client

    found = engine.find("w-1")
    engine.purge("w-1")

    assert found is not None
    assert found.status is WorkflowStatus.UNKNOWN
    (request,) = dapr.purged
    assert (request.instanceId, request.recursive, request.force) == ("w-1", True, True)
