"""Rebuild a kubeconfig from an allow-list of fields.

A kubeconfig can run programs (`exec`), read files and send credentials through proxies. Only what is needed
to reach one server with one credential is taken over; anything else that would change how is refused.
"""

import base64
import binascii
from typing import Any
from urllib.parse import urlsplit

import yaml

from budeval.domain.addresses import AddressRules
from budeval.errors import ClusterError

_CLUSTER_FIELDS = {"server", "certificate-authority-data", "tls-server-name"}
_USER_FIELDS = {"token", "client-certificate-data", "client-key-data"}
_CREDENTIALS = ({"token"}, {"client-certificate-data", "client-key-data"})
_HARMLESS_FIELDS = {"extensions"}
_RULES = "budeval.dev/address-rules"
"""Kubeconfigs may carry what only some program reads, each under a name of its own."""
# PyYAML lets through what its constructors raise, as on `!!bool maybe` or `!!timestamp today`.
_YAML_ERRORS = (yaml.YAMLError, ValueError, LookupError, AttributeError, ArithmeticError, RecursionError)


def rebuild(text: str) -> str:
    """Return a kubeconfig with nothing but the current context's server, authority and credential.

    Raises:
        ClusterError: KUBECONFIG_INVALID, naming the field.
    """
    document = _parse(text)
    context = _named(document, "contexts", document.get("current-context"), "context")
    cluster = _allowed(
        _named(document, "clusters", context.get("cluster"), "cluster"), _CLUSTER_FIELDS, "cluster"
    )
    user = _allowed(_named(document, "users", context.get("user"), "user"), _USER_FIELDS, "user")
    _check_server(cluster.get("server"))
    if not any(credential <= user.keys() for credential in _CREDENTIALS):
        raise _invalid("user has no credential: give a token, or client-certificate-data and client-key-data")
    return yaml.safe_dump(_document(cluster, user))


def server_of(rebuilt: str) -> str:
    """The host that a rebuilt kubeconfig names: a name or an address."""
    server: str = yaml.safe_load(rebuilt)["clusters"][0]["cluster"]["server"]
    return urlsplit(server).hostname or ""


def guarded(rebuilt: str, rules: AddressRules) -> str:
    """The same kubeconfig; playbooks that use it connect to no address that the rules forbid."""
    extension = {"name": _RULES, "extension": rules.to_json()}
    return yaml.safe_dump({**yaml.safe_load(rebuilt), "extensions": [extension]})


def rules_of(text: str) -> str | None:
    """The rules for addresses of a guarded kubeconfig as JSON, None where it is not guarded."""
    extensions = yaml.safe_load(text).get("extensions", [])
    return next((item["extension"] for item in extensions if item["name"] == _RULES), None)


def document(server: str, authority: bytes, user: dict[str, str]) -> dict[str, Any]:
    """A kubeconfig of one server, its certificate authority (PEM) and one credential."""
    encoded = base64.b64encode(authority).decode()
    return _document({"server": server, "certificate-authority-data": encoded}, user)


def _document(cluster: dict[str, str], user: dict[str, str]) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "target", "cluster": cluster}],
        "users": [{"name": "target", "user": user}],
        "contexts": [{"name": "target", "context": {"cluster": "target", "user": "target"}}],
        "current-context": "target",
    }


def _parse(text: str) -> dict[str, Any]:
    try:
        document = yaml.safe_load(text)
    except _YAML_ERRORS as error:
        raise _invalid("it is not YAML") from error
    if not isinstance(document, dict):
        raise _invalid("it is not a mapping")
    return document


def _named(document: dict[str, Any], kind: str, name: Any, field: str) -> dict[str, Any]:
    if not isinstance(name, str):
        # Nor is it quoted: with YAML's aliases a short document makes a value that is endless in print.
        raise _invalid(f"the name of its {field} is missing or no text")
    items = document.get(kind)
    for item in items if isinstance(items, list) else []:
        if isinstance(item, dict) and item.get("name") == name:
            found = item.get(field)
            if isinstance(found, dict):
                return found
    raise _invalid(f"{kind} has no entry {name!r}")


def _allowed(fields: dict[str, Any], allowed: set[str], where: str) -> dict[str, str]:
    refused = sorted(str(name) for name in set(fields) - allowed - _HARMLESS_FIELDS)
    if refused:
        raise _invalid(f"{where} has fields that are not allowed: {', '.join(refused)}")
    kept = {name: fields[name] for name in sorted(allowed) if name in fields}
    for name, value in kept.items():
        if not isinstance(value, str) or not value:
            raise _invalid(f"{where}.{name} must be a text")
        if name.endswith("-data"):
            _check_base64(value, f"{where}.{name}")
    return kept


def _check_base64(value: str, where: str) -> None:
    try:
        base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError) as error:
        raise _invalid(f"{where} is not base64") from error


def _check_server(server: str | None) -> None:
    try:
        parts = urlsplit(server or "")
        usable = parts.scheme == "https" and bool(parts.hostname) and parts.username is None
    except ValueError:
        usable = False
    if not usable:
        raise _invalid("cluster.server must be an https URL without credentials")


def _invalid(reason: str) -> ClusterError:
    return ClusterError(
        f"The kubeconfig cannot be used: {reason}.", code="KUBECONFIG_INVALID", retryable=False
    )
