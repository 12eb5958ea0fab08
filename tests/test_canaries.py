"""The search for secrets finds them however they were written down."""

import base64
from collections.abc import Callable

import pytest

from tests.e2e.canaries import forms

_KEY = "sk-canary-0f8fad5bd9cb469fa16570867728950e"
_TOKEN = "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJrdWJlcm5ldGVzIn0.c2lnbmF0dXJl-_~>?"


def _found(secret: str, text: bytes) -> bool:
    return any(form in text for form in forms(secret))


@pytest.mark.parametrize("secret", [_KEY, _TOKEN])
@pytest.mark.parametrize("encode", [base64.b64encode, base64.urlsafe_b64encode])
@pytest.mark.parametrize("before", range(6))
@pytest.mark.parametrize("after", range(3))
def test_a_secret_within_base64_is_found(
    secret: str, encode: Callable[[bytes], bytes], before: int, after: int
) -> None:
    """At each place, with anything around it, also where that is encoded again."""
    around = b"x" * before + secret.encode() + b"y" * after

    assert _found(secret, around)
    assert _found(secret, encode(around))
    assert _found(secret, encode(b"z" * after + encode(around) + b"z"))


@pytest.mark.parametrize("secret", [_KEY, _TOKEN])
def test_other_secrets_are_not_found(secret: str) -> None:
    """Though they begin alike."""
    other = secret[:10] + secret[10:][::-1]

    assert not _found(secret, other.encode())
    assert not _found(secret, base64.b64encode(other.encode()))
