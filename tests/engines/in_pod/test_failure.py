"""How a failure is told."""

import json
from pathlib import Path

import pytest

from budeval.engines.in_pod.failure import RunError, report
from tests.engines.pods import KEY


def test_a_failure_is_left_where_kubernetes_looks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As JSON that fits there, without the key; and in the log."""
    target = tmp_path / "termination-log"
    environment = {"OPENAI_API_KEY": KEY, "BUDEVAL_TERMINATION_LOG": str(target)}

    report(RunError("ENGINE_FAILED", f"{KEY} {'x' * 9000} {KEY}"), environment)

    text = target.read_text()
    document = json.loads(text)
    assert len(text.encode()) <= 4096
    assert document["code"] == "ENGINE_FAILED"
    assert document["message"].startswith("*** xxx")
    output = capsys.readouterr().out
    assert output == f"BUDEVAL1-FAILED {text}\n"
    assert KEY not in output


def test_a_termination_log_that_cannot_be_written_is_only_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The exit status still tells."""
    report(RunError("X", "no"), {"BUDEVAL_TERMINATION_LOG": str(tmp_path)})

    assert "cannot be written" in capsys.readouterr().out
