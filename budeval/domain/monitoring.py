"""From one look at the cluster to the next: what has changed, what is worth telling, what is given up.

Pure: the workflow folds each snapshot into a `MonitorState`, which it carries through its generations.
"""

from datetime import datetime, timedelta

from pydantic import BaseModel, Field

from budeval.domain.evaluation import DEPLOYMENTS, Timeouts
from budeval.domain.observation import TERMINAL, RunObservation, RunState, cancelled
from budeval.domain.progress import estimate_end, whole_minutes

_IMAGE_PATIENCE = timedelta(seconds=60)
"""An image that cannot be pulled may be a registry's moment of weakness, but not for longer."""
_WAITING = {RunState.PENDING, RunState.BLOCKED}
_SILENT = "The cluster does not say why. See its Job and pod, its controllers, and the image's size."
_LISTINGS_UNTIL_GONE = 2
_UNHEARD_UNTIL_GONE = timedelta(seconds=60)
_PLACE_AT_MOST_EVERY = timedelta(seconds=15)
_PERCENT_STEP = 5
_OTHER_MINUTES = 0.25
_TELL_AT_MOST_EVERY = timedelta(seconds=5)


class RunStory(BaseModel):
    """What is remembered of a run between two looks."""

    seen: RunObservation
    blocked_since: datetime | None = None
    """Since when it waits to start, for the same reason or for none that is told."""
    missing: int = 0
    """Listings in a row without its Job."""
    redeployed: bool = False
    given_up: str | None = None
    """Uid of the Job that was taken away, once its run is deployed anew."""


class MonitorState(BaseModel):
    """Everything that monitoring remembers. Small: it is an input of the workflow's next generation."""

    since: datetime
    runs: dict[str, RunStory] = Field(default_factory=dict)
    end: datetime | None = None
    """Estimated."""
    end_fraction: float = 0.0
    """What was done when it was estimated."""
    later: bool = False
    """The newest look would have the end later."""
    unreachable_since: datetime | None = None
    told_percent: int = -1
    told_states: dict[str, str] = Field(default_factory=dict)
    told_at: datetime | None = None
    told_minutes: int | None = None
    placing_at: datetime | None = None
    """When Jobs were asked for last that a quota had refused."""
    tick: int = 0
    """Of the newest snapshot that was folded in."""

    def fold(self, observations: list[RunObservation], now: datetime, timeouts: Timeouts) -> None:
        """Take in a look at the cluster. A run that has ended stays as it is, whatever is seen later."""
        for seen in observations:
            before = self.runs.get(seen.run_id)
            if before is None or before.seen.state not in TERMINAL:
                self.runs[seen.run_id] = _next(before, seen, now, self.since, timeouts)
        started = [story.seen.started for story in self.runs.values() if story.seen.started]
        # Only when something was done since the last time: standing still looks like getting slower.
        late = self.end is not None and self.end <= now
        fraction = self.fraction
        if started and (fraction > self.end_fraction or late):
            self.end_fraction = fraction
            begin = min(max(min(started).replace(tzinfo=None), self.since), now)
            fresh = estimate_end(self.end, now, begin, fraction)
            # Later than told only if two looks in a row say so: one slow minute is no trend.
            later = self.end is not None and fresh is not None and fresh > self.end and not late
            self.end = self.end if later and not self.later else fresh
            self.later = later and not self.later

    @property
    def fraction(self) -> float:
        """0 to 1, over all runs."""
        return fraction_of([story.seen for story in self.runs.values()])

    @property
    def finished(self) -> bool:
        """Every run has ended."""
        return all(story.seen.state in TERMINAL for story in self.runs.values())

    @property
    def failed(self) -> list[RunObservation]:
        """The runs that have failed."""
        return [story.seen for story in self.runs.values() if story.seen.state is RunState.FAILED]

    def to_redeploy(self) -> list[str]:
        """Runs whose Job is gone and that have not yet had their second chance."""
        return [
            run_id
            for run_id, story in self.runs.items()
            if story.seen.state is RunState.GONE and not story.redeployed and _is_gone(story)
        ]

    def to_place(self, now: datetime) -> dict[int, list[str]]:
        """Those of `unplaced` if it is time to ask for their Jobs again; then it is not for a while."""
        waiting = self.unplaced()
        if not waiting or (self.placing_at and now - self.placing_at < _PLACE_AT_MOST_EVERY):
            return {}
        self.placing_at = now
        return waiting

    def unplaced(self) -> dict[int, list[str]]:
        """Runs of which no Job could be made yet, a quota on Jobs is used up: deployment -> run ids."""
        found: dict[int, list[str]] = {}
        for run_id, story in self.runs.items():
            if _waits_for_its_job(story):
                found.setdefault(DEPLOYMENTS if story.redeployed else 1, []).append(run_id)
        return found

    def redeployed(self, run_ids: list[str]) -> None:
        """They were deployed once more."""
        for run_id in run_ids:
            story = self.runs[run_id]
            change = {"redeployed": True, "missing": 0, "given_up": story.seen.uid}
            self.runs[run_id] = story.model_copy(update=change)

    def cancel(self, run_ids: list[str], message: str) -> None:
        """All runs that have not ended are ended on request; `run_ids` also names those never looked at."""
        for run_id in run_ids:
            story = self.runs.get(run_id)
            if story is None or story.seen.state not in TERMINAL:
                seen = cancelled(run_id, story.seen if story else None, message)
                self.runs[run_id] = (story or RunStory(seen=seen)).model_copy(update={"seen": seen})

    def news(self, now: datetime) -> dict[str, object] | None:
        """What is worth an event, or None: 5 % more, a run in another state or phase, or another end."""
        if self.told_at and now - self.told_at < _TELL_AT_MOST_EVERY and not self.finished:
            return None
        percent = int(self.fraction * 100)
        states = {run_id: _telling_state(story.seen) for run_id, story in self.runs.items()}
        minutes = self.eta_minutes(now)
        further = percent >= self.told_percent + _PERCENT_STEP or states != self.told_states
        if not further and not _is_another(minutes, self.told_minutes):
            return None
        self.told_percent, self.told_states, self.told_at = max(percent, self.told_percent), states, now
        self.told_minutes = minutes
        return {"percent": self.told_percent, "eta_minutes": minutes, "runs": self.view()}

    def next_deadline(self, now: datetime, timeouts: Timeouts) -> timedelta | None:
        """How long until patience with a blocked run ends, None where none is blocked."""
        left = [
            story.blocked_since + _patience(story.seen, timeouts) - now
            for story in self.runs.values()
            if story.blocked_since and story.seen.state in _WAITING
        ]
        return max(min(left), timedelta(seconds=1)) if left else None

    def eta_minutes(self, now: datetime) -> int | None:
        """Whole minutes that are left, None while nothing can be said."""
        return whole_minutes(self.end, now) if self.end else None

    def view(self) -> dict[str, dict[str, object]]:
        """Each run for those who watch: state, samples, reason."""
        return {run_id: run_view(story.seen) for run_id, story in self.runs.items()}


