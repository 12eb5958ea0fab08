"""Names that come from outside and end up in Kubernetes, in paths and in state keys."""

import hashlib
import re
from typing import Annotated

from pydantic import StringConstraints

DNS_LABEL = r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$"
LABEL_VALUE = r"^[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$"

DEFAULT_TENANT = "default"
"""Of requests without a token, and of tokens that name no other."""

_JOB_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,55}[a-z0-9])?")

DnsLabel = Annotated[str, StringConstraints(max_length=63, pattern=DNS_LABEL)]
"""An RFC 1123 label: lower-case letters, digits and dashes, at most 63, no dash at the ends. Safe as a
Kubernetes name, a file name and a part of a key."""

RunId = Annotated[str, StringConstraints(max_length=63, pattern=LABEL_VALUE)]
"""A run's id, chosen by the caller: what Kubernetes takes as a label's value, at most 63 characters. Safe as
a directory name (no slash, no leading dot) and as a part of a key."""


def job_names(eval_id: str, run_id: str, attempt: int) -> list[str]:
    """The names that a run's Job may have, the first that is free counts.

    The run id itself, as the guide has it, where it is a valid name of at most 57 characters (pods add a
    suffix and a label holds 63); the attempt is a suffix from the second on. Derived, never random: a
    repeated deployment finds the Job that it made before.
    """
    own = f"{run_id}{_suffix(attempt)}"
    unique = parts_name(eval_id, run_id, attempt)
    return [own, unique] if _JOB_NAME.fullmatch(own) else [unique]


def parts_name(eval_id: str, run_id: str, attempt: int) -> str:
    """The name of a run's ConfigMap and Secret: never one that a caller chose, so never another's."""
    return f"run-{hashlib.sha256(f'{eval_id}/{run_id}'.encode()).hexdigest()[:16]}{_suffix(attempt)}"


def _suffix(attempt: int) -> str:
    return f"-a{attempt}" if attempt > 1 else ""
