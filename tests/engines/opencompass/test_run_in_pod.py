"""The script that runs one OpenCompass evaluation in a pod, with a fake engine and a fake endpoint."""

import ast
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from budeval.engines.in_pod import endpoint as endpoint_module
from budeval.engines.in_pod.progress import Progress
from budeval.engines.opencompass import run_in_pod
from budeval.engines.opencompass.extract_results import OPENCOMPASS, extract_run
from tests.engines.pods import (
    KEY,
    FakeEndpoint,
    Json,
    Pod,
    Tree,
    dataset_entry,
    model_entry,
    progress_told,
    refused,
    run_spec,
)

STAMP = "20260105_101112"
LATER = "20260105_101500"
HOSTILE = "'; import os; os.system('id') #\"\"\"\n\\{x}"


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


@pytest.mark.parametrize("name", ["m", "org/model:7b", HOSTILE, "{models}", "ä", "\u2028"])
def test_the_configuration_of_own_datasets_is_literals(tmp_path: Path, name: str) -> None:
    """Nothing of a request is ever code, whatever it is called."""
    dataset = dataset_entry(tmp_path / name.replace("/", "-"), dataset_id=name, evaluator="last_number")
    model = model_entry(endpoint=f"http://m/{name}", name=name)

    values = _assignments(run_in_pod.config_text(run_spec(tmp_path, dataset, model=model), [dataset]))

    assert set(values) == {"models", "datasets", "infer", "eval"}
    (model,), (own,) = values["models"], values["datasets"]
    assert (model["path"], model["openai_api_base"], model["key"]) == (name, f"http://m/{name}", "ENV")
    assert own["path"] == dataset["file"]
    assert own["eval_cfg"]["evaluator"] == {"type": "opencompass.datasets.Gsm8kEvaluator"}


def test_stock_datasets_are_named_by_a_literal(tmp_path: Path) -> None:
    """The code around it is ours, and the same for every request."""
    spec = run_spec(tmp_path, {"dataset_id": HOSTILE, "abbr": "x", "kind": "stock"}, limit=5)

    text = run_in_pod.config_text(spec, [])

    head, ours, last = text.partition(run_in_pod.STOCK)
    values = _assignments(head)
    assert (values["stock"], values["limit"]) == ([HOSTILE], 5)
    assert ours == run_in_pod.STOCK
    assert last.startswith("del stock, limit")


def test_a_seed_is_sent_only_if_there_is_one(tmp_path: Path) -> None:
    """Some endpoints refuse what they don't know."""
    spec = run_spec(tmp_path)

    without = run_in_pod.model_config(spec)
    with_seed = run_in_pod.model_config({**spec, "model": {**model_entry(), "seed": 7}})

    assert "openai_extra_kwargs" not in without
    assert with_seed["openai_extra_kwargs"] == {"seed": 7}


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    """Of a run that has just begun."""
    return Tree(tmp_path)


def test_progress_is_counted_in_the_engines_files(tree: Tree, capsys: pytest.CaptureFixture[str]) -> None:
    """Own datasets by their rows, stock ones by what the engine says; then evaluated datasets."""
    spec = run_spec(tree.root.parent)
    planned: list[Json] = [{"abbr": "own", "rows": 10}, {"abbr": "stock", "rows": None}]
    progress = Progress()

    def look() -> None:
        run_in_pod.tell_progress(spec, planned, progress)

    look()
    status = f"{STAMP}/infer_status/m"
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
        tree.write(f"{STAMP}/predictions/m/{abbr}.json", {})
    look()
    tree.write(f"{STAMP}/results/m/own.json", {"accuracy": 1})
    look()

    assert progress_told(capsys.readouterr().out) == [
        (0, 20, "infer"),
        (4, 20, "infer"),
        (5, 15, "infer"),
        (9, 15, "infer"),
        (0, 2, "evaluate"),
        (1, 2, "evaluate"),
    ]


