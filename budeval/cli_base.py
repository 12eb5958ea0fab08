"""What the commands of `budeval` share: their client, their exit codes, the arguments that many have."""

from collections.abc import Callable
from typing import Annotated, TypeVar

import typer
from pydantic import BaseModel

from budeval import cli_output as output
from budeval.client import BudevalClient

WRONG, INTERRUPTED = 1, 130
"""Exit codes; the help of `budeval` explains all."""

EvalId = Annotated[str, typer.Argument(metavar="EVAL_ID", help="Id of the evaluation.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Watch = Annotated[bool, typer.Option("--watch", help="Watch it until it has ended.")]

_Answer = TypeVar("_Answer", bound=BaseModel)


def client_of(context: typer.Context) -> BudevalClient:
    """The client that `connect` has made."""
    client: BudevalClient = context.obj
    return client


def show(answer: _Answer, for_people: Callable[[_Answer], None], *, as_json: bool) -> None:
    """Print an answer of the service, whole as JSON or as people read it."""
    if as_json:
        typer.echo(answer.model_dump_json(indent=2))
    else:
        for_people(answer)


def watch_to_the_end(context: typer.Context, eval_id: str) -> None:
    """Show an evaluation until it has ended; the exit code says how."""
    from budeval.cli_watch import watch  # noqa: PLC0415 - rich's bars only where they are drawn

    try:
        done = watch(client_of(context), eval_id)
    except KeyboardInterrupt as error:
        goes_on = f"The evaluation goes on; `budeval watch {eval_id}` shows it again."
        output.print_note(f"Stopped watching only. {goes_on}")
        raise typer.Exit(INTERRUPTED) from error
    exit_unless(done)


def exit_unless(ok: bool) -> None:  # noqa: FBT001 - reads as a sentence
    """End with WRONG where something is not as it should be."""
    if not ok:
        raise typer.Exit(WRONG)
