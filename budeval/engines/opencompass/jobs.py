"""OpenCompass: a run becomes a Job that executes `run_in_pod.py` on a `run.json`."""

import json
import re
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

from budeval.config import EngineConfig, StorageConfig
from budeval.domain.evaluation import Evaluation, Model, Run
from budeval.engines.base import MOUNT, JobSpec, RunSecrets
from budeval.engines.opencompass import run_in_pod
from budeval.errors import RequestError

_HERE = Path(__file__).parent
_LONGEST_ABBR = 100
_MODEL_FIELDS = (
    "name",
    "endpoint",
    "query_per_second",
    "max_out_len",
    "max_seq_len",
    "batch_size",
    "temperature",
    "seed",
)


class OpenCompass:
    """https://github.com/open-compass/opencompass, release 0.5.4."""

    name = "opencompass"
    results_prefix = "opencompass-"
    extract_script = _HERE / "extract_results.py"

    def __init__(self, images: EngineConfig, storage: StorageConfig) -> None:
        self._image = images.opencompass
        self._storage = storage

    def build_job(self, evaluation: Evaluation, run: Run, attempt: int, secrets: RunSecrets) -> JobSpec:
        """The Job of a run; the API key is the only secret in it."""
        files = {
            "run_in_pod.py": _script(),
            "run.json": json.dumps(self._run_spec(evaluation, run, attempt), indent=1),
        }
        if secrets.rows is not None:
            files[_rows_file(run)] = secrets.rows
        return JobSpec(
            run_id=run.run_id,
            attempt=attempt,
            image=self._image,
            # The image's entry point is tini: as PID 1 OpenCompass would ignore SIGTERM.
            command=["/usr/bin/tini", "-g", "--", "python3", f"{MOUNT}/run_in_pod.py"],
            files=files,
            secret_environment={"OPENAI_API_KEY": secrets.api_key},
        )

    def check_rows(self, run: Run, rows: str) -> None:
        """As the pod would; nothing is kept."""
        with tempfile.TemporaryDirectory(prefix="budeval-rows-") as scratch:
            file = Path(scratch) / "rows"
            file.write_text(rows, encoding="utf-8", newline="")
            try:
                run_in_pod.prepare_rows({**self._dataset_spec(run), "file": str(file)}, run.limit, scratch)
            except run_in_pod.RunError as error:
                raise RequestError(error.message, code=error.code) from error

    def stock_datasets(self) -> list[str]:
        """The names that OpenCompass 0.5.4 ships configurations for and that run against a chat API."""
        return list(_stock_datasets())

    def _run_spec(self, evaluation: Evaluation, run: Run, attempt: int) -> dict[str, Any]:
        root = self._storage.mount_path
        return {
            "schema": 1,
            "eval_id": evaluation.eval_id,
            "run_id": run.run_id,
            "attempt": attempt,
            "model": _model_spec(evaluation.model),
            "limit": run.limit,
            "datasets": [self._dataset_spec(run)],
            "run_dir": f"{root}/results/{evaluation.eval_id}/{self.results_prefix}{run.run_id}",
            "data_dir": root,
        }

    def _dataset_spec(self, run: Run) -> dict[str, Any]:
        abbr = re.sub(r"[^A-Za-z0-9._-]+", "-", run.dataset_id).strip("-") or "dataset"
        # A file's name, with room for what OpenCompass adds.
        abbr = abbr[:_LONGEST_ABBR]
        spec = {"dataset_id": run.dataset_id, "abbr": abbr}
        if run.own is None:
            return {**spec, "kind": "stock"}
        own = run.own
        path = f"{self._storage.mount_path}/datasets/{own.path}" if own.path else f"{MOUNT}/{_rows_file(run)}"
        return {
            **spec,
            "kind": "own",
            "file": path,
            "format": own.format,
            "prompt": own.prompt,
            "answer": own.answer,
            "evaluator": own.evaluator.value,
        }


@cache
def _script() -> str:
    return Path(run_in_pod.__file__).read_text()


@cache
def _stock_datasets() -> tuple[str, ...]:
    return tuple(json.loads((_HERE / "stock_datasets.json").read_text()))


def _model_spec(model: Model) -> dict[str, Any]:
    fields = model.model_dump(mode="json")
    return {name: fields[name] for name in _MODEL_FIELDS} | {"retry": 3, "timeout": 600}


def _rows_file(run: Run) -> str:
    return f"dataset-0.{run.own.format if run.own else 'jsonl'}"
