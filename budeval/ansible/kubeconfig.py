"""Rebuild a kubeconfig from an allow-list of fields.

A kubeconfig can run programs (`exec`), read files and send credentials through proxies. Only what is needed
to reach one server with one credential is taken over; anything else that would change how is refused.
"""

import base64
import binascii
import hashlib
import re
from ipaddress import ip_address
from typing import Any
from urllib.parse import SplitResult, urlsplit

from budeval.ansible import plain_yaml
from budeval.domain.addresses import AddressRules
from budeval.domain.credential import sendable
from budeval.domain.redaction import spellings
from budeval.errors import ClusterError

_CLUSTER_FIELDS = {"server", "certificate-authority-data", "tls-server-name"}
_USER_FIELDS = {"token", "client-certificate-data", "client-key-data"}
_CREDENTIALS = ({"token"}, {"client-certificate-data", "client-key-data"})
_HARMLESS_FIELDS = {"extensions"}
_RULES = "budeval.dev/address-rules"
"""Kubeconfigs may carry what only some program reads, each under a name of its own."""
_LONGEST = 256 * 1024
"""Characters, before and after. One cluster takes 3 to 10 KiB, with a certificate of its user."""
_HOST_NAME = r"[A-Za-z0-9_][A-Za-z0-9._-]{0,252}"
# Readers of URLs differ in what they skip or repair: nothing is let through that one of them might.
_SERVER = re.compile(
    rf"(?i:https)://({_HOST_NAME}|\[(?P<ipv6>[0-9A-Fa-f:.]+)\])(:(?P<port>[0-9]{{1,5}}))?(/[!-~]*)?"
)
_NOT_IN_A_SERVER = set("@?#\\")
_HTTPS, _PORTS = 443, range(1, 65536)
_LONGEST_NAME = 100
"""Characters of a name in a refusal."""
_LEAST_OF_A_KEY = 40
"""Characters of a line of a key's PEM that is a part of the secret."""


def rebuild(text: str) -> str:
    """Return a kubeconfig with nothing but the current context's server, authority and credential.

    Raises:
        ClusterError: KUBECONFIG_INVALID, naming the field.
    """
    _check_length(text)
    document = _parse(text)
    context = _named(document, "contexts", document.get("current-context"), "context")
    cluster = _allowed(
        _named(document, "clusters", context.get("cluster"), "cluster"), _CLUSTER_FIELDS, "cluster"
    )
    user = _allowed(_named(document, "users", context.get("user"), "user"), _USER_FIELDS, "user")
    _check_server(cluster.get("server", ""))
    if not re.fullmatch(_HOST_NAME, cluster.get("tls-server-name", "unnamed")):
        raise _invalid("cluster.tls-server-name must be the name of a host")
    if not any(credential <= user.keys() for credential in _CREDENTIALS):
        raise _invalid("user has no credential: give a token, or client-certificate-data and client-key-data")
    if "token" in user:
        user["token"] = _sendable(user["token"])
    rebuilt = plain_yaml.write(_document(cluster, user))
    _check_length(rebuilt)  # aliases have made it longer
    return rebuilt


def host_of(rebuilt: str) -> str:
    """The host that a rebuilt kubeconfig names: a name or an address."""
    return _server_of(rebuilt).hostname or ""


def server_digest(rebuilt: str) -> str:
    """The same for rebuilt kubeconfigs that name the same server, however they write it: a SHA-256.

    Host, port and path, by which whoever stands before several clusters (as Rancher does) tells them apart.
    """
    server = _server_of(rebuilt)
    host = (server.hostname or "").rstrip(".")
    host = str(ip_address(host)) if _is_address(host) else host
    return hashlib.sha256(f"{host} {server.port or _HTTPS} {server.path.rstrip('/')}".encode()).hexdigest()


def secrets_of(text: str) -> list[str]:
    """The credentials of a kubeconfig, in every spelling that is likely: no other text may have them."""
    found: set[str] = set()
    for item in plain_yaml.parse(text).get("users", []):
        user = item["user"]
        found |= spellings(user["token"]) if "token" in user else set()
        found |= _spellings_of_key(user["client-key-data"]) if "client-key-data" in user else set()
    return sorted(found)


def _spellings_of_key(data: str) -> set[str]:
    """Also of each of its lines, for whoever prints some of them."""
    key = base64.b64decode(data).decode(errors="replace")
    lines = (line.strip() for line in key.splitlines())
    parts = {line for line in lines if len(line) >= _LEAST_OF_A_KEY and not line.startswith("-----")}
    return {data, *spellings(key.strip()), *parts}


def guarded(rebuilt: str, rules: AddressRules) -> str:
    """The same kubeconfig; playbooks that use it connect to no address that the rules forbid."""
    extension = {"name": _RULES, "extension": rules.to_json()}
    return plain_yaml.write({**plain_yaml.parse(rebuilt), "extensions": [extension]})


def rules_of(text: str) -> str | None:
    """The rules for addresses of a guarded kubeconfig as JSON, None where it is not guarded."""
    extensions = plain_yaml.parse(text).get("extensions", [])
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


def _server_of(rebuilt: str) -> SplitResult:
    server: str = plain_yaml.parse(rebuilt)["clusters"][0]["cluster"]["server"]
    return urlsplit(server)


def _check_length(text: str) -> None:
    if len(text) > _LONGEST:
        raise _invalid(f"it is longer than {_LONGEST} characters")


def _parse(text: str) -> dict[str, Any]:
    try:
        document = plain_yaml.parse(text)
    except plain_yaml.NotPlainError as error:
        raise _invalid(str(error)) from error
    if not isinstance(document, dict):
        raise _invalid("it is not a mapping")
    return document


def _named(document: dict[str, Any], kind: str, name: Any, field: str) -> dict[str, Any]:
    if not isinstance(name, str):
        raise _invalid(f"the name of its {field} is missing or no text")
    items = document.get(kind)
    for item in items if isinstance(items, list) else []:
        if isinstance(item, dict) and item.get("name") == name:
            found = item.get(field)
            if isinstance(found, dict):
                return found
    raise _invalid(f"{kind} has no entry {name[:_LONGEST_NAME]!r}")


def _allowed(fields: dict[str, Any], allowed: set[str], where: str) -> dict[str, str]:
    refused = ", ".join(sorted(set(fields) - allowed - _HARMLESS_FIELDS))
    if refused:
        raise _invalid(f"{where} has fields that are not allowed: {refused[:_LONGEST_NAME]}")
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


def _sendable(token: str) -> str:
    text = sendable(token)
    if text is None:
        raise _invalid("user.token must be printable ASCII on one line, without spaces")
    return text


def _check_server(server: str) -> None:
    parts = _SERVER.fullmatch(server)
    usable = parts and not _NOT_IN_A_SERVER & set(server) and int(parts["port"] or _HTTPS) in _PORTS
    if not usable or (parts and parts["ipv6"] and not _is_address(parts["ipv6"])):
        raise _invalid("cluster.server must be an https URL without credentials, as https://10.0.0.1:6443")


def _is_address(text: str) -> bool:
    try:
        return bool(ip_address(text))
    except ValueError:
        return False


def _invalid(reason: str) -> ClusterError:
    return ClusterError(
        f"The kubeconfig cannot be used: {reason}.", code="KUBECONFIG_INVALID", retryable=False
    )
