"""Which clusters there are, and with which credential each is reached."""

from pathlib import Path

import pytest
import yaml

from budeval.domain.cluster import FROM_REQUEST, IN_CLUSTER, ClusterTarget
from budeval.errors import ClusterError, RequestError
from budeval.evals.clusters import Clusters
from tests.evals import samples


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Two configured clusters, and a file that is none."""
    for name in ("second", "first"):
        (tmp_path / f"{name}.yaml").write_text(samples.kubeconfig(f"token-of-{name}"))
    (tmp_path / "notes.txt").write_text("no cluster")
    return tmp_path


def _clusters(directory: Path | None, service_account: Path = Path("/nowhere")) -> Clusters:
    return Clusters(directory, {"e-1": samples.kubeconfig("token-of-the-request")}.get, service_account)


def _token(kubeconfig: str) -> str:
    return str(yaml.safe_load(kubeconfig)["users"][0]["user"]["token"])


def test_the_directory_names_the_clusters(directory: Path) -> None:
    """Each `<name>.yaml` is a cluster."""
    assert _clusters(directory).names() == ["first", "second"]


@pytest.mark.parametrize("missing", [None, Path("/nowhere")])
def test_without_a_directory_there_are_no_clusters(missing: Path | None) -> None:
    """The refusal says which setting would help."""
    with pytest.raises(RequestError, match="BUDEVAL_CLUSTERS_DIR") as refused:
        _clusters(missing).require_known("first")

    assert (refused.value.status, refused.value.code, refused.value.param) == (
        404,
        "CLUSTER_UNKNOWN",
        "cluster",
    )


@pytest.mark.parametrize(
    ("cluster", "eval_id", "token"),
    [
        ("first", None, "token-of-first"),
        ("second", "e-1", "token-of-second"),
        (FROM_REQUEST, "e-1", "token-of-the-request"),
    ],
)
def test_the_credential_is_that_of_the_target(
    directory: Path, cluster: str, eval_id: str | None, token: str
) -> None:
    """By name, or the one that came with the request."""
    target = ClusterTarget(cluster=cluster, namespace="team-a", eval_id=eval_id)

    assert _token(_clusters(directory).credential(target)) == token


@pytest.mark.parametrize("cluster", ["third", FROM_REQUEST, IN_CLUSTER])
def test_there_is_no_other_clusters_credential_instead(directory: Path, cluster: str) -> None:
    """A target whose credential is missing is refused, whatever else is configured."""
    target = ClusterTarget(cluster=cluster, namespace="team-a", eval_id="e-2")

    with pytest.raises(ClusterError) as refused:
        _clusters(directory).credential(target)

    assert refused.value.code == "KUBECONFIG_INVALID"


def test_the_services_own_cluster_is_reached_by_its_service_account(directory: Path, tmp_path: Path) -> None:
    """Where Kubernetes has mounted a token, `in-cluster` is a name that requests may choose."""
    account = tmp_path / "serviceaccount"
    account.mkdir()
    (account / "token").write_text("token-of-the-pod\n")
    (account / "ca.crt").write_text("authority")
    clusters = _clusters(directory, account)

    kubeconfig = clusters.credential(ClusterTarget(cluster=IN_CLUSTER, namespace="team-a"))

    assert clusters.names() == ["first", "second", IN_CLUSTER]
    assert _token(kubeconfig) == "token-of-the-pod"
    assert yaml.safe_load(kubeconfig)["clusters"][0]["cluster"]["server"] == "https://kubernetes.default.svc"


def test_a_brought_kubeconfig_counts_before_it_is_stored(directory: Path) -> None:
    """As in a validation, which stores nothing."""
    target = ClusterTarget(cluster=FROM_REQUEST, namespace="team-a", eval_id="e-1")

    assert _token(_clusters(directory).credential(target, samples.kubeconfig("brought"))) == "brought"
