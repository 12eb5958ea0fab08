"""Progress lines."""

import pytest

from budeval.domain.progress import RunProgress, last_progress
from budeval.engines.in_pod.progress import Progress
from tests.engines.pods import progress_told


def test_progress_is_told_once_and_never_backwards(capsys: pytest.CaptureFixture[str]) -> None:
    """In lines that the watcher understands."""
    progress = Progress()
    for done in (0, 3, 3, 2, 5):
        progress.tell(done, 10, "infer")

    output = capsys.readouterr().out
    assert progress_told(output) == [(0, 10, "infer"), (3, 10, "infer"), (5, 10, "infer")]
    assert last_progress(output) == RunProgress(done=5, total=10, phase="infer")
