"""Samples a second, where each judgement takes 200 ms and each request for embeddings 50 ms."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from benchmarks.scoring import running
from benchmarks.scoring.running import Endpoints, PlainRagas
from benchmarks.scoring.samples import OF_THE_REFERENCE, samples

JUDGES_IN, EMBEDS_IN = 0.2, 0.05
IN_FLIGHT = 8
JOBS_AT_ONCE = 4
"""Threads of the original scoring manager, each with one sample."""
ROUNDS = 3


def measure() -> dict[str, Any]:
    """Samples a second of each way, in each round: in turn, so that all meet the same machine."""
    chosen = samples()
    with _judge() as url, PlainRagas() as plain:
        endpoints = Endpoints.scripted(url, IN_FLIGHT)
        with endpoints.ragas() as ours:
            native = endpoints.native()
            ways: dict[str, Callable[[], float]] = {
                "native": lambda: running.scored(native, endpoints, chosen, OF_THE_REFERENCE)[0],
                "ragas_together": lambda: _plain(plain, url, "together", IN_FLIGHT),
                "engine_ragas": lambda: running.scored(ours, endpoints, chosen, OF_THE_REFERENCE)[0],
                "reference_4_jobs": lambda: _plain(plain, url, "in sequence", JOBS_AT_ONCE),
                "reference_1_job": lambda: _plain(plain, url, "in sequence", 1),
            }
            _warm_up(ways)
            rounds = [{name: len(chosen) / way() for name, way in ways.items()} for _ in range(ROUNDS)]
    return {
        "samples": len(chosen),
        "metrics": OF_THE_REFERENCE,
        "in_flight": IN_FLIGHT,
        "judges_in_s": JUDGES_IN,
        "embeds_in_s": EMBEDS_IN,
        "samples_per_second": rounds,
    }


def _plain(plain: PlainRagas, url: str, shape: str, in_flight: int) -> float:
    seconds: float = plain.score(url, samples(), shape=shape, in_flight=in_flight)["seconds"]
    return seconds


def _warm_up(ways: dict[str, Callable[[], float]]) -> None:
    """Imports are not what is measured."""
    for name in ("native", "ragas_together", "engine_ragas"):
        ways[name]()


@contextmanager
def _judge() -> Iterator[str]:
    """The address of the scripted judge, which is in a process of its own."""
    options = ["--judges-in", str(JUDGES_IN), "--embeds-in", str(EMBEDS_IN)]
    command = [sys.executable, "-m", "benchmarks.scoring.judge_server", *options]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        if not server.stdin or not server.stdout:
            raise RuntimeError("the pipes are closed")
        yield server.stdout.readline().strip()
