"""Evaluations that fail, each at its own place: said with a stable code, with every run in the results."""

import json

import httpx
import pytest

from dev.stack import Stack
from tests.e2e import evaluations
from tests.e2e.evaluations import Json, dataset, request
from tests.e2e.observe import Subscriber, wait_for

pytestmark = pytest.mark.e2e

_BLOCKED_SECONDS = 30


def _one_run_failed(service: httpx.Client, eval_id: str) -> Json:
    """The only run's result, after checks that hold for every failed evaluation."""
    state = evaluations.wait_for_end(service, eval_id)
    found = evaluations.results(service, eval_id)
    assert state["status"] == "FAILED"
    assert state["outcome"] == "FAILED"
    assert found["success"] is False
    (result,) = found["results"]
    assert result["status"] == "error"
    assert result["scores"] == []
    assert state["error"].startswith(f"{result['code']}: ")
    workflow = wait_for(lambda: _ended_workflow(service, eval_id), "the workflow's end")
    assert workflow["status"] == "FAILED"
    assert workflow["error"].startswith(f"{result['code']}: ")
    typed: Json = result
    return typed


def _ended_workflow(service: httpx.Client, eval_id: str) -> Json | None:
    """The record ends before the last announcement, and the workflow after it."""
    workflow: Json = service.get(f"/workflow/eval-{eval_id}/status").json()
    return workflow if workflow["status"] != "RUNNING" else None


def _nothing_left(stack: Stack, eval_id: str, namespace: str = "budeval") -> None:
    selector = f"--selector=budeval.dev/eval-id={eval_id}"
    left = stack.kubectl(1, "get", "jobs,pods,configmaps,secrets", "-n", namespace, selector, "-o", "name")
    assert left.split() == []


@pytest.mark.parametrize(
    ("changes", "code", "step"),
    [
        ({"namespace": "nowhere"}, "FORBIDDEN", "verify_cluster_connection"),
        ({"claim": "no-such-claim"}, "NAMESPACE_OR_PVC_MISSING", "verify_cluster_connection"),
    ],
    ids=["wrong-namespace", "missing-claim"],
)
def test_a_cluster_that_cannot_be_used(
    service: httpx.Client, subscriber: Subscriber, changes: Json, code: str, step: str
) -> None:
    """Told at the first step, and in the words that callers wait for: monitoring FAILED, results, the end."""
    eval_id = evaluations.start(service, request(**changes))

    result = _one_run_failed(service, eval_id)
    events = evaluations.told(subscriber, eval_id)

    assert result["code"] == code
    assert evaluations.without_progress(events) == [
        ("evaluate_model_status", "STARTED"),
        (step, "RUNNING"),
        (step, "FAILED"),
        ("monitor_eval_job_progress", "FAILED"),
        ("results", "COMPLETED"),
        ("evaluate_model_status", "FAILED"),
    ]
    assert [number for number, _, _ in events] == list(range(1, len(events) + 1))


def test_an_unreachable_endpoint(stack: Stack, service: httpx.Client, subscriber: Subscriber) -> None:
    """Seen by the pod before the engine starts; the run's log tells it too, and nothing is left."""
    body = request(endpoint="http://10.88.0.1:9/v1")
    eval_id = evaluations.start(service, body)

    result = _one_run_failed(service, eval_id)
    events = evaluations.without_progress(evaluations.told(subscriber, eval_id))

    assert result["code"] == "ENDPOINT_UNREACHABLE"
    assert ("monitor_eval_job_progress", "FAILED") in events
    log = service.get(f"/evals/{eval_id}/logs", params={"run_id": result["run_id"]}).json()["log"]
    assert "ENDPOINT_UNREACHABLE" in log
    _nothing_left(stack, eval_id)


def test_a_wrong_api_key(service: httpx.Client, subscriber: Subscriber, refusing_endpoint: str) -> None:
    """Refused keys are told as such, and appear nowhere although the endpoint echoes them."""
    key = "sk-wrong-and-secret-0815"
    eval_id = evaluations.start(service, request(endpoint=refusing_endpoint, api_key=key))

    result = _one_run_failed(service, eval_id)

    assert result["code"] == "ENDPOINT_AUTH_FAILED"
    evaluations.told(subscriber, eval_id)
    everything = [
        str(subscriber.events(f"eval-{eval_id}")),
        *(service.get(f"/evals/{eval_id}{part}").text for part in ("", "/results", "/events")),
        service.get(f"/evals/{eval_id}/logs", params={"run_id": result["run_id"]}).text,
        service.get(f"/workflow/eval-{eval_id}/status").text,
    ]
    assert not [text for text in everything if key in text]


