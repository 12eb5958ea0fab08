"""Run one playbook in a worker process and return what it published.

Why processes: ansible-runner is not thread-safe and forks, which beside gRPC's threads can deadlock. Why one
private directory per run: it holds a credential, and ansible-runner writes everything it knows beside it; it
is removed when the run ends, however it ends. Why a watchdog of our own: ansible-runner's timeout kills only
its child's process group, which Ansible's workers and timeout(1) have left. Every process of a run has the
private directory in its environment, and by that it is found and ended (Linux only).
"""

import json
import math
import multiprocessing
import os
import stat
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

import ansible_runner

from budeval.ansible.failures import classify
from budeval.ansible.kubeconfig import rules_of, secrets_of
from budeval.ansible.private_directory import PrivateDirectory, clear, kill_processes_of
from budeval.domain.addresses import RULES_VARIABLE
from budeval.domain.redaction import redacted, spellings, texts_in
from budeval.errors import ClusterError

PLAYBOOKS = Path(__file__).parent / "playbooks"
COLLECTIONS = Path(__file__).parent / "collections"
"""Our own; kubernetes.core is found beside Ansible."""
GUARD = Path(__file__).parent / "guard"

_RESULT = "budeval"
"""Name under which playbooks publish their result by set_stats."""
_POOL_MARGIN_SECONDS = 30.0
_STOPPING = "the service is being stopped"
_KEPT_ENVIRONMENT = ("PATH", "LANG", "LC_ALL", "SSL_CERT_FILE", "SSL_CERT_DIR")

Tell = Callable[[Path], None]
"""Told of the private directory of a run before anything is in it."""


@dataclass(frozen=True)
class PlaybookRun:
    """One run: which playbook, with which data, as whom."""

    private: Path
    """Directory of this run alone."""
    directory: Path
    """Where the playbooks are."""
    playbook: str
    """Its file name there."""
    data: dict[str, Any]
    """JSON; the playbook reads it from a file, so nothing in it is ever a template.

    What stands in it by the name of `SECRET_VALUES` is in nothing that comes back.
    """
    kubeconfig: str
    """As `kubeconfig.rebuild` or `guarded` returns it."""
    timeout: float
    """Seconds for the whole run."""
    module_timeout: float
    """Seconds for each module."""


class PlaybookRunner:
    """A pool of worker processes, one playbook at a time in each."""

    def __init__(
        self, workers: int, timeout: float, module_timeout: float, playbooks: Path = PLAYBOOKS
    ) -> None:
        self._workers = workers
        self._timeout = timeout
        self._module_timeout = module_timeout
        self._playbooks = playbooks
        self._lock = threading.Lock()
        self._pool = self._new_pool()
        self._under_way: set[PrivateDirectory] = set()
        self._free = threading.Semaphore(workers)
        self._closed = False

    def _new_pool(self) -> ProcessPoolExecutor:
        return ProcessPoolExecutor(
            self._workers, mp_context=multiprocessing.get_context("forkserver"), initializer=_prepare_worker
        )

    def run(
        self,
        playbook: str,
        data: dict[str, Any],
        kubeconfig: str,
        patience: float = 0,
        tell: Tell | None = None,
    ) -> dict[str, Any]:
        """Run to the end and return the published result, once a worker is free.

        Args:
            playbook: its file name.
            data: JSON that it reads from a file, as of `PlaybookRun`.
            kubeconfig: as `kubeconfig.rebuild` returns it; a guarded one keeps the run to its rules.
            patience: seconds that it may wait for the cluster, beyond the limits of every run.
            tell: see there; what it raises ends the run before it begins.

        Raises:
            ClusterError: a task failed, the time was up, the service is being stopped, or the run ended
                without a result.
        """
        # Waiting for others is not part of a run's own time.
        with self._free:
            if self._closed:
                raise _crash(_STOPPING)
            try:
                with self._private_directory() as private:
                    if tell:
                        tell(private)
                    return self._run(private, playbook, data, kubeconfig, patience)
            except Exception as error:
                # `close` has taken pool, processes and files away: whatever that looks like.
                if self._closed:
                    raise _crash(_STOPPING) from error
                raise

    @contextmanager
    def _private_directory(self) -> Iterator[Path]:
        private = PrivateDirectory()
        self._under_way.add(private)
        try:
            yield private.path
        finally:
            # Here and not in the worker, which may have died.
            self._under_way.discard(private)
            private.remove()

    def _run(
        self, private: Path, playbook: str, data: dict[str, Any], kubeconfig: str, patience: float
    ) -> dict[str, Any]:
        timeout, module_timeout = self._timeout + patience, self._module_timeout + patience
        order = PlaybookRun(private, self._playbooks, playbook, data, kubeconfig, timeout, module_timeout)
        outcome = self._run_in_pool(order)
        if outcome.error:
            raise outcome.error
        return outcome.result

    def _run_in_pool(self, order: PlaybookRun) -> "_Outcome":
        pool = self._pool
        try:
            future = pool.submit(_run_playbook, order)
            return future.result(order.timeout + _POOL_MARGIN_SECONDS)
        except BrokenProcessPool as error:
            self._replace(pool)
            raise _crash(f"a worker process died while it ran {order.playbook}") from error
        except TimeoutError as error:
            future.cancel()
            raise _crash(f"{order.playbook} did not end in time") from error

    def _replace(self, broken: ProcessPoolExecutor) -> None:
        """A pool that lost a worker takes no more work; the first who notices makes a new one."""
        with self._lock:
            if self._pool is broken and not self._closed:
                self._pool = self._new_pool()
        broken.shutdown(wait=False)

    def worker_pids(self) -> list[int]:
        """The worker processes that were started."""
        return list(self._pool._processes or ())  # noqa: SLF001 - the executor tells it nowhere else

    def close(self) -> None:
        """Take no more runs, and stop those under way: this process's end would wait for them."""
        with self._lock:
            self._closed = True
        self._pool.shutdown(wait=False, cancel_futures=True)
        for private in self._under_way.copy():
            clear(private.path)


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
    if _current.private:
        clear(_current.private)
    os._exit(1)