def test_datasets_that_have_not_begun_count_as_large_as_the_others(
    tree: Tree, capsys: pytest.CaptureFixture[str]
) -> None:
    """OpenCompass tells a dataset's size when it begins it; one that is done is not all of them."""
    spec = run_spec(tree.root.parent)
    planned: list[Json] = [{"abbr": f"part{number}", "rows": None} for number in range(3)]
    progress = Progress()

    for number in range(3):
        status = f"{STAMP}/infer_status/m/part{number}.json"
        tree.write(status, {"completed": 0, "total": 10})
        run_in_pod.tell_progress(spec, planned, progress)
        tree.write(status, {"completed": 10, "total": 10})
        run_in_pod.tell_progress(spec, planned, progress)

    assert progress_told(capsys.readouterr().out) == [
        (0, 30, "infer"),
        (10, 30, "infer"),
        (20, 30, "infer"),
        (0, 3, "evaluate"),
    ]


def test_a_resumed_attempt_counts_what_was_done(tree: Tree) -> None:
    """The newest attempt that has a file counts."""
    item = {"abbr": "own", "rows": 10}
    tree.write(f"{STAMP}/infer_status/m/own.json", {"completed": 4})
    tree.write(f"{LATER}/infer_status/m/own.json", {"completed": 6})
    (tree.root / "20260105_999999").mkdir()

    assert run_in_pod.dataset_progress(str(tree.root), "m", item) == (6, 10)


_PLANNED = [{"abbr": "a"}, {"abbr": "b"}]


def _check(tree: Tree, status: int = 0) -> None:
    run_in_pod.check_results(str(tree.root), "m", _PLANNED, status)


def test_a_number_for_each_dataset_is_a_success(tree: Tree) -> None:
    """Whichever attempt has it."""
    tree.write(f"{STAMP}/results/m/a.json", {"accuracy": 0, "details": {}})
    tree.write(f"{LATER}/results/m/b.json", {"type": "GEN", "score": 12.5})

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
    tree.write(f"{STAMP}/results/m/a.json", {"accuracy": 50})
    if result is not None:
        tree.write(f"{STAMP}/results/m/b.json", result)
    tree.write(f"{STAMP}/logs/infer/m/b.out", "10%\r100%\nKeyError: gold\n")

    error = refused(lambda: _check(tree))

    assert error.code == "RESULT_MISSING"
    assert error.message == "No score for b. Its log ends: 100%\nKeyError: gold"


def test_an_engine_that_failed_is_no_success(tree: Tree) -> None:
    """Though every number is there; then only its own log tells why."""
    for abbr in ("a", "b"):
        tree.write(f"{STAMP}/results/m/{abbr}.json", {"accuracy": 50})
    tree.write(".budeval/engine.log", "Segmentation fault")

    error = refused(lambda: _check(tree, 139))

    assert error.code == "ENGINE_FAILED"
    assert "exit status 139" in error.message
    assert "Segmentation fault" in error.message


def test_the_evaluations_log_tells_more_than_the_inferences(tree: Tree) -> None:
    """It is the later one."""
    tree.write(f"{STAMP}/logs/infer/m/a.out", "inferred")
    tree.write(f"{STAMP}/logs/eval/m/a.out", "x" * 5000 + "the end")

    message = refused(lambda: _check(tree)).message

    assert message.endswith("the end")
    assert len(message) < 2000


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


@pytest.fixture
def pod(tmp_path: Path, endpoint: FakeEndpoint) -> Iterator[Pod]:
    """One that was just started; signals are as before afterwards."""
    made = Pod(tmp_path, endpoint.url, _ENGINE)
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield made
    for number, handler in before.items():
        signal.signal(number, handler)


def test_a_whole_run_ends_with_0(pod: Pod, capsys: pytest.CaptureFixture[str]) -> None:
    """The plan is there, progress goes from prepare to done, and nothing failed; the key is nowhere."""
    assert pod.main(run_in_pod.run, "good") == 0

    output = capsys.readouterr().out
    told = progress_told(output)
    assert (told[0], told[-1]) == ((0, 0, "prepare"), (1, 1, "done"))
    assert not pod.termination.exists()
    plan = json.loads((pod.root / "run/.budeval/plan.json").read_text())
    (planned,) = plan.pop("datasets")
    assert len(planned.pop("sha256")) == len(planned.pop("rows_sha256")) == 64
    assert plan.pop("written").endswith("Z")
    told_of = {"dataset_id": "sums", "rows": 1, "rows_there": 1, "unit": "percent", "evaluator": "exact"}
    assert planned == {"abbr": "sums", **told_of}
    assert plan == {
        "schema": 1,
        "attempt": 1,
        "models": ["m"],
    }
    assert pod.told()["arguments"][1:] == ["-w", str(pod.root / "run")]
    assert pod.told()["cache"] == str(pod.root / "data")
    assert "the engine says hello" in output
    assert not pod.key_is_in(output)
    assert b"\xff the endpoint says: *** is wrong" in (pod.root / "run/infer.out").read_bytes()


