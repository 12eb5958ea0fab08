"""A cluster that is not ours: `KUBECONFIG=… make up`."""

import base64
from pathlib import Path
from typing import Any

import yaml

from dev.errors import DevError


def write_kubeconfig(source: Path, target: Path) -> None:
    """Write the current context of `source` to `target`, files that it names put inside.

    Raises:
        DevError: it cannot be used by a service: no such file or context, or a login by a program.
    """
    document = _load(source)
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
    target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    target.touch(mode=0o600)
    target.write_text(yaml.safe_dump(embedded, sort_keys=False))


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
