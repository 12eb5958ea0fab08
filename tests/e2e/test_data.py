"""Datasets that are pushed to the claim, listed, and evaluated, on the real stack."""

import base64
import gzip
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from budeval.ansible.runner import PlaybookRunner
from budeval.client import BudevalClient
from budeval.client_data import measured, push_file
from budeval.config import EngineConfig, StorageConfig
from budeval.domain.cluster import ClusterTarget
from budeval.domain.datasets import DatasetPlace, PushState
from budeval.evals.ansible_orchestrator import AnsibleOrchestrator
from budeval.evals.clusters import Clusters
from budeval.evals.installation import Installation
from budeval.evals.receipts import Receipts
from budeval.runtime.sidecar import Sidecar
from dev import images
from dev.stack import Stack
from tests.e2e import evaluations
from tests.e2e.evaluations import SIDECAR, dataset, request
from tests.e2e.observe import wait_for

pytestmark = pytest.mark.e2e


@pytest.fixture
def client(service: httpx.Client) -> Iterator[BudevalClient]:
    """Of the service."""
    with BudevalClient(str(service.base_url)) as client:
        yield client


@pytest.fixture
def datasets(results_on_the_claim: Path) -> Path:
    """Where tenant `default`'s datasets lie on the node."""
    return results_on_the_claim.parent / "datasets"


def _rows(path: Path, count: int) -> Path:
    """Sums with a column that does not shrink: some MiB."""
    noise = random.Random(5)  # noqa: S311 - made-up rows
    with path.open("w") as file:
        for line in evaluations.sums(count).splitlines():
            row = json.loads(line) | {"noise": base64.b64encode(noise.randbytes(600_000)).decode()}
            file.write(json.dumps(row) + "\n")
    return path


def _left(stack: Stack) -> list[str]:
    """Jobs, pods and ConfigMaps of pushes and lists."""
    kinds = "jobs,pods,configmaps"
    named = stack.kubectl(1, "get", kinds, "-n", "budeval", "-o", "name").split()
    return [name for name in named if "/datasets-" in name]


def _nothing_is_left(stack: Stack) -> None:
    wait_for(lambda: not _left(stack) or None, "Jobs and ConfigMaps of pushes to be gone", 60)


def test_a_dataset_is_pushed_listed_and_evaluated(
    stack: Stack, service: httpx.Client, client: BudevalClient, tmp_path: Path
) -> None:
    """In parts, into a directory of its own; the same again changes nothing."""
    file = _rows(tmp_path / "sums.jsonl", 12)
    told: list[int] = []

    done = push_file(client, measured(file), "team/sums.jsonl", told.append)
    again = push_file(client, measured(file), "team/sums.jsonl")

    assert done.state is PushState.STORED
    assert len(told) > 1
    assert again.state is PushState.UNCHANGED
    (listed,) = [found for found in client.claim_files().files if found.path == "team/sums.jsonl"]
    assert (listed.bytes, listed.sha256) == (
        file.stat().st_size,
        hashlib.sha256(file.read_bytes()).hexdigest(),
    )
    _nothing_is_left(stack)

    source = {
        "path": "team/sums.jsonl",
        "prompt": "Question: {question}\nAnswer:",
        "evaluator": "last_number",
    }
    on_the_claim = dataset("claimed")
    on_the_claim["source"] = source
    inline = dataset("inline", source={"inline": evaluations.sums(12)})
    eval_id = evaluations.start(service, request(on_the_claim, inline, engine="lm-eval"))
    evaluations.wait_for_end(service, eval_id)
    found = {item["dataset_id"]: item for item in evaluations.results(service, eval_id)["results"]}
    assert {item["outcome"] for item in found.values()} == {"COMPLETED"}
    scores = {
        name: [(score["score"], score["samples"]) for score in item["scores"]] for name, item in found.items()
    }
    assert scores["claimed"] == scores["inline"]
    assert scores["claimed"][0][1] == 12


