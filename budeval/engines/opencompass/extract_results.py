"""Read the scores of OpenCompass runs from the shared volume and print them to standard output.

One long file on purpose: whoever has nothing but Python and this file can run it (docs/decisions/0009).
Standard library only, Python 3.9 and later; the extractors of other engines take from it what is the same for
all. By default it prints one frame per run and a closing one, `BUDEVAL1 <run id or -> <bytes> <sha256>
<base64(zlib(json))>`, so that the reader (`budeval.domain.frames`) notices whatever a container log adds or
loses; `--plain` prints one JSON document.

Environment: EVAL_ID; RUN_IDS (a JSON list or a comma list) or RUN_IDS_FILE (a file that holds one);
RESULTS_ROOT (default /workspace/shared/results).

What counts as a result: OpenCompass exits 0 when everything failed, writes `-` for what it does not have,
and keeps older summaries beside newer ones. So a run is a success only if every requested (dataset, model)
pair has a finite value in the newest attempt. Numbers are the exact ones of `results/*.json`; the CSV,
rounded to two digits and not really CSV, is the index and the cross-check. What was requested is in
`.budeval/plan.json`, else in the configuration that OpenCompass dumps, else it is what the files show.

Order of the scores: the summary's, but within a dataset its primary metric (the summary's first) comes last,
because consumers of the original service keep the last score as the run's accuracy.

Whatever the tree holds (links, pipes, huge or broken files), there is an answer for each run. Sources:
OpenCompass 0.5.4, `opencompass/summarizers`, and real output trees (tests/engines/opencompass/samples).
"""

from __future__ import annotations

import ast
import base64
import calendar
import errno
import functools
import hashlib
import itertools
import json
import math
import os
import re
import stat
import sys
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, BinaryIO, NamedTuple
from warnings import catch_warnings, simplefilter

DEFAULT_ROOT = "/workspace/shared/results"
NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,126}[A-Za-z0-9])?")
STAMP = re.compile(r"[0-9]{8}_[0-9]{6}")
SUMMARY = re.compile(r"summary_([0-9]{8}_[0-9]{6})(?:_by_(.+)|/([^/]+))?\.csv", re.DOTALL)
TITLE = re.compile(r"(-{3,}|#{3,}|={3,}).*", re.DOTALL)
PART = re.compile(r"(.+)_[0-9]+", re.DOTALL)
REPLICA = re.compile(r".*_replica[0-9]+", re.DOTALL)
THOUGHT_BEGINS, THOUGHT_ENDS = "<think>", "</think>"
REASONING = re.compile(r"</?(?:think|thinking|reasoning)>", re.IGNORECASE)
NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")

FIXED_HEADER = ["dataset", "version", "metric", "mode"]
FIXED_COLUMNS = len(FIXED_HEADER)
ABSENT = "-"
EMPTY = frozenset({ABSENT, ""})
METADATA = frozenset({"time", "checkpoint", "max_seq_len"})  # rows of PretrainSummarizer
SENTINEL_METRIC = "correct_bpb-incorrect_bpb"  # its second table: pairs, or -1 for "none"

# The order in which a summary lists a dataset's metrics, and what it leaves out.
METRIC_ORDER = [
    "score",
    "auc_score",
    "accuracy",
    "humaneval_pass@1",
    "rouge1",
    "avg_toxicity_score",
    "bleurt_diff",
    "matthews_correlation",
    "truth",
    "f1",
    "exact_match",
    "extract_rate",
]
NO_METRIC = frozenset({"bp", "sys_len", "ref_len", "type"})
PERCENT = re.compile(r"accuracy|acc_|circular|perf_|exact_match|pass@|rouge|bleu\b", re.IGNORECASE)
COUNTS = frozenset({"pass", "timeout", "failed", "wrong_answer", "total", "correct", "count"})
CONFIGURED = frozenset({"datasets", "models", "judge_models", "summarizer", "model_dataset_combinations"})
GROUP_KINDS = {"standard_deviation": "deviation", "sum": "sum"}
GROUP_FLAGS = {"std": "deviation", "sum": "sum"}  # the first that is set counts
AGGREGATES = frozenset({"naive_average", "weighted_average", "harmonic_mean", *GROUP_KINDS})
NORMAL_95 = 1.959963984540054  # two-sided 95 % quantile of the normal distribution

# Limits that no honest run meets; a hostile one must not use up the pod's memory or time.
MAX_JSON = 24 * 1024 * 1024  # parsed at most some 250 MB, of the pod's 512
MAX_TEXT = 1024 * 1024
MAX_CONFIGURATION = 6 * 1024 * 1024  # parsed some 160 MB; suites of 200 datasets have 3
MAX_ENTRIES = 50_000
MAX_DEPTH = 8
MAX_CELLS = 10_000
MAX_DOCUMENT = 32 * 1024 * 1024
MAX_WARNINGS = 200
MAX_NAME = 300
LONGEST_ROW = 12  # digits
LOG_TAIL = 2000
HALF_A_DIGIT = 0.00501  # of two
MANY = 8  # as many equal replies are no chance
PROVENANCE_TEXTS = ("engine_version", "evaluators_sha256", "python", "started", "ended")
CLOCK_STEP = 2.0  # seconds; the coarsest time stamps of a file system

GUIDE_KEYS = ("dataset", "version", "metric", "mode", "score")
RANGES = {"percent": 100.0, "fraction": 1.0}
UNITS = {*RANGES, "count"}
MEANS = frozenset({"accuracy", "acc", "acc_norm", "exact_match", "score"})  # of their samples' verdicts
OWN_KEYS = ("dataset_id", "model", "unit", "primary", "group", "kind", "exact", "judge", "profile", "doubt")
SAMPLE_KEYS = ("samples", "stderr", "interval")

NOT_SUMMARISED = {"state": "missing", "reason": "SUMMARY_MISSING"}
UNKNOWN = object()
"""A reply that the engine does not tell."""
Place = tuple[int, int]
"""Where an item is in a dataset: the part of the dataset, and the row in it."""

Cell = dict[str, Any]


class Unreadable(Exception):  # noqa: N818 - says what the file is
    """A file is not what it should be; the text says why."""


class TooLarge(Unreadable):
    """A file that was not read for its size; its content may be right."""


class Warnings:
    """Doubts about scores that stand; each once, and not endlessly many."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, str], None] = {}

    def add(self, code: str, message: str) -> None:
        """Note a doubt."""
        if len(self._found) < MAX_WARNINGS:
            self._found[code, clip(message)] = None

    def listed(self) -> list[dict[str, str]]:
        """All of them, in the order in which they came up."""
        return [{"code": code, "message": message} for code, message in self._found]


class Replies:
    """The replies to a dataset as they come in: what is odd about them, and which items they belong to."""

    def __init__(self) -> None:
        self.count = 0
        self._told = 0
        self._empty = 0
        self._reasoned = 0
        self._first: str | None = None
        self._equal = True
        self._digests: dict[Place, bytes] = {}
        self._containing: dict[Place, bool] = {}
        self._identified = True

    def add(self, place: Place, prompt: Any, reference: Any, reply: Any = UNKNOWN) -> None:
        """One more, at its place in the dataset: engines write replies down as they come in.

        Without its prompt, or at the place of another, an item is not known again. Texts are not kept.
        """
        self._identified = self._identified and prompt is not None and place not in self._digests
        item = json.dumps([plain_text(prompt), plain_text(reference)]).encode("ascii")
        self._digests[place] = hashlib.sha256(item).digest()
        self.count += 1
        if reply is UNKNOWN or isinstance(reply, dict):
            return
        text = plain_text(reply)
        answer = without_reasoning(text).lower()
        references = reference if isinstance(reference, list) else [reference]
        self._containing[place] = any(plain_text(wanted).lower() in answer for wanted in references)
        self._told += 1
        self._empty += is_empty(reply)
        self._reasoned += bool(REASONING.search(text))
        self._first = text if self._first is None else self._first
        self._equal = self._equal and text == self._first

    @property
    def items(self) -> str | None:
        """SHA-256 over the SHA-256 of each item (prompt and reference): equal where the same was asked."""
        if not self._identified:
            return None
        return hashlib.sha256(b"".join(self._digests[place] for place in sorted(self._digests))).hexdigest()

    @property
    def containing(self) -> list[bool]:
        """Whether each reply contains its reference, in the order of the dataset."""
        return [self._containing[place] for place in sorted(self._containing)]

    def doubts(self, planned: int | None) -> Iterator[tuple[str, str]]:
        """Why a score made of them may be an artefact. `planned`: how many there should be."""
        if self.count == 0 or 0 < self._told == self._empty:
            yield "PREDICTIONS_EMPTY", f"all {self.count} predictions are empty"
        elif self._equal and self._told >= MANY:
            yield "PREDICTIONS_EQUAL", f"all {self._told} predictions are the same"
        if self._reasoned:
            text = f"{self._reasoned} of {self.count} predictions hold reasoning that may be scored as answer"
            yield "REASONING_IN_PREDICTIONS", text
        if planned and self.count < planned:
            yield "PREDICTIONS_FEWER", f"{self.count} predictions of {planned} rows"
        if planned and self.count > planned:
            yield "PREDICTIONS_MORE", f"{self.count} predictions of {planned} rows"


class Summary(NamedTuple):
    """One summary file of one attempt."""

    path: str
    stamp: str
    judge: str | None
    profile: str | None
    experiment: Experiment


class Column(NamedTuple):
    """A model's column, and the folders of its models: one, unless they share a `summarizer_abbr`."""

    name: str
    folders: tuple[str, ...]


