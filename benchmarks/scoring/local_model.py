"""The small local model as a judge, as an embedder and as a tokenizer, at addresses of its own."""

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import httpx

from benchmarks.scoring.running import Endpoints
from budeval.scoring.settings import EmbedderSettings, JudgeSettings
from dev import model

_PARALLEL = 2
"""Requests at once. Each has 4,096 tokens then, which ragas' prompts with their examples need."""
_MAX_TOKENS = 160
"""Of a reply, twice as many at the second try: this model often goes on for ever."""
_START_SECONDS = 120


class LocalModel:
    """Its two servers."""

    def __init__(self, chat: str, embeddings: str) -> None:
        """The addresses are those of the servers' roots."""
        self._chat = chat
        self._embeddings = embeddings
        self._http = httpx.Client(trust_env=False, timeout=60)

    @property
    def endpoints(self) -> Endpoints:
        """For engines."""
        common = {"model": model.MODEL_NAME, "timeout": 900.0}
        judge = {
            "alias": "j",
            "base_url": f"{self._chat}/v1",
            "concurrency": _PARALLEL,
            "max_tokens": _MAX_TOKENS,
        }
        embedder = {"alias": "e", "base_url": f"{self._embeddings}/v1"}
        return Endpoints(
            JudgeSettings.model_validate({**common, **judge}),
            EmbedderSettings.model_validate({**common, **embedder}),
        )

    def tokens(self, text: str) -> int:
        """How many tokens of this model a text is."""
        answer = self._http.post(f"{self._chat}/tokenize", json={"content": text}).raise_for_status()
        return len(answer.json()["tokens"])


@contextmanager
def local_model() -> Iterator[LocalModel]:
    """Serve it for a while."""
    with ExitStack() as servers:
        chat = servers.enter_context(_server("--parallel", str(_PARALLEL), "--threads", "1"))
        embeddings = servers.enter_context(_server("--embeddings"))
        yield LocalModel(chat, embeddings)


@contextmanager
def _server(*options: str) -> Iterator[str]:
    port = _free_port()
    where = ["--model", str(model.model_file()), "--host", "127.0.0.1", "--port", str(port)]
    command = [sys.executable, "-m", "dev.model.serve", *where, *options]
    quiet = subprocess.DEVNULL
    with subprocess.Popen(command, stdin=quiet, stdout=quiet, stderr=quiet) as process:
        try:
            address = f"http://127.0.0.1:{port}"
            _await_health(address)
            yield address
        finally:
            process.terminate()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _await_health(address: str) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while True:
        try:
            httpx.get(f"{address}/health", trust_env=False).raise_for_status()
        except httpx.HTTPError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)
        else:
            return