def test_what_a_killed_attempt_has_left_shows_no_key(pod: Pod) -> None:
    """Nobody could clear it then; a link that leads elsewhere is not followed."""
    assert pod.main(run_in_pod.run, "nothing") == 3
    elsewhere = pod.root / "elsewhere"
    elsewhere.write_text(KEY)
    (pod.root / "run" / "link").symlink_to(elsewhere)
    logs = pod.root / "run" / "20260101_000000" / "logs"
    logs.mkdir(parents=True)
    (logs / "eval.out").write_text(f"401 for {KEY}")
    (logs / "empty.out").touch()

    assert pod.main(run_in_pod.run, "good") == 0

    assert (logs / "eval.out").read_text() == "401 for ***"
    assert elsewhere.read_text() == KEY


def test_an_earlier_attempt_is_gone_on_with(pod: Pod) -> None:
    """The engine is told which: it was asked the same, whatever number this attempt has."""
    assert pod.main(run_in_pod.run, "nothing") == 3
    (pod.root / "run" / "20260101_000000").mkdir()
    pod.spec["attempt"] = 2

    assert pod.main(run_in_pod.run, "good") == 0

    assert pod.told()["arguments"][-2:] == ["-r", "20260101_000000"]


@pytest.mark.parametrize(
    "rows", ['{"question": "2+2?", "answer": "2"}\n', '{"question": "1+1?", "answer": "3"}\n']
)
def test_replies_to_rows_that_were_replaced_are_not_scored(
    pod: Pod, capsys: pytest.CaptureFixture[str], rows: str
) -> None:
    """Neither the engine nor the extractor sees them: it is told to begin anew, and people are told why."""
    assert pod.main(run_in_pod.run, "good") == 0
    summary = pod.root / "run" / STAMP / "summary" / "summary_20990101_000000.csv"
    summary.parent.mkdir()
    summary.write_text("dataset,version,metric,mode,m\nsums,111111,accuracy,gen,50.00\n")
    capsys.readouterr()
    (pod.here / "dataset-0.jsonl").write_text(rows)
    pod.spec["attempt"] = 2

    assert pod.main(run_in_pod.run, "nothing") == 3

    assert "-r" not in pod.told()["arguments"]
    assert "beginning anew, all is asked again: since the last start the prompts or answers of sums" in (
        capsys.readouterr().out
    )
    assert not (pod.root / "run" / STAMP).exists()
    assert (pod.root / "run/.budeval/set-aside/1" / STAMP / "predictions/m/sums.json").exists()
    (pod.root / "results" / "e-1").mkdir(parents=True)
    (pod.root / "run").rename(pod.root / "results/e-1/opencompass-r-1")
    document = extract_run(OPENCOMPASS, str(pod.root / "results"), "e-1", "r-1")
    assert (document["attempt"], document["code"], document["scores"]) == (2, "SUMMARY_MISSING", [])


def test_a_start_that_dies_early_leaves_what_is_known_of_the_attempts(
    pod: Pod, endpoint: FakeEndpoint
) -> None:
    """It has planned the new rows, but the replies are still those to the old ones."""
    assert pod.main(run_in_pod.run, "good") == 0
    (pod.here / "dataset-0.jsonl").write_text('{"question": "2+2?", "answer": "4"}\n')
    endpoint.script = [(401, "no")]
    assert pod.main(run_in_pod.run, "good") == 3

    assert pod.main(run_in_pod.run, "good") == 0

    assert "-r" not in pod.told()["arguments"]


