import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from dev.cluster import api, pki
from dev.errors import UnhealthyError
from dev.layout import ClusterLayout


class FakeApiServer(BaseHTTPRequestHandler):
    """Answers by path: JSON, text, a refusal, or nonsense."""

    def do_GET(self) -> None:
        """Answer as the path says."""
        if self.path == "/nonsense":
            self.wfile.write(b"nonsense\r\n")
            return
        self.send_response(403 if self.path == "/refused" else 200)
        self.end_headers()
        self.wfile.write({"/json": b'{"status": {}}', "/refused": b"forbidden"}.get(self.path, b"ok"))

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Say nothing."""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> ClusterLayout:
    """A cluster with all its keys."""
    made = ClusterLayout("bud-test", 1, tmp_path_factory.mktemp("k1"))
    pki.make(made)
    return made


@pytest.fixture(scope="module")
def url(cluster: ClusterLayout) -> Iterator[str]:
    """A server with the API server's certificate, which asks for a client's."""
    keys = pki.directory(cluster)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(keys / "ca.crt")
    context.load_cert_chain(keys / "apiserver.crt", keys / "apiserver.key")
    server = HTTPServer(("127.0.0.1", 0), FakeApiServer)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield f"https://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize(("path", "answer"), [("/json", {"status": {}}), ("/healthz", "ok")])
def test_cluster_is_asked_with_a_certificate(
    path: str, answer: object, cluster: ClusterLayout, url: str
) -> None:
    """JSON is parsed, other text is returned as it is."""
    assert api.get(cluster, f"{url}{path}") == answer


@pytest.mark.parametrize(
    ("path", "reason"),
    [("/refused", "answers 403 forbidden"), ("/nonsense", "does not answer: .*disconnected")],
)
def test_answer_that_is_no_health_is_the_reason(
    path: str, reason: str, cluster: ClusterLayout, url: str
) -> None:
    """A refusal or nonsense is told in words, not by a crash."""
    with pytest.raises(UnhealthyError, match=f"{url}{path} {reason}"):
        api.get(cluster, f"{url}{path}")


def test_server_of_another_cluster_is_not_trusted(url: str, tmp_path: Path) -> None:
    """Health is not reported by somebody else who listens at the address."""
    stranger = ClusterLayout("bud-test", 1, tmp_path)
    pki.make(stranger)
    with pytest.raises(UnhealthyError, match="certificate verify failed"):
        api.get(stranger, f"{url}/healthz")


def test_cluster_without_keys_is_unhealthy(url: str, tmp_path: Path) -> None:
    """Keys that somebody removed are a reason, not a crash."""
    with pytest.raises(UnhealthyError, match="No such file"):
        api.get(ClusterLayout("bud-test", 1, tmp_path), f"{url}/healthz")
