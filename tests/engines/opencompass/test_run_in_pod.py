"""The script that runs one evaluation in a pod, with a fake engine and a fake endpoint."""

import ast
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from budeval.domain.progress import RunProgress, last_progress
from budeval.engines.opencompass import run_in_pod
from budeval.engines.opencompass.run_in_pod import Progress, RunError

_KEY = "sk-very-secret"
_STAMP = "20260105_101112"
_LATER = "20260105_101500"
_HOSTILE = "'; import os; os.system('id') #\"\"\"\n\\{x}"

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
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append((self.path, self.headers["Authorization"], body))
        status, text = self.server.script.pop(0) if self.server.script else (200, "{}")
        self.send_response(status)
        self.send_header("Content-Length", str(len(text.encode())))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_arguments: Any) -> None:
        pass


@pytest.fixture
def endpoint() -> Iterator[FakeEndpoint]:
    """One that listens."""
    with FakeEndpoint() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def haste(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits long."""
    monkeypatch.setattr(run_in_pod, "ENDPOINT_PAUSES", (0.0, 0.0, 0.0))
    monkeypatch.setattr(run_in_pod, "POLL_SECONDS", 0.02)
    monkeypatch.setattr(run_in_pod, "STOP_GRACE_SECONDS", 2.0)


def _dataset(file: Path, **changes: Any) -> Json:
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


def _model(endpoint: str = "http://m/v1", name: str = "m") -> Json:
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


def _spec(root: Path, *datasets: Json, **changes: Any) -> Json:
    return {
        "schema": 1,
        "eval_id": "e-1",
        "run_id": "r-1",
        "attempt": 1,
        "model": _model(),
        "limit": None,
        "datasets": list(datasets),
        "run_dir": str(root / "run"),
        "data_dir": str(root / "data"),
        **changes,
    }


def _refused(call: Callable[[], Any]) -> RunError:
    with pytest.raises(RunError) as refused:
        call()
    return refused.value


# Rows


def _prepared(tmp_path: Path, name: str, text: str, **changes: Any) -> list[tuple[str, Any]]:
    """(prompt, answer) of each row as OpenCompass gets it."""
    (tmp_path / name).write_text(text, encoding="utf-8")
    limit = changes.pop("limit", None)
    prepared = run_in_pod.prepare_rows(_dataset(tmp_path / name, **changes), limit, str(tmp_path))
    rows = [json.loads(line) for line in Path(prepared["file"]).read_text().splitlines()]
    assert prepared["rows"] == len(rows)
    return [(row["budeval_prompt"], row["budeval_answer"]) for row in rows]


_JSONL = '{"question": "1+1?", "answer": " 2 "}\n\n  \n{"question": "ä\\n2+2?", "answer": 4, "more": null}'
_CSV = 'answer,question\n2,1+1?\n\n4,"ä\n2+2?"\n'


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("rows.jsonl", _JSONL),
        ("rows.jsonl", "\ufeff" + _JSONL.replace("\n", "\r\n")),
        ("rows.csv", _CSV),
        ("rows.csv", "\ufeff" + _CSV),
    ],
    ids=["jsonl", "jsonl-windows", "csv", "csv-windows"],
)
def test_rows_become_prompts_and_answers(tmp_path: Path, name: str, text: str) -> None:
    """Of either format; blank lines are none."""
    assert _prepared(tmp_path, name, text) == [("Q: 1+1?", "2"), ("Q: ä\n2+2?", "4")]


def test_only_the_first_rows_are_taken(tmp_path: Path) -> None:
    """As many as the limit says."""
    assert _prepared(tmp_path, "rows.jsonl", _JSONL, limit=1) == [("Q: 1+1?", "2")]


def test_a_prompt_is_filled_in_once(tmp_path: Path) -> None:
    """What stands in a row's text stays, whatever it looks like; so do braces that are no column."""
    text = json.dumps({"question": "{answer} \\1 \\g<0> {0}", "answer": "5", "my column": "c"})

    prompts = _prepared(tmp_path, "rows.jsonl", text, prompt='{question} {my column} {question} {"a": 1} {0}')

    asked = "{answer} \\1 \\g<0> {0}"
    assert prompts == [(f'{asked} c {asked} {{"a": 1}} {{0}}', "5")]


@pytest.mark.parametrize(
    ("evaluator", "answer"),
    [("exact", "1,000"), ("choice", "1,000"), ("last_number", "1000"), ("contains", ["1,000"])],
)
def test_an_answer_is_as_its_evaluator_needs_it(tmp_path: Path, evaluator: str, answer: Any) -> None:
    """Numbers without separators, a list for those that look for any."""
    text = '{"question": "?", "answer": "1,000"}'

    assert _prepared(tmp_path, "rows.jsonl", text, evaluator=evaluator) == [("Q: ?", answer)]


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        pytest.param("r.jsonl", "", "Dataset sums has no rows", id="empty"),
        pytest.param("r.jsonl", " \n\n", "Dataset sums has no rows", id="blank"),
        pytest.param("r.csv", "question,answer\n", "Dataset sums has no rows", id="csv-header"),
        pytest.param("r.jsonl", '{"question": "?", "answer": 1}\n{"a"', "Line 2 is not JSON", id="torn"),
        pytest.param(
            "r.jsonl", '{"question": "?", "answer": 1}\n[1]', "Line 2 is not a JSON object", id="list"
        ),
        pytest.param(
            "r.jsonl",
            '{"question": "?", "answer": 1}\n{"query": "?", "answer": 1}',
            "Row 2 of sums has no column 'question'. It has: answer, query.",
            id="no-question",
        ),
        pytest.param(
            "r.jsonl", '{"question": "?", "answer": null}', "Row 1 of sums has no column 'answer'", id="null"
        ),
        pytest.param("r.csv", "question,key\n?,1\n", "Row 1 of sums has no column 'answer'", id="csv-column"),
        pytest.param(
            "r.csv", "question,answer\n?,1\n?\n", "Row 2 of sums has no column 'answer'", id="csv-short-row"
        ),
    ],
)
def test_rows_that_cannot_be_are_named(tmp_path: Path, name: str, text: str, says: str) -> None:
    """By row and column, with what is there."""
    error = _refused(lambda: _prepared(tmp_path, name, text))

    assert error.code == "DATASET_INVALID"
    assert says in error.message


