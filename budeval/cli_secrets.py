"""Commands that make secrets for a service's settings. They ask no service."""

from typing import Annotated

import typer

from budeval import cli_output as output
from budeval.config import ApiToken, Scope


def add_commands(app: typer.Typer) -> None:
    """Make them commands of an application."""
    app.command(name="new-key")(new_key)
    app.command(name="new-token")(new_token)


def new_key() -> None:
    """Make a key for BUDEVAL_SEAL_KEYS, with which a service seals its secrets. Asks no service."""
    from budeval.runtime import sealing  # noqa: PLC0415 - only here: cryptography is slow to import

    typer.echo(sealing.new_key())


def new_token(
    name: Annotated[str, typer.Argument(help="Who gets it.")],
    tenant: Annotated[str, typer.Option(help="Whose evaluations it is for.")] = "default",
    scope: Annotated[
        list[Scope] | None, typer.Option(help="May be given several times; read and submit if left out.")
    ] = None,
) -> None:
    """Make a token of the API, and its entry for the service's BUDEVAL_API_TOKENS. Asks no service."""
    from budeval.api.access import new_token as make  # noqa: PLC0415 - FastAPI is slow to import

    token, digest = make()
    scopes = frozenset(scope or (Scope.READ, Scope.SUBMIT))
    entry = ApiToken(name=name, sha256=digest, tenant=tenant, scopes=scopes)
    output.print_note(f"Its entry for BUDEVAL_API_TOKENS, a JSON list: {entry.model_dump_json()}")
    typer.echo(token)
