"""The verdict on a run of faults finds each kind of damage, and none where there is none."""

import json
from collections.abc import Callable

import pytest

from dev.chaos.plan import Fate, PlannedEvaluation
from dev.chaos.verdict import ACCEPTED, CancelAnswer, Delivery, Ended, Observed, Verdict, judge
from dev.layout import CHECKOUT

_ID = "37730edf-afbd-47f9-a196-99cfe1988ad9"
_RUNS = ["sums-0-37730edf", "sums-1-37730edf"]
_STORY = [
    ("evaluate_model_status", "STARTED"),
    ("eta", "RUNNING"),
    ("verify_cluster_connection", "RUNNING"),
    ("verify_cluster_connection", "COMPLETED"),
    ("preparing_eval_engine", "RUNNING"),
    ("preparing_eval_engine", "COMPLETED"),
    ("deploy_eval_job", "RUNNING"),
    ("deploy_eval_job", "COMPLETED"),
    ("monitor_eval_job_progress", "RUNNING"),
    ("eta", "RUNNING"),
    ("monitor_eval_job_progress", "COMPLETED"),
    ("extract_results", "RUNNING"),
    ("extract_results", "COMPLETED"),
    ("results", "COMPLETED"),
    ("evaluate_model_status", "COMPLETED"),
]
_NEXT = len(_STORY) + 1


def _planned(fate: Fate = Fate.COMPLETE, *, retry: bool = False, delete: bool = False) -> PlannedEvaluation:
    return PlannedEvaluation(
        _ID,
        "lm-eval",
        runs=2,
        rows=4,
        by_message=False,
        deliveries=1,
        fate=fate,
        cancel_after=1,
        retry=retry,
        delete=delete,
        calls=1,
    )


def _delivery(number: int, event: str, status: str) -> Delivery:
    return Delivery(f"eval-{_ID}", number, event, status, f"digest of {number}")


def _observed(fate: Fate = Fate.COMPLETE, outcome: str = "COMPLETED") -> Observed:
    """A run in which all went well."""
    return Observed(
        accepted={_ID: _planned(fate)},
        ends={_ID: Ended(outcome, attempt=1, ratio=1.0, runs=2)},
        deliveries=[_delivery(number, *told) for number, told in enumerate(_STORY, 1)],
        jobs={(_ID, run_id, 1): {f"uid of {run_id}"} for run_id in _RUNS},
    )


def test_a_good_run_has_no_findings() -> None:
    """Nor do deliveries that come again, as the broker may send them."""
    observed = _observed()
    observed.deliveries += observed.deliveries[2:4]

    verdict = judge(observed)

    assert verdict.good
    assert verdict.line() == "lost=0 duplicated=0 reordered=0 orphans=0 wrong=0"


def _no_end(observed: Observed) -> None:
    observed.ends.clear()


def _no_last_word(observed: Observed) -> None:
    observed.deliveries.pop()


def _a_missing_event(observed: Observed) -> None:
    del observed.deliveries[1]


def _no_events(observed: Observed) -> None:
    observed.deliveries.clear()


def _a_missing_run(observed: Observed) -> None:
    observed.ends[_ID].runs = 0


def _two_contents(observed: Observed) -> None:
    observed.deliveries.append(Delivery(f"eval-{_ID}", 4, "verify_cluster_connection", "COMPLETED", "other"))


def _told_twice(observed: Observed) -> None:
    observed.deliveries.insert(-1, _delivery(_NEXT - 1, "results", "COMPLETED"))
    observed.deliveries[-1] = _delivery(_NEXT, *_STORY[-1])


def _two_ends(observed: Observed) -> None:
    observed.deliveries.append(_delivery(_NEXT, "evaluate_model_status", "FAILED"))


def _two_jobs(observed: Observed) -> None:
    observed.jobs[_ID, _RUNS[0], 1].add("uid-3")


def _made_once_more(observed: Observed) -> None:
    observed.jobs[_ID, _RUNS[0], 2] = {"uid-4"}


def _no_jobs(observed: Observed) -> None:
    observed.jobs.clear()


def _one_run_without_job(observed: Observed) -> None:
    del observed.jobs[_ID, _RUNS[1], 1]


_GHOST = "00000000-0000-4000-8000-000000000000"


def _events_of_a_ghost(observed: Observed) -> None:
    observed.deliveries += [Delivery(f"eval-{_GHOST}", number, *_STORY[0], "d") for number in (1, 2)]


def _events_of_no_evaluation(observed: Observed) -> None:
    observed.deliveries.append(Delivery("eval-unknown", 0, "evaluate_model_status", "FAILED", "d"))


def _a_job_of_a_ghost(observed: Observed) -> None:
    observed.jobs[_GHOST, "run", 1] = {"uid-6"}


