"""The cluster is a proper one: no anonymous access, least privilege, volumes for non-root pods."""

import base64
import json
import ssl
import subprocess
from pathlib import Path

import httpx
import pytest

from dev.cluster import binaries, objects, pki
from dev.layout import ClusterLayout
from dev.stack import Stack
from tests.e2e.jobs import python_job
from tests.e2e.observe import wait_for

pytestmark = pytest.mark.e2e


@pytest.fixture
def cluster(stack: Stack) -> ClusterLayout:
    """The first cluster of a healthy stack."""
    stack.up()
    return stack.clusters[0]


def _as_service(stack: Stack, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Kubectl with the credential that the service has."""
    kubeconfig = stack.layout.clusters_directory / "local.yaml"
    command: list[str | Path] = [binaries.kubernetes(), "kubectl", "--kubeconfig", kubeconfig, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.parametrize("path", [":6443/version", ":6443/api", ":10250/pods", ":10250/healthz"])
def test_nobody_is_let_in_without_a_credential(cluster: ClusterLayout, path: str) -> None:
    """API server and kubelet answer 401 to a caller that shows nothing."""
    authority = ssl.create_default_context(cafile=str(pki.directory(cluster) / "ca.crt"))

    answer = httpx.get(f"https://{cluster.node_address}{path}", verify=authority)

    assert answer.status_code == 401


def test_etcd_wants_a_client_certificate(cluster: ClusterLayout) -> None:
    """Without one the TLS handshake fails."""
    authority = ssl.create_default_context(cafile=str(pki.directory(cluster) / "ca.crt"))

    with pytest.raises(httpx.HTTPError):
        httpx.get("https://127.0.0.1:2379/health", verify=authority)


_ALLOWED = [
    ("create", "jobs.batch"),
    ("delete", "jobs.batch"),
    ("list", "pods"),
    ("get", "pods/log"),
    ("create", "secrets"),
    ("create", "configmaps"),
    ("get", "persistentvolumeclaims"),
]
_REFUSED = [
    ("get", "secrets"),
    ("list", "secrets"),
    ("patch", "secrets"),
    ("create", "pods"),
    ("create", "pods/exec"),
    ("create", "rolebindings.rbac.authorization.k8s.io"),
    ("delete", "persistentvolumeclaims"),
    ("update", "namespaces"),
]


@pytest.mark.parametrize("namespace", objects.EVALUATION_NAMESPACES)
@pytest.mark.parametrize(("verb", "resource"), _ALLOWED)
def test_the_service_may_do_its_work(
    stack: Stack, cluster: ClusterLayout, verb: str, resource: str, namespace: str
) -> None:
    """Its identity has the rights that evaluations need, in each evaluation namespace."""
    assert cluster
    asked = _as_service(stack, "auth", "can-i", verb, *_resource(resource), "--namespace", namespace)

    assert asked.stdout.strip() == "yes"


@pytest.mark.parametrize("namespace", ["budeval", "default", "kube-system"])
@pytest.mark.parametrize(("verb", "resource"), _REFUSED)
def test_the_service_may_do_nothing_else(
    stack: Stack, cluster: ClusterLayout, verb: str, resource: str, namespace: str
) -> None:
    """It can neither read secrets nor run commands in pods nor widen its rights, wherever it asks."""
    assert cluster
    asked = _as_service(stack, "auth", "can-i", verb, *_resource(resource), "--namespace", namespace)

    assert asked.stdout.strip() == "no"


def _resource(name: str) -> list[str]:
    kind, _, subresource = name.partition("/")
    return [kind, f"--subresource={subresource}"] if subresource else [kind]


def test_a_secret_cannot_be_read_by_a_detour(stack: Stack, cluster: ClusterLayout) -> None:
    """An answer to a patch would hold the Secret, so patching is refused, not only reading."""
    assert cluster
    where = ["--namespace", "budeval"]
    stack.kubectl(1, "delete", "secret", "theirs", "--ignore-not-found", *where)
    stack.kubectl(1, "create", "secret", "generic", "theirs", "--from-literal=key=hidden", *where)

    patched = _as_service(stack, "patch", "secret", "theirs", "--patch={}", "--output=yaml", *where)
    replaced = _as_service(stack, "annotate", "secret", "theirs", "x=y", "--output=yaml", *where)

    for asked in (patched, replaced):
        assert asked.returncode != 0
        assert "forbidden" in asked.stderr
        assert base64.b64encode(b"hidden").decode() not in asked.stdout


def test_other_namespaces_are_closed_to_the_service(stack: Stack, cluster: ClusterLayout) -> None:
    """Where no RoleBinding names it, it may not even make Jobs."""
    assert cluster
    asked = _as_service(stack, "auth", "can-i", "create", "jobs.batch", "--namespace", "default")

    assert asked.stdout.strip() == "no"


def _run_job(stack: Stack, name: str, script: str) -> str:
    """Run a hardened Job to its end with the service's rights, return its log, remove it."""
    created = subprocess.run(
        [
            *(binaries.kubernetes(), "kubectl", "create", "--filename", "-", "--kubeconfig"),
            stack.layout.clusters_directory / "local.yaml",
        ],
        input=json.dumps(python_job(name, "budeval", script)),
        capture_output=True,
        text=True,
        check=False,
    )
    assert created.returncode == 0, created.stderr

    def ended() -> bool | None:
        found = _as_service(stack, "get", "job", name, "--namespace", "budeval", "--output", "json")
        conditions = json.loads(found.stdout)["status"].get("conditions", [])
        return any(item["type"] in {"Complete", "Failed"} for item in conditions) or None

    wait_for(ended, f"the end of Job {name}")
    log = _as_service(stack, "logs", f"job/{name}", "--namespace", "budeval").stdout
    _as_service(stack, "delete", "job", name, "--namespace", "budeval")
    return log


def test_a_non_root_job_writes_to_the_claim_and_the_next_one_reads_it(
    stack: Stack, cluster: ClusterLayout
) -> None:
    """Two hardened Jobs as user 10001 share a file on the claim; the node is where it lies."""
    path = "/workspace/shared/greeting"

    _run_job(stack, "writer", f"open({path!r}, 'w').write('hello')")
    log = _run_job(stack, "reader", f"print(open({path!r}).read())")

    assert log.strip() == "hello"
    files = list((cluster.directory / "volumes").glob("*/greeting"))
    assert [file.read_text() for file in files] == ["hello"]


def test_a_pod_reaches_the_model(stack: Stack, cluster: ClusterLayout) -> None:
    """The model's address answers from inside a pod."""
    url = f"http://{cluster.node_address}:8080/v1/models"
    script = f"import urllib.request; print(urllib.request.urlopen({url!r}).read().decode())"

    log = _run_job(stack, "asks-the-model", script)

    assert json.loads(log)["data"][0]["id"] == "smollm2-135m-instruct"


def test_a_pod_that_is_not_hardened_is_refused(stack: Stack, cluster: ClusterLayout) -> None:
    """Evaluation namespaces enforce the restricted pod security level."""
    assert cluster
    image = "budeval.local/python:3.11"

    asked = subprocess.run(
        [
            *(binaries.kubernetes(), "kubectl", "--kubeconfig", stack.clusters[0].admin_kubeconfig),
            *("run", "root", "--image", image, "--namespace", "budeval"),
        ],
        capture_output=True,
        text=True,
        check=False,
    )

    assert asked.returncode != 0
    assert "violates PodSecurity" in asked.stderr


def test_a_released_volume_is_removed(stack: Stack, cluster: ClusterLayout) -> None:
    """When its claim is deleted, the directory on the node goes too."""
    claim = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "short-lived", "namespace": "budeval"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}},
    }
    stack.kubectl(1, "create", "--filename", "-", stdin=json.dumps(claim))

    def volume() -> Path | None:
        name = stack.kubectl(
            1,
            "get",
            "pvc",
            "short-lived",
            "--namespace",
            "budeval",
            "--output",
            "jsonpath={.spec.volumeName}",
        )
        path = cluster.directory / "volumes" / name
        return path if name and path.is_dir() else None

    made = wait_for(volume, "the volume's directory")
    stack.kubectl(1, "delete", "pvc", "short-lived", "--namespace", "budeval")

    wait_for(lambda: None if made.exists() else True, "the directory's removal")
