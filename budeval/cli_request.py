"""From a request file and flags to the document that the service gets."""

import hashlib
import json
import os
import re
import sys
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from budeval.domain.evaluation import Evaluator
from budeval.errors import RequestError
from budeval.evals.schema import INLINE_LIMIT

Document = dict[str, Any]

DEFAULT_KEY_VARIABLE = "OPENAI_API_KEY"
STDIN = "-"

_FORMATS = {".jsonl": "jsonl", ".ndjson": "jsonl", ".csv": "csv"}
_SLUG_LENGTH = 40


@dataclass(frozen=True)
class Flags:
    """What the command line says of the request; None where it says nothing."""

    model: str | None = None
    endpoint: str | None = None
    api_key_env: str = DEFAULT_KEY_VARIABLE
    datasets: tuple[str, ...] = ()
    prompt: str | None = None
    answer: str | None = None
    evaluator: Evaluator | None = None
    limit: int | None = None
    cluster: str | None = None
    namespace: str | None = None
    temperature: float | None = None
    engine: str | None = None
    eval_id: str | None = None


def request_document(file: str | None, flags: Flags) -> Document:
    """The request: the file's, where there is one, with what the flags say in its place.

    Missing ids are made: a random `eval_id`, the others derived from it, so that the same command with the
    same `--eval-id` is the same request. The fields are not checked here; the service does that.

    Raises:
        RequestError: a file cannot be read, or something necessary is not given. Never quotes a file.
    """
    document = _read_request(file) if file else _new_request(flags)
    _apply(flags, document)
    _set_limits(flags, document)
    _add_key(flags, document)
    _add_ids(document)
    return document


def _read_request(file: str) -> Document:
    text = sys.stdin.read() if file == STDIN else text_of(Path(file))
    document = _parsed(text, file)
    if not isinstance(document, dict):
        raise RequestError(f"{file} is no request: it must be one JSON or YAML object.", param="FILE")
    return document


def _parsed(text: str, file: str) -> Any:
    """JSON if it is, else YAML. The parsers' own words are left out: they quote the file, and so its keys."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        where = f"line {error.lineno}" if isinstance(error, json.JSONDecodeError) else "its nesting"
    try:
        return yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        if error.problem_mark:
            where = f"line {error.problem_mark.line + 1}, column {error.problem_mark.column + 1}"
    except (yaml.YAMLError, ValueError, RecursionError):
        pass
    raise RequestError(f"{file} is neither JSON nor YAML: see {where}.", param="FILE")


def _new_request(flags: Flags) -> Document:
    if not (flags.model and flags.endpoint and flags.datasets):
        raise RequestError("Without a request file give --model, --endpoint and --dataset.")
    return {"eval_model_info": {}}


def _apply(flags: Flags, document: Document) -> None:
    for name in ("engine", "cluster", "namespace", "eval_id"):
        if (value := getattr(flags, name)) is not None:
            document[name] = value
    model = {"model_name": flags.model, "endpoint": flags.endpoint}
    _merge(document, "eval_model_info", model)
    _merge(document, "decoding", {"temperature": flags.temperature})
    if flags.datasets:
        document["eval_datasets"] = [_dataset(text) for text in flags.datasets]
    own = [dataset for dataset in _datasets(document) if "source" in dataset]
    if flags.prompt is not None or flags.answer is not None or flags.evaluator is not None:
        if not own:
            raise RequestError("--prompt, --answer and --evaluator are for --dataset NAME=FILE.")
        for dataset in own:
            _merge(dataset, "source", _reading(flags))


def _merge(document: Document, part: str, values: Document) -> None:
    given = {name: value for name, value in values.items() if value is not None}
    there = document.get(part) or {}
    if given and isinstance(there, dict):
        document[part] = there | given


def _reading(flags: Flags) -> Document:
    """How an own dataset is read."""
    evaluator = flags.evaluator.value if flags.evaluator else None
    return {"prompt": flags.prompt, "answer": flags.answer, "evaluator": evaluator}


def _dataset(text: str) -> Document:
    """A `--dataset`: the name of a stock dataset, or NAME=FILE."""
    name, given, file = text.partition("=")
    dataset: Document = {"dataset_id": name}
    if given:
        path = Path(file)
        if path.suffix not in _FORMATS:
            raise RequestError(f"{file} must end in {', '.join(_FORMATS)}.", param="--dataset")
        dataset["source"] = {"inline": _rows(path), "format": _FORMATS[path.suffix]}
    return dataset


def _rows(path: Path) -> str:
    rows = text_of(path)
    if len(rows.encode()) > INLINE_LIMIT:
        advice = "Put it on the claim (`budeval data push`), and give its path in a request file."
        text = f"{path} has more than {INLINE_LIMIT // 1024} KiB. {advice}"
        raise RequestError(text, param="--dataset")
    return rows


def text_of(path: Path, param: str | None = None) -> str:
    """A text file; `param` is the option that names it, for errors.

    Raises:
        RequestError: it cannot be read.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise RequestError(f"{path} cannot be read: {error.strerror}.", param=param) from error
    except UnicodeDecodeError as error:
        raise RequestError(f"{path} is not UTF-8 text.", param=param) from error


def _set_limits(flags: Flags, document: Document) -> None:
    if flags.limit is not None:
        for dataset in _datasets(document):
            dataset["limit"] = flags.limit


def _add_key(flags: Flags, document: Document) -> None:
    """The API key of the environment, where the file names none."""
    model = document.get("eval_model_info")
    if not isinstance(model, dict) or model.get("api_key") or model.get("secret_ref"):
        return
    model["api_key"] = api_key_of(flags.api_key_env)


def api_key_of(variable: str) -> str:
    """The API key in an environment variable.

    Raises:
        RequestError: there is none.
    """
    key = os.environ.get(variable, "").strip()
    if not key:
        # The name is not quoted: somebody may have typed the key itself.
        named = DEFAULT_KEY_VARIABLE if variable == DEFAULT_KEY_VARIABLE else "that --api-key-env names"
        text = f"No API key: the environment variable {named} is not set. Any text will do if none is needed."
        raise RequestError(text, param="--api-key-env")
    return key


def secret_ref_of(text: str) -> Document:
    """A `--secret-ref`, NAME or NAME=KEY, as requests have it. The service checks what it names."""
    name, given, key = text.partition("=")
    return {"name": name, "key": key} if given else {"name": name}


def _add_ids(document: Document) -> None:
    eval_id = str(document.get("eval_id") or uuid.uuid4())
    document["eval_id"] = eval_id
    derived = uuid.uuid5(uuid.NAMESPACE_URL, f"budeval:experiment:{eval_id}")
    document["experiment_id"] = str(document.get("experiment_id") or derived)
    for at, dataset in enumerate(_datasets(document)):
        name = str(dataset.get("dataset_id", ""))
        dataset["run_id"] = dataset.get("run_id") or _run_id(eval_id, name, at)


def _run_id(eval_id: str, name: str, at: int) -> str:
    """Readable, unique, and the name of a Job."""
    slug = re.sub(r"[^a-z0-9]+", "-", name.lower())[:_SLUG_LENGTH].strip("-") or "run"
    return f"{slug}-{hashlib.sha256(f'{eval_id}/{at}'.encode()).hexdigest()[:6]}"


def _datasets(document: Document) -> list[Document]:
    """The datasets that are objects; the service complains of what is not."""
    datasets = document.get("eval_datasets")
    return [item for item in datasets if isinstance(item, dict)] if isinstance(datasets, list) else []
