"""A cluster that is not ours: `KUBECONFIG=… make up`."""

import base64
import ssl
import tempfile
from pathlib import Path
from typing import Any

import httpx
import yaml

from dev.errors import DevError


def read(source: Path) -> str:
    """The current context of a kubeconfig, with the content of files that it names put inside.

    Raises:
        DevError: it cannot be used by a service: no such file or context, malformed, or a login by a program.
    """
    try:
        return _embedded(_load(source), source)
    except (AttributeError, TypeError, ValueError) as error:
        raise DevError(f"KUBECONFIG {source} is malformed: {error}") from error


def require_reachable(kubeconfig: str) -> None:
    """Ask the cluster for its version, before anything is started for it.

    Raises:
        DevError: it does not answer, or not to this user.
    """
    document = yaml.safe_load(kubeconfig)
    cluster = document["clusters"][0]["cluster"]
    token = document["users"][0]["user"].get("token")
    try:
        context = _tls_context(cluster, document["users"][0]["user"])
        headers = {"authorization": f"Bearer {token}"} if token else {}
        url = f"{cluster['server']}/version"
        answer = httpx.get(url, verify=context, headers=headers, timeout=10, trust_env=False)
    except (OSError, ValueError, KeyError, httpx.HTTPError, httpx.InvalidURL) as error:
        raise DevError(
            f"The cluster of KUBECONFIG cannot be reached: {error or type(error).__name__}"
        ) from error
    if answer.is_error:
        raise DevError(f"The cluster of KUBECONFIG answers {answer.status_code}: {answer.text[:300]}")


def _tls_context(cluster: dict[str, Any], user: dict[str, Any]) -> ssl.SSLContext:
    authority = cluster.get("certificate-authority-data")
    context = ssl.create_default_context(cadata=base64.b64decode(authority).decode() if authority else None)
    if "client-certificate-data" in user:
        # The ssl module takes a client's certificate from a file alone.
        with tempfile.NamedTemporaryFile() as pem:
            pem.write(base64.b64decode(user["client-certificate-data"]))
            pem.write(base64.b64decode(user["client-key-data"]))
            pem.flush()
            context.load_cert_chain(pem.name)
    return context


def _embedded(document: dict[str, Any], source: Path) -> str:
    context = _named(document, "contexts", document.get("current-context"), source)
    cluster = _named(document, "clusters", context.get("cluster"), source)
    user = _named(document, "users", context.get("user"), source)
    for name in ("exec", "auth-provider"):
        if name in user:
            raise DevError(
                f"{source}: user {context['user']} logs in by `{name}`, which the service does not run. "
                "Make a ServiceAccount with the rights in dev/cluster/manifests/identity.yaml; use its token."
            )
    embedded = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": context["cluster"], "cluster": _embed(cluster, source)}],
        "users": [{"name": context["user"], "user": _embed(user, source)}],
        "contexts": [{"name": "current", "context": context}],
        "current-context": "current",
    }
    return yaml.safe_dump(embedded, sort_keys=False)


def _load(source: Path) -> dict[str, Any]:
    try:
        document = yaml.safe_load(source.read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise DevError(f"KUBECONFIG {source} cannot be read: {error}") from error
    if not isinstance(document, dict):
        raise DevError(f"KUBECONFIG {source} is not a kubeconfig.")
    return document


def _named(document: dict[str, Any], kind: str, name: Any, source: Path) -> dict[str, Any]:
    singular = kind.removesuffix("s")
    for item in document.get(kind) or []:
        if item.get("name") == name:
            if not isinstance(item.get(singular), dict):
                raise DevError(f"{source}: {singular} {name!r} is empty.")
            return dict(item[singular])
    raise DevError(f"{source} has no {singular} named {name!r}.")


def _embed(settings: dict[str, Any], source: Path) -> dict[str, Any]:
    """Put the content of certificate, key and token files in place of their paths."""
    embedded = dict(settings)
    for name in ("certificate-authority", "client-certificate", "client-key"):
        if name in embedded:
            content = _content(source, embedded.pop(name))
            embedded[f"{name}-data"] = base64.b64encode(content).decode()
    if "tokenFile" in embedded:
        embedded["token"] = _content(source, embedded.pop("tokenFile")).decode().strip()
    return embedded


def _content(source: Path, name: str) -> bytes:
    try:
        return (source.parent / name).read_bytes()
    except OSError as error:
        raise DevError(f"{source} names a file that cannot be read: {error}") from error
