"""Canaries: API keys and tokens that exist nowhere else are looked for wherever they must not be."""

import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
import yaml

from dev.stack import Stack
from tests.e2e import evaluations
from tests.e2e.canaries import Watch, files_with, forms, kept, temporary
from tests.e2e.evaluations import dataset, request
from tests.e2e.observe import Subscriber, wait_for

pytestmark = pytest.mark.e2e

_OF_A_PLAYBOOK = ("kubeconfig.yaml", "input.json")
_DELETION_SECONDS = 300


@dataclass(frozen=True)
class Secrets:
    """What a request brings, or a retry; a deletion has no use for a key."""

    kubeconfig: str
    api_key: str

    @classmethod
    def around(cls, kubeconfig: str) -> "Secrets":
        """With a key that nobody else has."""
        return cls(kubeconfig, f"sk-canary-{uuid.uuid4().hex}")

    @property
    def token(self) -> str:
        """That of the kubeconfig."""
        return str(yaml.safe_load(self.kubeconfig)["users"][0]["user"]["token"])


@pytest.mark.parametrize(
    ("ends", "outcome", "retried"),
    [("well", "COMPLETED", 409), ("badly", "FAILED", 202)],
    ids=["well", "badly"],
)
def test_secrets_are_nowhere_but_where_they_must_be(  # noqa: PLR0913, PLR0917 - fixtures
    stack: Stack,
    service: httpx.Client,
    subscriber: Subscriber,
    new_kubeconfig: Callable[[], str],
    refusing_endpoint: str,
    ends: str,
    outcome: str,
    retried: int,
) -> None:
    """In use in a playbook's own files alone, not in arguments, Jobs or ConfigMaps; afterwards nowhere.

    Those of the request, of its retry (which is refused where there is nothing to retry), of its deletion.
    """
    began = time.time()
    # A service that was killed with its workers, as by other tests, leaves some (docs/operations.md).
    private_before = set(temporary(stack).glob("budeval-run-*"))
    first, again, last = (Secrets.around(new_kubeconfig()) for _ in range(3))
    words = [first.api_key, first.token, again.api_key, again.token, last.token]
    canaries = [form for word in words for form in forms(word)]
    endpoint = {"endpoint": refusing_endpoint} if ends == "badly" else {}
    body = request(
        dataset(source={"inline": evaluations.sums(4)}),
        engine="lm-eval",
        api_key=first.api_key,
        kubeconfig=first.kubeconfig,
        **endpoint,
    )

    with Watch(stack, canaries) as watch:
        eval_id = evaluations.start(service, body)
        states = [evaluations.wait_for_end(service, eval_id)]
        retry = _asked_once_it_is_over(
            service, "POST", f"{eval_id}/retry", api_key=again.api_key, kubeconfig=again.kubeconfig
        )
        states.append(evaluations.wait_for_end(service, eval_id))
        events = wait_for(lambda: _all_told(subscriber, eval_id, states[-1]["attempt"]), "its last word")
        answers = _answers(service, eval_id, body["eval_datasets"][0]["run_id"])
        holding = _parts_that_hold(stack, eval_id, began)
        deletion = _asked_once_it_is_over(service, "DELETE", eval_id, kubeconfig=last.kubeconfig)

    assert len(set(words)) == len(words)
    assert (retry.status_code, deletion.status_code) == (retried, 200), (retry.text, deletion.text)
    assert [state["outcome"] for state in states] == [outcome, outcome]
    assert [state["attempt"] for state in states] == [1, 2 if retried == 202 else 1]
    assert watch.seen == {"a process's arguments", "a Job, pod or ConfigMap"}
    assert watch.found == set()
    assert {("kubeconfig.yaml", 0o600)} <= watch.private <= {(name, 0o600) for name in _OF_A_PLAYBOOK}
    texts = [*answers, events, retry.text, deletion.text]
    assert [text for text in texts if any(word in text for word in words)] == []
    assert eval_id in events
    wait_for(
        lambda: set(temporary(stack).glob("budeval-run-*")) <= private_before or None,
        "the private directories of its playbooks to go",
    )
    # What was looked through is what has held the evaluation: its state, its events, its logs.
    assert holding >= {"dapr", "redis", "log"}
    assert list(files_with(kept(stack), canaries, began)) == []


def _asked_once_it_is_over(service: httpx.Client, method: str, path: str, **brought: Any) -> httpx.Response:
    """The answer once an evaluation's last word is said, before which it is EVALUATION_RUNNING."""

    def answered() -> httpx.Response | None:
        answer = service.request(method, f"/evals/{path}", json=brought, timeout=_DELETION_SECONDS)
        return None if answer.json().get("code") == "EVALUATION_RUNNING" else answer

    return wait_for(answered, f"{method} {path} to be possible")


def _all_told(subscriber: Subscriber, eval_id: str, attempts: int) -> str | None:
    """What the subscriber got, as text, once it has the last word of each attempt."""
    told = evaluations.told(subscriber, eval_id)
    last = [
        number for number, event, status in told if event == "evaluate_model_status" and status != "STARTED"
    ]
    return str(subscriber.events(f"eval-{eval_id}")) if len(last) == attempts else None


def _answers(service: httpx.Client, eval_id: str, run_id: str) -> list[str]:
    """Whatever the service tells of an evaluation."""
    parts = ("", "/results", "/events", "/events/stream", "/receipt", f"/logs?run_id={run_id}")
    paths = (*(f"/evals/{eval_id}{part}" for part in parts), f"/workflow/eval-{eval_id}/status", "/evals")
    return [service.get(path).text for path in paths]


def _parts_that_hold(stack: Stack, eval_id: str, since: float) -> set[str]:
    """The directories of the stack with files that name an evaluation."""
    home = stack.layout.directory
    holding = files_with(kept(stack), [eval_id.encode()], since)
    return {path.relative_to(home).parts[0] for path in holding if home in path.parents}
