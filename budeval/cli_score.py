"""Commands that score RAG samples."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from budeval import cli_output as output
from budeval.cli_base import INTERRUPTED, AsJson, client_of, exit_unless, show
from budeval.cli_score_output import (
    how_far,
    measurable,
    print_metrics,
    print_page,
    print_state,
    print_validation,
)
from budeval.client import BudevalClient
from budeval.domain.score_job import Engine, JobOutcome, JobStatus
from budeval.errors import RequestError
from budeval.scoring.answers import ScorePage, ScoreState
from budeval.scoring.contexts import BYTE_ORDER_MARK, parse_contexts

score = typer.Typer(
    help="Score single RAG samples, or many as one run, by RAGAS' metrics.",
    invoke_without_command=True,
    no_args_is_help=True,
)

JobId = Annotated[str, typer.Argument(metavar="JOB_ID", help="Id of the scoring job.")]
Metrics = Annotated[
    str | None, typer.Option(metavar="NAME,…", help="What to score; `budeval score metrics` lists them.")
]
Judge = Annotated[str | None, typer.Option(help="Alias of the judge; the service's first if left out.")]
Embedder = Annotated[str | None, typer.Option(help="Alias of the embedder; the service's first if left out.")]
EngineOption = Annotated[Engine | None, typer.Option("--engine", help="Who computes the metrics.")]
Weights = Annotated[
    str | None, typer.Option(metavar="NAME=W,…", help="Of metrics in the weighted score; equal if left out.")
]
Repeats = Annotated[int | None, typer.Option(min=1, max=10, help="How often each judged metric is scored.")]
TimeoutSeconds = Annotated[int | None, typer.Option("--timeout", min=1, help="Seconds for all scoring.")]
Advise = Annotated[bool, typer.Option(help="Write optimization_advice.md.")]
StoreInputs = Annotated[
    bool, typer.Option(help="Keep the texts after the end; otherwise only digests of them.")
]
AllowEmpty = Annotated[
    bool, typer.Option("--allow-empty", help="Complete without a score where every metric must be skipped.")
]
Labels = Annotated[
    list[str] | None,
    typer.Option("--label", metavar="KEY=VALUE", help="What to label the job with; repeatable."),
]
Key = Annotated[str | None, typer.Option(help="Idempotency key: with it the same again is the same job.")]
NoWait = Annotated[bool, typer.Option("--no-wait", help="Print the job and do not wait for its scores.")]

_STDIN = Path("-")
_PAGE = 200
"""The most that the service lists at once."""


def add_commands(app: typer.Typer) -> None:
    """Make them commands of an application."""
    app.add_typer(score, name="score")


@score.callback()
def one(  # noqa: PLR0913 - typer reads the options from here
    context: typer.Context,
    *,
    question: Annotated[
        str | None,
        typer.Option(
            help="The question. @FILE reads it, as other texts, from a file, without its last line break."
        ),
    ] = None,
    answer: Annotated[str | None, typer.Option(help="What was answered. @FILE reads a file.")] = None,
    contexts: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="What was retrieved: a JSON list, or texts with blank lines between."
        ),
    ] = None,
    ground_truth: Annotated[
        str | None, typer.Option(help="What should have been answered. @FILE reads a file.")
    ] = None,
    reference_contexts: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="What should have been retrieved, in a file of the same form."),
    ] = None,
    context_id: Annotated[
        list[str] | None,
        typer.Option(metavar="ID", help="Of a retrieved context, in their order; repeatable."),
    ] = None,
    reference_context_id: Annotated[
        list[str] | None, typer.Option(metavar="ID", help="Of one that should have been; repeatable.")
    ] = None,
    metrics: Metrics = None,
    judge: Judge = None,
    embedder: Embedder = None,
    engine: EngineOption = None,
    weights: Weights = None,
    repeats: Repeats = None,
    timeout: TimeoutSeconds = None,
    advise: Advise = True,
    store_inputs: StoreInputs = True,
    allow_empty: AllowEmpty = False,
    label: Labels = None,
    key: Key = None,
    validate: Annotated[bool, typer.Option("--validate", help="Tell what would be scored only.")] = False,
    no_wait: NoWait = False,
    as_json: AsJson = False,
) -> None:
    """Score one sample: `budeval score --question … --answer … --contexts FILE --metrics …`."""
    if context.invoked_subcommand:
        _refuse_options(context, context.invoked_subcommand)
        return
    _refuse_two_readers(
        {
            "--question": _file_of(question),
            "--answer": _file_of(answer),
            "--contexts": contexts,
            "--ground-truth": _file_of(ground_truth),
            "--reference-contexts": reference_contexts,
        }
    )
    sample = {
        "question": _text(question, "question"),
        "answer": _text(answer, "answer"),
        "contexts": _written(contexts, "contexts") if contexts else None,
        "ground_truth": _text(ground_truth, "ground-truth"),
        "reference_contexts": _contexts(reference_contexts, "reference-contexts"),
        "context_ids": context_id,
        "reference_context_ids": reference_context_id,
    }
    options = _options(
        metrics,
        weights,
        label,
        judge_model=judge,
        embedding_model=embedder,
        engine=engine.value if engine else None,
        repeats=repeats,
        timeout_s=timeout,
        advise=advise,
        store_inputs=store_inputs,
        allow_empty=allow_empty,
    )
    request = {**{name: value for name, value in sample.items() if value not in (None, [])}, **options}
    client = client_of(context)
    if validate:
        show(client.validate_score(request), print_validation, as_json=as_json)
        return
    _follow(client, client.score(request, key), wait=not no_wait, as_json=as_json)


@score.command()
def run(  # noqa: PLR0913 - typer reads the options from here
    context: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="JSON Lines: a sample on each line.")],
    *,
    metrics: Metrics = None,
    judge: Judge = None,
    embedder: Embedder = None,
    engine: EngineOption = None,
    weights: Weights = None,
    repeats: Repeats = None,
    timeout: TimeoutSeconds = None,
    advise: Advise = True,
    store_inputs: StoreInputs = True,
    allow_empty: AllowEmpty = False,
    label: Labels = None,
    key: Key = None,
    no_wait: NoWait = False,
    as_json: AsJson = False,
) -> None:
    """Score the samples of FILE as one run, with means and intervals."""
    options = _options(
        metrics,
        weights,
        label,
        judge_model=judge,
        embedding_model=embedder,
        engine=engine.value if engine else None,
        repeats=repeats,
        timeout_s=timeout,
        advise=advise,
        store_inputs=store_inputs,
        allow_empty=allow_empty,
    )
    client = client_of(context)
    _follow(client, client.score_many(_read(file, "FILE"), options, key), wait=not no_wait, as_json=as_json)


@score.command()
def status(context: typer.Context, job_id: JobId, *, as_json: AsJson = False) -> None:
    """How far a job is; its scores once they are there."""
    show(client_of(context).score_state(job_id), print_state, as_json=as_json)


@score.command()
def watch(context: typer.Context, job_id: JobId, *, as_json: AsJson = False) -> None:
    """Watch a job until its scores are there. The exit code tells whether there are any."""
    client = client_of(context)
    _follow(client, client.score_state(job_id), wait=True, as_json=as_json)


@score.command(name="list")
def list_(
    context: typer.Context,
    *,
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 20,
    status: Annotated[JobStatus | None, typer.Option("--status", help="Only those.")] = None,
    as_json: AsJson = False,
) -> None:
    """The newest jobs."""
    found = _newest(client_of(context), limit, status.value if status else None)
    show(found, print_page, as_json=as_json)


@score.command()
def metrics(context: typer.Context, *, as_json: AsJson = False) -> None:
    """The metrics there are, what each needs, and who judges and embeds."""
    show(client_of(context).score_metrics(), print_metrics, as_json=as_json)


@score.command()
def cancel(context: typer.Context, job_id: JobId, *, as_json: AsJson = False) -> None:
    """End a job; what is scored by then stays known. Of a retry only the retry ends."""
    show(client_of(context).cancel_score(job_id), print_state, as_json=as_json)


@score.command()
def retry(context: typer.Context, job_id: JobId, *, no_wait: NoWait = False, as_json: AsJson = False) -> None:
    """Score once more what has failed."""
    client = client_of(context)
    _follow(client, client.retry_score(job_id), wait=not no_wait, as_json=as_json)


@score.command()
def delete(context: typer.Context, job_id: JobId) -> None:
    """Delete a job that has ended, with its run."""
    client_of(context).delete_score(job_id)
    output.print_line(f"{job_id} is deleted")


def _newest(client: BudevalClient, limit: int, status: str | None) -> ScorePage:
    """As many jobs as wanted, where there are so many: a page may have fewer though more follow."""
    found: list[ScoreState] = []
    cursor = None
    while True:
        page = client.scores(cursor, min(limit - len(found), _PAGE), status)
        found += page.scores
        cursor = page.cursor
        if cursor is None or len(found) >= limit:
            return ScorePage(scores=found, cursor=cursor)


def _refuse_options(context: typer.Context, subcommand: str) -> None:
    """Those of a single sample: a subcommand has its own, and does not see what stands before it."""
    given = [
        (option.secondary_opts if context.params[str(option.name)] is False else option.opts)[0]
        for option in context.command.params
        if (source := context.get_parameter_source(str(option.name))) and source.name == "COMMANDLINE"
    ]
    if given:
        text = f"`{subcommand}` does not see options before it. Put them after it: {', '.join(given)}"
        raise RequestError(text)


def _refuse_two_readers(files: dict[str, Path | None]) -> None:
    """Of the standard input: the second would find nothing there, and its metrics would be skipped."""
    readers = [option for option, file in files.items() if file == _STDIN]
    if len(readers) > 1:
        raise RequestError(f"Only one can read the standard input, not {' and '.join(readers)}.")


def _follow(client: BudevalClient, started: ScoreState, *, wait: bool, as_json: bool) -> None:
    """Show a job to its end; the exit code says whether it has the scores that were asked for."""
    state = started
    if wait:
        try:
            with _bar(started) as advance:
                for state in client.watch_score(started.job_id, on_trouble=output.print_trouble):
                    advance(state)
        except KeyboardInterrupt as error:
            goes_on = f"The job goes on; `budeval score watch {started.job_id}` shows it again."
            output.print_note(f"Stopped watching only. {goes_on}")
            raise typer.Exit(INTERRUPTED) from error
    show(state, print_state, as_json=as_json)
    # Of a retry that came to nothing the job has the scores of before, and the error of the retry.
    exit_unless(state.outcome not in {JobOutcome.FAILED, JobOutcome.CANCELLED} and not state.error)


@contextmanager
def _bar(started: ScoreState) -> Iterator[Any]:
    """Drawn beside the output, and only for people."""
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn  # noqa: PLC0415

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TimeElapsedColumn())
    people = sys.stderr.isatty()
    with Progress(*columns, console=output.console(sys.stderr), disable=not people) as progress:
        task = progress.add_task("queued", total=measurable(started))

        def advance(state: ScoreState) -> None:
            # What comes after the scoring is no step back.
            progress.update(task, description=how_far(state), completed=state.measured)

        yield advance


def _options(
    metrics: str | None, weights: str | None, labels: list[str] | None, **more: Any
) -> dict[str, Any]:
    """Of a request, without what was left out."""
    if not metrics:
        raise RequestError("Name the metrics: --metrics faithfulness,answer_relevancy", param="metrics")
    names = [name.strip() for name in metrics.split(",") if name.strip()]
    given = {"metrics": names, "weights": _weights(weights), "labels": _labels(labels), **more}
    return {name: value for name, value in given.items() if value is not None}


def _weights(text: str | None) -> dict[str, float] | None:
    if not text:
        return None
    wrong = "Weights are like faithfulness=2,answer_relevancy=1, each metric once."
    try:
        pairs = [item.split("=") for item in text.split(",")]
        weights = {name.strip(): float(weight) for name, weight in pairs}
    except ValueError as error:
        raise RequestError(wrong, param="weights") from error
    if len(weights) < len(pairs):
        raise RequestError(wrong, param="weights")
    return weights


def _labels(given: list[str] | None) -> dict[str, str] | None:
    pairs = [item.partition("=") for item in given or []]
    labels = {key: value for key, _, value in pairs}
    if len(labels) < len(pairs) or not all(key and equals for key, equals, _ in pairs):
        raise RequestError("Labels are like team=search, each key once.", param="label")
    return labels or None


def _contexts(file: Path | None, param: str) -> list[str] | None:
    return parse_contexts(_written(file, param)) if file else None


def _text(given: str | None, param: str) -> str | None:
    """A text, or what is in the file behind an `@`."""
    file = _file_of(given)
    return _written(file, param) if file else given


def _file_of(given: str | None) -> Path | None:
    """Behind an `@`; None for a text."""
    return Path(given[1:]) if given and given.startswith("@") else None


def _written(file: Path, param: str) -> str:
    """What somebody has written there: editors and `echo` end the last line, which is no part of a text."""
    return _read(file, param).removesuffix("\n")


def _read(file: Path, param: str) -> str:
    try:
        # Editors of Windows put a byte order mark before the text.
        text = sys.stdin.read() if file == _STDIN else file.read_text(encoding="utf-8")
        return text.removeprefix(BYTE_ORDER_MARK)
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "is not UTF-8"
        raise RequestError(f"{file} cannot be read: {reason}.", param=param) from error
