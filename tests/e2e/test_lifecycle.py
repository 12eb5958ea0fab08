"""Evaluations that are ended before their time, and repeated, on the real stack."""

import json
import re
import sqlite3
from pathlib import Path
from typing import Any

import httpx
import pytest

from dev.stack import Stack
from tests.e2e import evaluations
from tests.e2e.evaluations import Json, dataset, request
from tests.e2e.observe import Subscriber, wait_for

pytestmark = pytest.mark.e2e

_ENDLESS = 2000


def _endless(name: str = "sums") -> Json:
    return dataset(name, source={"inline": evaluations.sums(_ENDLESS)})


def _many() -> Json:
    """Enough to be cancelled in their middle."""
    return dataset("many", source={"inline": evaluations.sums(240)})


def _lm_eval(*datasets: Json) -> Json:
    return request(*datasets, engine="lm-eval")


def _has_run(service: httpx.Client, eval_id: str, run_id: str, state: str) -> Any:
    def reached() -> Json | None:
        seen: Json = service.get(f"/evals/{eval_id}").raise_for_status().json()["runs"].get(run_id, {})
        return seen if seen.get("state") == state and (seen.get("done") or state == "succeeded") else None

    return wait_for(reached, f"run {run_id} to be {state}", 300)


def _cancel(service: httpx.Client, eval_id: str, **how: bool) -> Json:
    answer = service.post(f"/evals/{eval_id}/cancel", json=how)
    assert answer.status_code == 202, answer.text
    state: Json = answer.json()
    return state


def _objects(stack: Stack, eval_id: str) -> list[str]:
    selector = f"--selector=budeval.dev/eval-id={eval_id}"
    kinds = "jobs,pods,configmaps,secrets"
    return stack.kubectl(1, "get", kinds, "-n", "budeval", selector, "-o", "name").split()


def test_a_cancelled_evaluation_ends_and_leaves_nothing(
    stack: Stack, service: httpx.Client, subscriber: Subscriber
) -> None:
    """While its engine runs; its log stays, its last word is TERMINATED, and the same again is no error."""
    body = _lm_eval(_endless())
    run_id = body["eval_datasets"][0]["run_id"]
    eval_id = evaluations.start(service, body)
    _has_run(service, eval_id, run_id, "running")

    asked = _cancel(service, eval_id)
    again = _cancel(service, eval_id)
    state = evaluations.wait_for_end(service, eval_id)

    assert (asked["status"], asked["cancelling"], again["cancelling"]) == ("RUNNING", True, True)
    assert (state["status"], state["outcome"], state["cancelling"]) == ("TERMINATED", "CANCELLED", False)
    assert _objects(stack, eval_id) == []
    receipt = service.get(f"/evals/{eval_id}/receipt").raise_for_status().json()
    assert (receipt["ended"], receipt["clean"]) == (True, True)
    assert {item["kind"] for item in receipt["objects"]} >= {"Job", "Pod", "ConfigMap", "Secret"}
    (result,) = evaluations.results(service, eval_id)["results"]
    assert (result["code"], result["outcome"], result["scores"]) == ("CANCELLED", "CANCELLED", [])
    assert "start" in service.get(f"/evals/{eval_id}/logs", params={"run_id": run_id}).json()["log"]
    events = evaluations.told(subscriber, eval_id)
    assert [number for number, _, _ in events] == list(range(1, len(events) + 1))
    assert evaluations.without_progress(events)[-4:] == [
        ("monitor_eval_job_progress", "RUNNING"),
        ("monitor_eval_job_progress", "TERMINATED"),
        ("results", "COMPLETED"),
        ("evaluate_model_status", "TERMINATED"),
    ]
    assert _cancel(service, eval_id)["outcome"] == "CANCELLED"
    assert evaluations.ended_workflow(eval_id)["runtimeStatus"] == "COMPLETED"


def test_the_scores_that_are_there_are_read_if_asked_for(service: httpx.Client) -> None:
    """Of the run that had ended; the other one says that it was cancelled."""
    body = _lm_eval(dataset("few", source={"inline": evaluations.sums(2)}), _endless("many"))
    few, many = (item["run_id"] for item in body["eval_datasets"])
    eval_id = evaluations.start(service, body)
    _has_run(service, eval_id, few, "succeeded")

    _cancel(service, eval_id, extract=True)
    evaluations.wait_for_end(service, eval_id)

    found = evaluations.results(service, eval_id)
    outcomes = {result["run_id"]: (result["outcome"], len(result["scores"])) for result in found["results"]}
    assert found["outcome"] == "CANCELLED"
    assert outcomes == {few: ("COMPLETED", 1), many: ("CANCELLED", 0)}
    assert found["completeness"]["ratio"] == 0.5


def test_an_evaluation_is_cancelled_before_it_has_begun(
    stack: Stack, service: httpx.Client, subscriber: Subscriber
) -> None:
    """Wherever it is by then, it ends, says so once, and nothing is left."""
    eval_id = evaluations.start(service, _lm_eval(_endless()))

    _cancel(service, eval_id)
    state = evaluations.wait_for_end(service, eval_id)

    assert state["outcome"] == "CANCELLED"
    assert _objects(stack, eval_id) == []
    last = evaluations.told(subscriber, eval_id)[-1]
    assert last[1:] == ("evaluate_model_status", "TERMINATED")


