"""The programs of all engines as a pod gets them: files in a directory, and Python without any package."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from budeval.config import EngineConfig, StorageConfig
from budeval.domain import frames
from budeval.engines import in_pod, pod_files
from budeval.engines.base import Engine, RunSecrets
from budeval.engines.registry import all_engines
from tests.evals.samples import evaluation

_ENGINES = all_engines(EngineConfig(), StorageConfig())
_OWN = {"path": "none", "format": "jsonl", "prompt": "{q}", "answer": "a", "evaluator": "exact"}


@pytest.fixture(params=sorted(_ENGINES))
def engine(request: pytest.FixtureRequest) -> Engine:
    """Each of them."""
    return _ENGINES[request.param]


def _mounted(files: dict[str, str], where: Path) -> Path:
    """The files as a ConfigMap's volume shows them."""
    data = pod_files.as_data(files)
    for item in pod_files.as_items(files):
        target = where / item["path"]
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(data[item["key"]])
    return where


def _python(*arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Isolated: no site packages, nothing of this checkout."""
    command = [sys.executable, "-I", "-S", *map(str, arguments)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)


def test_a_run_finds_all_that_it_imports(engine: Engine, tmp_path: Path) -> None:
    """It gets as far as its dataset, which is not there, and says so where Kubernetes looks."""
    asked = evaluation(runs=[{"run_id": "r-1", "dataset_id": "sums", "own": _OWN}])
    spec = engine.build_job(asked, asked.runs[0], 1, RunSecrets("sk-secret"))
    pod = _mounted(spec.files, tmp_path / "pod")
    termination = tmp_path / "termination"

    done = _python(pod, pod / "run.json", HOME=str(tmp_path), BUDEVAL_TERMINATION_LOG=str(termination))

    assert done.returncode == 3, done.stderr
    assert json.loads(termination.read_text())["code"] == "DATASET_INVALID"


def test_an_extraction_finds_all_that_it_imports(engine: Engine, tmp_path: Path) -> None:
    """A run that left nothing has a framed answer that says so."""
    pod = _mounted(engine.extract_program, tmp_path / "pod")

    done = _python(pod, EVAL_ID="e-1", RUN_IDS="a,b", RESULTS_ROOT=str(tmp_path))

    documents = frames.decode(done.stdout, ["a", "b"])
    assert {document["code"] for document in documents.values()} == {"RESULTS_MISSING"}
    assert {document["engine"] for document in documents.values()} == {engine.name}


def test_the_modules_that_all_runs_share_are_mounted() -> None:
    """The list is the directory."""
    names = {path.stem for path in Path(in_pod.__file__).parent.glob("*.py")} - {"__init__"}

    assert set(in_pod.MODULES) == {f"budeval.engines.in_pod.{name}" for name in names}


def test_the_keys_of_files_are_distinct_and_valid(engine: Engine) -> None:
    """A ConfigMap's keys have no slashes."""
    files = engine.extract_program

    assert len(pod_files.as_data(files)) == len(files)
    assert not any("/" in key for key in pod_files.as_data(files))
