"""How far runs are, and when they will be done."""

import json
import math
import re
from datetime import datetime, timedelta
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

Phase = Literal["prepare", "infer", "evaluate", "done"]

_LINE = re.compile(r"^BUDEVAL1-PROGRESS (\{.*\})\s*$", re.MULTILINE)
# Shares of a run's time: (where the phase begins, how much of the whole it is).
_SHARES: dict[Phase, tuple[float, float]] = {
    "prepare": (0.0, 0.0),
    "infer": (0.0, 0.9),
    "evaluate": (0.9, 0.09),
    "done": (0.99, 0.0),
}
_MOST_SAMPLES = 10**12
_LEAST_FRACTION = 0.08
_TOLERANCE = 0.25


class RunProgress(BaseModel):
    """Samples of one run."""

    model_config = ConfigDict(frozen=True)

    done: int = Field(ge=0, le=_MOST_SAMPLES)
    total: int = Field(ge=0, le=_MOST_SAMPLES)
    phase: Phase

    @property
    def fraction(self) -> float:
        """0 to 0.99: a run is whole only once its scores are extracted."""
        start, share = _SHARES[self.phase]
        return start + share * (min(self.done / self.total, 1.0) if self.total > 0 else 0.0)


def last_progress(log: str) -> RunProgress | None:
    """The newest progress line in the tail of a run's log; torn or foreign lines are passed over."""
    for text in reversed(_LINE.findall(log)):
        try:
            return RunProgress.model_validate(json.loads(text))
        except (ValueError, RecursionError, ValidationError):
            continue
    return None


def estimate_end(
    previous: datetime | None, now: datetime, started: datetime, fraction: float
) -> datetime | None:
    """When all will be done, None while nothing can be said.

    An estimate stands until a new one differs from it by more than a minute and by a quarter of what is left:
    so the minutes count down and never flicker.
    """
    if fraction < _LEAST_FRACTION:
        return previous
    fresh = now + (now - started) * ((1 - fraction) / fraction)
    if previous is None or previous < now:
        return fresh
    tolerance = max(timedelta(minutes=1), (previous - now) * _TOLERANCE)
    return fresh if abs(fresh - previous) > tolerance else previous


def whole_minutes(end: datetime, now: datetime) -> int:
    """What is left in whole minutes, rounded up, at least 1: callers read an integer and 0 as finished."""
    return max(1, math.ceil((end - now).total_seconds() / 60))
