"""What to change after a run: found by fixed rules, and on top of that in a model's words where one is set.

It comes after the scores and costs them nothing: whatever fails here is told in its own status.
"""

from budeval.scoring.advice.adviser import Adviser, Writer

__all__ = ["Adviser", "Writer"]
