"""What an API server that a request brings may send: no more than the plugins read."""

import gzip
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from budeval.ansible import failures
from tests.ansible import plugins

_CLUSTER = plugins.CLUSTER
_TOKEN = "a-secret-token"
_LISTING = {"items": [{"metadata": {"name": "a"}}], "metadata": {"resourceVersion": "1", "continue": "more"}}


@contextmanager
def _cluster(directory: Path, answer: Callable[[BaseHTTPRequestHandler], None]) -> Iterator[Any]:
    """A connection to a server on loopback that answers so."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            """Answer, until nobody reads any more."""
            with suppress(ConnectionError):
                answer(self)

        def log_message(self, *_arguments: Any) -> None:
            """Silence."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        path = directory / "kubeconfig"
        reached = {"server": f"http://127.0.0.1:{server.server_port}"}
        users = [{"user": {"token": _TOKEN}}]
        path.write_text(yaml.safe_dump({"clusters": [{"cluster": reached}], "users": users}))
        cluster = _CLUSTER.Cluster(str(path))
        yield cluster
        cluster._http.close()
        server.shutdown()
        thread.join()


def _sends(content: bytes, status: int = 200, **headers: str) -> Callable[[BaseHTTPRequestHandler], None]:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        handler.wfile.write(content)

    return answer


def _sends_without_end(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.send_header("Content-Type", "application/json")
    handler.end_headers()
    while True:
        handler.wfile.write(b"[" * 65536)


def _refused(ask: Callable[[], Any]) -> str:
    with pytest.raises(_CLUSTER.AnswerTooLargeError) as refused:
        ask()
    error = failures.classify({"msg": str(refused.value)}, "Ask")
    assert (error.code, error.retryable) == ("ANSWER_TOO_LARGE", False)
    return str(refused.value)


def test_an_answer_without_end_is_not_read_to_it(tmp_path: Path) -> None:
    """The memory is everybody's."""
    with _cluster(tmp_path, _sends_without_end) as cluster:
        assert "/version" in _refused(lambda: cluster.request("GET", "/version"))
        assert "/jobs" in _refused(lambda: cluster.list_all("/jobs", {}))


def test_a_log_may_be_as_long_as_it_was_asked_for(tmp_path: Path) -> None:
    """Which is more than any other answer; and no byte longer."""
    limit = _CLUSTER._LARGEST_ANSWER + 1000
    for content, taken in ((b"x" * limit, True), (b"x" * (limit + 1), False)):
        with _cluster(tmp_path, _sends(content)) as cluster:
            if taken:
                assert cluster.request("GET", "/log", query={"limitBytes": limit}) == content.decode()
            else:
                _refused(lambda: cluster.request("GET", "/log", query={"limitBytes": limit}))


def test_a_list_has_an_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However small its pages are."""
    monkeypatch.setattr(_CLUSTER, "_LARGEST_LISTING", 10 * len(json.dumps(_LISTING)))

    with _cluster(tmp_path, _sends(json.dumps(_LISTING).encode())) as cluster:
        assert "a list of more than" in _refused(lambda: cluster.list_all("/jobs", {}))


def test_nothing_compressed_is_opened(tmp_path: Path) -> None:
    """A few bytes might become gigabytes; it was not asked for."""
    bomb = gzip.compress(b"[" * 100_000)

    with _cluster(tmp_path, _sends(bomb, Content_Encoding="gzip")) as cluster:
        assert "compressed" in _refused(lambda: cluster.request("GET", "/version"))


def test_a_refusal_that_echoes_the_token_is_told_without_it(tmp_path: Path) -> None:
    """As a proxy does that shows what it was sent; also where the text is cut afterwards."""
    told = b"you sent Bearer " + _TOKEN.encode() + b" " * (_CLUSTER._LONGEST_REFUSAL - 21) + _TOKEN.encode()

    with _cluster(tmp_path, _sends(told, 403)) as cluster, pytest.raises(_CLUSTER.ApiError) as refused:
        cluster.request("GET", "/version")

    assert refused.value.in_words.startswith("403 you sent Bearer ***")
    assert "a-sec" not in refused.value.text
    assert refused.value.text.endswith(" **")
    assert len(refused.value.text) == _CLUSTER._LONGEST_REFUSAL
