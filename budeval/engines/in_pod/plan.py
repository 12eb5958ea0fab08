"""What was asked for, in the words of the engine: the extractor judges against it.

It is written twice: at once, so that an attempt that dies of its input is not taken for an earlier one's, and
with what is known of the datasets before the engine starts.
"""

from __future__ import annotations

import os
import re
from typing import Any

from budeval.engines.in_pod.files import write_json
from budeval.engines.in_pod.provenance import now

PLANNED = ("abbr", "dataset_id", "rows", "rows_there", "unit", "sha256", "rows_sha256", "evaluator")


def write_plan(spec: dict[str, Any], models: list[str], planned: list[dict[str, Any]], **more: Any) -> None:
    """Write `.budeval/plan.json`; `more` is what only this engine's extractor reads."""
    plan = {
        "schema": 1,
        "attempt": spec["attempt"],
        "written": now(),
        "models": models,
        "datasets": [{name: item.get(name) for name in PLANNED} for item in planned],
        **more,
    }
    write_json(os.path.join(spec["run_dir"], ".budeval", "plan.json"), plan)


def model_name(spec: dict[str, Any]) -> str:
    """The model's name as a directory of OpenCompass."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", spec["model"]["name"]).strip("-.")[:100] or "model"
