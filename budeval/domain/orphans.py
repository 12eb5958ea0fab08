"""What bears the service's mark on a cluster, and whether an evaluation still owns it.

Only what the state store says counts: nothing on the cluster can claim to be owned.
"""

from datetime import datetime, timedelta
from enum import StrEnum

from pydantic import BaseModel, ConfigDict

from budeval.domain.evaluation import DEPLOYMENTS

UNMARKED = "unmarked"
"""In the place of an installation: of what says none, made by an older version or by hand."""
_PROGRAMS_LIVE = timedelta(minutes=10)
"""Jobs that read, remove, push or list files end after five minutes at most, and are removed by the cluster
five minutes later."""


class Why(StrEnum):
    """Why something is an orphan."""

    UNKNOWN_EVALUATION = "unknown_evaluation"
    DELETED_EVALUATION = "deleted_evaluation"
    ENDED_EVALUATION = "ended_evaluation"
    ATTEMPT_OVER = "attempt_over"
    NO_EVALUATION = "no_evaluation"
    NO_PROCESS = "no_process"


REASONS = {
    Why.UNKNOWN_EVALUATION: "There is no such evaluation.",
    Why.DELETED_EVALUATION: "The evaluation was deleted.",
    Why.ENDED_EVALUATION: "The evaluation has ended.",
    Why.ATTEMPT_OVER: "It is of an attempt that is over; the evaluation is at a later one.",
    Why.NO_EVALUATION: "It is of no evaluation, and what it was made for is over for minutes.",
    Why.NO_PROCESS: "No living service holds it: the one whose playbook had its files there was killed.",
}


class Marked(BaseModel):
    """An object on the cluster that bears the service's mark."""

    model_config = ConfigDict(frozen=True)

    kind: str
    name: str
    uid: str
    version: str | None = None
    """Kubernetes' resource version; None of a Secret, which cannot be read."""
    created: datetime
    """Of a Secret: of what it was found by."""
    eval_id: str | None = None
    run_id: str | None = None
    """None of the Jobs that read or remove an evaluation's files."""
    deployment: int | None = None
    """Number of the run's Job through all attempts."""
    installation: str | None = None
    owners: list[str]
    """Uids."""


class Standing(BaseModel):
    """How it stands with an evaluation of which there is a record, or was one."""

    model_config = ConfigDict(frozen=True)

    attempt: int = 1
    ended: bool = False
    deleted: bool = False


def why_orphan(marked: Marked, standing: Standing | None, now: datetime) -> Why | None:
    """Why no evaluation owns an object; None where one does, or something else may.

    Args:
        marked: which.
        standing: of its evaluation; None where there is no record. Read after the object was listed: the
            record comes before the first object.
        now: on the cluster's clock.
    """
    if marked.run_id is None and now - marked.created < _PROGRAMS_LIVE:
        return None
    if marked.eval_id is None:
        return Why.NO_EVALUATION
    if standing is None:
        return Why.UNKNOWN_EVALUATION
    if standing.deleted:
        return Why.DELETED_EVALUATION
    if standing.ended:
        return Why.ENDED_EVALUATION
    return Why.ATTEMPT_OVER if _is_of_earlier_attempt(marked, standing) else None


def _is_of_earlier_attempt(marked: Marked, standing: Standing) -> bool:
    return marked.deployment is not None and marked.deployment <= (standing.attempt - 1) * DEPLOYMENTS
