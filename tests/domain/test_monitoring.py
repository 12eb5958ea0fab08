"""From one look at the cluster to the next."""

from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from budeval.domain.evaluation import Timeouts
from budeval.domain.monitoring import MonitorState, fraction_of
from budeval.domain.observation import RunObservation, RunState
from budeval.domain.progress import RunProgress

_START = datetime(2026, 1, 1)  # noqa: DTZ001 - the workflow's clock is naive
_TIMEOUTS = Timeouts(start=100, run=1000)
_GONE = RunObservation(run_id="r", state=RunState.GONE, code="JOB_GONE", message="not there")
_PULL = {"code": "IMAGE_PULL", "message": "no such image"}


def _at(seconds: float) -> datetime:
    return _START + timedelta(seconds=seconds)


def _seen(state: str, run_id: str = "r", **more: Any) -> RunObservation:
    return RunObservation.model_validate({"run_id": run_id, "state": state, "job": "j", "uid": "u", **more})


def _running(done: int, run_id: str = "r", phase: str = "infer") -> RunObservation:
    progress = {"done": done, "total": 100, "phase": phase}
    return _seen("running", run_id, progress=progress, started="2026-01-01T00:00:00Z")


def _after(*looks: RunObservation, every: float = 10, timeouts: Timeouts = _TIMEOUTS) -> MonitorState:
    """What is remembered after looks at one run, the first at 0 s."""
    state = MonitorState(since=_START)
    for number, seen in enumerate(looks):
        state.fold([seen], _at(number * every), timeouts)
    return state


def _run(state: MonitorState) -> RunObservation:
    return state.runs["r"].seen


@pytest.mark.parametrize("later", ["pending", "blocked", "running", "succeeded", "failed", "gone"])
@pytest.mark.parametrize("end", ["succeeded", "failed"])
def test_a_run_that_has_ended_stays_as_it_is(end: str, later: str) -> None:
    """A Job that is cleaned up, or that a snapshot shows as it was before, changes nothing."""
    seen = _seen(end, message="first")

    state = _after(seen, _seen(later, message="second"))

    assert _run(state) == seen
    assert state.finished


def test_each_run_has_its_own_story() -> None:
    """A look may show some of the runs only; the others stay as they were."""
    state = MonitorState(since=_START)
    state.fold([_seen("failed", "a"), _seen("pending", "b")], _at(0), _TIMEOUTS)
    state.fold([_seen("running", "b"), _seen("pending", "c")], _at(10), _TIMEOUTS)

    states = {run_id: story.seen.state.value for run_id, story in state.runs.items()}
    assert states == {"a": "failed", "b": "running", "c": "pending"}
    assert [seen.run_id for seen in state.failed] == ["a"]
    assert not state.finished


@pytest.mark.parametrize(
    "later",
    [_running(10), _seen("running"), _running(0, phase="prepare"), _seen("pending")],
    ids=["fewer", "none", "earlier-phase", "pending"],
)
def test_progress_never_goes_back(later: RunObservation) -> None:
    """A tail without a progress line, or a resumed engine, knows less than was known."""
    state = _after(_running(50), later)

    assert _run(state).progress == RunProgress(done=50, total=100, phase="infer")
    assert _run(state).state is later.state


@given(
    st.lists(st.tuples(st.integers(0, 100), st.sampled_from(["prepare", "infer", "evaluate"])), min_size=2)
)
def test_the_fraction_only_rises_while_runs_run(looks: list[tuple[int, str]]) -> None:
    """In whatever order progress is seen."""
    state = MonitorState(since=_START)
    fractions = []
    for number, (done, phase) in enumerate(looks):
        state.fold([_running(done, phase=phase)], _at(number), _TIMEOUTS)
        fractions.append(state.fraction)

    assert fractions == sorted(fractions)


def test_all_runs_count_the_same() -> None:
    """One that has ended is whole, also where it has failed; one that waits is nothing yet."""
    runs = [_seen("succeeded", "a"), _seen("failed", "b"), _seen("pending", "c"), _running(0, "d")]

    assert fraction_of(runs) == pytest.approx((1 + 1 + 0 + 0) / 4)
    assert fraction_of([]) == 0


