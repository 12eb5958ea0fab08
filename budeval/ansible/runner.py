"""Run one playbook in a worker process and return what it published.

Why processes: ansible-runner is not thread-safe and forks, which beside gRPC's threads can deadlock. Why one
private directory per run: it holds a credential, and ansible-runner writes everything it knows beside it; it
is removed when the run ends, however it ends. Why a watchdog of our own: ansible-runner's timeout kills only
its child's process group, which Ansible's workers have left; SIGTERM to the playbook's pid ends the tree.
"""

import json
import multiprocessing
import os
import shutil
import signal
import stat
import sys
import tempfile
import threading
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

import ansible_runner

from budeval.ansible.failures import classify
from budeval.errors import ClusterError

PLAYBOOKS = Path(__file__).parent / "playbooks"

_RESULT = "budeval"
"""Name under which playbooks publish their result by set_stats."""
_KILL_AFTER_SECONDS = 2.0
_POOL_MARGIN_SECONDS = 30.0
_KEPT_ENVIRONMENT = ("PATH", "LANG", "LC_ALL", "SSL_CERT_FILE", "SSL_CERT_DIR")


@dataclass(frozen=True)
class PlaybookRun:
    """One run: which playbook, with which data, as whom."""

    playbook: str
    """File name in `playbooks/`."""
    data: dict[str, Any]
    """JSON; the playbook reads it from a file, so nothing in it is ever a template."""
    kubeconfig: str
    """As `kubeconfig.rebuild` returns it."""
    timeout: float
    """Seconds for the whole run."""
    module_timeout: float
    """Seconds for each module."""


class PlaybookRunner:
    """A pool of worker processes, one playbook at a time in each."""

    def __init__(self, workers: int, timeout: float, module_timeout: float) -> None:
        self._workers = workers
        self._timeout = timeout
        self._module_timeout = module_timeout
        self._lock = threading.Lock()
        self._pool = self._new_pool()

    def _new_pool(self) -> ProcessPoolExecutor:
        return ProcessPoolExecutor(
            self._workers, mp_context=multiprocessing.get_context("forkserver"), initializer=_prepare_worker
        )

    def run(self, playbook: str, data: dict[str, Any], kubeconfig: str) -> dict[str, Any]:
        """Run to the end and return the published result.

        Raises:
            ClusterError: a task failed, the time was up, or the run ended without a result.
        """
        order = PlaybookRun(playbook, data, kubeconfig, self._timeout, self._module_timeout)
        pool = self._pool
        try:
            outcome = pool.submit(_run_playbook, order).result(self._timeout + _POOL_MARGIN_SECONDS)
        except BrokenProcessPool as error:
            self._replace(pool)
            raise _crash(f"a worker process died while it ran {playbook}") from error
        except TimeoutError as error:
            raise _crash(f"{playbook} did not end in time, all workers may be busy") from error
        if outcome.error:
            raise outcome.error
        return outcome.result

    def _replace(self, broken: ProcessPoolExecutor) -> None:
        """A pool that lost a worker takes no more work; the first who notices makes a new one."""
        with self._lock:
            if self._pool is broken:
                self._pool = self._new_pool()
        broken.shutdown(wait=False)

    def close(self) -> None:
        """Take no more runs. Those under way are stopped: their workers see this process end."""
        self._pool.shutdown(wait=False, cancel_futures=True)


@dataclass
class _Outcome:
    """What a worker hands back. Exceptions with keyword arguments don't survive pickling by themselves."""

    result: dict[str, Any] = field(default_factory=dict)
    failure: tuple[str, str, bool] | None = None

    @property
    def error(self) -> ClusterError | None:
        if self.failure is None:
            return None
        message, code, retryable = self.failure
        return ClusterError(message, code=code, retryable=retryable)

    @classmethod
    def failed(cls, error: ClusterError) -> "_Outcome":
        return cls(failure=(error.message, error.code, error.retryable))


def _prepare_worker() -> None:
    """Runs once in each worker: forget the service's environment, and end when the service does."""
    kept = {name: os.environ[name] for name in _KEPT_ENVIRONMENT if name in os.environ}
    os.environ.clear()
    os.environ.update(kept)
    os.environ["PATH"] = f"{Path(sys.executable).parent}:{kept.get('PATH', os.defpath)}"
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is None:
        return
    wait([parent.sentinel])
    _running.stop()
    os._exit(1)


