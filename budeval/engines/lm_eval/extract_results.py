"""Read the scores of lm-eval runs from the shared volume and print them to standard output.

Mounted from a ConfigMap into a pod whose image has nothing but Python: standard library only, Python 3.9 and
later. What is the same for every engine (the request, frames, careful reading, statistics, the verdict on a
run) is in OpenCompass' extractor, which has to be one file, and is taken from there.

lm-eval 0.4.13 writes, at its very end, `<output>/<model>/results_<time>.json` with metrics named
`<metric>,<filter>` and, where samples are logged, a `samples_<task>_<time>.jsonl` for each task. A failed row
means no file at all. `.budeval/plan.json` names the output directory of the newest start, so an older
start's numbers are never taken for its own; in a tree from elsewhere the newest result file counts.
"""

from __future__ import annotations

import functools
import json
import os
import re
import sys
from collections.abc import Iterator
from typing import Any, NamedTuple

from budeval.engines.lm_eval.evaluators import option, said
from budeval.engines.opencompass.extract_results import (
    ABSENT,
    MAX_CELLS,
    NO_MARKS,
    UNKNOWN,
    Cell,
    Engine,
    Marks,
    Plan,
    Planned,
    Replies,
    TooLarge,
    Unreadable,
    Warnings,
    about_run,
    as_list,
    asked_once,
    blank_cell,
    clip,
    files_below,
    finite,
    int_or_none,
    is_number,
    main,
    measured,
    newest_tail,
    one_for_many,
    only,
    own_logs,
    read_json,
    read_json_lines,
    read_plan,
    text_or_none,
    told,
    verdict,
    without_scores,
)

RESULTS = re.compile(r"(?:.*/)?results_([^/]+)\.json", re.DOTALL)
STDERR = "_stderr"
# Metrics that lm-eval gives as a share of 1; of others only their documentation tells.
F1 = "f1"  # no mean of its samples' values
FRACTIONS = frozenset({"acc", "acc_norm", "accuracy", "exact_match"})
MOSTLY_FRACTIONS = frozenset({"em", F1})  # SQuAD's are in percent
MAX_SAMPLES = 512 * 1024 * 1024  # read line by line


class Metric(NamedTuple):
    """A number of a task: `<name>,<filter>` in the result file."""

    name: str
    filter: str
    value: Any

    @property
    def label(self) -> str:
        """Its name in a cell; the filter `none` is none."""
        return self.name if self.filter in {"none", ""} else f"{self.name},{self.filter}"


def judge_run(base: str) -> dict[str, Any]:
    """Status, scores, cells and warnings of a run whose directory is there."""
    plan = read_plan(base)
    warnings = Warnings()
    attempt = {**about_run(base, plan, warnings), "warnings": warnings.listed()}
    path = newest_results(base, plan)
    newest_log = functools.partial(newest_tail, own_logs(base))
    if path is None:
        text = "lm-eval has left no results: it writes them at its end, and none where a row failed"
        return {**attempt, **without_scores(plan, "SUMMARY_MISSING", text, newest_log)}
    try:
        cells = list(Judgement(path, plan, warnings).cells())
    except Unreadable as error:
        text = f"Results cannot be read: {clip(str(error))}"
        return {**attempt, **without_scores(plan, "RESULTS_UNREADABLE", text, newest_log)}
    answer = {**attempt, "results_file": clip(os.path.relpath(path, base)), "cells": cells}
    return {**answer, "warnings": warnings.listed(), **verdict(cells, newest_log)}


def newest_results(base: str, plan: Plan | None) -> str | None:
    """The result file of the start that the plan names; without a plan the newest there is."""
    where = os.path.join(base, os.path.basename(plan.output)) if plan and plan.output else base
    found = {name: path for name, path in files_below(where) if RESULTS.fullmatch(name)}
    return max(found.items(), key=lambda item: item[0].rpartition("/")[2], default=("", None))[1]