def test_a_blocked_run_is_given_up_after_the_start_timeout() -> None:
    """Not a second before; its reason stays, and how long it waited is told."""
    blocked = _seen("blocked", code="UNSCHEDULABLE", message="no node")
    state = _after(blocked)

    state.fold([blocked], _at(99), _TIMEOUTS)
    assert _run(state).state is RunState.BLOCKED
    state.fold([blocked], _at(100), _TIMEOUTS)

    assert (_run(state).state, _run(state).code) == (RunState.FAILED, "UNSCHEDULABLE")
    assert "100 s" in str(_run(state).message)
    assert "no node" in str(_run(state).message)


@pytest.mark.parametrize(("start", "limit"), [(600, 60), (60, 60), (20, 20)])
def test_an_image_gets_a_minute_at_most(start: int, limit: int) -> None:
    """A registry's moment of weakness; less where nothing may take that long."""
    timeouts = Timeouts(start=start)
    blocked = _seen("blocked", **_PULL)
    state = MonitorState(since=_START)
    state.fold([blocked], _at(0), timeouts)

    state.fold([blocked], _at(limit - 1), timeouts)
    assert _run(state).state is RunState.BLOCKED
    state.fold([blocked], _at(limit), timeouts)

    assert (_run(state).state, _run(state).code) == (RunState.FAILED, "IMAGE_PULL")


def test_patience_begins_anew_when_the_run_went_on_in_between() -> None:
    """A quota was free for a while; the next wait is another one."""
    blocked = _seen("blocked", code="QUOTA_EXCEEDED", message="full")

    state = _after(blocked, _seen("pending"), blocked, every=90)
    state.fold([blocked], _at(270), _TIMEOUTS)

    assert _run(state).state is RunState.BLOCKED


def test_the_next_deadline_is_that_of_the_least_patience() -> None:
    """Somebody has to look then, although nothing changes on the cluster."""
    state = MonitorState(since=_START)
    runs = [_seen("blocked", "a", code="UNSCHEDULABLE"), _seen("blocked", "b", **_PULL), _running(3, "c")]
    state.fold(runs, _at(0), _TIMEOUTS)

    assert state.next_deadline(_at(10), _TIMEOUTS) == timedelta(seconds=50)
    assert state.next_deadline(_at(500), _TIMEOUTS) == timedelta(seconds=1)


def test_what_never_starts_is_given_up() -> None:
    """A Job without a pod or a pull without an end: nobody says why, and nobody else would end it."""
    state = MonitorState(since=_START)
    state.fold([_seen("pending")], _at(0), _TIMEOUTS)
    assert state.next_deadline(_at(10), _TIMEOUTS) == timedelta(seconds=90)

    state.fold([_seen("pending")], _at(99), _TIMEOUTS)
    assert _run(state).state is RunState.PENDING
    state.fold([_seen("pending")], _at(100), _TIMEOUTS)

    assert (_run(state).state, _run(state).code) == (RunState.FAILED, "NOT_STARTED")
    assert "100 s" in (_run(state).message or "")


@pytest.mark.parametrize("state", ["running", "succeeded", "failed"])
def test_without_a_blocked_run_there_is_no_deadline(state: str) -> None:
    """Also where it was blocked before."""
    monitor = _after(_seen("blocked", code="UNSCHEDULABLE"), _seen(state))

    assert monitor.next_deadline(_at(20), _TIMEOUTS) is None


def test_a_job_is_gone_when_two_listings_in_a_row_miss_it() -> None:
    """A listing may be older than what was seen before it."""
    once = _after(_seen("running"), _GONE)
    twice = _after(_seen("running"), _GONE, _GONE)
    apart = _after(_seen("running"), _GONE, _seen("running"), _GONE)

    assert _run(once).state is RunState.RUNNING
    assert _run(twice).state is RunState.GONE
    assert _run(apart).state is RunState.RUNNING
    assert [state.to_redeploy() for state in (once, twice, apart)] == [[], ["r"], []]


def test_a_job_that_was_never_seen_is_pending_for_a_minute() -> None:
    """It was just made: listings need not know it yet, however many there are."""
    early = _after(*[_GONE] * 7)
    late = _after(*[_GONE] * 8)

    assert (_run(early).state, _run(early).code) == (RunState.PENDING, None)
    assert early.to_redeploy() == []
    assert _run(late).state is RunState.GONE
    assert late.to_redeploy() == ["r"]