def _is_another(minutes: int | None, told: int | None) -> bool:
    """Whether the minutes that are left are worth telling: by a quarter, and by more than one, other ones."""
    if minutes is None or told is None:
        return minutes != told
    return abs(minutes - told) > max(1, told * _OTHER_MINUTES)


def run_view(seen: RunObservation) -> dict[str, object]:
    """A run for those who watch."""
    view: dict[str, object] = {"state": seen.state.value}
    if seen.code:
        view |= {"code": seen.code, "message": seen.message}
    if seen.progress:
        view |= seen.progress.model_dump()
    return view


def _telling_state(seen: RunObservation) -> str:
    phase = seen.progress.phase if seen.progress else ""
    return f"{seen.state.value} {seen.code or ''} {phase}"


def fraction_of(runs: list[RunObservation]) -> float:
    """How much of all runs together is done, 0 to 1."""
    return sum(_fraction(seen) for seen in runs) / max(1, len(runs))


def _fraction(seen: RunObservation) -> float:
    if seen.state in TERMINAL:
        return 1.0
    return seen.progress.fraction if seen.progress else 0.0


def _is_gone(story: RunStory) -> bool:
    return story.missing >= _LISTINGS_UNTIL_GONE or story.seen.pod is not None


def _next(
    before: RunStory | None, seen: RunObservation, now: datetime, since: datetime, timeouts: Timeouts
) -> RunStory:
    if before and before.given_up and seen.uid == before.given_up:
        return before  # a look from before the new Job was there
    if seen.state is RunState.GONE and not _waits_for_its_job(before):
        return _next_of_gone(before, seen, now, since)
    story = before or RunStory(seen=seen)
    if seen.state is RunState.GONE:
        seen = story.seen
    seen = _with_progress(before, seen)
    if seen.state not in _WAITING:
        return story.model_copy(update={"seen": seen, "missing": 0, "blocked_since": None})
    same = before is not None and before.seen.code == seen.code
    blocked_since = (before.blocked_since if before and same else None) or now
    if now - blocked_since >= _patience(seen, timeouts):
        seconds = int((now - blocked_since).total_seconds())
        text = f"It could not start for {seconds} s. {seen.message or _SILENT}"
        code = seen.code or "NOT_STARTED"
        seen = seen.model_copy(update={"state": RunState.FAILED, "code": code, "message": text})
    return story.model_copy(update={"seen": seen, "missing": 0, "blocked_since": blocked_since})


def _waits_for_its_job(before: RunStory | None) -> bool:
    """What was never made cannot be gone."""
    return before is not None and before.seen.state is RunState.BLOCKED and before.seen.job is None


def _patience(seen: RunObservation, timeouts: Timeouts) -> timedelta:
    start = timedelta(seconds=timeouts.start)
    return min(_IMAGE_PATIENCE, start) if seen.code == "IMAGE_PULL" else start


def _next_of_gone(before: RunStory | None, seen: RunObservation, now: datetime, since: datetime) -> RunStory:
    """A listing may be older than the Job: gone is what was seen, and is then missing twice."""
    missing = (before.missing if before else 0) + 1
    story = (before or RunStory(seen=seen)).model_copy(update={"seen": seen, "missing": missing})
    ever_seen = before is not None and (before.seen.uid is not None or now - since > _UNHEARD_UNTIL_GONE)
    if not _is_gone(story) or not ever_seen:
        unchanged = (
            before.seen if before else seen.model_copy(update={"state": RunState.PENDING, "code": None})
        )
        return story.model_copy(update={"seen": unchanged})
    if story.redeployed:
        return story.model_copy(update={"seen": seen.model_copy(update={"state": RunState.FAILED})})
    return story


def _with_progress(before: RunStory | None, seen: RunObservation) -> RunObservation:
    """Progress never goes back: a tail without a progress line, or a resumed engine, knows less."""
    known = before.seen.progress if before else None
    if known and (seen.progress is None or seen.progress.fraction < known.fraction):
        return seen.model_copy(update={"progress": known})
    return seen
