"""Where things are and what they are called. No effects.

Everything lives under one directory outside the checkout, `BUDEVAL_DEV_HOME`: the cache, which all
checkouts share, and one directory per stack. Paths stay short because Unix socket paths end at 108 bytes.
"""

import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path

from dev.errors import DevError

CHECKOUT = Path(__file__).resolve().parent.parent
DEV = CHECKOUT / "dev"
_USUAL_HOME = Path("/var/lib/budeval-dev") if os.geteuid() == 0 else Path.home() / ".cache" / "budeval-dev"
# Resolved: daemons run in other directories, and mounts are listed by their real path.
HOME = Path(os.environ.get("BUDEVAL_DEV_HOME") or _USUAL_HOME).resolve()
CACHE = HOME / "cache"
STACKS = HOME / "stacks"
LOCKS = HOME / "locks"

MAX_CLUSTERS = 2
"""More would need other addresses in `ClusterLayout`, and about 1 GB of memory each."""


@dataclass(frozen=True)
class ClusterLayout:
    """Names and addresses of the n-th cluster of a stack (from 1).

    The first lives in the stack's own network namespace, each further one in its own, joined by a veth pair.
    """

    stack: str
    number: int
    directory: Path

    @property
    def name(self) -> str:
        """The name by which requests choose this cluster."""
        return "local" if self.number == 1 else "second"

    @property
    def scope(self) -> str:
        """Name of its network namespace and of its cgroup."""
        return self.stack if self.number == 1 else f"{self.stack}-c{self.number}"

    @property
    def pod_subnet(self) -> str:
        """Where its pods are; the node is its first address."""
        return f"10.88.{self.number - 1}.0/24"

    @property
    def service_subnet(self) -> str:
        """Its cluster IPs. No kube-proxy runs, so nothing answers there."""
        return f"10.89.{self.number - 1}.0/24"

    @property
    def node_address(self) -> str:
        """The bridge's address: node, API server and, in the first cluster, the model."""
        return f"10.88.{self.number - 1}.1"

    @property
    def server(self) -> str:
        """URL of its API server."""
        return f"https://{self.node_address}:6443"

    @property
    def admin_kubeconfig(self) -> Path:
        """Credentials of a cluster administrator, for the stack itself and for tests."""
        return self.directory / "admin.yaml"


@dataclass(frozen=True)
class StackLayout:
    """Names and directories of one stack."""

    name: str

    @classmethod
    def of_checkout(cls, suffix: str = "") -> "StackLayout":
        """The stack of this checkout; another one for each suffix. Short: it names cgroups and namespaces."""
        digest = hashlib.sha256(f"{CHECKOUT}\n{suffix}".encode()).hexdigest()
        return cls(f"bud-{digest[:8]}")

    @classmethod
    def named(cls, name: str) -> "StackLayout":
        """The stack of that full name, of whatever checkout.

        Raises:
            DevError: no stack can have that name; it becomes a path that `down` removes.
        """
        if not re.fullmatch(r"bud-[0-9a-f]{8}", name):
            raise DevError(f"{name!r} is not the name of a stack; `python -m dev list` shows them.")
        return cls(name)

    @property
    def directory(self) -> Path:
        """All state of this stack. `make down` removes it."""
        return STACKS / self.name

    @property
    def logs(self) -> Path:
        """One file per part."""
        return self.directory / "log"

    @property
    def clusters_directory(self) -> Path:
        """Kubeconfigs of the service's own identity, one `<cluster name>.yaml` each."""
        return self.directory / "clusters"

    def cluster(self, number: int) -> ClusterLayout:
        """The n-th cluster, from 1."""
        return ClusterLayout(self.name, number, self.directory / f"k{number}")
