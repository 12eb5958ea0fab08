"""Output trees of OpenCompass, made up for tests or copied from real runs."""

import json
import shutil
import time
from pathlib import Path
from typing import Any

import pytest

from budeval.engines.opencompass import extract_results as extractor

SAMPLES = Path(__file__).parent / "samples"
EVAL = "223e4567-e89b-12d3-a456-426614174020"
STAMP = "20260105_101112"
LATER = "20260105_101500"
HEAD = "dataset,version,metric,mode"

Document = dict[str, Any]
Content = dict[str, Any]


class Tree:
    """The directory of one run, made up for a test."""

    def __init__(self, root: Path, run_id: str = "r1") -> None:
        self.root = root
        self.run_id = run_id
        self.base = root / EVAL / f"opencompass-{run_id}"
        self.base.mkdir(parents=True, exist_ok=True)

    def write(self, path: str, content: Any) -> Path:
        """A file below the run's directory; what is not a text is written as JSON."""
        file = self.base / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
        return file

    def summary(self, *lines: str, name: str = "", stamp: str = STAMP, folder: str = STAMP) -> None:
        """A summary file of these lines."""
        self.write(f"{folder}/summary/summary_{stamp}{name}.csv", "".join(f"{line}\n" for line in lines))

    def result(self, path: str, content: Any, folder: str = STAMP) -> None:
        """The result file of `<model>/<dataset>`."""
        self.write(f"{folder}/results/{path}.json", content)

    def prediction(self, path: str, *replies: Any) -> None:
        """The prediction file of `<model>/<dataset>`."""
        items = {str(index): {"prediction": reply} for index, reply in enumerate(replies)}
        self.write(f"{STAMP}/predictions/{path}.json", items)

    def configure(self, stamp: str = STAMP, folder: str = STAMP, **assignments: str) -> None:
        """The configuration that OpenCompass dumps when a call begins."""
        text = "".join(f"{name}={value}\n" for name, value in assignments.items())
        self.write(f"{folder}/configs/{stamp}_77.py", text)

    def plan(
        self, *datasets: Content, models: tuple[str, ...] = ("m1",), attempt: int = 1, written: Any = None
    ) -> Path:
        """What was asked for; `written`, in seconds since 1970, as it says itself."""
        content = {"schema": 1, "attempt": attempt, "datasets": list(datasets), "models": list(models)}
        if isinstance(written, float):
            written = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(written))
        content["written"] = written
        return self.write(".budeval/plan.json", content)

    def fill(self, sample: str) -> None:
        """Copy a sample tree."""
        shutil.copytree(SAMPLES / sample, self.base, dirs_exist_ok=True)
        for file in self.base.glob("*/configs/*.py.txt"):  # so named that no linter takes them for ours
            file.rename(file.with_suffix(""))

    def read(self) -> Document:
        """The run's document, checked for what holds of every one."""
        document = extractor.extract_run(extractor.OPENCOMPASS, str(self.root), EVAL, self.run_id)
        check(document)
        return document


def check(document: Document) -> None:
    """Strict JSON, the guide's keys, each cell in one state, and a score for each scored cell."""
    text = extractor.to_json(document)
    assert (
        json.loads(text, parse_constant=lambda constant: pytest.fail(f"{constant} is not JSON")) == document
    )
    assert {"run_id", "eval_id", "status", "scores", "csv_file"} <= document.keys()
    assert ("error" in document) == ("code" in document) == (document["status"] == "error")
    asked = [cell for cell in document["cells"] if not cell.get("unexpected")]
    scored = [cell for cell in asked if cell["state"] == "scored"]
    assert len(scored) == len(document["scores"])
    assert all(isinstance(score["score"], float) for score in document["scores"])
    for cell in document["cells"]:
        assert cell["state"] in {"scored", "failed", "missing", "not_a_number"}
        assert (cell["score"] is None) == ("reason" in cell) == (cell["state"] != "scored")


def config(*names: str, **more: str) -> str:
    """A list as a configuration has it; `more` is added to each item."""
    rest = "".join(f", {key}={value}" for key, value in more.items())
    return "[" + ", ".join(f"dict(abbr={name!r}{rest})" for name in names) + "]"


def values(document: Document) -> dict[tuple[str, str, str], float]:
    """(dataset, metric, model) -> score."""
    return {(s["dataset"], s["metric"], s["model"]): s["score"] for s in document["scores"]}


def unscored(document: Document) -> list[tuple[str, str, str, str]]:
    """(dataset, model, state, reason) of the cells without a score."""
    cells = [cell for cell in document["cells"] if cell["state"] != "scored"]
    return [(cell["dataset"], cell["model"], cell["state"], cell["reason"]) for cell in cells]


def codes(document: Document) -> list[str]:
    """Of the warnings."""
    return [warning["code"] for warning in document["warnings"]]