def test_a_job_whose_pod_was_evicted_is_gone_at_once() -> None:
    """It is listed and says so itself; nothing has to be waited for."""
    evicted = _seen("gone", code="JOB_GONE", message="evicted", pod="j-x")

    state = _after(_running(50), evicted)

    assert _run(state).state is RunState.GONE
    assert state.to_redeploy() == ["r"]


def test_a_run_is_deployed_again_once_and_has_then_failed() -> None:
    """Whatever takes Jobs away would take the next one too."""
    state = _after(_seen("running"), _GONE, _GONE)
    state.redeployed(state.to_redeploy())
    assert state.to_redeploy() == []

    state.fold([_seen("running", uid="u2")], _at(30), _TIMEOUTS)
    state.fold([_GONE], _at(40), _TIMEOUTS)
    assert _run(state).state is RunState.RUNNING
    state.fold([_GONE], _at(50), _TIMEOUTS)

    assert (_run(state).state, _run(state).code) == (RunState.FAILED, "JOB_GONE")
    assert state.to_redeploy() == []
    assert state.finished


def test_a_second_chance_is_remembered_in_every_state() -> None:
    """Pending, blocked, running: there is no third Job."""
    state = _after(_seen("running"), _GONE, _GONE)
    state.redeployed(["r"])

    for number, name in enumerate(["pending", "blocked", "running"]):
        state.fold([_seen(name)], _at(30 + number), _TIMEOUTS)
        assert state.runs["r"].redeployed


def test_the_first_look_is_news_and_the_same_again_is_not() -> None:
    """Unless the minutes that are left have become other ones."""
    state = _after(_running(50))

    first = state.news(_at(0))
    state.fold([_running(50)], _at(20), _TIMEOUTS)

    assert first is not None
    assert first["percent"] == 45
    assert first["runs"] == {"r": {"state": "running", "done": 50, "total": 100, "phase": "infer"}}
    assert state.news(_at(20)) is None

    state.fold([_running(50)], _at(1000), _TIMEOUTS)
    late = state.news(_at(1000))
    assert late is not None
    assert (late["percent"], late["eta_minutes"]) == (45, 21)
    assert state.news(_at(1010)) is None


def test_one_slow_look_does_not_move_the_end() -> None:
    """A second one does; an earlier end is believed at once."""
    since = _running(0).model_copy(update={"started": _START})
    state = MonitorState(since=_START)
    for seconds, done in ((0, 0), (600, 20), (1200, 22)):
        look = since.model_copy(update={"progress": RunProgress(done=done, total=100, phase="infer")})
        state.fold([look], _at(seconds), _TIMEOUTS)
        if seconds == 600:
            early = state.end
    assert state.end == early

    slower = since.model_copy(update={"progress": RunProgress(done=23, total=100, phase="infer")})
    state.fold([slower], _at(1260), _TIMEOUTS)

    assert early is not None
    assert state.end is not None
    assert state.end > early


@pytest.mark.parametrize(("done", "told"), [(50, False), (55, False), (56, True), (90, True)])
def test_five_percent_more_is_news(done: int, told: bool) -> None:  # noqa: FBT001 - a table
    """Less is not: 50 of 100 samples are 47 %, 55 are 51 %, 56 are 52 %."""
    state = _after(_running(50))
    state.news(_at(0))

    state.fold([_running(done)], _at(60), _TIMEOUTS)

    assert (state.news(_at(60)) is not None) == told


@pytest.mark.parametrize(
    "seen",
    [
        _seen("pending"),
        _running(50, phase="evaluate"),
        _seen("blocked", code="VOLUME_MOUNT"),
        _seen("running", code="ODD"),
    ],
    ids=["state", "phase", "blocked", "reason"],
)
def test_another_state_phase_or_reason_is_news(seen: RunObservation) -> None:
    """Without a percent more."""
    state = _after(_running(50))
    state.news(_at(0))

    state.fold([seen], _at(60), _TIMEOUTS)

    assert state.news(_at(60)) is not None


def test_news_come_every_five_seconds_at_most() -> None:
    """What is held back is told then, not lost; the last news does not wait."""
    state = _after(_running(0))
    state.news(_at(0))

    state.fold([_running(50)], _at(4.9), _TIMEOUTS)
    assert state.news(_at(4.9)) is None
    assert state.news(_at(5)) is not None
    state.fold([_seen("succeeded")], _at(6), _TIMEOUTS)
    last = state.news(_at(6))

    assert last is not None
    assert last["percent"] == 100


