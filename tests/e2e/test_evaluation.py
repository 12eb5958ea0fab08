"""Evaluations from request to results: the real model, through real OpenCompass, in real Jobs."""

import json
import os
import re
import signal
import time
import uuid
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from budeval.domain.evaluation import EvaluationRecord
from dev.stack import Stack
from tests.e2e import evaluations
from tests.e2e.evaluations import SIDECAR, WHOLE_STORY, Json, dataset, request
from tests.e2e.jobs import python_job
from tests.e2e.observe import Subscriber, wait_for

pytestmark = pytest.mark.e2e

_SUBSCRIBER_SIDECAR = "http://127.0.0.1:13600"


@pytest.fixture(scope="module")
def dapr() -> Json:
    """Requests to the service's own sidecar don't go through a proxy."""
    return {"trust_env": False, "timeout": 30}


def test_one_evaluation_from_request_to_results(
    stack: Stack, service: httpx.Client, subscriber: Subscriber, dapr: Json
) -> None:
    """Scores, events, workflow state and clean-up of an evaluation in which everything goes well."""
    body = request(dataset())
    eval_id = evaluations.start(service, body)
    taken_in = httpx.get(f"{SIDECAR}/v1.0/state/statestore/eval-{eval_id}", **dapr).json()
    sealed = f"{SIDECAR}/v1.0/state/statestore/sealed-{EvaluationRecord.model_validate(taken_in).sealed_as}"
    assert httpx.get(sealed, **dapr).status_code == 200

    state = evaluations.wait_for_end(service, eval_id)
    found = evaluations.results(service, eval_id)
    events = evaluations.told(subscriber, eval_id)
    workflow = evaluations.ended_workflow(eval_id)

    assert (state["status"], state["outcome"], state["error"]) == ("COMPLETED", "COMPLETED", None)
    assert found["success"] is True
    (result,) = found["results"]
    (score,) = result["scores"]
    assert (score["dataset"], score["metric"], score["unit"]) == ("sums", "accuracy", "percent")
    assert 0 <= score["score"] <= 100
    assert score["samples"] == 8
    assert score["score"] * 8 / 100 == pytest.approx(round(score["score"] * 8 / 100))

    # Each event once, in order, without a gap.
    assert evaluations.without_progress(events) == WHOLE_STORY
    assert [number for number, _, _ in events] == list(range(1, len(events) + 1))

    # The results are where the guide promises them.
    output = json.loads(workflow["properties"]["dapr.workflow.output"])
    assert workflow["runtimeStatus"] == "COMPLETED"
    assert output["extraction_status"] == "completed"
    assert output["extraction_results"] == found["results"]
    record = httpx.get(f"{SIDECAR}/v1.0/state/statestore/eval-{eval_id}", **dapr).json()
    assert record["extraction_status"] == "completed"
    assert record["extraction_results"] == found["results"]
    contents = [event["data"]["payload"]["content"] for event in subscriber.events(f"eval-{eval_id}")]
    with_results = [content for content in contents if content["title"] == "Evaluation Results"]
    assert [content["result"]["results"] for content in with_results] == [found["results"]]
    assert with_results[0]["result"]["evaluation_id"] == eval_id
    last = [content for content in contents if (content.get("metadata") or {}).get("results")]
    assert [content["metadata"]["results"] for content in last] == [found["results"]]

    # Nothing of it is left on the cluster, and its secrets are destroyed.
    selector = f"--selector=budeval.dev/eval-id={eval_id}"
    assert stack.kubectl(1, "get", "jobs,pods,cm,secrets", "-n", "budeval", selector, "-o", "name") == ""
    assert httpx.get(sealed, **dapr).status_code == 204
    assert "sk-e2e-secret" not in json.dumps([record, workflow, events, found])


