"""A cluster's certificate authority, its certificates, and kubeconfigs that carry them.

Users and groups are those of the Kubernetes documentation, "PKI certificates and requirements".
"""

import base64
import datetime as dt
import ipaddress
from dataclasses import dataclass
from pathlib import Path

import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from dev.layout import ClusterLayout

NODE_NAME = "node1"
_VALID_DAYS = 365


@dataclass(frozen=True)
class _Leaf:
    file: str
    common_name: str
    organization: str = ""
    addresses: tuple[str, ...] = ()
    names: tuple[str, ...] = ()


def _leaves(cluster: ClusterLayout) -> list[_Leaf]:
    here = ("127.0.0.1", cluster.node_address)
    in_cluster = ("kubernetes", "kubernetes.default", "kubernetes.default.svc")
    first_service = str(ipaddress.ip_network(cluster.service_subnet)[1])
    return [
        _Leaf("etcd", "etcd", addresses=("127.0.0.1",), names=("localhost",)),
        _Leaf("apiserver-etcd", "kube-apiserver"),
        _Leaf("apiserver", "kube-apiserver", addresses=(*here, first_service), names=in_cluster),
        _Leaf("apiserver-kubelet", "kube-apiserver-kubelet-client"),
        _Leaf("kubelet-server", f"system:node:{NODE_NAME}", "system:nodes", here, (NODE_NAME,)),
        _Leaf("kubelet", f"system:node:{NODE_NAME}", "system:nodes"),
        _Leaf("controller-manager", "system:kube-controller-manager"),
        _Leaf("scheduler", "system:kube-scheduler"),
        _Leaf("provisioner", "budeval-dev-provisioner"),
        _Leaf("admin", "budeval-dev-admin", "system:masters"),
    ]


def directory(cluster: ClusterLayout) -> Path:
    """Where the keys and certificates are."""
    return cluster.directory / "pki"


def make(cluster: ClusterLayout) -> None:
    """Make whatever is missing. A cluster keeps its authority until it is taken down."""
    target = directory(cluster)
    if (target / "complete").exists():
        return
    target.mkdir(parents=True, exist_ok=True, mode=0o700)
    authority_key = ec.generate_private_key(ec.SECP256R1())
    authority = _certificate(_Leaf("ca", f"{cluster.scope} CA"), authority_key, None, authority_key)
    _write(target, "ca", authority_key, authority)
    for leaf in _leaves(cluster):
        key = ec.generate_private_key(ec.SECP256R1())
        _write(target, leaf.file, key, _certificate(leaf, key, authority, authority_key))
    _write_service_account_key(target)
    for user in ("kubelet", "controller-manager", "scheduler", "provisioner"):
        _write_private(target / f"{user}.yaml", client_kubeconfig(cluster, user))
    _write_private(cluster.admin_kubeconfig, client_kubeconfig(cluster, "admin"))
    (target / "complete").touch()


def _certificate(
    leaf: _Leaf,
    key: ec.EllipticCurvePrivateKey,
    authority: x509.Certificate | None,
    authority_key: ec.EllipticCurvePrivateKey,
) -> x509.Certificate:
    attributes = [x509.NameAttribute(NameOID.COMMON_NAME, leaf.common_name)]
    if leaf.organization:
        attributes.append(x509.NameAttribute(NameOID.ORGANIZATION_NAME, leaf.organization))
    subject = x509.Name(attributes)
    now = dt.datetime.now(dt.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(authority.subject if authority else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(minutes=5))
        .not_valid_after(now + dt.timedelta(days=_VALID_DAYS))
        .add_extension(x509.BasicConstraints(ca=authority is None, path_length=None), critical=True)
        # Python 3.13 and later refuse certificates without these three.
        .add_extension(_key_usage(authority=authority is None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key()), critical=False
        )
    )
    if authority is not None:
        usages = [ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH]
        builder = builder.add_extension(x509.ExtendedKeyUsage(usages), critical=False)
    alternatives: list[x509.GeneralName] = [
        *(x509.DNSName(name) for name in leaf.names),
        *(x509.IPAddress(ipaddress.ip_address(address)) for address in leaf.addresses),
    ]
    if alternatives:
        builder = builder.add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
    return builder.sign(authority_key, hashes.SHA256())


def _key_usage(*, authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not authority,
        key_cert_sign=authority,
        crl_sign=authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _write(
    target: Path,
    name: str,
    key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey,
    certificate: x509.Certificate,
) -> None:
    _write_private(target / f"{name}.key", _pem(key))
    (target / f"{name}.crt").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))


def _write_service_account_key(target: Path) -> None:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    _write_private(target / "service-accounts.key", _pem(key))
    public = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    (target / "service-accounts.pub").write_bytes(public)


def _pem(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> str:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()


def _write_private(path: Path, text: str) -> None:
    path.touch(mode=0o600)
    path.write_text(text)


def client_kubeconfig(cluster: ClusterLayout, user: str) -> str:
    """A kubeconfig that refers to a user's certificate and key by path."""
    keys = directory(cluster)
    files = {"client-certificate": str(keys / f"{user}.crt"), "client-key": str(keys / f"{user}.key")}
    return _kubeconfig(cluster, user, files, {"certificate-authority": str(keys / "ca.crt")})


def token_kubeconfig(cluster: ClusterLayout, user: str, token: str, namespace: str) -> str:
    """A kubeconfig that stands alone: authority and token are inside, as a team would hand it over."""
    authority = base64.b64encode((directory(cluster) / "ca.crt").read_bytes()).decode()
    return _kubeconfig(
        cluster, user, {"token": token}, {"certificate-authority-data": authority}, namespace=namespace
    )


def _kubeconfig(
    cluster: ClusterLayout,
    user: str,
    credential: dict[str, str],
    authority: dict[str, str],
    namespace: str = "default",
) -> str:
    context = {"cluster": cluster.name, "user": user, "namespace": namespace}
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": cluster.name, "cluster": {"server": cluster.server, **authority}}],
        "users": [{"name": user, "user": credential}],
        "contexts": [{"name": cluster.name, "context": context}],
        "current-context": cluster.name,
    }
    return yaml.safe_dump(document, sort_keys=False)
