"""Run one lm-eval evaluation in a pod: check, plan, run, watch, and say truthfully how it ended.

Mounted from a ConfigMap together with `budeval.engines.in_pod`: standard library only, Python 3.9 and later.
It reads `run.json`, which the service writes (`budeval/engines/container.py`), and the API key from
OPENAI_API_KEY, never printed or written.

lm-eval 0.4.13 writes nothing before its end, and nothing at all when one row fails. So each answer goes into
its cache on the claim, and at temperature 0 the same run again asks only what is missing (replies by chance
are not cached: all are asked again); progress is what it prints. Each start writes into a directory of its
own, which the plan names, so no result is ever taken for a newer one's.
"""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import sys
from collections.abc import Mapping
from functools import partial
from typing import Any

from budeval.engines.in_pod import provenance
from budeval.engines.in_pod.endpoint import chat_url, check_endpoint, refusal
from budeval.engines.in_pod.engine_process import log_file, run_engine
from budeval.engines.in_pod.failure import RunError
from budeval.engines.in_pod.files import read_json, tail, write
from budeval.engines.in_pod.masking import mask
from budeval.engines.in_pod.plan import write_plan
from budeval.engines.in_pod.program import main
from budeval.engines.in_pod.progress import Progress
from budeval.engines.in_pod.rows import ANSWER, PROMPT, is_own, prepare_rows

ENGINE = (sys.executable, "-m", "lm_eval", "run")
HERE = os.path.dirname(os.path.abspath(__file__))
OURS = ("evaluators.py", "texts.py")
STARTS = re.compile(r"start-([0-9]+)")
REQUESTS = re.compile(rb"Requesting API: [^\r\n]*?\| ([0-9]+)/([0-9]+)")
REFUSED = re.compile(rb"API request failed! Status code: ([0-9]+), Response text: (.*)")
LONGEST_BAR = 400  # bytes; a look may see the half of one
CACHED = re.compile(rb"Cached requests: ([0-9]+)")
# lm-eval always sends stop sequences, by default an empty line. Endpoints refuse an empty list; this one no
# reply contains.
STOP = ["<|endoftext|>"]
SEED = 1234  # lm-eval always sends one; this is its own


def run(spec: dict[str, Any], environment: Mapping[str, str], engine: tuple[str, ...] = ENGINE) -> None:
    """From the checked input to the checked output. `engine` is its command; tests put a fake there."""
    progress = Progress()
    progress.tell(0, 0, "prepare")
    scratch = environment.get("HOME", "/scratch")
    run_dir = spec["run_dir"]
    output = next_start(run_dir)
    models = [spec["model"]["name"]]
    write_plan(spec, models, [{**item, "abbr": task_name(item)} for item in spec["datasets"]], output=output)
    planned = [own_task(dataset, spec["limit"], scratch) for dataset in spec["datasets"]]
    check_endpoint(spec["model"], environment.get("OPENAI_API_KEY", ""))
    write_plan(spec, models, planned, output=output)
    key = environment.get("OPENAI_API_KEY", "")
    with open(os.path.join(HERE, "evaluators.py"), encoding="utf-8") as source:
        provenance.begin(spec, "lm_eval", key, source.read())
    mask(run_dir, key)  # what an attempt that was killed has left
    config = write_config(spec, planned, scratch, os.path.join(run_dir, output))
    begin = log_size(run_dir)
    tell = partial(tell_progress, Bar(log_file(run_dir), begin), planned, progress)
    # Its bar is drawn into the log: once a second is enough.
    calm = {**environment, "TQDM_MININTERVAL": "1"}
    status = run_engine([*engine, "--config", config], run_dir, calm, tell)
    provenance.end(spec, key)
    check_results(os.path.join(run_dir, output), spec, begin, planned, status)
    progress.finish()


def own_task(dataset: dict[str, Any], limit: int | None, scratch: str) -> dict[str, Any]:
    """A dataset of the team's as a task."""
    if not is_own(dataset):
        raise RunError("DATASET_UNKNOWN", f"lm-eval runs own datasets only, not {dataset['dataset_id']}.")
    prepared = prepare_rows(dataset, limit, scratch)
    return {**prepared, "abbr": task_name(dataset), "unit": "fraction"}


def task_name(dataset: dict[str, Any]) -> str:
    """None of lm-eval's own names, and no path or pattern."""
    return "own-" + re.sub(r"[^A-Za-z0-9_-]", "-", dataset["abbr"])


def next_start(run_dir: str) -> str:
    """A directory of this start's own."""
    os.makedirs(run_dir, exist_ok=True)
    found = (STARTS.fullmatch(name) for name in os.listdir(run_dir))
    return f"start-{max((int(match.group(1)) for match in found if match), default=0) + 1}"


def write_config(spec: dict[str, Any], planned: list[dict[str, Any]], scratch: str, output: str) -> str:
    """What lm-eval reads: its configuration, a file for each task, and our functions beside them.

    YAML, of which JSON is a part: nothing of a request is ever code.
    """
    tasks = os.path.join(scratch, "tasks")
    os.makedirs(tasks, exist_ok=True)
    for name in OURS:
        shutil.copyfile(os.path.join(HERE, name), os.path.join(tasks, name))
    for dataset in planned:
        write(os.path.join(tasks, f"{dataset['abbr']}.yaml"), task_text(spec["model"], dataset))
    config = {
        "model": "local-chat-completions",
        "model_args": model_arguments(spec["model"]),
        "tasks": [dataset["abbr"] for dataset in planned],
        "include_path": tasks,
        "output_path": output,
        "log_samples": True,
        "apply_chat_template": True,
        "use_cache": os.path.join(spec["run_dir"], ".budeval", "answers"),
    }
    path = os.path.join(scratch, "lm_eval.yaml")
    write(path, json.dumps(config, ensure_ascii=False, indent=1))
    return path


