"""A whole run: a stack of its own, evaluations, faults, the verdict."""

import json
import time
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dev import apps, command, console, lock
from dev import stack as stacks
from dev.chaos import observing, plan
from dev.chaos.faults import Breaker, NoVictimError
from dev.chaos.pace import Pace
from dev.chaos.plan import Fate, Plan, PlannedFault
from dev.chaos.verdict import Observed, Verdict, judge
from dev.chaos.workload import Workload
from dev.layout import LOCKS, StackLayout
from dev.network import HOST
from dev.stack import Stack

_SUFFIX = "chaos"
_STATE = "budeval-state.db"
_DISK_MIB = 256
_LAST_EVENTS_SECONDS = 90.0
_TRIES = 5
"""Of a fault that finds nothing to break."""
_ONE_MISSED_OF = 10
"""So many planned faults may have one that nobody was struck by: where more have, little was tried."""
_SOME_ACCEPTED_OF = 5
"""Of so many planned cancellations one must be accepted; fewer may all come when all is over."""


@dataclass
class Report:
    """What was tried, and what came of it."""

    plan: Plan
    seconds: float = 0.0
    struck: Counter[str] = field(default_factory=Counter)
    without_victim: Counter[str] = field(default_factory=Counter)
    observed: Observed = field(default_factory=Observed)
    watch_gaps: int = 0
    verdict: Verdict = field(default_factory=Verdict)

    @property
    def missed(self) -> int:
        """Faults that found nothing to break."""
        return self.without_victim.total()

    @property
    def cancels_accepted(self) -> int:
        """Evaluations of which a cancellation was accepted."""
        return sum(end.cancelled_after is not None for end in self.observed.ends.values())

    @property
    def untried(self) -> list[str]:
        """What was planned and too little of it done: a verdict says nothing of that."""
        faults = len(self.plan.faults)
        cancels = sum(planned.fate is Fate.CANCEL for planned in self.plan.evaluations)
        found = []
        if self.missed * _ONE_MISSED_OF > faults:
            found.append(f"{self.missed} of {faults} faults, more than a tenth")
        if cancels >= _SOME_ACCEPTED_OF and not self.cancels_accepted:
            found.append(f"{cancels} cancellations, none was accepted")
        return found

    @property
    def good(self) -> bool:
        """Whether enough was tried, and nothing was found."""
        return not self.untried and self.verdict.good

    def summary(self) -> dict[str, Any]:
        """As JSON; the findings in full, everything else counted."""
        ends = self.observed.ends.values()
        arrived = self.observed.deliveries
        return {
            "good": self.good,
            "seed": self.plan.seed,
            "seconds": round(self.seconds),
            "evaluations": len(self.plan.evaluations),
            "engines": Counter(planned.engine for planned in self.plan.evaluations),
            "fates": Counter(planned.fate for planned in self.plan.evaluations),
            "outcomes": Counter(end.outcome for end in ends),
            "cancels_accepted": self.cancels_accepted,
            "cancel_answers": Counter(cancel.said for end in ends for cancel in end.cancels),
            "retried": sum(end.attempt > 1 for end in ends),
            "deleted": sum(end.after_deletion is not None for end in ends),
            "faults": self.struck.total(),
            "faults_by_kind": self.struck,
            "without_victim": self.without_victim,
            "events": len({(event.subject, event.number) for event in arrived}),
            "repeated_deliveries": len(arrived) - len({(event.subject, event.number) for event in arrived}),
            "jobs": len(self.observed.jobs),
            "job_watch_gaps": self.watch_gaps,
            "findings": vars(self.verdict),
        }


def run(seed: int, evaluations: int, faults: int, *, keep: bool) -> Report:
    """Evaluate while everything breaks.

    Args:
        seed: draws all that is done.
        evaluations: how many.
        faults: how many; each kind equally often.
        keep: leave the stack as it is where the run is not good.
    """
    report = Report(plan.draw(seed, evaluations, faults))
    layout = StackLayout.of_checkout(_SUFFIX)
    with lock.held(LOCKS / f"{layout.name}-run", "another run of make chaos in this checkout"):
        _run(layout, report, keep=keep)
    return report


