import base64
import csv
import hashlib
import io
import json
import os
import pty
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
import typer
from pydantic import BaseModel
from typer.testing import CliRunner

from budeval import cli
from budeval.cli import app
from budeval.errors import SealError
from budeval.evals.schema import CancelRequest, DeletionRequest, OrphanRequest, RetryRequest
from tests.fake_service import (
    EVAL_ID,
    FAILED_RUN,
    SECRET,
    STARTED,
    STOCK,
    FakeService,
    announcement,
    evaluation,
    only_line,
    refusal,
    results,
    run_budeval,
    streamed,
)

_app = typer.main.get_group(app)
_COMMANDS = sorted(_app.commands)
_STATE = f"GET /evals/{EVAL_ID}"
_RESULTS = f"GET /evals/{EVAL_ID}/results"
_EVENTS = f"GET /evals/{EVAL_ID}/events"


def test_help_is_fast_and_tells_the_exit_codes() -> None:
    """`python -m budeval --help` lists the commands, and loads nothing that only a service needs."""
    code = "import sys, budeval.cli; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    shown = subprocess.run(
        [sys.executable, "-m", "budeval", "--help"], capture_output=True, text=True, check=True
    ).stdout
    assert {"fastapi", "dapr", "ansible_runner", "cryptography", "kubernetes"}.isdisjoint(loaded.split())
    assert [name for name in _COMMANDS if f" {name} " not in shown] == []
    assert [number for number in (0, 1, 2, 3, 130) if f"{number}: " not in shown] == []


@pytest.mark.parametrize("name", _COMMANDS)
def test_each_command_explains_itself(name: str) -> None:
    """Each command's --help has more to say than its usage line."""
    result = CliRunner().invoke(app, [name, "--help"])
    said = [line for line in result.stdout.splitlines() if line.strip() and "Usage:" not in line]
    assert result.exit_code == 0
    assert len(said[0].split()) > 3


@pytest.mark.parametrize(
    ("answer", "exit_code", "line"),
    [
        (refusal(404, "EVALUATION_UNKNOWN", "No\none.", "id"), 2, "EVALUATION_UNKNOWN: No one. (field: id)"),
        (refusal(422, "REQUEST_INVALID", "a.b: Bad", "a.b"), 2, "REQUEST_INVALID: a.b: Bad"),
        (refusal(404, "ENGINE_UNKNOWN", "No engine.", "engine"), 2, "ENGINE_UNKNOWN: No engine. (field"),
        (refusal(503, "SIDECAR_UNAVAILABLE", "Dapr is away."), 3, "SIDECAR_UNAVAILABLE: Dapr is away."),
        (refusal(500, "INTERNAL", "\x1b[31mA bug."), 3, "INTERNAL: [31mA bug."),
        (httpx.ConnectError("x"), 3, "SERVICE_UNREACHABLE: No answer from http://127.0.0.1:13080"),
        (httpx.Response(200, text="<html>"), 3, "SERVICE_UNREACHABLE: http://127.0.0.1:13080 gives"),
        (KeyboardInterrupt(), 130, "Interrupted."),
    ],
)  # fmt: skip
def test_a_failure_is_one_line_and_a_code(
    fake: FakeService, answer: httpx.Response | BaseException, exit_code: int, line: str
) -> None:
    """`CODE: message` on stderr, nothing on stdout, and the exit code of its kind."""
    fake.put(_STATE, answer)
    result = run_budeval(fake, "status", EVAL_ID)
    assert result.exit_code == exit_code
    assert only_line(result).startswith(line)


@pytest.mark.parametrize(
    "arguments",
    [
        ["nonsense"],
        ["status"],
        ["list", "--limit", "0"],
        ["list", "--status", "DONE"],
        ["events", "x", "--after", "-1"],
    ],
)
def test_wrong_usage_is_2(fake: FakeService, arguments: list[str]) -> None:
    """As everywhere on Unix."""
    assert run_budeval(fake, *arguments).exit_code == 2
    assert fake.requests == []


def test_where_the_service_is(fake: FakeService, monkeypatch: pytest.MonkeyPatch) -> None:
    """From --url, else from BUDEVAL_URL, else on this machine; a token from BUDEVAL_TOKEN."""
    fake.put("GET /engines", [])
    run_budeval(fake, "engines")
    monkeypatch.setenv("BUDEVAL_URL", "http://by-env:1/")
    run_budeval(fake, "engines")
    run_budeval(fake, "--url", "https://by-flag", "engines")
    assert [str(request.url) for request in fake.requests] == [
        "http://127.0.0.1:13080/engines",
        "http://by-env:1/engines",
        "https://by-flag/engines",
    ]
    monkeypatch.setenv("BUDEVAL_TOKEN", "t\n")
    assert cli._client("http://x")._http.headers["authorization"] == "Bearer t"


