"""`make bench-scoring`: measure anew, and write the data and the report beside this file."""

import json
import os
import platform
from datetime import UTC, datetime
from pathlib import Path
from statistics import fmean
from typing import Any

from benchmarks.scoring import agreement, cost, report, speed
from benchmarks.scoring.local_model import local_model
from benchmarks.scoring.samples import samples

_HERE = Path(__file__).parent


def _measured() -> dict[str, Any]:
    print("speed (3 min)", flush=True)
    found: dict[str, Any] = {"made": _made(), "speed": speed.measure()}
    with local_model() as model:
        print("cost (2 min)", flush=True)
        found["cost"] = cost.measure(model.tokens)
        print("agreement (15 min)", flush=True)
        found["agreement"] = agreement.measure(model)
    return found


def _made() -> dict[str, Any]:
    chosen = samples()
    lengths = [len(context) for sample in chosen for context in sample.contexts]
    machine = f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} at the start"
    return {
        "on": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "machine": f"{machine}, Python {platform.python_version()}",
        "samples": len(chosen),
        "context_chars": round(fmean(lengths)),
    }


def main() -> None:
    """Do all of it."""
    found = _measured()
    for name, part in found.items():
        (_HERE / f"{name}.json").write_text(json.dumps(part, indent=1, ensure_ascii=False) + "\n")
    (_HERE / "report.md").write_text(report.written(found))


if __name__ == "__main__":
    main()
