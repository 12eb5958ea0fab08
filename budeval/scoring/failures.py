"""Why a metric has no value, where whoever it asks is the reason.

    JudgeError                   the judge, the embedder or another engine gave nothing that can be used
    ├── EndpointBusyError        again later may do: judge_timeout, judge_unavailable, rate_limited
    │   └── EngineGoneError      engine_unavailable: another engine's process has ended, or does not answer
    ├── RequestRefusedError      it is refused whenever it comes: judge_refused, context_too_long
    ├── ReplyUnusableError       judge_output_invalid, judge_truncated, embedding_invalid, embedding_zero_norm
    └── EngineFailedError        another engine failed, or found no number: engine_error, not_a_number

The embedder's say `embedder_` for `judge_`. Nothing here tries again after an `EndpointBusyError`: the
workflow's retry policy alone does.
"""

from budeval.domain.scoring import Usage
from budeval.errors import BudevalError


class JudgeError(BudevalError):
    """An endpoint gave no answer. `usage` is what was spent on it all the same."""

    def __init__(self, message: str, reason_code: str, *, usage: Usage | None = None) -> None:
        super().__init__(message, code=reason_code.upper())
        self.reason_code = reason_code
        """As in an outcome; stable."""
        self.usage = usage or Usage()


class EndpointBusyError(JudgeError):
    """The endpoint is away, slow or limits the rate. Worth trying again."""

    retryable = True


class EngineGoneError(EndpointBusyError):
    """The process of another engine has ended, or does not answer."""

    def __init__(self, message: str) -> None:
        super().__init__(message, "engine_unavailable")


class RequestRefusedError(JudgeError):
    """The endpoint, or we before it, will not take the request as it is."""

    retryable = False

    def __init__(self, message: str, reason_code: str, *, status: int | None = None, said: str = "") -> None:
        super().__init__(message, reason_code)
        self.status = status
        """HTTP status; None where nothing was sent."""
        self.said = said
        """The endpoint's words as they are, by which it may be asked in another way. Not to be shown."""


class ReplyUnusableError(JudgeError):
    """The endpoint answered, but not with what was asked for."""

    retryable = False


class EngineFailedError(JudgeError):
    """Another engine raised, or what it found is no number."""

    retryable = False
