"""Remove what an evaluation has left below the results of the shared volume, and say how much it was.

A program of its own, in a pod that sees the results of all evaluations. Environment: EVAL_ID; RESULTS_ROOT.
Prints one line of JSON, {"files", "bytes"}; exit status 2 where the request is wrong. Links are removed and
never followed.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


def main(environment: Mapping[str, str]) -> int:
    """Remove the directory of one evaluation. May be repeated: then there is nothing to remove."""
    eval_id, root = environment.get("EVAL_ID", ""), Path(environment.get("RESULTS_ROOT", ""))
    if not NAME.fullmatch(eval_id) or not root.is_absolute():
        sys.stderr.write("remove_results: EVAL_ID must be a name, RESULTS_ROOT a path\n")
        return 2
    directory = root / eval_id
    sizes = [] if directory.is_symlink() else file_sizes(directory)
    if directory.is_symlink():
        directory.unlink()
    elif directory.is_dir():
        remove(directory)
    print(json.dumps({"files": len(sizes), "bytes": sum(sizes)}))
    return 0


def file_sizes(directory: Path) -> list[int]:
    """The bytes of each file below a directory."""
    return [
        Path(folder, name).lstat().st_size
        for folder, _, names in os.walk(directory, followlinks=False)
        for name in names
    ]


def remove(directory: Path) -> None:
    """All that is in it, and itself; it stays, empty, where what it lies in belongs to somebody else."""
    for inner in directory.iterdir():
        if inner.is_dir() and not inner.is_symlink():
            shutil.rmtree(inner)
        else:
            inner.unlink()
    try:
        directory.rmdir()
    except PermissionError as error:
        sys.stderr.write(f"remove_results: the empty directory stays: {error.strerror}\n")


if __name__ == "__main__":
    sys.exit(main(os.environ))
