"""How each process of a cluster is run and checked.

Traps and flags: the reasons stand beside them; all were needed on Debian 12 with cgroup v1.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from dev import command, network
from dev.cluster import api, binaries, containerd, image_store, pki
from dev.errors import UnhealthyError
from dev.layout import ClusterLayout, StackLayout
from dev.network import Namespace
from dev.part import Check, Part, http_check, program

_ETCD = "https://127.0.0.1:2379"


class _Cluster:
    """What the parts of one cluster have in common."""

    def __init__(self, stack: StackLayout, layout: ClusterLayout, namespace: Namespace) -> None:
        self.stack = stack
        self.layout = layout
        self.namespace = namespace
        self.pki = pki.directory(layout)
        self.prefix = "" if layout.number == 1 else f"{layout.name}-"

    def keys(self, name: str) -> tuple[Path, Path]:
        return self.pki / f"{name}.crt", self.pki / f"{name}.key"

    def part(
        self,
        name: str,
        address: str,
        arguments: Sequence[str | Path],
        check: Check,
        needs: Sequence[str] = (),
        **more: Any,
    ) -> Part:
        version = binaries.ETCD_VERSION if name == "etcd" else binaries.KUBERNETES_VERSION
        return Part(
            name=f"{self.prefix}{name}",
            version=version,
            address=address,
            command=lambda: [binaries.kubernetes(), name, *arguments],
            check=check,
            namespace=self.namespace,
            stack=self.stack,
            needs=tuple(f"{self.prefix}{need}" for need in needs),
            **more,
        )

    def secure_check(self, url: str, user: str = "admin") -> Check:
        """A check by HTTPS that trusts only the cluster's authority and shows a client certificate."""

        def check() -> None:
            api.get(self.layout, url, user)

        return check


def parts(stack: StackLayout, layout: ClusterLayout, namespace: Namespace) -> list[Part]:
    """The processes of one cluster in the order in which they start."""
    cluster = _Cluster(stack, layout, namespace)
    return [
        _containerd(cluster),
        _etcd(cluster),
        _apiserver(cluster),
        _controller_manager(cluster),
        _scheduler(cluster),
        _kubelet(cluster),
        _provisioner(cluster),
    ]


def _containerd(cluster: _Cluster) -> Part:
    layout = cluster.layout
    address = containerd.socket(layout)

    def prepare() -> None:
        containerd.write_configuration(layout)
        image_store.fill(containerd.root(layout))

    def check() -> None:
        command.run(["ctr", "--address", address, "version"], timeout=5)

    return Part(
        name=f"{cluster.prefix}containerd",
        version=command.run([program("containerd"), "--version"]).split()[2],
        address=str(address),
        command=lambda: [program("containerd"), "--config", layout.directory / "containerd.toml"],
        check=check,
        namespace=cluster.namespace,
        stack=cluster.stack,
        prepare=prepare,
        children_stay=True,
    )


def _etcd(cluster: _Cluster) -> Part:
    certificate, key = cluster.keys("etcd")
    arguments: list[str | Path] = [
        *("--data-dir", cluster.layout.directory / "etcd"),
        *("--listen-client-urls", _ETCD, "--advertise-client-urls", _ETCD),
        *("--listen-peer-urls", "http://127.0.0.1:2380"),
        *("--initial-advertise-peer-urls", "http://127.0.0.1:2380"),
        *("--initial-cluster", "default=http://127.0.0.1:2380"),
        *("--cert-file", certificate, "--key-file", key),
        *("--client-cert-auth", "--trusted-ca-file", cluster.pki / "ca.crt"),
        # A cluster of a machine that lost power is made anew (stack.py), so there is nothing to sync for.
        "--unsafe-no-fsync",
    ]
    check = cluster.secure_check(f"{_ETCD}/health", "apiserver-etcd")
    return cluster.part("etcd", _ETCD, arguments, check)


def _apiserver(cluster: _Cluster) -> Part:
    layout = cluster.layout
    options: dict[str, str | Path] = {
        "etcd-servers": _ETCD,
        "etcd-cafile": cluster.pki / "ca.crt",
        "etcd-certfile": cluster.pki / "apiserver-etcd.crt",
        "etcd-keyfile": cluster.pki / "apiserver-etcd.key",
        "bind-address": layout.node_address,
        "advertise-address": layout.node_address,
        "secure-port": "6443",
        "tls-cert-file": cluster.pki / "apiserver.crt",
        "tls-private-key-file": cluster.pki / "apiserver.key",
        "client-ca-file": cluster.pki / "ca.crt",
        "kubelet-certificate-authority": cluster.pki / "ca.crt",
        "kubelet-client-certificate": cluster.pki / "apiserver-kubelet.crt",
        "kubelet-client-key": cluster.pki / "apiserver-kubelet.key",
        "kubelet-preferred-address-types": "InternalIP",
        "anonymous-auth": "false",
        "authorization-mode": "Node,RBAC",
        "enable-admission-plugins": "NodeRestriction",
        "service-account-issuer": "https://kubernetes.default.svc",
        "service-account-key-file": cluster.pki / "service-accounts.pub",
        "service-account-signing-key-file": cluster.pki / "service-accounts.key",
        "service-cluster-ip-range": layout.service_subnet,
        # There is no kube-proxy, so nobody needs the endpoint of the service `kubernetes`.
        "endpoint-reconciler-type": "none",
    }
    arguments = [f"--{name}={value}" for name, value in options.items()]
    check = cluster.secure_check(f"{layout.server}/readyz")
    return cluster.part("kube-apiserver", layout.server, arguments, check, ["etcd"])


