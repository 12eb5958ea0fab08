"""The files of teams on the shared claim: how they are named, and where those of a tenant are."""

import re
from enum import StrEnum
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, StringConstraints

from budeval.domain.cluster import ClusterTarget
from budeval.domain.identifiers import DEFAULT_TENANT

PART_LIMIT = 4500 * 1024
"""Bytes of a part of a file that is pushed, gzipped: five ConfigMaps, and in base64 less than a request may
have. A part costs a Job of some seconds, whatever its size."""
LONGEST_PATH = 200
_PATH = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*(/[A-Za-z0-9_][A-Za-z0-9_.-]*)*")


def _checked_path(path: str) -> str:
    if not _PATH.fullmatch(path):
        raise ValueError(
            "must be names of letters, digits and _-., joined by /; no name may begin with a dot or a dash"
        )
    return path


DatasetPath = Annotated[str, StringConstraints(max_length=LONGEST_PATH), AfterValidator(_checked_path)]
"""Below a tenant's directory of datasets: it leads nowhere else and is never hidden. Whatever fits here fits
into a request's `source.path`."""


class PushState(StrEnum):
    """What becomes of a file that is pushed part by part."""

    PARTIAL = "partial"
    """Some of it is there."""
    STORED = "stored"
    """It is in its place."""
    UNCHANGED = "unchanged"
    """It was there before."""


class DatasetPlace(BaseModel):
    """Where a tenant's datasets are."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    target: ClusterTarget
    claim: str
    tenant: str

    @property
    def directory(self) -> str:
        """On the claim."""
        return datasets_directory(self.tenant)


def datasets_directory(tenant: str) -> str:
    """The directory of the claim that a tenant's pods see as `datasets`. No other tenant's do."""
    return "datasets" if tenant == DEFAULT_TENANT else f"tenants/{tenant}/datasets"
