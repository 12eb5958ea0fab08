"""`make bench-scoring`: measure anew, and write the data and the report beside this file."""

import argparse
import json
import os
import platform
import signal
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.scoring import agreement, cost, report, speed
from benchmarks.scoring.local_model import local_model

_HERE = Path(__file__).parent


def _cost() -> dict[str, Any]:
    with local_model() as model:
        return cost.measure(model.tokens)


def _agreement() -> dict[str, Any]:
    with local_model() as model:
        return agreement.measure(model)


PARTS: dict[str, Callable[[], dict[str, Any]]] = {
    "speed": speed.measure,
    "cost": _cost,
    "agreement": _agreement,
}


def _made() -> str:
    """When, and on what machine."""
    on = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    machine = f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}"
    return f"{on}, {machine} at the start, Python {platform.python_version()}"


def main() -> None:
    """Measure the parts that are named, or all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", nargs="*", help=f"only some of {', '.join(PARTS)}; the others' data stay")
    parts = parser.parse_args().part or PARTS
    if unknown := set(parts) - PARTS.keys():
        parser.error(f"there is no part {unknown.pop()}, only {', '.join(PARTS)}")
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that the servers are stopped, too
    for part in parts:
        print(part, flush=True)
        found = {"made": _made(), **PARTS[part]()}
        (_HERE / f"{part}.json").write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n")
    data = {part: json.loads((_HERE / f"{part}.json").read_text()) for part in PARTS}
    (_HERE / "report.md").write_text(report.written(data))


if __name__ == "__main__":
    main()
