"""Commands that end evaluations, repeat and delete them."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from budeval import cli_output as output
from budeval.cli_base import EvalId, Watch, client_of, watch_to_the_end
from budeval.cli_request import DEFAULT_KEY_VARIABLE, api_key_of, secret_ref_of, text_of

Attempt = Annotated[
    int | None,
    typer.Option(min=1, help="Only if it is at this attempt: for scripts that may come late, or twice."),
]


def add_commands(app: typer.Typer) -> None:
    """Make them commands of an application."""
    for command in (cancel, retry, delete):
        app.command()(command)


def cancel(
    context: typer.Context,
    eval_id: EvalId,
    *,
    extract: Annotated[bool, typer.Option("--extract", help="Read the scores that are there.")] = False,
    attempt: Attempt = None,
    watch: Watch = False,
) -> None:
    """End an evaluation before its time: its pods are freed at once. May be repeated."""
    state = client_of(context).cancel(eval_id, extract=extract, attempt=attempt)
    done = "It is cancelled." if state.ended else "It is being cancelled; `status` tells when it is."
    output.print_note(done)
    if watch:
        watch_to_the_end(context, eval_id)


def retry(
    context: typer.Context,
    eval_id: EvalId,
    api_key_env: Annotated[
        str,
        typer.Option(
            metavar="NAME", help="Environment variable with the API key, if no --secret-ref is given."
        ),
    ] = DEFAULT_KEY_VARIABLE,
    kubeconfig: Annotated[
        Path | None, typer.Option(help="File with the kubeconfig, if the evaluation brought its own.")
    ] = None,
    *,
    secret_ref: Annotated[
        str | None,
        typer.Option(
            metavar="NAME[=KEY]",
            help="Secret with the API key in the service's secret store; KEY where it has several.",
        ),
    ] = None,
    attempt: Attempt = None,
    watch: Watch = False,
) -> None:
    """Repeat the runs of an evaluation that have no whole result; each goes on with what it had."""
    brought = text_of(kubeconfig, "--kubeconfig") if kubeconfig else None
    api_key = api_key_of(api_key_env) if secret_ref is None else None
    reference = None if secret_ref is None else secret_ref_of(secret_ref)
    state = client_of(context).retry(eval_id, api_key, brought, secret_ref=reference, attempt=attempt)
    pending = sum(run.get("state") == "pending" for run in state.runs.values())
    output.print_note(f"Attempt {state.attempt} has begun with {pending} of {len(state.runs)} runs.")
    if watch:
        watch_to_the_end(context, eval_id)


def delete(
    context: typer.Context,
    eval_id: EvalId,
    kubeconfig: Annotated[
        Path | None, typer.Option(help="File with the kubeconfig, if the evaluation brought its own.")
    ] = None,
    *,
    keep_files: Annotated[
        bool, typer.Option("--keep-files", help="Leave the cluster alone, which may be gone.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Don't ask.")] = False,
) -> None:
    """Delete an evaluation that has ended: its results, events, history and files. For good."""
    brought = text_of(kubeconfig, "--kubeconfig") if kubeconfig else None
    if not yes:
        typer.confirm(f"Delete evaluation {eval_id} for good?", abort=True, err=True)
    with output.console(sys.stderr).status("Deleting: a Job removes its files"):
        done = client_of(context).delete(eval_id, brought, keep_files=keep_files)
    kept = done.files_removed is None
    files = "Its files were kept." if kept else f"{done.files_removed} files went with it."
    output.print_note(f"Evaluation {eval_id} is deleted. {files}")
