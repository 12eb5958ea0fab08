"""The command `budeval`: evaluate models with a running budeval service."""

import os
import sys
from collections.abc import Callable, Iterator
from enum import StrEnum
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from budeval import cli_data, cli_lifecycle, cli_receipts, cli_score, cli_secrets
from budeval import cli_output as output
from budeval.cli_base import (
    INTERRUPTED,
    AsJson,
    EvalId,
    Watch,
    client_of,
    exit_unless,
    show,
    watch_to_the_end,
)
from budeval.cli_compare import gate, print_comparison
from budeval.cli_request import DEFAULT_KEY_VARIABLE, Flags, request_document
from budeval.client import ApiError, BudevalClient, ServiceUnreachableError, succeeded
from budeval.domain.evaluation import Evaluator
from budeval.domain.notification import ENDED, WorkflowStatus
from budeval.errors import BudevalError, RequestError
from budeval.evals.answers import EvaluationSummary
from budeval.evals.results_table import results_csv

_HELP = """Evaluate models with a running budeval service.

Exit codes:

0: all is well; the evaluation is COMPLETED, or still runs.

1: the evaluation has failed, in whole or in part; a check has failed; something is left; with
`compare --fail-if-worse`, worse.

2: wrong usage, or a request that the service refuses.

3: the service is not reached, or cannot serve.

4: `compare --fail-if-worse` could not compare every dataset.

130: interrupted.

Where the service asks for a token, it is taken from BUDEVAL_TOKEN."""

_SERVER_FAULT = 500
_TIMES = "ISO 8601, as 2026-11-23 or 2026-11-23T10:00:00Z."
_PAGE = 200
_REFUSED, _UNREACHED = 2, 3

Connect = Callable[[str], BudevalClient]
"""URL -> a client."""


class _Group(TyperGroup):
    """Failures that have a name end a command with one line and their exit code."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except BudevalError as error:
            output.print_error(error)
            raise typer.Exit(_exit_code(error)) from error
        except KeyboardInterrupt as error:
            output.print_note("Interrupted.")
            raise typer.Exit(INTERRUPTED) from error


def _exit_code(error: BudevalError) -> int:
    faulty = isinstance(error, ApiError) and error.status >= _SERVER_FAULT
    return _UNREACHED if faulty or isinstance(error, ServiceUnreachableError) else _REFUSED


app = typer.Typer(
    cls=_Group, help=_HELP, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False
)


class Format(StrEnum):
    """How results are written."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"


File = Annotated[
    str | None, typer.Argument(metavar="[FILE]", help="Request in JSON or YAML; - reads it from stdin.")
]
ModelName = Annotated[
    str | None, typer.Option("--model", help="Name of the model, as its endpoint calls it.")
]
Endpoint = Annotated[
    str | None, typer.Option(help="Base URL of its OpenAI-compatible API, as the cluster reaches it.")
]
KeyVariable = Annotated[
    str, typer.Option(metavar="NAME", help="Environment variable with the API key, if the file has none.")
]
Datasets = Annotated[
    list[str] | None,
    typer.Option(
        "--dataset", metavar="NAME[=FILE]", help="Stock dataset, or NAME=FILE.jsonl|csv; repeatable."
    ),
]
Prompt = Annotated[
    str | None, typer.Option(help="Of datasets from files: {column} stands for a row's value.")
]
Answer = Annotated[str | None, typer.Option(help="Of datasets from files: column of the reference answer.")]
Compare = Annotated[
    Evaluator | None, typer.Option("--evaluator", help="Of datasets from files: how replies are compared.")
]
Limit = Annotated[int | None, typer.Option(min=1, help="Only the first rows of each dataset.")]
ClusterName = Annotated[str | None, typer.Option(help="Configured cluster to run on.")]
Namespace = Annotated[str | None, typer.Option(help="Namespace to run in.")]
Temperature = Annotated[float | None, typer.Option(help="Of the model.")]
EngineName = Annotated[
    str | None,
    typer.Option("--engine", help="What runs the evaluation: see `engines`. By default opencompass."),
]
OwnId = Annotated[str | None, typer.Option(help="UUID of the evaluation; random if left out.")]


@app.callback()
def connect(
    context: typer.Context,
    url: Annotated[
        str, typer.Option(envvar="BUDEVAL_URL", help="Where the service is.")
    ] = "http://127.0.0.1:13080",
) -> None:
    """Make the client that the command uses; `context.obj` is a `Connect` where a test gives one."""
    make: Connect = context.obj or _client
    context.obj = context.with_resource(make(url))