def _run(layout: StackLayout, report: Report, *, keep: bool) -> None:
    stacks.down(layout)
    kept = keep
    try:
        with _in_stack(layout) as (stack, disk):
            began = time.monotonic()
            _break_and_watch(stack, disk, report)
            report.seconds = time.monotonic() - began
        report.verdict = judge(report.observed)
        kept = keep and not report.good
    finally:
        if kept:
            console.say(f"stack {layout.name} is left as it is; `make down STACK={_SUFFIX}` removes it")
        else:
            stacks.down(layout)


@contextmanager
def _in_stack(layout: StackLayout) -> Iterator[tuple[Stack, Path]]:
    """A new stack, whose state store is alone on a small disk; this thread is in its namespace meanwhile."""
    disk = layout.directory / "dapr" / "state-disk"
    disk.mkdir(parents=True)
    command.run(["mount", "-t", "tmpfs", "-o", f"size={_DISK_MIB}m,mode=0700", "tmpfs", str(disk)])
    (disk.parent / _STATE).symlink_to(disk / _STATE)
    stack = stacks.up(layout, clusters=1, kubeconfig=None)
    stack.namespace.enter()
    try:
        yield stack, disk
    finally:
        HOST.enter()


def _break_and_watch(stack: Stack, disk: Path, report: Report) -> None:
    observed = report.observed
    pace = Pace(len(report.plan.evaluations), len(report.plan.faults))
    workload = Workload(stack.clusters[0].node_address, report.plan.evaluations, pace, observed)
    breaker = Breaker(stack, disk, workload.deliver_again)
    watch = observing.JobWatch(stack.clusters[0], observed)
    watch.start()
    workload.start()
    try:
        _strike_all(pace, breaker, workload, report)
        workload.wait()
        observed.left = observing.leftovers(stack, disk / _STATE)
    except BaseException:
        # Otherwise their threads would go on for as long as callers are patient.
        pace.end()
        workload.abandon()
        raise
    finally:
        watch.stop()
    report.watch_gaps = watch.gaps
    _read_events(stack.layout, observed)


def _strike_all(pace: Pace, breaker: Breaker, workload: Workload, report: Report) -> None:
    """Every fault; one that finds nothing to break comes again after the next one, so often at most."""
    waiting = deque((fault, _TRIES) for fault in report.plan.faults)
    while waiting:
        fault, tries = waiting.popleft()
        pace.await_strike()
        time.sleep(fault.pause)
        if _strike(fault, breaker, workload, report):
            pace.struck()
        elif tries > 1:
            waiting.insert(1, (fault, tries - 1))
        else:
            report.without_victim[fault.kind] += 1
            pace.struck()


def _strike(fault: PlannedFault, breaker: Breaker, workload: Workload, report: Report) -> bool:
    """Whether there was something to break."""
    number = report.struck.total() + 1
    try:
        strike = breaker.strike(fault)
    except NoVictimError as nothing:
        console.say(f"fault {number}: {fault.kind}: not done, {nothing}")
        return False
    report.struck[fault.kind] += 1
    console.say(f"fault {number}: {fault.kind}: {strike.what}")
    if strike.eval_id:
        workload.hit(strike.eval_id)
    if strike.finding:
        report.observed.refusals.append(strike.finding)
    time.sleep(fault.outage)
    breaker.heal()
    return True


def _read_events(layout: StackLayout, observed: Observed) -> None:
    """Once every evaluation's last word has arrived, or after a while."""
    deadline = time.monotonic() + _LAST_EVENTS_SECONDS
    while True:
        observed.deliveries, dead = observing.deliveries(apps.received(layout))
        if not judge(observed).lost or time.monotonic() > deadline:
            break
        time.sleep(2)
    observed.refusals += [f"dead letter {letter}" for letter in dead]


def write(report: Report, path: Path) -> None:
    """The report's summary as a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(report.summary(), indent=1) + "\n")
