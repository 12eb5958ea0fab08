"""When a run of faults is good, and what its command says of that."""

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from dev.__main__ import app
from dev.chaos import plan, run
from dev.chaos.plan import Fate, Plan
from dev.chaos.run import Report
from dev.chaos.verdict import ACCEPTED, CancelAnswer, Ended

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


def _cancelling(planned: int, said: CancelAnswer) -> Report:
    """So many evaluations were to be cancelled, and each call was answered that."""
    drawn = plan.draw(1, planned, 0)
    evaluations = [replace(one, fate=Fate.CANCEL) for one in drawn.evaluations]
    report = Report(Plan(1, evaluations, []))
    report.observed.ends = {one.eval_id: Ended("COMPLETED", cancels=[said, said]) for one in evaluations}
    return report


@pytest.mark.parametrize(
    ("planned", "said", "untried"),
    [
        (5, CancelAnswer("EVALUATION_ENDED"), ["5 cancellations, none was accepted"]),
        (4, CancelAnswer("EVALUATION_ENDED"), []),
        (5, CancelAnswer(ACCEPTED, 0), []),
    ],
)
def test_a_run_that_cancelled_nothing_is_not_good(
    planned: int, said: CancelAnswer, untried: list[str]
) -> None:
    """Unless few were to be: they may all come when all is over. Answers are counted."""
    report = _cancelling(planned, said)

    assert (report.untried, report.good) == (untried, not untried)
    summary = report.summary()
    assert summary["cancels_accepted"] == (planned if said.said == ACCEPTED else 0)
    assert summary["cancel_answers"] == {said.said: 2 * planned}


def test_what_was_found_is_not_good(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Though everything was tried."""
    report = _report(0)
    report.verdict.lost.append("an evaluation")

    status, lines = _ends(monkeypatch, report, tmp_path / "report.json")

    assert (status, lines[-1]) == (1, "lost=1 duplicated=0 reordered=0 orphans=0 wrong=0")
