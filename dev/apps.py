"""The service and the example subscriber with their sidecars, started by `dapr run --run-file app.yaml`."""

import json
import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from budeval.runtime.sealing import new_key
from dev import dapr, images, model, process
from dev.errors import UnhealthyError
from dev.layout import CHECKOUT, StackLayout
from dev.network import Namespace
from dev.part import Check, Part, http_check

# As pinned in app.yaml.
SERVICE_PORT = 13080
SUBSCRIBER_PORT = 13180
SCRIPTED_JUDGE_PORT = 8082
"""Where tests put a judge that says what they want."""

NAME = "apps"

_RAGAS = CHECKOUT / ".venv-ragas"
_PASSED_ON = ("BUDEVAL_IMAGE_", "BUDEVAL_SCORING_", "BUDEVAL_API_TOKENS", "APP_API_TOKEN")
"""What begins so in the environment of whoever starts the stack is the service's, too."""

# The CLI refuses a port that any daprd of the machine uses, in whatever network namespace: it reads /proc.
# With a process namespace of its own (which needs root) it sees only its own children.
_ALONE = ("unshare", "--pid", "--fork", "--mount-proc", "--kill-child")


@dataclass(frozen=True)
class Member:
    """One of the processes under `dapr run`."""

    name: str
    version: str
    address: str
    arguments: tuple[str, ...]
    """Words that stand in this order, side by side, in its command line and in no sibling's."""
    check: Check

    def find(self, stack: StackLayout) -> process.Record | None:
        """Its process among those that carry the mark of this part."""
        for record in process.marked(stack.name, NAME):
            words = process.arguments_of(record)
            width = len(self.arguments)
            if any(tuple(words[at : at + width]) == self.arguments for at in range(len(words))):
                return record
        return None


def members() -> list[Member]:
    """Service and subscriber, each with its sidecar."""
    return [
        _application("service", "budeval.main:create_app", f"http://127.0.0.1:{SERVICE_PORT}", "/readyz"),
        _sidecar("service-sidecar", "budeval", 13500),
        _application(
            "subscriber", "examples.subscriber.app:app", f"http://127.0.0.1:{SUBSCRIBER_PORT}", "/healthz"
        ),
        _sidecar("subscriber-sidecar", "budeval-subscriber", 13600),
    ]


def _application(name: str, module: str, url: str, health: str) -> Member:
    version = f"Python {sys.version.split()[0]}"
    # /readyz asks every dependency in turn.
    return Member(name, version, url, (module,), http_check(f"{url}{health}", timeout=15))


def _sidecar(name: str, app_id: str, port: int) -> Member:
    url = f"http://127.0.0.1:{port}"
    return Member(name, dapr.RUNTIME_VERSION, url, ("--app-id", app_id), http_check(f"{url}/v1.0/healthz"))


def _seal_key(stack: StackLayout) -> str:
    """The stack's own, made once: what was sealed before a restart must open after it."""
    path = stack.directory / "seal-key"
    if not path.exists():
        path.touch(mode=0o600)
        path.write_text(new_key())
    return path.read_text()


def received(stack: StackLayout) -> Path:
    """The example subscriber's log of all that arrived."""
    return stack.directory / "dapr" / "received.jsonl"


def _scoring(address: str) -> dict[str, str]:
    """The local model judges and embeds; there is room for a scripted judge, and ragas after `make ragas`."""
    judge = {"alias": "smollm2", "base_url": model.chat_endpoint(address), "model": model.MODEL_NAME}
    embedder = {**judge, "base_url": model.embeddings_endpoint(address)}
    scripted = {"alias": "scripted", "base_url": f"http://127.0.0.1:{SCRIPTED_JUDGE_PORT}/v1", "model": "s"}
    settings = {"JUDGES": json.dumps([judge, scripted]), "EMBEDDERS": json.dumps([embedder])}
    if (_RAGAS / ".complete").exists():
        settings["RAGAS_PYTHON"] = str(_RAGAS / "bin" / "python")
    return {f"BUDEVAL_SCORING_{name}": value for name, value in settings.items()}


def part(stack: StackLayout, namespace: Namespace, model_address: str, needs: tuple[str, ...]) -> Part:
    """All of them as one part: they start and stop together, so one that was killed restarts all.

    What `dapr run` is given is a copy of the checkout's app.yaml, components and configuration, as they are.
    Paths in app.yaml are relative to it, and sidecars run in `appDirPath`, so the SQLite state store becomes
    a file of the stack and not of the checkout.
    """
    home = stack.directory / "dapr"

    def prepare() -> None:
        (home / "tmp").mkdir(parents=True, exist_ok=True)
        shutil.rmtree(home / "components", ignore_errors=True)
        shutil.copytree(CHECKOUT / "components", home / "components")
        for name in ("app.yaml", "dapr-config.yaml"):
            shutil.copy(CHECKOUT / name, home / name)

    def check() -> None:
        for member in members():
            if member.find(stack) is None:
                raise UnhealthyError(f"{member.name} is not running")
            member.check()

    return Part(
        name=NAME,
        version=f"Dapr CLI {dapr.CLI_VERSION}",
        address=f"http://127.0.0.1:{SERVICE_PORT}",
        command=lambda: [
            *(_ALONE if os.geteuid() == 0 else ()),
            *(dapr.cli(), "run", "--run-file", home / "app.yaml"),
        ],
        check=check,
        namespace=namespace,
        stack=stack,
        environment=lambda: {
            "PATH": f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin",
            "PYTHONPATH": str(CHECKOUT),
            # CLI 1.16 does not set it, and daprd would look for an address that the namespace lacks.
            "DAPR_HOST_IP": "127.0.0.1",
            "DAPR_RUNTIME_PATH": str(dapr.runtime_path()),
            # What a killed service leaves behind goes with the stack.
            "TMPDIR": str(home / "tmp"),
            "BUDEVAL_CLUSTERS_DIR": str(stack.clusters_directory),
            "BUDEVAL_DEFAULT_CLUSTER": "local",
            "BUDEVAL_IMAGE_EXTRACTOR": images.python().tag,
            **_scoring(model_address),
            **{name: value for name, value in os.environ.items() if name.startswith(_PASSED_ON)},
            "BUDEVAL_SEAL_KEYS": _seal_key(stack),
            # What `secret_ref` finds in the development secret store (components/secretstore.yaml).
            "BUDEVAL_SECRET_DEMO_API_KEY": "sk-demo",
            "SUBSCRIBER_LOG": str(received(stack)),
        },
        needs=needs,
        prepare=prepare,
        cwd=home,
        start_timeout=90.0,
    )