class _RunningPlaybook:
    """The playbook process of this worker, known from its first event."""

    def __init__(self) -> None:
        self._pid: int | None = None
        self.timed_out = False

    def begin(self) -> None:
        self._pid = None
        self.timed_out = False

    def seen(self, event: dict[str, Any]) -> None:
        self._pid = event.get("pid", self._pid)

    def time_is_up(self) -> None:
        self.timed_out = True
        self.stop()

    def stop(self) -> None:
        for number, seconds in ((signal.SIGTERM, _KILL_AFTER_SECONDS), (signal.SIGKILL, 0.0)):
            if self._pid is None:
                return
            try:
                os.kill(self._pid, number)
            except ProcessLookupError:
                return
            threading.Event().wait(seconds)


_running = _RunningPlaybook()


def _run_playbook(order: PlaybookRun) -> _Outcome:
    """In a worker: prepare the private directory, run, collect, remove."""
    private = Path(tempfile.mkdtemp(prefix="budeval-run-"))
    _running.begin()
    watchdog = threading.Timer(order.timeout, _running.time_is_up)
    watchdog.start()
    try:
        return _Outcome(result=_run_in(private, order))
    except ClusterError as error:
        return _Outcome.failed(error)
    finally:
        watchdog.cancel()
        shutil.rmtree(private, ignore_errors=True)


def _run_in(private: Path, order: PlaybookRun) -> dict[str, Any]:
    failed: list[dict[str, Any]] = []
    published: list[dict[str, Any]] = []

    def on_event(event: dict[str, Any]) -> bool:
        _running.seen(event)
        details = event.get("event_data", {})
        if event["event"] == "runner_on_failed" and not details.get("ignore_errors"):
            failed.append(details)
        elif event["event"] == "playbook_on_stats":
            published.append(details.get("artifact_data", {}).get(_RESULT, {}))
        return False  # don't keep the event in a file

    ansible_runner.run(
        private_data_dir=str(private),
        project_dir=str(PLAYBOOKS),
        playbook=order.playbook,
        inventory=_write(private / "inventory.json", _inventory(private, order)),
        extravars={
            "budeval_input_file": _write(private / "input.json", json.dumps(order.data)),
            "budeval_kubeconfig": _write(private / "kubeconfig.yaml", order.kubeconfig),
        },
        envvars=_environment(private),
        settings={"pexpect_timeout": 1},
        event_handler=on_event,
        # Also keeps ansible-runner from replacing this process's signal handlers.
        cancel_callback=lambda: _running.timed_out,
        quiet=True,
    )
    if _running.timed_out:
        text = f"{order.playbook} was stopped after {order.timeout:.0f} s."
        raise ClusterError(text, code="API_TIMEOUT", retryable=True)
    if failed:
        raise classify(failed[-1].get("res", {}), failed[-1].get("task", order.playbook))
    if not published or not published[-1]:
        raise _crash(f"{order.playbook} ended without a result")
    return published[-1]


def _inventory(private: Path, order: PlaybookRun) -> str:
    interpreter = private / "python"
    seconds = f"{order.module_timeout:.0f}"
    _write(interpreter, f'#!/bin/sh\nexec timeout -k 2 {seconds} {sys.executable} "$@"\n')
    interpreter.chmod(stat.S_IRWXU)
    host = {"ansible_connection": "local", "ansible_python_interpreter": str(interpreter)}
    return json.dumps({"all": {"hosts": {"localhost": host}}})


def _environment(private: Path) -> dict[str, str]:
    """Everything temporary goes into the private directory: killed runs leave keys and payloads behind."""
    scratch = private / "tmp"
    scratch.mkdir()
    names = ("HOME", "TMPDIR", "ANSIBLE_HOME", "ANSIBLE_LOCAL_TEMP", "ANSIBLE_REMOTE_TMP")
    return {name: str(scratch) for name in names} | {
        "ANSIBLE_LOCALHOST_WARNING": "false",
        "ANSIBLE_DEPRECATION_WARNINGS": "false",
    }


def _write(path: Path, text: str) -> str:
    path.touch(mode=0o600)
    path.write_text(text)
    return str(path)


def _crash(text: str) -> ClusterError:
    return ClusterError(text, code="RUNNER_CRASH", retryable=True)