class Row(NamedTuple):
    """A line of a summary; `texts` has one cell for each column."""

    name: str
    version: str
    metric: str
    mode: str
    texts: list[str]


class Planned(NamedTuple):
    """A dataset that was asked for."""

    abbr: str
    dataset_id: str | None
    rows: int | None
    unit: str | None = None
    """Of its score, where whoever planned it knows."""
    sha256: str | None = None
    """Of its prompts and answers."""
    rows_sha256: str | None = None
    """Of its rows."""
    rows_there: int | None = None
    """How many it has, of which `rows` were asked for."""
    evaluator: str | None = None
    """How replies are compared, of own datasets."""


class Plan(NamedTuple):
    """What was asked for, written before the engine starts."""

    attempt: int | None
    datasets: list[Planned]
    models: list[str]
    output: str | None
    """Directory of this start, of engines that write each into one of its own."""
    written: float
    """When, in seconds since 1970: by the file's time and by what it says itself, whichever is earlier, as a
    copy's file time is that of the copy. 0 where it does not say."""


class Configuration(NamedTuple):
    """What a dumped configuration tells."""

    datasets: list[str] | None
    models: list[tuple[str, str]]
    """(column, model)."""
    kinds: dict[str, str]
    """Of groups that are no averages."""
    pairs: set[tuple[str, str]] | None
    """(model, dataset as the CSV writes it) where not every model runs every dataset."""
    judges: list[str]
    problem: str | None = None
    """Why nothing could be read."""


class Result(NamedTuple):
    """What a result file tells: numbers by the metric's name as the CSV writes it, and the verdicts."""

    values: dict[str, Any]
    error: str | None
    marks: list[bool]
    readings: list[tuple[str, str]]
    """What each reply was read as, and the reference it was compared with."""


NO_RESULT = Result({}, None, [], [])
NO_CONFIGURATION = Configuration(None, [], {}, None, [])


class Engine(NamedTuple):
    """Whose results are read."""

    name: str
    judge: Callable[[str], dict[str, Any]]
    """From a run's directory to its answer; Unreadable where that cannot be read."""


def main(arguments: list[str], environment: Mapping[str, str], engine: Engine) -> int:
    """Print an answer for each requested run. Exit status 2 where the request itself is wrong."""
    try:
        eval_id, run_ids, root = parse_environment(environment)
    except (ValueError, OSError) as error:
        sys.stderr.write(f"extract_results: {error}\n")
        return 2
    results = (extract_run(engine, root, eval_id, run_id) for run_id in run_ids)
    if "--plain" in arguments:
        whole = list(results)
        success = all(result["status"] == "success" for result in whole)
        print(to_json({"success": success, "results": whole}))
        return 0
    for result in results:
        print(frame(result["run_id"], result), flush=True)
    print(frame(ABSENT, {"count": len(run_ids), "eval_id": eval_id}), flush=True)
    return 0


def parse_environment(environment: Mapping[str, str]) -> tuple[str, list[str], str]:
    """EVAL_ID, the run ids (each once) and the root; ValueError names the variable at fault."""
    eval_id = environment.get("EVAL_ID", "")
    if not NAME.fullmatch(eval_id):
        raise ValueError("EVAL_ID must be letters, digits, dots, dashes and underscores, 128 at most")
    text = environment.get("RUN_IDS", "")
    if environment.get("RUN_IDS_FILE"):
        with open(environment["RUN_IDS_FILE"], encoding="utf-8") as file:
            text = file.read()
    run_ids = parse_run_ids(text)
    if not run_ids:
        raise ValueError("RUN_IDS (or RUN_IDS_FILE) names no run")
    for run_id in run_ids:
        if not isinstance(run_id, str) or not NAME.fullmatch(run_id):
            raise ValueError(f"RUN_IDS holds a name that is not allowed: {clip(repr(run_id))}")
    return eval_id, list(dict.fromkeys(run_ids)), environment.get("RESULTS_ROOT") or DEFAULT_ROOT


def parse_run_ids(text: str) -> list[Any]:
    """A JSON list, or names with commas between them."""
    if not text.lstrip().startswith("["):
        return [part.strip() for part in text.split(",") if part.strip()]
    try:
        return list(json.loads(text))
    except (ValueError, RecursionError):
        raise ValueError("RUN_IDS is not a JSON list") from None


def frame(name: str, document: Any) -> str:
    """One line that carries a document with its length and digest."""
    raw = to_json(document).encode("ascii")
    packed = base64.b64encode(zlib.compress(raw, 9)).decode("ascii")
    return f"BUDEVAL1 {name} {len(raw)} {hashlib.sha256(raw).hexdigest()} {packed}"


def to_json(document: Any) -> str:
    """Strict JSON on one line, ASCII only."""
    return json.dumps(document, allow_nan=False, separators=(",", ":"))


def extract_run(engine: Engine, root: str, eval_id: str, run_id: str) -> dict[str, Any]:
    """The result of one run: the guide's keys, and ours beside them. Never raises for what it reads."""
    base = os.path.join(os.path.realpath(root), eval_id, f"{engine.name}-{run_id}")
    answer: dict[str, Any] = {"run_id": run_id, "eval_id": eval_id, "status": "error", "scores": []}
    answer.update(csv_file=None, engine=engine.name, attempt=None, cells=[], warnings=[])
    if not os.path.isdir(base) or leads_elsewhere(base):
        return {**answer, "error": "Results directory not found", "code": "RESULTS_MISSING"}
    try:
        return within_limit({**answer, **engine.judge(base)})
    except Exception as error:  # noqa: BLE001 - one run's surprise must not cost the others their answers
        reason = str(error) if isinstance(error, Unreadable) else type(error).__name__
        text = f"Results cannot be read: {clip(reason)}"
        plan = plan_if_readable(base)
        missing = without_scores(plan, "RESULTS_UNREADABLE", text, lambda: None)
        return {**answer, "planned": plan is not None, **missing}


def within_limit(document: dict[str, Any]) -> dict[str, Any]:
    """The document, unless it is more than a frame should carry; it is never built up whole to see that."""
    size = 0
    for part in json.JSONEncoder().iterencode(document):
        size += len(part)
        if size > MAX_DOCUMENT:
            raise TooLarge(f"the answer has more than {MAX_DOCUMENT} bytes")
    return document


def judge_run(base: str) -> dict[str, Any]:
    """Status, scores, cells and warnings of a run whose directory is there."""
    run = Run(base)
    warnings = Warnings()
    attempt = {**about_run(base, run.plan, warnings), "warnings": warnings.listed()}
    if not run.summaries:
        return {
            **attempt,
            **without_scores(run.plan, "SUMMARY_MISSING", "No CSV results found", run.newest_log),
        }
    stamp = max(summary.stamp for summary in run.summaries)
    current = [summary for summary in run.summaries if summary.stamp == stamp]
    unfinished = run.unfinished_attempt(current)
    if unfinished:
        text = f"{unfinished} ended before its summary; the newest is of {stamp}"
        return {**attempt, **without_scores(run.plan, "ATTEMPT_INCOMPLETE", text, run.newest_log)}
    try:
        cells = [cell for same in by_judge(current) for cell in Judgement(run, same, warnings).cells()]
        cells += of_lost_judges(current, cells)
    except Unreadable as error:
        text = f"Results cannot be read: {clip(str(error))}"
        return {**attempt, **without_scores(run.plan, "RESULTS_UNREADABLE", text, run.newest_log)}
    answer = {**attempt, "csv_file": safe(current[-1].path), "cells": cells, "warnings": warnings.listed()}
    return {**answer, **verdict(cells, run.newest_log)}


def about_run(base: str, plan: Plan | None, warnings: Warnings) -> dict[str, Any]:
    """What an answer says of a run whatever its scores are: the plan it was judged against, its origin."""
    noted = provenance(base, plan, warnings)
    return {"attempt": plan.attempt if plan else None, "planned": plan is not None, "provenance": noted}


def provenance(base: str, plan: Plan | None, warnings: Warnings) -> dict[str, Any] | None:
    """What our own program noted of a run; None where it noted nothing."""
    path = os.path.join(base, ".budeval", "provenance.json")
    try:
        noted = read_json(path) if os.path.lexists(path) else None
    except Unreadable:
        noted = None
    if not isinstance(noted, dict):
        return None
    found: dict[str, Any] = {key: short_text(noted.get(key)) for key in PROVENANCE_TEXTS}
    before, after = (short_list(noted.get(key)) for key in ("endpoint_models", "endpoint_models_after"))
    found["endpoint_models"] = before
    if before is not None and after is not None and before != after:
        found["endpoint_models_after"] = after
        changed = ", ".join(sorted(set(before) ^ set(after)))
        warnings.add("ENDPOINT_CHANGED", f"the endpoint's models changed during the run: {changed}")
    found["datasets"] = [
        {
            "dataset": clip(item.abbr),
            "rows": item.rows,
            "rows_there": item.rows_there,
            "sha256": short_text(item.sha256),
            "rows_sha256": short_text(item.rows_sha256),
        }
        for item in (plan.datasets[:MAX_CELLS] if plan else [])
    ]
    return found


