"""Run one OpenCompass evaluation in a pod: check, plan, run, watch, and say truthfully how it ended.

Runs as one file mounted from a ConfigMap: standard library only, Python 3.9 and later; the service imports
it only to check inline rows by the same code. It reads `run.json` beside it, which the service writes
(`budeval/engines/opencompass/jobs.py`), and the API key from OPENAI_API_KEY, never printed or written.

OpenCompass 0.5.4 exits 0 when everything failed, takes a broken file for a finished one, and asks the
endpoint only after half a minute of imports. So: the endpoint is asked first, broken files of an earlier
attempt are removed, and at the end every planned dataset must have a finite number. Exit status 0 means that
and nothing else. Any other end leaves `{"code": ..., "message": ...}` in the termination log, which
Kubernetes shows with the pod.
"""

from __future__ import annotations

import csv
import http.client
import json
import math
import mmap
import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterable, Mapping
from typing import Any, NoReturn

HERE = os.path.dirname(os.path.abspath(__file__))
TERMINATION_LOG = "/dev/termination-log"
PLANNED = ("abbr", "dataset_id", "rows", "unit")
TOKENIZER = "/opt/tokenizer"
ENDPOINT_SECONDS = 30.0
ENDPOINT_PAUSES = (1.0, 3.0, 6.0)
STOP_GRACE_SECONDS = 8.0
SHORTEST_SECRET = 8  # what is shorter protects nothing (EMPTY, none) and stands in ordinary words
POLL_SECONDS = 1.0
TAIL = 1500
TERMINATION_LIMIT = 4000
ASK_AGAIN = {408, 409, 425, 429}
AUTH_REFUSED = {401, 403}
SERVER_FAULT = 500
TERMINATED = 143

STAMP = re.compile(r"\d{8}_\d{6}")
PLACEHOLDER = re.compile(r"\{([A-Za-z_][A-Za-z0-9_ ]*)\}")
PROMPT, ANSWER = "budeval_prompt", "budeval_answer"
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


class RunError(Exception):
    """The run cannot be, or has not become, what was asked for."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message


class Stopped(BaseException):
    """SIGTERM or SIGINT came."""


def main(environment: Mapping[str, str], engine: list[str]) -> int:
    """Run what `run.json` says. `engine` is the command of OpenCompass; tests put a fake in its place."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    try:
        run(load_spec(os.path.join(HERE, "run.json")), environment, engine)
    except RunError as error:
        report(error, environment)
        return 3
    except Exception as error:
        report(RunError("ENGINE_FAILED", f"run_in_pod.py failed: {type(error).__name__}"), environment)
        raise
    except Stopped:
        say("stopped by a signal")
        return TERMINATED
    return 0


def stop(_number: int, _frame: Any) -> NoReturn:
    """Whatever is under way ends by this exception, and with it the engine."""
    raise Stopped


def run(spec: dict[str, Any], environment: Mapping[str, str], engine: list[str]) -> None:
    """From the checked input to the checked output."""
    progress = Progress()
    progress.tell(0, 0, "prepare")
    scratch = environment.get("HOME", "/scratch")
    own = [prepare_rows(dataset, spec["limit"], scratch) for dataset in spec["datasets"] if is_own(dataset)]
    check_endpoint(spec["model"], environment.get("OPENAI_API_KEY", ""))
    config = os.path.join(scratch, "evaluation.py")
    write(config, config_text(spec, own))
    planned = own + stock_plan(spec, config, environment)
    run_dir = spec["run_dir"]
    write_plan(spec, planned)
    mask(run_dir, environment.get("OPENAI_API_KEY", ""))  # what an attempt that was killed has left
    heal(run_dir)
    command = [*engine, config, "-w", run_dir, *resume(run_dir)]
    status = run_engine(command, spec, planned, environment, progress)
    check_results(run_dir, model_name(spec), planned, status)
    progress.tell(progress.total, progress.total, "done")


def load_spec(path: str) -> dict[str, Any]:
    """The content of run.json."""
    try:
        with open(path, encoding="utf-8") as file:
            spec: dict[str, Any] = json.load(file)
        for name in ("eval_id", "run_id", "attempt", "model", "limit", "datasets", "run_dir", "data_dir"):
            spec[name]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunError("SPEC_INVALID", f"run.json cannot be used: {type(error).__name__} {error}") from error
    return spec


def is_own(dataset: dict[str, Any]) -> bool:
    """Whether its rows come from the team and not with OpenCompass."""
    return bool(dataset["kind"] == "own")


