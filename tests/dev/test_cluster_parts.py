import json
import tomllib
from pathlib import Path

import pytest

from dev.cluster import containerd, parts
from dev.layout import ClusterLayout, StackLayout
from dev.network import Namespace
from dev.part import Part

_STACK = StackLayout("bud-test")


@pytest.fixture
def clusters(tmp_path: Path) -> list[ClusterLayout]:
    """Both clusters of a stack."""
    made = [ClusterLayout(_STACK.name, number, tmp_path / f"k{number}") for number in (1, 2)]
    for cluster in made:
        cluster.directory.mkdir()
    return made


@pytest.fixture
def of_clusters(
    clusters: list[ClusterLayout], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> list[list[Part]]:
    """The parts of each cluster, on a machine with a fake containerd."""
    (tmp_path / "containerd").write_text(
        "#!/bin/sh\necho containerd github.com/containerd/containerd 1.6.20\n"
    )
    (tmp_path / "containerd").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    return [parts.parts(_STACK, cluster, Namespace(cluster.scope)) for cluster in clusters]


def test_parts_start_after_what_they_need(of_clusters: list[list[Part]]) -> None:
    """Each part's needs are parts of the same cluster that stand before it."""
    for cluster in of_clusters:
        names = [part.name for part in cluster]
        late = [part.name for at, part in enumerate(cluster) if not set(part.needs) <= set(names[:at])]
        assert late == []
        assert {"containerd", "kube-apiserver"} <= {
            need.removeprefix("second-") for part in cluster for need in part.needs
        }


def test_parts_of_two_clusters_are_told_apart(of_clusters: list[list[Part]]) -> None:
    """A part's name is used once in the whole stack: its log and its record are named by it."""
    names = [part.name for cluster in of_clusters for part in cluster]
    assert len(names) == len(set(names))
    assert [part.name for part in of_clusters[1]] == [f"second-{part.name}" for part in of_clusters[0]]


def test_parts_of_one_cluster_share_no_address(of_clusters: list[list[Part]]) -> None:
    """In one network namespace each address is one part's."""
    for cluster in of_clusters:
        addresses = [part.address for part in cluster]
        assert len(addresses) == len(set(addresses))


def test_pods_outlive_their_containerd(of_clusters: list[list[Part]]) -> None:
    """A restart of containerd does not end the shims that it started; every other part goes as a whole."""
    staying = [part.name for cluster in of_clusters for part in cluster if part.children_stay]
    assert staying == ["containerd", "second-containerd"]


def test_containerd_keeps_everything_in_the_clusters_directory(clusters: list[ClusterLayout]) -> None:
    """Two containerds on one machine share no directory, no socket and no pod network."""
    for cluster in clusters:
        path = containerd.write_configuration(cluster)
        settings = tomllib.loads(path.read_text())
        cni = settings["plugins"]["io.containerd.grpc.v1.cri"]["cni"]
        paths = [settings["root"], settings["state"], settings["grpc"]["address"], cni["conf_dir"]]
        assert all(Path(path).is_relative_to(cluster.directory) for path in paths)
        assert Path(settings["grpc"]["address"]) == containerd.socket(cluster)
        network = json.loads((Path(cni["conf_dir"]) / "10-bridge.conflist").read_text())
        addresses = network["plugins"][0]["ipam"]
        assert addresses["ranges"] == [[{"subnet": cluster.pod_subnet}]]
        assert Path(addresses["dataDir"]).is_relative_to(cluster.directory)
        assert network["name"] == cluster.scope


def test_kubelet_lets_nobody_in_without_a_certificate_or_a_right(clusters: list[ClusterLayout]) -> None:
    """The kubelet asks the API server who somebody is and what he may do."""
    cluster = parts._Cluster(_STACK, clusters[0], Namespace(clusters[0].scope))
    settings = parts._kubelet_configuration(cluster)
    assert settings["authentication"]["anonymous"] == {"enabled": False}
    assert settings["authorization"] == {"mode": "Webhook"}
    assert settings["cgroupRoot"] == "/bud-test"