def short_text(value: Any) -> str | None:
    """The value where it is a text, cut."""
    return clip(value) if isinstance(value, str) else None


def short_list(value: Any) -> list[str] | None:
    """The value where it is a list, its texts cut."""
    return [clip(str(item)) for item in value[:MAX_WARNINGS]] if isinstance(value, list) else None


def without_scores(
    plan: Plan | None, code: str, error: str, newest_log: Callable[[], str | None]
) -> dict[str, Any]:
    """The answer for a run that has left no scores: each cell that was asked for is missing."""
    cells = [
        {**blank_cell(item.abbr, ABSENT, model, item), "state": "missing", "reason": code}
        for item in (plan.datasets if plan else [])
        for model in (plan.models if plan else [])
    ]
    return {"error": error, "code": code, "log": newest_log(), "cells": cells[:MAX_CELLS]}


def blank_cell(dataset: str, metric: str, model: str, planned: Planned | None) -> Cell:
    """A cell about which nothing is known yet."""
    cell: Cell = {"dataset": clip(dataset), "metric": clip(metric), "model": clip(model), "score": None}
    cell.update(version=ABSENT, mode=ABSENT, unit=None, exact=False, primary=False, group=False, kind="score")
    if planned and planned.dataset_id is not None:
        cell["dataset_id"] = clip(planned.dataset_id)
    return cell


def verdict(cells: list[Cell], newest_log: Callable[[], str | None]) -> dict[str, Any]:
    """Success only where nothing that was asked for lacks a score. Groups follow from their datasets.

    What nobody asked for is in the cells alone: it is no score of the run, and costs it none.
    """
    cells = [cell for cell in cells if not cell.get("unexpected")]
    scores = [score_of(cell) for cell in primary_last(cells) if cell["state"] == "scored"]
    unscored = [cell for cell in cells if cell["state"] != "scored" and not cell["group"]]
    if not scores:
        text = "No score in the summary"
        return {"scores": [], "error": text, "code": "NOTHING_SCORED", "log": newest_log()}
    if unscored:
        names = ", ".join(dict.fromkeys(cell["dataset"] for cell in unscored))
        return {"scores": scores, "error": clip(f"No score for: {names}"), "code": "PARTLY_SCORED"}
    return {"scores": scores, "status": "success"}


def primary_last(cells: list[Cell]) -> list[Cell]:
    """The same order, but each dataset's primary metric behind its others."""
    place: dict[Any, int] = {}
    for cell in cells:
        place.setdefault(dataset_key(cell), len(place))
    return sorted(cells, key=lambda cell: (place[dataset_key(cell)], cell["primary"]))


def dataset_key(cell: Cell) -> tuple[Any, ...]:
    """One dataset in one table."""
    return cell["dataset"], cell["group"], cell.get("judge"), cell.get("profile")


def score_of(cell: Cell) -> dict[str, Any]:
    """The guide's five keys first: whoever knows only those finds what the guide promises."""
    return {key: cell[key] for key in GUIDE_KEYS + OWN_KEYS + SAMPLE_KEYS if key in cell}


def by_judge(summaries: list[Summary]) -> list[list[Summary]]:
    """Judges score the same datasets each; the profiles of one summary share them."""
    groups: dict[tuple[str, str | None], list[Summary]] = {}
    for summary in summaries:
        groups.setdefault((summary.experiment.path, summary.judge), []).append(summary)
    return list(groups.values())


def of_lost_judges(current: list[Summary], cells: list[Cell]) -> list[Cell]:
    """What was asked of judges that have left no summary, where others have: each dataset of each model."""
    there = {summary.judge for summary in current}
    asked = [cell for cell in cells if not cell["group"] and not cell.get("unexpected")]
    pairs = dict.fromkeys((cell["dataset"], cell["model"]) for cell in asked)
    lost = [judge for judge in current[0].experiment.configuration.judges if judge not in there]
    return [
        {**blank_cell(dataset, ABSENT, model, None), "judge": clip(judge), **NOT_SUMMARISED}
        for judge in (lost if there != {None} else [])
        for dataset, model in pairs
    ]


class Run:
    """The directory of one run: its attempts, summaries, plan and logs."""

    def __init__(self, base: str) -> None:
        self.base = base
        self.plan = read_plan(base)
        inner = [path for name, path in directories(base) if not name.startswith(".")]
        self.experiments = [Experiment(path) for path in (base, *inner)]
        self.summaries = [found for experiment in self.experiments for found in experiment.summaries()]

    def unfinished_attempt(self, current: list[Summary]) -> str | None:
        """What started after these summaries were written, or None: then they are the newest attempt's.

        An attempt leaves its start in names (see `attempt_stamps`); one that died even before has left a plan
        that is younger than the summary.
        """
        newest = max(
            (stamp for experiment in self.experiments for stamp in experiment.attempt_stamps()), default=""
        )
        if newest > current[0].stamp:
            return f"The attempt of {newest}"
        written = max(modified(summary.path) for summary in current)
        if self.plan and self.plan.written > written + CLOCK_STEP:
            return "The newest attempt"
        return None

    def newest_log(self) -> str | None:
        """The end of the log that was written last."""
        logs = [path for experiment in self.experiments for path in experiment.logs.values()]
        return newest_tail(logs + own_logs(self.base))


def own_logs(base: str) -> list[str]:
    """The logs that our own program has left."""
    found = files(os.path.join(base, ".budeval"))
    return [path for name, path in found if name.endswith((".log", ".out"))]


def newest_tail(logs: list[str]) -> str | None:
    """The end of the log that was written last."""
    return log_tail(max(logs, key=lambda path: (modified(path), path))) if logs else None


def read_plan(base: str) -> Plan | None:
    """The plan of a run, None where there is none."""
    path = os.path.join(base, ".budeval", "plan.json")
    if not os.path.lexists(path):
        return None
    plan = read_json(path)
    if not isinstance(plan, dict) or plan.get("schema") != 1:
        raise Unreadable("plan.json is not of schema 1")
    datasets, models, attempt = plan.get("datasets"), plan.get("models", []), plan.get("attempt")
    if not isinstance(datasets, list) or not all(
        isinstance(item, dict) and "abbr" in item for item in datasets
    ):
        raise Unreadable("plan.json does not list datasets")
    if not isinstance(models, list):
        raise Unreadable("plan.json does not list models")
    planned = [
        Planned(
            str(item["abbr"]),
            text_or_none(item.get("dataset_id")),
            int_or_none(item.get("rows")),
            item["unit"] if text_or_none(item.get("unit")) in UNITS else None,
            text_or_none(item.get("sha256")),
            text_or_none(item.get("rows_sha256")),
            int_or_none(item.get("rows_there")),
            text_or_none(item.get("evaluator")),
        )
        for item in datasets
    ]
    output = text_or_none(plan.get("output"))
    written = min(modified(path), seconds(plan.get("written")))
    return Plan(int_or_none(attempt), planned, [str(model) for model in models], output, written)


def plan_if_readable(base: str) -> Plan | None:
    """The plan of a run of which something else could not be read."""
    try:
        return read_plan(base)
    except Unreadable:
        return None


def text_or_none(value: Any) -> str | None:
    """The value where it is a text."""
    return value if isinstance(value, str) else None


def int_or_none(value: Any) -> int | None:
    """The value where it is a whole number."""
    return value if isinstance(value, int) and not isinstance(value, bool) else None