@pytest.mark.parametrize(
    "name", ["missing.jsonl", "latin.jsonl", ""], ids=["missing", "latin-1", "directory"]
)
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, name: str) -> None:
    """With what to check."""
    (tmp_path / "latin.jsonl").write_bytes(b'{"question": "\xe4", "answer": 1}')

    error = _refused(lambda: run_in_pod.prepare_rows(_dataset(tmp_path / name), None, str(tmp_path)))

    assert error.code == "DATASET_INVALID"
    assert "Check source.path and format" in error.message


# The configuration


def _assignments(text: str) -> Json:
    """The values of a config file, each of which is a literal."""
    body = ast.parse(text).body
    assert all(isinstance(node, ast.Assign) for node in body)
    return {
        target.id: ast.literal_eval(node.value)
        for node in body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }


@pytest.mark.parametrize("name", ["m", "org/model:7b", _HOSTILE, "{models}", "ä", "\u2028"])
def test_the_configuration_of_own_datasets_is_literals(tmp_path: Path, name: str) -> None:
    """Nothing of a request is ever code, whatever it is called."""
    dataset = _dataset(tmp_path / name.replace("/", "-"), dataset_id=name, evaluator="last_number")
    model = _model(endpoint=f"http://m/{name}", name=name)

    values = _assignments(run_in_pod.config_text(_spec(tmp_path, dataset, model=model), [dataset]))

    assert set(values) == {"models", "datasets", "infer", "eval"}
    (model,), (own,) = values["models"], values["datasets"]
    assert (model["path"], model["openai_api_base"], model["key"]) == (name, f"http://m/{name}", "ENV")
    assert own["path"] == dataset["file"]
    assert own["eval_cfg"]["evaluator"] == {"type": "opencompass.datasets.Gsm8kEvaluator"}


def test_stock_datasets_are_named_by_a_literal(tmp_path: Path) -> None:
    """The code around it is ours, and the same for every request."""
    spec = _spec(tmp_path, {"dataset_id": _HOSTILE, "abbr": "x", "kind": "stock"}, limit=5)

    text = run_in_pod.config_text(spec, [])

    head, ours, last = text.partition(run_in_pod.STOCK)
    values = _assignments(head)
    assert (values["stock"], values["limit"]) == ([_HOSTILE], 5)
    assert ours == run_in_pod.STOCK
    assert last.startswith("del stock, limit")


