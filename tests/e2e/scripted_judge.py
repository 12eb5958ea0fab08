"""A judge that judges by script, over real HTTP: it fills the schema that it is given, and notes who asks."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from dev import apps

STATEMENTS = ["It was in 1969.", "It was far away."]


@dataclass(frozen=True)
class Asked:
    """A question that came."""

    at: float
    """Seconds, by the machine's clock."""
    prompt: str


class ScriptedJudge:
    """What it was asked, in order."""

    def __init__(self, thinks: float) -> None:
        """`thinks` is the time in seconds that each answer takes."""
        self.thinks = thinks
        self.asked: list[Asked] = []
        self._lock = threading.Lock()

    def answer(self, body: dict[str, Any]) -> dict[str, Any]:
        """A chat completion."""
        with self._lock:
            self.asked.append(Asked(time.time(), body["messages"][-1]["content"]))
        time.sleep(self.thinks)
        content = json.dumps(_filled(body["response_format"]["json_schema"]["schema"]))
        message = {"role": "assistant", "content": content}
        usage = {"prompt_tokens": 100, "completion_tokens": 10}
        return {"choices": [{"message": message, "finish_reason": "stop"}], "usage": usage}


def _filled(schema: dict[str, Any]) -> dict[str, Any]:
    """Two statements, or a verdict for each number: the first is yes, the others no."""
    if "verdicts" in schema["properties"]:
        count = schema["properties"]["verdicts"]["minItems"]
        return {"verdicts": [{"number": at, "verdict": at == 1} for at in range(1, count + 1)]}
    return {"statements": STATEMENTS}


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_arguments: Any) -> None:
        """Who has asked was killed."""


@contextmanager
def scripted_judge(thinks: float) -> Iterator[ScriptedJudge]:
    """It answers where the development stack's settings have the judge `scripted`."""
    judge = ScriptedJudge(thinks)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            """Answer."""
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            reply = json.dumps(judge.answer(body)).encode()
            try:
                self.send_response(200)
                self.send_header("Content-Length", str(len(reply)))
                self.end_headers()
                self.wfile.write(reply)
            except OSError:  # who has asked is no more
                self.close_connection = True

        def log_message(self, *_arguments: Any) -> None:
            """Silence."""

    server = _Server(("127.0.0.1", apps.SCRIPTED_JUDGE_PORT), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield judge
    finally:
        server.shutdown()
        server.server_close()