class Experiment:
    """One working directory of OpenCompass."""

    def __init__(self, path: str) -> None:
        self.path = path

    def summaries(self) -> Iterator[Summary]:
        """Every summary file: the plain one, one for each judge, and profiles one folder deeper.

        A slash in a judge's name makes a folder, too.
        """
        for name, path in files_below(os.path.join(self.path, "summary")):
            match = SUMMARY.fullmatch(name)
            if match:
                stamp, judge, profile = match.groups()
                yield Summary(path, stamp, judge, profile, self)

    def attempt_stamps(self) -> list[str]:
        """When attempts began: OpenCompass dumps `configs/<stamp>_<pid>.py` at each call, also with `-r`."""
        names = [name for name, _ in files(os.path.join(self.path, "configs"))]
        return [match.group() for match in map(STAMP.match, [*names, os.path.basename(self.path)]) if match]

    @functools.cached_property
    def results(self) -> dict[str, str]:
        """`<model>/<dataset>` -> result file. Replies of a judge are none."""
        return self._json_files("results")

    @functools.cached_property
    def predictions(self) -> dict[str, str]:
        """`<model>/<dataset>`, or `<model>/<dataset>_<part>` -> prediction file."""
        return self._json_files("predictions")

    @functools.cached_property
    def logs(self) -> dict[str, str]:
        """`<phase>/<model>/<dataset>` -> log of the task that begins with that dataset."""
        found = files_below(os.path.join(self.path, "logs"))
        return {name[: -len(".out")]: path for name, path in found if name.endswith(".out")}

    @functools.cached_property
    def configuration(self) -> Configuration:
        """The newest dumped one."""
        dumps = [path for name, path in files(os.path.join(self.path, "configs")) if name.endswith(".py")]
        return read_configuration(dumps[-1]) if dumps else NO_CONFIGURATION

    @functools.cached_property
    def folders(self) -> set[str]:
        """Every folder that may be a model's; a slash in a model's name makes a folder in a folder."""
        found = set()
        for name in (*self.results, *self.predictions):
            parts = name.split("/")[:-1]
            found |= {"/".join(parts[:end]) for end in range(1, len(parts) + 1)}
        return found

    def _json_files(self, kind: str) -> dict[str, str]:
        found = files_below(os.path.join(self.path, kind))
        stems = {name[: -len(".json")]: path for name, path in found if name.endswith(".json")}
        return {stem: path for stem, path in stems.items() if not REPLICA.fullmatch(stem)}


def read_configuration(path: str) -> Configuration:
    """The names in a dumped configuration: Python assignments, parsed and never executed."""
    if sys.version_info < (3, 11):  # whose parsers crash on nested input
        return NO_CONFIGURATION._replace(problem="Python 3.11 or later is needed to read it")
    try:
        with catch_warnings():  # of odd escapes: nobody wrote this text for Python
            simplefilter("ignore")
            tree = ast.parse(read_bytes(path, limit=MAX_CONFIGURATION))
        assigned = {
            target.id: plain_value(node.value)
            for node in tree.body
            if isinstance(node, ast.Assign)
            for target in node.targets
            if isinstance(target, ast.Name) and target.id in CONFIGURED
        }
    except (SyntaxError, ValueError, RecursionError, MemoryError, Unreadable) as error:
        problem = str(error) if isinstance(error, Unreadable) else type(error).__name__
        return NO_CONFIGURATION._replace(problem=problem)
    models = [
        (str(model.get("summarizer_abbr") or abbr), abbr) for abbr, model in with_abbr(assigned.get("models"))
    ]
    datasets = [abbr for abbr, _ in with_abbr(assigned.get("datasets"))]
    if len(datasets) != len(as_list(assigned.get("datasets"))):
        datasets = []  # one has no name of its own
    summarizer = assigned.get("summarizer")
    groups = summarizer.get("summary_groups") if isinstance(summarizer, dict) else None
    combinations = assigned.get("model_dataset_combinations")
    judges = [abbr for abbr, _ in with_abbr(assigned.get("judge_models"))]
    kinds = kinds_of(as_list(groups))
    return Configuration(datasets or None, models, kinds, pairs_of(combinations), judges)


def kinds_of(groups: list[Any]) -> dict[str, str]:
    """Group as the CSV writes it -> what it is, where it is no average. A metric of its own makes it one."""
    kinds = {}
    for group in groups:
        if isinstance(group, dict) and "metric" not in group:
            kind = next((GROUP_FLAGS[flag] for flag in GROUP_FLAGS if group.get(flag)), None)
            kinds.update({as_in_csv(str(group.get("name"))): kind} if kind else {})
    return kinds


def pairs_of(combinations: Any) -> set[tuple[str, str]] | None:
    """(model, dataset as the CSV writes it) of `model_dataset_combinations`; None where all are combined."""
    if not isinstance(combinations, list):
        return None
    return {
        (model, as_in_csv(dataset))
        for item in combinations
        if isinstance(item, dict)
        for model, _ in with_abbr(item.get("models"))
        for dataset, _ in with_abbr(item.get("datasets"))
    }


def as_list(value: Any) -> list[Any]:
    """The value where it is a list, else an empty one."""
    return value if isinstance(value, list) else []


def with_abbr(items: Any) -> list[tuple[str, dict[str, Any]]]:
    """(abbr, item) of those that have one."""
    found = [item for item in as_list(items) if isinstance(item, dict)]
    return [(item["abbr"], item) for item in found if isinstance(item.get("abbr"), str)]


def plain_value(node: ast.expr) -> Any:
    """The value of `dict(...)`, of a list or of a literal; None for anything else."""
    if isinstance(node, ast.Constant):
        return node.value
    if isinstance(node, ast.List):
        return [plain_value(element) for element in node.elts]
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "dict":
        return {keyword.arg: plain_value(keyword.value) for keyword in node.keywords if keyword.arg}
    return None


def joined(parts: list[str], models: list[str]) -> list[str]:
    """The names of columns whose header is cut at every comma: a model's own commas are put back.

    Of several models that begin alike the longest counts.
    """
    cut = sorted((model.split(",") for model in models), key=len, reverse=True)
    names = []
    place = 0
    while place < len(parts):
        found = next((own for own in cut if parts[place : place + len(own)] == own), parts[place : place + 1])
        names.append(",".join(found))
        place += len(found)
    return names


class Names(NamedTuple):
    """What a table may name."""

    columns: list[str]
    """All columns, in their order, where the configuration tells."""
    models: list[str]
    """Those that were asked for, in whatever order."""
    folders: list[str]
    """Models that have left results."""
    datasets: set[str]


class Table:
    """A summary's rows. There is no quoting: cells end at commas, and place alone says what is what."""

    def __init__(self, summary: Summary, names: Names, warnings: Warnings) -> None:
        self.summary = summary
        self.ragged: list[str] = []
        self._known = names.datasets
        self._models = names.models
        self._folders = names.folders
        self._warnings = warnings
        text = read_text(summary.path).lstrip("\ufeff")
        self.models, lines = self._split(text.rstrip("\n"), names.columns)
        self._width = FIXED_COLUMNS + len(self.models)
        if len(self.models) * len(lines) > MAX_CELLS:
            raise Unreadable(f"{clip(os.path.basename(summary.path))} has more than {MAX_CELLS} cells")
        self.rows = list(self._rows(lines))

    def _split(self, text: str, expected: list[str]) -> tuple[list[str], list[str]]:
        """Names of the columns, and the lines below the header (which may be torn by a name as well)."""
        for names in (list(map(as_in_csv, expected)), expected):
            header = ",".join([*FIXED_HEADER, *names])
            if expected and f"{text}\n".startswith(f"{header}\n"):
                return expected, text[len(header) + 1 :].split("\n") if len(text) > len(header) else []
        lines = text.split("\n")
        header_cells = lines[0].split(",")
        if header_cells[:FIXED_COLUMNS] != FIXED_HEADER:
            return self._other_layout(), []
        if len(header_cells) == FIXED_COLUMNS:
            raise Unreadable(f"{clip(os.path.basename(self.summary.path))} has no column of a model")
        return self._fit(joined(header_cells[FIXED_COLUMNS:], self._models), lines[1:]), lines[1:]

    def _other_layout(self) -> list[str]:
        """The models where the table is none that is known, as NeedleBench's: the result files tell all."""
        name = clip(os.path.basename(self.summary.path))
        if not self._folders:
            raise Unreadable(f"{name} has a layout that is not known, and there are no result files")
        text = f"{name} has a layout that is not known: the scores are the result files' alone"
        self._warnings.add("LAYOUT_UNKNOWN", text)
        return self._folders

    def _fit(self, names: list[str], lines: list[str]) -> list[str]:
        """The names, as many as the rows have cells: a comma in a model's name tears the header only."""
        counts = Counter(line.count(",") + 1 - FIXED_COLUMNS for line in lines)
        width = max(counts, default=0)
        if len(counts) != 1 or width < 1 or width == len(names):
            return names
        self._warnings.add("HEADER_RAGGED", f"the header names {len(names)} models, the rows have {width}")
        if width == 1:
            return [",".join(names)]
        return [f"column {index + 1}" for index in range(width)]

    def _rows(self, lines: list[str]) -> Iterator[Row]:
        """Rows of `width` cells. A newline inside a name has torn its row: what follows is joined again."""
        pending: list[str] = []
        for line in lines:
            cells = "\n".join([*pending, line]).split(",")
            if len(cells) < self._width:
                if self._may_go_on("\n".join([*pending, line])):
                    pending.append(line)
                    continue
                self._reject("\n".join([*pending, line]))
                pending = []
                continue
            alone = line.split(",")
            if (
                pending
                and cells[0] not in self._known
                and alone[0] in self._known
                and len(alone) == self._width
            ):
                self._reject("\n".join(pending))
                cells = alone
            pending = []
            whole = self._whole(cells)
            if whole is None:
                self._reject(",".join(cells))
            else:
                yield whole
        if pending:
            self._reject("\n".join(pending))

    def _reject(self, text: str) -> None:
        """Nothing tells which of its cells is which."""
        self.ragged.append(text)
        self._warnings.add("ROW_RAGGED", text)

    def _may_go_on(self, text: str) -> bool:
        """Whether a short line may be the begin of a name with a newline in it: a name has no comma."""
        return "," not in text or any(name.startswith(f"{text}\n") for name in self._known)

    def _whole(self, cells: list[str]) -> Row | None:
        """A row with too many cells is right only where the first ones make up a dataset's name."""
        extra = len(cells) - self._width
        name = ",".join(cells[: extra + 1])
        if extra and name not in self._known:
            return None
        version, metric, mode, *texts = cells[extra + 1 :]
        return Row(as_in_csv(name), version, metric, mode, texts)


