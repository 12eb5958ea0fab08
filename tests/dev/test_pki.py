import base64
import ipaddress
import ssl
from pathlib import Path

import pytest
import yaml
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from dev.cluster import pki
from dev.layout import ClusterLayout

_LEAVES = [
    ("etcd", "etcd", None),
    ("apiserver-etcd", "kube-apiserver", None),
    ("apiserver", "kube-apiserver", None),
    ("apiserver-kubelet", "kube-apiserver-kubelet-client", None),
    ("kubelet-server", "system:node:node1", "system:nodes"),
    ("kubelet", "system:node:node1", "system:nodes"),
    ("controller-manager", "system:kube-controller-manager", None),
    ("scheduler", "system:kube-scheduler", None),
    ("provisioner", "budeval-dev-provisioner", None),
    ("admin", "budeval-dev-admin", "system:masters"),
]
_NAMES = [leaf[0] for leaf in _LEAVES]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> ClusterLayout:
    """The first cluster of a stack, with all its keys."""
    made = ClusterLayout("bud-test", 1, tmp_path_factory.mktemp("k1"))
    pki.make(made)
    return made


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> ClusterLayout:
    """Another stack's cluster with the very same addresses."""
    made = ClusterLayout("bud-test", 1, tmp_path_factory.mktemp("stranger"))
    pki.make(made)
    return made


def _certificate(cluster: ClusterLayout, name: str) -> x509.Certificate:
    return x509.load_pem_x509_certificate((pki.directory(cluster) / f"{name}.crt").read_bytes())


def _common_name(name: x509.Name) -> str | bytes:
    return name.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value


@pytest.mark.parametrize("name", _NAMES)
def test_certificate_is_signed_by_the_clusters_authority(name: str, cluster: ClusterLayout) -> None:
    """Every certificate chains to the one authority, and cannot sign others itself."""
    certificate = _certificate(cluster, name)
    authority = _certificate(cluster, "ca")
    certificate.verify_directly_issued_by(authority)
    assert not certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert authority.extensions.get_extension_for_class(x509.BasicConstraints).value.ca


@pytest.mark.parametrize(("name", "user", "group"), _LEAVES)
def test_certificate_names_user_and_group(
    name: str, user: str, group: str | None, cluster: ClusterLayout
) -> None:
    """Kubernetes takes the user from the common name and the groups from the organizations."""
    subject = _certificate(cluster, name).subject
    groups = [item.value for item in subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)]
    assert _common_name(subject) == user
    assert groups == ([group] if group else [])


def test_only_the_administrator_is_a_cluster_master(cluster: ClusterLayout) -> None:
    """No component is in the group that no authorization holds back."""
    masters = [
        name for name in _NAMES if "system:masters" in _certificate(cluster, name).subject.rfc4514_string()
    ]
    assert masters == ["admin"]


@pytest.mark.parametrize("name", _NAMES)
def test_certificate_serves_and_logs_in(name: str, cluster: ClusterLayout) -> None:
    """A leaf may be used for both ends of a TLS connection and for nothing else."""
    usages = _certificate(cluster, name).extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert set(usages) == {ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH}


@pytest.mark.parametrize(
    ("name", "addresses", "hosts"),
    [
        ("etcd", ["127.0.0.1"], ["localhost"]),
        (
            "apiserver",
            ["127.0.0.1", "10.88.0.1", "10.89.0.1"],
            ["kubernetes", "kubernetes.default", "kubernetes.default.svc"],
        ),
        ("kubelet-server", ["127.0.0.1", "10.88.0.1"], ["node1"]),
    ],
)
def test_server_certificate_names_its_addresses(
    name: str, addresses: list[str], hosts: list[str], cluster: ClusterLayout
) -> None:
    """A server's certificate holds every name and address that it is reached by."""
    names = _certificate(cluster, name).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    found = names.get_values_for_type(x509.IPAddress)
    assert found == [ipaddress.ip_address(address) for address in addresses]
    assert names.get_values_for_type(x509.DNSName) == hosts


def _shake_hands(
    server: ClusterLayout, server_name: str, client: ClusterLayout, client_name: str, host: str
) -> str | bytes:
    """Connect a client to a server in memory, both as strict as Python >= 3.13; return the client's user."""
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.verify_mode = ssl.CERT_REQUIRED
    calling = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    for context, cluster, name in ((serving, server, server_name), (calling, client, client_name)):
        context.verify_flags |= ssl.VERIFY_X509_STRICT
        context.load_verify_locations(pki.directory(cluster) / "ca.crt")
        context.load_cert_chain(
            pki.directory(cluster) / f"{name}.crt", pki.directory(cluster) / f"{name}.key"
        )
    upstream, downstream = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [
        calling.wrap_bio(downstream, upstream, server_hostname=host),
        serving.wrap_bio(upstream, downstream, server_side=True),
    ]
    left = list(ends)
    while left:
        for end in tuple(left):
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
            left.remove(end)
    shown = ends[1].getpeercert(binary_form=True)
    assert shown is not None
    return _common_name(x509.load_der_x509_certificate(shown).subject)