def test_the_percentage_that_is_told_never_falls() -> None:
    """Also where a run lost its Job and begins again."""
    state = _after(_running(50))
    state.news(_at(0))
    for seconds in (10, 20):
        state.fold([_GONE], _at(seconds), _TIMEOUTS)

    told = state.news(_at(20))

    assert told is not None
    assert told["percent"] == 45
    assert told["runs"] == {"r": {"state": "gone", "code": "JOB_GONE", "message": "not there"}}


def test_the_end_is_estimated_from_the_first_start() -> None:
    """By all runs together; nothing can be said before one has started."""
    state = MonitorState(since=_START)
    state.fold([_seen("pending", "a"), _seen("pending", "b")], _at(30), _TIMEOUTS)
    assert state.eta_minutes(_at(30)) is None

    state.fold([_running(50, "a"), _seen("succeeded", "b")], _at(600), _TIMEOUTS)

    assert state.eta_minutes(_at(600)) == 4  # 73.75 % took ten minutes


def test_a_clusters_clock_that_is_ahead_does_no_harm() -> None:
    """A start in the future counts as now, one before the evaluation as its beginning."""
    early = _seen("running", started="2020-01-01T00:00:00Z", progress=_running(50).progress)
    late = early.model_copy(update={"started": _at(9999)})

    assert _after(early, early, every=600).eta_minutes(_at(600)) == 13
    assert _after(late, late, every=600).eta_minutes(_at(600)) == 1


def test_what_is_remembered_survives_a_generation() -> None:
    """It is an input of the next one, as JSON: nothing is lost, and all goes on alike."""
    state = MonitorState(since=_START, unreachable_since=_at(5), tick=7)
    blocked = _seen("blocked", "a", code="UNSCHEDULABLE", message="no node")
    runs = [blocked, _running(50), _seen("gone", "c", pod="c-x"), _seen("failed", "d", code="OOM")]
    state.fold(runs, _at(20), _TIMEOUTS)
    state.news(_at(20))
    state.redeployed(["c"])

    again = MonitorState.model_validate(state.model_dump(mode="json"))

    assert again.model_dump(mode="json") == state.model_dump(mode="json")
    for one in (state, again):
        one.fold([blocked], _at(130), _TIMEOUTS)
    assert again.runs["a"].seen.state is RunState.FAILED
    assert again.news(_at(130)) == state.news(_at(130))


_QUOTA = RunObservation(run_id="r", state=RunState.BLOCKED, code="QUOTA_EXCEEDED", message="full")


def test_a_run_that_never_had_a_job_is_not_gone() -> None:
    """It waits for a quota, and is asked for again."""
    state = _after(_QUOTA, _GONE, _GONE)

    assert (_run(state).state, _run(state).code) == (RunState.BLOCKED, "QUOTA_EXCEEDED")
    assert (state.unplaced(), state.to_redeploy()) == ({1: ["r"]}, [])


def test_a_run_that_gets_its_job_waits_no_more() -> None:
    """Its patience begins anew if that cannot start either."""
    state = _after(_QUOTA, _GONE, _seen("blocked", code="UNSCHEDULABLE"), every=90)

    assert state.unplaced() == {}
    assert _run(state).state is RunState.BLOCKED


def test_patience_with_a_quota_ends() -> None:
    """As with everything that keeps a run from starting: `timeouts.start` is 100 s here."""
    state = _after(_QUOTA, _GONE, _GONE, every=60)

    assert (_run(state).state, _run(state).code) == (RunState.FAILED, "QUOTA_EXCEEDED")
    assert state.unplaced() == {}


def test_a_second_deployment_that_waits_for_a_quota_stays_the_second() -> None:
    """The first one's name may not be free yet."""
    state = _after(_seen("running"), _GONE, _GONE)
    state.redeployed(["r"])
    state.fold([_QUOTA], _at(40), _TIMEOUTS)

    assert state.unplaced() == {2: ["r"]}


def test_a_quota_is_not_asked_at_every_look() -> None:
    """The other runs' progress may wake the evaluation every two seconds."""
    state = _after(_QUOTA)

    asked = [state.to_place(_at(seconds)) for seconds in (0, 2, 14, 15, 20)]

    assert asked == [{1: ["r"]}, {}, {}, {1: ["r"]}, {}]
