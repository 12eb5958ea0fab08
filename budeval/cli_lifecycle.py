"""Commands that end evaluations, and tell what is left of them."""

from typing import Annotated

import typer

from budeval import cli_output as output
from budeval.cli_base import AsJson, EvalId, client_of, exit_unless, watch_to_the_end


def add_commands(app: typer.Typer) -> None:
    """Make them commands of an application."""
    for command in (cancel, receipt):
        app.command()(command)


def cancel(
    context: typer.Context,
    eval_id: EvalId,
    *,
    extract: Annotated[bool, typer.Option("--extract", help="Read the scores that are there.")] = False,
    watch: Annotated[bool, typer.Option("--watch", help="Watch it until it has ended.")] = False,
) -> None:
    """End an evaluation before its time: its pods are freed at once. May be repeated."""
    state = client_of(context).cancel(eval_id, extract=extract)
    done = "It is cancelled." if state.ended else "It is being cancelled; `status` tells when it is."
    output.print_note(done)
    if watch:
        watch_to_the_end(context, eval_id)


def receipt(context: typer.Context, eval_id: EvalId, *, as_json: AsJson = False) -> None:
    """What was made on the cluster and became of it; exits 1 if something of an ended evaluation is left."""
    found = client_of(context).receipt(eval_id)
    if as_json:
        typer.echo(found.model_dump_json(indent=2))
    else:
        output.print_receipt(found)
    exit_unless(found.clean or not found.ended)
