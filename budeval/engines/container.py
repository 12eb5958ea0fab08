"""What the engines share: a run becomes a Job whose program reads a `run.json`."""

import json
import re
import tempfile
from pathlib import Path
from typing import Any

from budeval.config import StorageConfig
from budeval.domain.evaluation import Evaluation, Model, Run
from budeval.engines import pod_files
from budeval.engines.base import MOUNT, JobSpec, RunSecrets
from budeval.engines.in_pod import MODULES
from budeval.engines.in_pod.failure import RunError
from budeval.engines.in_pod.rows import prepare_rows
from budeval.errors import RequestError

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


class ContainerEngine:
    """An engine in an image of its own; `name` also names its directories on the claim."""

    name: str
    program: tuple[str, ...]
    """The module that a pod runs, and what it needs beside `budeval.engines.in_pod`."""
    extractor: tuple[str, ...]
    """The module that reads the results, and what it imports of ours."""

    def __init__(self, image: str, storage: StorageConfig) -> None:
        self.image = image
        self._storage = storage

    @property
    def extract_program(self) -> dict[str, str]:
        """Standard library only, so it runs in any image with Python 3.9 or later."""
        return pod_files.program(*self.extractor)

    def stock_datasets(self) -> list[str]:
        """None, unless the engine brings some."""
        return []

    def build_job(self, evaluation: Evaluation, run: Run, attempt: int, secrets: RunSecrets) -> JobSpec:
        """The Job of a run; the API key is the only secret in it."""
        files = {
            **pod_files.program(*self.program, *MODULES),
            "run.json": json.dumps(self._run_spec(evaluation, run), indent=1),
        }
        if secrets.rows is not None:
            files[_rows_file(run)] = secrets.rows
        return JobSpec(
            run_id=run.run_id,
            attempt=attempt,
            image=self.image,
            # The image's entry point is tini: as PID 1 an engine would ignore SIGTERM.
            command=["/usr/bin/tini", "-g", "--", "python3", MOUNT, f"{MOUNT}/run.json"],
            files=files,
            secret_environment={"OPENAI_API_KEY": secrets.api_key},
        )

    def check_rows(self, run: Run, rows: str) -> None:
        """As the pod would; nothing is kept."""
        with tempfile.TemporaryDirectory(prefix="budeval-rows-") as scratch:
            file = Path(scratch) / "rows"
            file.write_text(rows, encoding="utf-8", newline="")
            try:
                prepare_rows({**self._dataset_spec(run), "file": str(file)}, run.limit, scratch)
            except RunError as error:
                raise RequestError(error.message, code=error.code) from error

    def _run_spec(self, evaluation: Evaluation, run: Run) -> dict[str, Any]:
        root = self._storage.mount_path
        return {
            "schema": 1,
            "eval_id": evaluation.eval_id,
            "run_id": run.run_id,
            "attempt": evaluation.attempt,
            "model": _model_spec(evaluation.model),
            "limit": run.limit,
            "datasets": [self._dataset_spec(run)],
            "run_dir": f"{root}/results/{evaluation.eval_id}/{self.name}-{run.run_id}",
            "data_dir": root,
            "seconds": evaluation.timeouts.run,
        }

    def _dataset_spec(self, run: Run) -> dict[str, Any]:
        abbr = re.sub(r"[^A-Za-z0-9._-]+", "-", run.dataset_id).strip("-") or "dataset"
        # A file's name, with room for what engines add.
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


def _model_spec(model: Model) -> dict[str, Any]:
    fields = model.model_dump(mode="json")
    return {name: fields[name] for name in _MODEL_FIELDS} | {"retry": 3, "timeout": 600}


def _rows_file(run: Run) -> str:
    return f"dataset-0.{run.own.format if run.own else 'jsonl'}"