def _blocked_run(service: httpx.Client, eval_id: str) -> Json:
    """The only run, once it is told as blocked: within half a minute."""

    def blocked() -> Json | None:
        (run,) = service.get(f"/evals/{eval_id}").json()["runs"].values()
        return dict(run) if run["state"] == "blocked" else None

    return wait_for(blocked, "the run to be told as blocked", _BLOCKED_SECONDS)


def test_a_run_that_no_node_takes_is_told_as_blocked(stack: Stack, service: httpx.Client) -> None:
    """Within half a minute, with the reason; given up only after the time that the request allows."""
    huge = dataset(resources={"cpu": "999", "memory": "1Gi"})
    eval_id = evaluations.start(service, request(huge, timeouts={"start": 45}))

    run = _blocked_run(service, eval_id)
    result = _one_run_failed(service, eval_id)

    assert run["code"] == "UNSCHEDULABLE"
    assert "Insufficient cpu" in run["message"]
    assert result["code"] == "UNSCHEDULABLE"
    _nothing_left(stack, eval_id)


def test_a_quota_on_jobs_is_waited_for(stack: Stack, service: httpx.Client) -> None:
    """The run is told as blocked while no Job may be made, and is evaluated once one may."""
    body = request(dataset(limit=1))
    stack.kubectl(1, "create", "quota", "no-jobs", "-n", "budeval", "--hard=count/jobs.batch=0")
    try:
        evaluations.start(service, body)
        blocked = _blocked_run(service, body["eval_id"])
    finally:
        stack.kubectl(1, "delete", "quota", "no-jobs", "-n", "budeval")

    state = evaluations.wait_for_end(service, body["eval_id"])

    assert blocked["code"] == "QUOTA_EXCEEDED"
    assert (state["status"], state["outcome"]) == ("COMPLETED", "COMPLETED")


def test_an_image_that_cannot_be_pulled(
    stack: Stack, service: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Blocked first, a failure after a minute."""
    assert service
    monkeypatch.setenv("BUDEVAL_IMAGE_OPENCOMPASS", "10.88.0.1:9/no-such-image:1")
    stack.restart("apps")
    try:
        eval_id = evaluations.start(service, request())
        result = _one_run_failed(service, eval_id)
    finally:
        monkeypatch.undo()
        stack.restart("apps")

    assert result["code"] == "IMAGE_PULL"
    assert "no-such-image" in result["error"]
    _nothing_left(stack, eval_id)


def test_all_runs_failing(service: httpx.Client, subscriber: Subscriber) -> None:
    """Every run is in the results with its own reason; monitoring tells them as callers expect it."""
    missing = dataset("missing", source={"inline": None, "path": "no-such-file.jsonl"})
    broken = dataset("broken", source={"inline": None, "path": "not-this-one-either.jsonl"})
    eval_id = evaluations.start(service, request(missing, broken))

    state = evaluations.wait_for_end(service, eval_id)
    found = evaluations.results(service, eval_id)
    evaluations.told(subscriber, eval_id)

    assert state["outcome"] == "FAILED"
    assert {result["run_id"]: result["code"] for result in found["results"]} == {
        missing["run_id"]: "DATASET_INVALID",
        broken["run_id"]: "DATASET_INVALID",
    }
    workflow = evaluations.ended_workflow(eval_id)
    shown = json.loads(workflow["properties"]["dapr.workflow.custom_status"])
    assert (workflow["runtimeStatus"], shown["extraction_status"]) == ("FAILED", "failed")
    assert [item["code"] for item in shown["extraction_results"]] == ["DATASET_INVALID"] * 2
    events = {
        (event["data"]["payload"]["event"], event["data"]["payload"]["content"]["status"]): event
        for event in subscriber.events(f"eval-{eval_id}")
    }
    content = events["monitor_eval_job_progress", "FAILED"]["data"]["payload"]["content"]
    assert content["result"]["evaluation_id"] == eval_id
    assert content["result"]["failed_jobs"] == 2
    assert {item["job_id"] for item in content["result"]["error_details"]} == {
        missing["run_id"],
        broken["run_id"],
    }
