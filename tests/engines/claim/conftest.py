"""The directory of a tenant's datasets, and the programs that work at it."""

import gzip
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from budeval.domain import frames
from budeval.engines.claim import push_dataset

Json = dict[str, Any]


def order(whole: bytes, path: str = "a.jsonl", **changes: Any) -> Json:
    """What is told of a file that is pushed."""
    digest = hashlib.sha256(whole).hexdigest()
    order = {"path": path, "bytes": len(whole), "sha256": digest, "offset": 0, "replace": False}
    return order | changes


@dataclass
class Volume:
    """The datasets of one tenant, and beside them what no program may touch."""

    root: Path
    mount: Path
    capsys: pytest.CaptureFixture[str]

    def push(self, order: Json, part: bytes, *, pieces: int = 1, packed: bytes | None = None) -> Json:
        """Run the program with a part of a file; its answer without the name."""
        data = gzip.compress(part) if packed is None else packed
        size = -(-len(data) // pieces)
        names = [f"piece-{number}" for number in range(pieces)]
        for number, name in enumerate(names):
            (self.mount / name).write_bytes(data[number * size : (number + 1) * size])
        file = self.mount / "order.json"
        file.write_text(json.dumps({**order, "pieces": names}))
        assert push_dataset.main({"ORDER_FILE": str(file), "DATASETS_ROOT": str(self.root)}) == 0
        answer = frames.decode(self.capsys.readouterr().out, ["push"])["push"]
        del answer["run_id"]
        return answer

    def whole(self, content: bytes, path: str = "a.jsonl", **changes: Any) -> str:
        """Push a file at once; its state."""
        return str(self.push(order(content, path, **changes), content)["state"])

    def unfinished(self) -> list[str]:
        """Files that are not whole yet."""
        return [path.name for path in (self.root / ".budeval").iterdir() if path.name != "lock"]

    def files(self) -> list[str]:
        """Paths of all that is not hidden."""
        paths = [path.relative_to(self.root) for path in self.root.rglob("*") if not path.is_dir()]
        return sorted(str(path) for path in paths if path.parts[0] != ".budeval")


@pytest.fixture
def volume(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Volume:
    """Empty."""
    for name in ("datasets", "mount", "elsewhere"):
        (tmp_path / name).mkdir()
    return Volume(tmp_path / "datasets", tmp_path / "mount", capsys)