def test_a_seed_is_sent_only_if_there_is_one(tmp_path: Path) -> None:
    """Some endpoints refuse what they don't know."""
    spec = _spec(tmp_path)

    without = run_in_pod.model_config(spec)
    with_seed = run_in_pod.model_config({**spec, "model": {**_model(), "seed": 7}})

    assert "openai_extra_kwargs" not in without
    assert with_seed["openai_extra_kwargs"] == {"seed": 7}


@pytest.mark.parametrize(
    ("name", "folder"),
    [
        ("org/model:7b", "org-model-7b"),
        ("../..", "model"),
        ("..", "model"),
        ("ä", "model"),
        ("a.b_c", "a.b_c"),
    ],
)
def test_a_models_name_becomes_a_directory(tmp_path: Path, name: str, folder: str) -> None:
    """That leads nowhere else."""
    assert run_in_pod.model_name(_spec(tmp_path, model=_model(name=name))) == folder


# The endpoint


def test_the_endpoint_is_asked_for_one_token(endpoint: FakeEndpoint) -> None:
    """Once, with the key."""
    run_in_pod.check_endpoint(_model(f"{endpoint.url}/"), _KEY)

    ((path, authorization, body),) = endpoint.asked
    assert (path, authorization) == ("/v1/chat/completions", f"Bearer {_KEY}")
    assert (body["model"], body["max_tokens"]) == ("m", 1)


@pytest.mark.parametrize(
    ("status", "code", "tries"),
    [
        (401, "ENDPOINT_AUTH_FAILED", 1),
        (403, "ENDPOINT_AUTH_FAILED", 1),
        (404, "ENDPOINT_REFUSED", 1),
        (400, "ENDPOINT_REFUSED", 1),
        (429, "ENDPOINT_ERROR", 4),
        (500, "ENDPOINT_ERROR", 4),
    ],
)
def test_a_refusal_is_told_without_the_key(
    endpoint: FakeEndpoint, status: int, code: str, tries: int
) -> None:
    """What may pass is asked again; what the endpoint says is told, but not the key that it echoes."""
    endpoint.script = [(status, f"no such model; you sent\n {_KEY}")] * 9

    error = _refused(lambda: run_in_pod.check_endpoint(_model(endpoint.url), _KEY))

    assert error.code == code
    assert f"answers {status}: no such model; you sent ***" in error.message
    assert len(endpoint.asked) == tries


def test_an_endpoint_may_need_a_moment(endpoint: FakeEndpoint, capsys: pytest.CaptureFixture[str]) -> None:
    """Two faults, then it answers."""
    endpoint.script = [(500, "starting"), (503, "loading")]

    run_in_pod.check_endpoint(_model(endpoint.url), _KEY)

    assert len(endpoint.asked) == 3
    assert capsys.readouterr().out.count("asking again") == 2


def test_an_endpoint_that_nobody_listens_at_is_told(endpoint: FakeEndpoint) -> None:
    """With what to check."""
    url = endpoint.url
    endpoint.server_close()

    error = _refused(lambda: run_in_pod.check_endpoint(_model(url), _KEY))

    assert error.code == "ENDPOINT_UNREACHABLE"
    assert "Check endpoint" in error.message


# What an earlier attempt left


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


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    """Of a run that has just begun."""
    return Tree(tmp_path)


def test_broken_files_are_removed(tree: Tree, capsys: pytest.CaptureFixture[str]) -> None:
    """Torn ones, and results that are errors; whatever is whole stays, and so does what is no output."""
    kept = {
        f"{_STAMP}/predictions/m/whole.json": {"0": {"prediction": "error"}},
        f"{_STAMP}/predictions/m/error.json": {"error": "a column of this name"},
        f"{_STAMP}/results/m/whole.json": {"accuracy": 50},
        f"{_STAMP}/logs/infer/m/torn.json": "{",
        f"{_STAMP}/predictions/m/torn.txt": "{",
        ".budeval/plan.json": "{",
    }
    broken = {
        f"{_STAMP}/predictions/m/torn.json": '{"0": {"pred',
        f"{_LATER}/predictions/m/empty.json": "",
        f"{_STAMP}/predictions/m/list.json": [1],
        f"{_STAMP}/results/m/failed.json": {"error": "no"},
        f"{_LATER}/results/m/torn.json": "{",
    }
    for path, content in {**kept, **broken}.items():
        tree.write(path, content)

    run_in_pod.heal(str(tree.root))

    assert tree.files() == set(kept)
    assert capsys.readouterr().out.count("removing the broken") == len(broken)


