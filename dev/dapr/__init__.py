"""Dapr: the runtime and the CLI, built from their Go modules, and the control plane's two processes."""

import os
import re
import shutil
from pathlib import Path

from dev import cache, command, golang
from dev.errors import CommandFailedError
from dev.layout import DEV, StackLayout
from dev.network import Namespace
from dev.part import Part, http_check

RUNTIME_VERSION = "1.18.2"
CLI_VERSION = "1.16.5"
PLACEMENT_ADDRESS = "127.0.0.1:50005"
SCHEDULER_ADDRESS = "127.0.0.1:50006"

_PROGRAMS = ("daprd", "placement", "scheduler")
# Without the tag daprd panics at start; without the versions the CLI switches the scheduler off.
_LINKER_FLAGS = (
    "-s -w"
    f" -X github.com/dapr/dapr/pkg/buildinfo.version={RUNTIME_VERSION}"
    f" -X github.com/dapr/kit/logger.DaprVersion={RUNTIME_VERSION}"
)
_RUNTIME_FLAGS = ("-tags=stablecomponents", f"-ldflags={_LINKER_FLAGS}")
_CLI_FLAGS = (f"-ldflags=-s -w -X main.version={CLI_VERSION}",)


def runtime_path() -> Path:
    """Directory that holds `.dapr/bin/{daprd,placement,scheduler}`, as `dapr run --runtime-path` wants it.

    An initialised Dapr of this version (`dapr init --slim`) is used where there is one, else ours is built.
    """
    initialised = Path.home()
    if _has_runtime(initialised / ".dapr" / "bin"):
        return initialised

    def build(target: Path) -> None:
        packages = [f"github.com/dapr/dapr/cmd/{name}" for name in _PROGRAMS]
        golang.build(DEV / "dapr" / "runtime", packages, target / ".dapr" / "bin", _RUNTIME_FLAGS)

    made_from: list[cache.Ingredient] = [DEV / "dapr" / "runtime", golang.version(), *_RUNTIME_FLAGS]
    return cache.entry("dapr", made_from, build, what=f"building Dapr {RUNTIME_VERSION}", usually="5 min")


def _has_runtime(directory: Path) -> bool:
    programs = [directory / name for name in _PROGRAMS]
    if not all(os.access(path, os.X_OK) for path in programs):
        return False
    try:
        return command.run([programs[0], "--version"]).strip() == RUNTIME_VERSION
    except CommandFailedError:
        return False


def cli() -> Path:
    """The `dapr` program: the one on PATH if it is of the 1.16 line that was seen working, else ours."""
    installed = shutil.which("dapr")
    if installed and re.search(r"CLI version:\s*v?1\.16\.", _cli_version(installed)):
        return Path(installed)

    def build(target: Path) -> None:
        golang.build(DEV / "dapr" / "cli", ["github.com/dapr/cli"], target / "dapr", _CLI_FLAGS)

    made_from: list[cache.Ingredient] = [DEV / "dapr" / "cli", golang.version(), *_CLI_FLAGS]
    what = f"building the Dapr CLI {CLI_VERSION}"
    return cache.entry("dapr-cli", made_from, build, what=what, usually="2 min") / "dapr"


def _cli_version(path: str) -> str:
    try:
        return command.run([path, "--version"])
    except CommandFailedError:
        return ""


def _program(name: str) -> Path:
    return runtime_path() / ".dapr" / "bin" / name


def parts(stack: StackLayout, namespace: Namespace) -> list[Part]:
    """Placement (where actors are) and scheduler (reminders, in an embedded etcd)."""
    placement = [
        *("--port", "50005", "--listen-address", "127.0.0.1"),
        *("--healthz-port", "13581", "--healthz-listen-address", "127.0.0.1"),
        *("--metrics-port", "13591", "--metrics-listen-address", "127.0.0.1"),
    ]
    scheduler: list[str | Path] = [
        *("--port", "50006", "--listen-address", "127.0.0.1"),
        *("--healthz-port", "13582", "--healthz-listen-address", "127.0.0.1"),
        *("--metrics-port", "13592", "--metrics-listen-address", "127.0.0.1"),
        *("--etcd-data-dir", stack.directory / "dapr" / "scheduler"),
        *("--etcd-client-port", "12379"),
        *("--etcd-initial-cluster", "dapr-scheduler-server-0=http://localhost:12380"),
        *("--override-broadcast-host-port", SCHEDULER_ADDRESS),
    ]
    return [
        Part(
            name="dapr-placement",
            version=RUNTIME_VERSION,
            address=PLACEMENT_ADDRESS,
            command=lambda: [_program("placement"), *placement],
            check=http_check("http://127.0.0.1:13581/healthz"),
            namespace=namespace,
            stack=stack,
        ),
        Part(
            name="dapr-scheduler",
            version=RUNTIME_VERSION,
            address=SCHEDULER_ADDRESS,
            command=lambda: [_program("scheduler"), *scheduler],
            check=http_check("http://127.0.0.1:13582/healthz"),
            namespace=namespace,
            stack=stack,
            # 1.18.2 can hang on shutdown while its health endpoint answers: SIGKILL follows soon.
            grace=3.0,
        ),
    ]