def test_a_wrong_url_is_2_and_not_quoted(fake: FakeService) -> None:
    """It may hold a password."""
    result = run_budeval(fake, "--url", f"http://user:{SECRET}@host", "engines")
    assert result.exit_code == 2
    assert only_line(result).startswith("REQUEST_INVALID: The service's URL")


@pytest.mark.parametrize(("outcome", "exit_code"), [("COMPLETED", 0), ("PARTIAL", 1), ("FAILED", 1)])
def test_watch(fake: FakeService, outcome: str, exit_code: int) -> None:
    """Without a terminal: a line for each change, then the scores; the exit code is the outcome's."""
    running, ended = evaluation("RUNNING"), evaluation("COMPLETED", outcome)
    fake.put(_STATE, running, running, ended).put(_RESULTS, results(outcome, FAILED_RUN))
    result = run_budeval(fake, "watch", EVAL_ID)
    assert result.exit_code == exit_code
    assert result.stdout.count("COMPLETED Deploying: 1 of 1 Jobs\n") == 1
    assert result.stdout.count("40 %, 3 min left\n") == 1
    assert "62.50" in result.stdout
    assert "30.60 to 86.30" in result.stdout
    assert "JOB_FAILED: It said: [31mno" in result.stdout
    assert "\x1b" not in result.stdout


def test_submit_and_watch(fake: FakeService) -> None:
    """The id first, then what `watch` shows."""
    fake.put(_STATE, evaluation("COMPLETED", "COMPLETED")).put(_RESULTS, results("COMPLETED"))
    result = run_budeval(fake, "submit", *STOCK, "--eval-id", EVAL_ID, "--watch")
    assert result.exit_code == 0
    assert result.stdout.startswith(f"{EVAL_ID}\n")
    assert "outcome COMPLETED, 1 of 1 cells scored, headline 62.50 %" in result.stdout


def test_watch_without_results_says_why(fake: FakeService) -> None:
    """An evaluation that ended before it had any still tells its error."""
    fake.put(_STATE, evaluation("FAILED", "FAILED", error="QUOTA_EXCEEDED: full"))
    fake.put(_RESULTS, refusal(409, "RESULTS_NOT_READY", "none"))
    result = run_budeval(fake, "watch", EVAL_ID)
    assert result.exit_code == 1
    assert "QUOTA_EXCEEDED: full" in result.stdout


@pytest.mark.parametrize(
    ("flags", "body"),
    [
        ((), {"extract": False}),
        (("--extract",), {"extract": True}),
        (("--attempt", "2"), {"extract": False, "attempt": 2}),
    ],
)
def test_cancel(fake: FakeService, flags: tuple[str, ...], body: Any) -> None:
    """It is asked for, and what to do next is said; --watch shows its end, which is no success."""
    path = f"POST /evals/{EVAL_ID}/cancel"
    fake.put(path, evaluation("RUNNING", cancelling=True))
    fake.put(_STATE, evaluation("TERMINATED", "CANCELLED"))
    fake.put(_RESULTS, refusal(409, "RESULTS_NOT_READY", "none"))

    asked = run_budeval(fake, "cancel", EVAL_ID, *flags)
    watched = run_budeval(fake, "cancel", EVAL_ID, "--watch")

    assert (asked.exit_code, watched.exit_code) == (0, 1)
    assert "`status` tells when it is" in asked.stderr
    assert json.loads(fake.requests[0].content) == body