def test_the_same_request_again_starts_nothing(service: httpx.Client, subscriber: Subscriber) -> None:
    """While it runs, after it has ended; another body under the same id is refused."""
    body = request(endpoint="http://10.88.0.1:9/v1")
    first = service.post("/evals/start", json=body)
    while_running = service.post("/evals/start", json=body)
    evaluations.wait_for_end(service, body["eval_id"])
    events = evaluations.told(subscriber, body["eval_id"])
    after = service.post("/evals/start", json=body)
    other = service.post("/evals/start", json={**body, "labels": {"changed": "yes"}})
    time.sleep(3)

    assert first.json() == while_running.json() == after.json()
    assert (other.status_code, other.json()["code"]) == (409, "EVALUATION_CONFLICT")
    assert evaluations.told(subscriber, body["eval_id"]) == events
    assert service.get(f"/evals/{body['eval_id']}").json()["status"] == "FAILED"


def test_two_runs_of_which_one_fails(service: httpx.Client, subscriber: Subscriber) -> None:
    """The good run's score is there, the bad run's reason too; the whole is PARTIAL and no success."""
    good = dataset()
    bad = dataset("broken", source={"inline": None, "path": "no-such-file.jsonl"})
    eval_id = evaluations.start(service, request(good, bad))

    state = evaluations.wait_for_end(service, eval_id)
    found = evaluations.results(service, eval_id)
    events = evaluations.told(subscriber, eval_id)

    assert (state["status"], state["outcome"]) == ("COMPLETED", "PARTIAL")
    assert found["success"] is False
    results = {result["run_id"]: result for result in found["results"]}
    assert results[good["run_id"]]["status"] == "success"
    assert len(results[good["run_id"]]["scores"]) == 1
    assert results[bad["run_id"]]["status"] == "error"
    assert results[bad["run_id"]]["code"] == "DATASET_INVALID"
    assert evaluations.without_progress(events) == WHOLE_STORY


def _gsm8k(stack: Stack) -> str:
    """Put made-up GSM8K data where stock datasets are looked for; the name of one that reads them."""
    row = {"question": "What is 2 + 3?", "answer": "2 + 3 = 5\n#### 5"}
    text = json.dumps(row)
    script = (
        "import pathlib; d = pathlib.Path('/workspace/shared/data/gsm8k');"
        "d.mkdir(parents=True, exist_ok=True);"
        f"[(d / n).write_text({text!r} + chr(10) + {text!r}) for n in ('train.jsonl', 'test.jsonl')]"
    )
    job = python_job("stock-data", "budeval", script)
    stack.kubectl(1, "apply", "--filename", "-", stdin=json.dumps(job))
    stack.kubectl(1, "wait", "job/stock-data", "-n", "budeval", "--for=condition=Complete", "--timeout=50s")
    stack.kubectl(1, "delete", "job", "stock-data", "-n", "budeval")
    return "demo_gsm8k_chat_gen"


def test_a_stock_dataset(stack: Stack, service: httpx.Client) -> None:
    """By the name of OpenCompass' configuration, its data on the claim, the first rows only."""
    run = {"dataset_id": _gsm8k(stack), "run_id": f"gsm8k-{uuid.uuid4().hex[:8]}", "limit": 2}
    eval_id = evaluations.start(service, request(run))

    state = evaluations.wait_for_end(service, eval_id)
    (result,) = evaluations.results(service, eval_id)["results"]

    assert state["outcome"] == "COMPLETED", result
    (score,) = result["scores"]
    assert (score["dataset"], score["dataset_id"]) == ("demo_gsm8k", "demo_gsm8k_chat_gen")
    assert (score["metric"], score["version"], score["samples"]) == ("accuracy", "1d7fe4", 2)


def test_a_second_cluster_by_kubeconfig(stack: Stack, service: httpx.Client) -> None:
    """The credential comes with the request; nothing happens on the default cluster."""
    text = (stack.layout.clusters_directory / "second.yaml").read_text()
    body = request(kubeconfig=text, endpoint="http://10.88.0.1:9/v1")
    eval_id = evaluations.start(service, body)
    seen: set[str] = set()

    def ended() -> Json | None:
        selector = f"--selector=budeval.dev/eval-id={eval_id}"
        for number in (1, 2):
            jobs = stack.kubectl(number, "get", "jobs", "-n", "budeval", selector, "-o", "name")
            seen.update(f"{number} {name}" for name in jobs.split())
        state: Json = service.get(f"/evals/{eval_id}").json()
        return state if state["ended"] else None

    state = wait_for(ended, "the end on the second cluster", 300)

    assert state["cluster"] == "from-request"
    assert evaluations.results(service, eval_id)["results"][0]["code"] == "ENDPOINT_UNREACHABLE"
    runs = {name for name in seen if "extract-results" not in name}
    assert runs == {f"2 job.batch/{body['eval_datasets'][0]['run_id']}"}


