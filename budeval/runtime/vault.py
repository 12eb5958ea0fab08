"""The secrets of evaluations in the state store, sealed, under `sealed-<name>`."""

from typing import Any

from budeval.errors import SealError
from budeval.runtime.sealing import Sealer
from budeval.runtime.sidecar import Sidecar


class Vault:
    """Keeps an evaluation's API key and kubeconfig from its request to its clean-up."""

    def __init__(self, sidecar: Sidecar, sealer: Sealer) -> None:
        self._sidecar = sidecar
        self._sealer = sealer

    def put(self, name: str, secrets: dict[str, str]) -> None:
        """Seal and store; what was there is replaced."""
        self._sidecar.save_state(_key(name), self._sealer.seal(secrets, _subject(name)))

    def open(self, name: str) -> dict[str, str]:
        """The secrets again.

        Raises:
            SealError: there are none (any more), or they cannot be opened.
        """
        document: dict[str, Any] | None = self._sidecar.get_state(_key(name))
        if document is None:
            raise SealError(f"There are no secrets {name} (any more).", code="SECRETS_GONE")
        return self._sealer.open(document, _subject(name))

    def holds(self, name: str) -> bool:
        """Whether there are any."""
        return self._sidecar.get_state(_key(name)) is not None

    def destroy(self, name: str) -> None:
        """Forget them. May be repeated."""
        self._sidecar.delete_state(_key(name))


def _key(name: str) -> str:
    return f"sealed-{name}"


def _subject(name: str) -> str:
    """What a sealed document is bound to: it opens under no other name."""
    return f"default/{name}"
