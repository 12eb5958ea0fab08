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
    context = _named(document, "contexts", document.get("current-context"), source)["context"]
    cluster = _named(document, "clusters", context["cluster"], source)
    user = _named(document, "users", context["user"], source)
    for name in ("exec", "auth-provider"):
        if name in user["user"]:
            raise DevError(
                f"{source}: user {user['name']} logs in by `{name}`, which the service does not run. "
                "Make a ServiceAccount with the rights in dev/cluster/manifests/identity.yaml; use its token."
            )
    embedded = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": cluster["name"], "cluster": _embed(cluster["cluster"], source)}],
        "users": [{"name": user["name"], "user": _embed(user["user"], source)}],
        "contexts": [{"name": "current", "context": context}],
        "current-context": "current",
    }
    target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    target.touch(mode=0o600)
    target.write_text(yaml.safe_dump(embedded, sort_keys=False))


def _load(source: Path) -> dict[str, Any]:
    try:
        document = yaml.safe_load(source.read_text())
    except (OSError, yaml.YAMLError) as error:
        raise DevError(f"KUBECONFIG {source} cannot be read: {error}") from error
    if not isinstance(document, dict):
        raise DevError(f"KUBECONFIG {source} is not a kubeconfig.")
    return document


def _named(document: dict[str, Any], kind: str, name: Any, source: Path) -> dict[str, Any]:
    for item in document.get(kind) or []:
        if item.get("name") == name:
            return dict(item)
    raise DevError(f"{source} has no {kind.removesuffix('s')} named {name!r}.")


def _embed(settings: dict[str, Any], source: Path) -> dict[str, Any]:
    """Put the content of certificate, key and token files in place of their paths."""
    embedded = dict(settings)
    for name in ("certificate-authority", "client-certificate", "client-key"):
        if name in embedded:
            content = (source.parent / embedded.pop(name)).read_bytes()
            embedded[f"{name}-data"] = base64.b64encode(content).decode()
    if "tokenFile" in embedded:
        embedded["token"] = (source.parent / embedded.pop("tokenFile")).read_text().strip()
    return embedded
