"""What no evaluation owns, and what receipts prove, on the real stack."""

import json
import uuid
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

from budeval.cli import app
from budeval.domain.identifiers import parts_name
from dev import apps, process
from dev.stack import Stack
from tests.e2e import evaluations
from tests.e2e.evaluations import Json, dataset, request
from tests.e2e.jobs import python_job
from tests.e2e.observe import wait_for

pytestmark = pytest.mark.e2e

_NAMESPACE = "budeval"
_KINDS = "jobs,pods,configmaps,secrets"
_ORPHAN_KINDS = ["ConfigMap", "Job", "Pod", "Secret"]


def _lm_eval(rows: int) -> Json:
    """The second engine: a third of the memory."""
    return request(dataset(source={"inline": evaluations.sums(rows)}), engine="lm-eval")


def _budeval(service: httpx.Client, *arguments: str) -> tuple[int, Any]:
    """A command of `budeval receipts --orphans --json`: its exit code and its document."""
    command = ["--url", str(service.base_url).rstrip("/"), "receipts", "--orphans", "--json", *arguments]
    done = CliRunner().invoke(app, command)
    assert done.stdout, done.output
    return done.exit_code, json.loads(done.stdout)


def _uids(stack: Stack, eval_id: str) -> dict[tuple[str, str], str]:
    """(kind, name) -> uid of what is on the cluster of an evaluation, as an administrator sees it."""
    selector = f"--selector=budeval.dev/eval-id={eval_id}"
    listed = json.loads(stack.kubectl(1, "get", _KINDS, "-n", _NAMESPACE, selector, "-o", "json"))["items"]
    return {(item["kind"], item["metadata"]["name"]): item["metadata"]["uid"] for item in listed}


