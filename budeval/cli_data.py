"""Commands for datasets on the cluster's claim, which requests name as `source.path`."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from budeval import cli_output as output
from budeval.cli_base import INTERRUPTED, AsJson, client_of, show
from budeval.client import BudevalClient
from budeval.client_data import LocalFile, OnProgress, measured, push_file
from budeval.domain.datasets import PushState
from budeval.errors import BudevalError
from budeval.evals.answers import ClaimFiles, PushedPart

_MIB = 1024 * 1024

Cluster = Annotated[str | None, typer.Option(help="Configured cluster; the service's default if left out.")]
Namespace = Annotated[str | None, typer.Option(help="Namespace whose claim it is.")]
Claim = Annotated[str | None, typer.Option(help="PersistentVolumeClaim; the service's default if left out.")]

data = typer.Typer(
    help="Put datasets on the cluster's claim, and list them. A request names them as `source.path`.",
    no_args_is_help=True,
)


def add_commands(app: typer.Typer) -> None:
    """Make them commands of an application."""
    app.add_typer(data, name="data")


@data.command()
def push(  # noqa: PLR0913 - typer reads the options from here
    context: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="JSON Lines or CSV.")],
    *,
    name: Annotated[
        str | None, typer.Option(metavar="PATH", help="Its path on the claim; by default the file's name.")
    ] = None,
    cluster: Cluster = None,
    namespace: Namespace = None,
    claim: Claim = None,
    replace: Annotated[bool, typer.Option("--replace", help="Take the place of another file.")] = False,
    as_json: AsJson = False,
) -> None:
    """Copy FILE to the claim. The same again does nothing; after an interruption it goes on."""
    local, path = measured(file), name or file.name
    where = {"cluster": cluster, "namespace": namespace, "claim": claim}
    named = {key: value for key, value in where.items() if value}
    done = _push(client_of(context), local, path, replace=replace, **named)
    show(done, _print_pushed, as_json=as_json)


@data.command(name="list")
def list_(
    context: typer.Context,
    *,
    cluster: Cluster = None,
    namespace: Namespace = None,
    claim: Claim = None,
    as_json: AsJson = False,
) -> None:
    """The files on the claim, with size and SHA-256. Takes some seconds: a Job looks."""
    with output.console(sys.stderr).status("Listing: a Job looks"):
        found = client_of(context).claim_files(cluster, namespace, claim)
    show(found, _print_files, as_json=as_json)


def _push(client: BudevalClient, local: LocalFile, path: str, *, replace: bool, **where: str) -> PushedPart:
    """Push with a bar, and say how to go on where it is cut off."""
    received = 0

    def remember(now: int) -> None:
        nonlocal received
        received = now
        advance(now)

    try:
        with _bar(path, local.bytes) as advance:
            return push_file(client, local, path, remember, replace=replace, **where)
    except KeyboardInterrupt as error:
        output.print_note(f"Interrupted. {_how_to_go_on(received, local)}")
        raise typer.Exit(INTERRUPTED) from error
    except BudevalError:
        if received:
            output.print_note(_how_to_go_on(received, local))
        raise


def _how_to_go_on(received: int, local: LocalFile) -> str:
    there = f"At least {_size(received)} of {_size(local.bytes)} are on the claim"
    return f"{there}; the same command again goes on from there."


@contextmanager
def _bar(path: str, size: int) -> Iterator[OnProgress]:
    """Drawn beside the output, and only for people."""
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn  # noqa: PLC0415

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(binary_units=True),
        TimeRemainingColumn(),
    )
    to_people = sys.stderr.isatty()
    with Progress(*columns, console=output.console(sys.stderr), disable=not to_people) as progress:
        task = progress.add_task(output.one_line(path), total=size)
        yield lambda received: progress.update(task, completed=received)


def _print_pushed(done: PushedPart) -> None:
    what = "was there already" if done.state is PushState.UNCHANGED else "is on the claim"
    output.print_line(f"{done.path} {what}: {_size(done.bytes)}, sha256 {done.sha256}")
    output.print_note(f'A request names it as "source": {{"path": "{done.path}", …}}.')


def _print_files(found: ClaimFiles) -> None:
    rows = [
        (file.path, file.bytes, file.modified.strftime("%Y-%m-%d %H:%M:%SZ"), file.sha256 or "not read")
        for file in found.files
    ]
    output.print_table(("path", "bytes", "modified", "sha256"), rows)
    if found.truncated:
        output.print_note(f"There are more than these {len(rows)}.")


def _size(size: int) -> str:
    return f"{size / _MIB:.1f} MiB" if size >= _MIB else f"{size} bytes"