def test_the_newest_attempt_is_gone_on_with(tree: Tree) -> None:
    """By its name; our own directory is none, and without one the engine begins anew."""
    assert run_in_pod.resume(str(tree.root)) == []

    for name in (_LATER, _STAMP, "zzz", f"{_LATER}_old"):
        (tree.root / name).mkdir()

    assert run_in_pod.resume(str(tree.root)) == ["-r", _LATER]


# Progress


def _told(output: str) -> list[tuple[int, int, str]]:
    lines = [line for line in output.splitlines() if line.startswith("BUDEVAL1-PROGRESS ")]
    found = [json.loads(line.partition(" ")[2]) for line in lines]
    return [(item["done"], item["total"], item["phase"]) for item in found]


def test_progress_is_counted_in_the_engines_files(tree: Tree, capsys: pytest.CaptureFixture[str]) -> None:
    """Own datasets by their rows, stock ones by what the engine says; then evaluated datasets."""
    spec = _spec(tree.root.parent)
    planned: list[Json] = [{"abbr": "own", "rows": 10}, {"abbr": "stock", "rows": None}]
    progress = Progress()

    def look() -> None:
        run_in_pod.tell_progress(spec, planned, progress)

    look()
    status = f"{_STAMP}/infer_status/m"
    tree.write(f"{status}/own.json", {"completed": 4, "total": 99})
    look()
    look()
    tree.write(f"{status}/stock.json", {"completed": 1, "total": 5})
    look()
    tree.write(f"{status}/stock.json", '{"completed": 3, "tot')
    look()
    tree.write(f"{status}/stock.json", {"completed": 7, "total": 5})
    look()
    for abbr in ("own", "stock"):
        tree.write(f"{_STAMP}/predictions/m/{abbr}.json", {})
    look()
    tree.write(f"{_STAMP}/results/m/own.json", {"accuracy": 1})
    look()

    assert _told(capsys.readouterr().out) == [
        (0, 10, "infer"),
        (4, 10, "infer"),
        (5, 15, "infer"),
        (9, 15, "infer"),
        (0, 15, "evaluate"),
        (1, 15, "evaluate"),
    ]


def test_progress_is_told_once_and_never_backwards(capsys: pytest.CaptureFixture[str]) -> None:
    """In lines that the watcher understands."""
    progress = Progress()
    for done in (0, 3, 3, 2, 5):
        progress.tell(done, 10, "infer")

    output = capsys.readouterr().out
    assert _told(output) == [(0, 10, "infer"), (3, 10, "infer"), (5, 10, "infer")]
    assert last_progress(output) == RunProgress(done=5, total=10, phase="infer")


def test_a_resumed_attempt_counts_what_was_done(tree: Tree) -> None:
    """The newest attempt that has a file counts."""
    item = {"abbr": "own", "rows": 10}
    tree.write(f"{_STAMP}/infer_status/m/own.json", {"completed": 4})
    tree.write(f"{_LATER}/infer_status/m/own.json", {"completed": 6})
    (tree.root / "20260105_999999").mkdir()

    assert run_in_pod.dataset_progress(str(tree.root), "m", item) == (6, 10)


# The end


_PLANNED = [{"abbr": "a"}, {"abbr": "b"}]


def _check(tree: Tree, status: int = 0) -> None:
    run_in_pod.check_results(str(tree.root), "m", _PLANNED, status)


def test_a_number_for_each_dataset_is_a_success(tree: Tree) -> None:
    """Whichever attempt has it."""
    tree.write(f"{_STAMP}/results/m/a.json", {"accuracy": 0, "details": {}})
    tree.write(f"{_LATER}/results/m/b.json", {"type": "GEN", "score": 12.5})

    _check(tree)