def _a_job_of_a_run_too_many(observed: Observed) -> None:
    observed.jobs[_ID, "sums-2-37730edf", 1] = {"uid-7"}


def _failed_otherwise(observed: Observed) -> None:
    observed.accepted[_ID] = _planned(Fate.FAIL)
    observed.ends[_ID] = Ended("FAILED", attempt=1, ratio=1.0, runs=2, error="FORBIDDEN: no")


def _overtaken(observed: Observed) -> None:
    observed.deliveries[1:3] = observed.deliveries[2:0:-1]


def _something_left(observed: Observed) -> None:
    observed.left.append("job/eval-1")


def _a_refusal(observed: Observed) -> None:
    observed.refusals.append("POST /evals/start answered 500")


def _a_refused_message(observed: Observed) -> None:
    observed.deliveries.insert(0, _delivery(0, "evaluate_model_status", "FAILED"))


def _failed(observed: Observed) -> None:
    observed.ends[_ID].outcome = "FAILED"


def _incomplete(observed: Observed) -> None:
    observed.ends[_ID].ratio = 0.5


def _word_after_the_last(observed: Observed) -> None:
    observed.deliveries.append(_delivery(_NEXT, "eta", "RUNNING"))


@pytest.mark.parametrize(
    ("damage", "kinds"),
    [
        (_no_end, {"lost"}),
        (_no_last_word, {"lost", "wrong"}),
        (_a_missing_event, {"lost"}),
        (_no_events, {"lost"}),
        (_a_missing_run, {"lost"}),
        (_two_contents, {"duplicated"}),
        (_told_twice, {"duplicated"}),
        (_two_ends, {"duplicated", "lost"}),
        (_two_jobs, {"duplicated"}),
        (_made_once_more, {"duplicated"}),
        (_no_jobs, {"wrong"}),
        (_one_run_without_job, {"wrong"}),
        (_events_of_a_ghost, {"wrong"}),
        (_events_of_no_evaluation, {"wrong"}),
        (_a_job_of_a_ghost, {"wrong"}),
        (_a_job_of_a_run_too_many, {"wrong"}),
        (_failed_otherwise, {"wrong"}),
        (_overtaken, {"reordered"}),
        (_something_left, {"orphans"}),
        (_a_refusal, {"wrong"}),
        (_a_refused_message, {"wrong", "duplicated", "lost"}),
        (_failed, {"wrong"}),
        (_incomplete, {"wrong"}),
        (_word_after_the_last, {"wrong"}),
    ],
)
def test_each_kind_of_damage_is_found(damage: Callable[[Observed], None], kinds: set[str]) -> None:
    """Under its own name; the evaluation is named with it."""
    observed = _observed()
    damage(observed)

    verdict = judge(observed)

    assert {name for name, findings in vars(verdict).items() if findings} == kinds
    assert not verdict.good


@pytest.mark.parametrize(
    ("fate", "outcome", "good"),
    [
        (Fate.COMPLETE, "CANCELLED", False),
        (Fate.COMPLETE, "PARTIAL", False),
        (Fate.CANCEL, "CANCELLED", True),
        (Fate.CANCEL, "COMPLETED", True),
        (Fate.CANCEL, "FAILED", False),
        (Fate.FAIL, "FAILED", True),
        (Fate.FAIL, "COMPLETED", False),
        (Fate.FAIL, "CANCELLED", False),
    ],
)
def test_an_end_must_be_the_planned_one(fate: Fate, outcome: str, good: bool) -> None:  # noqa: FBT001
    """A cancellation may come too late; nothing else may end otherwise."""
    observed = _observed(fate, outcome)
    observed.ends[_ID].error = "DATASET_INVALID: no such file" if outcome == "FAILED" else None

    assert (judge(observed).wrong == []) is good


_LAST_TOLD_BEFORE_THE_END_OF_MONITORING = 10


@pytest.mark.parametrize("accepted_after", [0, 1, _LAST_TOLD_BEFORE_THE_END_OF_MONITORING - 1])
def test_a_cancellation_that_does_nothing_is_wrong(accepted_after: int) -> None:
    """An event that is followed by a look came after its acceptance, and the evaluation completed."""
    observed = _observed(Fate.CANCEL, "COMPLETED")
    observed.ends[_ID].cancels = [CancelAnswer("EVALUATION_ENDED"), CancelAnswer(ACCEPTED, accepted_after)]

    assert judge(observed).wrong == [
        f"{_ID}: its cancellation was accepted after event {accepted_after}, and it went on to its results"
    ]


