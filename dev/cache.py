"""Built things, kept once per machine, keyed by what they are made from.

An entry is a directory `<kind>-<key>`. It is built beside its place and renamed into it, so an entry that
exists is whole. A lock file per entry lets only one checkout build it while the others wait.
"""

import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from dev import console, lock
from dev.layout import CACHE
from dev.network import HOST

Ingredient = str | Path
"""What an entry is made from: a literal, a file's content, or all files of a directory."""


def key_of(ingredients: Iterable[Ingredient]) -> str:
    """Return 16 hex digits that change when any ingredient does."""
    digest = hashlib.sha256()
    for ingredient in ingredients:
        for label, content in _parts(ingredient):
            digest.update(f"{label}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()[:16]


def _parts(ingredient: Ingredient) -> Iterator[tuple[str, bytes]]:
    if isinstance(ingredient, str):
        yield "literal", ingredient.encode()
    elif ingredient.is_relative_to(CACHE):  # an entry's name stands for its content
        yield "entry", str(ingredient.relative_to(CACHE)).encode()
    elif ingredient.is_dir():
        for path in sorted(ingredient.rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                yield str(path.relative_to(ingredient)), path.read_bytes()
    else:
        yield ingredient.name, ingredient.read_bytes()


def entry_path(kind: str, ingredients: Iterable[Ingredient]) -> Path:
    """Where the entry is or would be."""
    return CACHE / f"{kind}-{key_of(ingredients)}"


def entry(
    kind: str,
    ingredients: Iterable[Ingredient],
    build: Callable[[Path], None],
    *,
    what: str,
    usually: str,
) -> Path:
    """Return the entry's directory; build it first where it is missing.

    Args:
        kind: what it is, for people who look into the cache.
        ingredients: everything that its content depends on.
        build: fills the empty directory it is given.
        what: for the progress line, in the progressive form ("building Dapr").
        usually: the usual duration on two cores.
    """
    path = entry_path(kind, ingredients)
    if not path.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        with lock.held(path.with_name(f".{path.name}.lock"), f"another process that is {what}"):
            if not path.exists():
                _build(path, build, what, usually)
    os.utime(path)  # `prune` removes what was long not used
    return path


def _build(path: Path, build: Callable[[Path], None], what: str, usually: str) -> None:
    unfinished = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=CACHE))
    unfinished.chmod(0o755)
    try:
        with console.step(what, usually):
            HOST.call(lambda: build(unfinished))  # downloads need the way out that a stack lacks
        os.sync()  # after a power cut, too, an entry that is there shall be whole
        unfinished.rename(path)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def prune(unused_for_days: float) -> list[Path]:
    """Remove the entries that no `up` asked for so long and no process runs from, and return them."""
    limit = time.time() - unused_for_days * 86400
    old = [path for path in CACHE.glob("*-*") if path.is_dir() and path.stat().st_mtime < limit]
    programs = list(_running_programs())
    unused = [path for path in old if not any(program.is_relative_to(path) for program in programs)]
    for path in unused:
        shutil.rmtree(path)
    return unused


def _running_programs() -> Iterator[Path]:
    for link in Path("/proc").glob("[0-9]*/exe"):
        with suppress(OSError):  # ended, a kernel thread, or somebody else's
            yield link.readlink()