def _publish(body: Json, dapr: Json) -> None:
    answer = httpx.post(f"{_SUBSCRIBER_SIDECAR}/v1.0/publish/pubsub/budeval-requests", json=body, **dapr)
    assert answer.status_code == 204, answer.text


def test_a_request_by_pubsub(service: httpx.Client, subscriber: Subscriber, dapr: Json) -> None:
    """The same body as a message, its key by reference; delivered twice it runs once."""
    body = request(
        api_key=None, model={"secret_ref": {"name": "DEMO_API_KEY"}}, endpoint="http://10.88.0.1:9/v1"
    )
    _publish(body, dapr)
    _publish(body, dapr)

    def known() -> bool | None:
        return service.get(f"/evals/{body['eval_id']}").status_code == 200 or None

    wait_for(known, "the evaluation of the message")
    evaluations.wait_for_end(service, body["eval_id"])
    events = evaluations.told(subscriber, body["eval_id"])

    assert evaluations.results(service, body["eval_id"])["results"][0]["code"] == "ENDPOINT_UNREACHABLE"
    assert [number for number, _, _ in events] == list(range(1, len(events) + 1))


def test_a_message_with_a_secret_is_refused(
    service: httpx.Client, subscriber: Subscriber, dapr: Json
) -> None:
    """Told by an event with number 0; no evaluation exists."""
    body = request()
    _publish(body, dapr)

    def refused() -> list[Json] | None:
        return subscriber.events(f"eval-{body['eval_id']}") or None

    (event,) = wait_for(refused, "the refusal")

    assert event["id"] == f"eval-{body['eval_id']}/0"
    assert event["data"]["payload"]["content"]["result"]["code"] == "SECRET_IN_MESSAGE"
    assert "sk-e2e-secret" not in json.dumps(event)
    assert service.get(f"/evals/{body['eval_id']}").status_code == 404


def test_validate_checks_everything_and_starts_nothing(service: httpx.Client) -> None:
    """Good and bad requests, check by check."""
    good = request()
    fine = service.post("/evals:validate", json=good).json()
    wrong = service.post(
        "/evals:validate", json=request(claim="none", endpoint="http://10.88.0.1:9/v1")
    ).json()

    assert fine["ok"] is True
    assert {check["name"]: check["ok"] for check in fine["checks"]} == {
        "request": True,
        "cluster": True,
        "endpoint": True,
    }
    assert wrong["ok"] is False
    assert {check["name"]: check["code"] for check in wrong["checks"]} == {
        "request": None,
        "cluster": "NAMESPACE_OR_PVC_MISSING",
        "endpoint": "ENDPOINT_UNREACHABLE",
    }
    assert service.get(f"/evals/{good['eval_id']}").status_code == 404


def _blocked(**changes: object) -> Json:
    """An evaluation that waits as long as we like: no node has so many cores."""
    run = dataset(resources={"cpu": "999", "memory": "1Gi"})
    return request(run, timeouts={"start": changes.pop("start", 60)}, **changes)


def _status(service: httpx.Client, body: Json, state: str) -> Json:
    def there() -> Json | None:
        (run,) = service.get(f"/evals/{body['eval_id']}").json()["runs"].values()
        return run if run["state"] == state else None

    return wait_for(there, f"a run that is {state}", 90)


