"""Workflows: registration, start, and what is known of an instance.

Dapr keeps instances in its state store and calls this process for each step; what may be done in a workflow's
body is said in docs/architecture.md.
"""

import inspect
import logging
import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

import grpc
from dapr.ext import workflow as wf
from dapr.ext.workflow._durabletask.internal import orchestrator_service_pb2 as hub
from dapr.ext.workflow.logger import LoggerOptions
from pydantic import BaseModel, ConfigDict, ValidationError

from budeval.domain.notification import WorkflowStatus
from budeval.errors import BudevalError, SidecarError
from budeval.runtime.logs import about

T = TypeVar("T")

_log = logging.getLogger(__name__)

_PROBE_ID = "readiness-probe"
_PROBE_SECONDS = 4.0
_CALL_SECONDS = 5.0
_CALLS_AT_ONCE = 16
_ACTIVITIES_AT_ONCE = 256
_WORK_ITEMS_AT_ONCE = 8192
_NEVER_HEALS = (TypeError, AttributeError, LookupError, AssertionError, NotImplementedError, ValidationError)
"""Mistakes in a program: another try makes them again."""
_ACTIVE = {"RUNNING", "PENDING", "SUSPENDED"}

WorkflowBody = Callable[..., Any]
Activity = Callable[[Any], Any]
"""Takes and returns JSON values. Runs at least once, so a repetition must be harmless. An `async` one runs in
the event loop of the worker, and holds no thread while it waits."""


class WorkflowSnapshot(BaseModel):
    """An instance as Dapr's workflow API shows it."""

    model_config = ConfigDict(frozen=True)

    workflow_id: str
    name: str
    status: WorkflowStatus
    output: str | None = None
    """What the workflow returned, as JSON."""
    failure: str | None = None
    """Why it failed: `CODE: message`."""


class NonRetryableError(Exception):
    """Another try of the activity would fail the same way; its text is `CODE: message`."""


class WorkflowEngine:
    """This process's worker and its client, both by the sidecar's gRPC port."""

    def __init__(self, host: str, port: int) -> None:
        # The SDK would add a handler of its own to each of its loggers, and every line would come twice.
        quiet = LoggerOptions(log_handler=logging.NullHandler())
        self._runtime = wf.WorkflowRuntime(
            host=host,
            port=str(port),
            logger_options=quiet,
            # Activities wait in threads, for a free playbook worker above all; the default are six in all.
            maximum_thread_pool_workers=_ACTIVITIES_AT_ONCE,
            # Those that wait in the event loop must not keep others from beginning; two cores would have 200.
            maximum_concurrent_activity_work_items=_WORK_ITEMS_AT_ONCE,
            # For newer sidecars; on 1.18 it would only cache every history for an hour.
            disable_stateful_history=True,
        )
        self._client = wf.DaprWorkflowClient(host=host, port=str(port), logger_options=quiet)
        self._starting: threading.Thread | None = None
        self._runtime.register_workflow(_unmarked(_readiness_probe), name=_readiness_probe.__name__)
        self._aside = ThreadPoolExecutor(max_workers=1, thread_name_prefix="readiness")
        self._calls = ThreadPoolExecutor(max_workers=_CALLS_AT_ONCE, thread_name_prefix="workflow-client")
        self._probing: Future[None] | None = None

    def register(self, workflows: Iterable[WorkflowBody], activities: Iterable[tuple[str, Activity]]) -> None:
        """Make workflows and activities known. Before `start`: an unknown name fails an instance for good."""
        for body in workflows:
            self._runtime.register_workflow(_unmarked(body), name=body.__name__)
        for name, activity in activities:
            self._runtime.register_activity(_without_context(activity), name=name)

    def start(self) -> None:
        """Connect in the background: without a sidecar the SDK waits for ever, and `/readyz` says so."""
        self._starting = threading.Thread(target=self._runtime.start, name="workflow-runtime", daemon=True)
        self._starting.start()

    def probe(self) -> None:
        """Run a workflow that does nothing: it needs the scheduler, placement, state store and this worker.

        Always the same instance, which Dapr starts anew once it has ended. The calls have no time limit of
        their own, so they run aside, and one that hangs is not joined by others.

        Raises:
            SidecarError: it did not end in time.
        """
        if self._probing is None or self._probing.done():
            self._probing = self._aside.submit(self._run_probe)
        try:
            self._probing.result(_PROBE_SECONDS)
        except (TimeoutError, grpc.RpcError) as error:
            text = f"a workflow did not run within {_PROBE_SECONDS:.0f} s: scheduler or placement may be away"
            raise SidecarError(text) from error

    def _run_probe(self) -> None:
        state = self._client.get_workflow_state(_PROBE_ID)
        if state is None or state.runtime_status.name not in _ACTIVE:
            self._client.schedule_new_workflow(_readiness_probe, instance_id=_PROBE_ID)
        self._client.wait_for_workflow_completion(_PROBE_ID, timeout_in_seconds=int(_PROBE_SECONDS))

    def stop(self) -> None:
        """Take no more work. Activities that run now are run again by the next worker."""
        self._aside.shutdown(wait=False)
        self._calls.shutdown(wait=False, cancel_futures=True)
        self._runtime.shutdown()
        self._client.close()

    def schedule(self, workflow: WorkflowBody, workflow_id: str, argument: Any) -> None:
        """Start an instance under an id of ours.

        Raises:
            SidecarError: Dapr refused or did not answer.
        """
        self._limited(
            lambda: self._client.schedule_new_workflow(workflow, input=argument, instance_id=workflow_id),
            "the workflow could not be started",
        )
        _log.info("started workflow_id=%s workflow=%s", workflow_id, workflow.__name__)

    def schedule_once(self, workflow: WorkflowBody, workflow_id: str, argument: Any) -> None:
        """Start an instance unless there is, or was, one with this id: Dapr would run an ended one again.

        Raises:
            SidecarError: Dapr refused or did not answer, and there is none.
        """
        if self.find(workflow_id) is not None:
            return
        try:
            self.schedule(workflow, workflow_id, argument)
        except SidecarError:
            if self.find(workflow_id) is None:
                raise
            # The same request came twice at once, and the other one was faster.

    def find(self, workflow_id: str) -> WorkflowSnapshot | None:
        """What is known of an instance, None where there is none.

        Raises:
            SidecarError: Dapr did not answer.
        """
        if workflow_id == _PROBE_ID:
            return None
        state = self._limited(
            lambda: self._client.get_workflow_state(workflow_id, fetch_payloads=True),
            "the workflow's state could not be read",
        )
        if state is None:
            return None
        failure = state.failure_details.message if state.failure_details else None
        return WorkflowSnapshot(
            workflow_id=workflow_id,
            name=state.name,
            status=_status_of(state.runtime_status.name),
            output=state.serialized_output,
            failure=failure,
        )

    def is_active(self, workflow_id: str) -> bool:
        """Whether an instance exists and has not ended.

        Raises:
            SidecarError: Dapr did not answer.
        """
        snapshot = self.find(workflow_id)
        return snapshot is not None and snapshot.status in _ACTIVE

    def raise_event(self, workflow_id: str, event: str, data: Any) -> None:
        """Raise an event to an instance. One that has ended drops it.

        Raises:
            SidecarError: Dapr did not answer, or there is no such instance.
        """
        self._limited(
            lambda: self._client.raise_workflow_event(workflow_id, event, data=data),
            "the event could not be raised",
        )

    def purge(self, workflow_id: str) -> None:
        """Forget an instance that has ended or is stalled, with its history. May be repeated.

        Raises:
            SidecarError: Dapr did not answer.
        """
        found = self.find(workflow_id)
        if found is None:
            return
        purge = (
            self._purge_by_force if found.status is WorkflowStatus.UNKNOWN else self._client.purge_workflow
        )
        self._limited(lambda: purge(workflow_id), "the workflow's history could not be purged")

    def _purge_by_force(self, workflow_id: str) -> None:
        """Dapr neither terminates nor purges a stalled instance otherwise, and the SDK has no word for it."""
        request = hub.PurgeInstancesRequest(instanceId=workflow_id, recursive=True, force=True)
        self._client._DaprWorkflowClient__obj._stub.PurgeInstances(request)  # noqa: SLF001

    def _limited(self, call: Callable[[], T], failed: str) -> T:
        """Make a call of the SDK's client, which has no time limits, and don't wait for it for ever."""
        future = self._calls.submit(call)
        try:
            return future.result(_CALL_SECONDS)
        except TimeoutError as error:
            future.cancel()  # what has not begun shall not begin after its caller was told that it failed
            raise SidecarError(f"{failed}: no answer within {_CALL_SECONDS:.0f} s") from error
        except grpc.RpcError as error:
            raise SidecarError(f"{failed}: {_reason(error)}") from error