def test_a_push_that_was_torn_goes_on_where_it_was(
    stack: Stack, client: BudevalClient, service: httpx.Client, datasets: Path, tmp_path: Path
) -> None:
    """Interrupted at the keyboard after its first part; what had come is not sent again."""
    file = tmp_path / "noise.bin"
    file.write_bytes(random.Random(9).randbytes(14_000_000))  # noqa: S311
    environment = {**os.environ, "BUDEVAL_URL": str(service.base_url)}
    command = [sys.executable, "-m", "budeval", "data", "push", str(file)]
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as push:
        wait_for(lambda: list(datasets.glob(".budeval/*.part")) or None, "the first part", 120)
        push.send_signal(signal.SIGINT)
        said = push.communicate(timeout=60)[1]
    assert push.returncode == 130, said
    assert "the same command again goes on from there" in said
    assert not (datasets / "noise.bin").exists()
    told: list[int] = []

    done = push_file(client, measured(file), "noise.bin", told.append)

    assert done.state is PushState.STORED
    assert told[0] > 4_000_000
    assert (datasets / "noise.bin").read_bytes() == file.read_bytes()
    assert list(datasets.glob(".budeval/*.part")) == []
    _nothing_is_left(stack)


def test_what_is_pushed_leads_nowhere_else(stack: Stack, service: httpx.Client, datasets: Path) -> None:
    """A link on the claim is not followed, by a push or by a list; nor is another file replaced."""
    rows = evaluations.sums(2).encode()

    def pushed(path: str, content: bytes = rows) -> tuple[int, str]:
        digest = hashlib.sha256(content).hexdigest()
        data = base64.b64encode(gzip.compress(content)).decode()
        part = {"path": path, "bytes": len(content), "sha256": digest, "data": data}
        answer = service.post("/data/parts", json=part, timeout=300)
        return answer.status_code, answer.json().get("code") or answer.json()["state"]

    assert pushed("mine.jsonl") == (200, "stored")
    outside = datasets.parent / "outside"
    outside.mkdir()
    (outside / "theirs").write_text("theirs")
    (datasets / "linked").symlink_to("../outside")
    (datasets / "a-link").symlink_to("../outside/theirs")
    assert pushed("linked/a.jsonl") == (409, "DATASET_EXISTS")
    assert pushed("a-link") == (409, "DATASET_EXISTS")
    assert pushed("../outside/theirs") == (422, "REQUEST_INVALID")
    assert pushed("mine.jsonl", rows * 2) == (409, "DATASET_EXISTS")
    paths = [file["path"] for file in service.get("/data", timeout=300).json()["files"]]
    assert "mine.jsonl" in paths
    assert not [path for path in paths if "link" in path or path.startswith(".")]
    assert [path.name for path in outside.iterdir()] == ["theirs"]
    assert (outside / "theirs").read_text() == "theirs"
    _nothing_is_left(stack)


def test_a_tenants_files_are_its_own(stack: Stack, client: BudevalClient, datasets: Path) -> None:
    """In a directory that is made for it, and that nobody else's Jobs see."""
    runner = PlaybookRunner(1, timeout=300, module_timeout=60)
    images_used, storage = EngineConfig(extractor=images.python().tag), StorageConfig()
    clusters = Clusters(stack.layout.clusters_directory, lambda _eval_id: None)
    sidecar = Sidecar(SIDECAR, "statestore", "pubsub", timeout=5)
    orchestrator = AnsibleOrchestrator(
        runner, clusters, {}, storage, images_used, Receipts(sidecar, {}), Installation(sidecar)
    )
    target = ClusterTarget(cluster="local", namespace="budeval")
    theirs, others = (
        DatasetPlace(target=target, claim=storage.claim, tenant=tenant) for tenant in ("data-a", "data-b")
    )
    order = {
        "path": "a/secret.jsonl",
        "bytes": 3,
        "sha256": hashlib.sha256(b"own").hexdigest(),
        "offset": 0,
        "replace": False,
    }
    try:
        done = orchestrator.push_dataset(theirs, order, gzip.compress(b"own"))
        paths = [
            [file["path"] for file in orchestrator.list_datasets(one)["files"]] for one in (theirs, others)
        ]
    finally:
        runner.close()
        sidecar.close()

    assert done["state"] == "stored"
    assert paths == [["a/secret.jsonl"], []]
    assert "a/secret.jsonl" not in [file.path for file in client.claim_files().files]
    assert (datasets.parent / "tenants" / "data-a" / "datasets" / "a" / "secret.jsonl").read_bytes() == b"own"
    _nothing_is_left(stack)