def model_arguments(model: dict[str, Any]) -> dict[str, Any]:
    """The endpoint as lm-eval's client for OpenAI-compatible chat APIs; prompts go out as text."""
    return {
        "model": model["name"],
        "base_url": chat_url(model),
        "num_concurrent": model["batch_size"],
        "max_retries": model["retry"],
        "timeout": model["timeout"],
        "max_length": model["max_seq_len"],
        "tokenized_requests": False,
        "seed": SEED if model["seed"] is None else model["seed"],
    }


def task_text(model: dict[str, Any], dataset: dict[str, Any]) -> str:
    """A task file. Only a tag of YAML's can name a function, so it is YAML, one JSON value a line."""
    fields = {
        "task": dataset["abbr"],
        "dataset_kwargs": {"file": dataset["file"]},
        "test_split": "test",
        "output_type": "generate_until",
        "doc_to_text": PROMPT,
        "doc_to_target": ANSWER,
        "generation_kwargs": {
            "until": STOP,
            "max_gen_toks": model["max_out_len"],
            "temperature": model["temperature"],
            # Replies by chance are not taken from the cache.
            "do_sample": model["temperature"] > 0,
        },
        "metric_list": [{"metric": "accuracy", "aggregation": "mean", "higher_is_better": True}],
        "metadata": {"version": 1},
    }
    lines = [f"{name}: {json.dumps(value)}" for name, value in fields.items()]
    functions = {"custom_dataset": "texts.rows", "process_results": f"evaluators.{dataset['evaluator']}"}
    return "\n".join([*lines, *(f"{name}: !function {where}" for name, where in functions.items()), ""])


def log_size(run_dir: str) -> int:
    """Where in the engine's log this start begins."""
    try:
        return os.path.getsize(log_file(run_dir))
    except OSError:
        return 0


class Bar:
    """Follows the bar that lm-eval draws into its log, from where this start begins."""

    def __init__(self, log: str, begin: int) -> None:
        self._log = log
        self._read = begin
        self._rest = b""
        self._cached: int | None = None
        self._drawn = 0

    def done(self) -> int | None:
        """How many replies there are, those of the cache included; None before lm-eval knows."""
        try:
            with open(self._log, "rb") as file:
                file.seek(self._read)
                new = file.read()
        except OSError:
            return None
        self._read += len(new)
        text = self._rest + new
        self._rest = text[-LONGEST_BAR:]
        for found in CACHED.findall(text):
            self._cached = int(found)
        for found, _ in REQUESTS.findall(text):
            self._drawn = int(found)
        return None if self._cached is None else self._cached + self._drawn


def tell_progress(bar: Bar, planned: list[dict[str, Any]], progress: Progress) -> None:
    """What the bar shows; when all replies are there they are scored."""
    total = sum(dataset["rows"] for dataset in planned)
    done = bar.done()
    if done is None:
        return
    if done < total:
        progress.tell(done, total, "infer")
    else:
        progress.tell(0, len(planned), "evaluate")


def check_results(
    output: str, spec: dict[str, Any], begin: int, planned: list[dict[str, Any]], status: int
) -> None:
    """Every planned dataset has a finite number, or RunError says which have not and why.

    `begin` is where in the engine's log this start begins.
    """
    results = read_results(output)
    missing = [dataset["abbr"] for dataset in planned if not has_score(results.get(dataset["abbr"]))]
    if not missing and status == 0:
        return
    why = "The engine's log ends: " + tail(log_file(spec["run_dir"]))
    if status:
        text = f"lm-eval ended with exit status {status}. {why}"
        raise refused_by_endpoint(spec, begin) or RunError("ENGINE_FAILED", text)
    raise RunError("RESULT_MISSING", f"No score for {', '.join(missing)}. {why}")


def refused_by_endpoint(spec: dict[str, Any], begin: int) -> RunError | None:
    """What the endpoint said last, where that ended the engine: one row without an answer does."""
    log = read_log(spec["run_dir"], begin)
    answers = REFUSED.findall(log)
    if not answers or log.rfind(b"Traceback") < log.rfind(b"API request failed"):
        return None
    status, said = answers[-1]
    return RunError(*refusal(int(status), chat_url(spec["model"]), said.decode("utf-8", "replace")))


def read_log(run_dir: str, begin: int) -> bytes:
    """The engine's log of this start."""
    try:
        with open(log_file(run_dir), "rb") as file:
            file.seek(begin)
            return file.read()
    except OSError:
        return b""


def read_results(output: str) -> dict[str, Any]:
    """Task -> its metrics, of the one result file of a start."""
    for directory, _, names in os.walk(output):
        for name in sorted(names):
            if name.startswith("results_") and name.endswith(".json"):
                found = (read_json(os.path.join(directory, name)) or {}).get("results")
                return found if isinstance(found, dict) else {}
    return {}


def has_score(metrics: Any) -> bool:
    """Whether a task has a finite number under `accuracy`, with whatever filter."""
    numbers = metrics.items() if isinstance(metrics, dict) else ()
    return any(
        name.startswith("accuracy,") and isinstance(value, (int, float)) and math.isfinite(value)
        for name, value in numbers
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], os.environ, run))
