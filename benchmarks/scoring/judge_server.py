"""The scripted judge in a process of its own, so that it takes no time of those who are measured.

Prints its URL, and serves until standard input closes.
"""

import argparse
import sys

from benchmarks.scoring.samples import plan_of, samples
from tests.scoring.fake_judge import served
from tests.scoring.fake_opinionated_judge import FakeOpinionatedJudge


def main() -> None:
    """Serve."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--judges-in", type=float, required=True, help="seconds until a judgement")
    parser.add_argument("--embeds-in", type=float, required=True, help="seconds until embeddings")
    options = parser.parse_args()
    judge = FakeOpinionatedJudge(map(plan_of, samples()), options.judges_in, options.embeds_in)
    with served(judge):
        print(judge.url, flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
