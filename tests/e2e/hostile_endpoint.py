"""A model's endpoint of somebody who means harm, in the stack's namespace: it says what it is told to say."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

_NODE = "10.88.0.1"


class HostileEndpoint:
    """Answers every chat, with the same."""

    def __init__(self) -> None:
        self.url = ""
        """As requests name it."""
        self.reply = ""
        self.status = 200
        self.open = threading.Event()
        """While it is not set, whoever asks has to wait."""
        self.open.set()
        self.asked = threading.Event()

    @contextmanager
    def served(self) -> Iterator["HostileEndpoint"]:
        """On a port of its own."""
        with ThreadingHTTPServer((_NODE, 0), self._handler()) as server:
            server.daemon_threads = True
            threading.Thread(target=server.serve_forever, daemon=True).start()
            self.url = f"http://{_NODE}:{server.server_address[1]}/v1"
            yield self
            self.open.set()
            server.shutdown()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                """A chat."""
                self.rfile.read(int(self.headers["Content-Length"]))
                endpoint.asked.set()
                endpoint.open.wait()
                body = json.dumps(endpoint._answer()).encode()
                self.send_response(endpoint.status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_arguments: Any) -> None:
                """Silence."""

        return Handler

    def _answer(self) -> dict[str, Any]:
        if self.status >= 400:
            return {"error": {"message": self.reply}}
        choice = {
            "index": 0,
            "message": {"role": "assistant", "content": self.reply},
            "finish_reason": "stop",
        }
        usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
        return {"id": "c", "object": "chat.completion", "model": "m", "choices": [choice], "usage": usage}