def test_what_has_ended_cannot_be_cancelled(service: httpx.Client) -> None:
    """It says how it ended."""
    eval_id = evaluations.start(service, _lm_eval(dataset(source={"inline": evaluations.sums(1)})))
    evaluations.wait_for_end(service, eval_id)

    answer = service.post(f"/evals/{eval_id}/cancel")

    assert answer.status_code == 409
    assert answer.json()["code"] == "EVALUATION_ENDED"
    assert json.loads(answer.text)["param"] == "eval_id"


def _first_done(service: httpx.Client, eval_id: str, run_id: str) -> int:
    """How many samples the engine had when it told of them first."""
    log = service.get(f"/evals/{eval_id}/logs", params={"run_id": run_id}).raise_for_status().json()["log"]
    told = [json.loads(line) for line in re.findall(r"BUDEVAL1-PROGRESS (\{.*\})", log)]
    return int(next(line["done"] for line in told if line["phase"] == "infer"))


def test_a_retry_repeats_what_was_not_whole_and_goes_on_where_it_was(
    stack: Stack, service: httpx.Client, subscriber: Subscriber
) -> None:
    """One more attempt of the same evaluation: its events are numbered on, and tell its results once more."""
    body = _lm_eval(dataset("few", source={"inline": evaluations.sums(2)}), _many())
    few, many = (item["run_id"] for item in body["eval_datasets"])
    eval_id = evaluations.start(service, body)
    _has_run(service, eval_id, few, "succeeded")
    before = _has_run(service, eval_id, many, "running")["done"]
    _cancel(service, eval_id, extract=True)
    evaluations.wait_for_end(service, eval_id)
    evaluations.told(subscriber, eval_id)
    evaluations.ended_workflow(eval_id)

    answer = service.post(f"/evals/{eval_id}/retry", json={"api_key": "sk-e2e-another"})
    again = service.post(f"/evals/{eval_id}/retry", json={"api_key": "sk-e2e-another"})
    state = evaluations.wait_for_end(service, eval_id)

    assert (answer.status_code, answer.json()["attempt"], answer.json()["status"]) == (202, 2, "RUNNING")
    assert (again.status_code, again.json()["code"]) == (409, "EVALUATION_RUNNING")
    assert (state["outcome"], state["attempt"], state["completeness"]["ratio"]) == ("COMPLETED", 2, 1.0)
    found = {result["run_id"]: result for result in evaluations.results(service, eval_id)["results"]}
    assert {run_id: result["attempt"] for run_id, result in found.items()} == {few: 1, many: 2}
    assert _first_done(service, eval_id, many) >= before > 0
    events = wait_for(lambda: _told_twice(subscriber, eval_id), "the last event of the second attempt")
    assert [number for number, _, _ in events] == list(range(1, len(events) + 1))
    assert [status for _, event, status in events if event == "evaluate_model_status"] == [
        "STARTED",
        "TERMINATED",
        "STARTED",
        "COMPLETED",
    ]
    assert len([event for _, event, _ in events if event == "results"]) == 2
    assert _objects(stack, eval_id) == []
    nothing = service.post(f"/evals/{eval_id}/retry", json={"api_key": "sk-e2e-another"})
    assert nothing.json()["code"] in {"NOTHING_TO_RETRY", "EVALUATION_RUNNING"}  # its last word is being said


def _told_twice(subscriber: Subscriber, eval_id: str) -> list[tuple[int, str, str]] | None:
    events = evaluations.told(subscriber, eval_id)
    ends = [status for _, event, status in events if event == "evaluate_model_status"]
    return events if len(ends) == 4 else None


def test_a_deleted_evaluation_leaves_a_tombstone_and_nothing_else(
    stack: Stack, service: httpx.Client, results_on_the_claim: Path
) -> None:
    """Its files are gone from the claim, others' are not; its history and its state are, too."""
    kept, body = (_lm_eval(dataset(source={"inline": evaluations.sums(1)})) for _ in range(2))
    for one in (kept, body):
        evaluations.wait_for_end(service, evaluations.start(service, one))
        evaluations.ended_workflow(one["eval_id"])
    eval_id = body["eval_id"]
    assert (results_on_the_claim / eval_id).is_dir()

    answer = service.request("DELETE", f"/evals/{eval_id}", timeout=300)

    assert answer.status_code == 200, answer.text
    assert answer.json()["files_removed"] > 3
    # Kubernetes made the directory for a `subPath`, in one of root's: it stays, empty.
    assert list(results_on_the_claim.glob(f"{eval_id}/*")) == []
    assert (results_on_the_claim / kept["eval_id"]).is_dir()
    assert _objects(stack, eval_id) == []
    for path in ("", "/results", "/events", "/receipt"):
        assert service.get(f"/evals/{eval_id}{path}").json()["code"] == "EVALUATION_DELETED"
    again = service.post("/evals/start", json=body)
    assert (again.status_code, again.json()["code"]) == (409, "EVALUATION_DELETED")
    state = stack.layout.directory / "dapr" / "budeval-state.db"
    with sqlite3.connect(f"file:{state}?mode=ro", uri=True) as store:
        keys = [key for (key,) in store.execute("SELECT key FROM state WHERE key LIKE ?", (f"%{eval_id}%",))]
    assert [key for key in keys if "eval" in key] == [f"budeval||eval-{eval_id}"]
