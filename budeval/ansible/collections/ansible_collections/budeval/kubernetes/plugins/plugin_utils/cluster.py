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
_PAGE = 200
_LARGEST_ANSWER = 8 * 1024 * 1024
"""Bytes, if no more were asked for. A page of pods has some two millions."""
_LARGEST_LISTING = 128 * 1024 * 1024
"""Bytes of all its pages."""
_LONGEST_REFUSAL = 64 * 1024
_SHORTEST_SECRET = 8
"""As in `budeval.domain.redaction`, which processes of playbooks do not find."""
_JSON = "application/json"
METADATA_ONLY = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json"
"""What is accepted of a list: items without all that is in them, as the rows in ConfigMaps."""

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


class AnswerTooLargeError(Exception):
    """The API server sends more than is read. Whoever brings a cluster could fill this machine's memory."""

    def __init__(self, path: str, what: str) -> None:
        super().__init__(f"ANSWER_TOO_LARGE: {what} came for {path}")


class _Answer(NamedTuple):
    headers: httpx.Headers
    content: bytes


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
        self._token = user.get("token", "")
        self._http = httpx.Client(
            base_url=cluster["server"],
            verify=_trust(cluster, user),
            headers={
                **({"Authorization": f"Bearer {self._token}"} if self._token else {}),
                # Of what is compressed nobody knows how much it will be.
                "Accept-Encoding": "identity",
            },
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
        """The answer as parsed JSON, or as text where it is none.

        Raises:
            ApiError: the API server said no.
            AnswerTooLargeError: it sends more than is read; of a log no more than `limitBytes` of the query.
            httpx.HTTPError: it did not answer.
        """
        answer = self._send(method, path, body, query, {"Content-Type": content_type})
        if answer.headers.get("Content-Type", "").startswith("application/json"):
            return json.loads(answer.content)
        return answer.content.decode("utf-8", "replace")

    def _send(
        self,
        method: str,
        path: str,
        body: Object | None,
        query: dict[str, Any] | None,
        headers: dict[str, str],
    ) -> _Answer:
        with self._http.stream(
            method,
            path,
            params=query,
            content=None if body is None else json.dumps(body),
            headers=headers,
            extensions=self._extensions,
        ) as answer:
            content = _read(answer, path, max(_LARGEST_ANSWER, (query or {}).get("limitBytes", 0)))
        if answer.is_error:
            raise ApiError(answer.status_code, self._without_token(content))
        return _Answer(answer.headers, content)

    def _without_token(self, content: bytes) -> str:
        """What a server or proxy says, which may echo what it was sent; before anybody cuts it."""
        text = content.decode("utf-8", "replace")
        if len(self._token) >= _SHORTEST_SECRET:
            text = text.replace(self._token, "***")
        return text[:_LONGEST_REFUSAL]

    def list_all(self, path: str, query: dict[str, Any], accept: str = _JSON) -> Listing:
        """Every item, page by page. Raises as `request` does."""
        items: list[Object] = []
        received = 0
        more: str | None = ""
        while more is not None:
            asked = {**query, "limit": _PAGE, "continue": more}
            answer = self._send("GET", path, None, asked, {"Accept": accept})
            received += len(answer.content)
            if received > _LARGEST_LISTING:
                raise AnswerTooLargeError(path, f"a list of more than {_LARGEST_LISTING} bytes")
            page = json.loads(answer.content)
            items += page["items"] or ()  # null where there is nothing of which to send metadata
            more = page["metadata"].get("continue") or None
        return Listing(items, page["metadata"]["resourceVersion"], answer.headers.get("Date", ""))


def _read(answer: httpx.Response, path: str, limit: int) -> bytes:
    """The body of an answer that is being sent. Raises AnswerTooLargeError."""
    if answer.headers.get("Content-Encoding", "identity") != "identity":
        raise AnswerTooLargeError(path, "a compressed answer, which was not asked for,")
    content = bytearray()
    for chunk in answer.iter_raw():
        content += chunk
        if len(content) > limit:
            raise AnswerTooLargeError(path, f"more than {limit} bytes")
    return bytes(content)


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
        except (ApiError, AnswerTooLargeError, OSError, ValueError) as error:
            return result | {"failed": True, "msg": str(error)}