class Judgement:
    """Every cell that was asked for or found in the tables of one judge, each in exactly one state."""

    def __init__(self, run: Run, summaries: list[Summary], warnings: Warnings) -> None:
        self._run = run
        self._warnings = warnings
        self._experiment = summaries[0].experiment
        self._judge = summaries[0].judge
        datasets = run.plan.datasets if run.plan else []
        self._planned = {as_in_csv(item.abbr): item for item in reversed(datasets)}
        asked = self._asked()
        self._doubled = doubled_names(run.plan, warnings)
        self._asked_names = set(asked)
        known = {*asked, *(name.rpartition("/")[2] for name in self._experiment.results)}
        known |= set(map(as_in_csv, known))
        expected = list(dict.fromkeys(label for label, _ in self._experiment.configuration.models))
        planned = run.plan.models if run.plan else []
        names = Names(expected, planned, self._models_with_results(), known)
        self._tables = [Table(summary, names, warnings) for summary in summaries]
        for table in self._tables:
            for name, times in Counter(table.models).items():
                if times > 1:
                    self._warnings.add("COLUMN_REPEATED", f"{times} columns are called {name}")
        self._columns = self._resolve_columns(list(dict.fromkeys(n for t in self._tables for n in t.models)))
        self._names = {
            folder: self._names_in(folder) for column in self._columns for folder in column.folders
        }
        self._found = {name for names in self._names.values() for name in names}
        self._own = own_names(asked, *(names.values() for names in self._names.values()))
        self._requested = list(dict.fromkeys(map(as_in_csv, asked))) or sorted(self._found)
        if len(self._requested) * len(self._columns) > MAX_CELLS:
            raise Unreadable(f"more than {MAX_CELLS} cells were asked for")
        self._results: dict[tuple[str, str], Result] = {}
        self._problems: dict[tuple[str, str], str | None] = {}
        self._replies: dict[tuple[str, str], Replies] = {}

    def _models_with_results(self) -> list[str]:
        """By plan or configuration, else by their folders."""
        configured = [abbr for _, abbr in self._experiment.configuration.models]
        planned = self._run.plan.models if self._run.plan else []
        tops = {name.split("/")[0] for name in self._experiment.results}
        return list(dict.fromkeys(planned or configured)) or sorted(tops)

    def _asked(self) -> list[str]:
        """The datasets asked for: by the plan, else the configuration; empty where neither tells."""
        if self._experiment.configuration.problem and not self._run.plan:
            text = f"what was asked for is not known: {self._experiment.configuration.problem}"
            self._warnings.add("CONFIGURATION_UNREAD", text)
        configured = self._experiment.configuration.datasets or []
        for name, times in Counter(configured).items():
            if times > 1:
                text = f"{clip(name)} names {times} datasets; one ran, and the version may be the other's"
                self._warnings.add("DUPLICATE_DATASET", text)
        return [item.abbr for item in self._run.plan.datasets] if self._run.plan else configured

    def _resolve_columns(self, names: list[str]) -> list[Column]:
        """The models' columns with their folders, and a column for each planned model that has none."""
        columns = [Column(name, self._folders_of(name)) for name in names]
        unknown = [index for index, column in enumerate(columns) if not column.folders]
        taken = {folder for column in columns for folder in column.folders}
        planned = [model for model in (self._run.plan.models if self._run.plan else []) if model not in taken]
        left = sorted(folder for folder in self._experiment.folders - taken if "/" not in folder)
        rest = planned or left
        if len(unknown) == 1 and len(rest) == 1:  # summarizer_abbr renames the column, not the folder
            columns[unknown[0]] = Column(columns[unknown[0]].name, (rest[0],))
            planned = []
        heads = {as_in_csv(column.name) for column in columns}
        return columns + [Column(model, (model,)) for model in planned if as_in_csv(model) not in heads]

    def _folders_of(self, name: str) -> tuple[str, ...]:
        """A column's folders: by the configuration, else the only one whose name reads the same."""
        configured = [abbr for label, abbr in self._experiment.configuration.models if label == name]
        for abbr, times in Counter(configured).items():
            if times > 1:
                self._warnings.add(
                    "DUPLICATE_MODEL", f"{clip(abbr)} is the name of {times} models; only one ran"
                )
        if len(set(configured)) > 1:
            models = ", ".join(dict.fromkeys(configured))
            text = f"{clip(name)} is the column of {models}: the last one's score is shown"
            self._warnings.add("COLUMN_SHARED", text)
        same = sorted(folder for folder in self._experiment.folders if as_in_csv(folder) == as_in_csv(name))
        return tuple(dict.fromkeys(configured)) or (tuple(same) if len(same) == 1 else ())

    def _names_in(self, folder: str) -> dict[str, str]:
        """Dataset as the CSV writes it -> its own name, for one model; parts of predictions left out."""
        inner = [f"{other.folders[0]}/" for other in self._columns if other.folders]
        inner = [other for other in inner if other.startswith(f"{folder}/") and other != f"{folder}/"]
        start = len(folder) + 1

        def below(names: Iterable[str]) -> set[str]:
            mine = (
                name for name in names if name.startswith(f"{folder}/") and not name.startswith(tuple(inner))
            )
            return {name[start:] for name in mine}

        scored = below(self._experiment.results) | below(self._judged(folder))
        sure = scored | self._asked_names
        predicted = below(self._experiment.predictions)
        parts = {
            name
            for name in predicted - sure
            if (m := PART.fullmatch(name)) and m.group(1) in sure | predicted
        }
        return {as_in_csv(name): name for name in sorted(scored | (predicted - parts))}

    def _judged(self, folder: str) -> dict[str, str]:
        """`<model>/<dataset>` -> result file of this judge, whose folder has a name made of both."""
        start = f"{folder}_judged-by--{self._judge}/"
        found = self._experiment.results.items() if self._judge else []
        return {f"{folder}/{name[len(start) :]}": path for name, path in found if name.startswith(start)}

    def cells(self) -> list[Cell]:
        """All of them, in the summary's order, then those that it does not name."""
        cells = [cell for table in self._tables for cell in self._of_table(table)]
        named = {(cell["_row"], cell["model"]) for cell in cells if not cell["group"]}
        for name in self._requested:
            for column in self._columns:
                if (name, clip(column.name)) not in named and self._is_combined(name, column):
                    cells += self._unlisted(name, column)
        for item in self._doubled:
            cells += self._missing(item.abbr, item, "NAME_AMBIGUOUS")
        for name in self._in_ragged_rows():
            cells += self._missing(name, None, "ROW_RAGGED")
        mark_groups(cells, self._experiment.configuration.kinds)
        for cell in cells:
            del cell["_row"]
        return cells

    def _is_combined(self, name: str, column: Column) -> bool:
        """Whether this model was to run that dataset. A plan has all of them run all."""
        pairs = None if self._run.plan else self._experiment.configuration.pairs
        return pairs is None or any((folder, name) in pairs for folder in column.folders)

    def _missing(self, name: str, planned: Planned | None, reason: str) -> Iterator[Cell]:
        for column in self._columns:
            blank = blank_cell(name, ABSENT, column.name, planned)
            yield {"_row": "", **blank, "state": "missing", "reason": reason}

    def _in_ragged_rows(self) -> list[str]:
        """Datasets of which nothing but a row that cannot be read tells; others are missed by their names."""
        rows = [] if self._asked_names else [text for table in self._tables for text in table.ragged]
        names = dict.fromkeys(as_in_csv(text.partition(",")[0]) for text in rows)
        read = {row.name for table in self._tables for row in table.rows}
        return [name for name in names if name not in read and name not in self._requested]

    def _of_table(self, table: Table) -> Iterator[Cell]:
        columns = {column.name: column for column in self._columns}
        described = {row.name for row in table.rows if row.metric not in EMPTY}
        seen: dict[tuple[str, str], Row] = {}
        primary: set[str] = set()
        for row in table.rows:
            if self._says_nothing(row, described):
                continue
            if (row.name, row.metric) in seen:
                if seen[row.name, row.metric] != row:
                    text = f"{clip(row.name)} {clip(row.metric)} is there twice; the first counts"
                    self._warnings.add("ROW_REPEATED", text)
                continue
            seen[row.name, row.metric] = row
            dataset = self._is_dataset(row)
            leads = dataset and row.metric not in EMPTY and row.name not in primary
            if leads:
                primary.add(row.name)
            for name, text in zip(table.models, row.texts):
                for cell in self._of_row(row, columns[name], text, leads=leads, dataset=dataset):
                    if table.summary.profile is not None:
                        cell["profile"] = clip(table.summary.profile)
                    yield cell

    def _of_row(self, row: Row, column: Column, text: str, *, leads: bool, dataset: bool) -> Iterator[Cell]:
        """A model's cell of a row. A row without a metric has as many as the dataset's result file."""
        if dataset and text in EMPTY and not self._is_combined(row.name, column):
            return
        if dataset and row.metric in EMPTY:
            yield from self._unlisted(row.name, column)
            return
        judge = self._cell if dataset else self._of_group
        cell = judge(row.name, row.metric, column, text)
        yield {**cell, "version": clip(row.version), "mode": clip(row.mode), "primary": leads}

    def _says_nothing(self, row: Row, elsewhere: set[str]) -> bool:
        """Titles, rows of metadata, empty rows, and rows that repeat a name without its scores."""
        described = [row.version, row.metric, row.mode]
        known = row.name in self._asked_names or row.name in self._found
        if described == FIXED_HEADER[1:] and row.name in METADATA:
            return True
        if row.metric == SENTINEL_METRIC:
            return not self._has_metric(row)
        if not set(described) <= EMPTY:
            return False
        if TITLE.fullmatch(row.name) and not known:
            return True
        return set(row.texts) <= {""} or row.name in elsewhere

    def _has_metric(self, row: Row) -> bool:
        """Whether a result file of the row's dataset has the row's metric."""
        return any(row.metric in self._result(column, row.name)[0].values for column in self._columns)

    def _is_dataset(self, row: Row) -> bool:
        """A dataset is known by its name; where nothing tells names, by its version, which groups lack."""
        if row.name in self._requested or row.name in self._found:
            return row.metric not in AGGREGATES or self._has_metric(
                row
            )  # a group may bear its dataset's name
        if row.metric in EMPTY:
            return not self._asked_names  # a group that lacks a dataset looks the same
        return row.version not in EMPTY

    def _cell(self, name: str, metric: str, column: Column, text: str) -> Cell:
        """The cell of a dataset: the prediction files can veto it, the result file gives the exact number."""
        blank = {**self._blank(name, metric, column), **self._unexpected(name, column)}
        result, folder = self._result(column, name)
        problem = self._predictions_problem(folder, name)
        if problem:
            return self._unscored(blank, name, folder, "PREDICTIONS_UNREADABLE", problem)
        if result.error is not None:
            return self._unscored(blank, name, folder, "EVALUATOR_ERROR", result.error)
        if text in EMPTY:
            return self._unscored(blank, name, folder)
        found = result.values.get(metric)
        exact = is_number(found)
        value = finite(found if exact else text)
        if value is None:
            return {**blank, "state": "not_a_number", "reason": "NOT_A_NUMBER", "detail": clip(text)}
        if exact and finite(f"{value:.2f}") != finite(text):
            said = f"{clip(name)} {clip(metric)}: the result file has {value!r}, the summary {clip(text)}"
            self._warnings.add("SUMMARY_DIFFERS", said)
        planned = self._planned.get(name)
        replies = self._replies.get((folder or "", name))
        marks = self._marks(result, replies, planned)
        found_out = measured(metric, value, marks, planned.unit if planned else None)
        if planned and planned.unit and replies and replies.count:
            found_out.setdefault("samples", replies.count)
        return {**blank, **told(found_out, name, metric, self._warnings), "exact": exact}

    def _marks(self, result: Result, replies: Replies | None, planned: Planned | None) -> Marks:
        """The verdicts on the samples. OpenCompass leaves none where replies shall contain the answer.

        There (its details compare whole texts) they are read from the replies again, and count only if their
        mean is its score.
        """
        if replies is None:
            return Marks(result.marks, None)
        if planned and planned.evaluator == "contains":
            return Marks(replies.containing, replies.items, rounded=True)
        if result.marks and len(result.marks) != replies.count:
            return Marks(result.marks, None)
        return Marks(result.marks, replies.items)

    def _of_group(self, name: str, metric: str, column: Column, text: str) -> Cell:
        """The cell of a group of datasets: it is in the CSV alone, rounded."""
        cell = {**self._blank(name, metric, column), "group": True, "kind": "group"}
        if text in EMPTY:
            return {**cell, "state": "missing", "reason": "GROUP_INCOMPLETE"}
        value = finite(text)
        if value is None:
            return {**cell, "state": "not_a_number", "reason": "NOT_A_NUMBER", "detail": clip(text)}
        return {**cell, **told(measured(metric, value), name, metric, self._warnings)}

    def _unlisted(self, name: str, column: Column) -> Iterator[Cell]:
        """Cells of a dataset that no row names: `dataset_abbrs` may list groups alone."""
        result, _ = self._result(column, name)
        order = {metric: place for place, metric in enumerate(METRIC_ORDER)}
        numbers = [metric for metric, value in result.values.items() if is_number(value)]
        listed = [metric for metric in numbers if metric not in NO_METRIC]
        metrics = sorted(listed, key=lambda metric: order.get(metric, len(order)))
        if not metrics or result.error is not None:
            yield self._cell(name, ABSENT, column, ABSENT)
            return
        self._warnings.add("NOT_IN_SUMMARY", f"{clip(name)}: its scores are the result file's alone")
        for metric in metrics:
            cell = self._cell(name, metric, column, str(result.values[metric]))
            yield {**cell, "primary": metric == metrics[0]}

    def _blank(self, name: str, metric: str, column: Column) -> Cell:
        planned = self._planned.get(name)
        cell = {"_row": name, **blank_cell(self._own.get(name, name), metric, column.name, planned)}
        if self._judge is not None:
            cell["judge"] = clip(self._judge)
        return cell

    def _unexpected(self, name: str, column: Column) -> dict[str, bool]:
        """A mark on cells that nobody asked for."""
        plan = self._run.plan
        if plan is None:
            return {}
        strange = [] if name in self._planned else [name]
        asked_models = set(map(as_in_csv, plan.models))
        if asked_models and asked_models.isdisjoint(map(as_in_csv, (column.name, *column.folders))):
            strange.append(column.name)
        for what in strange:
            self._warnings.add("UNEXPECTED", f"{clip(what)} was not asked for")
        return {"unexpected": True} if strange else {}

    def _unscored(
        self, blank: Cell, name: str, folder: str | None, reason: str | None = None, detail: str | None = None
    ) -> Cell:
        """A cell without a score: why, and where the evidence is."""
        inferred = bool(folder and self._prediction_files(folder, name))
        log = self._task_log("eval" if inferred else "infer", folder or blank["model"], name)
        if reason is None:
            reason = "EVALUATION_FAILED" if inferred else "INFERENCE_FAILED" if log else "NO_RESULT"
        cell = {**blank, "state": "failed" if log or detail or inferred else "missing", "reason": reason}
        if detail:
            cell["detail"] = clip(detail)
        if log:
            path = self._experiment.logs[log]
            cell.update(evidence=clip(os.path.relpath(path, self._run.base)), log=log_tail(path))
        return cell

    def _task_log(self, phase: str, folder: str, name: str) -> str | None:
        """The log of a dataset's task. A task of several datasets is named after the first of them only."""
        start = f"{phase}/{folder}/"
        mine = [log for log in self._experiment.logs if log.startswith(start)]
        own = [log for log in mine if as_in_csv(log[len(start) :]) == name]
        found = own or mine
        return found[0] if len(found) == 1 else None

    def _prediction_files(self, folder: str, name: str) -> list[str]:
        """The prediction file of a dataset, else those of its parts."""
        own = self._names.get(folder, {}).get(name, self._own.get(name, name))
        predictions = self._experiment.predictions
        whole = predictions.get(f"{folder}/{own}")
        if whole:
            return [whole]
        parts = re.compile(re.escape(f"{folder}/{own}") + "_[0-9]+")
        taken = {f"{folder}/{other}" for other in self._names.get(folder, {}).values()}
        found = [stem for stem in predictions if parts.fullmatch(stem) and stem not in taken]
        return [predictions[stem] for stem in sorted(found, key=lambda stem: int(stem.rpartition("_")[2]))]

    def _predictions_problem(self, folder: str | None, name: str) -> str | None:
        """Why the predictions cannot be believed, or None. Warns where they are empty or too few."""
        if not folder:
            return None
        if (folder, name) not in self._problems:
            self._problems[folder, name] = self._read_predictions(folder, name)
        return self._problems[folder, name]

    def _read_predictions(self, folder: str, name: str) -> str | None:
        paths = self._prediction_files(folder, name)
        replies = Replies()
        for part, path in enumerate(paths):
            try:
                document = read_json(path)
            except TooLarge as error:
                self._warnings.add("PREDICTIONS_UNCHECKED", f"{name}: {error}")
                return None
            except Unreadable as error:
                return f"{os.path.basename(path)}: {error}"
            if not isinstance(document, dict):
                return f"{os.path.basename(path)}: not a JSON object"
            for number, (key, item) in enumerate(document.items()):
                known = item if isinstance(item, dict) else {}
                prompt, reference = known.get("origin_prompt"), known.get("gold")
                row = int(key) if key.isdecimal() and len(key) <= LONGEST_ROW else number
                replies.add((part, row), prompt, reference, known.get("prediction", UNKNOWN))
        if paths:
            self._replies[folder, name] = replies
            for code, text in replies.doubts(self._rows_asked(folder, name)):
                self._warnings.add(code, f"{clip(name)} of {clip(folder)}: {text}")
        return None

    def _rows_asked(self, folder: str, name: str) -> int | None:
        """How many replies there should be: by the plan, of stock datasets by what inference noted."""
        planned = self._planned.get(name)
        if planned and planned.rows:
            return planned.rows
        own = self._names.get(folder, {}).get(name, name)
        try:
            noted = read_json(os.path.join(self._experiment.path, "infer_status", folder, f"{own}.json"))
        except Unreadable:
            return None
        return int_or_none(noted.get("total")) if isinstance(noted, dict) else None

    def _result(self, column: Column, name: str) -> tuple[Result, str | None]:
        """The result of a dataset and its model's folder; of models that share a column the last one's."""
        for folder in reversed(column.folders):
            if (folder, name) not in self._results:
                self._results[folder, name] = self._read_result(folder, name)
            if self._results[folder, name] is not NO_RESULT:
                return self._results[folder, name], folder
        return NO_RESULT, column.folders[-1] if column.folders else None

    def _read_result(self, folder: str, name: str) -> Result:
        own = self._names.get(folder, {}).get(name)
        found = {**self._experiment.results, **self._judged(folder)}
        path = found.get(f"{folder}/{own}") if own else None
        if not path:
            return NO_RESULT
        try:
            document = read_json(path)
        except Unreadable as broken:
            self._warnings.add("RESULT_UNREADABLE", f"{clip(name)}: {broken}")
            return NO_RESULT
        if not isinstance(document, dict):
            self._warnings.add("RESULT_UNREADABLE", f"{clip(name)}: not a JSON object")
            return NO_RESULT
        error = clip(text_or_none(document["error"]) or "not told") if "error" in document else None
        values = {as_in_csv(metric): value for metric, value in document.items() if metric != "details"}
        details = listed(document.get("details"))
        planned = self._planned.get(name)
        choice = planned is not None and planned.evaluator == "choice"
        result = Result(values, error, verdicts(details), readings(details, "pred" if choice else "parsed"))
        fallback = one_for_many(result.readings)
        if fallback:
            self._warnings.add("ANSWERS_EQUAL", f"{clip(name)} of {clip(folder)}: {fallback}")
        return result


