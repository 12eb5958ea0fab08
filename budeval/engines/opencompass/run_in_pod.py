"""Run one OpenCompass evaluation in a pod: check, plan, run, watch, and say truthfully how it ended.

Mounted from a ConfigMap together with `resuming` and `budeval.engines.in_pod`: standard library only, Python
3.9 and later. It reads `run.json`, which the service writes (`budeval/engines/opencompass/jobs.py`), and the
API key from OPENAI_API_KEY, never printed or written.

OpenCompass 0.5.4 exits 0 when everything failed, takes a broken file for a finished one, and asks the
endpoint only after half a minute of imports. So: the endpoint is asked first, broken files of an earlier
attempt are removed, attempts that were asked something else are set aside, and at the end every planned
dataset must have a finite number. Exit status 0 means that and nothing else. Any other end leaves
`{"code": ..., "message": ...}` in the termination log, which Kubernetes shows with the pod.
"""

from __future__ import annotations

import json
import math
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from functools import partial
from typing import Any

from budeval.engines.in_pod import provenance
from budeval.engines.in_pod.endpoint import check_endpoint
from budeval.engines.in_pod.engine_process import log_file, run_engine
from budeval.engines.in_pod.failure import RunError
from budeval.engines.in_pod.files import TAIL, read_json, say, tail, write
from budeval.engines.in_pod.masking import mask
from budeval.engines.in_pod.plan import model_name, write_plan
from budeval.engines.in_pod.program import main
from budeval.engines.in_pod.progress import Progress
from budeval.engines.in_pod.rows import ANSWER, PROMPT, is_own, prepare_rows
from budeval.engines.opencompass.resuming import heal, resume, set_aside_others, stamps, what_is_asked

ENGINE = (sys.executable, "-m", "opencompass.cli.main")
TOKENIZER = "/opt/tokenizer"

CHAT = {
    "round": [{"role": "HUMAN", "api_role": "HUMAN"}, {"role": "BOT", "api_role": "BOT", "generate": True}]
}
NO_REASONING = {"type": "extract-non-reasoning-content"}
DETAILED = {"type": "opencompass.openicl.icl_evaluator.AccwithDetailsEvaluator"}
# OpenCompass' own parts; all but `contains` leave a verdict for each sample.
EVALUATORS: dict[str, dict[str, Any]] = {
    "exact": {"evaluator": DETAILED, "pred_postprocessor": NO_REASONING},
    "contains": {
        "evaluator": {"type": "opencompass.datasets.ruler.ruler_qa.RulerQaEvaluator"},
        "pred_postprocessor": NO_REASONING,
    },
    "last_number": {
        "evaluator": {"type": "opencompass.datasets.Gsm8kEvaluator"},
        "pred_postprocessor": {"type": "opencompass.datasets.gsm8k_postprocess"},
    },
    "choice": {
        "evaluator": DETAILED,
        "pred_postprocessor": {
            "type": "opencompass.utils.text_postprocessors.first_option_postprocess",
            "options": "ABCDEFGHIJ",
        },
    },
}
# Python of the config file, for datasets that OpenCompass ships: found by name, never by code of a request.
# Modules are imported by hand: at an `import` of theirs mmengine would read the whole file in another mode.
STOCK = """
from importlib import import_module
home = import_module('opencompass').__path__[0] + '/configs/datasets'
match = import_module('opencompass.utils.run').match_cfg_file
read = import_module('mmengine.config').Config.fromfile
for name in stock:
    found = read(match([home], [name])[0][1])
    for key in list(found.keys()):
        if key.endswith('datasets'):
            datasets += found[key]
for dataset in datasets:
    if limit and 'test_range' not in dataset.reader_cfg:
        dataset.reader_cfg['test_range'] = '[0:%d]' % limit
    elif limit:
        begin, _, end = str(dataset.reader_cfg['test_range']).strip('[]').partition(':')
        begin = int(begin or 0)
        end = min(int(end), begin + limit) if end.strip().isdigit() else begin + limit
        dataset.reader_cfg['test_range'] = '[%d:%d]' % (begin, end)
"""
DESCRIBE = (
    "import json,sys;from mmengine.config import Config;"
    "print('BUDEVAL1-DATASETS',json.dumps([d['abbr'] for d in Config.fromfile(sys.argv[1])['datasets']]))"
)


