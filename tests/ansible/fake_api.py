"""A Kubernetes API server of one namespace in memory, behind a real HTTP server on loopback."""

import copy
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import yaml

Json = dict[str, Any]
Refusal = tuple[int, str]

_NAMESPACES = "/namespaces/"


@dataclass
class FakeApi:
    """Objects by kind and name; what was asked, in order; what goes wrong on purpose."""

    objects: dict[str, dict[str, Json]] = field(default_factory=dict)
    logs: dict[str, str] = field(default_factory=dict)
    """By pod."""
    asked: list[tuple[str, str]] = field(default_factory=list)
    """(method, kind/name) of each request."""
    queries: list[Json] = field(default_factory=list)
    bodies: list[Any] = field(default_factory=list)
    tokens: set[str | None] = field(default_factory=set)
    refuse: Callable[[str, str], Refusal | None] = lambda _method, _what: None
    """(method, kind/name) -> status and message of a refusal."""
    stuck: set[str] = field(default_factory=set)
    """Names of what stays when it is deleted, as with a finalizer."""
    page: int = 500
    server: str = ""
    _made: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def put(self, kind: str, name: str, **document: Any) -> Json:
        """Have an object, as somebody else has made it."""
        return self._create(kind, {"metadata": {}, **document}, name)

    def named(self, kind: str) -> list[str]:
        """The names of what is there."""
        return list(self.objects.get(kind, {}))

    def kubeconfig(self) -> str:
        """With which it is reached."""
        return yaml.safe_dump(
            {
                "clusters": [{"name": "target", "cluster": {"server": self.server}}],
                "users": [{"name": "target", "user": {"token": "a-token"}}],
            }
        )

    @contextmanager
    def served(self) -> Iterator["FakeApi"]:
        """Answers on a port of its own."""
        server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        server.daemon_threads = True
        self.server = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield self
        finally:
            server.shutdown()
            thread.join()
            server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        api = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _serve(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                body = json.loads(self.rfile.read(length)) if length else None
                url = urlsplit(self.path)
                query = {name: values[0] for name, values in parse_qs(url.query).items()}
                with api._lock:
                    api.tokens.add(self.headers.get("Authorization"))
                    status, answer = api._answer(self.command, url.path, query, body)
                if "as=PartialObjectMetadataList" in self.headers.get("Accept", "") and "items" in answer:
                    answer = _metadata_only(answer)
                plain = isinstance(answer, str)
                content = (answer if plain else json.dumps(answer, separators=(",", ":"))).encode()
                self.send_response(status)
                self.send_header("Content-Type", "text/plain" if plain else "application/json")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_POST = do_PATCH = do_DELETE = _serve  # noqa: N815 - the names of the standard library

            def log_message(self, *_arguments: Any) -> None:
                """Nothing is written."""

        return Handler

    def _answer(self, method: str, path: str, query: Json, body: Any) -> tuple[int, Any]:
        kind, *rest = path.partition(_NAMESPACES)[2].split("/")[1:]
        what = "/".join([kind, *rest]) or kind
        named = f"{kind}/{body['metadata']['name']}" if method == "POST" else what
        self.asked.append((method, named))
        self.queries.append(query)
        self.bodies.append(copy.deepcopy(body))
        refusal = self.refuse(method, named)
        if refusal:
            return _status(*refusal)
        if method == "POST":
            return self._post(kind, body)
        return self._of_one(method, kind, rest, body) if rest else (200, self._list(kind, query))

    def _post(self, kind: str, body: Json) -> tuple[int, Json]:
        name = body["metadata"]["name"]
        if name in self.objects.get(kind, {}):
            return _status(409, f'{kind} "{name}" already exists')
        return 201, self._create(kind, body, name)

    def _of_one(self, method: str, kind: str, rest: list[str], body: Any) -> tuple[int, Any]:
        there, name = self.objects.get(kind, {}), rest[0]
        if name not in there:
            return _status(404, f'{kind} "{name}" not found')
        if rest[1:] == ["log"]:
            return 200, self.logs.get(name, "")[: int(self.queries[-1]["limitBytes"])]
        if method == "DELETE":
            return self._delete(kind, name, body or {})
        if method == "PATCH":
            self.change(there[name], body)
        return 200, there[name]

    def _delete(self, kind: str, name: str, options: Json) -> tuple[int, Json]:
        """As the real one answers for all kinds that we delete: with the uid of what is gone."""
        metadata = self.objects[kind][name]["metadata"]
        for condition, value in options.get("preconditions", {}).items():
            if metadata[condition] != value:
                return _status(409, f"the {condition} in the precondition ({value}) does not match")
        if "dryRun" not in options:
            if name in self.stuck:
                metadata["deletionTimestamp"] = "2026-01-01T00:00:00Z"
                return 200, self.objects[kind][name]
            del self.objects[kind][name]
        details = {"name": name, "kind": kind, "uid": metadata["uid"]}
        return 200, {"kind": "Status", "status": "Success", "metadata": {}, "details": details}

    def change(self, item: Json, patch: Json) -> None:
        """Merge a patch of spec and annotations into an object, which is another version then."""
        self._made += 1
        item["metadata"]["resourceVersion"] = str(self._made)
        annotations = patch.get("metadata", {}).get("annotations", {})
        item["metadata"]["annotations"] = item["metadata"].get("annotations", {}) | annotations
        item["spec"] = item.get("spec", {}) | patch.get("spec", {})

    def _create(self, kind: str, document: Json, name: str) -> Json:
        self._made += 1
        made = {
            "uid": f"uid-{self._made}",
            "resourceVersion": str(self._made),
            "creationTimestamp": f"2026-01-01T00:00:{self._made % 60:02}Z",
        }
        metadata = {**made, **document["metadata"], "name": name}
        self.objects.setdefault(kind, {})[name] = {**document, "metadata": metadata}
        return self.objects[kind][name]

    def _list(self, kind: str, query: Json) -> Json:
        items = [item for item in self.objects.get(kind, {}).values() if _selected(item, query)]
        start = int(query.get("continue") or 0)
        end = start + self.page
        more = str(end) if end < len(items) else ""
        metadata = {"continue": more, "resourceVersion": str(self._made)}
        return {"metadata": metadata, "items": items[start:end]}


def _metadata_only(listing: Json) -> Json:
    """As the real one, which has null for no items."""
    items = [{"metadata": item["metadata"]} for item in listing["items"]]
    return {**listing, "items": items or None}


def _selected(item: Json, query: Json) -> bool:
    labels = item["metadata"].get("labels", {})
    for term in filter(None, query.get("labelSelector", "").split(",")):
        name, equal, value = term.partition("=")
        if name not in labels or (equal and labels[name] != value):
            return False
    field_name, _, value = query.get("fieldSelector", "").partition("=")
    return not field_name or item.get(field_name) == value


def _status(code: int, message: str) -> tuple[int, Json]:
    reasons = {401: "Unauthorized", 403: "Forbidden", 404: "NotFound", 409: "AlreadyExists", 422: "Invalid"}
    reason = reasons.get(code, "InternalError")
    return code, {"kind": "Status", "apiVersion": "v1", "message": message, "reason": reason, "code": code}