def _client(url: str) -> BudevalClient:
    return BudevalClient(url, token=os.environ.get("BUDEVAL_TOKEN", "").strip() or None)


@app.command()
def submit(  # noqa: PLR0913, PLR0917 - one for each flag
    context: typer.Context,
    file: File = None,
    model: ModelName = None,
    endpoint: Endpoint = None,
    api_key_env: KeyVariable = DEFAULT_KEY_VARIABLE,
    dataset: Datasets = None,
    prompt: Prompt = None,
    answer: Answer = None,
    evaluator: Compare = None,
    limit: Limit = None,
    cluster: ClusterName = None,
    namespace: Namespace = None,
    temperature: Temperature = None,
    engine: EngineName = None,
    eval_id: OwnId = None,
    *,
    watch: Watch = False,
) -> None:
    """Start an evaluation from a request file or from flags; flags win. Prints its id."""
    flags = Flags(
        model, endpoint, api_key_env, tuple(dataset or ()), prompt, answer, evaluator, limit, cluster,
        namespace, temperature, engine, eval_id,
    )  # fmt: skip
    document = request_document(file, flags)
    try:
        client_of(context).start(document)
    except ServiceUnreachableError:
        again = f"The same again with --eval-id {document['eval_id']} starts it only once."
        output.print_note(f"Whether the evaluation was started is not known. {again}")
        raise
    typer.echo(document["eval_id"])
    if watch:
        watch_to_the_end(context, document["eval_id"])


@app.command()
def validate(  # noqa: PLR0913, PLR0917 - one for each flag
    context: typer.Context,
    file: File = None,
    model: ModelName = None,
    endpoint: Endpoint = None,
    api_key_env: KeyVariable = DEFAULT_KEY_VARIABLE,
    dataset: Datasets = None,
    prompt: Prompt = None,
    answer: Answer = None,
    evaluator: Compare = None,
    limit: Limit = None,
    cluster: ClusterName = None,
    namespace: Namespace = None,
    temperature: Temperature = None,
    engine: EngineName = None,
    eval_id: OwnId = None,
) -> None:
    """Check what `submit` would start: request, cluster, endpoint. Starts nothing; exits 1 if not ok."""
    flags = Flags(
        model, endpoint, api_key_env, tuple(dataset or ()), prompt, answer, evaluator, limit, cluster,
        namespace, temperature, engine, eval_id,
    )  # fmt: skip
    report = client_of(context).validate(request_document(file, flags))
    output.print_checks(report.checks)
    exit_unless(report.ok)


@app.command()
def watch(context: typer.Context, eval_id: EvalId) -> None:
    """Show an evaluation as it goes on, and its scores when it has ended."""
    watch_to_the_end(context, eval_id)


@app.command()
def status(context: typer.Context, eval_id: EvalId, *, as_json: AsJson = False) -> None:
    """How far an evaluation is; exits 1 if it has ended without all its scores."""
    state = client_of(context).state(eval_id)
    show(state, output.print_state, as_json=as_json)
    exit_unless(succeeded(state.outcome) or (state.outcome is None and state.status not in ENDED))


@app.command()
def results(
    context: typer.Context,
    eval_id: EvalId,
    form: Annotated[Format, typer.Option("--format", help="How they are written.")] = Format.TABLE,
    file: Annotated[Path | None, typer.Option("--output", help="Write them to a file.")] = None,
) -> None:
    """The scores of every run; exits 1 if one of them has failed."""
    found = client_of(context).results(eval_id)
    texts: dict[Format, Callable[[], str]] = {
        Format.TABLE: lambda: output.results_table(found),
        Format.JSON: lambda: found.model_dump_json(indent=2) + "\n",
        Format.CSV: lambda: results_csv(found),
    }
    if file:
        _write(file, texts[form]())
    elif form is Format.TABLE:
        output.print_results(found)
    else:
        sys.stdout.write(texts[form]())
    exit_unless(succeeded(found.outcome))