def test_retry(fake: FakeService, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """With the key of the environment, and a kubeconfig where one is given; how many runs begin is said."""
    monkeypatch.setenv("MY_KEY", "sk-again")
    (tmp_path / "kube").write_text("a: kubeconfig")
    runs = {"a": {"state": "pending"}, "b": {"state": "succeeded"}}
    fake.put(f"POST /evals/{EVAL_ID}/retry", evaluation("RUNNING", attempt=2, runs=runs))

    without = run_budeval(fake, "retry", EVAL_ID, "--api-key-env", "MY_KEY_IS_NOT_SET")
    unread = run_budeval(fake, "retry", EVAL_ID, "--api-key-env", "MY_KEY", "--kubeconfig", "/nowhere")
    kubeconfig = str(tmp_path / "kube")
    done = run_budeval(fake, "retry", EVAL_ID, "--api-key-env", "MY_KEY", "--kubeconfig", kubeconfig)

    assert (without.exit_code, unread.exit_code, done.exit_code) == (2, 2, 0)
    assert "Attempt 2 has begun with 1 of 2 runs." in done.stderr
    assert fake.body == {"api_key": "sk-again", "kubeconfig": "a: kubeconfig"}


@pytest.mark.parametrize(
    ("given", "reference"),
    [
        ("models", {"name": "models"}),
        ("models=openai", {"name": "models", "key": "openai"}),
        ("models=", {"name": "models", "key": ""}),
        ("", {"name": ""}),
    ],
)
def test_retry_by_reference(
    fake: FakeService, monkeypatch: pytest.MonkeyPatch, given: str, reference: dict[str, str]
) -> None:
    """The key stays in the service's secret store: none of here is sent. What is wrong the service says."""
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    fake.put(f"POST /evals/{EVAL_ID}/retry", evaluation("RUNNING", attempt=2, runs={}))

    done = run_budeval(fake, "retry", EVAL_ID, "--secret-ref", given)

    assert done.exit_code == 0
    assert fake.body == {"secret_ref": reference}


_ORDERS = [
    ("cancel", CancelRequest, {"extract": "--extract", "attempt": "--attempt"}),
    (
        "retry",
        RetryRequest,
        {
            "api_key": "--api-key-env",
            "secret_ref": "--secret-ref",
            "kubeconfig": "--kubeconfig",
            "attempt": "--attempt",
        },
    ),
    ("delete", DeletionRequest, {"kubeconfig": "--kubeconfig", "keep_files": "--keep-files"}),
    (
        "receipts",
        OrphanRequest,
        {"cluster": "--cluster", "namespace": "--namespace", "installation": "--installation"},
    ),
]


@pytest.mark.parametrize(("command", "request_model", "options"), _ORDERS)
def test_what_a_request_can_say_a_command_can(
    command: str, request_model: type[BaseModel], options: dict[str, str]
) -> None:
    """Each field of what ends, repeats and removes has its option."""
    has = {name for parameter in _app.commands[command].params for name in parameter.opts}

    assert options.keys() == request_model.model_fields.keys()
    assert set(options.values()) <= has


@pytest.mark.parametrize(
    ("files", "options", "says"), [(12, [], "12 files went"), (None, ["--keep-files"], "were kept")]
)
def test_delete(fake: FakeService, tmp_path: Path, files: int | None, options: list[str], says: str) -> None:
    """Asks before it does; with the kubeconfig where one is given."""
    (tmp_path / "kube").write_text("a: kubeconfig")
    fake.put(f"DELETE /evals/{EVAL_ID}", {"eval_id": EVAL_ID, "files_removed": files})

    unsure = run_budeval(fake, "delete", EVAL_ID, *options)
    assert (unsure.exit_code, fake.requests) == (1, [])
    sure = run_budeval(fake, "delete", EVAL_ID, "--yes", "--kubeconfig", str(tmp_path / "kube"), *options)

    assert sure.exit_code == 0
    assert says in sure.stderr
    assert fake.body == {"keep_files": bool(options), "kubeconfig": "a: kubeconfig"}


def test_interrupting_stops_watching_only(fake: FakeService) -> None:
    """And says so, with how to go on; trouble in between was told on stderr."""
    fake.put(_STATE, evaluation("RUNNING"), httpx.ConnectError("x"), KeyboardInterrupt())
    result = run_budeval(fake, "watch", EVAL_ID)
    assert result.exit_code == 130
    trouble, note = result.stderr.splitlines()
    assert "Trying again for two minutes" in trouble
    assert note == f"Stopped watching only. The evaluation goes on; `budeval watch {EVAL_ID}` shows it again."


_ON_A_TERMINAL = f"""
from budeval.cli import app
from tests.fake_service import *
fake = FakeService()
fake.put("{_STATE}", evaluation("RUNNING"), evaluation("COMPLETED", "COMPLETED"))
fake.put("{_RESULTS}", results("COMPLETED"))
app(["watch", EVAL_ID], obj=fake.connect)
"""


def test_bars_on_a_terminal() -> None:
    """On a terminal there are bars with samples and minutes, steps above them, and then the scores."""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "COLUMNS": "150", "TERM": "xterm"}
    command = [sys.executable, "-c", _ON_A_TERMINAL]
    with subprocess.Popen(command, stdout=theirs, stderr=theirs, env=environment) as process:
        os.close(theirs)
        shown = b""
        while chunk := _read(ours):
            shown += chunk
    os.close(ours)
    assert process.returncode == 0
    for text in ("━", "Deploying: 1 of 1 Jobs", "40 %, 3 min left", "4/10 running", "62.50"):
        assert text in shown.decode()


