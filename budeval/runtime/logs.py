"""Log lines that say what they are about, whoever writes them.

`about` names it once, around a piece of work; every line that is written meanwhile in the same thread ends
with it. What a line itself names is not repeated.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_subject: ContextVar[dict[str, str] | None] = ContextVar("subject", default=None)

_CHATTY = ("httpx", "WorkflowRuntime", "durabletask-worker", "durabletask-client")
"""They log each call to the sidecar, each registration and each turn of a workflow."""


@contextmanager
def about(**ids: str) -> Iterator[None]:
    """Name the subject of all lines that are written inside, as `eval_id="…"`; adds to what is named."""
    token = _subject.set({**(_subject.get() or {}), **ids})
    try:
        yield
    finally:
        _subject.reset(token)


class SubjectFormatter(logging.Formatter):
    """Puts the subject's ids at the end of the message."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        """The line without a traceback."""
        said = record.message
        missing = [f"{name}={value}" for name, value in (_subject.get() or {}).items() if value not in said]
        return " ".join([super().formatMessage(record), *missing])


def configure() -> None:
    """Write lines to standard error, from INFO on."""
    handler = logging.StreamHandler()
    handler.setFormatter(SubjectFormatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    for name in _CHATTY:
        logging.getLogger(name).setLevel(logging.WARNING)
