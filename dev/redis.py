"""Redis: the broker behind Dapr's pub/sub."""

import re
import socket

from dev import command
from dev.errors import UnhealthyError
from dev.layout import StackLayout
from dev.network import Namespace
from dev.part import Part, program

_PORT = 6379


def part(stack: StackLayout, namespace: Namespace) -> Part:
    """Appends to a file, so that streams and consumer groups outlive a kill."""
    data = stack.directory / "redis"
    return Part(
        name="redis",
        version=_version(),
        address=f"127.0.0.1:{_PORT}",
        command=lambda: [
            program("redis-server"),
            *("--bind", "127.0.0.1", "--port", str(_PORT)),
            *("--dir", data, "--appendonly", "yes", "--save", ""),
            # It would write its title over its environment, and so over the marks of `dev.process`.
            *("--set-proc-title", "no"),
        ],
        check=_ping,
        namespace=namespace,
        stack=stack,
        prepare=lambda: data.mkdir(parents=True, exist_ok=True),
    )


def _version() -> str:
    found = re.search(r"v=(\S+)", command.run([program("redis-server"), "--version"]))
    return found[1] if found else "unknown"


def _ping() -> None:
    try:
        with socket.create_connection(("127.0.0.1", _PORT), timeout=2) as connection:
            connection.sendall(b"PING\r\n")
            answer = connection.recv(64)
    except OSError as error:
        raise UnhealthyError(f"does not answer: {error}") from error
    if not answer.startswith(b"+PONG"):
        raise UnhealthyError(f"answers {answer.decode(errors='replace').strip()}")
