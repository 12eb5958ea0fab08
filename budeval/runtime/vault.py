"""The secrets of evaluations in the state store, sealed, under `sealed-<eval_id>`."""

from typing import Any

from budeval.errors import SealError
from budeval.runtime.sealing import Sealer
from budeval.runtime.sidecar import Sidecar


class Vault:
    """Keeps an evaluation's API key and kubeconfig from its request to its clean-up."""

    def __init__(self, sidecar: Sidecar, sealer: Sealer) -> None:
        self._sidecar = sidecar
        self._sealer = sealer

    def put(self, eval_id: str, secrets: dict[str, str]) -> None:
        """Seal and store; what was there is replaced."""
        self._sidecar.save_state(_key(eval_id), self._sealer.seal(secrets, _subject(eval_id)))

    def open(self, eval_id: str) -> dict[str, str]:
        """The secrets again.

        Raises:
            SealError: there are none (any more), or they cannot be opened.
        """
        document: dict[str, Any] | None = self._sidecar.get_state(_key(eval_id))
        if document is None:
            raise SealError(f"Evaluation {eval_id} has no secrets (any more).", code="SECRETS_GONE")
        return self._sealer.open(document, _subject(eval_id))

    def destroy(self, eval_id: str) -> None:
        """Forget them. May be repeated."""
        self._sidecar.delete_state(_key(eval_id))


def _key(eval_id: str) -> str:
    return f"sealed-{eval_id}"


def _subject(eval_id: str) -> str:
    """What a sealed document is bound to: it opens for no other evaluation."""
    return f"default/{eval_id}"