@pytest.mark.parametrize(
    ("mode", "code"), [("fails", "ENGINE_FAILED"), ("nothing", "RESULT_MISSING")], ids=["exit-7", "exit-0"]
)
def test_a_run_without_scores_ends_with_3(pod: Pod, mode: str, code: str) -> None:
    """Whatever the engine's exit status is; Kubernetes is told why."""
    assert pod.main(run_in_pod.run, mode) == 3

    document = json.loads(pod.termination.read_text())
    assert document["code"] == code
    assert "the engine says hello" in document["message"]


def test_an_attempt_that_dies_early_has_a_plan_of_its_own(pod: Pod, endpoint: FakeEndpoint) -> None:
    """It is younger than any summary of an earlier attempt, so the extractor does not take that."""
    endpoint.script = [(401, "no")]
    pod.spec["attempt"] = 2

    assert pod.main(run_in_pod.run, "good") == 3

    plan = json.loads((pod.root / "run/.budeval/plan.json").read_text())
    assert (plan["attempt"], [item["abbr"] for item in plan["datasets"]]) == (2, ["sums"])


def test_its_time_may_be_over_while_the_endpoint_is_asked(pod: Pod, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing on the way takes that for an answer, and goes on without a limit."""
    monkeypatch.setattr(endpoint_module, "ask_endpoint", lambda *_: time.sleep(60))
    pod.spec["seconds"] = 1

    assert pod.main(run_in_pod.run, "good") == 3

    assert json.loads(pod.termination.read_text())["code"] == "DEADLINE"


def test_a_run_that_takes_too_long_is_ended(pod: Pod) -> None:
    """By its own time, which begins with it; the engine and what it has started go with it."""
    pod.spec["seconds"] = 1

    assert pod.main(run_in_pod.run, "hang") == 3

    document = json.loads(pod.termination.read_text())
    assert document["code"] == "DEADLINE"
    assert "timeouts.run" in document["message"]
    pids = json.loads((pod.root / "told.pids").read_text())
    _await(lambda: not any(_is_alive(pid) for pid in pids))


def test_the_engine_is_not_started_for_nothing(pod: Pod, endpoint: FakeEndpoint) -> None:
    """An endpoint that refuses is known before."""
    endpoint.script = [(401, "no")]

    assert pod.main(run_in_pod.run, "good") == 3

    assert json.loads(pod.termination.read_text())["code"] == "ENDPOINT_AUTH_FAILED"
    assert not (pod.root / "told").exists()


def test_a_spec_that_cannot_be_used_ends_with_3(pod: Pod) -> None:
    """With the name of what is missing."""
    del pod.spec["model"]

    assert pod.main(run_in_pod.run, "good") == 3

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
    spec = run_spec(tmp_path, dataset_entry(tmp_path / "rows"), stock)

    planned = run_in_pod.stock_plan(spec, "config.py", {"PYTHONPATH": str(tmp_path)})

    assert planned == [
        {"abbr": abbr, "dataset_id": "gsm8k_gen", "rows": None} for abbr in ("gsm8k-a", "gsm8k-b")
    ]


def test_stock_datasets_that_cannot_be_loaded_are_named(tmp_path: Path) -> None:
    """With what the engine says of them."""
    spec = run_spec(tmp_path, {"dataset_id": "gsm8k_gen", "abbr": "gsm8k_gen", "kind": "stock"})

    error = refused(lambda: run_in_pod.stock_plan(spec, "config.py", {"PATH": os.environ["PATH"]}))

    assert error.code == "DATASET_UNKNOWN"
    assert "cannot load gsm8k_gen" in error.message
    assert "mmengine" in error.message


_DRIVER = """
import os, sys
from functools import partial
from budeval.engines.in_pod import engine_process
from budeval.engines.in_pod.program import main
from budeval.engines.opencompass.run_in_pod import run
engine_process.POLL_SECONDS, engine_process.STOP_GRACE_SECONDS = 0.02, 5.0
sys.exit(main(sys.argv[1], os.environ, partial(run, engine=(sys.executable, sys.argv[2]))))
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
    pids_file = pod.root / "told.pids"
    environment = {**pod.environment("hang"), "PYTHONPATH": str(Path(__file__).parents[3])}
    command = [sys.executable, "-c", _DRIVER, str(pod.spec_file), str(pod.engine)]
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