def run(spec: dict[str, Any], environment: Mapping[str, str], engine: tuple[str, ...] = ENGINE) -> None:
    """From the checked input to the checked output. `engine` is its command; tests put a fake there."""
    progress = Progress()
    progress.tell(0, 0, "prepare")
    scratch = environment.get("HOME", "/scratch")
    run_dir = spec["run_dir"]
    write_plan(spec, [model_name(spec)], spec["datasets"])
    own = [own_dataset(dataset, spec["limit"], scratch) for dataset in spec["datasets"] if is_own(dataset)]
    check_endpoint(spec["model"], environment.get("OPENAI_API_KEY", ""))
    config = os.path.join(scratch, "evaluation.py")
    text = config_text(spec, own)
    write(config, text)
    planned = own + stock_plan(spec, config, environment)
    write_plan(spec, [model_name(spec)], planned)
    key = environment.get("OPENAI_API_KEY", "")
    provenance.begin(spec, "opencompass", key)
    mask(run_dir, key)  # what an attempt that was killed has left
    set_aside_others(run_dir, what_is_asked(text, provenance.installed("opencompass"), planned))
    heal(run_dir)
    command = [*engine, config, "-w", run_dir, *resume(run_dir)]
    tell = partial(tell_progress, spec, planned, progress)
    status = run_engine(command, run_dir, engine_environment(spec, environment), tell)
    provenance.end(spec, key)
    check_results(run_dir, model_name(spec), planned, status)
    progress.finish()


def own_dataset(dataset: dict[str, Any], limit: int | None, scratch: str) -> dict[str, Any]:
    """A dataset of the team's as OpenCompass gets it: RULER's evaluator wants a list of answers."""
    as_list = dataset["evaluator"] == "contains"
    prepared = prepare_rows(dataset, limit, scratch, (lambda answer: [answer]) if as_list else str)
    # All four evaluators count right replies and give their share in percent.
    return {**prepared, "unit": "percent"}


def config_text(spec: dict[str, Any], own: list[dict[str, Any]]) -> str:
    """The OpenCompass configuration: literals, written by `repr`, so nothing of a request is ever code."""
    stock = [dataset["dataset_id"] for dataset in spec["datasets"] if not is_own(dataset)]
    values = {
        "models": [model_config(spec)],
        "datasets": [dataset_config(dataset) for dataset in own],
        "infer": stage("opencompass.tasks.openicl_infer_concurrent.OpenICLInferConcurrentTask", 1000, 1),
        "eval": stage("opencompass.tasks.OpenICLEvalTask", 1, 1),
    }
    text = "".join(f"{name} = {value!r}\n" for name, value in values.items())
    if "{{" in text + repr(stock):
        # mmengine fills in environment variables, our key among them, and pastes defaults as code.
        raise RunError(
            "SPEC_INVALID", "Names and endpoint must not contain '{{': OpenCompass would expand it."
        )
    if not stock:
        return text
    last = "del stock, limit, import_module, home, match, read, name, found, key, dataset\n"
    return f"{text}stock = {stock!r}\nlimit = {spec['limit']!r}\n{STOCK}{last}"


def model_config(spec: dict[str, Any]) -> dict[str, Any]:
    """The endpoint as OpenCompass' client for OpenAI-compatible APIs."""
    model = spec["model"]
    extra = {} if model["seed"] is None else {"openai_extra_kwargs": {"seed": model["seed"]}}
    return {
        "type": "opencompass.models.OpenAISDK",
        "abbr": model_name(spec),
        "path": model["name"],
        "key": "ENV",
        "openai_api_base": model["endpoint"],
        "tokenizer_path": TOKENIZER,
        "meta_template": CHAT,
        "query_per_second": model["query_per_second"],
        "batch_size": model["batch_size"],
        "max_workers": model["batch_size"],
        "max_out_len": model["max_out_len"],
        "max_seq_len": model["max_seq_len"],
        "temperature": model["temperature"],
        "retry": model["retry"],
        "timeout": model["timeout"],
        **extra,
    }


def dataset_config(dataset: dict[str, Any]) -> dict[str, Any]:
    """An own dataset as OpenCompass' custom one."""
    template = {"round": [{"role": "HUMAN", "prompt": "{" + PROMPT + "}"}]}
    return {
        "type": "opencompass.datasets.CustomDataset",
        "abbr": dataset["abbr"],
        "path": dataset["file"],
        "local_mode": True,
        "reader_cfg": {"input_columns": [PROMPT], "output_column": ANSWER},
        "infer_cfg": {
            "prompt_template": {
                "type": "opencompass.openicl.icl_prompt_template.PromptTemplate",
                "template": template,
            },
            "retriever": {"type": "opencompass.openicl.icl_retriever.ZeroRetriever"},
            "inferencer": {"type": "opencompass.openicl.icl_inferencer.GenInferencer"},
        },
        "eval_cfg": {**EVALUATORS[dataset["evaluator"]], "pred_role": "BOT"},
    }


def stage(task: str, at_once: int, workers: int) -> dict[str, Any]:
    """Inference or evaluation: how it is cut into tasks, and who runs them."""
    return {
        "partitioner": {"type": "opencompass.partitioners.NaivePartitioner", "n": at_once},
        "runner": {
            "type": "opencompass.runners.LocalRunner",
            "max_num_workers": workers,
            "task": {"type": task},
        },
    }