class Judgement:
    """Every cell that was asked for or found in a result file, each in exactly one state."""

    def __init__(self, path: str, plan: Plan | None, warnings: Warnings) -> None:
        self._path = path
        self._warnings = warnings
        self._planned = {item.abbr: item for item in asked_once(plan, warnings)}
        document = read_json(path)
        if not isinstance(document, dict) or not isinstance(document.get("results"), dict):
            raise Unreadable("the result file has no results")
        self._document = document
        self._subtasks = as_dict(document.get("group_subtasks"))
        members = {name for task in self._planned for name in self._members(task)}
        self._asked = [*self._planned, *sorted(members - self._planned.keys())]
        name = text_or_none(document.get("model_name")) or os.path.basename(os.path.dirname(path))
        self._model = plan.models[0] if plan and plan.models else name

    def cells(self) -> Iterator[Cell]:
        """In the file's order, then what is missing from it; of groups those that are tasks of tasks."""
        results = self._document["results"]
        groups = self._groups()
        if sum(len(item) for item in results.values() if isinstance(item, dict)) > MAX_CELLS:
            raise Unreadable(f"the result file has more than {MAX_CELLS} cells")
        for task, found in results.items():
            metrics = metrics_of(found)
            if not metrics and task not in groups:
                yield self._unscored(task, "NO_RESULT")
            for place, metric in enumerate(metrics):
                cell = self._cell(task, metric, is_group=task in groups)
                yield {**cell, "primary": place == 0 and task not in groups}
        for task in self._asked:
            if task not in results and task not in groups:
                yield self._unscored(task, "NO_RESULT")

    def _groups(self) -> set[str]:
        """Names that stand for other tasks; they repeat in `results` and in `groups`.

        What was asked for is one only where its tasks are there instead.
        """
        named = {name for name, inner in self._subtasks.items() if as_list(inner)}
        named |= as_dict(self._document.get("groups")).keys()
        tasks = self._document["results"].keys() - named
        return {name for name in named if name not in self._planned or tasks & self._members(name)}

    def _members(self, group: str) -> set[str]:
        """The tasks of a group, and those of its groups."""
        found: set[str] = set()
        waiting = [group]
        while waiting:
            inner = as_list(self._subtasks.get(waiting.pop()))
            new = {name for name in inner if isinstance(name, str)} - found
            found |= new
            waiting += new
        return found

    def _cell(self, task: str, metric: Metric, *, is_group: bool) -> Cell:
        blank = {
            **self._blank(task, metric.label),
            "group": is_group,
            "kind": "group" if is_group else "score",
        }
        value = finite(metric.value) if is_number(metric.value) else None
        if value is None:
            text = clip(str(metric.value))
            return {**blank, "state": "not_a_number", "reason": "NOT_A_NUMBER", "detail": text}
        planned = self._planned.get(task)
        unit = planned.unit if planned else None
        if unit is None and (
            metric.name in FRACTIONS or (metric.name in MOSTLY_FRACTIONS and 0 <= value <= 1)
        ):
            unit = "fraction"
        marks = NO_MARKS if is_group else self._marks(task, metric, planned)
        found = measured(metric.name, value, marks, unit)
        return {**blank, **told(found, task, metric.label, self._warnings), "exact": True}

    def _marks(self, task: str, metric: Metric, planned: Planned | None) -> Marks:
        """The verdicts of a metric on the samples of a task, where it has one of each."""
        replies = Replies()
        marks: list[tuple[int, Any]] = []
        readings: list[tuple[str, str]] = []
        try:
            for sample in self._samples(task):
                if sample.get("filter") == metric.filter:
                    place = int_or_none(sample.get("doc_id")) or 0
                    reply = only(only(sample.get("resps", UNKNOWN))) if generated(sample) else UNKNOWN
                    replies.add((0, place), prompt_of(sample), sample.get("target"), reply)
                    if isinstance(reply, str):
                        readings.append((option(said([reply])) or "", str(sample.get("target"))))
                    marks.append((place, sample.get(metric.name)))
        except TooLarge as error:
            self._warnings.add("PREDICTIONS_UNCHECKED", f"{clip(task)}: {error}")
            return NO_MARKS
        except Unreadable as error:
            self._warnings.add("PREDICTIONS_UNREADABLE", f"{clip(task)}: {error}")
            return NO_MARKS
        if not marks:
            return NO_MARKS
        for code, text in replies.doubts(planned.rows if planned else None):
            self._warnings.add(code, f"{clip(task)}: {text}")
        fallback = one_for_many(readings) if planned and planned.evaluator == "choice" else None
        if fallback:
            self._warnings.add("ANSWERS_EQUAL", f"{clip(task)}: {fallback}")
        if metric.name == F1 or not all(is_number(mark) and mark in {0, 1} for _, mark in marks):
            return Marks([], replies.items)
        return Marks([mark == 1 for _, mark in sorted(marks, key=lambda item: item[0])], replies.items)

    def _samples(self, task: str) -> Iterator[dict[str, Any]]:
        """What was logged of each sample; nothing where nothing was logged."""
        match = RESULTS.fullmatch(self._path)
        stamp = match.group(1) if match else ""
        path = os.path.join(os.path.dirname(self._path), f"samples_{task}_{stamp}.jsonl")
        if os.path.lexists(path):
            yield from read_json_lines(path, limit=MAX_SAMPLES)

    def _unscored(self, task: str, reason: str) -> Cell:
        return {**self._blank(task, ABSENT), "state": "missing", "reason": reason}

    def _blank(self, task: str, metric: str) -> Cell:
        version = as_dict(self._document.get("versions")).get(task)
        cell = blank_cell(task, metric, self._model, self._planned.get(task))
        cell.update(version=ABSENT if version is None else clip(str(version)), mode="gen")
        if self._planned and task not in self._asked:
            cell["unexpected"] = True
            self._warnings.add("UNEXPECTED", f"{clip(task)} was not asked for")
        return cell


def metrics_of(found: Any) -> list[Metric]:
    """The metrics of a task in the file's order; its standard errors and what describes it are none."""
    metrics = []
    for key, value in as_dict(found).items():
        name, comma, kind = key.rpartition(",")
        if comma and not name.endswith(STDERR):
            metrics.append(Metric(name, kind, value))
    return metrics


def as_dict(value: Any) -> dict[str, Any]:
    """The value where it is an object, else an empty one."""
    return value if isinstance(value, dict) else {}


def generated(sample: dict[str, Any]) -> bool:
    """Whether the model wrote a reply. Of a likelihood the second argument is the text that it is of."""
    return not isinstance(only(arguments_of(sample).get("arg_1")), str)


def arguments_of(sample: dict[str, Any]) -> dict[str, Any]:
    """Of the first request that was made of the sample."""
    return as_dict(as_dict(sample.get("arguments")).get("gen_args_0"))


def prompt_of(sample: dict[str, Any]) -> Any:
    """What the model was asked: of a chat the messages, as data."""
    prompt = only(arguments_of(sample).get("arg_0"))
    try:
        return json.loads(prompt)
    except (ValueError, TypeError, RecursionError):
        return prompt


LM_EVAL = Engine("lm-eval", judge_run)

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ, LM_EVAL))
