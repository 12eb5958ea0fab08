"""A refusal is believed once it has stood for a while."""

from typing import Any

import pytest

from budeval.ansible.patient_runner import PatientRunner
from budeval.errors import ClusterError

_DONE: dict[str, Any] = {"receipt": []}
_REFUSED_RUN = {"runs": [{"run_id": "a", "msg": "no", "status": 403}, {"run_id": "b", "job": "b"}]}
_DEPLOYED = {"runs": [{"run_id": "a", "job": "a"}, {"run_id": "b", "job": "b"}]}


def _refusal(code: str) -> ClusterError:
    return ClusterError("no", code=code, retryable=False)


class FakeRunner:
    """Answers one thing after the other."""

    def __init__(self, *answers: Any) -> None:
        self._answers = list(answers)
        self.asked: list[tuple[Any, ...]] = []
        self.closed = False

    def run(self, playbook: str, *arguments: Any, **more: Any) -> dict[str, Any]:
        """As the real one does."""
        self.asked.append((playbook, arguments, more))
        answer = self._answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        found: dict[str, Any] = answer
        return found

    def close(self) -> None:
        """As the real one does."""
        self.closed = True


@pytest.mark.parametrize("code", ["FORBIDDEN", "AUTH_FAILED"])
def test_a_refusal_that_passes_is_none(code: str) -> None:
    """An API server that has just started knows nobody; the same is asked again."""
    fake = FakeRunner(_refusal(code), _refusal(code), _DONE)

    found = PatientRunner(fake, (0, 0, 0)).run("a.yml", {"x": 1}, "kubeconfig", patience=5)

    assert found == _DONE
    assert fake.asked == [("a.yml", ({"x": 1}, "kubeconfig"), {"patience": 5})] * 3


def test_a_refusal_that_stands_is_told() -> None:
    """After the last try."""
    fake = FakeRunner(*[_refusal("FORBIDDEN")] * 4)

    with pytest.raises(ClusterError) as told:
        PatientRunner(fake, (0, 0, 0)).run("a.yml")

    assert (told.value.code, len(fake.asked)) == ("FORBIDDEN", 4)


def test_other_failures_are_told_at_once() -> None:
    """They have their own owners."""
    fake = FakeRunner(_refusal("CLUSTER_UNREACHABLE"))

    with pytest.raises(ClusterError):
        PatientRunner(fake, (0, 0, 0)).run("a.yml")
    assert len(fake.asked) == 1


def test_a_run_that_was_refused_among_others_is_asked_for_again() -> None:
    """What was deployed already is left as it is by the playbook."""
    fake = FakeRunner(_REFUSED_RUN, _DEPLOYED)

    assert PatientRunner(fake, (0, 0)).run("deploy.yml") == _DEPLOYED


def test_a_run_that_stays_refused_is_told_with_the_others() -> None:
    """Theirs is no failure."""
    fake = FakeRunner(_REFUSED_RUN, _REFUSED_RUN)

    assert PatientRunner(fake, (0,)).run("deploy.yml") == _REFUSED_RUN


def test_a_service_that_stops_waits_for_nothing() -> None:
    """The next one asks again."""
    fake = FakeRunner(_refusal("FORBIDDEN"))
    runner = PatientRunner(fake, (600, 600))
    runner.close()

    with pytest.raises(ClusterError):
        runner.run("a.yml")
    assert fake.closed
