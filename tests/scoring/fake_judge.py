"""A fake of an OpenAI-compatible server, over real HTTP on loopback: it says what a script says."""

import json
import select
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

YES, NO = True, False
"""Verdicts."""
PROMPT_TOKENS, COMPLETION_TOKENS = 100, 10
"""Of each chat completion."""
EMBEDDING_TOKENS = 7
"""Of each request for embeddings."""


@dataclass
class Reply:
    """One reply as it goes over the wire."""

    status: int = 200
    body: bytes = b"{}"
    headers: dict[str, str] = field(default_factory=dict)
    hangs: bool = False
    """Headers come, the body never does."""


def says(content: Any, finish: str = "stop") -> Reply:
    """A chat completion with this content; whatever is no text is written as JSON."""
    text = content if content is None or isinstance(content, str) else json.dumps(content)
    return says_raw(
        {"choices": [{"message": {"role": "assistant", "content": text}, "finish_reason": finish}]}
    )


def says_raw(document: Any) -> Reply:
    """A chat completion with any envelope."""
    usage = {"prompt_tokens": PROMPT_TOKENS, "completion_tokens": COMPLETION_TOKENS}
    return Reply(body=json.dumps({"usage": usage, **document}).encode())


def verdicts(*values: bool) -> Reply:
    """A verdict for each number from 1 on."""
    return says({"verdicts": [{"number": at, "verdict": value} for at, value in enumerate(values, 1)]})


def refusal(status: int, message: str, **headers: str) -> Reply:
    """An error as OpenAI writes it."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Reply(status, json.dumps({"error": {"message": message}}).encode(), named)


def embeddings(*vectors: Any) -> Reply:
    """Embeddings in their order."""
    data = [{"index": at, "embedding": vector} for at, vector in enumerate(vectors)]
    usage = {"prompt_tokens": EMBEDDING_TOKENS, "total_tokens": EMBEDDING_TOKENS}
    return Reply(body=json.dumps({"data": data, "usage": usage}).encode())


class FakeJudge:
    """What the server will say, and what it was asked."""

    def __init__(self) -> None:
        self.chat: deque[Reply] = deque()
        self.embeddings: deque[Reply] = deque()
        self.vectors: Mapping[str, list[float]] = {}
        """Of texts, for requests that no scripted reply is left for."""
        self.requests: list[dict[str, Any]] = []
        """Path, body and headers of each, in the order of arrival."""
        self.thinks = 0.0
        """Seconds before each reply."""
        self.most_at_once = 0
        self.abandoned = 0
        """Requests that hung until their client went away."""
        self.url = ""
        self.released = threading.Event()
        """Ends what hangs."""
        self._lock = threading.Lock()
        self._open = 0

    def will_say(self, *replies: Reply) -> None:
        """Script the next chat completions."""
        self.chat.extend(replies)

    def prompts(self) -> list[str]:
        """Of the chat completions asked for."""
        chats = [request for request in self.requests if request["path"] == "/v1/chat/completions"]
        return ["".join(message["content"] for message in chat["body"]["messages"]) for chat in chats]

    def data(self, at: int) -> Any:
        """The data in the prompt of one chat completion."""
        return json.loads(self.prompts()[at].splitlines()[2])

    def reply_to(self, request: dict[str, Any]) -> Reply:
        """Record a request and take what is scripted for it."""
        with self._lock:
            self.requests.append(request)
            self._open += 1
            self.most_at_once = max(self.most_at_once, self._open)
            script = self.chat if request["path"].endswith("/chat/completions") else self.embeddings
            if script:
                return script.popleft()
        texts = request["body"].get("input")
        if texts and all(text in self.vectors for text in texts):
            return embeddings(*(self.vectors[text] for text in texts))
        return refusal(418, "nothing is scripted for this request")

    def replied(self) -> None:
        """A request is over."""
        with self._lock:
            self._open -= 1


@contextmanager
def fake_judge() -> Iterator[FakeJudge]:
    """A server for the time of a test."""
    fake = FakeJudge()
    with served(fake):
        yield fake


@contextmanager
def served(fake: FakeJudge) -> Iterator[None]:
    """Let it be reached at its `url`."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(fake))
    server.daemon_threads = True
    fake.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield
    finally:
        fake.released.set()
        server.shutdown()
        server.server_close()
        thread.join()


def _handler(fake: FakeJudge) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True  # headers and body go separately: a reply would wait for an ACK

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            reply = fake.reply_to({"path": self.path, "body": body, "headers": dict(self.headers)})
            time.sleep(fake.thinks)
            # Before the last byte is out: the client may be back first.
            fake.replied()
            self._send(reply)

        def _send(self, reply: Reply) -> None:
            self.send_response(reply.status)
            for name, value in reply.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(reply.body)))
            self.end_headers()
            if reply.hangs:
                self.wfile.flush()
                self._hang()
                self.close_connection = True
                return
            try:
                self.wfile.write(reply.body)
            except OSError:  # the client has read enough
                self.close_connection = True

        def _hang(self) -> None:
            poll = select.poll()  # `select` itself takes no file beyond the 1,024th
            poll.register(self.connection, select.POLLIN)
            while not fake.released.wait(0.01):
                if poll.poll(0) and not self.connection.recv(1):
                    fake.abandoned += 1
                    return

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
            pass

    return Handler
