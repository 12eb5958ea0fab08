"""What tests of scoring share."""

from collections.abc import Iterator

import pytest

from tests.scoring.fake_judge import FakeJudge, fake_judge


@pytest.fixture
def fake() -> Iterator[FakeJudge]:
    """A server that judges and embeds by script."""
    with fake_judge() as started:
        yield started
