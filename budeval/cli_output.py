"""What the command line prints for people: tables and lines.

Whatever comes from the service may hold what a model said, so it is printed as text: never as markup, and
without the control characters that would command a terminal.
"""

import io
import re
import sys
from collections.abc import Iterable, Sequence
from typing import Any, TextIO

from rich.console import Console
from rich.table import Table
from rich.text import Text

from budeval.domain.notification import Announcement
from budeval.errors import BudevalError
from budeval.evals.answers import Check, EvaluationResults, EvaluationState, EvaluationSummary
from budeval.evals.results_table import interval_of

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_PIPE_WIDTH = 200
"""Columns where there is no terminal: nothing is folded that a `grep` looks for."""
_STYLES = {
    "ok": "green",
    "COMPLETED": "green",
    "success": "green",
    "deleted": "green",
    "gone": "green",
    "refused": "red",
    "ending": "yellow",
    "unknown": "yellow",
    "FAILED": "red",
    "error": "red",
    "not ok": "red",
    "PARTIAL": "yellow",
    "RUNNING": "cyan",
}


def console(file: TextIO | None = None) -> Console:
    """Where people read; standard output if no file is given."""
    out = file or sys.stdout
    return Console(file=out, width=None if out.isatty() else _PIPE_WIDTH, highlight=False)


def clean(text: str) -> str:
    """The text without control characters other than tab and newline; carriage returns are newlines."""
    return _CONTROL.sub("", text.replace("\r\n", "\n").replace("\r", "\n"))


def one_line(text: str) -> str:
    """The text as a single clean line."""
    return " ".join(clean(text).split())


def cell(value: object) -> Text:
    """A value in a table; statuses have their colour."""
    text = "" if value is None else one_line(str(value))
    return Text(text, style=_STYLES.get(text, ""), overflow="fold")


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]], file: TextIO | None = None) -> None:
    """A table, as wide as the terminal."""
    table = Table(*columns, box=None, pad_edge=False, header_style="bold")
    for row in rows:
        table.add_row(*(cell(value) for value in row))
    console(file).print(table)


def print_line(*parts: object) -> None:
    """A line on standard output."""
    console().print(Text(" ").join(cell(part) for part in parts), soft_wrap=True)


def print_error(error: BudevalError) -> None:
    """`CODE: message` and the field, one line on standard error."""
    line = one_line(str(error))
    if error.param and not error.message.startswith(f"{error.param}: "):
        line += f" (field: {one_line(error.param)})"
    sys.stderr.write(f"{line}\n")


def print_note(text: str) -> None:
    """A line on standard error: beside the output, never in it."""
    sys.stderr.write(f"{one_line(text)}\n")


def print_trouble(error: BudevalError) -> None:
    """The service is away while it is watched."""
    print_note(f"{error} Trying again for two minutes; the evaluation goes on.")


def print_checks(checks: Iterable[Check]) -> None:
    """What was checked: ok or not, and why not."""
    rows = (
        (
            check.name,
            "ok" if check.ok else "not ok",
            f"{check.code}: {check.message}" if check.code else check.message,
        )
        for check in checks
    )
    print_table(("check", "", "what was found"), rows)


def print_summaries(summaries: Iterable[EvaluationSummary]) -> None:
    """The list of evaluations."""
    rows = (
        (line.eval_id, line.outcome or line.status, line.model, line.runs, line.created, line.ended)
        for line in summaries
    )
    print_table(("evaluation", "status", "model", "runs", "created", "ended"), rows)


def print_state(state: EvaluationState) -> None:
    """How far an evaluation is: itself, its steps, its runs."""
    print_line("evaluation", state.eval_id, state.outcome or state.status)
    print_line(f"{state.model} on {state.cluster}/{state.namespace}, engine {state.engine}")
    print_line(remaining(state))
    print_table(("step", "status", ""), ((step.title, step.status, step.message) for step in state.steps))
    print_table(
        ("run", "dataset", "state", "samples", ""),
        (
            (run_id, run.get("dataset_id"), run_word(run), samples(run), trouble(run))
            for run_id, run in state.runs.items()
        ),
    )
    if state.completeness:
        print_line(_whole(state.completeness, state.headline))
    if state.error:
        print_line("error", state.error)


def remaining(state: EvaluationState) -> str:
    """Progress and the whole minutes that are left, as far as they are known."""
    if state.ended:
        return f"ended {state.ended}"
    left = f"{state.eta_minutes} min left" if state.eta_minutes is not None else "time left not known yet"
    return f"{state.progress_percent} %, {left}"


def run_word(run: dict[str, Any]) -> str:
    """Where a run is: its outcome once it has one."""
    return str(run.get("outcome") or run.get("state") or "pending")


def samples(run: dict[str, Any]) -> str:
    """`done/total` of a run's samples, as far as they are known."""
    return f"{run.get('done', 0)}/{run['total']}" if run.get("total") else ""


def trouble(run: dict[str, Any]) -> str:
    """Why a run does not go on, or has failed."""
    said = run.get("error") or run.get("message") or ""
    return f"{run['code']}: {said}" if run.get("code") else str(said)


def results_table(results: EvaluationResults) -> str:
    """What `print_results` prints, for a file."""
    text = io.StringIO()
    print_results(results, text)
    return text.getvalue()


def print_results(results: EvaluationResults, file: TextIO | None = None) -> None:
    """A line per score; a line per run that has none, with its reason."""
    rows = []
    for result in results.results:
        scores = result.get("scores") or [{}]
        rows += [_score_row(result, score) for score in scores]
    columns = ("run", "dataset", "metric", "score", "95 % interval", "samples", "outcome", "")
    print_table(columns, rows, file)
    for result in results.results:
        for warning in result.get("warnings", []):
            print_doubt(result, warning, file)
    console(file).print(
        Text("outcome ") + cell(results.outcome) + Text(", " + _whole(results.completeness, results.headline))
    )


def print_doubt(result: dict[str, Any], warning: dict[str, Any], file: TextIO | None) -> None:
    """Why a score may be an artefact."""
    where = f"warning: {result.get('run_id')}"
    console(file).print(Text(one_line(f"{where}: {warning.get('code')}: {warning.get('message')}")))


def _whole(counts: dict[str, Any], headline: dict[str, Any] | None) -> str:
    """How complete it is, and the one score for all, if there is one."""
    text = f"{counts.get('scored')} of {counts.get('requested')} cells scored"
    return text + (f", headline {headline['score']:.2f} %" if headline else "")


def _score_row(result: dict[str, Any], score: dict[str, Any]) -> tuple[object, ...]:
    low, high = interval_of(score)
    return (
        result.get("run_id"),
        score.get("dataset") or result.get("dataset_id"),
        score.get("metric"),
        _number(score.get("score")),
        "" if low is None else f"{_number(low)} to {_number(high)}",
        score.get("samples"),
        result.get("outcome") or result.get("status"),
        trouble(result),
    )


def _number(value: object) -> str:
    return f"{value:.2f}" if isinstance(value, float) else "" if value is None else str(value)


def print_event(event: Announcement) -> None:
    """An announcement in one line."""
    payload = event.notification.payload
    content = payload.content
    number = f"{event.number:>4}"
    console().print(
        Text.assemble(
            number,
            "  ",
            (f"{content.status:<10}", _STYLES.get(content.status, "")),
            f" {payload.event}: ",
            one_line(content.message),
        ),
        soft_wrap=True,
    )
