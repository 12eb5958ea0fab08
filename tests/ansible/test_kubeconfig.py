"""A kubeconfig is rebuilt from an allow-list; whatever would run, read or redirect is refused."""

import base64
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from budeval.ansible import kubeconfig
from budeval.domain.redaction import redacted
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
        ({"server": "https://[::1]x:1"}, "server"),
        ({"server": "https://[:::]"}, "server"),
        ({"server": "https://h:abc"}, "server"),
        ({"server": "https://h:99999"}, "server"),
        ({"server": "https://h:99999999"}, "server"),
        ({"server": "https://h:0"}, "server"),
        ({"server": "https://h:"}, "server"),
        ({"server": "https://:6443"}, "server"),
        ({"server": "https://h\t:6443"}, "server"),
        ({"server": "https://h:6443\n"}, "server"),
        ({"server": "https://h\0"}, "server"),
        ({"server": "https://h x"}, "server"),
        ({"server": "https://h#x"}, "server"),
        ({"server": "https://h/?x"}, "server"),
        ({"server": "https://h\\x"}, "server"),
        ({"server": "https://h/\\x"}, "server"),
        ({"server": "https://\uff48:6443"}, "server"),
        ({"server": "https://" + "h" * 300}, "server"),
        ({"tls-server-name": "h\0"}, "tls-server-name"),
        ({"tls-server-name": "h h"}, "tls-server-name"),
        ({"certificate-authority-data": "not base64!"}, "certificate-authority-data"),
    ],
)
def test_clusters_that_redirect_or_skip_checks_are_refused(cluster: dict[str, Any], field: str) -> None:
    """Files, proxies, skipped verification and servers other than plain https are refused by name."""
    with pytest.raises(ClusterError, match=field):
        _rebuilt(_document(cluster=cluster))


@pytest.mark.parametrize(
    "server",
    ["https://h", "HTTPS://H.test.:6443", "https://[2001:db8::1]:6443", "https://h:65535/k8s/clusters/c-1/"],
)
def test_a_server_is_taken_as_it_is_written(server: str) -> None:
    """With a port and a path, if it has them."""
    (cluster,) = _rebuilt(_document(cluster={"server": server}))["clusters"]

    assert cluster["cluster"]["server"] == server


@pytest.mark.parametrize("token", ["a-token\n", "a-token\r\n", "  a-token\t"])
def test_what_surrounds_a_token_is_not_a_part_of_it(token: str) -> None:
    """It comes from files and block scalars; no header carries it."""
    assert _rebuilt(_document(user={"token": token}))["users"][0]["user"] == {"token": "a-token"}


@pytest.mark.parametrize("token", ["a hidden", "a\nhidden", "\0hidden", "hidden\u00e9", " ", "\n"])
def test_a_token_that_no_header_carries_is_refused(token: str) -> None:
    """Here, where it is not told; who sends it would tell it in full."""
    with pytest.raises(ClusterError, match=r"user\.token") as refused:
        _rebuilt(_document(user={"token": token}))

    assert refused.value.code == "KUBECONFIG_INVALID"
    assert "hidden" not in refused.value.message


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
        "a: 0x" + "f" * 6000,
        "\ud800",
        "*nowhere",
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


