"""A fake of the worker program: it does what the question of the sample says, and needs no ragas."""

import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any


class _Stopped(Exception):  # noqa: N818
    """Nobody waits for this order any more."""


def _say(**message: Any) -> None:
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


def _asked(number: int, prompt: str, shape: str) -> Any:
    """The reply."""
    _say(id=number, ask=prompt, shape=shape)
    message = json.loads(sys.stdin.readline())
    if "stop" in message:
        raise _Stopped
    return message["reply"]


def _embed(number: int) -> None:
    _say(id=number, embed=["one", "two"])
    vectors = json.loads(sys.stdin.readline())["reply"]
    _say(id=number, value=vectors[1][0])


def _split(number: int) -> None:
    reply = _asked(number, "Split!", "StatementGeneratorOutput")
    _say(id=number, value=len(reply["statements"]) / 10)


def _verdicts(number: int) -> None:
    reply = _asked(number, "Judge!", "NLIStatementOutput")
    _say(id=number, value=float(len(reply["statements"])))


def _attribute(number: int) -> None:
    reply = _asked(number, "Attribute!", "ContextRecallOutput")
    _say(id=number, value=float(len(reply["classifications"])))


def _compare(number: int) -> None:
    reply = _asked(number, "Compare!", "ClassificationWithReason")
    _say(id=number, value=float(len(reply["TP"])))


def _three_times(number: int) -> None:
    replies = [_asked(number, "Ask back!", "AnswerRelevanceOutput") for _ in range(3)]
    _say(id=number, value=len({reply["question"] for reply in replies}) / 10)


def _babble(_: int) -> None:
    sys.stdout.write("Loading weights\n")
    sys.stdout.flush()


_DEEDS: dict[str, Callable[[int], None]] = {
    "no number": lambda number: _say(id=number, value=None),
    "raise": lambda number: _say(id=number, error="ZeroDivisionError: division by zero"),
    "environment": lambda number: _say(id=number, error=" ".join(os.environ)),
    "pid": lambda number: _say(id=number, value=os.getpid() / 1e9),
    "embed": _embed,
    "split": _split,
    "verdicts": _verdicts,
    "attribute": _attribute,
    "compare": _compare,
    "three times": _three_times,
    "babble": _babble,
    "hang": lambda _: time.sleep(3600),
    "die": lambda _: sys.exit("out of luck"),
    "die at once": lambda _: os._exit(3),
}


def main() -> None:
    """Serve one order after the other."""
    for line in iter(sys.stdin.readline, ""):
        message = json.loads(line)
        if "metric" not in message:
            continue
        what, number = message["sample"]["user_input"], message["id"]
        try:
            if what.startswith("value "):
                _say(id=number, value=float(what.removeprefix("value ")))
            else:
                _DEEDS[what](number)
        except _Stopped:
            continue


main()
