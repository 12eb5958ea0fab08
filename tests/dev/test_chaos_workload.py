"""The callers of a run of faults."""

from dev.chaos import plan
from dev.chaos.pace import Pace
from dev.chaos.verdict import Observed
from dev.chaos.workload import Workload

_EVALUATIONS = 12


def test_a_run_that_is_broken_off_leaves_no_callers() -> None:
    """Neither those who ask a service that does not answer, nor those who wait to begin."""
    observed, pace = Observed(), Pace(_EVALUATIONS, faults=100)
    workload = Workload("127.0.0.1", plan.draw(1, _EVALUATIONS, 0).evaluations, pace, observed)
    workload.start()

    pace.end()
    workload.abandon()

    assert observed.ends == {}
    assert all(end.done() for end in workload._ends)
