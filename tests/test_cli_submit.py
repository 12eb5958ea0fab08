import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.fake_service import EVAL_ID, MODEL, SECRET, START, STOCK, FakeService, only_line, run_budeval


def test_submit_from_flags(fake: FakeService, tmp_path: Path) -> None:
    """Stock and own datasets; the key is the environment's, and only in the body."""
    rows = tmp_path / "rows.csv"
    rows.write_text("\ufeffquestion,answer\n1+1,2\n")
    flags = ["--dataset", f"own={rows}", "--prompt", "Q {question}", "--answer", "answer"]
    more = ["--evaluator", "last_number", "--limit", "3", "--temperature", "0.5", "--cluster", "c"]

    result = run_budeval(fake, "submit", *STOCK, *flags, *more, "--namespace", "n")

    body = fake.body
    assert (result.exit_code, result.stdout) == (0, f"{body['eval_id']}\n")
    assert body["eval_model_info"] == {"model_name": "m", "endpoint": "http://m/v1", "api_key": SECRET}
    assert (body["cluster"], body["namespace"], body["decoding"]) == ("c", "n", {"temperature": 0.5})
    stock, own = body["eval_datasets"]
    assert (stock["dataset_id"], stock["limit"], "source" in stock) == ("demo_chat", 3, False)
    assert own["source"] == {
        "inline": "question,answer\n1+1,2\n",
        "format": "csv",
        "prompt": "Q {question}",
        "answer": "answer",
        "evaluator": "last_number",
    }


def test_missing_ids_follow_from_the_evaluations(fake: FakeService) -> None:
    """The same command with the same --eval-id is the same request; without one it is another."""
    bodies = []
    for more in (["--eval-id", EVAL_ID], ["--eval-id", EVAL_ID], []):
        run_budeval(fake, "submit", *STOCK, "--dataset", "demo_chat", *more)
        bodies.append(fake.body)
    assert bodies[0] == bodies[1]
    assert bodies[0]["eval_id"] != bodies[2]["eval_id"]
    first, second = (dataset["run_id"] for dataset in bodies[0]["eval_datasets"])
    assert first != second
    assert first.startswith("demo-chat-")


_FILE: dict[str, Any] = {
    "eval_id": EVAL_ID,
    "eval_model_info": {"model_name": "m", "endpoint": "http://m", "secret_ref": {"name": "s"}},
    "eval_datasets": [{"dataset_id": "d", "run_id": "r"}],
}
_YAML = f"""\
eval_id: {EVAL_ID}
eval_model_info: {{model_name: m, endpoint: "http://m", secret_ref: {{name: s}}}}
eval_datasets:
  - dataset_id: d
    run_id: r
"""


@pytest.mark.parametrize("text", [json.dumps(_FILE), json.dumps(_FILE, indent="\t"), _YAML])
def test_submit_a_file(fake: FakeService, tmp_path: Path, text: str) -> None:
    """JSON or YAML, by name or from stdin; what it says is kept, flags win."""
    file = tmp_path / "request"
    file.write_text(text)
    from_file = run_budeval(fake, "submit", str(file))
    sent = fake.body
    from_stdin = run_budeval(fake, "submit", "-", "--model", "other", stdin=text)
    assert (from_file.exit_code, from_stdin.exit_code) == (0, 0)
    assert {name: sent[name] for name in _FILE} == _FILE
    assert set(sent) - set(_FILE) == {"experiment_id"}
    assert fake.body["eval_model_info"] == _FILE["eval_model_info"] | {"model_name": "other"}


@pytest.mark.parametrize(
    "text",
    ['{"api_key": "sk-very-secret"', f"api_key: *{SECRET}", f"- {SECRET}", f"a: !{SECRET} 1", "\x00"],
)
def test_a_file_that_is_no_request_is_refused_unquoted(fake: FakeService, text: str) -> None:
    """It says where to look, and never what stands there: it may be the key."""
    result = run_budeval(fake, "submit", "-", stdin=text)
    assert result.exit_code == 2
    assert only_line(result).startswith("REQUEST_INVALID: - is ")
    assert fake.requests == []


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ([], "REQUEST_INVALID: Without a request file give --model, --endpoint and --dataset."),
        (["/nowhere.json"], "REQUEST_INVALID: /nowhere.json cannot be read: No such file or directory."),
        ([*STOCK, "--prompt", "x"], "REQUEST_INVALID: --prompt, --answer and --evaluator are for --dataset"),
        ([*MODEL, "--dataset", "d=x.parquet"], "REQUEST_INVALID: x.parquet must end in .jsonl"),
        ([*MODEL, "--dataset", "d=/nowhere.csv"], "REQUEST_INVALID: /nowhere.csv cannot be read"),
        ([*STOCK, "--api-key-env", SECRET], "REQUEST_INVALID: No API key: the environment variable that"),
        ([*STOCK, "--temperature", "nan"], "REQUEST_INVALID: The request holds a value that JSON"),
    ],
)  # fmt: skip
def test_what_cannot_be_asked_is_2(fake: FakeService, arguments: list[str], line: str) -> None:
    """And nothing is sent."""
    result = run_budeval(fake, "submit", *arguments)
    assert result.exit_code == 2
    assert only_line(result).startswith(line)
    assert fake.requests == []


def test_a_file_that_cannot_be_inlined_is_refused(fake: FakeService, tmp_path: Path) -> None:
    """Too long, or no text."""
    (tmp_path / "long.jsonl").write_text("x" * (512 * 1024 + 1))
    (tmp_path / "binary.csv").write_bytes(b"\xff\xfe\x00")
    for name, reason in (("long.jsonl", "512 KiB"), ("binary.csv", "not UTF-8")):
        result = run_budeval(fake, "submit", *MODEL, "--dataset", f"d={tmp_path / name}")
        assert result.exit_code == 2
        assert reason in only_line(result)


def test_an_unsure_start_says_how_to_be_sure(fake: FakeService) -> None:
    """No answer is not a no: the id is told, with which the same again is safe."""
    fake.put(START, httpx.ReadTimeout("late"))
    result = run_budeval(fake, "submit", *STOCK)
    assert result.exit_code == 3
    note, error = result.stderr.splitlines()
    assert f"--eval-id {fake.body['eval_id']} starts it only once" in note
    assert error.startswith("SERVICE_UNREACHABLE: ")


@pytest.mark.parametrize("ok", [True, False])
def test_validate(fake: FakeService, *, ok: bool) -> None:
    """A line for each check; 1 if one is not ok."""
    check = {"name": "cluster", "ok": ok, "code": None if ok else "AUTH_FAILED", "message": "[red]said"}
    fake.put("POST /evals:validate", {"ok": ok, "checks": [check]})
    result = run_budeval(fake, "validate", *STOCK)
    assert result.exit_code == (0 if ok else 1)
    assert ("AUTH_FAILED: [red]said" in result.stdout) is not ok
    assert fake.asked(START) == 0
