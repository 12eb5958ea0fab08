"""Evaluations are there for their own tenant only, by whichever name a request has for them."""

import re

from fastapi import Request

from budeval.api.access import Owned
from budeval.evals.store import EvaluationStore, unknown

_OF_EVALUATION = re.compile(r"eval-(.+)")
_OF_ATTEMPT = re.compile(r"eval-(.+)-a[0-9]+")


def owned_evaluations(store: EvaluationStore) -> Owned:
    """What the guard of the API must know of them."""
    return Owned(_evaluations_in, store.tenant_of, unknown)


def _evaluations_in(request: Request) -> list[str]:
    """The evaluations that a request names, in its path or as those to compare."""
    named = [request.path_params.get("eval_id")]
    for field in ("base", "candidate"):
        named += request.query_params.getlist(field)
    # The end of an id may look like an attempt: a workflow counts as that of both readings.
    for reading in (_OF_EVALUATION, _OF_ATTEMPT):
        workflow = reading.fullmatch(request.path_params.get("workflow_id", ""))
        named += [workflow[1]] if workflow else []
    return [eval_id for eval_id in named if eval_id]
