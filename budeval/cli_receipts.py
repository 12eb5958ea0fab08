"""Commands that tell what is left: of an evaluation, and of none."""

import sys
from typing import Annotated, TextIO

import typer

from budeval import cli_output as output
from budeval.cli_base import AsJson, EvalId, client_of, exit_unless, show
from budeval.domain.receipt import ReceiptItem
from budeval.errors import RequestError
from budeval.evals.answers import OrphanList, OrphanRemoval, Receipt

_MINUTE, _HOUR, _DAY = 60, 3600, 86400

Cluster = Annotated[str | None, typer.Option(help="Configured cluster; the service's default if left out.")]
Namespace = Annotated[str | None, typer.Option(help="Namespace to look in.")]
Installation = Annotated[
    str | None,
    typer.Option(
        metavar="ID",
        help="Another service, whose objects are looked at instead; `unmarked` for those that say none. "
        "Its evaluations are not known here, so all that it has counts as an orphan: remove it only if that "
        "service is no more.",
    ),
]


def add_commands(app: typer.Typer) -> None:
    """Make them commands of an application."""
    for command in (receipt, receipts):
        app.command()(command)


def receipt(context: typer.Context, eval_id: EvalId, *, as_json: AsJson = False) -> None:
    """What was made for an evaluation and became of it; exits 1 if something of an ended one is left."""
    found = client_of(context).receipt(eval_id)
    show(found, _print_receipt, as_json=as_json)
    exit_unless(found.clean or not found.ended)


def receipts(  # noqa: PLR0913 - one for each flag
    context: typer.Context,
    *,
    orphans: Annotated[bool, typer.Option("--orphans", help="What no evaluation owns.")] = False,
    cluster: Cluster = None,
    namespace: Namespace = None,
    installation: Installation = None,
    remove: Annotated[bool, typer.Option("--remove", help="Remove it.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Don't ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """Find what no evaluation owns, and remove it on request; exits 1 if something is left.

    On the cluster it is what bears the service's mark; on the service's machine, what services that were
    killed have left of their playbooks. What another service in the same namespace has made is only counted.
    Needs the scope `admin`.
    """
    if not orphans:
        raise RequestError(
            "Give --orphans; `budeval receipt EVAL_ID` is for one evaluation.", param="--orphans"
        )
    client = client_of(context)
    if not remove:
        with output.console(sys.stderr).status("Looking"):
            found = client.orphans(cluster, namespace, installation)
        show(found, _print_orphans, as_json=as_json)
        exit_unless(not found.orphans)
        return
    if not yes:
        _confirm(client.orphans(cluster, namespace, installation), installation)
    with output.console(sys.stderr).status("Removing"):
        done = client.remove_orphans(cluster, namespace, installation)
    show(done, _print_removal, as_json=as_json)
    exit_unless(done.clean)


def _confirm(found: OrphanList, installation: str | None) -> None:
    _print_orphans(found, sys.stderr)
    if installation:
        output.print_note(f"If service {installation} is still used, this breaks its evaluations.")
    typer.confirm(f"Remove these {len(found.orphans)} for good?", abort=True, err=True)


def _print_receipt(found: Receipt) -> None:
    """A line for each entry, and whether anything is left."""
    _print_entries(found.objects)
    if not found.ended:
        output.print_line("The evaluation has not ended: the receipt is not whole yet.")
    nothing = "Nothing of it is left but what is kept." if _keeps(found) else "Nothing of it is left."
    output.print_line(nothing if found.clean else "Something is left: see why.")


def _keeps(found: Receipt) -> bool:
    return any(item.outcome == "kept" for item in found.objects)


def _print_entries(items: list[ReceiptItem]) -> None:
    rows = [
        (
            item.kind,
            f"{item.name} ({item.count})" if item.count > 1 else item.name,
            item.outcome,
            item.at,
            _why(item),
        )
        for item in items
    ]
    output.print_table(("object", "name", "outcome", "at", "what was seen, or why it is there"), rows)


def _why(item: ReceiptItem) -> str:
    return item.proof or item.reason or ""


def _print_orphans(found: OrphanList, file: TextIO | None = None) -> None:
    """A line for each, and what was not looked at."""
    rows = [
        (orphan.kind, orphan.name, orphan.eval_id, orphan.run_id, _age(orphan.age_seconds), orphan.reason)
        for orphan in found.orphans
    ]
    output.print_table(("object", "name", "evaluation", "run", "age", "why"), rows, file)
    where = f"namespace {found.namespace} of cluster {found.cluster}"
    output.print_note(f"{len(rows)} in {where}, of service {found.installation}.")
    for other in found.others:
        whose = f"{other.objects} objects there are of {other.installation}, not of this service"
        output.print_note(f"{whose}, and are left alone: --installation {other.installation} looks at them.")


def _print_removal(done: OrphanRemoval) -> None:
    _print_entries(done.objects)
    output.print_line("All of it is gone." if done.clean else "Something is left: see why.")


def _age(seconds: int) -> str:
    for unit, name in ((_DAY, "d"), (_HOUR, "h"), (_MINUTE, "min")):
        if seconds >= unit:
            return f"{seconds // unit} {name}"
    return f"{seconds} s"
