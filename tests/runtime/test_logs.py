"""Log lines name what they are about."""

import io
import logging
import threading
from collections.abc import Iterator

import pytest

from budeval.runtime.logs import SubjectFormatter, about


@pytest.fixture
def written() -> Iterator[io.StringIO]:
    """What a logger of this test has written."""
    text = io.StringIO()
    handler = logging.StreamHandler(text)
    handler.setFormatter(SubjectFormatter("%(levelname)s %(message)s"))
    _log.addHandler(handler)
    _log.setLevel(logging.INFO)
    yield text
    _log.removeHandler(handler)


_log = logging.getLogger("tests.logs")


def test_every_line_names_its_subject(written: io.StringIO) -> None:
    """Whoever writes it; what is inside adds to what is around it, and no longer than it lasts."""
    with about(workflow_id="eval-1"):
        _log.info("one")
        with about(eval_id="1a"):
            _log.info("two")
        _log.info("three")
    _log.info("four")

    assert written.getvalue().splitlines() == [
        "INFO one workflow_id=eval-1",
        "INFO two workflow_id=eval-1 eval_id=1a",
        "INFO three workflow_id=eval-1",
        "INFO four",
    ]


def test_what_a_line_names_is_not_repeated(written: io.StringIO) -> None:
    """As where it is a part of the sentence."""
    with about(workflow_id="eval-1"):
        _log.info("started %s", "eval-1")

    assert written.getvalue() == "INFO started eval-1\n"


def test_a_traceback_comes_after_the_subject(written: io.StringIO) -> None:
    """The first line is the one that is searched for."""
    with about(eval_id="1a"):
        try:
            int("no number")
        except ValueError:
            _log.exception("failed")

    lines = written.getvalue().splitlines()
    assert lines[0] == "ERROR failed eval_id=1a"
    assert lines[-1].startswith("ValueError: ")


def test_another_thread_has_its_own_subject(written: io.StringIO) -> None:
    """Activities of several evaluations run at once."""
    with about(eval_id="1a"):
        thread = threading.Thread(target=_log.info, args=["elsewhere"])
        thread.start()
        thread.join()

    assert written.getvalue() == "INFO elsewhere\n"