def _readiness_probe(_context: wf.DaprWorkflowContext, _argument: Any) -> Generator[Any, Any, None]:
    """Ends in its first turn."""
    yield from ()


def _unmarked(body: WorkflowBody) -> WorkflowBody:
    """A function of its own: the SDK marks what it registers, and refuses it in a second engine."""

    def run(context: wf.DaprWorkflowContext, argument: Any) -> Any:
        return body(context, argument)

    return run


def _without_context(activity: Activity) -> Callable[[Any, Any], Any]:
    def run(context: wf.WorkflowActivityContext, argument: Any) -> Any:
        with about(**_ids(context, argument)), _told_to_dapr(activity):
            return activity(argument)

    async def run_in_loop(context: wf.WorkflowActivityContext, argument: Any) -> Any:
        with about(**_ids(context, argument)), _told_to_dapr(activity):
            return await activity(argument)

    return run_in_loop if inspect.iscoroutinefunction(activity) else run


@contextmanager
def _told_to_dapr(activity: Activity) -> Iterator[None]:
    """A failure of ours, in the form in which Dapr tries it again or does not."""
    try:
        yield
    except BudevalError as error:
        if error.retryable:
            raise
        # The SDK knows what not to try again by the name of the class alone.
        raise NonRetryableError(str(error)) from error
    except _NEVER_HEALS as error:
        _log.exception("activity %s has a mistake", activity.__name__)
        raise NonRetryableError(f"INTERNAL: {type(error).__name__} in {activity.__name__}") from error


def _ids(context: wf.WorkflowActivityContext, argument: Any) -> dict[str, str]:
    given = argument if isinstance(argument, dict) else {}
    return {"workflow_id": context.workflow_id} | {
        name: given[name] for name in ("eval_id", "job_id") if given.get(name)
    }


def _status_of(name: str) -> WorkflowStatus:
    """Dapr knows more states than our callers do, as STALLED: what it holds still, and does not go on."""
    return WorkflowStatus(name) if name in WorkflowStatus.__members__ else WorkflowStatus.UNKNOWN


def _reason(error: grpc.RpcError) -> str:
    code = getattr(error, "code", lambda: None)()
    return getattr(code, "name", type(error).__name__)
