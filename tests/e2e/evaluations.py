"""Requests for evaluations on the real stack, and ways to see how they end."""

import json
import uuid
from typing import Any

import httpx

from tests.e2e.observe import Subscriber, wait_for

MODEL_ENDPOINT = "http://10.88.0.1:8080/v1"
"""SmolLM2, as pods of every cluster of the stack reach it."""

SIDECAR = "http://127.0.0.1:13500"
"""The service's own."""
_ENDED = {"COMPLETED", "FAILED", "TERMINATED"}
_SECONDS = 540

Json = dict[str, Any]


def sums(count: int = 8) -> str:
    """Rows that a small model partly solves."""
    rows = [{"question": f"What is {n} + {n + 1}?", "answer": str(2 * n + 1)} for n in range(1, count + 1)]
    return "".join(json.dumps(row) + "\n" for row in rows)


def dataset(name: str = "sums", **changes: Any) -> Json:
    """A run on rows of our own."""
    source = {
        "inline": sums(),
        "prompt": "Question: {question}\nAnswer:",
        "evaluator": "last_number",
        **changes.pop("source", {}),
    }
    return {"dataset_id": name, "run_id": f"{name}-{uuid.uuid4().hex[:8]}", "source": source, **changes}


def request(*datasets: Json, **changes: Any) -> Json:
    """A whole request; `endpoint` and `api_key` go into the model's part."""
    model = {
        "model_name": "smollm2-135m-instruct",
        "endpoint": changes.pop("endpoint", MODEL_ENDPOINT),
        "api_key": changes.pop("api_key", "sk-e2e-secret"),
        "extra_args": {"max_out_len": 48},
        **changes.pop("model", {}),
    }
    return {
        "eval_id": str(uuid.uuid4()),
        "experiment_id": str(uuid.uuid4()),
        "eval_model_info": {name: value for name, value in model.items() if value is not None},
        "eval_datasets": list(datasets) or [dataset()],
        **changes,
    }


def start(service: httpx.Client, body: Json) -> str:
    """Start an evaluation; its id."""
    answer = service.post("/evals/start", json=body)
    assert answer.status_code == 200, answer.text
    assert answer.json()["workflow_id"] == f"eval-{body['eval_id']}"
    return str(body["eval_id"])


def wait_for_end(service: httpx.Client, eval_id: str) -> Json:
    """The evaluation's state once it has ended and was cleaned up."""

    def ended() -> Json | None:
        state: Json = service.get(f"/evals/{eval_id}").raise_for_status().json()
        return state if state["status"] in _ENDED and state["ended"] else None

    return wait_for(ended, f"the end of evaluation {eval_id}", _SECONDS)


def results(service: httpx.Client, eval_id: str) -> Json:
    """The results as the API gives them."""
    answer: Json = service.get(f"/evals/{eval_id}/results").raise_for_status().json()
    return answer


def ended_workflow(eval_id: str) -> Json:
    """An evaluation's workflow as Dapr's own API shows it, once it has ended."""

    def ended() -> Json | None:
        url = f"{SIDECAR}/v1.0/workflows/dapr/eval-{eval_id}"
        workflow: Json = httpx.get(url, trust_env=False, timeout=30).json()
        return workflow if workflow["runtimeStatus"] != "RUNNING" else None

    return wait_for(ended, "the workflow's end")


def told(subscriber: Subscriber, eval_id: str) -> list[tuple[int, str, str]]:
    """(number, event, status) of what the subscriber got, in order of the numbers, once the last has come."""

    def all_of_them() -> list[Json] | None:
        events = subscriber.events(f"eval-{eval_id}")
        last = [event for event in events if _payload(event)["event"] == "evaluate_model_status"]
        return events if any(_payload(event)["content"]["status"] in _ENDED for event in last) else None

    events = wait_for(all_of_them, f"the last event of {eval_id}")
    numbered = [
        (int(event["id"].rpartition("/")[2]), _payload(event)["event"], _payload(event)["content"]["status"])
        for event in events
    ]
    return sorted(numbered)


def _payload(event: Json) -> Json:
    payload: Json = event["data"]["payload"]
    return payload


def without_progress(events: list[tuple[int, str, str]]) -> list[tuple[str, str]]:
    """The events but for `eta`, of which there are as many as it takes."""
    return [(event, status) for _, event, status in events if event != "eta"]


WHOLE_STORY = [
    ("evaluate_model_status", "STARTED"),
    ("verify_cluster_connection", "RUNNING"),
    ("verify_cluster_connection", "COMPLETED"),
    ("preparing_eval_engine", "RUNNING"),
    ("preparing_eval_engine", "COMPLETED"),
    ("deploy_eval_job", "RUNNING"),
    ("deploy_eval_job", "COMPLETED"),
    ("monitor_eval_job_progress", "RUNNING"),
    ("monitor_eval_job_progress", "COMPLETED"),
    ("extract_results", "RUNNING"),
    ("extract_results", "COMPLETED"),
    ("results", "COMPLETED"),
    ("evaluate_model_status", "COMPLETED"),
]
"""What is told of an evaluation that has scores."""
