"""Keeps the processes of a playbook from the addresses that a request must not send anybody to.

Python imports this by itself where this directory is on its path. The kubeconfig of a request names a server;
what that name stands for may change once it was looked at, and its server may redirect. So the address is
looked at when it is connected to, in whatever library.
"""

import os
import sys
from pathlib import Path
from typing import Any

_PACKAGES = str(Path(__file__).resolve().parents[3])
"""Where `budeval` is: in a checkout not where Python looks by itself."""
_INTERNET_ADDRESS = 2
"""(host, port), and what IPv6 has beside them; the address of a local socket is a text."""


def _keep_to_the_rules() -> None:
    sys.path.append(_PACKAGES)
    try:
        from budeval.domain.addresses import RULES_VARIABLE, AddressRules  # noqa: PLC0415 - see _PACKAGES

        rules = AddressRules.from_json(os.environ[RULES_VARIABLE])
    except Exception as error:
        # Of any other exception Python would only print a warning, and go on without.
        raise SystemExit(f"the rules for addresses cannot be used: {error}") from error
    finally:
        sys.path.remove(_PACKAGES)

    def look(event: str, arguments: tuple[Any, ...]) -> None:
        if event != "socket.connect":
            return
        address = arguments[1]
        if isinstance(address, tuple) and len(address) >= _INTERNET_ADDRESS and rules.forbid(address[0]):
            raise PermissionError("ADDRESS_FORBIDDEN: requests may not lead to this address")

    sys.addaudithook(look)


_keep_to_the_rules()