def prepare_rows(dataset: dict[str, Any], limit: int | None, scratch: str) -> dict[str, Any]:
    """Check the rows of an own dataset and write them as OpenCompass gets them: prompt and answer.

    Prompts are filled in here: OpenCompass would also replace a `{column}` that stands in a row's text.
    """
    rows = list(read_rows(dataset))[:limit]
    if not rows:
        raise RunError("DATASET_INVALID", f"Dataset {dataset['dataset_id']} has no rows.")
    target = os.path.join(scratch, f"{dataset['abbr']}.jsonl")
    lines = [json.dumps(prompt_and_answer(dataset, number, row)) for number, row in enumerate(rows, 1)]
    write(target, "\n".join(lines) + "\n")
    # All four evaluators count right replies and give their share in percent.
    return {**dataset, "file": target, "rows": len(rows), "unit": "percent"}


def read_rows(dataset: dict[str, Any]) -> Iterable[dict[str, Any]]:
    """The rows of a JSON Lines or CSV file, blank lines left out."""
    path = dataset["file"]
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            if dataset["format"] == "csv":
                yield from csv.DictReader(file)
                return
            for number, line in enumerate(file, 1):
                if line.strip():
                    yield parse_row(line, number)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        text = f"The rows of {dataset['dataset_id']} cannot be read: {error}. Check source.path and format."
        raise RunError("DATASET_INVALID", text) from error


def parse_row(line: str, number: int) -> dict[str, Any]:
    """One line of JSON Lines."""
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        text = f"Line {number} is not JSON: {type(error).__name__} {error}."
        raise RunError("DATASET_INVALID", text) from error
    if not isinstance(row, dict):
        raise RunError("DATASET_INVALID", f"Line {number} is not a JSON object.")
    return row


def prompt_and_answer(dataset: dict[str, Any], number: int, row: dict[str, Any]) -> dict[str, Any]:
    """A row as OpenCompass gets it."""
    missing = [
        name for name in [*PLACEHOLDER.findall(dataset["prompt"]), dataset["answer"]] if row.get(name) is None
    ]
    if missing:
        there = ", ".join(sorted(map(str, row)))
        text = f"Row {number} of {dataset['dataset_id']} has no column {missing[0]!r}. It has: {there}."
        raise RunError("DATASET_INVALID", text)
    answer: Any = str(row[dataset["answer"]]).strip()
    if dataset["evaluator"] == "last_number":
        answer = answer.replace(",", "")
    elif dataset["evaluator"] == "contains":
        answer = [answer]
    prompt = PLACEHOLDER.sub(lambda match: str(row[match.group(1)]), dataset["prompt"])
    return {PROMPT: prompt, ANSWER: answer}


def check_endpoint(model: dict[str, Any], key: str) -> None:
    """Ask the endpoint for one token; what may pass is asked again a few times."""
    for pause in (*ENDPOINT_PAUSES, None):
        try:
            ask_endpoint(model, key)
        except RunError as error:  # noqa: PERF203 - four tries at most
            if pause is None or error.code not in {"ENDPOINT_UNREACHABLE", "ENDPOINT_ERROR"}:
                raise
            say(f"{error}; asking again in {pause:.0f} s")
            time.sleep(pause)
        else:
            return


class NoRedirects(urllib.request.HTTPRedirectHandler):
    """The key is meant for one host: a redirect is refused, not followed."""

    def redirect_request(self, *_arguments: Any) -> None:
        """Make an error of it."""


def ask_endpoint(model: dict[str, Any], key: str) -> None:
    """One request to the chat API; RunError says what it shows."""
    url = model["endpoint"].rstrip("/") + "/chat/completions"
    body = {"model": model["name"], "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 1}
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {key}"}
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), NoRedirects)
    try:
        request = urllib.request.Request(url, json.dumps(body).encode(), headers)  # noqa: S310 - http(s) only
        with opener.open(request, timeout=ENDPOINT_SECONDS) as answer:
            answer.read()
    except urllib.error.HTTPError as error:
        said = error.read(2000).decode("utf-8", "replace")
        raise RunError(*refusal(error.code, url, without_key(said, key))) from None
    except (OSError, ValueError, http.client.HTTPException) as error:
        # Others than the operating system's words may quote the headers.
        said = str(error) if isinstance(error, OSError) else type(error).__name__
        text = f"{url} does not answer: {without_key(said, key)}. Check endpoint, and the pods' network."
        raise RunError("ENDPOINT_UNREACHABLE", text) from None


