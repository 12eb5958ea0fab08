"""`python -m dev`: start, look at and stop the development stack. `make up` and its like call this."""

import json
import os
import sys
import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from dev import cache, console, demo, images
from dev import stack as stacks
from dev.chaos import run as chaos
from dev.cluster import objects
from dev.errors import DevError
from dev.layout import STACKS, StackLayout
from dev.stack import Plan, Row

app = typer.Typer(help=__doc__, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)

StackOption = Annotated[
    str, typer.Option("--stack", envvar="STACK", help="Another stack of this checkout, by a suffix of yours.")
]

KubeconfigOption = Annotated[
    str, typer.Option(envvar="KUBECONFIG", help="Use this existing cluster instead of one of our own.")
]


@app.command()
def up(
    stack: StackOption = "",
    clusters: Annotated[
        int, typer.Option(envvar="CLUSTERS", help="How many Kubernetes clusters (1 or 2).")
    ] = 1,
    kubeconfig: KubeconfigOption = "",
) -> None:
    """Build what is missing, start what is not healthy, leave alone what is."""
    started = stacks.up(StackLayout.of_checkout(stack), clusters, kubeconfig or None)
    console.say(f"stack {started.layout.name} is up; the service answers at {started.service_url}")


@app.command()
def down(
    stack: StackOption = "",
    name: Annotated[str, typer.Option(help="A stack by its full name, as `list` shows it.")] = "",
) -> None:
    """End every process of the stack and remove all it made, its data included."""
    layout = StackLayout.named(name) if name else StackLayout.of_checkout(stack)
    stacks.down(layout)
    console.say(f"stack {layout.name} is down")


@app.command()
def restart(
    part: Annotated[
        str, typer.Argument(help="One part; `apps` is the service, the subscriber and their sidecars.")
    ],
    stack: StackOption = "",
) -> None:
    """Stop and start one part."""
    stacks.open_stack(StackLayout.of_checkout(stack)).restart(part)


@app.command("demo")
def show_demo(stack: StackOption = "", kubeconfig: KubeconfigOption = "") -> None:
    """Start the stack where it is not up, and watch an evaluation of the local model."""
    demo.run(stacks.up(StackLayout.of_checkout(stack), clusters=1, kubeconfig=kubeconfig or None))


@app.command("chaos")
def break_and_watch(
    seed: Annotated[int, typer.Option(envvar="SEED", help="Draws evaluations, faults and their times.")] = 1,
    evaluations: Annotated[int, typer.Option(envvar="EVALUATIONS", min=1, help="How many.")] = 200,
    faults: Annotated[
        int, typer.Option(envvar="FAULTS", min=0, help="How many; of each kind as often.")
    ] = 100,
    report: Annotated[Path | None, typer.Option(envvar="REPORT", help="Write what was seen here.")] = None,
    *,
    keep: Annotated[bool, typer.Option(help="Leave the stack as it is where something is found.")] = False,
) -> None:
    """Evaluate on a stack of its own while everything breaks.

    Exits 1 if anything is lost or doubled, if more than a tenth of the faults found nothing to break, or
    if no cancellation was accepted of five or more.
    """
    done = chaos.run(seed, evaluations, faults, keep=keep)
    if report:
        chaos.write(done, report)
    print(json.dumps(done.summary(), indent=1))
    if done.missed:
        console.say(f"{done.missed} of {len(done.plan.faults)} faults found nothing to break")
    for what in done.untried:
        print(f"untried: {what}")
    print(done.verdict.line())
    if not done.good:
        raise typer.Exit(1)


@app.command()
def status(stack: StackOption = "") -> None:
    """Show each part: version, pid, address, memory, healthy or why not. Exits 1 unless all are healthy."""
    opened = stacks.open_stack(StackLayout.of_checkout(stack))
    rows = opened.status()
    wide = Console(width=None if sys.stdout.isatty() else 200)
    wide.print(_table(opened.layout.name, rows))
    if any(row.problem for row in rows):
        raise typer.Exit(1)


def _table(name: str, rows: list[Row]) -> Table:
    table = Table(title=f"stack {name}", title_justify="left")
    for heading in ("part", "version", "pid", "address", "memory", "health"):
        table.add_column(heading, overflow="fold")
    for row in rows:
        memory = f"{row.memory_bytes / 1e6:.0f} MB" if row.memory_bytes else "-"
        health = f"[red]{escape(row.problem)}" if row.problem else "[green]healthy"
        table.add_row(row.name, row.version, str(row.pid or "-"), row.address, memory, health)
    return table


@app.command("list")
def list_stacks() -> None:
    """Show the stacks of this machine, those of other checkouts too."""
    for directory in sorted(STACKS.glob("bud-*")):
        plan = Plan.read(StackLayout(directory.name))
        print(f"{directory.name}  {plan.checkout if plan else 'unfinished'}")


@app.command()
def build() -> None:
    """Build everything that the cache lacks, and start nothing."""
    stacks.build(with_cluster=True)


@app.command("images")
def show_images() -> None:
    """Build the images and print their archives, to be loaded into a cluster that is not ours."""
    for image in [*images.for_clusters(), images.budeval()]:
        print(f"{image.tag}  {image.archive()}")


@app.command("manifests")
def show_manifests(
    access_mode: Annotated[
        str, typer.Option(help="Of the claims; a single node may have no ReadWriteMany storage.")
    ] = "ReadWriteMany",
) -> None:
    """Print what a cluster that is not ours needs: the service's identity, namespaces, claims."""
    print(objects.portable_manifests(access_mode))


@app.command()
def prune(
    days: Annotated[float, typer.Option(help="Remove what was not used for so many days.")] = 14,
) -> None:
    """Remove old entries from the build cache, and the image builder's layers."""
    for path in cache.prune(days):
        print(path)
    images.forget_layers()


@app.command()
def kubectl(
    arguments: Annotated[list[str], typer.Argument(help="As for kubectl; put -- before them.")],
    stack: StackOption = "",
    cluster: Annotated[int, typer.Option(help="Which cluster of the stack.")] = 1,
) -> None:
    """Run kubectl as cluster administrator inside the stack."""
    print(stacks.open_stack(StackLayout.of_checkout(stack)).kubectl(cluster, *arguments), end="")


def main() -> None:
    """Run a command; an expected failure is one message and exit status 1."""
    os.environ.setdefault("PYTHONUNBUFFERED", "1")
    began = time.monotonic()
    try:
        app(standalone_mode=True)
    except DevError as error:
        sys.stderr.write(f"error after {time.monotonic() - began:.0f} s: {error}\n")
        sys.exit(1)


if __name__ == "__main__":
    main()
