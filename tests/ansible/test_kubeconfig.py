"""A kubeconfig is rebuilt from an allow-list; whatever would run, read or redirect is refused."""

import base64
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from budeval.ansible import kubeconfig
from budeval.errors import ClusterError

_DATA = base64.b64encode(b"certificate").decode()


def _document(cluster: dict[str, Any] | None = None, user: dict[str, Any] | None = None) -> dict[str, Any]:
    """A usable kubeconfig with fields of its cluster and user added or replaced."""
    whole_cluster = {
        "server": "https://10.0.0.1:6443",
        "certificate-authority-data": _DATA,
        **(cluster or {}),
    }
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "preferences": {"colors": True},
        "clusters": [
            {"name": "other", "cluster": {"server": "https://other:6443"}},
            {"name": "mine", "cluster": whole_cluster},
        ],
        "users": [{"name": "me", "user": {"token": "secret"} if user is None else user}],
        "contexts": [{"name": "here", "context": {"cluster": "mine", "user": "me", "namespace": "x"}}],
        "current-context": "here",
    }


def _rebuilt(document: Any) -> dict[str, Any]:
    rebuilt: dict[str, Any] = yaml.safe_load(kubeconfig.rebuild(yaml.safe_dump(document)))
    return rebuilt


# A list of lists of lists: 60 lines of YAML, but 2**60 words in print.
_BOMB = "\n".join(["a0: &a0 [x, x]", *(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]" for n in range(1, 60))])

_CERTIFICATE = {"client-certificate-data": _DATA, "client-key-data": _DATA}


@pytest.mark.parametrize("user", [{"token": "secret"}, _CERTIFICATE], ids=["token", "certificate"])
def test_only_what_is_needed_is_taken_over(user: dict[str, str]) -> None:
    """Server, authority and credential of the current context stay, and nothing else does."""
    rebuilt = _rebuilt(_document(user=user))

    (cluster,) = rebuilt["clusters"]
    (kept,) = rebuilt["users"]
    assert cluster["cluster"] == {"server": "https://10.0.0.1:6443", "certificate-authority-data": _DATA}
    assert kept["user"] == user
    assert set(rebuilt) == {"apiVersion", "kind", "clusters", "users", "contexts", "current-context"}


@pytest.mark.parametrize(
    ("user", "field"),
    [
        ({"exec": {"command": "/bin/sh"}}, "exec"),
        ({"token": "t", "exec": {"command": "/bin/sh"}}, "exec"),
        ({"auth-provider": {"name": "gcp"}}, "auth-provider"),
        ({"client-certificate": "/etc/passwd", "client-key": "/etc/shadow"}, "client-certificate"),
        ({"tokenFile": "/var/run/secrets/token"}, "tokenFile"),
        ({"token": "t", "as": "system:admin"}, "as"),
        ({"username": "u", "password": "p"}, "password"),
    ],
)
def test_users_that_run_or_read_something_are_refused(user: dict[str, Any], field: str) -> None:
    """Programs, files, impersonation and passwords name themselves in the refusal."""
    with pytest.raises(ClusterError, match=field) as refused:
        _rebuilt(_document(user=user))

    assert refused.value.code == "KUBECONFIG_INVALID"
    assert refused.value.retryable is False


@pytest.mark.parametrize(
    ("cluster", "field"),
    [
        ({"certificate-authority": "/etc/ssl/ca.crt"}, "certificate-authority"),
        ({"proxy-url": "http://evil:3128"}, "proxy-url"),
        ({"insecure-skip-tls-verify": True}, "insecure-skip-tls-verify"),
        ({"server": "http://10.0.0.1:6443"}, "server"),
        ({"server": "https://user:pass@10.0.0.1"}, "server"),
        ({"server": "file:///etc/passwd"}, "server"),
        ({"server": ""}, "server"),
        ({"server": 7}, "server"),
        ({"server": "https://[::1"}, "server"),
        ({"certificate-authority-data": "not base64!"}, "certificate-authority-data"),
    ],
)
def test_clusters_that_redirect_or_skip_checks_are_refused(cluster: dict[str, Any], field: str) -> None:
    """Files, proxies, skipped verification and servers other than plain https are refused by name."""
    with pytest.raises(ClusterError, match=field):
        _rebuilt(_document(cluster=cluster))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "just a text",
        "[1, 2]",
        "{",
        "a: &a [*a]",
        "!!python/object/apply:os.system [id]",
        yaml.safe_dump({**_document(), "current-context": "gone"}),
        yaml.safe_dump({**_document(), "users": None}),
        yaml.safe_dump({**_document(), "contexts": "here"}),
        yaml.safe_dump({**_document(), "clusters": [{"name": "mine"}]}),
        yaml.safe_dump(_document(user={})),
        yaml.safe_dump(_document(user={"client-certificate-data": _DATA})),
        yaml.safe_dump(_document(user={"client-key-data": _DATA})),
        yaml.safe_dump(_document(user={"token": ""})),
        yaml.safe_dump(_document(user={"token": 12345})),
        yaml.safe_dump({**_document(), "contexts": [{"name": "here", "context": {"cluster": "mine"}}]}),
        "!!bool maybe",
        "!!timestamp today",
        "!!int ''",
        "a: " + "1:" * 300 + "1.0",
        "[" * 5000,
        f"{_BOMB}\ncurrent-context: *a59",
        f"{_BOMB}\ncurrent-context: x\ncontexts: [{{name: x, context: {{cluster: *a59}}}}]",
    ],
)
def test_what_is_not_a_kubeconfig_is_refused(text: str) -> None:
    """Broken documents end in the same error, never in another exception."""
    with pytest.raises(ClusterError) as refused:
        kubeconfig.rebuild(text)

    assert refused.value.code == "KUBECONFIG_INVALID"


@given(st.text(max_size=200))
def test_no_text_breaks_it(text: str) -> None:
    """Any text gives a kubeconfig or KUBECONFIG_INVALID."""
    try:
        kubeconfig.rebuild(text)
    except ClusterError as refused:
        assert refused.code == "KUBECONFIG_INVALID"  # noqa: PT017 - either way is right


@given(st.text(min_size=1, max_size=80), st.text(min_size=1, max_size=80), st.text(min_size=1, max_size=80))
def test_names_do_not_reach_the_result(cluster: str, user: str, context: str) -> None:
    """Whatever cluster, user and context are called, the result has names of its own."""
    document = _document()
    document["clusters"] = [{"name": cluster, "cluster": document["clusters"][1]["cluster"]}]
    document["users"][0]["name"] = user
    document["contexts"] = [{"name": context, "context": {"cluster": cluster, "user": user}}]

    rebuilt = _rebuilt({**document, "current-context": context})

    assert rebuilt == _rebuilt(_document())


def test_aliases_are_read_as_what_they_stand_for() -> None:
    """YAML's anchors are part of the language, and a kubeconfig that uses them is usable."""
    text = (
        "current-context: &n only\n"
        "contexts: [{name: *n, context: {cluster: *n, user: *n}}]\n"
        "clusters: [{name: *n, cluster: {server: 'https://10.0.0.1:6443'}}]\n"
        "users: [{name: *n, user: {token: *n}}]\n"
    )

    rebuilt = yaml.safe_load(kubeconfig.rebuild(text))

    assert rebuilt["users"][0]["user"] == {"token": "only"}


def test_a_refusal_does_not_quote_the_credential() -> None:
    """The message names fields and never a value: it is stored and sent."""
    with pytest.raises(ClusterError) as refused:
        _rebuilt(_document(user={"token": "hidden-token", "password": "hidden-password"}))

    assert "hidden" not in str(refused.value)
