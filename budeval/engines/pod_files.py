"""Files for a pod: how a ConfigMap carries them, and a Python program as such files.

A ConfigMap's keys have no slashes; its volume puts each key at a path of its own.
"""

from functools import cache
from pathlib import Path
from typing import Any

_ROOT = Path(__file__).parents[2]
_START = """\
import runpy

runpy.run_module({entry!r}, run_name="__main__", alter_sys=True)
"""


@cache
def source(module: str) -> str:
    """The text of one of our modules, as `budeval.engines.in_pod.rows`."""
    return (_ROOT / module.replace(".", "/")).with_suffix(".py").read_text()


def program(entry: str, *modules: str) -> dict[str, str]:
    """Files in a directory that `python3 <directory>` runs, by path.

    Args:
        entry: the module that is run as `__main__`.
        modules: what it imports of ours.
    """
    files = {f"{name.replace('.', '/')}.py": source(name) for name in (entry, *modules)}
    return {"__main__.py": _START.format(entry=entry), **files}


def as_data(files: dict[str, str]) -> dict[str, str]:
    """The `data` of a ConfigMap with these files."""
    return {_key(path): text for path, text in files.items()}


def as_items(files: dict[str, str]) -> list[dict[str, Any]]:
    """The `items` of a ConfigMap volume that put each file at its path."""
    return [{"key": _key(path), "path": path} for path in sorted(files)]


def _key(path: str) -> str:
    return path.replace("/", ".")