def _read(terminal: int) -> bytes:
    """What is left on a terminal; nothing once the other side is closed."""
    try:
        return os.read(terminal, 65536)
    except OSError:
        return b""


@pytest.mark.parametrize(
    ("state", "exit_code"),
    [
        (evaluation("PENDING"), 0),
        (evaluation("RUNNING"), 0),
        (evaluation("COMPLETED", "COMPLETED"), 0),
        (evaluation("COMPLETED", "PARTIAL"), 1),
        (evaluation("FAILED", "FAILED", error="A: b"), 1),
        (evaluation("TERMINATED"), 1),
    ],
)
def test_status(fake: FakeService, state: dict[str, Any], exit_code: int) -> None:
    """For people, and as pure JSON; 1 only if it has ended without all its scores."""
    fake.put(_STATE, state)
    shown, as_json = run_budeval(fake, "status", EVAL_ID), run_budeval(fake, "status", EVAL_ID, "--json")
    assert (shown.exit_code, as_json.exit_code) == (exit_code, exit_code)
    assert "small [bold] on local/budeval" in shown.stdout
    assert "4/10" in shown.stdout
    assert ("1 of 2 cells scored" in shown.stdout) is bool(state["completeness"])
    assert json.loads(as_json.stdout) == {"object": "evaluation"} | state
    assert as_json.stderr == ""


def test_results_as_csv_and_json(fake: FakeService) -> None:
    """A row for each score and for each run without one; commas, quotes and newlines survive."""
    fake.put(_RESULTS, results("PARTIAL", FAILED_RUN))
    done = run_budeval(fake, "results", EVAL_ID, "--format", "csv")
    good, bad = csv.DictReader(io.StringIO(done.stdout))
    assert done.exit_code == 1
    assert (good["run_id"], good["dataset"], good["score"]) == ("sums-1", 'su"ms, hard', "62.5")
    assert (good["interval_low"], good["interval_high"]) == ("30.6", "86.3")
    assert (bad["run_id"], bad["score"], bad["error"]) == ("gsm8k-1", "", FAILED_RUN["error"])
    as_json = run_budeval(fake, "results", EVAL_ID, "--format", "json")
    assert json.loads(as_json.stdout) == results("PARTIAL", FAILED_RUN)


@pytest.mark.parametrize("form", ["table", "json", "csv"])
def test_results_to_a_file(fake: FakeService, tmp_path: Path, form: str) -> None:
    """The same as on stdout, which stays empty; a file that cannot be written is one line."""
    fake.put(_RESULTS, results("COMPLETED"))
    file = tmp_path / "out"
    shown = run_budeval(fake, "results", EVAL_ID, "--format", form)
    written = run_budeval(fake, "results", EVAL_ID, "--format", form, "--output", str(file))
    assert (written.exit_code, written.stdout) == (0, "")
    assert file.read_text() == shown.stdout
    refused = run_budeval(fake, "results", EVAL_ID, "--output", str(tmp_path / "no" / "out"))
    assert refused.exit_code == 2
    assert "cannot be written: No such file or directory." in only_line(refused)


def test_events(fake: FakeService) -> None:
    """A line each; with --json each line is JSON; --follow goes on to the end."""
    first, second = announcement(1, "STARTED"), announcement(2, "COMPLETED")
    fake.put(_EVENTS, {"events": [first], "last": 1})
    assert (
        run_budeval(fake, "events", EVAL_ID).stdout == "   1  STARTED    evaluate_model_status: message 1\n"
    )
    stream = httpx.Response(200, content=streamed(first, second))
    fake.put(f"{_EVENTS}/stream", stream, httpx.Response(204))
    followed = run_budeval(fake, "events", EVAL_ID, "--follow", "--json")
    assert [json.loads(line) for line in followed.stdout.splitlines()] == [first, second]


