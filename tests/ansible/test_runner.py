"""The real ansible-runner in real worker processes, on small playbooks."""

import base64
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeAlias
from urllib.parse import quote

import pytest

from budeval.ansible import kubeconfig
from budeval.ansible.private_directory import PrivateDirectory, left_behind, sweep
from budeval.ansible.runner import PlaybookRun, PlaybookRunner, _Outcome
from budeval.errors import ClusterError

_ROOT = Path(__file__).resolve().parents[2]
_PLAYBOOKS = Path(__file__).parent / "playbooks"
_OWNER = Path(__file__).parent / "owner.py"
_KUBECONFIG = "apiVersion: v1\nkind: Config"
_PATIENCE_SECONDS = 60.0

Owner: TypeAlias = "subprocess.Popen[str]"


@pytest.fixture
def runner() -> Iterator[PlaybookRunner]:
    """One worker, with time to spare."""
    runner = PlaybookRunner(1, timeout=60, module_timeout=60, playbooks=_PLAYBOOKS)
    yield runner
    runner.close()


@pytest.fixture
def hasty_runner() -> Iterator[PlaybookRunner]:
    """One worker; a run has just the time to get going."""
    runner = PlaybookRunner(1, timeout=8, module_timeout=250, playbooks=_PLAYBOOKS)
    yield runner
    runner.close()


@pytest.fixture
def aside() -> Iterator[ThreadPoolExecutor]:
    """Where runs go that a test interferes with."""
    with ThreadPoolExecutor(2) as pool:
        yield pool


@dataclass(frozen=True)
class SleepingPlaybook:
    """What a playbook that sleeps in a module has told of itself."""

    module: int
    private: Path

    @classmethod
    def reported_in(cls, report: Path) -> "SleepingPlaybook":
        """Wait until it sleeps."""
        _wait(report.exists, "the playbook did not start")
        pid, kubeconfig = report.read_text().split()
        return cls(int(pid), Path(kubeconfig).parent)

    def processes(self, above: int) -> list[int]:
        """Its module and all the processes between that and one far above."""
        chain = [self.module]
        while (parent := _parent(chain[-1])) not in {above, 1}:
            chain.append(parent)
        assert _parent(chain[-1]) == above
        return chain


