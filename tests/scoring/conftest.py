"""What tests of scoring share."""

from collections.abc import Iterator

import pytest

from budeval.scoring import stored_ledger
from tests.scoring.fake_judge import FakeJudge, fake_judge


@pytest.fixture
def fake() -> Iterator[FakeJudge]:
    """A server that judges and embeds by script."""
    with fake_judge() as started:
        yield started


@pytest.fixture(autouse=True)
def _impatience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ledgers are tried again as often as ever, but at once."""
    monkeypatch.setattr(stored_ledger, "WAITS", (0.0,) * len(stored_ledger.WAITS))