def test_list_takes_as_many_pages_as_it_needs(fake: FakeService) -> None:
    """--limit is of evaluations, not of a page; JSON is one array."""
    summary: dict[str, Any] = {
        "eval_id": EVAL_ID, "status": "RUNNING", "outcome": None, "attempt": 1, "tenant": "t", "model": "m",
        "runs": 1, "created": "2026-01-02", "ended": None, "labels": {},
    }  # fmt: skip
    page = {"evaluations": [summary] * 2, "cursor": "next"}
    fake.put("GET /evals", page, {"evaluations": [summary] * 2, "cursor": None})
    assert json.loads(run_budeval(fake, "list", "--limit", "3", "--json").stdout) == [summary] * 3
    assert [request.url.params.get("cursor") for request in fake.requests] == [None, "next"]
    assert run_budeval(fake, "list").stdout.count(EVAL_ID) == 2
    run_budeval(fake, "list", "--status", "FAILED", "--since", "2026-11-23", "--until", "2026-11-24")
    asked = fake.requests[-1].url.params
    assert (asked["status"], asked["since"], asked["until"]) == ("FAILED", "2026-11-23", "2026-11-24")
    fake.put("GET /evals", {"evaluations": [], "cursor": None})
    assert run_budeval(fake, "list", "--json").stdout == "[]\n"


def test_logs_do_not_command_the_terminal(fake: FakeService) -> None:
    """Progress bars become lines, control characters go."""
    log = {"eval_id": EVAL_ID, "run_id": "r", "log": "10%\r20%\n\x1b]0;title\x07[b]done\tit\n"}
    fake.put(f"GET /evals/{EVAL_ID}/logs", log)
    assert run_budeval(fake, "logs", EVAL_ID, "r").stdout == "10%\n20%\n]0;title[b]done\tit\n"


def test_engines_and_datasets(fake: FakeService) -> None:
    """What can be asked for."""
    fake.put("GET /engines", [{"name": "e", "image": "i:1", "stock_datasets": 2}])
    fake.put("GET /engines/e/datasets", {"engine": "e", "datasets": ["a_gen", "b_gen"]})
    assert "i:1" in run_budeval(fake, "engines").stdout
    assert run_budeval(fake, "datasets", "--engine", "e", "--contains", "gen").stdout == "a_gen\nb_gen\n"
    assert fake.requests[-1].url.params["contains"] == "gen"


def _well(fake: FakeService) -> FakeService:
    """Everything that the doctor looks at is well."""
    target = {"cluster": "local", "namespace": "budeval"}
    found = {"target": target, "ok": True, "message": "m", "server_version": "v1.34", "claim": "c"}
    workflow = {"workflow_id": "w", "workflow_name": "verify_cluster", "status": "RUNNING"}
    fake.put("GET /openapi.json", {"info": {"version": "0.1.0"}})
    broker = {"name": "broker", "version": "pubsub.redis v1"}
    fake.put("GET /readyz", {"ready": True, "dependencies": [broker, {"name": "other"}]})
    fake.put("GET /engines", [{"name": "e", "image": "i", "stock_datasets": 2}])
    fake.put("POST /clusters:verify", STARTED)
    return fake.put(
        "GET /workflow/w/status", workflow, workflow | {"status": "COMPLETED", "verification": found}
    )


def test_doctor_finds_everything_well(fake: FakeService) -> None:
    """Every part is named; the cluster's verification is awaited."""
    result = run_budeval(_well(fake), "doctor")
    assert result.exit_code == 0
    assert "not ok" not in result.stdout
    for said in ("reached, pubsub.redis v1", "e (i) with 2", "local/budeval, Kubernetes v1.34"):
        assert said in result.stdout


_FAILED_WORKFLOW = {
    "workflow_id": "w", "workflow_name": "verify_cluster", "status": "FAILED", "error": "API_TIMEOUT: slow",
}  # fmt: skip
_AWAY = {"ready": False, "dependencies": [{"name": "broker", "problem": "redis is away"}]}


