"""containerd: a stack's own, with its own root, state, socket and pod network."""

import json
from pathlib import Path

from dev.layout import ClusterLayout

PAUSE_IMAGE = "budeval.local/pause:1"


def socket(cluster: ClusterLayout) -> Path:
    """Where it listens."""
    return cluster.directory / "containerd.sock"


def root(cluster: ClusterLayout) -> Path:
    """Its images and snapshots."""
    return cluster.directory / "containerd"


def write_configuration(cluster: ClusterLayout) -> Path:
    """Write its configuration and that of the pod network; return the former's path."""
    _write_pod_network(cluster)
    path = cluster.directory / "containerd.toml"
    path.write_text(configuration(root(cluster), cluster.directory / "run", socket(cluster), _cni(cluster)))
    return path


def configuration(root: Path, state: Path, socket: Path, cni: Path) -> str:
    """Containerd's TOML.

    `restrict_oom_score_adj`: without CAP_SYS_RESOURCE runc dies with "can't get final child's PID from pipe".
    `netns_mounts_under_state_dir`: the pods' namespaces are mounted where `make down` finds them.
    """
    return f"""version = 2
root = "{root}"
state = "{state}"
[grpc]
  address = "{socket}"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{PAUSE_IMAGE}"
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "{cni}"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
"""


def _cni(cluster: ClusterLayout) -> Path:
    return cluster.directory / "cni"


def _write_pod_network(cluster: ClusterLayout) -> None:
    addresses = {
        "type": "host-local",
        "ranges": [[{"subnet": cluster.pod_subnet}]],
        "routes": [{"dst": "0.0.0.0/0"}],
        # Its default is one directory for the whole machine.
        "dataDir": str(cluster.directory / "pod-addresses"),
    }
    bridge = {
        "type": "bridge",
        "bridge": "bud0",
        "isGateway": True,
        "ipMasq": True,
        "hairpinMode": True,
        "ipam": addresses,
    }
    plugins = [bridge, {"type": "portmap", "capabilities": {"portMappings": True}}]
    document = {"cniVersion": "1.0.0", "name": cluster.scope, "plugins": plugins}
    _cni(cluster).mkdir(parents=True, exist_ok=True)
    (_cni(cluster) / "10-bridge.conflist").write_text(json.dumps(document, indent=1))
