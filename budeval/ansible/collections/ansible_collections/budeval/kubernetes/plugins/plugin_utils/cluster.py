"""One API server, asked for plain JSON with a time limit for each request.

Reads the kubeconfig that `budeval.ansible.kubeconfig` has rebuilt: one server, one authority, one credential,
all inside the file. The official client would be 0.3 s of imports, and what it offers below its typed models
differs from release to release.
"""

import base64
import json
import os
import ssl
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import yaml
from ansible.plugins.action import ActionBase

_REQUEST_SECONDS = 10.0
_PAGE = 500
_JSON = "application/json"

Object = dict[str, Any]
Handler = Callable[["Cluster", Object], Object]


class ApiError(Exception):
    """The API server said no."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(f"{status} {text}")
        self.status = status
        self.text = text

    @property
    def in_words(self) -> str:
        """Its status and message, without the rest of the document that it has sent."""
        try:
            return f"{self.status} {json.loads(self.text)['message']}"
        except (ValueError, LookupError, TypeError):
            return str(self)


class Listing(NamedTuple):
    """What the API server has listed, all of it at one moment."""

    items: list[Object]
    version: str
    """The resource version of that moment."""
    date: str
    """The server's own clock, as HTTP writes it; empty where a proxy has left it out."""


class Cluster:
    """A connection with the credential of a kubeconfig; may be shared between threads."""

    def __init__(self, kubeconfig: str) -> None:
        document = yaml.safe_load(Path(kubeconfig).read_text())
        cluster, user = document["clusters"][0]["cluster"], document["users"][0]["user"]
        self._http = httpx.Client(
            base_url=cluster["server"],
            verify=_trust(cluster, user),
            headers={"Authorization": f"Bearer {user['token']}"} if "token" in user else {},
            timeout=_REQUEST_SECONDS,
            trust_env=False,
        )
        self._extensions = (
            {"sni_hostname": cluster["tls-server-name"]} if "tls-server-name" in cluster else {}
        )

    def request(
        self,
        method: str,
        path: str,
        body: Object | None = None,
        query: dict[str, Any] | None = None,
        content_type: str = _JSON,
    ) -> Any:
        """The answer as parsed JSON, or as text where it is none. Raises ApiError, httpx.HTTPError."""
        answer = self._send(method, path, body, query, content_type)
        is_json = answer.headers.get("Content-Type", "").startswith("application/json")
        return answer.json() if is_json else answer.content.decode("utf-8", "replace")

    def _send(
        self,
        method: str,
        path: str,
        body: Object | None,
        query: dict[str, Any] | None,
        content_type: str,
    ) -> httpx.Response:
        answer = self._http.request(
            method,
            path,
            params=query,
            content=None if body is None else json.dumps(body),
            headers={"Content-Type": content_type},
            extensions=self._extensions,
        )
        if answer.is_error:
            raise ApiError(answer.status_code, answer.text)
        return answer

    def list_all(self, path: str, query: dict[str, Any]) -> Listing:
        """Every item, page by page."""
        items: list[Object] = []
        more: str | None = ""
        while more is not None:
            answer = self._send("GET", path, None, {**query, "limit": _PAGE, "continue": more}, _JSON)
            page = answer.json()
            items += page["items"]
            more = page["metadata"].get("continue") or None
        return Listing(items, page["metadata"]["resourceVersion"], answer.headers.get("Date", ""))


def _trust(cluster: dict[str, str], user: dict[str, str]) -> ssl.SSLContext:
    authority = cluster.get("certificate-authority-data")
    context = ssl.create_default_context(cadata=base64.b64decode(authority).decode() if authority else None)
    if "client-certificate-data" in user:
        # The ssl module takes a client's key from a file only; the run's TMPDIR is private and goes with it.
        pair = (
            base64.b64decode(user["client-certificate-data"])
            + b"\n"
            + base64.b64decode(user["client-key-data"])
        )
        handle, path = tempfile.mkstemp()
        os.write(handle, pair)
        os.close(handle)
        context.load_cert_chain(path)
        Path(path).unlink()
    return context


def jobs_path(namespace: str, name: str = "") -> str:
    """Of the Jobs of a namespace, or of one of them."""
    return f"/apis/batch/v1/namespaces/{namespace}/jobs" + (f"/{name}" if name else "")


def core_path(namespace: str, kind: str, name: str = "") -> str:
    """Of a kind of the core API: pods, configmaps, secrets, events."""
    return f"/api/v1/namespaces/{namespace}/{kind}" + (f"/{name}" if name else "")


class ClusterAction(ActionBase):  # type: ignore[misc] # Ansible has no types
    """An action that reads its input from a file and hands it to a function with a connection."""

    _requires_connection = False

    def handle(self, handler: Handler, task_vars: dict[str, Any] | None) -> Object:
        """Run the handler; a failure becomes the task's."""
        result: Object = super().run(None, task_vars)
        arguments = self._task.args
        try:
            order = json.loads(Path(arguments["input_file"]).read_text())
            return result | handler(Cluster(arguments["kubeconfig"]), order)
        except httpx.TimeoutException as error:
            return result | {"failed": True, "msg": f"the API server timed out: {type(error).__name__}"}
        except httpx.HTTPError as error:
            return result | {"failed": True, "msg": f"Failed to establish a connection: {error}"}
        except (ApiError, OSError, ValueError) as error:
            return result | {"failed": True, "msg": str(error)}
