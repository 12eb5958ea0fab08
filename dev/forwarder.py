"""Bring the service's port out of the stack's network namespace to the host's loopback."""

import re
import socket
from collections.abc import Container

from dev import command
from dev.errors import DevError
from dev.layout import StackLayout
from dev.network import HOST, Namespace
from dev.part import Part, http_check, program

NAME = "forwarder"
_FIRST_PORT = 13080
_LAST_PORT = 13179


def free_port(preferred: int | None, taken: Container[int]) -> int:
    """A port that nobody listens at on the host's loopback, `preferred` if it is one.

    Args:
        preferred: the port of an earlier start.
        taken: ports of other stacks, which may be about to listen.
    """
    candidates = [preferred] if preferred else []
    candidates += range(_FIRST_PORT, _LAST_PORT + 1)
    for port in (port for port in candidates if port not in taken):
        if HOST.call(lambda port=port: _is_free(port)):  # type: ignore[misc]
            return port
    raise DevError(f"No free port between {_FIRST_PORT} and {_LAST_PORT} on 127.0.0.1.")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def part(
    stack: StackLayout, namespace: Namespace, host_port: int, inner_port: int, needs: tuple[str, ...]
) -> Part:
    """Socat on the host, one connection inside for each one outside."""
    inside = f"nsenter --net=/run/netns/{namespace.name} socat STDIO TCP\\:127.0.0.1\\:{inner_port}"
    version = re.search(r"version (\S+)", command.run([program("socat"), "-V"]))
    return Part(
        name=NAME,
        version=f"socat {version[1] if version else 'unknown'}",
        address=f"http://127.0.0.1:{host_port}",
        command=lambda: [
            program("socat"),
            f"TCP-LISTEN:{host_port},bind=127.0.0.1,reuseaddr,fork",
            f"EXEC:{inside}",
        ],
        check=http_check(f"http://127.0.0.1:{host_port}/healthz", timeout=5),
        namespace=HOST,
        stack=stack,
        needs=needs,
    )