def stock_plan(spec: dict[str, Any], config: str, environment: Mapping[str, str]) -> list[dict[str, Any]]:
    """What the stock datasets of a run are called by OpenCompass: only its own configuration knows."""
    stock = [dataset for dataset in spec["datasets"] if not is_own(dataset)]
    if not stock:
        return []
    say("asking OpenCompass for its datasets")
    asked = subprocess.run(
        [sys.executable, "-c", DESCRIBE, config],
        env=engine_environment(spec, environment),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    found = re.search(r"^BUDEVAL1-DATASETS (\[.*\])$", asked.stdout, re.MULTILINE)
    if asked.returncode or not found:
        names = ", ".join(item["dataset_id"] for item in stock)
        text = f"OpenCompass cannot load {names}. It says: {asked.stdout[-TAIL:]}"
        raise RunError("DATASET_UNKNOWN", text)
    owns = {dataset["abbr"] for dataset in spec["datasets"] if is_own(dataset)}
    abbrs = [abbr for abbr in json.loads(found.group(1)) if abbr not in owns]
    return [{"abbr": abbr, "dataset_id": stock[0]["dataset_id"], "rows": None} for abbr in abbrs]


def engine_environment(spec: dict[str, Any], environment: Mapping[str, str]) -> dict[str, str]:
    """Where OpenCompass finds stock data; it would download them otherwise."""
    return {**environment, "COMPASS_DATA_CACHE": spec["data_dir"]}


def tell_progress(spec: dict[str, Any], planned: list[dict[str, Any]], progress: Progress) -> None:
    """Count finished samples in the files that OpenCompass writes (facts: its 0.5.4 output tree)."""
    model = model_name(spec)
    try:
        counts = [dataset_progress(spec["run_dir"], model, item) for item in planned]
    except ValueError:
        return  # a file is just being written
    totals = [total for _, total in counts if total]
    if not totals:
        return
    done = sum(count[0] for count in counts)
    if len(totals) == len(planned) and done >= sum(totals):
        finished = sum(
            bool(find(spec["run_dir"], "results", model, item["abbr"] + ".json")) for item in planned
        )
        progress.tell(finished, len(planned), "evaluate")
    else:
        # OpenCompass counts a dataset only when it begins it: the others are taken to be as large.
        progress.tell(done, round(sum(totals) / len(totals) * len(planned)), "infer")


def dataset_progress(run_dir: str, model: str, item: dict[str, Any]) -> tuple[int, int]:
    """(done, total) samples of one dataset; ValueError where that cannot be read now."""
    status: dict[str, Any] = {}
    path = find(run_dir, "infer_status", model, item["abbr"] + ".json")
    if path:
        with open(path, encoding="utf-8") as file:
            status = json.load(file)
    total = item["rows"] or status.get("total") or 0
    if find(run_dir, "predictions", model, item["abbr"] + ".json"):
        return total, total
    return min(int(status.get("completed") or 0), total), total


def find(run_dir: str, *parts: str) -> str | None:
    """A file of the newest attempt that has it."""
    for stamp in reversed(stamps(run_dir)):
        path = os.path.join(run_dir, stamp, *parts)
        if os.path.isfile(path):
            return path
    return None


def check_results(run_dir: str, model: str, planned: list[dict[str, Any]], status: int) -> None:
    """Every planned dataset has a finite number, or RunError says which have not and why."""
    missing = [item["abbr"] for item in planned if not has_score(run_dir, model, item["abbr"])]
    if not missing and status == 0:
        return
    why = evidence(run_dir, model, missing)
    if status:
        raise RunError("ENGINE_FAILED", f"OpenCompass ended with exit status {status}. {why}")
    raise RunError("RESULT_MISSING", f"No score for {', '.join(missing)}. {why}")


def has_score(run_dir: str, model: str, abbr: str) -> bool:
    """Whether the result file of a dataset has a finite number and no error."""
    path = find(run_dir, "results", model, abbr + ".json")
    document = (read_json(path) if path else None) or {"error": "none"}
    numbers = [value for key, value in document.items() if key != "details" and is_finite(value)]
    return bool(numbers) and "error" not in document


def is_finite(value: Any) -> bool:
    """A number that is one."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer beyond any float
        return False


def evidence(run_dir: str, model: str, missing: list[str]) -> str:
    """The end of the log that tells why: of the dataset's own task, else of the engine."""
    for abbr in missing:
        for kind in ("eval", "infer"):
            path = find(run_dir, "logs", kind, model, abbr + ".out")
            if path:
                return "Its log ends: " + tail(path)
    return "The engine's log ends: " + tail(log_file(run_dir))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], os.environ, run))