@dataclass
class _CurrentRun:
    """What this worker runs now, for the threads that may have to end it."""

    private: Path | None = None
    timed_out: bool = False

    def time_is_up(self) -> None:
        self.timed_out = True
        if self.private:
            kill_processes_of(self.private)


_current = _CurrentRun()


def _run_playbook(order: PlaybookRun) -> _Outcome:
    """In a worker: run under a watchdog, and put whatever happened into words."""
    _current.private, _current.timed_out = order.private, False
    watchdog = threading.Timer(order.timeout, _current.time_is_up)
    watchdog.start()
    try:
        return _Outcome(result=_run_in(order.private, order))
    except ClusterError as error:
        return _Outcome.failed(error)
    finally:
        watchdog.cancel()
        _current.private = None


def _run_in(private: Path, order: PlaybookRun) -> dict[str, Any]:
    failed: list[dict[str, Any]] = []
    published: list[dict[str, Any]] = []

    def on_event(event: dict[str, Any]) -> bool:
        details = event.get("event_data", {})
        if event["event"] == "runner_on_failed" and not details.get("ignore_errors"):
            failed.append(details)
        elif event["event"] == "playbook_on_stats":
            published.append(details.get("artifact_data", {}).get(_RESULT, {}))
        return False  # don't keep the event in a file

    ansible_runner.run(
        private_data_dir=str(private),
        project_dir=str(order.directory),
        playbook=order.playbook,
        inventory=_write(private / "inventory.json", _inventory(private, order)),
        extravars={
            "budeval_input_file": _write(private / "input.json", json.dumps(order.data)),
            "budeval_kubeconfig": _write(private / "kubeconfig.yaml", order.kubeconfig),
        },
        envvars=_environment(private) | _guard(order.kubeconfig),
        settings={"pexpect_timeout": 1},
        event_handler=on_event,
        # Also keeps ansible-runner from replacing this process's signal handlers.
        cancel_callback=lambda: _current.timed_out,
        quiet=True,
    )
    if _current.timed_out:
        text = f"{order.playbook} was stopped after {order.timeout:.0f} s."
        raise ClusterError(text, code="API_TIMEOUT", retryable=True)
    if failed:
        # The first is the cause: what fails after it is the cleaning up in an `always`.
        said = redacted(failed[0].get("res", {}), _secrets_of(order))
        raise classify(said, failed[0].get("task", order.playbook))
    if not published or not published[-1]:
        raise _crash(f"{order.playbook} ended without a result")
    return _told(order, published[-1])


def _told(order: PlaybookRun, published: dict[str, Any]) -> dict[str, Any]:
    """What was published without the run's secrets; what was handed in openly, as a run's id, stays."""
    told: dict[str, Any] = redacted(published, _secrets_of(order), texts_in(order.data, secret=False))
    return told


def _secrets_of(order: PlaybookRun) -> set[str]:
    """In every spelling: API servers, webhooks and pods echo what they are sent."""
    handed_in = texts_in(order.data, secret=True)
    return {*secrets_of(order.kubeconfig), *(text for secret in handed_in for text in spellings(secret))}


def _inventory(private: Path, order: PlaybookRun) -> str:
    interpreter = private / "python"
    seconds = max(1, math.ceil(order.module_timeout))  # 0 would switch the limit off
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
        "ANSIBLE_COLLECTIONS_PATH": str(COLLECTIONS),
        "ANSIBLE_LOCALHOST_WARNING": "false",
        "ANSIBLE_DEPRECATION_WARNINGS": "false",
    }


def _guard(kubeconfig: str) -> dict[str, str]:
    """What keeps the processes of a run from addresses, where its kubeconfig came with a request."""
    rules = rules_of(kubeconfig)
    return {RULES_VARIABLE: rules, "PYTHONPATH": str(GUARD)} if rules else {}


def _write(path: Path, text: str) -> str:
    path.touch(mode=0o600)
    path.write_text(text)
    return str(path)


def _crash(text: str) -> ClusterError:
    return ClusterError(text, code="RUNNER_CRASH", retryable=True)