_MERGED = "\n".join(
    ["m0: &m0 {a: b}", *(f"m{n}: &m{n} {{<<: [{','.join([f'*m{n - 1}'] * 10)}]}}" for n in range(1, 30))]
)
_USABLE = yaml.safe_dump(_document())


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (_MERGED, "merges mappings"),
        (f"{_USABLE}more: {{<<: {{a: b}}}}", "merges mappings"),
        (f"{_USABLE}? 0x{'f' * 6000}\n: 1", "a key that is no text"),
        (f"{_USABLE}1: 2", "a key that is no text"),
        (f"{_USABLE}? [a]\n: 1", "a key that is no text"),
        (f"{_USABLE}more: [{'a,' * 100_000}]", "more than 20000 entries"),
        (f"{_USABLE}more: {'[' * 50}", "more than 32 levels"),
        (f"{_USABLE}more: {'x' * 300_000}", "longer than 262144"),
        (
            f"a: &a {'A' * 200_000}\n"
            + yaml.safe_dump(
                _document(user={"client-certificate-data": "HERE", "client-key-data": "HERE"})
            ).replace("HERE", "*a"),
            "longer than 262144",
        ),
        ("%TAG !e! tag:e:\n--- a", "%TAG"),
        (f"{_USABLE}---\n{_USABLE}", "more than one document"),
        (f"{_USABLE}more: !!binary aGlkZGVu", "a tag"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_what_would_keep_its_reader_busy_is_refused(text: str, reason: str) -> None:
    """Before anything is made of it: merged mappings multiply, and everybody waits for one reader."""
    with pytest.raises(ClusterError, match=reason) as refused:
        kubeconfig.rebuild(text)

    assert refused.value.code == "KUBECONFIG_INVALID"
    assert len(refused.value.message) < 500


def test_what_a_large_kubeconfig_has_is_read() -> None:
    """As one of many clusters, with the authorities of a large enterprise."""
    document = _document(cluster={"certificate-authority-data": "A" * 100_000})
    document["users"] += [{"name": f"u-{number}", "user": {"token": "t"}} for number in range(2000)]

    assert _rebuilt(document)["clusters"][0]["cluster"]["certificate-authority-data"] == "A" * 100_000


@pytest.mark.parametrize(
    "value", [".inf", "1.0e+999999999", "0x" + "f" * 9000, "9" * 9000, "2001-01-01", "yes"]
)
def test_what_is_no_text_is_passed_over(value: str) -> None:
    """Numbers are not made where nobody asks for them; where a text is expected they are none."""
    assert kubeconfig.rebuild(f"{_USABLE}more: {value}") == kubeconfig.rebuild(_USABLE)
    with pytest.raises(ClusterError, match=r"user\.token must be a text"):
        kubeconfig.rebuild(_USABLE.replace("token: secret", f"token: {value}"))


def test_names_in_a_refusal_are_cut() -> None:
    """Whoever sends them knows them."""
    for document in (
        _document(cluster={"x" * 100_000: "y"}),
        {**_document(), "current-context": "x" * 100_000},
    ):
        with pytest.raises(ClusterError) as refused:
            _rebuilt(document)
        assert len(refused.value.message) < 500


def _digest(server: str, **user: str) -> str:
    return kubeconfig.server_digest(
        kubeconfig.rebuild(yaml.safe_dump(_document({"server": server}, user or None)))
    )


@pytest.mark.parametrize(
    ("server", "same"),
    [
        ("https://API.test.:443/", True),
        ("https://api.test:6443", False),
        ("https://api.test/k8s/clusters/c-1", False),
        ("https://other.test", False),
    ],
)
def test_a_server_is_known_again(server: str, *, same: bool) -> None:
    """By host, port and path, however they are written."""
    assert (_digest("https://api.test") == _digest(server)) is same


def test_a_new_credential_is_no_new_server() -> None:
    """Nor is a new authority, or an address that is written otherwise."""
    assert _digest("https://[2001:db8::1]") == _digest("https://[2001:DB8:0::1]:443", token="new")


_PEM = f"-----BEGIN PRIVATE KEY-----\n{'HIDDEN' * 10}\n{'SECRET' * 10}\n-----END PRIVATE KEY-----\n"


def test_the_secrets_of_a_kubeconfig_are_its_token_and_its_key() -> None:
    """Also a line of the key, which somebody may print; the certificate and the words around are none."""
    key = base64.b64encode(_PEM.encode()).decode()
    user = {"client-certificate-data": _DATA, "client-key-data": key}
    secrets = kubeconfig.secrets_of(kubeconfig.rebuild(yaml.safe_dump(_document(user=user))))
    told = f"{_PEM!r} {key} {'HIDDEN' * 10} {_DATA} -----BEGIN PRIVATE KEY-----"

    assert redacted(told, secrets) == f"'***\\n' *** *** {_DATA} -----BEGIN PRIVATE KEY-----"
    (token,) = {one for one in kubeconfig.secrets_of(_USABLE) if "secret" in one}
    assert token == "secret"


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
