"""Secrets at rest: AES-256-GCM, bound to what they belong to.

A sealed value opens only with one of our keys and only for the subject it was sealed for, so a value copied
to another evaluation's key is worthless there. NIST SP 800-38D; 96-bit random nonces.
"""

import base64
import binascii
import hashlib
import json
import os
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from budeval.errors import SealError

_KEY_BYTES = 32
_NONCE_BYTES = 12


def new_key() -> str:
    """A fresh key in the form that BUDEVAL_SEAL_KEYS takes."""
    return base64.b64encode(AESGCM.generate_key(_KEY_BYTES * 8)).decode()


class Sealer:
    """Seals with the first key, opens with any, so that keys can be changed without a stop."""

    def __init__(self, keys: str) -> None:
        """Take the keys of BUDEVAL_SEAL_KEYS.

        Raises:
            SealError: there is none, or one is not 32 bytes in base64. The text never quotes a key.
        """
        parsed = [_parse(text.strip(), number) for number, text in enumerate(keys.split(","), 1)]
        self._keys = {_name(key): AESGCM(key) for key in parsed}
        self._first = _name(parsed[0])

    def seal(self, content: dict[str, Any], subject: str) -> dict[str, Any]:
        """A JSON document that holds the content, unreadable."""
        nonce = os.urandom(_NONCE_BYTES)
        clear = json.dumps(content).encode()
        sealed = self._keys[self._first].encrypt(nonce, clear, subject.encode())
        return {
            "schema": 1,
            "key": self._first,
            "nonce": base64.b64encode(nonce).decode(),
            "sealed": base64.b64encode(sealed).decode(),
        }

    def open(self, document: dict[str, Any], subject: str) -> dict[str, Any]:
        """The content again.

        Raises:
            SealError: its key is not among ours, or the document is not what was sealed for the subject.
        """
        key = self._keys.get(str(document.get("key")))
        if key is None:
            raise SealError(
                f"The secrets of {subject} were sealed with a key that is not configured any more."
            )
        try:
            nonce, sealed = (base64.b64decode(document[name]) for name in ("nonce", "sealed"))
            content: dict[str, Any] = json.loads(key.decrypt(nonce, sealed, subject.encode()))
        except (InvalidTag, LookupError, TypeError, ValueError) as error:
            raise SealError(f"The secrets of {subject} are not what was sealed for it.") from error
        return content


def _parse(text: str, number: int) -> bytes:
    try:
        key = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != _KEY_BYTES:
        advice = "It must be 32 bytes in base64; `budeval new-key` makes one."
        raise SealError(f"Key {number} of BUDEVAL_SEAL_KEYS cannot be used. {advice}")
    return key


def _name(key: bytes) -> str:
    """Which key sealed a value, told without telling the key."""
    return hashlib.sha256(b"budeval key name" + key).hexdigest()[:12]