@pytest.mark.parametrize(
    "result",
    [
        None,
        "{",
        "{}",
        '{"accuracy": NaN}',
        '{"accuracy": Infinity}',
        '{"accuracy": true}',
        '{"accuracy": "50"}',
        '{"error": "no", "accuracy": 50}',
        '{"details": 5}',
        "[50]",
    ],
    ids=str,
)
def test_without_a_number_it_is_no_success(tree: Tree, result: str | None) -> None:
    """The dataset is named, with the end of its own log."""
    tree.write(f"{_STAMP}/results/m/a.json", {"accuracy": 50})
    if result is not None:
        tree.write(f"{_STAMP}/results/m/b.json", result)
    tree.write(f"{_STAMP}/logs/infer/m/b.out", "10%\r100%\nKeyError: gold\n")

    error = _refused(lambda: _check(tree))

    assert error.code == "RESULT_MISSING"
    assert error.message == "No score for b. Its log ends: 100%\nKeyError: gold"


def test_an_engine_that_failed_is_no_success(tree: Tree) -> None:
    """Though every number is there; then only its own log tells why."""
    for abbr in ("a", "b"):
        tree.write(f"{_STAMP}/results/m/{abbr}.json", {"accuracy": 50})
    tree.write(".budeval/engine.log", "Segmentation fault")

    error = _refused(lambda: _check(tree, 139))

    assert error.code == "ENGINE_FAILED"
    assert "exit status 139" in error.message
    assert "Segmentation fault" in error.message


def test_the_evaluations_log_tells_more_than_the_inferences(tree: Tree) -> None:
    """It is the later one."""
    tree.write(f"{_STAMP}/logs/infer/m/a.out", "inferred")
    tree.write(f"{_STAMP}/logs/eval/m/a.out", "x" * 5000 + "the end")

    message = _refused(lambda: _check(tree)).message

    assert message.endswith("the end")
    assert len(message) < 2000


def test_a_failure_is_left_where_kubernetes_looks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As JSON that fits there, without the key; and in the log."""
    target = tmp_path / "termination-log"
    environment = {"OPENAI_API_KEY": _KEY, "BUDEVAL_TERMINATION_LOG": str(target)}

    run_in_pod.report(RunError("ENGINE_FAILED", f"{_KEY} {'x' * 9000} {_KEY}"), environment)

    text = target.read_text()
    document = json.loads(text)
    assert len(text.encode()) <= 4096
    assert document["code"] == "ENGINE_FAILED"
    assert document["message"].startswith("*** xxx")
    output = capsys.readouterr().out
    assert output == f"BUDEVAL1-FAILED {text}\n"
    assert _KEY not in output


def test_a_termination_log_that_cannot_be_written_is_only_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The exit status still tells."""
    run_in_pod.report(RunError("X", "no"), {"BUDEVAL_TERMINATION_LOG": str(tmp_path)})

    assert "cannot be written" in capsys.readouterr().out


# All of it

_ENGINE = """
import json, os, subprocess, sys, time
config, work = sys.argv[1], sys.argv[sys.argv.index("-w") + 1]
mode = os.environ["FAKE_MODE"]
with open(os.environ["FAKE_TOLD"], "w") as file:
    json.dump({"arguments": sys.argv[1:], "cache": os.environ["COMPASS_DATA_CACHE"]}, file)
values = {}
exec(open(config).read(), values)
name = values["datasets"][0]["abbr"]
print("the engine says hello")
with open(os.path.join(work, "infer.out"), "wb") as file:
    file.write(b"\\xff the endpoint says: " + os.environ["OPENAI_API_KEY"].encode() + b" is wrong\\n")
if mode == "hang":
    child = subprocess.Popen([sys.executable, "-c",
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True);"
        "time.sleep(60)"], stdout=subprocess.PIPE)
    child.stdout.readline()
    with open(os.environ["FAKE_TOLD"] + ".new", "w") as file:
        json.dump([os.getpid(), child.pid], file)
    os.replace(os.environ["FAKE_TOLD"] + ".new", os.environ["FAKE_TOLD"] + ".pids")
    time.sleep(60)
if mode == "good":
    for kind, content in (("predictions", {}), ("results", {"accuracy": 50})):
        folder = os.path.join(work, "20260105_101112", kind, "m")
        os.makedirs(folder)
        with open(os.path.join(folder, name + ".json"), "w") as file:
            json.dump(content, file)
sys.exit(7 if mode == "fails" else 0)
"""


