"""The rules for addresses, where a request names a host and where the service connects."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import httpx
import pytest

from budeval.ansible.kubeconfig import rules_of
from budeval.domain.addresses import AddressRules
from budeval.errors import RequestError
from budeval.evals import addresses
from budeval.evals.addresses import GuardedTransport, require_allowed
from tests.evals import samples
from tests.evals.application_on_fakes import ApplicationOnFakes

_USUAL = AddressRules()
_HERE = AddressRules(allowed=(ip_network("127.0.0.1"), ip_network("::1")))


def _is_refused(rules: AddressRules, host: str, *, resolve: bool = True) -> bool:
    try:
        require_allowed(rules, host, "kubeconfig", resolve=resolve)
    except RequestError as error:
        return (error.status, error.code, error.param) == (422, "ADDRESS_FORBIDDEN", "kubeconfig")
    return False


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.1", "2130706433", "0x7f000001", "017700000001", "0", "::1", "169.254.169.254"]
)
@pytest.mark.parametrize("resolve", [True, False])
def test_an_address_is_one_however_it_is_written(host: str, *, resolve: bool) -> None:
    """As whoever connects would read it."""
    assert _is_refused(_USUAL, host, resolve=resolve)


def test_a_name_counts_as_what_it_stands_for() -> None:
    """Unless only pods can tell what that is."""
    assert _is_refused(_USUAL, "localhost")
    assert not _is_refused(_USUAL, "localhost", resolve=False)
    assert not _is_refused(_HERE, "localhost")


@pytest.mark.parametrize("host", ["no-such-name.invalid", "a" * 70, "ex\u00e4mple..com"])
def test_a_name_that_stands_for_nothing_yet_is_not_refused(host: str) -> None:
    """Whoever connects will be held to the rules."""
    assert require_allowed(_USUAL, host, "kubeconfig") == []


def test_one_forbidden_address_among_others_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody knows which one would be taken."""
    monkeypatch.setattr(addresses, "_addresses_of", lambda *_: ["10.0.0.1", "169.254.169.254"])

    assert _is_refused(_USUAL, "two-faced")


def test_the_settings_are_the_rules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """For kubeconfigs and endpoints, and in the hands of playbooks."""
    monkeypatch.setenv("BUDEVAL_FORBIDDEN_NETWORKS", '["10.0.0.0/8"]')
    monkeypatch.setenv("BUDEVAL_ALLOWED_NETWORKS", '["127.0.0.0/8"]')
    fakes = ApplicationOnFakes(tmp_path)

    def validated(server: str, endpoint: str) -> str | None:
        kubeconfig = samples.kubeconfig("t").replace("10.0.0.1", server)
        model = {"model_name": "m", "endpoint": f"http://{endpoint}:9/v1", "api_key": "k"}
        run = {"dataset_id": "d", "run_id": "r", "source": {"inline": samples.ROWS}}
        body = {"eval_model_info": model, "eval_datasets": [run], "kubeconfig": kubeconfig}
        ids = dict.fromkeys(("eval_id", "experiment_id"), "423e4567-e89b-12d3-a456-426614174020")
        answer = fakes.ask("POST", "/evals:validate", json={**ids, **body})
        code: str | None = answer.json()["checks"][0]["code"]
        return code

    assert validated("10.0.0.1", "127.0.0.1") == "ADDRESS_FORBIDDEN"
    assert validated("127.0.0.1", "10.0.0.1") == "ADDRESS_FORBIDDEN"
    assert validated("127.0.0.1", "127.0.0.1") is None
    ((_, used),) = fakes.cluster.orders
    rules = AddressRules.from_json(rules_of(used) or "")
    assert (rules.forbid("10.9.9.9"), rules.forbid("127.0.0.1"), rules.forbid("::1")) == (True, False, True)


@contextmanager
def _served(status: int, **headers: str) -> Iterator[tuple[int, list[str | None]]]:
    """A server on 127.0.0.1: its port, and the header `Host` of each request that it got."""
    hosts: list[str | None] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            """Answer."""
            hosts.append(self.headers["Host"])
            self.send_response(status)
            for name, value in {**headers, "Content-Length": "0"}.items():
                self.send_header(name, value)
            self.end_headers()

        def log_message(self, *_arguments: Any) -> None:
            """Silence."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server.server_port, hosts
        server.shutdown()
        thread.join()


def _get(rules: AddressRules, url: str, *, follow: bool = False) -> httpx.Response:
    async def get() -> httpx.Response:
        transport = GuardedTransport(rules, "endpoint")
        async with httpx.AsyncClient(transport=transport, trust_env=False, follow_redirects=follow) as client:
            return await client.get(url)

    return asyncio.run(get())


def test_the_server_is_told_the_name_and_reached_at_the_address() -> None:
    """Each of a name's addresses is tried: nobody listens at the first one of `localhost` here."""
    with _served(200) as (port, hosts):
        answer = _get(_HERE, f"http://localhost:{port}/")

    assert answer.status_code == 200
    assert hosts == [f"localhost:{port}"]


def test_nothing_is_sent_to_a_forbidden_address() -> None:
    """Whatever the name looked like before."""
    with _served(200) as (port, hosts), pytest.raises(RequestError) as refused:
        _get(_USUAL, f"http://localhost:{port}/")

    assert (refused.value.code, refused.value.param, hosts) == ("ADDRESS_FORBIDDEN", "endpoint", [])


def test_the_address_that_was_looked_at_is_the_one_that_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that stands for something else at the second look is asked for once only."""
    answers = iter([["127.0.0.1"], ["169.254.169.254"]])
    monkeypatch.setattr(addresses, "_addresses_of", lambda *_: next(answers))

    with _served(200) as (port, hosts):
        answer = _get(_HERE, f"http://changing.invalid:{port}/")

    assert (answer.status_code, hosts) == (200, [f"changing.invalid:{port}"])


def test_a_redirect_leads_to_no_forbidden_address() -> None:
    """Even where somebody follows it."""
    with (
        _served(302, Location="http://169.254.169.254/latest/meta-data/") as (port, hosts),
        pytest.raises(RequestError) as refused,
    ):
        _get(_HERE, f"http://127.0.0.1:{port}/", follow=True)

    assert (refused.value.code, len(hosts)) == ("ADDRESS_FORBIDDEN", 1)


@pytest.mark.parametrize("host", ["no-such-name.invalid", "127.0.0.1"])
def test_a_host_that_does_not_answer_is_an_outage(host: str) -> None:
    """Its name cannot be resolved, or nobody listens."""
    with _served(200) as (port, _):
        pass

    with pytest.raises(httpx.ConnectError):
        _get(_HERE, f"http://{host}:{port}/")