@pytest.mark.parametrize(
    ("route", "answer", "said"),
    [
        ("GET /openapi.json", httpx.ConnectError("x"), "SERVICE_UNREACHABLE: No answer"),
        ("GET /readyz", httpx.Response(503, json=_AWAY), "redis is away; whoever runs"),
        ("GET /engines", [], "ENGINE_UNKNOWN: "),
        ("POST /clusters:verify", refusal(400, "CLUSTER_REQUIRED", "Say."), "CLUSTER_REQUIRED: Say."),
        ("GET /workflow/w/status", _FAILED_WORKFLOW, "API_TIMEOUT: slow"),
    ],
)  # fmt: skip
def test_doctor_finds_what_is_wrong(fake: FakeService, route: str, answer: Any, said: str) -> None:
    """The part is named with the reason, exit code 1; the other parts are looked at too."""
    result = run_budeval(_well(fake).put(route, answer), "doctor")
    assert result.exit_code == 1
    assert result.stdout.count("not ok") == 1
    assert said in result.stdout


def test_new_token_makes_an_entry_for_the_settings(fake: FakeService) -> None:
    """With the token's digest; the token alone goes to standard output."""
    made = run_budeval(fake, "new-token", "ci", "--tenant", "team-a", "--scope", "read", "--scope", "admin")
    usual = run_budeval(fake, "new-token", "ci")

    (token,) = made.stdout.split()
    entry = json.loads(made.stderr.partition("list: ")[2])
    assert (entry["name"], entry["tenant"], set(entry["scopes"])) == ("ci", "team-a", {"read", "admin"})
    assert entry["sha256"] == hashlib.sha256(token.encode()).hexdigest()
    assert token not in made.stderr
    assert set(json.loads(usual.stderr.partition("list: ")[2])["scopes"]) == {"read", "submit"}
    assert fake.requests == []


def test_new_key_asks_nobody(fake: FakeService) -> None:
    """A key that the service takes, each time another one."""
    first, second = (run_budeval(fake, "new-key").stdout.strip() for _ in range(2))
    assert first != second
    assert len(base64.b64decode(first)) == 32
    assert fake.requests == []


def test_other_failures_of_ours_are_one_line_too(fake: FakeService, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever has a code."""

    def refuse() -> str:
        raise SealError("no")

    monkeypatch.setattr("budeval.runtime.sealing.new_key", refuse)
    result = run_budeval(fake, "new-key")
    assert (result.exit_code, only_line(result)) == (2, "SEAL_FAILED: no")


def _report(**verdicts: str) -> dict[str, Any]:
    told = [word for word in ("worse", "better", "no_evidence") if word in verdicts.values()]
    whole = (told or ["not_comparable"])[0]
    side: dict[str, Any] = {
        "eval_id": EVAL_ID,
        "model": "m",
        "engine": "lm-eval",
        "created": "2026-01-01",
        "outcome": "COMPLETED",
        "completeness": {},
        "headline": None,
    }
    empty = ("reason", "interval", "method", "only_base", "only_candidate")
    datasets = [
        {
            "dataset": name,
            "verdict": verdict,
            "base": {"score": 50.0, "samples": 64},
            "candidate": {"score": 40.0, "samples": 64},
            "difference": -0.1,
            "p_value": 0.01234,
            "p_holm": 0.02468,
            **dict.fromkeys(empty),
        }
        for name, verdict in verdicts.items()
    ]
    differs = {"image": ["a", "b"]}
    return {
        "base": side, "candidate": side, "alpha": 0.05, "verdict": whole, "verdicts": {},
        "datasets": datasets, "differs": differs,
    }  # fmt: skip


def test_compare_shows_each_dataset_and_what_differs() -> None:
    """Without the gate it exits 0 whatever the verdict."""
    fake = FakeService().put("GET /compare", _report(sums="worse"))

    result = run_budeval(fake, "compare", "a", "b", "--alpha", "0.01")

    assert result.exit_code == 0
    assert "-10.00 %" in result.stdout
    assert "0.025" in result.stdout
    assert "differs: image" in result.stdout
    assert dict(fake.requests[0].url.params) == {"base": "a", "candidate": "b", "alpha": "0.01"}


@pytest.mark.parametrize(
    ("verdicts", "code"),
    [
        ({"a": "better", "b": "no_evidence"}, 0),
        ({"a": "worse", "b": "not_comparable"}, 1),
        ({"a": "better", "b": "not_comparable"}, 4),
        ({"a": "not_comparable"}, 4),
        ({}, 4),
    ],
)
def test_the_gate_passes_only_what_was_compared(verdicts: dict[str, str], code: int) -> None:
    """A broken run must not pass as no loss."""
    fake = FakeService().put("GET /compare", _report(**verdicts))

    assert run_budeval(fake, "compare", "a", "b", "--fail-if-worse", "--json").exit_code == code