def _wait(until: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while not until():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


def _fields(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def _parent(pid: int) -> int:
    return int(_fields(pid)[1])


def _alive(pid: int) -> bool:
    try:
        return _fields(pid)[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def _wait_for_the_end_of(pids: list[int]) -> None:
    _wait(lambda: not any(map(_alive, pids)), f"of {pids} some still run")


def _error_of(run: Future[dict[str, Any]]) -> ClusterError:
    with pytest.raises(ClusterError) as failed:
        run.result(_PATIENCE_SECONDS)
    return failed.value


class StartsOwners(Protocol):
    """Starts a process that owns a PlaybookRunner (owner.py)."""

    def __call__(self, way: str, playbook: str, data: dict[str, str], **environment: str) -> Owner:
        """With these variables beside those of the test."""


@pytest.fixture
def own() -> Iterator[StartsOwners]:
    """Whatever was started has ended after the test."""
    owners = []

    def start(way: str, playbook: str, data: dict[str, str], **environment: str) -> Owner:
        owner = subprocess.Popen(
            [sys.executable, _OWNER, way, playbook, json.dumps(data)],
            env={**os.environ, "PYTHONPATH": str(_ROOT), **environment},
            stdout=subprocess.PIPE,
            text=True,
        )
        owners.append(owner)
        return owner

    yield start
    for owner in owners:
        owner.kill()
        owner.wait()


def test_the_published_result_comes_back(runner: PlaybookRunner) -> None:
    """What a playbook publishes by set_stats is the result, with JSON's types kept."""
    data = {"text": "ünïcode\n\ttab", "nested": [{"a": [None, 1, 1.5, True]}, {}, []]}

    result = runner.run("echo.yml", data, _KUBECONFIG)

    assert result == {"data": data}


@pytest.mark.parametrize(
    "text",
    [
        "{{ lookup('pipe', 'touch %s') }}",
        "{%% set x = lookup('pipe', 'touch %s') %%}{{ x }}",
        "{{ lookup('ansible.builtin.pipe', 'touch %s') | default('x') }} {# comment #} {%% raw %%}",
        "$(touch %s) `touch %s`; touch %s",
        '!unsafe \'{{ lookup("pipe", "touch %s") }}\'',
    ],
    ids=["expression", "statement", "mixed", "shell", "yaml-tag"],
)
def test_request_data_is_never_a_template(runner: PlaybookRunner, tmp_path: Path, text: str) -> None:
    """Data that looks like a template or a command arrives as it was sent, and nothing is executed."""
    trace = tmp_path / "executed"
    sent = text.replace("%%", "%").replace("%s", str(trace))

    result = runner.run("echo.yml", {"text": sent, "deep": [{sent: sent}]}, _KUBECONFIG)

    assert result["data"] == {"text": sent, "deep": [{sent: sent}]}
    assert not trace.exists()


def test_the_credential_is_a_file_for_its_owner_alone(runner: PlaybookRunner) -> None:
    """Kubeconfig and private directory are closed to others while the run lasts, and gone after it."""
    result = runner.run("look.yml", {}, _KUBECONFIG)

    assert result["kubeconfig_text"] == _KUBECONFIG
    assert (result["kubeconfig_mode"], result["directory_mode"]) == ("0600", "0700")
    assert not Path(result["kubeconfig"]).parent.exists()


def test_a_run_keeps_its_temporary_files_in_its_directory(runner: PlaybookRunner) -> None:
    """Home and temporary directory of a playbook are in the directory that is removed with it."""
    result = runner.run("look.yml", {}, _KUBECONFIG)

    private = Path(result["kubeconfig"]).parent
    assert Path(result["home"]).is_relative_to(private)
    assert Path(result["temporary"]).is_relative_to(private)


def test_private_directories_are_where_the_service_has_its_temporary_files(
    own: StartsOwners, tmp_path: Path
) -> None:
    """Who runs the service says by TMPDIR where credentials may lie for a moment, as on a tmpfs."""
    owner = own("run", "look.yml", {}, TMPDIR=str(tmp_path))

    output, _ = owner.communicate(timeout=_PATIENCE_SECONDS)

    assert Path(json.loads(output)["kubeconfig"]).is_relative_to(tmp_path)
    assert list(tmp_path.glob("budeval-run-*")) == []


def test_a_playbook_does_not_see_the_services_environment(own: StartsOwners) -> None:
    """A secret in the service's environment does not reach the playbook's."""
    owner = own("run", "look.yml", {}, BUDEVAL_TEST_CANARY="secret")

    output, _ = owner.communicate(timeout=_PATIENCE_SECONDS)

    assert json.loads(output)["secret"] == "not there"


def test_a_failed_task_is_named(runner: PlaybookRunner) -> None:
    """The error names the task and has the code of what the task said."""
    with pytest.raises(ClusterError, match="Ask in vain: 403 Forbidden: not you") as failed:
        runner.run("refuse.yml", {"text": "403 Forbidden: not you"}, _KUBECONFIG)

    assert (failed.value.code, failed.value.retryable) == ("FORBIDDEN", False)


@pytest.mark.parametrize(
    "spelled",
    [
        str,
        repr,
        json.dumps,
        lambda token: repr(f"Bearer {token}\n".encode()),
        lambda token: quote(token, safe=""),
        lambda token: base64.b64encode(f"Bearer {token}".encode()).decode(),
        lambda token: "x" * 1990 + token,
    ],
    ids=["plain", "repr", "json", "header", "url", "base64", "where-it-is-cut"],
)
def test_a_failure_does_not_tell_the_credential(
    runner: PlaybookRunner, spelled: Callable[[str], str]
) -> None:
    """Whoever says it, and however: it would be in histories, events, results and logs."""
    token = "CANARY-TOKEN-'1\"2\\3+4/5"
    credential = kubeconfig.document("https://10.0.0.1", b"", {"token": token})

    with pytest.raises(ClusterError) as failed:
        runner.run("refuse.yml", {"text": f"no header {spelled(token)}"}, json.dumps(credential))

    assert "no header" in failed.value.message
    assert "***" in failed.value.message or "xx" in failed.value.message
    assert "CANARY" not in failed.value.message
    assert base64.b64encode(b"Bearer CANARY").decode()[:16] not in failed.value.message


_KEY = "sk-canary-0123456789"
_IN_BASE64 = base64.b64encode(_KEY.encode()).decode()
_QUOTED = f"the webhook denied {{'OPENAI_API_KEY': '{_KEY}'}}, data: {{OPENAI_API_KEY: {_IN_BASE64}}}"


def _is_open_in(told: str) -> bool:
    return _KEY in told or _IN_BASE64[:-4] in told


def test_a_failure_does_not_tell_what_the_run_was_given_in_secret(runner: PlaybookRunner) -> None:
    """As a webhook does that quotes the Secret it refuses, or an API server."""
    data = {"text": f"422 {_QUOTED}", "runs": [{"secret_values": {"OPENAI_API_KEY": _KEY}}]}

    with pytest.raises(ClusterError, match="the webhook denied") as failed:
        runner.run("refuse.yml", data, _KUBECONFIG)

    assert failed.value.code == "SPEC_INVALID"
    assert "'OPENAI_API_KEY': '***'" in failed.value.message
    assert not _is_open_in(str(failed.value))


@pytest.mark.parametrize("run_id", ["r-1", _KEY, f"{_KEY}-1"])
def test_a_result_does_not_tell_what_the_run_was_given_in_secret(
    runner: PlaybookRunner, tmp_path: Path, run_id: str
) -> None:
    """However it comes back; names by which answers are told apart stay, even if a key is in them."""
    (tmp_path / "said").write_text(f"422 {_QUOTED}")
    data = {"said": str(tmp_path / "said"), "run_id": run_id, "secret_values": {"OPENAI_API_KEY": _KEY}}

    result = runner.run("answer.yml", data, _KUBECONFIG)

    assert result["run_id"] == run_id
    assert "'OPENAI_API_KEY': '***'" in result["said"]
    assert not _is_open_in(result["said"])


def test_a_result_does_not_tell_the_credential(runner: PlaybookRunner, tmp_path: Path) -> None:
    """Neither: whatever it was that a pod or a server has said of it."""
    token = "CANARY-TOKEN-0123456789"
    (tmp_path / "said").write_text(f"you are {token}")
    credential = kubeconfig.document("https://10.0.0.1", b"", {"token": token})

    result = runner.run(
        "answer.yml", {"said": str(tmp_path / "said"), "run_id": "r-1"}, json.dumps(credential)
    )

    assert result == {"said": "you are ***", "run_id": "r-1"}


def test_the_first_failure_is_the_cause(runner: PlaybookRunner) -> None:
    """What fails while the playbook cleans up after it would hide it."""
    with pytest.raises(ClusterError) as raised:
        runner.run("mask.yml", {}, _KUBECONFIG)

    assert raised.value.code == "CLUSTER_UNREACHABLE"
    assert "Find the cause" in raised.value.message


class FakePool(PlaybookRunner):
    """A runner whose playbooks are gates."""

    def __init__(self, workers: int) -> None:
        super().__init__(workers, timeout=1, module_timeout=1)
        self.gate = threading.Event()
        self.running: list[int] = []
        self.most = 0

    def _run_in_pool(self, order: PlaybookRun) -> Any:
        self.running.append(order.data["number"])
        self.most = max(self.most, len(self.running))
        assert self.gate.wait(_PATIENCE_SECONDS)
        self.running.remove(order.data["number"])
        return _Outcome(result=order.data)


def test_waiting_for_a_worker_is_not_part_of_a_run() -> None:
    """However many want to: none is handed to the pool, whose clock then runs, before a worker is free."""
    runner = FakePool(2)
    with ThreadPoolExecutor(8) as callers:
        runs = [callers.submit(runner.run, "a.yml", {"number": number}, "") for number in range(8)]
        _wait(lambda: len(runner.running) == 2, "no run has begun")
        runner.gate.set()
        found = [run.result(_PATIENCE_SECONDS)["number"] for run in runs]
    runner.close()

    assert found == list(range(8))
    assert runner.most == 2


def test_who_waits_for_a_worker_is_told_that_the_service_stops() -> None:
    """Its activity is tried again by the next service."""
    runner = FakePool(1)
    with ThreadPoolExecutor(2) as callers:
        first = callers.submit(runner.run, "a.yml", {"number": 1}, "")
        _wait(lambda: runner.running == [1], "no run has begun")
        second = callers.submit(runner.run, "a.yml", {"number": 2}, "")
        runner.close()
        runner.gate.set()
        first.result(_PATIENCE_SECONDS)
        with pytest.raises(ClusterError, match="being stopped") as raised:
            second.result(_PATIENCE_SECONDS)

    assert (raised.value.code, raised.value.retryable) == ("RUNNER_CRASH", True)


def _ends_with(end: _Outcome | Exception) -> _Outcome:
    if isinstance(end, Exception):
        raise end
    return end


@pytest.mark.parametrize(
    "end",
    [
        RuntimeError("cannot schedule new futures after shutdown"),
        CancelledError(),
        FileNotFoundError("python"),
        KeyError("artifacts"),
        _Outcome.failed(ClusterError("no kubeconfig.yaml", code="KUBECONFIG_INVALID", retryable=False)),
    ],
    ids=["too-late", "not-begun", "directory-gone", "broken-off", "half-gone"],
)
def test_a_run_that_the_end_of_the_service_breaks_off_is_tried_again(end: _Outcome | Exception) -> None:
    """Whatever it fails with then is neither the cluster's fault nor the request's."""

    class Closing(PlaybookRunner):
        def _run_in_pool(self, _order: PlaybookRun) -> _Outcome:
            self.close()
            return _ends_with(end)

    with pytest.raises(ClusterError, match="being stopped") as raised:
        Closing(1, timeout=1, module_timeout=1).run("a.yml", {}, "")

    assert (raised.value.code, raised.value.retryable) == ("RUNNER_CRASH", True)


def test_a_run_that_has_ended_before_the_service_counts() -> None:
    """What was done on the cluster need not be done again."""

    class Closing(PlaybookRunner):
        def _run_in_pool(self, order: PlaybookRun) -> _Outcome:
            self.close()
            return _Outcome(result=order.data)

    assert Closing(1, timeout=1, module_timeout=1).run("a.yml", {"number": 1}, "") == {"number": 1}


def test_a_pool_that_breaks_while_the_service_stops_is_not_replaced() -> None:
    """Nobody would shut the new one down."""
    runner = PlaybookRunner(1, timeout=1, module_timeout=1)
    broken = runner._pool

    runner.close()
    runner._replace(broken)

    assert runner._pool is broken


def test_whoever_runs_or_waits_when_the_service_stops_is_told(tmp_path: Path) -> None:
    """With real workers: two run, four wait, and none is left behind."""
    runner = PlaybookRunner(2, timeout=60, module_timeout=60, playbooks=_PLAYBOOKS)
    reports = [tmp_path / f"report-{number}" for number in range(6)]
    with ThreadPoolExecutor(len(reports)) as callers:
        runs = [callers.submit(runner.run, "sleep.yml", {"report": str(r)}, _KUBECONFIG) for r in reports]
        _wait(lambda: sum(report.exists() for report in reports) == 2, "two do not sleep")
        runner.close()
        errors = [_error_of(run) for run in runs]

    assert {(error.code, error.retryable) for error in errors} == {("RUNNER_CRASH", True)}
    assert all("being stopped" in error.message for error in errors)
    assert sum(report.exists() for report in reports) == 2


@pytest.mark.parametrize("playbook", ["silent.yml", "not-there.yml"])
def test_a_run_without_a_result_is_a_crash(runner: PlaybookRunner, playbook: str) -> None:
    """A playbook that publishes nothing, or is not there, is never taken for a success."""
    with pytest.raises(ClusterError, match=playbook) as failed:
        runner.run(playbook, {}, _KUBECONFIG)

    assert (failed.value.code, failed.value.retryable) == ("RUNNER_CRASH", True)


def test_the_private_directory_is_told_before_anything_is_in_it(runner: PlaybookRunner) -> None:
    """Whoever notes it knows of every directory in which a credential can be left."""
    told: list[tuple[Path, list[Path]]] = []

    result = runner.run("look.yml", {}, _KUBECONFIG, tell=lambda path: told.append((path, [*path.iterdir()])))

    ((path, content),) = told
    assert (content, path.exists()) == ([], False)
    assert Path(result["kubeconfig"]).parent == path


def test_what_cannot_be_noted_is_not_run(runner: PlaybookRunner) -> None:
    """And leaves no directory."""
    told: list[Path] = []

    def refuse(path: Path) -> None:
        told.append(path)
        raise LookupError("the state store is away")

    with pytest.raises(LookupError):
        runner.run("echo.yml", {}, _KUBECONFIG, tell=refuse)

    assert [path.exists() for path in told] == [False]


def test_a_run_that_takes_too_long_is_stopped_as_a_whole(
    hasty_runner: PlaybookRunner, aside: ThreadPoolExecutor, tmp_path: Path
) -> None:
    """At the time limit every process of the run ends, its directory goes, and the worker takes the next."""
    run = aside.submit(hasty_runner.run, "sleep.yml", {"report": str(tmp_path / "report")}, _KUBECONFIG)
    sleeping = SleepingPlaybook.reported_in(tmp_path / "report")
    (worker,) = hasty_runner.worker_pids()
    processes = sleeping.processes(above=worker)

    error = _error_of(run)

    assert (error.code, error.retryable) == ("API_TIMEOUT", True)
    assert len(processes) > 3
    _wait_for_the_end_of(processes)
    assert not sleeping.private.exists()
    assert hasty_runner.run("echo.yml", {"again": 1}, _KUBECONFIG) == {"data": {"again": 1}}
    assert hasty_runner.worker_pids() == [worker]


def test_a_module_that_takes_too_long_is_stopped(aside: ThreadPoolExecutor, tmp_path: Path) -> None:
    """The limit of one module is shorter than that of the run, and told as the API server's."""
    runner = PlaybookRunner(1, timeout=60, module_timeout=2, playbooks=_PLAYBOOKS)
    run = aside.submit(runner.run, "sleep.yml", {"report": str(tmp_path / "report")}, _KUBECONFIG)
    sleeping = SleepingPlaybook.reported_in(tmp_path / "report")

    error = _error_of(run)

    assert (error.code, error.retryable) == ("API_TIMEOUT", True)
    assert "Sleep in a module" in error.message
    _wait_for_the_end_of([sleeping.module])
    runner.close()


def test_a_killed_worker_costs_one_run(
    runner: PlaybookRunner, aside: ThreadPoolExecutor, tmp_path: Path
) -> None:
    """A run whose worker is killed is a crash worth another try; nothing of it stays, and the next works."""
    run = aside.submit(runner.run, "sleep.yml", {"report": str(tmp_path / "report")}, _KUBECONFIG)
    sleeping = SleepingPlaybook.reported_in(tmp_path / "report")
    (worker,) = runner.worker_pids()
    processes = sleeping.processes(above=worker)

    os.kill(worker, signal.SIGKILL)
    error = _error_of(run)

    assert (error.code, error.retryable) == ("RUNNER_CRASH", True)
    _wait_for_the_end_of(processes)
    assert not sleeping.private.exists()
    assert runner.run("echo.yml", {"again": 1}, _KUBECONFIG) == {"data": {"again": 1}}


def test_a_killed_worker_leaves_nothing_of_its_neighbour(aside: ThreadPoolExecutor, tmp_path: Path) -> None:
    """A pool breaks as a whole: the other run is a crash as well, and nothing of it stays either."""
    runner = PlaybookRunner(2, timeout=60, module_timeout=60, playbooks=_PLAYBOOKS)
    reports = [tmp_path / "first", tmp_path / "second"]
    runs = [aside.submit(runner.run, "sleep.yml", {"report": str(r)}, _KUBECONFIG) for r in reports]
    first, second = (SleepingPlaybook.reported_in(report) for report in reports)

    os.kill(runner.worker_pids()[0], signal.SIGKILL)
    codes = [_error_of(run).code for run in runs]

    assert codes == ["RUNNER_CRASH", "RUNNER_CRASH"]
    _wait_for_the_end_of([first.module, second.module])
    assert [path for path in (first.private, second.private) if path.exists()] == []
    runner.close()


def test_runs_end_when_the_service_is_killed(own: StartsOwners, tmp_path: Path) -> None:
    """A service that gets SIGKILL leaves neither workers nor playbooks, nor a credential on disk."""
    owner = own("run", "sleep.yml", {"report": str(tmp_path / "report")})
    sleeping = SleepingPlaybook.reported_in(tmp_path / "report")
    processes = sleeping.processes(above=owner.pid)

    owner.kill()
    owner.communicate()

    assert len(processes) > 5
    _wait_for_the_end_of(processes)
    assert not sleeping.private.exists()


def test_what_a_killed_service_and_its_workers_left_is_swept(
    own: StartsOwners, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever starts next removes directories and processes; who lives keeps its own."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    living = PrivateDirectory()
    owner = own("run", "sleep.yml", {"report": str(tmp_path / "report")}, TMPDIR=str(tmp_path))
    sleeping = SleepingPlaybook.reported_in(tmp_path / "report")
    assert sweep() == []
    # The workers, too, so that none of them can clean up.
    for pid in [owner.pid, *sleeping.processes(above=owner.pid)[1:]]:
        os.kill(pid, signal.SIGKILL)
    owner.communicate()

    swept = sweep()

    assert swept == [sleeping.private]
    _wait_for_the_end_of([sleeping.module])
    assert living.path.exists()
    living.remove()
    assert list(tmp_path.glob("*budeval-run-*")) == []


def test_what_was_cut_off_while_it_was_made_is_swept_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A minute later: until then it may be somebody's who is about to hold it."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    fresh, old = (tmp_path / f".budeval-run-{name}" for name in ("fresh", "old"))
    for path in (fresh, old):
        path.mkdir()
    os.utime(old, (0, 0))

    assert left_behind() == [old]
    assert sweep() == [old]
    assert (fresh.exists(), old.exists()) == (True, False)


def test_what_a_living_service_holds_is_not_left_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor is it by looking; what is left is found as often as one looks."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    living = PrivateDirectory()
    left = tmp_path / "budeval-run-left"
    left.mkdir()
    (tmp_path / "budeval-run-file").touch()

    assert (left_behind(), left_behind()) == ([left], [left])
    living.remove()


def test_a_service_that_stops_does_not_wait_for_its_runs(own: StartsOwners, tmp_path: Path) -> None:
    """Closing stops the run under way, so the service ends although its playbook would sleep on."""
    owner = own("close", "sleep.yml", {"report": str(tmp_path / "report")})
    sleeping = SleepingPlaybook.reported_in(tmp_path / "report")

    owner.communicate(timeout=_PATIENCE_SECONDS)

    _wait_for_the_end_of([sleeping.module])
    assert not sleeping.private.exists()