def doubled_names(plan: Plan | None, warnings: Warnings) -> list[Planned]:
    """What was asked for under a name that reads as an earlier one's, which alone can be told apart."""
    datasets = asked_once(plan, warnings)
    doubled = []
    seen: dict[str, str] = {}
    for item in datasets:
        first = seen.setdefault(as_in_csv(item.abbr), item.abbr)
        if first != item.abbr:
            doubled.append(item)
            text = f"{clip(item.abbr)} reads as {clip(first)}, which alone can be told"
            warnings.add("DUPLICATE_DATASET", text)
    return doubled


def asked_once(plan: Plan | None, warnings: Warnings) -> list[Planned]:
    """The datasets of a plan; a warning for each that is there twice."""
    datasets = plan.datasets if plan else []
    for abbr, times in Counter(item.abbr for item in datasets).items():
        if times > 1:
            warnings.add("DUPLICATE_DATASET", f"{clip(abbr)} is asked for {times} times")
    return datasets


def own_names(asked: list[str], *found: Iterable[str]) -> dict[str, str]:
    """Name as the CSV writes it -> the only dataset's name that reads so there."""
    names: dict[str, set[str]] = {}
    for name in itertools.chain(asked, *found):
        names.setdefault(as_in_csv(name), set()).add(name)
    return {written: min(own) for written, own in names.items() if len(own) == 1}


