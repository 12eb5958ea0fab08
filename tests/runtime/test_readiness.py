"""Whether the service can take work."""

from budeval.errors import SidecarError
from budeval.runtime.readiness import ReadinessCheck


class FakeSidecar:
    """Counts how often it is asked."""

    def __init__(self, *, alive: bool = True) -> None:
        self.asked: list[str] = []
        self._alive = alive

    def check_alive(self) -> None:
        """Raise if it is not."""
        self.asked.append("alive")
        if not self._alive:
            raise SidecarError("nobody there")

    def check_state_store(self) -> None:
        """All is well."""
        self.asked.append("state store")

    def check_broker(self) -> None:
        """All is well."""
        self.asked.append("broker")

    def check_workers(self) -> None:
        """All is well."""
        self.asked.append("workers")

    def versions(self) -> dict[str, str]:
        """Of all but the broker."""
        return {"sidecar": "Dapr 1.18.2", "state store": "state.sqlite v1"}


class FakeEngine:
    """Runs workflows, or fails with an error."""

    def __init__(self, error: Exception | None = None) -> None:
        self._error = error

    def probe(self) -> None:
        """Raise the error, if there is one."""
        if self._error:
            raise self._error


def test_many_who_ask_at_once_cost_one_probe() -> None:
    """An answer serves for a moment."""
    sidecar = FakeSidecar()
    readiness = ReadinessCheck(sidecar, FakeEngine())

    first, second = readiness.check(), readiness.check()

    assert first == second
    assert sidecar.asked == ["alive", "state store", "broker", "workers"]


def test_nothing_else_is_asked_while_the_sidecar_is_away() -> None:
    """All goes through it: its problem is told, and the others are told as not asked."""
    sidecar = FakeSidecar(alive=False)

    health = ReadinessCheck(sidecar, FakeEngine()).check()

    assert sidecar.asked == ["alive"]
    assert [one.problem for one in health] == [
        "nobody there",
        *["not asked: the sidecar is not reached"] * 3,
        None,  # the playbooks are here
    ]


def test_the_engines_problem_is_told_under_its_name() -> None:
    """What the probe says is the problem of the workflow engine alone."""
    health = ReadinessCheck(FakeSidecar(), FakeEngine(SidecarError("it hangs"))).check()

    assert {one.name: one.problem for one in health if one.problem} == {"workflow engine": "it hangs"}


def test_each_part_tells_its_version() -> None:
    """As far as it is known: for the doctor, and for whoever reports a fault."""
    versions = {one.name: one.version for one in ReadinessCheck(FakeSidecar(), FakeEngine()).check()}

    assert (versions["sidecar"], versions["state store"]) == ("Dapr 1.18.2", "state.sqlite v1")
    assert versions["broker"] is None
    assert str(versions["workflow engine"]).startswith("Dapr's Python SDK 1.")
    assert str(versions["playbooks"]).startswith("ansible-core 2.")
