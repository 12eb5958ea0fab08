"""Every failure that has a name.

    BudevalError                 has a stable `code` and says what to do
    ├── RequestError             the caller must change the request: HTTP 4xx, names the field
    ├── ClusterError             a cluster refused or could not be used (`retryable` says if to try again)
    ├── EvaluationError          an evaluation has failed; the code of its first cause
    ├── ScoringError             a scoring job has no score; the code of its first cause
    ├── ArtifactError            the place of the artifacts of runs did not do what was asked
    ├── SealError                sealed secrets cannot be opened, or the keys are not usable
    ├── SidecarError             Dapr, or what stands behind it, did not answer
    └── JudgeError               a judge or embedder gave nothing to score by: `budeval.scoring.failures`

Codes are part of the API: they never change their meaning.
"""

import re

_WRITTEN = re.compile(r"([A-Z][A-Z0-9_]*): (.*)", re.DOTALL)


class BudevalError(Exception):
    """A failure with a stable code, a message for people and the field at fault, if any."""

    code = "INTERNAL"
    retryable = True
    """Whether the same again may succeed."""

    def __init__(self, message: str, *, code: str | None = None, param: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.code = code or type(self).code
        self.param = param

    def __str__(self) -> str:
        """`CODE: message`, the form in which it passes through Dapr."""
        return f"{self.code}: {self.message}"


class RequestError(BudevalError):
    """The request cannot be served as it is."""

    code = "REQUEST_INVALID"
    retryable = False

    def __init__(
        self, message: str, *, status: int = 400, code: str | None = None, param: str | None = None
    ) -> None:
        super().__init__(message, code=code, param=param)
        self.status = status


class ClusterError(BudevalError):
    """A playbook did not reach its end. The codes are listed in `budeval.ansible.failures`."""

    code = "RUNNER_CRASH"

    def __init__(self, message: str, *, code: str, retryable: bool) -> None:
        super().__init__(message, code=code)
        self.retryable = retryable


class EvaluationError(BudevalError):
    """An evaluation has no score; its results say why, run by run."""

    code = "EVALUATION_FAILED"
    retryable = False


class ScoringError(BudevalError):
    """A scoring job has no score, or could not write what it has; its outcomes say why, metric by metric."""

    code = "SCORING_FAILED"

    def __init__(self, message: str, *, code: str, retryable: bool = False) -> None:
        super().__init__(message, code=code)
        self.retryable = retryable


class ArtifactError(BudevalError):
    """The directory or object store of the artifacts did not do what was asked. Worth trying again."""

    code = "ARTIFACTS_UNAVAILABLE"


class SealError(BudevalError):
    """Secrets cannot be sealed or opened. Trying again does not help."""

    code = "SEAL_FAILED"
    retryable = False


class SidecarError(BudevalError):
    """Dapr's sidecar, or a component behind it, did not do what was asked. Worth trying again."""

    code = "SIDECAR_UNAVAILABLE"


def code_and_message(text: str) -> tuple[str, str]:
    """Of a failure as it crosses Dapr, `CODE: message`; whatever is none of ours is INTERNAL, in full."""
    match = _WRITTEN.fullmatch(text)
    return (match[1], match[2]) if match else (BudevalError.code, text)
