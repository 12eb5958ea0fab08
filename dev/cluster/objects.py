"""What a started cluster holds before anybody uses it: storage, namespaces, the service's identity."""

import json
import time
from pathlib import Path
from typing import Any

import yaml

from dev import command
from dev.cluster import api, binaries, pki
from dev.errors import UnhealthyError
from dev.layout import DEV, ClusterLayout
from dev.network import Namespace

EVALUATION_NAMESPACES = ("budeval", "team-a", "team-b")
IDENTITY_NAMESPACE = "budeval-system"
_IDENTITY = "budeval"
_CLAIM = "eval-datasets-pvc-rwx"
_ONE_YEAR = "8760h"
_USABLE_SECONDS = 30.0
_POLL_SECONDS = 0.2
_MANIFESTS = DEV / "cluster" / "manifests"


def kubectl(cluster: ClusterLayout, namespace: Namespace, *arguments: str, stdin: str | None = None) -> str:
    """Run kubectl as cluster administrator, inside the cluster's network namespace."""
    words: list[str | Path] = [
        binaries.kubernetes(),
        "kubectl",
        "--kubeconfig",
        cluster.admin_kubeconfig,
        *arguments,
    ]
    # Its discovery cache would go to the caller's home and be shared by all clusters at this address.
    cache = ["--cache-dir", str(cluster.directory / "kubectl-cache")]
    return namespace.call(lambda: command.run([*words, *cache], stdin=stdin, timeout=60))


def apply(cluster: ClusterLayout, namespace: Namespace, kubeconfig: Path) -> None:
    """Put everything in place and write the service's kubeconfig. Repeatable.

    Args:
        cluster: whose API server is ready.
        namespace: where its API server is reached.
        kubeconfig: path for the service's own, least-privilege kubeconfig.
    """
    kubectl(cluster, namespace, "apply", "--server-side", "--filename", "-", stdin=manifests())
    if kubeconfig.exists() and _still_valid(cluster, namespace, kubeconfig):
        return
    token = create_token(cluster, namespace)
    kubeconfig.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    kubeconfig.touch(mode=0o600)
    kubeconfig.write_text(pki.token_kubeconfig(cluster, _IDENTITY, token, EVALUATION_NAMESPACES[0]))


def wait_until_usable(cluster: ClusterLayout, namespace: Namespace, kubeconfig: Path) -> None:
    """Return when pods can be made and claims mounted in every evaluation namespace.

    Controllers need a moment after the API server is ready; what somebody has deleted is put back.

    Raises:
        UnhealthyError: it is not so after half a minute, with what is missing.
    """
    deadline = time.monotonic() + _USABLE_SECONDS
    while missing := namespace.call(lambda: _what_is_missing_or_mute(cluster)):
        if time.monotonic() > deadline:
            raise UnhealthyError(f"cluster {cluster.name} is up, but {missing}")
        if missing.startswith(_NOT_THERE):
            apply(cluster, namespace, kubeconfig)
        time.sleep(_POLL_SECONDS)


_NOT_THERE = "there is no"


def _what_is_missing_or_mute(cluster: ClusterLayout) -> str | None:
    """As `_what_is_missing`. An API server that has just lost etcd is ready again before it answers lists."""
    try:
        return _what_is_missing(cluster)
    except UnhealthyError as error:
        return str(error)


def _what_is_missing(cluster: ClusterLayout) -> str | None:
    for name in EVALUATION_NAMESPACES:
        claims = _list(cluster, f"namespaces/{name}/persistentvolumeclaims")
        phases = {item["metadata"]["name"]: item["status"].get("phase") for item in claims}
        if _CLAIM not in phases:
            return f"{_NOT_THERE} claim {_CLAIM} in namespace {name}"
        if phases[_CLAIM] != "Bound":
            return f"claim {_CLAIM} in namespace {name} is {phases[_CLAIM]}"
        if not _list(cluster, f"namespaces/{name}/serviceaccounts"):
            return f"namespace {name} has no service account yet"
    return None


def _list(cluster: ClusterLayout, path: str) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = api.get(cluster, f"{cluster.server}/api/v1/{path}")["items"]
    return items


def manifests() -> str:
    """All manifests as one YAML stream."""
    return "\n---\n".join([(_MANIFESTS / "cluster.yaml").read_text(), portable_manifests()])


def portable_manifests(access_mode: str = "ReadWriteMany") -> str:
    """What a cluster that is not ours needs too: identity, and namespaces with a claim."""
    template = (_MANIFESTS / "evaluation-namespace.yaml").read_text().replace("ReadWriteMany", access_mode)
    namespaces = [template.replace("EVALUATION_NAMESPACE", name) for name in EVALUATION_NAMESPACES]
    return "\n---\n".join([(_MANIFESTS / "identity.yaml").read_text(), *namespaces])


def create_token(cluster: ClusterLayout, namespace: Namespace, lifetime: str = _ONE_YEAR) -> str:
    """A token of the service's identity. The API server's shortest lifetime is 10 minutes."""
    where = ["--namespace", IDENTITY_NAMESPACE, "--duration", lifetime]
    return kubectl(cluster, namespace, "create", "token", _IDENTITY, *where).strip()


def claim_directory(cluster: ClusterLayout, namespace: Namespace) -> Path:
    """Where what is on the evaluations' claim lies on the node, in the namespace that is the default."""
    claim = ("get", "pvc", _CLAIM, "-n", EVALUATION_NAMESPACES[0])
    volume = kubectl(cluster, namespace, *claim, "-o", "jsonpath={.spec.volumeName}")
    place = "jsonpath={.spec.hostPath.path}{.spec.local.path}"
    return Path(kubectl(cluster, namespace, "get", "pv", volume, "-o", place))


def _still_valid(cluster: ClusterLayout, namespace: Namespace, kubeconfig: Path) -> bool:
    """Whether the token in an earlier kubeconfig is one that this cluster accepts."""
    document = yaml.safe_load(kubeconfig.read_text())
    review = {
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenReview",
        "spec": {"token": document["users"][0]["user"]["token"]},
    }
    answer = kubectl(
        cluster, namespace, "create", "--filename", "-", "--output", "json", stdin=json.dumps(review)
    )
    return bool(json.loads(answer)["status"].get("authenticated"))