@pytest.mark.parametrize(
    "cancels",
    [
        [CancelAnswer(ACCEPTED, _LAST_TOLD_BEFORE_THE_END_OF_MONITORING)],
        [CancelAnswer(ACCEPTED, len(_STORY))],
        [CancelAnswer("EVALUATION_ENDED")],
    ],
)
def test_a_cancellation_may_come_too_late(cancels: list[CancelAnswer]) -> None:
    """During the last look, or later: what is told of the extraction's troubles is no proof either."""
    observed = _retried([*_STORY[:12], ("eta", "RUNNING"), *_STORY[12:]])
    observed.accepted[_ID] = _planned(Fate.CANCEL)
    observed.ends[_ID].cancels = cancels
    observed.jobs.pop((_ID, _RUNS[0], 3))

    assert judge(observed).good


@pytest.mark.parametrize(("ignored", "good"), [(False, True), (True, False)])
def test_a_cancellation_is_judged_by_the_attempt_it_was_of(ignored: bool, good: bool) -> None:  # noqa: FBT001
    """A retry hides none that did nothing, and goes on to its results as it should."""
    cancelled = [*_STORY[:9], ("monitor_eval_job_progress", "TERMINATED"), *_STORY[-2:-1]]
    end = ("evaluate_model_status", "FAILED" if ignored else "TERMINATED")
    observed = _retried([*(_STORY[:-1] if ignored else cancelled), end], _STORY)
    observed.accepted[_ID] = _planned(Fate.CANCEL, retry=True)
    observed.ends[_ID].cancels = [CancelAnswer(ACCEPTED, 4)]

    assert judge(observed).good is good


def test_only_what_has_completed_must_have_had_a_job() -> None:
    """What was cancelled may never have come to one."""
    observed = _observed(Fate.CANCEL, "CANCELLED")
    observed.jobs.clear()

    assert judge(observed).good


def _retried(*stories: list[tuple[str, str]]) -> Observed:
    """An evaluation with an attempt for each story."""
    observed = _observed()
    observed.ends[_ID].attempt = observed.ends[_ID].asked = len(stories)
    told = [step for story in stories for step in story]
    observed.deliveries = [_delivery(number, *step) for number, step in enumerate(told, 1)]
    observed.jobs[_ID, _RUNS[0], 3] = {"uid-5"}
    return observed


@pytest.mark.parametrize(
    ("fate", "outcome", "good"),
    [
        (Fate.COMPLETE, "COMPLETED", True),
        (Fate.CANCEL, "COMPLETED", True),
        (Fate.CANCEL, "CANCELLED", False),
        (Fate.FAIL, "FAILED", True),
        (Fate.FAIL, "COMPLETED", False),
    ],
)
def test_what_was_cancelled_is_whole_after_a_retry(fate: Fate, outcome: str, good: bool) -> None:  # noqa: FBT001
    """And what cannot but fail fails again."""
    observed = _retried(_STORY, _STORY)
    observed.accepted[_ID] = _planned(fate, retry=True)
    observed.ends[_ID].outcome = outcome
    observed.ends[_ID].error = "DATASET_INVALID: no such file" if outcome == "FAILED" else None

    assert judge(observed).good is good


def test_a_retry_that_was_sent_twice_begins_one_attempt() -> None:
    """Two attempts where one was asked for are a doubled one, though each has told its story."""
    observed = _retried(_STORY, _STORY, _STORY)
    observed.ends[_ID].asked = 2

    assert judge(observed).duplicated == [f"{_ID} is at attempt 3; 2 were asked for"]


@pytest.mark.parametrize(("deployment", "whole_since"), [(3, 1), (5, 1), (5, 2)])
def test_a_retry_that_repeats_a_whole_run_is_doubled(deployment: int, whole_since: int) -> None:
    """Whichever attempt does it, though each has told its story and no deployment is there twice."""
    observed = _retried(_STORY, _STORY, _STORY)
    observed.ends[_ID].whole_since = {_RUNS[1]: whole_since}
    assert judge(observed).good

    observed.jobs[_ID, _RUNS[1], deployment] = {"uid-8"}

    what = f"run {_RUNS[1]} was whole after attempt {whole_since}"
    assert judge(observed).duplicated == [f"{_ID}: {what}, and was deployed as number {deployment}"]


def test_a_run_that_became_whole_in_a_retry_was_rightly_deployed_by_it() -> None:
    """It is whole only since then."""
    observed = _retried(_STORY, _STORY, _STORY)
    observed.ends[_ID].whole_since = {_RUNS[1]: 1, _RUNS[0]: 2}

    assert judge(observed).good


@pytest.mark.parametrize("answered", [None, 200, 404])
def test_what_was_deleted_is_gone(answered: int | None) -> None:
    """Its events came all the same, and the API says that it was there."""
    observed = _observed()
    observed.accepted[_ID] = _planned(delete=True)
    observed.ends[_ID].after_deletion = answered

    assert judge(observed).wrong == [f"{_ID} was deleted; the API answers {answered}, not 410"]

    observed.ends[_ID].after_deletion = 410
    assert judge(observed).good
    observed.deliveries.pop()
    assert judge(observed).lost