def test_doubled_and_stale_wake_ups(service: httpx.Client, subscriber: Subscriber, dapr: Json) -> None:
    """Events that say nothing new, many of them, early and late, change nothing but the time of a look."""
    body = _blocked(start=25)
    eval_id = evaluations.start(service, body)
    _status(service, body, "blocked")
    url = f"{SIDECAR}/v1.0/workflows/dapr/eval-{eval_id}/raiseEvent/runs_changed"
    for data in [{"check": False}] * 20 + [{"check": True}, {"tick": 1}]:
        assert httpx.post(url, json=data, **dapr).status_code == 202

    evaluations.wait_for_end(service, eval_id)
    events = evaluations.told(subscriber, eval_id)

    assert [number for number, _, _ in events] == list(range(1, len(events) + 1))
    assert evaluations.results(service, eval_id)["results"][0]["code"] == "UNSCHEDULABLE"


def test_a_watcher_that_ends_as_an_evaluation_starts(service: httpx.Client) -> None:
    """One evaluation after the other, at shorter and shorter distance: each is seen to its end."""
    for pause in (2.0, 0.0):
        first = request(endpoint="http://10.88.0.1:9/v1")
        evaluations.start(service, first)
        evaluations.wait_for_end(service, first["eval_id"])
        time.sleep(pause)
        second = _blocked(start=20)
        evaluations.start(service, second)
        assert _status(service, second, "blocked")["code"] == "UNSCHEDULABLE"
        evaluations.wait_for_end(service, second["eval_id"])


def test_an_expired_credential_of_one_member(
    stack: Stack, service: httpx.Client, doomed_kubeconfig: str
) -> None:
    """The one whose credential is not accepted any more fails with that reason; the other goes on."""
    # A refused credential is asked about for 20 s, by the watcher, the evaluation and its clean-up in turn.
    good = _blocked(start=150)
    evaluations.start(service, good)
    doomed = _blocked(start=600, kubeconfig=doomed_kubeconfig)
    evaluations.start(service, doomed)
    _status(service, good, "blocked")
    _status(service, doomed, "blocked")

    stack.kubectl(1, "delete", "serviceaccount", "doomed", "--namespace", "budeval-system")
    state = evaluations.wait_for_end(service, doomed["eval_id"])

    assert state["status"] == "FAILED"
    assert evaluations.results(service, doomed["eval_id"])["results"][0]["code"] == "AUTH_FAILED"
    assert service.get(f"/evals/{good['eval_id']}").json()["status"] == "RUNNING"
    evaluations.wait_for_end(service, good["eval_id"])
    assert evaluations.results(service, good["eval_id"])["results"][0]["code"] == "UNSCHEDULABLE"


def _a_tick_in_flight() -> bool | None:
    """Whether a playbook looks at Jobs at this moment."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            if b"check_job_status_k8s.yml" in path.read_bytes():
                return True
    return None


def test_a_restart_of_daprd_in_the_middle(stack: Stack, service: httpx.Client) -> None:
    """Sidecar and service die, twice, while a tick is on its way; nothing changes, no event is doubled."""
    body = _blocked(start=40)
    evaluations.start(service, body)
    _status(service, body, "blocked")
    for _ in range(2):
        wait_for(_a_tick_in_flight, "a look at the Jobs")
        for row in stack.status():
            if row.name == "service-sidecar":
                assert row.pid
                os.kill(row.pid, signal.SIGKILL)
        stack.up()

    state = evaluations.wait_for_end(service, body["eval_id"])
    told = service.get(f"/evals/{body['eval_id']}/events").json()["events"]

    assert state["status"] == "FAILED"
    assert evaluations.results(service, body["eval_id"])["results"][0]["code"] == "UNSCHEDULABLE"
    numbers = [event["number"] for event in told]
    assert numbers == list(range(1, len(numbers) + 1))
    streamed = service.get(f"/evals/{body['eval_id']}/events/stream").text
    assert re.findall(r"^id: (\d+)$", streamed, re.MULTILINE) == [str(number) for number in numbers]
    steps = [
        (event["notification"]["payload"]["event"], event["notification"]["payload"]["content"]["status"])
        for event in told
        if event["notification"]["payload"]["event"] != "eta"
    ]
    assert len(steps) == len(set(steps))