def _controller_manager(cluster: _Cluster) -> Part:
    arguments = [
        f"--kubeconfig={cluster.pki / 'controller-manager.yaml'}",
        f"--service-account-private-key-file={cluster.pki / 'service-accounts.key'}",
        f"--root-ca-file={cluster.pki / 'ca.crt'}",
        "--use-service-account-credentials=true",
        *_component_server(cluster, "controller-manager"),
    ]
    check = cluster.secure_check("https://127.0.0.1:10257/healthz")
    return cluster.part(
        "kube-controller-manager", "https://127.0.0.1:10257", arguments, check, ["kube-apiserver"]
    )


def _scheduler(cluster: _Cluster) -> Part:
    arguments = [f"--kubeconfig={cluster.pki / 'scheduler.yaml'}", *_component_server(cluster, "scheduler")]
    check = cluster.secure_check("https://127.0.0.1:10259/healthz")
    return cluster.part("kube-scheduler", "https://127.0.0.1:10259", arguments, check, ["kube-apiserver"])


def _component_server(cluster: _Cluster, name: str) -> list[str]:
    """A controller's own HTTPS server: on loopback, with the API server's certificate for 127.0.0.1."""
    kubeconfig = cluster.pki / f"{name}.yaml"
    certificate, key = cluster.keys("apiserver")
    return [
        "--leader-elect=false",
        "--bind-address=127.0.0.1",
        f"--tls-cert-file={certificate}",
        f"--tls-private-key-file={key}",
        f"--client-ca-file={cluster.pki / 'ca.crt'}",
        f"--authentication-kubeconfig={kubeconfig}",
        f"--authorization-kubeconfig={kubeconfig}",
    ]


def _kubelet(cluster: _Cluster) -> Part:
    layout = cluster.layout
    configuration = layout.directory / "kubelet.yaml"

    def prepare() -> None:
        make_cgroup(layout.scope)
        network.add_bridge(cluster.namespace, f"{layout.node_address}/24")
        configuration.write_text(yaml.safe_dump(_kubelet_configuration(cluster)))

    def check() -> None:
        api.get(layout, f"https://{layout.node_address}:10250/healthz")
        node = api.get(layout, f"{layout.server}/api/v1/nodes/{pki.NODE_NAME}")
        ready = [item for item in node["status"].get("conditions", []) if item["type"] == "Ready"]
        if not ready or ready[0]["status"] != "True":
            raise UnhealthyError(f"node not Ready: {ready[0]['message'] if ready else 'no condition yet'}")

    arguments = [
        f"--kubeconfig={cluster.pki / 'kubelet.yaml'}",
        f"--config={configuration}",
        f"--root-dir={layout.directory / 'kubelet'}",
        f"--cert-dir={layout.directory / 'kubelet-pki'}",
        f"--hostname-override={pki.NODE_NAME}",
        f"--node-ip={layout.node_address}",  # may not be loopback
    ]
    address = f"https://{layout.node_address}:10250"
    return cluster.part(
        "kubelet", address, arguments, check, ["containerd", "kube-apiserver"], prepare=prepare
    )


def _kubelet_configuration(cluster: _Cluster) -> dict[str, Any]:
    layout = cluster.layout
    certificate, key = cluster.keys("kubelet-server")
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "containerRuntimeEndpoint": f"unix://{containerd.socket(layout)}",
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{layout.scope}",
        "failCgroupV1": False,
        "enforceNodeAllocatable": [],
        "failSwapOn": False,
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": str(cluster.pki / "ca.crt")},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": str(certificate),
        "tlsPrivateKeyFile": str(key),
        "address": layout.node_address,
        "healthzPort": 0,
        "podLogsDir": str(layout.directory / "pod-logs"),
        "volumePluginDir": str(layout.directory / "volume-plugins"),
        "resolvConf": "/etc/resolv.conf",
        # A development machine's disk may be nearly full without harm to small Jobs.
        "evictionHard": {"nodefs.available": "1%", "imagefs.available": "1%", "memory.available": "50Mi"},
        "imageGCHighThresholdPercent": 100,
        "nodeStatusUpdateFrequency": "5s",
    }


def make_cgroup(name: str) -> None:
    """Make the cgroup that the node's pods live in, in each v1 hierarchy or in v2's one."""
    root = Path("/sys/fs/cgroup")
    if (root / "cgroup.controllers").exists():
        (root / name).mkdir(exist_ok=True)
        return
    for hierarchy in root.iterdir():
        if not hierarchy.is_dir() or hierarchy.is_symlink() or hierarchy.name == "unified":
            continue
        group = hierarchy / name
        group.mkdir(exist_ok=True)
        for setting in ("cpuset.cpus", "cpuset.mems"):  # a new cpuset is empty and takes no process
            if (group / setting).exists():
                (group / setting).write_text((hierarchy / setting).read_text())


def _provisioner(cluster: _Cluster) -> Part:
    volumes = cluster.layout.directory / "volumes"

    return Part(
        name=f"{cluster.prefix}provisioner",
        version=binaries.PROVISIONER_LIBRARY_VERSION,
        address=str(volumes),
        command=lambda: [
            binaries.provisioner(),
            f"--kubeconfig={cluster.pki / 'provisioner.yaml'}",
            f"--root={volumes}",
        ],
        check=http_check("http://127.0.0.1:8089/metrics"),
        namespace=cluster.namespace,
        stack=cluster.stack,
        needs=(f"{cluster.prefix}kube-apiserver",),
        prepare=lambda: volumes.mkdir(parents=True, exist_ok=True),
    )
