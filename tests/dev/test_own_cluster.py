import base64
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from dev import own_cluster
from dev.errors import DevError

Change = Callable[[dict[str, Any]], None]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A directory with the files that a kubeconfig names."""
    for name in ("ca.crt", "me.crt", "me.key"):
        (tmp_path / name).write_text(f"content of {name}")
    (tmp_path / "token").write_text("the-token\n")
    return tmp_path


def _document() -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {"name": "far", "cluster": {"server": "https://far:6443"}},
            {"name": "near", "cluster": {"server": "https://near:6443", "certificate-authority": "ca.crt"}},
        ],
        "users": [
            {"name": "other", "user": {"token": "other-token"}},
            {"name": "me", "user": {"client-certificate": "me.crt", "client-key": "me.key"}},
        ],
        "contexts": [
            {"name": "there", "context": {"cluster": "far", "user": "other"}},
            {"name": "here", "context": {"cluster": "near", "user": "me", "namespace": "team-a"}},
        ],
        "current-context": "here",
    }


def _written(home: Path, change: Change = lambda _: None) -> dict[str, Any]:
    """What becomes of the document after a change."""
    document = _document()
    change(document)
    (home / "config").write_text(yaml.safe_dump(document))
    written: dict[str, Any] = yaml.safe_load(own_cluster.read(home / "config"))
    return written


def _user(document: dict[str, Any]) -> Any:
    return document["users"][-1]["user"]


def test_files_are_put_inside(home: Path) -> None:
    """Certificates and keys become part of the kubeconfig; no path stays."""
    written = _written(home)
    ca, certificate, key = (
        base64.b64encode(f"content of {name}".encode()).decode() for name in ("ca.crt", "me.crt", "me.key")
    )
    cluster = {"server": "https://near:6443", "certificate-authority-data": ca}
    assert written["clusters"] == [{"name": "near", "cluster": cluster}]
    user = {"client-certificate-data": certificate, "client-key-data": key}
    assert written["users"] == [{"name": "me", "user": user}]


def test_token_file_is_put_inside(home: Path) -> None:
    """A token that stands in a file becomes a token."""
    written = _written(home, lambda document: document["users"][-1].update(user={"tokenFile": "token"}))
    assert _user(written) == {"token": "the-token"}


def test_absolute_path_is_read_where_it_is(home: Path) -> None:
    """A path that does not start in the kubeconfig's directory is taken as it is."""
    written = _written(home, lambda document: _user(document).update({"client-key": str(home / "ca.crt")}))
    assert base64.b64decode(_user(written)["client-key-data"]) == b"content of ca.crt"


def test_only_the_current_context_is_taken(home: Path) -> None:
    """The credentials of other contexts stay where they are."""
    written = _written(home)
    assert [item["context"] for item in written["contexts"]] == [
        {"cluster": "near", "user": "me", "namespace": "team-a"}
    ]
    assert written["current-context"] == written["contexts"][0]["name"]
    assert "other-token" not in str(written)


def test_former_kubeconfig_is_replaced(home: Path) -> None:
    """What an earlier `make up` wrote does not stay."""
    _written(home, lambda document: document["users"][-1].update(user={"token": "former-token"}))
    assert "former-token" not in str(_written(home))


@pytest.mark.parametrize(
    "change",
    [
        lambda document: document.update(contexts=["x"]),
        lambda document: document.update(contexts=5),
        lambda document: document["clusters"][1]["cluster"].update({"certificate-authority": 5}),
    ],
    ids=["contexts-of-texts", "contexts-a-number", "path-a-number"],
)
def test_malformed_kubeconfig_is_one_sentence(change: Change, home: Path) -> None:
    """Wrong types end as a refusal that names the kubeconfig, never as a traceback."""
    with pytest.raises(DevError, match=str(home / "config")):
        _written(home, change)


def test_unreachable_cluster_is_told_before_anything_starts() -> None:
    """Where nobody answers, the refusal says so."""
    kubeconfig = {
        "clusters": [{"cluster": {"server": "https://127.0.0.1:1"}}],
        "users": [{"user": {"token": "t"}}],
    }
    with pytest.raises(DevError, match="cannot be reached"):
        own_cluster.require_reachable(yaml.safe_dump(kubeconfig))


def _exec(document: dict[str, Any]) -> None:
    document["users"][-1]["user"] = {"exec": {"command": "aws"}}


def _auth_provider(document: dict[str, Any]) -> None:
    document["users"][-1]["user"] = {"auth-provider": {"name": "gcp"}}


def _unknown_context(document: dict[str, Any]) -> None:
    document["current-context"] = "gone"


def _no_context(document: dict[str, Any]) -> None:
    del document["current-context"], document["contexts"]


def _unknown_cluster(document: dict[str, Any]) -> None:
    document["contexts"][-1]["context"]["cluster"] = "gone"


def _unknown_user(document: dict[str, Any]) -> None:
    document["contexts"][-1]["context"]["user"] = "gone"


def _no_user(document: dict[str, Any]) -> None:
    del document["contexts"][-1]["context"]["user"]


def _no_credentials(document: dict[str, Any]) -> None:
    document["users"][-1]["user"] = None


def _lost_certificate(document: dict[str, Any]) -> None:
    _user(document)["client-certificate"] = "lost.crt"


def _lost_token(document: dict[str, Any]) -> None:
    document["users"][-1]["user"] = {"tokenFile": "lost"}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (_exec, "user me logs in by `exec`, which the service does not run"),
        (_auth_provider, "user me logs in by `auth-provider`, which the service does not run"),
        (_unknown_context, "has no context named 'gone'"),
        (_no_context, "has no context named None"),
        (_unknown_cluster, "has no cluster named 'gone'"),
        (_unknown_user, "has no user named 'gone'"),
        (_no_user, "has no user named None"),
        (_no_credentials, "user 'me' is empty"),
        (_lost_certificate, "lost.crt"),
        (_lost_token, "lost"),
    ],
)
def test_kubeconfig_that_a_service_cannot_use_is_refused(change: Change, reason: str, home: Path) -> None:
    """The refusal names the kubeconfig and what is wrong with it."""
    with pytest.raises(DevError, match=reason) as failure:
        _written(home, change)
    assert str(home / "config") in str(failure.value)


def test_login_by_a_program_is_refused_with_the_way_out(home: Path) -> None:
    """Who logs in by a program is told which ServiceAccount to make instead; its rights are a file."""
    with pytest.raises(DevError, match="Make a ServiceAccount") as failure:
        _written(home, _exec)
    named = Path(__file__).parents[2] / "dev/cluster/manifests/identity.yaml"
    assert "dev/cluster/manifests/identity.yaml" in str(failure.value)
    assert named.is_file()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"a: [", "cannot be read"),
        (b"\xff\xfe\x00", "cannot be read"),
        (b"just text", "is not a kubeconfig"),
        (b"- a list", "is not a kubeconfig"),
        (b"", "is not a kubeconfig"),
    ],
)
def test_file_that_is_no_kubeconfig_is_refused(content: bytes, reason: str, tmp_path: Path) -> None:
    """Whatever else a file holds, the error is one sentence that names it."""
    (tmp_path / "config").write_bytes(content)
    with pytest.raises(DevError, match=f"KUBECONFIG {tmp_path}/config {reason}"):
        own_cluster.read(tmp_path / "config")


def test_missing_file_is_refused(tmp_path: Path) -> None:
    """A path that leads nowhere is told."""
    with pytest.raises(DevError, match=r"cannot be read: .*No such file"):
        own_cluster.read(tmp_path / "config")
