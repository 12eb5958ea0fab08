"""Which of several services that may share a namespace this one is: all that it makes bears its id."""

import secrets

from budeval.runtime.sidecar import Sidecar

_KEY = "installation"


class Installation:
    """Known by its state store, which has the evaluations: whoever has the same one is the same."""

    def __init__(self, sidecar: Sidecar) -> None:
        self._sidecar = sidecar
        self._id: str | None = None

    @property
    def id(self) -> str:
        """Drawn once, at the first need.

        Raises:
            SidecarError: the state store does not answer.
        """
        if self._id is None:
            mine = {"schema": 1, "id": secrets.token_hex(5)}
            self._id = str(self._sidecar.save_state_first(_KEY, mine)["id"])
        return self._id
