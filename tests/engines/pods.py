"""A pod's files and a fake endpoint, for the programs that run in one."""

import json
import os
import sys
from collections.abc import Callable
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from budeval.engines.in_pod.failure import RunError
from budeval.engines.in_pod.program import main

KEY = "sk-very-secret"

Json = dict[str, Any]


class FakeEndpoint(ThreadingHTTPServer):
    """An OpenAI-compatible endpoint that answers from a script, then with success."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.script: list[tuple[int, str]] = []
        self.asked: list[tuple[str, str, Json]] = []

    @property
    def url(self) -> str:
        """Base URL."""
        return f"http://127.0.0.1:{self.server_address[1]}/v1"


class _Handler(BaseHTTPRequestHandler):
    server: FakeEndpoint

    def do_POST(self) -> None:
        self._answer(json.loads(self.rfile.read(int(self.headers["Content-Length"]))), "{}")

    def _answer(self, body: Json, otherwise: str) -> None:
        self.server.asked.append((self.path, self.headers["Authorization"], body))
        status, text = self.server.script.pop(0) if self.server.script else (200, otherwise)
        self.send_response(status)
        self.send_header("Content-Length", str(len(text.encode())))
        self.end_headers()
        self.wfile.write(text.encode())

    def do_GET(self) -> None:
        self._answer({}, "{}")

    def log_message(self, *_arguments: Any) -> None:
        pass


def dataset_entry(file: Path, **changes: Any) -> Json:
    """An own dataset in a run.json."""
    return {
        "dataset_id": "sums",
        "abbr": "sums",
        "kind": "own",
        "format": "csv" if str(file).endswith(".csv") else "jsonl",
        "file": str(file),
        "prompt": "Q: {question}",
        "answer": "answer",
        "evaluator": "exact",
        **changes,
    }


def model_entry(endpoint: str = "http://m/v1", name: str = "m") -> Json:
    """A model in a run.json."""
    return {
        "name": name,
        "endpoint": endpoint,
        "query_per_second": 10,
        "max_out_len": 8,
        "max_seq_len": 64,
        "batch_size": 4,
        "temperature": 0.0,
        "seed": None,
        "retry": 3,
        "timeout": 600,
    }


def run_spec(root: Path, *datasets: Json, **changes: Any) -> Json:
    """A run.json."""
    return {
        "schema": 1,
        "eval_id": "e-1",
        "run_id": "r-1",
        "attempt": 1,
        "model": model_entry(),
        "limit": None,
        "datasets": list(datasets),
        "run_dir": str(root / "run"),
        "data_dir": str(root / "data"),
        "seconds": 60,
        **changes,
    }


def refused(call: Callable[[], Any]) -> RunError:
    """The error of a call that has one."""
    with pytest.raises(RunError) as refused:
        call()
    return refused.value


def progress_told(output: str) -> list[tuple[int, int, str]]:
    """(done, total, phase) of every progress line."""
    lines = [line for line in output.splitlines() if line.startswith("BUDEVAL1-PROGRESS ")]
    found = [json.loads(line.partition(" ")[2]) for line in lines]
    return [(item["done"], item["total"], item["phase"]) for item in found]


class Tree:
    """The directory of one run."""

    def __init__(self, root: Path) -> None:
        self.root = root / "run"
        (self.root / ".budeval").mkdir(parents=True)

    def write(self, path: str, content: Any) -> Path:
        """A file; what is not a text is written as JSON."""
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content if isinstance(content, str) else json.dumps(content))
        return file

    def files(self) -> set[str]:
        """All of them."""
        return {str(path.relative_to(self.root)) for path in self.root.rglob("*") if path.is_file()}


class Pod:
    """The files and the environment of one pod, with a fake engine: Python, given as text."""

    def __init__(self, root: Path, endpoint: str, engine: str) -> None:
        self.root = root
        for name in ("budeval", "scratch", "run"):
            (root / name).mkdir()
        self.here = root / "budeval"
        self.engine = root / "engine.py"
        self.engine.write_text(engine)
        rows = self.here / "dataset-0.jsonl"
        rows.write_text('{"question": "1+1?", "answer": "2"}\n')
        self.spec = run_spec(root, dataset_entry(rows), model=model_entry(endpoint))
        self.spec_file = self.here / "run.json"
        self.termination = root / "termination-log"

    def environment(self, mode: str) -> dict[str, str]:
        """With the fake engine's orders."""
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self.root / "scratch"),
            "OPENAI_API_KEY": KEY,
            "BUDEVAL_TERMINATION_LOG": str(self.termination),
            "FAKE_MODE": mode,
            "FAKE_TOLD": str(self.root / "told"),
        }

    def main(self, run: Callable[..., None], mode: str) -> int:
        """Run it here, with the fake engine in the place of the real one."""
        self.write_spec()
        faked = partial(run, engine=(sys.executable, str(self.engine)))
        return main(str(self.spec_file), self.environment(mode), faked)

    def key_is_in(self, output: str) -> bool:
        """Whether the output or any file shows the key."""
        files = [path.read_bytes() for path in self.root.rglob("*") if path.is_file()]
        return KEY in output or any(KEY.encode() in content for content in files)

    def write_spec(self) -> None:
        """As the service does."""
        self.spec_file.write_text(json.dumps(self.spec))

    def told(self) -> Json:
        """What the engine was told."""
        document: Json = json.loads((self.root / "told").read_text())
        return document
