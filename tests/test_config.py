"""The settings, as the environment gives them."""

import os
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from budeval.config import Settings


@pytest.fixture(autouse=True)
def empty_environment(monkeypatch: pytest.MonkeyPatch, seal_keys: str) -> None:
    """No setting comes from whoever runs the tests, but the one that must be there."""
    assert seal_keys
    for name in os.environ:
        if name.startswith(("BUDEVAL_", "DAPR_")) and name != "BUDEVAL_SEAL_KEYS":
            monkeypatch.delenv(name)


def test_no_cluster_is_configured_by_default() -> None:
    """Without settings no cluster can be chosen: least of all one that the process happens to reach."""
    settings = Settings()

    assert (settings.clusters_dir, settings.default_cluster) == (None, None)


def test_the_sidecar_is_on_this_host_by_default() -> None:
    """Dapr's own ports, on loopback."""
    settings = Settings()

    address = (settings.sidecar_host, settings.sidecar_http_port, settings.sidecar_grpc_port)
    assert address == ("127.0.0.1", 3500, 50001)


def test_a_playbook_may_take_longer_than_each_of_its_modules() -> None:
    """The limits nest, so that a slow module is told as such: the verify playbook has four."""
    settings = Settings()

    assert settings.playbook_timeout > 4 * settings.module_timeout


@pytest.mark.parametrize(
    ("variable", "text", "field", "value"),
    [
        ("BUDEVAL_CLUSTERS_DIR", "/clusters", "clusters_dir", Path("/clusters")),
        ("BUDEVAL_DEFAULT_CLUSTER", "local", "default_cluster", "local"),
        ("BUDEVAL_NAMESPACE", "team-a", "namespace", "team-a"),
        ("BUDEVAL_STATESTORE", "store", "statestore", "store"),
        ("BUDEVAL_KEEP_SCORES", "500", "keep_scores", 500),
        ("BUDEVAL_PLAYBOOK_TIMEOUT", "1.5", "playbook_timeout", 1.5),
        ("BUDEVAL_SIDECAR_HTTP_PORT", "13500", "sidecar_http_port", 13500),
        ("DAPR_HTTP_PORT", "13500", "sidecar_http_port", 13500),
        ("BUDEVAL_SIDECAR_GRPC_PORT", "13501", "sidecar_grpc_port", 13501),
        ("BUDEVAL_FORBIDDEN_NETWORKS", '["10.0.0.0/8"]', "forbidden_networks", (ip_network("10.0.0.0/8"),)),
        ("BUDEVAL_ALLOWED_NETWORKS", '["127.0.0.1"]', "allowed_networks", (ip_network("127.0.0.1"),)),
        ("DAPR_GRPC_PORT", "13501", "sidecar_grpc_port", 13501),
    ],
)
def test_the_environment_sets_it(
    monkeypatch: pytest.MonkeyPatch, variable: str, text: str, field: str, value: Any
) -> None:
    """Each field has its variable; the ports also have those that `dapr run` sets."""
    monkeypatch.setenv(variable, text)

    assert getattr(Settings(), field) == value


def test_our_own_variable_wins_over_daprs(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was set for this service is meant for it."""
    monkeypatch.setenv("DAPR_HTTP_PORT", "1")
    monkeypatch.setenv("BUDEVAL_SIDECAR_HTTP_PORT", "2")

    assert Settings().sidecar_http_port == 2


def test_storage_is_read_with_the_other_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment counts when the settings are made, not when the module is imported."""
    monkeypatch.setenv("BUDEVAL_STORAGE_CLAIM", "another-claim")
    monkeypatch.setenv("BUDEVAL_STORAGE_MOUNT_PATH", "/data")

    storage = Settings().storage

    assert (storage.claim, storage.mount_path) == ("another-claim", "/data")


@pytest.mark.parametrize(("field", "value"), [("namespace", "x"), ("storage", None)])
def test_settings_do_not_change(field: str, value: Any) -> None:
    """They are read once; nobody alters them on the way."""
    settings = Settings()

    with pytest.raises(ValidationError, match="frozen"):
        setattr(settings, field, value)


def test_a_value_of_the_wrong_kind_stops_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """A port that is no number is refused with the text that was given, before anything runs."""
    monkeypatch.setenv("DAPR_HTTP_PORT", "many")

    with pytest.raises(ValidationError, match=r"(?s)SIDECAR_HTTP_PORT.*many"):
        Settings()


def test_without_a_key_there_is_no_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """Secrets are never stored in the clear, so there is no default."""
    monkeypatch.delenv("BUDEVAL_SEAL_KEYS")

    with pytest.raises(ValidationError, match=r"(?s)seal_keys.*required"):
        Settings()


def test_the_keys_are_never_shown(seal_keys: str) -> None:
    """Not in the settings' own text, which ends up in logs."""
    assert seal_keys not in repr(Settings())
