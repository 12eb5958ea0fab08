"""What a run of faults has done to evaluations, judged by what was seen from outside."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from budeval.domain.evaluation import DEPLOYMENTS
from budeval.domain.steps import EVALUATION_STEPS, EXTRACT, MONITOR
from dev.chaos.plan import Fate, PlannedEvaluation

Json = dict[str, Any]

_ENDED = {"COMPLETED", "FAILED", "TERMINATED"}
_LAST = "evaluate_model_status"
_STEPS = [step.id for step in EVALUATION_STEPS]
"""In their order."""
_ALWAYS = [(_LAST, "STARTED"), ("eta", "RUNNING"), ("results", "COMPLETED")]
"""What every attempt tells that comes to its end, however it ends."""
_MAY_REPEAT = {"eta"}
_FATES = {
    Fate.COMPLETE: {"COMPLETED"},
    Fate.CANCEL: {"CANCELLED", "COMPLETED"},
    Fate.FAIL: {"FAILED"},
}
_FAILS_BY = "DATASET_INVALID"


@dataclass(frozen=True)
class Delivery:
    """One arrival of an event at the subscriber."""

    subject: str
    """`eval-<eval_id>`."""
    number: int
    event: str
    status: str
    digest: str
    """Of the whole content."""


@dataclass(frozen=True)
class CancelAnswer:
    """What one call of a cancellation was answered."""

    said: str
    """`ACCEPTED`, or the code of the refusal."""
    events: int | None = None
    """Number of the newest event when it was accepted; None for a refusal."""


ACCEPTED = "ACCEPTED"


@dataclass
class Ended:
    """How an evaluation ended, as the API tells it; None for what could not be learnt."""

    outcome: str | None = None
    attempt: int = 1
    asked: int = 1
    """Attempts that its caller has asked for, the first one too."""
    ratio: float | None = None
    """Of scored to requested cells."""
    runs: int = 0
    """In its results."""
    error: str | None = None
    after_deletion: int | None = None
    """The status by which the API speaks of it once its deletion was answered; None where there was none."""
    cancels: list[CancelAnswer] = field(default_factory=list)
    """All of the first attempt."""
    whole_since: dict[str, int] = field(default_factory=dict)
    """Run that had all of its scores when a retry was asked for -> the attempt that had ended then."""

    @property
    def cancelled_after(self) -> int | None:
        """Number of the newest event when a cancellation was first accepted; None where none was."""
        return min((cancel.events for cancel in self.cancels if cancel.events is not None), default=None)


@dataclass
class Observed:
    """All that was seen."""

    accepted: dict[str, PlannedEvaluation] = field(default_factory=dict)
    ends: dict[str, Ended] = field(default_factory=dict)
    deliveries: list[Delivery] = field(default_factory=list)
    """In the order of their arrival."""
    jobs: dict[tuple[str, str, int], set[str]] = field(default_factory=dict)
    """(eval_id, run_id, deployment) -> UIDs of the Jobs that were made for it."""
    left: list[str] = field(default_factory=list)
    """What is there in the end and should not be."""
    refusals: list[str] = field(default_factory=list)
    """Answers that no caller should have got, and a service that no more answers as it should."""


@dataclass
class Verdict:
    """Findings; a run is good if there are none."""

    lost: list[str] = field(default_factory=list)
    duplicated: list[str] = field(default_factory=list)
    reordered: list[str] = field(default_factory=list)
    orphans: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    @property
    def good(self) -> bool:
        """Whether nothing was found."""
        return not any(vars(self).values())

    def line(self) -> str:
        """`lost=0 duplicated=0 …`."""
        return " ".join(f"{name}={len(found)}" for name, found in vars(self).items())


def judge(observed: Observed) -> Verdict:
    """What is wrong with what was seen."""
    verdict = Verdict(orphans=list(observed.left), wrong=list(observed.refusals))
    told: dict[str, list[Delivery]] = {}
    for delivery in observed.deliveries:
        told.setdefault(delivery.subject, []).append(delivery)
    for eval_id, planned in observed.accepted.items():
        end = observed.ends.get(eval_id, Ended())
        _judge_end(eval_id, planned, end, verdict)
        _judge_events(eval_id, told.get(f"eval-{eval_id}", []), end, verdict)
    verdict.duplicated += [*_doubled_jobs(observed.jobs), *_repeated_runs(observed)]
    verdict.wrong += [*_without_job(observed), *_ghosts(observed)]
    return verdict


def is_fate(fate: Fate, outcome: str, error: str | None) -> bool:
    """Whether an end is as it should be."""
    return outcome in _FATES[fate] and (fate is not Fate.FAIL or str(error).startswith(_FAILS_BY))


def _judge_end(eval_id: str, planned: PlannedEvaluation, end: Ended, verdict: Verdict) -> None:
    if end.outcome is None:
        verdict.lost.append(f"{eval_id} did not end")
        return
    # What was cancelled is whole after a retry.
    fate = Fate.COMPLETE if planned.retry and planned.fate is Fate.CANCEL else planned.fate
    if not is_fate(fate, end.outcome, end.error):
        why = f" ({end.error})" if end.error else ""
        verdict.wrong.append(f"{eval_id} ended {end.outcome}{why}; it should {fate}")
    if end.attempt != end.asked:
        verdict.duplicated.append(f"{eval_id} is at attempt {end.attempt}; {end.asked} were asked for")
    if end.runs != planned.runs:
        verdict.lost.append(f"{eval_id} has results of {end.runs} of {planned.runs} runs")
    if end.outcome == "COMPLETED" and end.ratio != 1:
        verdict.wrong.append(f"{eval_id} is COMPLETED with {end.ratio} of its cells scored")
    if planned.delete and end.after_deletion != HTTPStatus.GONE:
        verdict.wrong.append(f"{eval_id} was deleted; the API answers {end.after_deletion}, not 410")


def _judge_events(eval_id: str, deliveries: list[Delivery], end: Ended, verdict: Verdict) -> None:
    first: dict[int, Delivery] = {}
    for delivery in deliveries:
        known = first.setdefault(delivery.number, delivery)
        if known.digest != delivery.digest:
            verdict.duplicated.append(f"{eval_id}: event {delivery.number} came with two contents")
    if 0 in first:
        verdict.wrong.append(f"{eval_id}: the request was refused")
    missing = set(range(1, max(first, default=0) + 1)) - first.keys()
    if missing:
        verdict.lost.append(f"{eval_id}: events {sorted(missing)} did not come")
    verdict.reordered += [f"{eval_id}: {text}" for text in _overtaken(list(first))]
    _judge_story(eval_id, [first[number] for number in sorted(first)], end, verdict)


def _overtaken(numbers: list[int]) -> Iterator[str]:
    """Events that came, for the first time, after a later one."""
    newest = 0
    for number in numbers:
        if number < newest:
            yield f"event {number} came after {newest}"
        newest = max(newest, number)


def _judge_story(eval_id: str, events: list[Delivery], end: Ended, verdict: Verdict) -> None:
    """Each attempt tells each step and its results once, and then ends; after the last one comes nothing."""
    told, attempts = _by_attempt(events), end.attempt
    ended = sum(_is_end(attempt[-1]) for attempt in told)
    if ended < attempts:
        verdict.lost.append(f"{eval_id}: {ended} ends of {attempts} attempts were told")
    if ended > attempts:
        verdict.duplicated.append(f"{eval_id}: {ended} ends of {attempts} attempts were told")
    if events and not _is_end(events[-1]):
        verdict.wrong.append(f"{eval_id}: its last event is {events[-1].event} {events[-1].status}")
    for number, attempt in enumerate(told, 1):
        whole = end.outcome == "COMPLETED" and number == len(told)
        _judge_attempt(f"{eval_id}, attempt {number}", attempt, verdict, whole=whole)
    if told and _went_on(told[0], end.cancelled_after):
        text = (
            f"its cancellation was accepted after event {end.cancelled_after}, and it went on to its results"
        )
        verdict.wrong.append(f"{eval_id}: {text}")


def _went_on(attempt: list[Delivery], cancelled_after: int | None) -> bool:
    """Whether an attempt came to its extraction though it had to see its cancellation before.

    Monitoring ends by a look, and each look, like every activity before it, refuses to go on once a
    cancellation is noted. So whatever is told before the end of monitoring is followed by a look: one such
    event after the acceptance, and the attempt must be cancelled. Where there is none, the last look may have
    been under way, and the cancellation too late. Events count by their numbers, no clock is asked.
    """
    if cancelled_after is None or (EXTRACT, "RUNNING") not in {
        (event.event, event.status) for event in attempt
    }:
        return False
    watched = [event.number for event in attempt if event.event == MONITOR and event.status in _ENDED]
    return any(cancelled_after < event.number < min(watched, default=0) for event in attempt)


def _by_attempt(events: list[Delivery]) -> list[list[Delivery]]:
    """In the order of their numbers, cut after each end."""
    attempts: list[list[Delivery]] = []
    for number, event in enumerate(events):
        if number == 0 or _is_end(events[number - 1]):
            attempts.append([])
        attempts[-1].append(event)
    return attempts


def _judge_attempt(whose: str, events: list[Delivery], verdict: Verdict, *, whole: bool) -> None:
    told = Counter((event.event, event.status) for event in events)
    verdict.duplicated += [
        f"{whose}: {event} {status} was told {count} times"
        for (event, status), count in told.items()
        if count > 1 and event not in _MAY_REPEAT
    ]
    if _is_end(events[-1]):
        verdict.lost += [f"{whose}: {what} was not told" for what in _untold(told.keys(), whole=whole)]


def _untold(told: AbstractSet[tuple[str, str]], *, whole: bool) -> Iterator[str]:
    """What an attempt that has ended must have told and has not; the same in a first one and in a retry.

    A step that begins ends before the next one does, well or not, so one that was told speaks for those
    before it. The first one always begins. Where one fails, monitoring's failure is told, too, although it
    may not have begun.

    Args:
        told: events and their statuses.
        whole: the attempt has completed its evaluation: every step was done, and none failed.
    """
    for event, status in _ALWAYS:
        if (event, status) not in told:
            yield f"{event} {status}"
    named = {event for event, status in told if (event, status) != (MONITOR, "FAILED")}
    begun = [at for at, step in enumerate(_STEPS) if step in named]
    last = len(_STEPS) - 1 if whole else max(begun, default=0)
    ends = {"COMPLETED"} if whole else _ENDED
    for step in _STEPS[: last + 1]:
        if (step, "RUNNING") not in told:
            yield f"{step} RUNNING"
        if told.isdisjoint((step, end) for end in ends):
            yield f"{step} {' or '.join(sorted(ends))}"


def _is_end(event: Delivery) -> bool:
    return event.event == _LAST and event.status in _ENDED


def _doubled_jobs(jobs: Mapping[tuple[str, str, int], set[str]]) -> Iterable[str]:
    """Also those made once more because the first one was not seen any more: no fault removes a Job."""
    for (eval_id, run_id, deployment), uids in jobs.items():
        if len(uids) > 1:
            yield f"{eval_id}: {len(uids)} Jobs were made for run {run_id}, deployment {deployment}"
        if deployment % DEPLOYMENTS == 0:
            yield f"{eval_id}: run {run_id} was deployed once more, as number {deployment}"


def _repeated_runs(observed: Observed) -> Iterator[str]:
    """Runs that were whole and were deployed by a later attempt: a retry has the others only."""
    for eval_id, run_id, deployment in observed.jobs:
        whole_since = observed.ends.get(eval_id, Ended()).whole_since.get(run_id)
        if whole_since is not None and deployment > whole_since * DEPLOYMENTS:
            what = f"run {run_id} was whole after attempt {whole_since}"
            yield f"{eval_id}: {what}, and was deployed as number {deployment}"


def _without_job(observed: Observed) -> Iterator[str]:
    """Runs that have completed without a Job: what was scored is not known, or the watch was blind.

    No Job of theirs can be missed, see `JobWatch.gaps`.
    """
    seen = {(eval_id, run_id) for (eval_id, run_id, _), uids in observed.jobs.items() if uids}
    for eval_id, planned in observed.accepted.items():
        if observed.ends.get(eval_id, Ended()).outcome == "COMPLETED":
            for run_id in planned.run_ids:
                if (eval_id, run_id) not in seen:
                    yield f"{eval_id} is COMPLETED, and no Job of its run {run_id} was seen"


def _ghosts(observed: Observed) -> Iterator[str]:
    """What nobody has requested.

    Nothing is left of earlier runs: each begins with a new stack, with its own broker, cluster and
    subscriber, and that gets the plan's requests and no others.
    """
    subjects = {f"eval-{eval_id}" for eval_id in observed.accepted}
    for subject, count in Counter(delivery.subject for delivery in observed.deliveries).items():
        if subject not in subjects:
            yield f"{count} events came of {subject}, which nobody has requested"
    for eval_id, run_id, deployment in observed.jobs:
        planned = observed.accepted.get(eval_id)
        if planned is None or run_id not in planned.run_ids:
            yield f"{eval_id}: Job {deployment} of run {run_id} was made, which nobody has requested"
