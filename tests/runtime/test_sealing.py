"""Secrets that are stored are unreadable, and worthless under another key or for another subject."""

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from budeval.errors import SealError
from budeval.runtime.sealing import Sealer, new_key

_SEALER = Sealer(new_key())
_SECRETS = {"api_key": "sk-very-secret", "kubeconfig": "apiVersion: v1"}
_SHORT = base64.b64encode(b"just sixteen byt").decode()
_LONG = base64.b64encode(b"x" * 33).decode()

_JSON = st.dictionaries(
    st.text(max_size=20),
    st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=50), st.lists, max_leaves=5),
    max_size=5,
)


@given(_JSON, st.text(st.characters(codec="utf-8"), max_size=50))
def test_what_is_sealed_opens_again(content: dict[str, Any], subject: str) -> None:
    """Any JSON object for any subject, also by way of the state store."""
    document = json.loads(json.dumps(_SEALER.seal(content, subject)))

    assert _SEALER.open(document, subject) == content


def test_a_sealed_document_shows_nothing() -> None:
    """Neither names nor values, also not under base64."""
    document = _SEALER.seal(_SECRETS, "team/e-1")

    stored = json.dumps(document).encode()
    for raw in (stored, base64.b64decode(document["sealed"])):
        for text in (*_SECRETS, *_SECRETS.values()):
            assert text.encode() not in raw


def test_the_same_is_sealed_differently_each_time() -> None:
    """A nonce is never used twice with a key."""
    documents = [_SEALER.seal(_SECRETS, "team/e-1") for _ in range(50)]

    assert len({document["nonce"] for document in documents}) == 50
    assert len({document["sealed"] for document in documents}) == 50


@pytest.mark.parametrize("subject", ["", "team/e-2", "team/e-1 ", "TEAM/e-1"])
def test_it_opens_for_its_subject_only(subject: str) -> None:
    """Copied to another evaluation's key it is worthless; the refusal quotes no secret."""
    document = _SEALER.seal(_SECRETS, "team/e-1")

    with pytest.raises(SealError) as refused:
        _SEALER.open(document, subject)

    assert "sk-very-secret" not in str(refused.value)
    assert refused.value.retryable is False


@given(st.data(), st.sampled_from(["nonce", "sealed"]), st.integers(1, 255))
def test_a_changed_byte_is_noticed(data: st.DataObject, name: str, change: int) -> None:
    """Whichever it is, in the nonce, the content or the tag."""
    document = _SEALER.seal(_SECRETS, "team/e-1")
    raw = bytearray(base64.b64decode(document[name]))
    raw[data.draw(st.integers(0, len(raw) - 1))] ^= change
    document[name] = base64.b64encode(raw).decode()

    with pytest.raises(SealError, match="not what was sealed"):
        _SEALER.open(document, "team/e-1")


@given(st.data(), st.sampled_from(["nonce", "sealed"]))
def test_a_cut_document_is_noticed(data: st.DataObject, name: str) -> None:
    """Down to nothing at all."""
    document = _SEALER.seal(_SECRETS, "team/e-1")
    raw = base64.b64decode(document[name])
    document[name] = base64.b64encode(raw[: data.draw(st.integers(0, len(raw) - 1))]).decode()

    with pytest.raises(SealError, match="not what was sealed"):
        _SEALER.open(document, "team/e-1")


@pytest.mark.parametrize("broken", ["a", "ü", "====="])
@pytest.mark.parametrize("name", ["nonce", "sealed"])
def test_what_is_not_base64_is_noticed(name: str, broken: str) -> None:
    """It is no reason for another kind of error."""
    document = {**_SEALER.seal(_SECRETS, "team/e-1"), name: broken}

    with pytest.raises(SealError, match="not what was sealed"):
        _SEALER.open(document, "team/e-1")


def test_keys_are_changed_without_a_stop() -> None:
    """The new one comes first and seals; the old one still opens what it sealed."""
    old, new = new_key(), new_key()
    before = Sealer(old).seal(_SECRETS, "team/e-1")

    rotated = Sealer(f"{new}, {old}")
    after = rotated.seal(_SECRETS, "team/e-1")

    assert rotated.open(before, "team/e-1") == _SECRETS
    assert Sealer(new).open(after, "team/e-1") == _SECRETS
    assert before["key"] != after["key"]


def test_a_key_that_is_not_configured_any_more_is_told() -> None:
    """That is another trouble than a changed document, and has another remedy."""
    document = Sealer(new_key()).seal(_SECRETS, "team/e-1")

    with pytest.raises(SealError, match=r"team/e-1.*not configured any more") as refused:
        _SEALER.open(document, "team/e-1")

    assert refused.value.code == "SEAL_FAILED"


def test_a_document_that_names_another_key_is_refused() -> None:
    """The name of a key proves nothing."""
    one, other = new_key(), new_key()
    document = {**Sealer(one).seal(_SECRETS, "s"), "key": Sealer(other).seal(_SECRETS, "s")["key"]}

    with pytest.raises(SealError, match="not what was sealed"):
        Sealer(f"{one},{other}").open(document, "s")


def test_a_keys_name_does_not_tell_the_key() -> None:
    """It stands in the clear beside what the key sealed; it is the same after a restart."""
    key = new_key()
    name = Sealer(key).seal(_SECRETS, "s")["key"]

    assert name == Sealer(key).seal(_SECRETS, "s")["key"]
    assert name not in key
    assert name not in base64.b64decode(key).hex()


@pytest.mark.parametrize(
    "bad",
    ["", "not base64!", "schlüssel-aus-worten", _SHORT, _LONG, new_key()[:-1], f"{new_key()}\n{new_key()}"],
)
@pytest.mark.parametrize("place", [1, 2])
def test_bad_keys_are_refused_by_number(bad: str, place: int) -> None:
    """The text says which one and what helps, and never quotes it."""
    keys = ",".join([new_key()] * (place - 1) + [bad])

    with pytest.raises(SealError, match=f"Key {place} of BUDEVAL_SEAL_KEYS.*budeval new-key") as refused:
        Sealer(keys)

    assert not bad or bad not in str(refused.value)


def test_new_keys_are_usable_and_different() -> None:
    """32 bytes each."""
    keys = {new_key() for _ in range(20)}

    assert len(keys) == 20
    assert {len(base64.b64decode(key)) for key in keys} == {32}