def mark_groups(cells: list[Cell], kinds: dict[str, str]) -> None:
    """Tell what a group's rows are: deviations and sums are labelled like what they are made of.

    An aggregate is of the unit of the group's other rows where they have one in common; a sum is of none.
    """
    said = {cell["_row"]: GROUP_KINDS[cell["metric"]] for cell in cells if cell["metric"] in GROUP_KINDS}
    units: dict[tuple[str, str], set[str | None]] = {}
    for cell in cells:
        if cell["group"] and cell["metric"] not in AGGREGATES:
            units.setdefault((cell["_row"], cell["model"]), set()).add(cell["unit"])
    for cell in cells:
        if cell["group"]:
            cell["kind"] = {**kinds, **said}.get(cell["_row"], "group")
            if cell["metric"] in AGGREGATES:
                common = units.get((cell["_row"], cell["model"]), set())
                cell["unit"] = next(iter(common)) if len(common) == 1 else None
            if cell["kind"] == "sum":
                cell["unit"] = None


def is_empty(prediction: Any) -> bool:
    """Whether a reply, or each of several, has no text."""
    replies = prediction if isinstance(prediction, list) else [prediction]
    return all(reply is None or (isinstance(reply, str) and not reply.strip()) for reply in replies)


def listed(details: Any) -> list[dict[str, Any]]:
    """OpenCompass' details, one for each sample: a list, or a dict by the sample's number. Else empty."""
    if isinstance(details, dict):
        details = [item for number, item in details.items() if number.isdigit()]
    found = details if isinstance(details, list) else []
    return found if all(isinstance(item, dict) for item in found) else []


def only(value: Any) -> Any:
    """The one value of a list of one; OpenCompass writes each as such."""
    return value[0] if isinstance(value, list) and len(value) == 1 else value


def verdicts(details: list[dict[str, Any]]) -> list[bool]:
    """Whether each sample was right, where the details tell it of every one; else empty.

    The verdict is `correct` or, of some evaluators, `is_correct`; of `AccEvaluator`, which writes neither,
    whether prediction and reference are the same text.
    """
    marks = []
    for item in details:
        correct = only(item.get("correct", item.get("is_correct")))
        if correct is None and isinstance(item.get("predictions"), str):
            correct = item["predictions"] == item.get("references")
        if not isinstance(correct, bool):
            return []
        marks.append(correct)
    return marks


def readings(details: list[dict[str, Any]], key: str) -> list[tuple[str, str]]:
    """What each reply was read as by a multiple-choice evaluator, and the reference; empty where not told.

    `key` is where the reading is: `parsed`, or `pred` with our own choices, where other sets have the reply.
    """
    pairs = [(only(item.get(key)), only(item.get("refr"))) for item in details]
    return [pair for pair in pairs if isinstance(pair[0], str) and isinstance(pair[1], str)]


def one_for_many(pairs: list[tuple[str, str]]) -> str | None:
    """That everything was read as the same, though different answers were right: a fallback option.

    Quoted is one letter at most: a reading may be a whole reply.
    """
    read = {reading for reading, _ in pairs}
    if len(pairs) < MANY or len(read) != 1 or len({right for _, right in pairs}) == 1:
        return None
    (reading,) = read
    shown = reading if len(reading) == 1 else "no option" if not reading else "the same"
    return f"each of {len(pairs)} replies was read as {shown}"


def without_reasoning(reply: str) -> str:
    """What OpenCompass' `extract-non-reasoning-content` leaves of a reply."""
    if THOUGHT_BEGINS not in reply:
        return reply.rpartition(THOUGHT_ENDS)[2].strip()
    kept = []
    rest = 0
    # Not by a regular expression: where thoughts begin and none ends, each would look for its end.
    while (begin := reply.find(THOUGHT_BEGINS, rest)) >= 0 and (end := reply.find(THOUGHT_ENDS, begin)) >= 0:
        kept.append(reply[rest:begin])
        rest = end + len(THOUGHT_ENDS)
    return "".join([*kept, reply[rest:]]).strip()


def plain_text(value: Any, depth: int = 0) -> str:
    """The words of a prompt or a reference, without what the engine or the model wraps around them."""
    if depth > MAX_DEPTH:
        return ""
    if isinstance(value, list):
        return "\n".join(plain_text(item, depth + 1) for item in value)
    if isinstance(value, dict):
        return plain_text(value.get("prompt", value.get("content")), depth + 1)
    return value if isinstance(value, str) else json.dumps(value)


class Marks(NamedTuple):
    """The verdict on each sample, and what identifies the samples."""

    right: list[bool]
    items: str | None
    rounded: bool = False
    """The engine rounds their mean to two digits."""


NO_MARKS = Marks([], None)


def packed(marks: Marks) -> dict[str, Any]:
    """One bit for each sample, the first sample in the highest bit of the first byte."""
    padded = marks.right + [False] * (-len(marks.right) % 8)
    eights = (padded[start : start + 8] for start in range(0, len(padded), 8))
    octets = bytes(sum(bit << (7 - place) for place, bit in enumerate(eight)) for eight in eights)
    bits = base64.b64encode(octets).decode("ascii")
    return {"items": marks.items, "count": len(marks.right), "bits": bits}


