"""What a run of faults has done to evaluations, judged by what was seen from outside."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from dev.chaos.plan import Fate, PlannedEvaluation

Json = dict[str, Any]

_ENDED = {"COMPLETED", "FAILED", "TERMINATED"}
_LAST = "evaluate_model_status"
_MAY_REPEAT = {"eta"}
_FATES = {
    Fate.COMPLETE: {"COMPLETED"},
    Fate.CANCEL: {"CANCELLED", "COMPLETED"},
    Fate.FAIL: {"FAILED"},
}


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


@dataclass
class Ended:
    """How an evaluation ended, as the API tells it; None for what could not be learnt."""

    outcome: str | None = None
    attempt: int = 1
    ratio: float | None = None
    """Of scored to requested cells."""
    runs: int = 0
    """In its results."""
    error: str | None = None


@dataclass
class Observed:
    """All that was seen."""

    accepted: dict[str, PlannedEvaluation] = field(default_factory=dict)
    ends: dict[str, Ended] = field(default_factory=dict)
    deliveries: list[Delivery] = field(default_factory=list)
    """In the order of their arrival."""
    jobs: dict[tuple[str, str, str], set[str]] = field(default_factory=dict)
    """(eval_id, run_id, attempt) -> UIDs of the Jobs that were made for it."""
    left: list[str] = field(default_factory=list)
    """What is there in the end and should not be."""
    refusals: list[str] = field(default_factory=list)
    """Answers that no caller should have got."""


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
        _judge_events(eval_id, told.get(f"eval-{eval_id}", []), end.attempt, verdict)
    verdict.duplicated += _doubled_jobs(observed.jobs)
    return verdict


def _judge_end(eval_id: str, planned: PlannedEvaluation, end: Ended, verdict: Verdict) -> None:
    if end.outcome is None:
        verdict.lost.append(f"{eval_id} did not end")
        return
    if end.outcome not in _FATES[planned.fate]:
        why = f" ({end.error})" if end.error else ""
        verdict.wrong.append(f"{eval_id} ended {end.outcome}{why}; it should {planned.fate}")
    if end.runs != planned.runs:
        verdict.lost.append(f"{eval_id} has results of {end.runs} of {planned.runs} runs")
    if end.outcome == "COMPLETED" and end.ratio != 1:
        verdict.wrong.append(f"{eval_id} is COMPLETED with {end.ratio} of its cells scored")


def _judge_events(eval_id: str, deliveries: list[Delivery], attempts: int, verdict: Verdict) -> None:
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
    _judge_story(eval_id, [first[number] for number in sorted(first)], attempts, verdict)


def _overtaken(numbers: list[int]) -> Iterator[str]:
    """Events that came, for the first time, after a later one."""
    newest = 0
    for number in numbers:
        if number < newest:
            yield f"event {number} came after {newest}"
        newest = max(newest, number)


def _judge_story(eval_id: str, events: list[Delivery], attempts: int, verdict: Verdict) -> None:
    """Each attempt begins once, tells each step and its results once, and ends once."""
    told = Counter((event.event, event.status) for event in events if event.event not in _MAY_REPEAT)
    verdict.duplicated += [
        f"{eval_id}: {event} {status} was told {count} times in {attempts} attempts"
        for (event, status), count in told.items()
        if count > attempts
    ]
    ends = sum(count for (event, status), count in told.items() if event == _LAST and status in _ENDED)
    results = sum(count for (event, _), count in told.items() if event == "results")
    for what, count in (("end", ends), ("results", results)):
        if count < attempts:
            verdict.lost.append(f"{eval_id}: its {what} was told {count} times in {attempts} attempts")
        if count > attempts:
            verdict.duplicated.append(f"{eval_id}: its {what} was told {count} times in {attempts} attempts")
    if events and not _is_end(events[-1]):
        verdict.wrong.append(f"{eval_id}: its last event is {events[-1].event} {events[-1].status}")


def _is_end(event: Delivery) -> bool:
    return event.event == _LAST and event.status in _ENDED


def _doubled_jobs(jobs: Mapping[tuple[str, str, str], set[str]]) -> Iterable[str]:
    for (eval_id, run_id, attempt), uids in jobs.items():
        if len(uids) > 1:
            yield f"{eval_id}: {len(uids)} Jobs were made for run {run_id}, deployment {attempt}"
