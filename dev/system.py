"""What the stack asks of the machine, and the Debian packages that it brings along."""

import os
import platform
import re
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from dev import command, console
from dev.errors import CommandFailedError, UnsupportedSystemError

_GO_AT_LEAST = (1, 26)
_POLICY = Path("/usr/sbin/policy-rc.d")
_NO_STARTS = "#!/bin/sh\n# While budeval's development stack installs packages.\nexit 101\n"

_PACKAGE_OF_TOOL = {
    "buildah": "buildah",
    "containerd": "containerd",
    "ip": "iproute2",
    "iptables": "iptables",
    "mmdebstrap": "mmdebstrap",
    "redis-server": "redis-server",
    "runc": "runc",
    "socat": "socat",
    "/usr/lib/cni/bridge": "containernetworking-plugins",
}
_NEEDED_WITHOUT_CLUSTER = {"redis-server"}

_OWN_CLUSTER_HINT = (
    "Without it, use a cluster of your own: `KUBECONFIG=/path/to/config make up`; "
    "with Docker, dev/kind.yaml says how to get one."
)


@dataclass(frozen=True)
class Machine:
    """What the stack runs on, and as whom."""

    system: str
    architecture: str
    user: int

    @classmethod
    def this(cls) -> "Machine":
        """The one that this process runs on."""
        return cls(platform.system(), platform.machine(), os.geteuid())


def require(*, own_cluster: bool, machine: Machine | None = None) -> None:
    """Check that the stack can work here; install the system packages that are missing.

    Args:
        own_cluster: whether a cluster is to be started, which is what needs root and Linux namespaces.
        machine: this one if it is not given.

    Raises:
        UnsupportedSystemError: it can't, with the reason and the way out.
    """
    machine = machine or Machine.this()
    if machine.system != "Linux" or machine.architecture != "x86_64":
        raise UnsupportedSystemError(
            f"The stack runs on 64-bit x86 Linux, this is {machine.system} {machine.architecture}. "
            "Run it in a virtual machine with Debian 12."
        )
    if own_cluster and machine.user != 0:
        raise UnsupportedSystemError(
            "The stack's own Kubernetes needs root (containerd, cgroups, network namespaces). "
            f"Run it as root. {_OWN_CLUSTER_HINT}"
        )
    _require_go()
    _install_missing(_PACKAGE_OF_TOOL.keys() if own_cluster else _NEEDED_WITHOUT_CLUSTER, machine)


def _require_go() -> None:
    wanted = ".".join(str(number) for number in _GO_AT_LEAST)
    if shutil.which("go") is None:
        raise UnsupportedSystemError(
            f"No `go` on PATH: Dapr and Kubernetes are built from their Go modules. Install Go >= {wanted}."
        )
    version = command.run(["go", "env", "GOVERSION"]).strip()
    found = re.match(r"go(\d+)\.(\d+)", version)
    if not found or (int(found[1]), int(found[2])) < _GO_AT_LEAST:
        raise UnsupportedSystemError(f"Go >= {wanted} is needed, this is {version}.")


def _install_missing(tools: Iterable[str], machine: Machine) -> None:
    missing = sorted(_PACKAGE_OF_TOOL[tool] for tool in tools if shutil.which(tool) is None)
    if not missing:
        return
    if shutil.which("apt-get") is None or machine.user != 0:
        raise UnsupportedSystemError(
            f"These system packages are missing: {' '.join(missing)}. They are installed by themselves "
            "on Debian as root; here, install what provides them and try again."
        )
    with console.step(f"installing {' '.join(missing)}", "1 min"), _no_service_starts():
        quiet = {"DEBIAN_FRONTEND": "noninteractive"}
        command.run(["apt-get", "update", "-q"], environment=quiet, timeout=600)
        install = ["apt-get", "install", "-q", "-y", "--no-install-recommends", *missing]
        command.run(install, environment=quiet, timeout=1200)


@contextmanager
def _no_service_starts() -> Iterator[None]:
    """Keep Debian's packages from starting daemons of their own: the stack starts its own."""
    if _POLICY.exists() and _POLICY.read_text() != _NO_STARTS:  # ours may be left by a kill
        yield
        return
    _POLICY.write_text(_NO_STARTS)
    _POLICY.chmod(0o755)
    try:
        yield
    finally:
        _POLICY.unlink()


def has_docker() -> bool:
    """Whether a Docker daemon answers (a client alone does not help)."""
    if shutil.which("docker") is None:
        return False
    try:
        command.run(["docker", "info", "--format", "{{.ServerVersion}}"], timeout=20)
    except CommandFailedError:
        return False
    return True