def _make_orphan(stack: Stack, eval_id: str, installation: str) -> None:
    """A Job with its pod, ConfigMap and Secret, as an evaluation has left them that nobody knows."""
    labels = {
        "app.kubernetes.io/managed-by": "budeval",
        "budeval.dev/installation": installation,
        "budeval.dev/eval-id": eval_id,
        "budeval.dev/run-id": "lost",
        "budeval.dev/attempt": "1",
    }
    job = python_job(f"lost-{eval_id[:8]}", _NAMESPACE, "import time; time.sleep(600)")
    job["metadata"]["labels"] = labels
    job["spec"]["template"]["metadata"] = {"labels": labels}
    job["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] = 1
    meta = {"name": parts_name(eval_id, "lost", 1), "namespace": _NAMESPACE, "labels": labels}
    parts = [
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": {"run.json": "{}"}},
        {"apiVersion": "v1", "kind": "Secret", "metadata": meta, "stringData": {"OPENAI_API_KEY": "sk-lost"}},
    ]
    for made in (job, *parts):
        stack.kubectl(1, "create", "--filename", "-", stdin=json.dumps(made))
    wait_for(lambda: ("Pod" in {kind for kind, _ in _uids(stack, eval_id)}) or None, "the orphan's pod")


def _running(service: httpx.Client, body: Json) -> str:
    """An evaluation whose engine is at work; its id."""
    eval_id, run_id = evaluations.start(service, body), body["eval_datasets"][0]["run_id"]

    def has_begun() -> bool | None:
        run = service.get(f"/evals/{eval_id}").raise_for_status().json()["runs"].get(run_id, {})
        return (run.get("state") == "running" and bool(run.get("done"))) or None

    wait_for(has_begun, "the engine", 300)
    return eval_id


def _receipt(service: httpx.Client, eval_id: str) -> list[Json]:
    items: list[Json] = service.get(f"/evals/{eval_id}/receipt").raise_for_status().json()["objects"]
    return items


def test_only_what_no_evaluation_owns_is_found_and_removed(stack: Stack, service: httpx.Client) -> None:
    """By the command line: an orphan's Job, pod, ConfigMap and Secret go, with a proof of each.

    An evaluation that runs keeps all of its own and goes on, and what another service has made is only
    counted. When the evaluation ends, its receipt proves of each of its objects that it is gone.
    """
    running = _running(service, _lm_eval(2000))
    kept = _uids(stack, running)
    _, before = _budeval(service)
    mine, theirs = str(uuid.uuid4()), str(uuid.uuid4())
    _make_orphan(stack, mine, before["installation"])
    _make_orphan(stack, theirs, "another")
    left = stack.layout.directory / "dapr" / "tmp" / f"budeval-run-{mine[:8]}"
    left.mkdir()
    orphan, others = _uids(stack, mine), _uids(stack, theirs)
    try:
        found_code, found = _budeval(service)
        done_code, done = _budeval(service, "--remove", "--yes")
        after_code, after = _budeval(service)

        told = {(item["kind"], item["name"]): item for item in found["orphans"] if item["eval_id"] == mine}
        assert {key: item["uid"] for key, item in told.items()} == orphan
        assert sorted(kind for kind, _ in orphan) == _ORPHAN_KINDS
        assert {item["why"] for item in told.values()} == {"unknown_evaluation"}
        assert {item["eval_id"] for item in found["orphans"]}.isdisjoint({running, theirs})
        assert {"installation": "another", "objects": 3} in found["others"]  # its Secret is not asked for
        assert str(left) in {item["name"] for item in found["orphans"]}

        entries = {(item["kind"], item["name"]): item for item in done["objects"]}
        assert {key: entries[key]["uid"] for key in orphan} == orphan
        assert all(entries[key]["outcome"] == "deleted" and entries[key]["proof"] for key in orphan)
        assert entries["PrivateDirectory", str(left)]["outcome"] == "deleted"
        assert (found_code, done_code, after_code) == (1, 0, 0)
        assert (_uids(stack, mine), left.exists(), after["orphans"]) == ({}, False, [])
        assert (_uids(stack, running), _uids(stack, theirs)) == (kept, others)

        code, removed = _budeval(service, "--installation", "another", "--remove", "--yes")
        assert (code, removed["clean"], _uids(stack, theirs)) == (0, True, {})
    finally:
        stack.kubectl(
            1,
            *("delete", _KINDS, "-n", _NAMESPACE, "--ignore-not-found"),
            f"--selector=budeval.dev/eval-id in ({mine},{theirs})",
        )
    service.post(f"/evals/{running}/cancel").raise_for_status()
    evaluations.wait_for_end(service, running)
    _has_proofs(_receipt(service, running), kept)


def _has_proofs(items: list[Json], uids: dict[tuple[str, str], str]) -> None:
    """Of every object that there was; and everything else that an evaluation has made is told, too."""
    by_key = {(item["kind"], item["name"]): item for item in items}
    for key, uid in uids.items():
        assert (by_key[key]["uid"], by_key[key]["namespace"]) == (uid, _NAMESPACE)
    assert all(
        item["at"] and bool(item["proof"]) is (item["outcome"] in {"deleted", "gone"}) for item in items
    )
    outcomes = {(item["kind"], item["outcome"]) for item in items}
    assert outcomes == {
        *((kind, "deleted") for kind in _ORPHAN_KINDS),
        ("PrivateDirectory", "deleted"),
        ("SealedSecrets", "deleted"),
        ("ResultTree", "kept"),
    }


def test_a_receipt_tells_of_a_playbook_that_was_killed_with_its_service(
    stack: Stack, service: httpx.Client
) -> None:
    """Its directory held a credential until the next service started; and so the receipt says.

    Also of the Job that reads the results: its uid, and that it is gone.
    """
    eval_id = evaluations.start(service, _lm_eval(2))

    def has_a_playbook() -> str | None:
        open_ones = [
            item["name"]
            for item in _receipt(service, eval_id)
            if item["kind"] == "PrivateDirectory" and item["outcome"] == "in_use"
        ]
        return open_ones[0] if open_ones else None

    directory = wait_for(has_a_playbook, "a playbook of the evaluation")
    process.kill(process.marked(stack.layout.name, apps.NAME))
    assert Path(directory).exists()
    stack.up()
    evaluations.wait_for_end(service, eval_id)

    items = _receipt(service, eval_id)
    (swept,) = (item for item in items if item["name"] == directory)
    assert swept["outcome"] == "deleted"
    assert "A killed service had left it; the next one removed it at" in swept["proof"]
    assert not Path(directory).exists()
    reading = {item["kind"]: item for item in items if item["name"].startswith("extract-results-")}
    assert sorted(reading) == ["ConfigMap", "Job"]
    assert all(item["outcome"] == "deleted" and item["uid"] for item in reading.values())
    # The run's pod had ended by the clean-up, and went with its Job at once.
    assert [item["outcome"] for item in items if item["kind"] == "Pod"] == ["deleted"]
    assert all(item["outcome"] in {"deleted", "gone", "kept"} for item in items)
