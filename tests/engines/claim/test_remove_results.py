"""The program that removes an evaluation's files."""

import json
from pathlib import Path

import pytest

from budeval.engines.claim import remove_results

_ID = "223e4567-e89b-12d3-a456-426614174020"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Results of two evaluations."""
    for name in (_ID, "another"):
        (tmp_path / "results" / name / "opencompass-r-1" / ".budeval").mkdir(parents=True)
        (tmp_path / "results" / name / "opencompass-r-1" / ".budeval" / "plan.json").write_text("{}")
    return tmp_path / "results"


def _removed(root: Path, capsys: pytest.CaptureFixture[str], eval_id: str = _ID) -> dict[str, int]:
    assert remove_results.main({"EVAL_ID": eval_id, "RESULTS_ROOT": str(root)}) == 0
    told: dict[str, int] = json.loads(capsys.readouterr().out)
    return told


def test_one_evaluations_files_go_and_no_others(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Once more is harmless."""
    assert _removed(root, capsys) == {"files": 1, "bytes": 2}
    assert [path.name for path in root.iterdir()] == ["another"]
    assert _removed(root, capsys) == {"files": 0, "bytes": 0}


def test_links_are_removed_and_not_followed(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Wherever they are: in the directory, below it, or in its place."""
    run = root / _ID / "opencompass-r-1"
    (run / "inner").symlink_to(root / "another")
    (root / _ID / "outer").symlink_to(root / "another")
    (root / "linked").symlink_to(root / "another")

    _removed(root, capsys)
    _removed(root, capsys, "linked")

    assert (root / "another" / "opencompass-r-1" / ".budeval" / "plan.json").exists()
    assert [path.name for path in root.iterdir()] == ["another"]


def test_an_empty_directory_that_may_not_go_stays(
    root: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The directory that it lies in belongs to somebody else: nothing of the evaluation is in it any more."""

    def refuse(_path: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "rmdir", refuse)

    assert _removed(root, capsys)["files"] == 1
    assert list((root / _ID).iterdir()) == []


@pytest.mark.parametrize("eval_id", ["", ".", "..", "../another", "a/b", "-rf", "a\n"])
def test_a_name_that_leads_elsewhere_is_refused(
    root: Path, capsys: pytest.CaptureFixture[str], eval_id: str
) -> None:
    """Nothing is removed."""
    assert remove_results.main({"EVAL_ID": eval_id, "RESULTS_ROOT": str(root)}) == 2
    assert "EVAL_ID" in capsys.readouterr().err
    assert len(list(root.iterdir())) == 2


def test_the_root_is_a_whole_path() -> None:
    """Not one below the working directory of the pod."""
    assert remove_results.main({"EVAL_ID": _ID}) == 2
