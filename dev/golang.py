"""Build programs from Go modules that are pinned by a go.mod and go.sum of ours."""

import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from shutil import copytree

from dev import command


@cache
def version() -> str:
    """The Go toolchain's version: part of what a built program is made from."""
    return command.run(["go", "env", "GOVERSION"]).strip()


def build(module: Path, packages: Sequence[str], target: Path, flags: Sequence[str] = ()) -> None:
    """Build `packages` of the module in `module` to `target`, static.

    `target` is a file for one package, a directory for several. The module is copied first: `-mod=mod` may
    complete a go.mod that names only the program's own module, and must not do so in the checkout. Every
    download is still checked against the committed go.sum.

    Raises:
        CommandFailedError: with the compiler's words.
    """
    several = len(packages) > 1
    if several:
        target.mkdir(parents=True)
    with tempfile.TemporaryDirectory(prefix="budeval-go-") as scratch:
        copy = Path(scratch) / "module"
        copytree(module, copy)
        output = f"{target}/" if several else str(target)
        command.run(
            ["go", "build", "-mod=mod", *flags, "-o", output, *packages],
            cwd=copy,
            environment={"CGO_ENABLED": "0", "GOWORK": "off"},
        )