class Pod:
    """The files and the environment of one pod."""

    def __init__(self, root: Path, endpoint: str) -> None:
        self.root = root
        for name in ("budeval", "scratch", "run"):
            (root / name).mkdir()
        self.here = root / "budeval"
        self.engine = root / "engine.py"
        self.engine.write_text(_ENGINE)
        rows = self.here / "dataset-0.jsonl"
        rows.write_text('{"question": "1+1?", "answer": "2"}\n')
        self.spec = _spec(root, _dataset(rows), model=_model(endpoint))
        self.termination = root / "termination-log"

    def environment(self, mode: str) -> dict[str, str]:
        """With the fake engine's orders."""
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self.root / "scratch"),
            "OPENAI_API_KEY": _KEY,
            "BUDEVAL_TERMINATION_LOG": str(self.termination),
            "FAKE_MODE": mode,
            "FAKE_TOLD": str(self.root / "told"),
        }

    def main(self, mode: str) -> int:
        """Run it here."""
        self.write_spec()
        return run_in_pod.main(self.environment(mode), [sys.executable, str(self.engine)])

    def key_is_in(self, output: str) -> bool:
        """Whether the output or any file shows the key."""
        files = [path.read_bytes() for path in self.root.rglob("*") if path.is_file()]
        return _KEY in output or any(_KEY.encode() in content for content in files)

    def write_spec(self) -> None:
        """As the service does."""
        (self.here / "run.json").write_text(json.dumps(self.spec))

    def told(self) -> Json:
        """What the engine was told."""
        document: Json = json.loads((self.root / "told").read_text())
        return document


@pytest.fixture
def pod(tmp_path: Path, endpoint: FakeEndpoint, monkeypatch: pytest.MonkeyPatch) -> Iterator[Pod]:
    """One that was just started; signals are as before afterwards."""
    made = Pod(tmp_path, endpoint.url)
    monkeypatch.setattr(run_in_pod, "HERE", str(made.here))
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield made
    for number, handler in before.items():
        signal.signal(number, handler)


def test_a_whole_run_ends_with_0(pod: Pod, capsys: pytest.CaptureFixture[str]) -> None:
    """The plan is there, progress goes from prepare to done, and nothing failed; the key is nowhere."""
    assert pod.main("good") == 0

    output = capsys.readouterr().out
    told = _told(output)
    assert (told[0], told[-1]) == ((0, 0, "prepare"), (1, 1, "done"))
    assert not pod.termination.exists()
    plan = json.loads((pod.root / "run/.budeval/plan.json").read_text())
    assert plan == {
        "schema": 1,
        "attempt": 1,
        "models": ["m"],
        "datasets": [{"abbr": "sums", "dataset_id": "sums", "rows": 1, "unit": "percent"}],
    }
    assert pod.told()["arguments"][1:] == ["-w", str(pod.root / "run")]
    assert pod.told()["cache"] == str(pod.root / "data")
    assert "the engine says hello" in output
    assert not pod.key_is_in(output)
    assert b"\xff the endpoint says: *** is wrong" in (pod.root / "run/infer.out").read_bytes()


def test_what_a_killed_attempt_has_left_shows_no_key(pod: Pod) -> None:
    """Nobody could clear it then; a link that leads elsewhere is not followed."""
    elsewhere = pod.root / "elsewhere"
    elsewhere.write_text(_KEY)
    (pod.root / "run" / "link").symlink_to(elsewhere)
    logs = pod.root / "run" / "20260101_000000" / "logs"
    logs.mkdir(parents=True)
    (logs / "eval.out").write_text(f"401 for {_KEY}")
    (logs / "empty.out").touch()

    assert pod.main("good") == 0

    assert (logs / "eval.out").read_text() == "401 for ***"
    assert elsewhere.read_text() == _KEY


def test_a_word_is_not_a_secret(pod: Pod) -> None:
    """Servers without keys are given one such as `EMPTY`, which ordinary texts have in them."""
    run_in_pod.mask(str(pod.root / "run"), "EMPTY")
    (pod.root / "run" / "a.out").write_text("EMPTY reply")

    run_in_pod.mask(str(pod.root / "run"), "EMPTY")

    assert (pod.root / "run" / "a.out").read_text() == "EMPTY reply"


