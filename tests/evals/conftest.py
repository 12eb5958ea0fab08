"""What several tests of evaluations have."""

from pathlib import Path

import pytest

from tests.evals.intake_desk import Desk


@pytest.fixture
def desk(tmp_path: Path, seal_keys: str) -> Desk:
    """Where requests come in. One cluster is configured: `first`, the default."""
    (tmp_path / "first.yaml").write_text("never read here")
    return Desk(tmp_path, seal_keys)
