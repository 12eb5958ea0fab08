"""List the files that lie below the datasets of the shared volume.

A program of its own, in a pod that sees the datasets of one tenant. Environment: DATASETS_ROOT; SECONDS, for
which digests are made: a volume may hold more than can be read in a Job's time. Prints a frame `list` with
{files: [{path, bytes, sha256, modified}], truncated}; `sha256` is null where there was no time. Hidden files
and links are left out, and links never followed.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator, Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from budeval.engines.claim.frame import framed
from budeval.engines.claim.tree import digest_of, is_file, opened

MOST_FILES = 10_000


def main(environment: Mapping[str, str]) -> int:
    """List them."""
    root = Path(environment["DATASETS_ROOT"])
    until = time.monotonic() + float(environment["SECONDS"])
    files: list[dict[str, Any]] = []
    truncated = False
    for path in paths(root):
        if len(files) == MOST_FILES:
            truncated = True
            break
        told = described(root, path, until)
        if told:
            files.append(told)
    print(framed("list", {"files": files, "truncated": truncated}))
    return 0


def paths(root: Path) -> Iterator[Path]:
    """Of all that is not hidden, in the order of their names."""
    for folder, folders, names in os.walk(root, followlinks=False):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            if not name.startswith("."):
                yield Path(folder, name)


def described(root: Path, path: Path, until: float) -> dict[str, Any] | None:
    """A file as it is told; None where it is none, or was taken away meanwhile."""
    try:
        found = path.lstat()
        if not is_file(found):
            return None
        with opened(str(path), os.O_RDONLY) as file:
            digest = digest_of(file, until)
    except FileNotFoundError:
        return None
    except OSError:
        digest = None  # it may not be read: its name and size are told all the same
    name = str(path.relative_to(root)).encode(errors="surrogateescape").decode(errors="replace")
    changed = datetime.fromtimestamp(int(found.st_mtime), timezone.utc)
    return {"path": name, "bytes": found.st_size, "sha256": digest, "modified": changed.isoformat()}


if __name__ == "__main__":
    sys.exit(main(os.environ))
