"""Canaries: an API key and a token that exist nowhere else are looked for wherever they must not be."""

import time
import uuid

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


@pytest.mark.parametrize("ends", ["well", "badly"])
def test_secrets_are_nowhere_but_where_they_must_be(
    stack: Stack,
    service: httpx.Client,
    subscriber: Subscriber,
    doomed_kubeconfig: str,
    refusing_endpoint: str,
    ends: str,
) -> None:
    """In use in a playbook's own files alone, not in arguments, Jobs or ConfigMaps; afterwards nowhere."""
    began = time.time()
    # A service that was killed with its workers, as by other tests, leaves some (docs/operations.md).
    private_before = set(temporary(stack).glob("budeval-run-*"))
    key = f"sk-canary-{uuid.uuid4().hex}"
    token = yaml.safe_load(doomed_kubeconfig)["users"][0]["user"]["token"]
    canaries = forms(key) + forms(token)
    endpoint = {"endpoint": refusing_endpoint} if ends == "badly" else {}
    body = request(
        dataset(source={"inline": evaluations.sums(4)}),
        engine="lm-eval",
        api_key=key,
        kubeconfig=doomed_kubeconfig,
        **endpoint,
    )

    with Watch(stack, canaries) as watch:
        eval_id = evaluations.start(service, body)
        state = evaluations.wait_for_end(service, eval_id)
    events = str(wait_for(lambda: subscriber.events(f"eval-{eval_id}"), "events"))
    evaluations.told(subscriber, eval_id)
    answers = [
        service.get(path).text
        for path in (
            *(
                f"/evals/{eval_id}{part}"
                for part in ("", "/results", "/events", "/events/stream", "/receipt")
            ),
            f"/evals/{eval_id}/logs?run_id={body['eval_datasets'][0]['run_id']}",
            f"/workflow/eval-{eval_id}/status",
            "/evals",
        )
    ]

    assert state["outcome"] == ("COMPLETED" if ends == "well" else "FAILED")
    assert watch.seen == {"a process's arguments", "a Job, pod or ConfigMap"}
    assert watch.found == set()
    assert {("kubeconfig.yaml", 0o600)} <= watch.private <= {(name, 0o600) for name in _OF_A_PLAYBOOK}
    told = [text for text in (*answers, events) if key in text or token in text]
    assert (told, eval_id in events) == ([], True)
    wait_for(
        lambda: set(temporary(stack).glob("budeval-run-*")) <= private_before or None,
        "the private directories of its playbooks to go",
    )
    # What was looked through is what holds the evaluation: its state, its events, its logs.
    home = stack.layout.directory
    holding = {path for path in files_with(kept(stack), [eval_id.encode()], began) if home in path.parents}
    assert {path.relative_to(home).parts[0] for path in holding} >= {"dapr", "redis", "log"}
    assert list(files_with(kept(stack), canaries, began)) == []
