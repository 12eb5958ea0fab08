"""The extraction playbook by hand, as its head and the guide say it is typed."""

import json
import os
import shutil
import stat
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from budeval.ansible.runner import PlaybookRunner
from budeval.config import EngineConfig, StorageConfig
from budeval.engines.registry import all_engines
from budeval.evals.ansible_orchestrator import AnsibleOrchestrator
from budeval.evals.clusters import Clusters
from budeval.evals.installation import Installation
from budeval.evals.receipts import Receipts, receipt_key
from budeval.runtime.sidecar import Sidecar
from dev import images
from dev.layout import CHECKOUT
from dev.stack import Stack
from tests.e2e.evaluations import SIDECAR
from tests.evals.samples import evaluation

pytestmark = pytest.mark.e2e

_SAMPLES = CHECKOUT / "tests" / "engines" / "opencompass" / "samples"
_NAMESPACE = "budeval"


@pytest.fixture
def eval_id(results_on_the_claim: Path) -> Iterator[str]:
    """An evaluation on the claim whose run `c01` is a real OpenCompass run; its run `gone` left nothing."""
    name = f"by-hand-{uuid.uuid4().hex[:8]}"
    target = results_on_the_claim / name
    shutil.copytree(_SAMPLES / "c01", target / "opencompass-c01")
    yield name
    shutil.rmtree(target)


def _type(stack: Stack, *variables: str) -> subprocess.CompletedProcess[str]:
    """What a person types, with KUBECONFIG set."""
    environment = {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "HOME": os.environ["HOME"],
        "KUBECONFIG": str(stack.layout.clusters_directory / "local.yaml"),
        "BUDEVAL_IMAGE_EXTRACTOR": images.python().tag,
    }
    words = [word for variable in variables for word in ("-e", variable)]
    return subprocess.run(
        ["ansible-playbook", "budeval/ansible/playbooks/extract_results_k8s.yml", *words],
        cwd=CHECKOUT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def _left(stack: Stack) -> list[str]:
    names = stack.kubectl(1, "get", "jobs,pods,configmaps", "-n", _NAMESPACE, "-o", "name").split()
    return [name for name in names if "extract-results" in name and not name.startswith("pod/")]


def test_the_playbook_works_as_typed(stack: Stack, eval_id: str) -> None:
    """The result file has the guide's document, is readable by its owner alone; nothing is left."""
    temp_id = f"try-{uuid.uuid4().hex[:8]}"
    written = Path(f"/tmp/extraction_results_{temp_id}.json")  # noqa: S108 - the guide's name

    done = _type(
        stack, f"namespace={_NAMESPACE}", f"eval_id={eval_id}", "run_ids=c01,gone", f"temp_id={temp_id}"
    )

    assert done.returncode == 0, done.stdout[-3000:]
    assert stat.S_IMODE(written.stat().st_mode) == 0o600
    document = json.loads(written.read_text())
    written.unlink()
    good, gone = document["results"]
    assert document["success"] is False
    assert (good["run_id"], good["eval_id"], good["status"]) == ("c01", eval_id, "success")
    scores = {score["dataset"]: score["score"] for score in good["scores"]}
    assert scores == {"demo_gsm8k": 93.75, "arith_qa": 75.0, "tiles_mcq": 80.0}
    assert {"dataset", "version", "metric", "mode", "score"} <= good["scores"][0].keys()
    assert good["csv_file"].startswith(f"/workspace/shared/results/{eval_id}/opencompass-c01/")
    assert (gone["status"], gone["error"], gone["scores"]) == ("error", "Results directory not found", [])
    assert _left(stack) == []


@pytest.mark.parametrize(
    "bad",
    [
        "run_ids=../../other",
        "run_ids=",
        "eval_id=..",
        "temp_id=Upper_Case",
        "namespace=",
    ],
)
def test_names_are_checked_before_anything_uses_them(stack: Stack, bad: str) -> None:
    """Nothing is made and nothing is written; the message says what a name is."""
    good = {"namespace": _NAMESPACE, "eval_id": "e-1", "run_ids": "a", "temp_id": "never"}
    name, _, value = bad.partition("=")

    done = _type(stack, *(f"{key}={text}" for key, text in {**good, name: value}.items()))

    assert done.returncode != 0
    assert "must be given and be names" in done.stdout
    assert _left(stack) == []


_RUNS, _CELLS = 1000, 20


def _many_runs(target: Path) -> None:
    """Trees as OpenCompass leaves them, each with scores of its own."""
    for run in range(_RUNS):
        base = target / f"opencompass-r{run}" / "20260101_000000"
        (base / "summary").mkdir(parents=True)
        (base / "results" / "m").mkdir(parents=True)
        lines = ["dataset,version,metric,mode,m"]
        for cell in range(_CELLS):
            score = _score(run, cell)
            lines.append(f"d{cell},abc123,accuracy,gen,{score:.2f}")
            (base / "results" / "m" / f"d{cell}.json").write_text(json.dumps({"accuracy": score}))
        (base / "summary" / "summary_20260101_000000.csv").write_text("\n".join(lines) + "\n")


def _score(run: int, cell: int) -> float:
    return (run * 7919 + cell * 104729) % 100_000 / 1000


def test_a_thousand_runs_pass_through_one_job(stack: Stack, results_on_the_claim: Path) -> None:
    """Every cell of every run, to its last digit, in frames through one container's log."""
    name = f"many-{uuid.uuid4().hex[:8]}"
    target = results_on_the_claim / name
    _many_runs(target)
    storage = StorageConfig()
    runner = PlaybookRunner(1, timeout=300, module_timeout=60)
    engines = all_engines(EngineConfig(), storage)
    clusters = Clusters(stack.layout.clusters_directory, lambda _eval_id: "")
    images_used = EngineConfig(extractor=images.python().tag)
    sidecar = Sidecar(SIDECAR, "statestore", "pubsub", timeout=5)
    orchestrator = AnsibleOrchestrator(
        runner, clusters, engines, storage, images_used, Receipts(sidecar, {}), Installation(sidecar)
    )
    runs = [{"run_id": f"r{run}", "dataset_id": "d"} for run in range(_RUNS)]
    asked = evaluation(
        name,
        runs=runs,
        target={"cluster": "local", "namespace": _NAMESPACE},
        claim=storage.claim,
    )
    try:
        found = orchestrator.extract_job_results(asked, [run["run_id"] for run in runs], lambda: None)
    finally:
        runner.close()
        shutil.rmtree(target)
        sidecar.delete_state(receipt_key(name))
        sidecar.close()

    assert len(found) == _RUNS
    for run in range(_RUNS):
        scores = {score["dataset"]: score["score"] for score in found[f"r{run}"]["scores"]}
        assert scores == {f"d{cell}": _score(run, cell) for cell in range(_CELLS)}
