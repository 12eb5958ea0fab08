"""Playbooks for a cluster that came with a request connect to no forbidden address, whatever it answers."""

import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_network
from typing import Any

import pytest
import yaml

from budeval.ansible import kubeconfig
from budeval.ansible.runner import GUARD, PlaybookRunner
from budeval.domain.addresses import RULES_VARIABLE, AddressRules
from budeval.errors import ClusterError

_PROBE = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "p", "namespace": "n"}, "spec": {}}
_ORDERS: dict[str, dict[str, Any]] = {
    # Modules of kubernetes.core, which follow redirects, and an action of ours, which does not.
    "verify_cluster_k8s.yml": {"namespace": "n", "claim": "c", "probe_job": _PROBE},
    "check_job_status_k8s.yml": {"namespace": "n", "selector": "a=b", "evaluations": [], "settled": []},
}
_USUAL = AddressRules()
_ONLY_FIRST = AddressRules(allowed=(ip_network("127.0.0.1"),))


@pytest.fixture(scope="module")
def runner() -> Iterator[PlaybookRunner]:
    """With the service's own playbooks."""
    runner = PlaybookRunner(1, timeout=120, module_timeout=60)
    yield runner
    runner.close()


@contextmanager
def _server(address: str, redirect: str | None = None) -> Iterator[tuple[str, list[str]]]:
    """Its URL, and what it was asked. It sends everybody to `redirect`, or answers as no API server does."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            """Answer."""
            asked.append(self.path)
            self.send_response(302 if redirect else 418)
            if redirect:
                self.send_header("Location", redirect)
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_POST = do_GET  # noqa: N815 - the names of the standard library

        def log_message(self, *_arguments: Any) -> None:
            """Silence."""

    with ThreadingHTTPServer((address, 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://{address}:{server.server_port}", asked
        server.shutdown()
        thread.join()


def _kubeconfig(server: str) -> str:
    return yaml.safe_dump(kubeconfig.document(server, b"", {"token": "t"}))


def _failure(runner: PlaybookRunner, playbook: str, credential: str) -> ClusterError:
    with pytest.raises(ClusterError) as failed:
        runner.run(playbook, _ORDERS[playbook], credential)
    return failed.value


@pytest.mark.parametrize("playbook", _ORDERS)
def test_a_forbidden_server_is_not_asked(runner: PlaybookRunner, playbook: str) -> None:
    """Its name may have stood for another address when the request came."""
    with _server("127.0.0.1") as (url, asked):
        failure = _failure(runner, playbook, kubeconfig.guarded(_kubeconfig(url), _USUAL))

    assert (failure.code, failure.retryable, asked) == ("ADDRESS_FORBIDDEN", False, [])


def test_a_redirect_is_not_followed_to_a_forbidden_address(runner: PlaybookRunner) -> None:
    """By the client library, which follows all of them: without the rules the second server is asked."""
    playbook = "verify_cluster_k8s.yml"
    with _server("127.0.0.2") as (second, asked), _server("127.0.0.1", redirect=second) as (first, at_first):
        guarded = _failure(runner, playbook, kubeconfig.guarded(_kubeconfig(first), _ONLY_FIRST))
        asked_in_spite_of_it = list(asked)
        free = _failure(runner, playbook, _kubeconfig(first))

    assert (guarded.code, asked_in_spite_of_it) == ("ADDRESS_FORBIDDEN", [])
    assert (free.code == "ADDRESS_FORBIDDEN", bool(asked), bool(at_first)) == (False, True, True)


def _python(program: str, rules: str | None) -> subprocess.CompletedProcess[str]:
    """A program under the guard."""
    environment = {"PYTHONPATH": str(GUARD)} | ({RULES_VARIABLE: rules} if rules else {})
    command = [sys.executable, "-c", program]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_every_connection_is_looked_at() -> None:
    """Names too, which a library might leave to the system; local sockets lead nowhere."""
    program = """
import socket
places = [(2, ("127.0.0.1", 9)), (10, ("::1", 9, 0, 0)), (2, ("localhost", 9)), (1, "/nowhere")]
for family, address in places:
    with socket.socket(family) as one:
        try:
            one.connect(address)
        except Exception as error:
            print(type(error).__name__)
"""
    told = _python(program, _USUAL.to_json()).stdout.split()

    assert told == ["PermissionError", "PermissionError", "ValueError", "FileNotFoundError"]


@pytest.mark.parametrize("rules", [None, "no JSON", '{"forbidden": ["everything"], "allowed": []}'])
def test_without_usable_rules_nothing_runs(rules: str | None) -> None:
    """Python itself would only print a warning, and go on."""
    done = _python("print('it runs')", rules)

    assert done.returncode != 0
    assert done.stdout == ""
    assert "the rules for addresses cannot be used" in done.stderr


def test_a_kubeconfig_carries_its_rules() -> None:
    """Beside what it was, and only if it is guarded."""
    plain = _kubeconfig("https://10.0.0.1:6443")
    guarded = kubeconfig.guarded(plain, _ONLY_FIRST)

    assert kubeconfig.rules_of(plain) is None
    assert AddressRules.from_json(kubeconfig.rules_of(guarded) or "") == _ONLY_FIRST
    assert yaml.safe_load(guarded).items() >= yaml.safe_load(plain).items()
    assert kubeconfig.host_of(guarded) == "10.0.0.1"
