"""A process that owns a PlaybookRunner, as the service does.

`run` prints the result of one playbook; `close` closes the runner while a playbook runs, and ends.
"""

import json
import sys
import threading
import time
from pathlib import Path

from budeval.ansible.runner import PlaybookRunner

PLAYBOOKS = Path(__file__).parent / "playbooks"


def _run(runner: PlaybookRunner, playbook: str, data: dict[str, str]) -> None:
    print(json.dumps(runner.run(playbook, data, "apiVersion: v1\n")), flush=True)  # noqa: T201 - that is its purpose


def _close(runner: PlaybookRunner, playbook: str, data: dict[str, str]) -> None:
    threading.Thread(target=_run, args=(runner, playbook, data), daemon=True).start()
    while not Path(data["report"]).exists():
        time.sleep(0.05)
    runner.close()


# The worker processes import this file as well.
if __name__ == "__main__":
    way, its_playbook, its_data = sys.argv[1:]
    its_runner = PlaybookRunner(1, timeout=250, module_timeout=250, playbooks=PLAYBOOKS)
    {"run": _run, "close": _close}[way](its_runner, its_playbook, json.loads(its_data))
