import socket
import threading

import pytest

from dev import forwarder
from dev.errors import DevError
from dev.network import HOST, Namespace

_GONE = Namespace("bud-test-gone")


def test_host_always_exists_and_is_never_made_or_deleted() -> None:
    """The namespace that the command was started in is left as it is."""
    HOST.create()
    HOST.delete()
    HOST.enter()
    assert HOST.exists()


def test_call_returns_what_the_function_returns() -> None:
    """A function runs in a thread of its own and its result is handed back."""
    caller = threading.current_thread()
    ran_in = HOST.call(threading.current_thread)
    assert ran_in is not caller


def test_call_raises_what_the_function_raises() -> None:
    """An error inside is an error outside, of the same type and with the same text."""

    def fail() -> None:
        raise LookupError("inside")

    with pytest.raises(LookupError, match="inside"):
        HOST.call(fail)


def test_missing_namespace_is_told_by_name() -> None:
    """Nothing runs in a namespace that is not there."""
    ran: list[str] = []
    with pytest.raises(DevError, match="network namespace bud-test-gone is not there"):
        _GONE.call(lambda: ran.append("inside"))
    assert ran == []
    assert not _GONE.exists()


def test_deleting_a_missing_namespace_is_harmless() -> None:
    """`make down` may find that somebody was there before."""
    _GONE.delete()
    assert not _GONE.exists()


def test_preferred_port_is_kept_when_it_is_free() -> None:
    """A stack that comes up again answers at the same address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    assert forwarder.free_port(port, taken=()) == port


@pytest.mark.parametrize("address", ["127.0.0.1", "0.0.0.0"])
def test_taken_port_is_not_chosen(address: str) -> None:
    """Where somebody else listens, or another stack will, another port of the range is taken."""
    with socket.socket() as listener:
        listener.bind((address, 0))
        listener.listen()
        port = forwarder.free_port(listener.getsockname()[1], taken={13080})
    assert 13081 <= port <= 13179