@pytest.mark.parametrize(
    ("server", "host"),
    [
        ("etcd", "127.0.0.1"),
        ("etcd", "localhost"),
        ("apiserver", "10.88.0.1"),
        ("apiserver", "kubernetes.default.svc"),
        ("kubelet-server", "node1"),
    ],
)
def test_strict_client_and_server_trust_each_other(server: str, host: str, cluster: ClusterLayout) -> None:
    """A mutual handshake works by the strict rules that are Python's default since 3.13."""
    assert _shake_hands(cluster, server, cluster, "admin", host) == "budeval-dev-admin"


def test_server_is_refused_under_a_name_that_is_not_its_own(cluster: ClusterLayout) -> None:
    """The certificate of etcd does not pass for the API server's address."""
    with pytest.raises(ssl.SSLCertVerificationError, match="IP address mismatch"):
        _shake_hands(cluster, "etcd", cluster, "admin", "10.88.0.1")


def test_clusters_do_not_trust_each_other(cluster: ClusterLayout, stranger: ClusterLayout) -> None:
    """Another stack's cluster at the same address is not mistaken for this one."""
    with pytest.raises(ssl.SSLCertVerificationError, match="certificate verify failed"):
        _shake_hands(stranger, "apiserver", cluster, "admin", "10.88.0.1")


def test_private_files_are_private(cluster: ClusterLayout) -> None:
    """Keys and kubeconfigs are readable by their owner only."""
    keys = [*pki.directory(cluster).glob("*.key"), *pki.directory(cluster).glob("*.yaml")]
    modes = {path.name: oct(path.stat().st_mode & 0o777) for path in [*keys, cluster.admin_kubeconfig]}
    assert len(modes) == len(_NAMES) + 2 + 4 + 1  # CA and service accounts; four users; the administrator
    assert set(modes.values()) == {"0o600"}
    assert pki.directory(cluster).stat().st_mode & 0o077 == 0


def test_make_twice_keeps_everything(cluster: ClusterLayout) -> None:
    """A stack that comes up again keeps its authority and all that was signed."""
    before = {path.name: path.read_bytes() for path in pki.directory(cluster).iterdir()}
    pki.make(cluster)
    assert {path.name: path.read_bytes() for path in pki.directory(cluster).iterdir()} == before


def test_interrupted_make_is_done_anew(tmp_path: Path) -> None:
    """Half a set of keys is replaced as a whole: no certificate of a lost authority stays."""
    cluster = ClusterLayout("bud-test", 1, tmp_path)
    pki.make(cluster)
    (pki.directory(cluster) / "complete").unlink()
    (pki.directory(cluster) / "scheduler.key").unlink()
    pki.make(cluster)
    assert _shake_hands(cluster, "apiserver", cluster, "scheduler", "10.88.0.1") == "system:kube-scheduler"


@pytest.mark.parametrize("user", ["kubelet", "controller-manager", "scheduler", "provisioner"])
def test_client_kubeconfig_refers_to_files_that_are_there(user: str, cluster: ClusterLayout) -> None:
    """A component's kubeconfig leads to its own certificate and key and to the cluster's server."""
    document = yaml.safe_load((pki.directory(cluster) / f"{user}.yaml").read_text())
    login = document["users"][0]["user"]
    authority = document["clusters"][0]["cluster"]["certificate-authority"]
    assert document["clusters"][0]["cluster"]["server"] == "https://10.88.0.1:6443"
    assert Path(login["client-certificate"]) == pki.directory(cluster) / f"{user}.crt"
    assert all(Path(path).is_file() for path in (login["client-key"], authority))


def test_token_kubeconfig_stands_alone(cluster: ClusterLayout) -> None:
    """A team's kubeconfig can be carried elsewhere: it names no file, and only the one context."""
    text = pki.token_kubeconfig(cluster, "budeval", "the-token", "team-a")
    document = yaml.safe_load(text)
    authority = base64.b64decode(document["clusters"][0]["cluster"]["certificate-authority-data"])
    assert str(cluster.directory) not in text
    assert authority == (pki.directory(cluster) / "ca.crt").read_bytes()
    assert document["users"] == [{"name": "budeval", "user": {"token": "the-token"}}]
    context = {"cluster": "local", "user": "budeval", "namespace": "team-a"}
    assert document["contexts"] == [{"name": "local", "context": context}]
    assert document["current-context"] == "local"