def test_each_attempt_tells_its_own_story() -> None:
    """The same steps once more are right in the next attempt."""
    assert judge(_retried(_STORY, _STORY)).good


def test_an_attempt_without_end_is_lost() -> None:
    """The last word of the other does not stand for it."""
    assert judge(_retried(_STORY, [])).lost == [f"{_ID}: 1 ends of 2 attempts were told"]


def test_an_attempt_without_results_is_lost() -> None:
    """Though the other told them."""
    without = [step for step in _STORY if step[0] != "results"]

    assert judge(_retried(_STORY, without)).lost == [f"{_ID}, attempt 2: results COMPLETED was not told"]


@pytest.mark.parametrize("untold", [told for told in _STORY[:-1] if told[0] != "eta"])
def test_an_attempt_that_completes_tells_every_step(untold: tuple[str, str]) -> None:
    """In the first attempt as in a retry: their ends alone are no story."""
    without = [told for told in _STORY if told != untold]
    text = f"{untold[0]} {untold[1]} was not told"

    assert judge(_retried(without)).lost == [f"{_ID}, attempt 1: {text}"]
    assert judge(_retried(_STORY, without)).lost == [f"{_ID}, attempt 2: {text}"]


def test_results_that_fall_from_the_sky_are_found() -> None:
    """An evaluation that tells of its begin, its results and its end only has done nothing."""
    verdict = judge(_retried([_STORY[0], *_STORY[-2:]]))

    assert len(verdict.lost) == 1 + 2 * 5  # the time that is left; each step's begin and end
    assert not verdict.good


_BEGUN = _STORY[:3]
_DEPLOYING = _STORY[:7]
_MONITORING = _STORY[:9]
_TERMINATED = [("results", "COMPLETED"), ("evaluate_model_status", "TERMINATED")]
_FAILED = [("results", "COMPLETED"), ("evaluate_model_status", "FAILED")]
_ALL_FAILED = ("monitor_eval_job_progress", "FAILED")


@pytest.mark.parametrize(
    "story",
    [
        [*_BEGUN, ("verify_cluster_connection", "TERMINATED"), *_TERMINATED],
        [*_DEPLOYING, ("deploy_eval_job", "TERMINATED"), *_TERMINATED],
        [*_MONITORING, ("monitor_eval_job_progress", "TERMINATED"), *_TERMINATED],
        [*_BEGUN, ("verify_cluster_connection", "FAILED"), _ALL_FAILED, *_FAILED],
        [*_DEPLOYING, ("deploy_eval_job", "FAILED"), _ALL_FAILED, *_FAILED],
        [*_MONITORING, _ALL_FAILED, *_STORY[-4:-2], *_FAILED],
        [*_STORY[:-3], ("extract_results", "FAILED"), *_FAILED],
    ],
)
def test_an_attempt_that_ends_early_tells_as_far_as_it_came(story: list[tuple[str, str]]) -> None:
    """Every way to an early end that the workflow has is no finding; without what it always tells it is."""
    assert judge(_retried(story, _STORY)).good
    always = [told for told in story[:-1] if told != _ALL_FAILED]
    for untold in always:
        without = [told for told in story if told != untold]
        assert judge(_retried(without, _STORY)).lost, untold


@pytest.mark.parametrize("ended", ["cancelled", "failed"])
def test_what_real_evaluations_have_told_is_no_finding(ended: str) -> None:
    """As a sidecar has recorded it, as an attempt before the last one."""
    path = CHECKOUT / "tests" / "evals" / "histories" / f"evaluate_model_{ended}.json"
    calls = [event["taskScheduled"] for event in json.loads(path.read_text()) if "taskScheduled" in event]
    orders = [json.loads(call["input"]) for call in calls if call["name"] == "announce_event"]
    payloads = [order["announcement"]["notification"]["payload"] for order in orders]
    story = [(payload["event"], payload["content"]["status"]) for payload in payloads]

    assert story[-1][0] == "evaluate_model_status"
    assert judge(_retried(story, _STORY)).good


def test_a_step_that_is_told_twice_in_one_attempt_is_doubled() -> None:
    """Though the other attempt did not tell it, so that there are no more than attempts."""
    verify = ("verify_cluster_connection", "COMPLETED")
    twice = [_STORY[0], verify, *_STORY[1:]]
    never = [step for step in _STORY if step != verify]

    assert judge(_retried(twice, never)).duplicated == [
        f"{_ID}, attempt 1: verify_cluster_connection COMPLETED was told 2 times"
    ]


def test_the_line_counts_findings() -> None:
    """One number for each kind."""
    verdict = Verdict(lost=["a", "b"], wrong=["c"])

    assert verdict.line() == "lost=2 duplicated=0 reordered=0 orphans=0 wrong=1"
