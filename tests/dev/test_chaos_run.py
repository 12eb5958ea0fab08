"""When a run of faults is good, and what its command says of that."""

import json
from collections import Counter
from pathlib import Path

import pytest
from typer.testing import CliRunner

from dev.__main__ import app
from dev.chaos import plan, run
from dev.chaos.run import Report

_FAULTS = 20
_NOTHING_FOUND = "lost=0 duplicated=0 reordered=0 orphans=0 wrong=0"


def _report(missed: int) -> Report:
    """Of a run that found nothing."""
    struck = Counter({"kill service": _FAULTS - missed})
    return Report(plan.draw(1, 2, _FAULTS), struck=struck, without_victim=Counter({"kill playbook": missed}))


def _ends(monkeypatch: pytest.MonkeyPatch, report: Report, file: Path) -> tuple[int, list[str]]:
    """(exit status, the last lines on standard output) of the command."""
    monkeypatch.setattr(run, "run", lambda *_, **__: report)
    result = CliRunner().invoke(app, ["chaos", "--report", str(file)])
    return result.exit_code, result.stdout.splitlines()[-2:]


@pytest.mark.parametrize("missed", [0, 2])
def test_a_tenth_of_the_faults_may_find_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, missed: int
) -> None:
    """Such a run is good."""
    status, lines = _ends(monkeypatch, _report(missed), tmp_path / "report.json")

    assert (status, lines) == (0, ["}", _NOTHING_FOUND])
    assert json.loads((tmp_path / "report.json").read_text())["good"] is True


@pytest.mark.parametrize("missed", [3, _FAULTS])
def test_a_run_that_broke_little_is_not_good(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, missed: int
) -> None:
    """Though nothing was found: a line of its own says so, and the exit status."""
    status, lines = _ends(monkeypatch, _report(missed), tmp_path / "report.json")

    assert status == 1
    assert lines == [f"untried: {missed} of 20 faults, more than a tenth", _NOTHING_FOUND]
    assert json.loads((tmp_path / "report.json").read_text())["good"] is False


def test_what_was_found_is_not_good(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Though everything was tried."""
    report = _report(0)
    report.verdict.lost.append("an evaluation")

    status, lines = _ends(monkeypatch, report, tmp_path / "report.json")

    assert (status, lines[-1]) == (1, "lost=1 duplicated=0 reordered=0 orphans=0 wrong=0")
