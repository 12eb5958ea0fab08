"""`make demo`: an evaluation of the local model on three small datasets, told as it goes on."""

import time
import uuid
from pathlib import Path
from typing import Any

import httpx

from budeval.cli_watch import watch
from budeval.client import BudevalClient
from budeval.errors import BudevalError
from dev import apps, console, model
from dev.errors import DevError
from dev.layout import CHECKOUT
from dev.stack import Stack

DATASETS = CHECKOUT / "examples" / "datasets"
_EVALUATORS = {"capitals": "contains", "reading": "contains", "sums": "last_number"}
_DEADLINE_SECONDS = 60.0
_POLL_SECONDS = 0.5
_LAST_EVENT = "evaluate_model_status"
_ENDED = {"COMPLETED", "FAILED"}


def request(endpoint: str) -> dict[str, Any]:
    """The demo's evaluation: SmolLM2 on each dataset of `examples/datasets`, a run for each.

    Args:
        endpoint: base URL of the model, as pods reach it.
    """
    return {
        "eval_id": str(uuid.uuid4()),
        "experiment_id": str(uuid.uuid4()),
        "eval_model_info": {
            "model_name": model.MODEL_NAME,
            "endpoint": endpoint,
            "api_key": "sk-not-checked-by-the-local-model",
            "extra_args": {"max_out_len": 48, "batch_size": 4},
        },
        "eval_datasets": [
            _dataset(DATASETS / f"{name}.jsonl", evaluator) for name, evaluator in _EVALUATORS.items()
        ],
        "labels": {"from": "make-demo"},
    }


def _dataset(rows: Path, evaluator: str) -> dict[str, Any]:
    return {
        "dataset_id": rows.stem,
        "run_id": f"{rows.stem}-{uuid.uuid4().hex[:8]}",
        # Three at once on two cores.
        "resources": {"cpu": "300m", "memory": "2Gi"},
        "source": {
            "inline": rows.read_text(),
            "prompt": "Question: {question}\nAnswer:",
            "evaluator": evaluator,
        },
    }


def run(stack: Stack) -> None:
    """Evaluate, show progress, scores and the events that the subscriber got.

    Raises:
        DevError: the evaluation did not succeed, or the subscriber did not hear of its end.
    """
    if stack.plan.kubeconfig:
        raise DevError(
            "The demo needs the stack's own cluster: pods of another one do not reach the local model. "
            "Evaluate a model of yours: python -m budeval submit --help"
        )
    try:
        with BudevalClient(stack.service_url) as client:
            body = request(model.chat_endpoint(stack.clusters[0].node_address))
            client.start(body)
            console.say(
                f"started evaluation {body['eval_id']} of {model.MODEL_NAME} on {', '.join(_EVALUATORS)}"
            )
            succeeded = watch(client, body["eval_id"])
    except BudevalError as error:
        raise DevError(str(error)) from error
    print("\nWhat the example subscriber received:")
    for event in _events(stack, body["eval_id"]):
        payload = event["data"]["payload"]
        content = payload["content"]
        number = event["id"].rpartition("/")[2]
        print(f"  {number:>3} {payload['event']:<28} {content['status']:<10} {content['message'][:70]}")
    if not succeeded:
        raise DevError("The evaluation did not succeed; its table above says why.")
    _say_how_to_go_on(stack, body["eval_id"])


def _events(stack: Stack, eval_id: str) -> list[dict[str, Any]]:
    """In the order of their numbers. The subscriber is asked in the namespace: it is not brought out."""
    deadline = time.monotonic() + _DEADLINE_SECONDS
    while time.monotonic() < deadline:
        ours = [
            event for event in stack.namespace.call(_received) if event["id"].startswith(f"eval-{eval_id}/")
        ]
        if any(_is_last(event["data"]["payload"]) for event in ours):
            return sorted(ours, key=lambda event: int(event["id"].rpartition("/")[2]))
        time.sleep(_POLL_SECONDS)
    raise DevError("the subscriber did not receive the last event")


def _received() -> list[dict[str, Any]]:
    url = f"http://127.0.0.1:{apps.SUBSCRIBER_PORT}/events"
    try:
        events: list[dict[str, Any]] = httpx.get(url, timeout=10, trust_env=False).raise_for_status().json()
    except httpx.HTTPError as error:
        raise DevError(f"{url} does not answer: {error}") from error
    return events


def _is_last(payload: dict[str, Any]) -> bool:
    return payload["event"] == _LAST_EVENT and payload["content"]["status"] in _ENDED


def _say_how_to_go_on(stack: Stack, eval_id: str) -> None:
    command = ".venv/bin/python -m budeval"
    print(
        f"\nThe service stays up at {stack.service_url} (API: {stack.service_url}/docs). Go on with:\n"
        f"  {command} results {eval_id} --format json\n"
        f"  {command} doctor                   is everything right, and what to do if not\n"
        f"  {command} submit --help            a model of your own: endpoint, key, datasets\n"
        "  make status                     every part of the stack\n"
        "  make down                       stop and remove everything\n"
        "  KUBECONFIG=~/.kube/config make up   after that: the service with a cluster of your own"
    )