@app.command()
def compare(
    context: typer.Context,
    base: Annotated[str, typer.Argument(help="Evaluation that is the measure.")],
    candidate: Annotated[str, typer.Argument(help="Evaluation that is judged.")],
    alpha: Annotated[float, typer.Option(help="Probability of a false alarm, over all datasets.")] = 0.05,
    *,
    fail_if_worse: Annotated[
        bool,
        typer.Option("--fail-if-worse", help="Exit 1 if a dataset is worse, 4 if one can't be compared."),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the whole report as JSON.")] = False,
) -> None:
    """Whether CANDIDATE is better or worse than BASE by more than chance, dataset by dataset."""
    report = client_of(context).compare(base, candidate, alpha)
    show(report, print_comparison, as_json=as_json)
    if fail_if_worse:
        raise typer.Exit(gate(report))


@app.command()
def events(
    context: typer.Context,
    eval_id: EvalId,
    after: Annotated[int, typer.Option(min=0, help="Only those after this number.")] = 0,
    *,
    follow: Annotated[bool, typer.Option("--follow", help="Go on until the evaluation has ended.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print each as a line of JSON.")] = False,
) -> None:
    """What was announced on the notification topic."""
    client = client_of(context)
    followed = client.follow(eval_id, after, output.print_trouble)
    for event in followed if follow else client.events(eval_id, after).events:
        if as_json:
            typer.echo(event.model_dump_json())
        else:
            output.print_event(event)


@app.command(name="list")
def list_(
    context: typer.Context,
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 20,
    status: Annotated[WorkflowStatus | None, typer.Option(help="Only those.")] = None,
    since: Annotated[str | None, typer.Option(metavar="TIME", help=f"Taken in since then; {_TIMES}")] = None,
    until: Annotated[str | None, typer.Option(metavar="TIME", help="Taken in before then.")] = None,
    *,
    as_json: AsJson = False,
) -> None:
    """The evaluations, newest first."""
    wanted = {"status": status.value if status else None, "since": since, "until": until}
    lines = list(islice(_summaries(client_of(context), limit, wanted), limit))
    if as_json:
        typer.echo(f"[{','.join(line.model_dump_json() for line in lines)}]")
    else:
        output.print_summaries(lines)


@app.command()
def logs(
    context: typer.Context,
    eval_id: EvalId,
    run_id: Annotated[str, typer.Argument(metavar="RUN_ID", help="Id of the run; `status` tells it.")],
) -> None:
    """The end of a run's log, also after its pod is gone. Control characters are left out."""
    typer.echo(output.clean(client_of(context).log(eval_id, run_id).log).rstrip("\n"))


@app.command()
def engines(context: typer.Context) -> None:
    """The engines of the service."""
    rows = [
        (engine.name, engine.image, engine.stock_datasets, ", ".join(engine.evaluators))
        for engine in client_of(context).engines()
    ]
    output.print_table(("engine", "image", "stock datasets", "evaluators"), rows)


@app.command()
def datasets(
    context: typer.Context,
    engine: Annotated[str, typer.Option(help="Which engine's.")] = "opencompass",
    contains: Annotated[str, typer.Option(metavar="TEXT", help="Only names that contain it.")] = "",
) -> None:
    """The stock datasets of an engine, a name a line. Their data must be on the cluster's claim."""
    for name in client_of(context).datasets(engine, contains).datasets:
        typer.echo(output.one_line(name))


@app.command()
def doctor(context: typer.Context, cluster: ClusterName = None, namespace: Namespace = None) -> None:
    """Look whether evaluations can run, part by part, with what to do; exits 1 if something is wrong."""
    from budeval.cli_doctor import examine  # noqa: PLC0415 - only here

    checks = list(examine(client_of(context), cluster, namespace))
    output.print_checks(checks)
    exit_unless(all(check.ok for check in checks))


cli_lifecycle.add_commands(app)
cli_receipts.add_commands(app)
cli_data.add_commands(app)
cli_score.add_commands(app)
cli_secrets.add_commands(app)


def main() -> None:
    """The console script."""
    app(prog_name="budeval")


def _summaries(
    client: BudevalClient, limit: int, wanted: dict[str, str | None]
) -> Iterator[EvaluationSummary]:
    cursor = None
    while True:
        page = client.evaluations(cursor, min(limit, _PAGE), **wanted)
        yield from page.evaluations
        cursor = page.cursor
        if cursor is None:
            return


def _write(file: Path, text: str) -> None:
    try:
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise RequestError(f"{file} cannot be written: {error.strerror}.", param="--output") from error
    output.print_note(f"written to {file}")
