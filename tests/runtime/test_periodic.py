"""Work that is done again and again."""

from budeval.errors import SidecarError
from budeval.runtime.periodic import Periodic


def test_it_begins_at_once_and_goes_on_until_it_is_stopped() -> None:
    """Whatever comes of it, a failure or a bug, ends it."""
    times: list[int] = []

    def work() -> None:
        times.append(len(times))
        if len(times) == 1:
            raise SidecarError("away")
        if len(times) == 2:
            raise ValueError("a bug")
        periodic.stop()

    periodic = Periodic("work", 0.01, work)
    periodic.start()
    periodic._thread.join(10)

    assert not periodic._thread.is_alive()
    assert len(times) == 3
