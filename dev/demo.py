"""`make demo`: the service at work on the real stack, told step by step."""

import json
import time
from typing import Any

import httpx

from dev import apps, console
from dev.errors import DevError
from dev.stack import Stack

_DEADLINE_SECONDS = 180.0
_POLL_SECONDS = 0.5
_ENDED = {"COMPLETED", "FAILED", "TERMINATED"}


def run(stack: Stack) -> None:
    """Verify the stack's cluster and show what the subscriber was told.

    Raises:
        DevError: the verification failed, or did not end in time.
    """
    started = _send(f"{stack.service_url}/clusters:verify", {})
    workflow = started["workflow_id"]
    console.say(f"started workflow {workflow}: {started['steps'][0]['description']}")
    state = _follow(f"{stack.service_url}/workflow/{workflow}/status")
    print(f"\nWorkflow {workflow}: {state['status']}")
    print(json.dumps(state["verification"], indent=2))
    print("\nWhat the example subscriber received:")
    for event in _events(stack, workflow):
        content = event["data"]["payload"]["content"]
        print(f"  {event['id']}  {content['status']:<10} {content['message']}")
    if state["status"] != "COMPLETED":
        raise DevError(f"The workflow ended as {state['status']}: {state['error']}")
    print(
        f"\nThe service stays up at {stack.service_url} (API: {stack.service_url}/docs). Go on with:\n"
        "  make status                     every part of the stack\n"
        "  make down                       stop and remove everything\n"
        "  KUBECONFIG=~/.kube/config make up   after that: the service with a cluster of your own"
    )


def _follow(url: str) -> dict[str, Any]:
    deadline = time.monotonic() + _DEADLINE_SECONDS
    said = ""
    while time.monotonic() < deadline:
        state: dict[str, Any] = _send(url)
        if state["status"] != said:
            said = state["status"]
            console.say(f"workflow is {said}")
        if said in _ENDED:
            return state
        time.sleep(_POLL_SECONDS)
    raise DevError(f"{url} still says {said or 'nothing'} after {_DEADLINE_SECONDS:.0f} s")


def _events(stack: Stack, workflow: str) -> list[dict[str, Any]]:
    """The subscriber is not brought out to the host, so it is asked inside the namespace."""
    url = f"http://127.0.0.1:{apps.SUBSCRIBER_PORT}/events"
    deadline = time.monotonic() + _DEADLINE_SECONDS
    while time.monotonic() < deadline:
        received = stack.namespace.call(lambda: _send(url))
        ours = [event for event in received if event["id"].startswith(f"{workflow}/")]
        if any(event["data"]["payload"]["content"]["status"] in _ENDED for event in ours):
            return sorted(ours, key=lambda event: int(event["id"].rpartition("/")[2]))
        time.sleep(_POLL_SECONDS)
    raise DevError("the subscriber did not receive the last event")


def _send(url: str, body: dict[str, Any] | None = None) -> Any:
    try:
        answer = httpx.request("GET" if body is None else "POST", url, json=body, timeout=30, trust_env=False)
    except httpx.HTTPError as error:
        raise DevError(f"{url} does not answer: {error}") from error
    if answer.is_error:
        raise DevError(f"{url} answers {answer.status_code}: {answer.text}")
    return answer.json()