def refusal(status: int, url: str, said: str) -> tuple[str, str]:
    """Code and message of an HTTP error."""
    text = f"{url} answers {status}: {' '.join(said.split())[:300]}"
    if status in AUTH_REFUSED:
        return "ENDPOINT_AUTH_FAILED", f"{text}. Check api_key."
    if status >= SERVER_FAULT or status in ASK_AGAIN:
        return "ENDPOINT_ERROR", text
    return "ENDPOINT_REFUSED", f"{text}. Check model_name and endpoint."


def without_key(text: str, key: str) -> str:
    """Servers echo what they refuse."""
    return text.replace(key, "***") if len(key) >= SHORTEST_SECRET else text


def model_name(spec: dict[str, Any]) -> str:
    """The model's name as a directory of OpenCompass."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", spec["model"]["name"]).strip("-.")[:100] or "model"


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


def write_plan(spec: dict[str, Any], planned: list[dict[str, Any]]) -> None:
    """What was asked for, before the engine starts: the extractor judges against it."""
    plan = {
        "schema": 1,
        "attempt": spec["attempt"],
        "models": [model_name(spec)],
        "datasets": [{name: item.get(name) for name in PLANNED} for item in planned],
    }
    target = os.path.join(spec["run_dir"], ".budeval", "plan.json")
    os.makedirs(os.path.dirname(target), exist_ok=True)
    write(target + ".new", json.dumps(plan))
    os.replace(target + ".new", target)


def resume(run_dir: str) -> list[str]:
    """Go on with the newest attempt, by its name: `latest` takes what sorts last, as our own directory."""
    stamps = sorted(name for name in os.listdir(run_dir) if STAMP.fullmatch(name))
    return ["-r", stamps[-1]] if stamps else []


def heal(run_dir: str) -> None:
    """Remove what an earlier attempt left broken: OpenCompass takes any file for a finished one."""
    for kind in ("predictions", "results"):
        for path in json_files(run_dir, kind):
            document = read_json(path)
            if document is None or (kind == "results" and "error" in document):
                say(f"removing the broken {os.path.relpath(path, run_dir)}")
                os.remove(path)


def json_files(run_dir: str, kind: str) -> list[str]:
    """The JSON files of one kind in all attempts of a run."""
    found = []
    for folder, _, names in os.walk(run_dir):
        if f"/{kind}/" in folder + "/":
            found += [os.path.join(folder, name) for name in names if name.endswith(".json")]
    return sorted(found)


def read_json(path: str) -> dict[str, Any] | None:
    """The object in a file, None where there is none."""
    try:
        with open(path, encoding="utf-8") as file:
            document = json.load(file)
    except (OSError, ValueError):
        return None
    return document if isinstance(document, dict) else None


class Progress:
    """Progress lines: only when something has changed, never backwards."""

    def __init__(self) -> None:
        self.total = 0
        self._last: tuple[int, int, str] | None = None

    def tell(self, done: int, total: int, phase: str) -> None:
        """Print a line if it says something new."""
        self.total = max(self.total, total)
        if self._last and self._last[2] == phase:
            done = max(done, self._last[0])
        now = (done, self.total, phase)
        if now != self._last:
            self._last = now
            line = {"done": done, "total": self.total, "phase": phase}
            print("BUDEVAL1-PROGRESS " + json.dumps(line), flush=True)


def engine_environment(spec: dict[str, Any], environment: Mapping[str, str]) -> dict[str, str]:
    """Where OpenCompass finds stock data; it would download them otherwise."""
    return {**environment, "COMPASS_DATA_CACHE": spec["data_dir"]}


def run_engine(
    command: list[str],
    spec: dict[str, Any],
    planned: list[dict[str, Any]],
    environment: Mapping[str, str],
    progress: Progress,
) -> int:
    """Run OpenCompass to its end in a session of its own; a signal to us ends all of it. Its exit status."""
    log = os.path.join(spec["run_dir"], ".budeval", "engine.log")
    say("starting OpenCompass")
    with open(log, "ab") as output:
        engine = subprocess.Popen(
            command,
            env=engine_environment(spec, environment),
            cwd=environment.get("HOME", "/scratch"),
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            while engine.poll() is None:
                tell_progress(spec, planned, progress)
                time.sleep(POLL_SECONDS)
        finally:
            end_session(engine)
            mask(spec["run_dir"], environment.get("OPENAI_API_KEY", ""))
    tell_progress(spec, planned, progress)
    say(f"OpenCompass ended with exit status {engine.returncode}; the end of its output:")
    say(tail(log))
    return engine.returncode


def mask(run_dir: str, key: str) -> None:
    """The engine writes down what an endpoint says, and endpoints echo keys; files stay on the claim."""
    if len(key) < SHORTEST_SECRET:
        return
    for directory, _, names in os.walk(run_dir):
        for name in names:
            path = os.path.join(directory, name)
            if os.path.isfile(path) and not os.path.islink(path) and os.path.getsize(path):
                mask_file(path, key.encode())


def mask_file(path: str, key: bytes) -> None:
    """Rewrite a file that has the key in it, whatever else is in it."""
    try:
        with open(path, "r+b") as file, mmap.mmap(file.fileno(), 0) as content:
            if content.find(key) < 0:  # as nearly always: nothing is copied then
                return
            masked = content[:].replace(key, b"***")
        with open(path, "wb") as whole:
            whole.write(masked)
    except OSError as error:
        say(f"{path} could not be searched for the key: {error.strerror}")


def end_session(engine: subprocess.Popen[bytes]) -> None:
    """End the engine and its workers; those that outlive it would go on writing."""
    for number, patience in ((signal.SIGTERM, STOP_GRACE_SECONDS), (signal.SIGKILL, STOP_GRACE_SECONDS)):
        try:
            os.killpg(engine.pid, number)
        except ProcessLookupError:
            break
        try:
            engine.wait(patience)
        except subprocess.TimeoutExpired:
            continue
    engine.wait()


def tell_progress(spec: dict[str, Any], planned: list[dict[str, Any]], progress: Progress) -> None:
    """Count finished samples in the files that OpenCompass writes (facts: its 0.5.4 output tree)."""
    model = model_name(spec)
    counts = [dataset_progress(spec["run_dir"], model, item) for item in planned]
    done, total = sum(count[0] for count in counts), sum(count[1] for count in counts)
    if total and done >= total:
        finished = sum(
            bool(find(spec["run_dir"], "results", model, item["abbr"] + ".json")) for item in planned
        )
        progress.tell(finished, len(planned), "evaluate")
    elif total:
        progress.tell(done, total, "infer")


def dataset_progress(run_dir: str, model: str, item: dict[str, Any]) -> tuple[int, int]:
    """(done, total) samples of one dataset."""
    status = {}
    path = find(run_dir, "infer_status", model, item["abbr"] + ".json")
    if path:
        status = read_json(path) or {}
    total = item["rows"] or status.get("total") or 0
    if find(run_dir, "predictions", model, item["abbr"] + ".json"):
        return total, total
    return min(int(status.get("completed") or 0), total), total


def find(run_dir: str, *parts: str) -> str | None:
    """A file of the newest attempt that has it."""
    for stamp in sorted(filter(STAMP.fullmatch, os.listdir(run_dir)), reverse=True):
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
    return "The engine's log ends: " + tail(os.path.join(run_dir, ".budeval", "engine.log"))


def tail(path: str) -> str:
    """The end of a log; of a line that overwrites itself only its last state."""
    try:
        with open(path, "rb") as file:
            file.seek(max(0, os.path.getsize(path) - 8 * TAIL))
            text = file.read().decode("utf-8", "replace")
    except OSError:
        return "(no log)"
    return "\n".join(line.rpartition("\r")[2] for line in text.rstrip().split("\n"))[-TAIL:]


def report(error: RunError, environment: Mapping[str, str]) -> None:
    """Say how the run failed where Kubernetes and people look."""
    key = environment.get("OPENAI_API_KEY", "")
    document = document_of(error.code, without_key(error.message, key))
    print("BUDEVAL1-FAILED " + document, flush=True)
    try:
        write(environment.get("BUDEVAL_TERMINATION_LOG", TERMINATION_LOG), document)
    except OSError as problem:
        say(f"the termination log cannot be written: {problem}")


def document_of(code: str, message: str) -> str:
    """JSON that fits into a termination log, which Kubernetes cuts at 4096 bytes."""
    while len(document := json.dumps({"code": code, "message": message})) > TERMINATION_LIMIT:
        message = message[: len(message) * 3 // 4]
    return document


def write(path: str, text: str) -> None:
    """A whole file."""
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)


def say(text: str) -> None:
    """A line for people."""
    print(f"run_in_pod: {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main(os.environ, [sys.executable, "-m", "opencompass.cli.main"]))
