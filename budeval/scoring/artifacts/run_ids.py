"""Which run ids can be part of a path: never hidden, never above, never elsewhere."""

import re

RUN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


def checked(run_id: str) -> str:
    """The id.

    Raises:
        ValueError: it is none.
    """
    if not RUN_ID.fullmatch(run_id):
        raise ValueError(f"{run_id!r} is no run id")
    return run_id