def measured(
    metric: str, value: float, marks: Marks = NO_MARKS, planned_unit: str | None = None
) -> dict[str, Any]:
    """A score with its unit and, where the verdicts tell it, its uncertainty in that unit.

    `samples` counts the verdicts. `stderr`, the 95 % interval (Wilson's: it stays within the range and is not
    empty where all samples agree) and the packed verdicts are given where the score is their mean, like
    accuracy. A value that its planned unit or, of `MEANS`, its own verdicts deny gets no unit, but a `doubt`.
    """
    count = len(marks.right)
    scales = {**RANGES, "count": float(count)}
    share = sum(marks.right) / count if count else 0.0
    near = HALF_A_DIGIT if marks.rounded else 0.0
    fits = [unit for unit, scale in scales.items() if count and close(value, scale * share, near)]
    unit = planned_unit or unit_by_name(metric, value)
    if fits and unit not in fits:
        unit = fits[0] if len(fits) == 1 else None
    found: dict[str, Any] = {"state": "scored", "score": value, "unit": unit}
    if unit in RANGES and not 0 <= value <= RANGES[unit]:
        found.update(unit=None, doubt=f"{value!r} is no {unit}")
    elif planned_unit and count and not fits and metric in MEANS:
        counted = f"its {count} verdicts, {sum(marks.right)} of them right"
        found.update(unit=None, doubt=f"{value!r} is not the {planned_unit} of {counted}")
    if count:
        found["samples"] = count
    if unit in fits:
        stderr, low, high = uncertainty(share, count)
        scale = scales[unit]
        found.update(stderr=stderr * scale, interval=[low * scale, high * scale])
        if marks.items:
            found["verdicts"] = packed(marks)
    if marks.items and "verdicts" not in found:
        found["items"] = marks.items
    return found


def told(found: dict[str, Any], dataset: str, metric: str, warnings: Warnings) -> dict[str, Any]:
    """The score, with a warning where it is in doubt."""
    if "doubt" in found:
        warnings.add("SCORE_DOUBTFUL", f"{clip(dataset)} {clip(metric)}: {found['doubt']}")
    return found


def uncertainty(share: float, count: int) -> tuple[float, float, float]:
    """Standard error of a share of `count` samples, and Wilson's 95 % interval."""
    stderr = math.sqrt(share * (1 - share) / count)
    square = NORMAL_95 * NORMAL_95 / count
    centre = (share + square / 2) / (1 + square)
    half = math.sqrt(NORMAL_95 * NORMAL_95 * stderr * stderr + square * square / 4) / (1 + square)
    return stderr, max(0.0, centre - half), min(1.0, centre + half)


def close(value: float, other: float, near: float = 0.0) -> bool:
    """Equal but for the last digits, or for so much."""
    return math.isclose(value, other, rel_tol=1e-6, abs_tol=max(1e-9, near))


def unit_by_name(metric: str, value: float) -> str | None:
    """`percent` or `count` by the metric's name; None where that is open, as with what may be a fraction."""
    if metric.lower() in COUNTS:
        # Some evaluators call their share `correct`.
        is_share = not value.is_integer() or (metric.lower() == "correct" and 0 <= value <= 1)
        return None if is_share else "count"
    percent = PERCENT.search(metric) and (value == 0 or 1 < value <= 100)  # noqa: PLR2004 - per cent
    return "percent" if percent else None


def is_number(value: Any) -> bool:
    """Whether JSON calls it a number, NaN included."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def finite(value: Any) -> float | None:
    """The number as JSON can carry it, -0.0 as 0.0; None for everything else."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    if isinstance(value, str) and not NUMBER.fullmatch(value):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number + 0.0 if math.isfinite(number) else None


def as_in_csv(name: str) -> str:
    """OpenCompass writes a comma in a cell as a space."""
    return name.replace(",", " ")


def safe(text: str) -> str:
    """Valid Unicode; file names may hold any bytes."""
    return text.encode("utf-8", "replace").decode("utf-8")


def clip(text: str) -> str:
    """A text that is safe to store: valid Unicode, and no longer than a name may be."""
    text = safe(text)
    return text if len(text) <= MAX_NAME else text[: MAX_NAME - 1] + "…"


def log_tail(path: str) -> str:
    """The end of a log; of a line that overwrites itself only its last state."""
    try:
        text = read_bytes(path, tail=8 * LOG_TAIL).decode("utf-8", "replace")
    except (OSError, Unreadable) as error:
        return f"cannot be read: {clip(str(error))}"
    lines = (line.rpartition("\r")[2] for line in text.rstrip().split("\n"))
    return "\n".join(lines)[-LOG_TAIL:]


def read_text(path: str) -> str:
    """A whole text file; bytes that are not UTF-8 are replaced."""
    return read_bytes(path, limit=MAX_TEXT).decode("utf-8", "replace")


def read_json(path: str) -> Any:
    """A whole JSON file; Unreadable where it is not one."""
    raw = read_bytes(path, limit=MAX_JSON)
    try:
        return json.loads(raw.decode("utf-8", "replace"))
    except (ValueError, RecursionError) as error:
        raise Unreadable(f"not JSON ({type(error).__name__})") from None


def read_bytes(path: str, *, limit: int | None = None, tail: int | None = None) -> bytes:
    """A plain file, or its last `tail` bytes."""
    with open_plain(path, limit) as file:
        if tail is not None:
            file.seek(max(0, os.fstat(file.fileno()).st_size - tail))
            return file.read(tail)
        return file.read() if limit is None else file.read(limit)


def read_json_lines(path: str, *, limit: int) -> Iterator[dict[str, Any]]:
    """The objects of a JSON Lines file, one at a time; Unreadable at the first line that is none."""
    with open_plain(path, limit) as file:
        while line := file.readline(MAX_JSON):
            try:
                item = json.loads(line.decode("utf-8", "replace"))
            except (ValueError, RecursionError) as error:
                raise Unreadable(f"a line is not JSON ({type(error).__name__})") from None
            if isinstance(item, dict):
                yield item


def open_plain(path: str, limit: int | None) -> BinaryIO:
    """A plain file of at most `limit` bytes. A link, a pipe or a device is never opened for reading."""
    name = clip(os.path.basename(path))
    if leads_elsewhere(path):
        raise Unreadable(f"{name} is not a plain file")
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise Unreadable(f"{name}: {errno.errorcode.get(error.errno or 0, 'not opened')}") from None
    status = os.fstat(descriptor)
    too_large = limit is not None and status.st_size > limit
    if not stat.S_ISREG(status.st_mode) or too_large:
        os.close(descriptor)
        if too_large:
            raise TooLarge(f"{name} is larger than {limit} bytes")
        raise Unreadable(f"{name} is not a plain file")
    return os.fdopen(descriptor, "rb")


def leads_elsewhere(path: str) -> bool:
    """Whether a link is on the path: it may lead to another evaluation's files. The root is a real path."""
    return os.path.realpath(path) != path


def seconds(text: Any) -> float:
    """Since 1970, of a time like `2026-01-31T12:00:00Z`; 0 where it is none."""
    try:
        return float(calendar.timegm(time.strptime(text, "%Y-%m-%dT%H:%M:%SZ")))
    except (TypeError, ValueError):
        return 0.0


def modified(path: str) -> float:
    """When a file was last written; 0 where that cannot be told."""
    try:
        return os.lstat(path).st_mtime
    except OSError:
        return 0.0


def entries(directory: str) -> list[os.DirEntry[str]]:
    """What is in a directory, sorted, without links."""
    if leads_elsewhere(directory):
        return []
    try:
        with os.scandir(directory) as found:
            listed = sorted(itertools.islice(found, MAX_ENTRIES), key=lambda entry: entry.name)
    except OSError:
        return []
    return [entry for entry in listed if not entry.is_symlink()]


def files(directory: str) -> list[tuple[str, str]]:
    """(name, path) of the plain files in a directory."""
    return [(entry.name, entry.path) for entry in entries(directory) if entry.is_file(follow_symlinks=False)]


def directories(directory: str) -> list[tuple[str, str]]:
    """(name, path) of the directories in a directory."""
    return [(entry.name, entry.path) for entry in entries(directory) if entry.is_dir(follow_symlinks=False)]


def files_below(directory: str) -> list[tuple[str, str]]:
    """(path from `directory`, path) of the plain files in a tree, as deep as OpenCompass writes any."""
    found: list[tuple[str, str]] = []
    waiting = [("", directory, 0)]
    seen = 0
    while waiting and seen < MAX_ENTRIES:
        prefix, folder, depth = waiting.pop()
        for entry in entries(folder):
            seen += 1
            if entry.is_file(follow_symlinks=False):
                found.append((prefix + entry.name, entry.path))
            elif depth < MAX_DEPTH and entry.is_dir(follow_symlinks=False):
                waiting.append((f"{prefix}{entry.name}/", entry.path, depth + 1))
    return sorted(found)


OPENCOMPASS = Engine("opencompass", judge_run)

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ, OPENCOMPASS))
