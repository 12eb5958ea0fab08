"""The verdict on a run of faults finds each kind of damage, and none where there is none."""

from collections.abc import Callable

import pytest

from dev.chaos.plan import Fate, PlannedEvaluation
from dev.chaos.verdict import Delivery, Ended, Observed, Verdict, judge

_ID = "37730edf-afbd-47f9-a196-99cfe1988ad9"
_STORY = [
    ("evaluate_model_status", "STARTED"),
    ("verify_cluster_connection", "RUNNING"),
    ("verify_cluster_connection", "COMPLETED"),
    ("eta", "RUNNING"),
    ("eta", "RUNNING"),
    ("results", "COMPLETED"),
    ("evaluate_model_status", "COMPLETED"),
]


def _planned(fate: Fate = Fate.COMPLETE) -> PlannedEvaluation:
    return PlannedEvaluation(_ID, "lm-eval", 1, 4, by_message=False, deliveries=1, fate=fate, cancel_after=1)


def _delivery(number: int, event: str, status: str) -> Delivery:
    return Delivery(f"eval-{_ID}", number, event, status, f"digest of {number}")


def _observed(fate: Fate = Fate.COMPLETE, outcome: str = "COMPLETED") -> Observed:
    """A run in which all went well."""
    return Observed(
        accepted={_ID: _planned(fate)},
        ends={_ID: Ended(outcome, attempt=1, ratio=1.0, runs=1)},
        deliveries=[_delivery(number, *told) for number, told in enumerate(_STORY, 1)],
        jobs={(_ID, "run", "1"): {"uid-1"}, (_ID, "run", "2"): {"uid-2"}},
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
    observed.deliveries.append(Delivery(f"eval-{_ID}", 3, "verify_cluster_connection", "COMPLETED", "other"))


def _told_twice(observed: Observed) -> None:
    observed.deliveries.insert(6, _delivery(7, "results", "COMPLETED"))
    observed.deliveries[-1] = _delivery(8, *_STORY[-1])


def _two_ends(observed: Observed) -> None:
    observed.deliveries.append(_delivery(8, "evaluate_model_status", "FAILED"))


def _two_jobs(observed: Observed) -> None:
    observed.jobs[_ID, "run", "1"].add("uid-3")


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
    observed.deliveries.append(_delivery(8, "eta", "RUNNING"))


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
        (_two_ends, {"duplicated"}),
        (_two_jobs, {"duplicated"}),
        (_overtaken, {"reordered"}),
        (_something_left, {"orphans"}),
        (_a_refusal, {"wrong"}),
        (_a_refused_message, {"wrong", "reordered", "duplicated"}),
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

    found = {name for name, findings in vars(verdict).items() if findings}
    assert found <= kinds
    assert found & kinds
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
    assert (judge(_observed(fate, outcome)).wrong == []) is good


def test_each_attempt_has_one_end_and_one_results_event() -> None:
    """A retried evaluation that told one end only has lost the other."""
    observed = _observed()
    observed.ends[_ID].attempt = 2

    verdict = judge(observed)

    assert any("its end was told 1 times in 2 attempts" in text for text in verdict.lost)
    assert any("its results was told 1 times in 2 attempts" in text for text in verdict.lost)


def test_the_line_counts_findings() -> None:
    """One number for each kind."""
    verdict = Verdict(lost=["a", "b"], wrong=["c"])

    assert verdict.line() == "lost=2 duplicated=0 reordered=0 orphans=0 wrong=1"
