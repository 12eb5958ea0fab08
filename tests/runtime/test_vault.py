"""The secrets of evaluations in the state store."""

import base64
import json

import pytest

from budeval.errors import SealError, SidecarError
from budeval.runtime.sealing import Sealer, new_key
from budeval.runtime.vault import Vault
from tests.runtime.fake_dapr import FakeDapr

_SECRETS = {"api_key": "sk-very-secret", "kubeconfig": "apiVersion: v1\ntoken: ü"}


def _vault(dapr: FakeDapr, keys: str | None = None) -> Vault:
    return Vault(dapr.client(), Sealer(keys or new_key()))


def test_secrets_are_kept_until_they_are_destroyed() -> None:
    """Put, opened as often as needed, destroyed, and gone."""
    dapr = FakeDapr()
    vault = _vault(dapr)
    vault.put("e-1", _SECRETS)

    assert vault.open("e-1") == vault.open("e-1") == _SECRETS
    vault.destroy("e-1")

    with pytest.raises(SealError, match="e-1") as gone:
        vault.open("e-1")
    assert gone.value.code == "SECRETS_GONE"
    assert gone.value.retryable is False
    assert dapr.state == {}


def test_secrets_that_never_were_are_gone() -> None:
    """The store does not know the difference."""
    with pytest.raises(SealError) as gone:
        _vault(FakeDapr()).open("e-1")

    assert gone.value.code == "SECRETS_GONE"


def test_destroying_may_be_repeated() -> None:
    """An activity that is run again finds nothing, and that is what it wants."""
    vault = _vault(FakeDapr())
    vault.put("e-1", _SECRETS)

    vault.destroy("e-1")
    vault.destroy("e-1")
    vault.destroy("never-there")


def test_later_secrets_replace_the_earlier_ones() -> None:
    """A retry may bring another API key."""
    dapr = FakeDapr()
    vault = _vault(dapr)
    vault.put("e-1", _SECRETS)

    vault.put("e-1", {"api_key": "another"})

    assert vault.open("e-1") == {"api_key": "another"}
    assert len(dapr.state) == 1


def test_each_evaluation_has_its_own() -> None:
    """Destroying those of one leaves those of the others."""
    vault = _vault(FakeDapr())
    vault.put("e-1", {"api_key": "one"})
    vault.put("e-2", {"api_key": "two"})

    vault.destroy("e-1")

    assert vault.open("e-2") == {"api_key": "two"}


def test_the_store_holds_nothing_in_the_clear() -> None:
    """Neither as text nor under base64."""
    dapr = FakeDapr()
    _vault(dapr).put("e-1", _SECRETS)

    assert list(dapr.state) == ["sealed-e-1"]
    stored = json.dumps(dapr.state).encode()
    for raw in (stored, base64.b64decode(dapr.state["sealed-e-1"]["sealed"])):
        for text in (*_SECRETS, *_SECRETS.values()):
            assert text.encode() not in raw


def test_secrets_that_were_copied_to_another_evaluation_do_not_open() -> None:
    """Who can write to the store cannot lend one evaluation the credentials of another."""
    dapr = FakeDapr()
    vault = _vault(dapr)
    vault.put("e-1", _SECRETS)
    dapr.state["sealed-e-2"] = dapr.state["sealed-e-1"]

    with pytest.raises(SealError, match="e-2"):
        vault.open("e-2")


def test_secrets_outlive_a_restart_and_a_change_of_keys() -> None:
    """Another process with the same key, or with a new one before it."""
    dapr, key = FakeDapr(), new_key()
    _vault(dapr, key).put("e-1", _SECRETS)

    assert _vault(dapr, key).open("e-1") == _SECRETS
    assert _vault(dapr, f"{new_key()},{key}").open("e-1") == _SECRETS


def test_a_lost_key_is_told() -> None:
    """It is not the same as secrets that are gone."""
    dapr = FakeDapr()
    _vault(dapr).put("e-1", _SECRETS)

    with pytest.raises(SealError, match="not configured any more") as lost:
        _vault(dapr).open("e-1")

    assert lost.value.code == "SEAL_FAILED"


def test_a_store_that_does_not_answer_does_not_say_gone() -> None:
    """That is worth another try."""
    dapr = FakeDapr()
    vault = _vault(dapr)
    vault.put("e-1", _SECRETS)
    dapr.unreachable = True

    with pytest.raises(SidecarError):
        vault.open("e-1")
