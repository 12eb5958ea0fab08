"""A short run of faults, on a stack of its own; `make chaos` has the long ones."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from dev.layout import CHECKOUT
from dev.network import HOST

pytestmark = pytest.mark.e2e

_SEED, _EVALUATIONS, _FAULTS, _DELETED = 1041755, 6, 9, 2
"""Kills scheduler, service, Redis, API server, sidecar, and that one also alone, under the living service;
fills the disk, cuts the network, restarts all.

One evaluation is cancelled and retried, each twice at the same time, and deleted; so is one that is whole.
"""


@pytest.mark.timeout(1800)
def test_a_short_run_of_faults_finds_nothing(tmp_path: Path) -> None:
    """Evaluations end as they should, each told once and in order, and nothing of them stays."""
    report = tmp_path / "chaos.json"
    plan = ["--seed", str(_SEED), "--evaluations", str(_EVALUATIONS), "--faults", str(_FAULTS)]
    command = [sys.executable, "-m", "dev", "chaos", *plan, "--report", str(report)]

    done = HOST.call(
        lambda: subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=False)
    )

    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-5000:]
    seen = json.loads(report.read_text())
    assert seen["findings"] == {name: [] for name in ("lost", "duplicated", "reordered", "orphans", "wrong")}
    assert sum(seen["outcomes"].values()) == _EVALUATIONS
    # Otherwise nothing was tried.
    assert seen["faults"] == _FAULTS
    assert seen["deleted"] == _DELETED
    assert seen["events"] > 5 * _EVALUATIONS
    assert seen["jobs"] >= seen["outcomes"]["COMPLETED"] >= 1
