"""An evaluation as it goes on: bars on a terminal, lines elsewhere."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn
from rich.table import Column

from budeval.cli_output import (
    cell,
    console,
    one_line,
    print_error,
    print_line,
    print_results,
    print_trouble,
    remaining,
    run_word,
    samples,
    trouble,
)
from budeval.client import ApiError, BudevalClient, succeeded
from budeval.domain.notification import ENDED
from budeval.evals.answers import EvaluationState, StepState

_MOST_BARS = 20
"""More runs than that are told by the bar of the whole, and by the line that each gets when it has ended."""
_FULL = 100
_RUN_ENDED = {"succeeded", "failed"}


class View(Protocol):
    """Shows one state after the other."""

    def show(self, state: EvaluationState) -> None:
        """Show what is new in it."""


def watch(client: BudevalClient, eval_id: str) -> bool:
    """Show an evaluation until it has ended, then its scores. Whether it succeeded.

    Raises:
        BudevalError: what `BudevalClient.watch` raises.
    """
    with _view() as view:
        for state in client.watch(eval_id, on_trouble=print_trouble):
            view.show(state)
    try:
        print_results(client.results(eval_id))
    except ApiError as error:
        print_error(error)
        if state.error:
            print_line("error", state.error)
    return succeeded(state.outcome)


@contextmanager
def _view() -> Iterator[View]:
    if not sys.stdout.isatty():
        yield _Lines()
        return
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TaskProgressColumn(),
        # What does not fit is in the table at the end.
        TextColumn(
            "{task.fields[note]}", markup=False, table_column=Column(no_wrap=True, overflow="ellipsis")
        ),
    )
    with Progress(*columns, console=console()) as progress:
        yield _Bars(progress)


class _Steps:
    """Which steps were told already."""

    def __init__(self) -> None:
        self._told: dict[str, str] = {}

    def news(self, state: EvaluationState) -> list[StepState]:
        """The steps that have ended since the last time."""
        ended = [step for step in state.steps if step.status in ENDED]
        new = [step for step in ended if self._told.get(step.id) != step.status]
        self._told |= {step.id: step.status for step in new}
        return new


class _Lines:
    """A line for each thing that has changed."""

    def __init__(self) -> None:
        self._steps = _Steps()
        self._runs: dict[str, str] = {}
        self._said = ""

    def show(self, state: EvaluationState) -> None:
        for step in self._steps.news(state):
            print_line(step.status, f"{step.title}: {step.message or ''}")
        for run_id, run in state.runs.items():
            word = f"{run_word(run)} {trouble(run)}".strip()
            if self._runs.get(run_id) != word:
                self._runs[run_id] = word
                print_line("run", run_id, word)
        said = remaining(state)
        if said != self._said:
            self._said = said
            print_line(said)


class _Bars:
    """A bar for the whole and one for each run; steps are told above them as they end."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._steps = _Steps()
        self._bars: dict[str, TaskID] = {}

    def show(self, state: EvaluationState) -> None:
        for step in self._steps.news(state):
            line = cell(step.status)
            self._progress.console.print(
                line.append(f" {one_line(step.title)}: {one_line(step.message or '')}", "")
            )
        self._bar("evaluation", "evaluation", state.progress_percent, remaining(state))
        runs = state.runs if len(state.runs) <= _MOST_BARS else {}
        for run_id, run in runs.items():
            note = " ".join(part for part in (samples(run), run_word(run), trouble(run)) if part)
            self._bar(f"run {run_id}", run_id, _percent(run), note)
        self._progress.refresh()

    def _bar(self, key: str, title: str, percent: float, note: str) -> None:
        if key not in self._bars:
            self._bars[key] = self._progress.add_task(one_line(title), total=_FULL, note="")
        self._progress.update(self._bars[key], completed=percent, note=one_line(note))


def _percent(run: dict[str, Any]) -> float:
    if run.get("outcome") or run.get("state") in _RUN_ENDED:
        return _FULL
    total = run.get("total") or 0
    return min(_FULL, _FULL * run.get("done", 0) / total) if total else 0