def test_an_earlier_attempt_is_gone_on_with(pod: Pod) -> None:
    """The engine is told which."""
    (pod.root / "run" / "20260101_000000").mkdir()

    assert pod.main("good") == 0

    assert pod.told()["arguments"][-2:] == ["-r", "20260101_000000"]


@pytest.mark.parametrize(
    ("mode", "code"), [("fails", "ENGINE_FAILED"), ("nothing", "RESULT_MISSING")], ids=["exit-7", "exit-0"]
)
def test_a_run_without_scores_ends_with_3(pod: Pod, mode: str, code: str) -> None:
    """Whatever the engine's exit status is; Kubernetes is told why."""
    assert pod.main(mode) == 3

    document = json.loads(pod.termination.read_text())
    assert document["code"] == code
    assert "the engine says hello" in document["message"]


def test_the_engine_is_not_started_for_nothing(pod: Pod, endpoint: FakeEndpoint) -> None:
    """An endpoint that refuses is known before."""
    endpoint.script = [(401, "no")]

    assert pod.main("good") == 3

    assert json.loads(pod.termination.read_text())["code"] == "ENDPOINT_AUTH_FAILED"
    assert not (pod.root / "told").exists()


def test_a_spec_that_cannot_be_used_ends_with_3(pod: Pod) -> None:
    """With the name of what is missing."""
    del pod.spec["model"]

    assert pod.main("good") == 3

    document = json.loads(pod.termination.read_text())
    assert document["code"] == "SPEC_INVALID"
    assert "model" in document["message"]


_MMENGINE = """
class Config:
    @staticmethod
    def fromfile(path):
        return {"datasets": [{"abbr": "sums"}, {"abbr": "gsm8k-a"}, {"abbr": "gsm8k-b"}]}
"""


def test_stock_datasets_are_planned_as_the_engine_calls_them(tmp_path: Path) -> None:
    """Own ones are known already."""
    package = tmp_path / "mmengine"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "config.py").write_text(_MMENGINE)
    stock = {"dataset_id": "gsm8k_gen", "abbr": "gsm8k_gen", "kind": "stock"}
    spec = _spec(tmp_path, _dataset(tmp_path / "rows"), stock)

    planned = run_in_pod.stock_plan(spec, "config.py", {"PYTHONPATH": str(tmp_path)})

    assert planned == [
        {"abbr": abbr, "dataset_id": "gsm8k_gen", "rows": None} for abbr in ("gsm8k-a", "gsm8k-b")
    ]


def test_stock_datasets_that_cannot_be_loaded_are_named(tmp_path: Path) -> None:
    """With what the engine says of them."""
    spec = _spec(tmp_path, {"dataset_id": "gsm8k_gen", "abbr": "gsm8k_gen", "kind": "stock"})

    error = _refused(lambda: run_in_pod.stock_plan(spec, "config.py", {"PATH": os.environ["PATH"]}))

    assert error.code == "DATASET_UNKNOWN"
    assert "cannot load gsm8k_gen" in error.message
    assert "mmengine" in error.message


_DRIVER = """
import os, sys
import run_in_pod
run_in_pod.POLL_SECONDS, run_in_pod.STOP_GRACE_SECONDS = 0.02, 5.0
sys.exit(run_in_pod.main(os.environ, [sys.executable, sys.argv[1]]))
"""


def _is_alive(pid: int) -> bool:
    """Runs; one that has ended and that nobody has asked for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def _await(fact: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not fact():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_all_of_it(pod: Pod, number: signal.Signals) -> None:
    """With 143; neither the engine nor what it has started outlives it, even if it would."""
    pod.write_spec()
    shutil.copy(run_in_pod.__file__, pod.here / "run_in_pod.py")
    pids_file = pod.root / "told.pids"
    environment = {**pod.environment("hang"), "PYTHONPATH": str(pod.here)}
    command = [sys.executable, "-c", _DRIVER, str(pod.engine)]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as script:
        _await(pids_file.exists)
        pids = json.loads(pids_file.read_text())
        assert all(_is_alive(pid) for pid in pids)

        script.send_signal(number)
        output, _ = script.communicate(timeout=20)

    assert script.returncode == 143
    assert "stopped by a signal" in output
    assert not pod.key_is_in(output)
    assert not pod.termination.exists()
    _await(lambda: not any(_is_alive(pid) for pid in pids))
