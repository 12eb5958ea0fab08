"""How a program at the claim hands its answer over: in a frame of `budeval.domain.frames`."""

from __future__ import annotations

import base64
import hashlib
import json
import zlib
from typing import Any


def framed(name: str, answer: dict[str, Any]) -> str:
    """The answer's frame and the closing one, a line each; `name` stands for the id of a run."""
    return f"{_frame(name, {'run_id': name, **answer})}\n{_frame('-', {'count': 1})}"


def _frame(name: str, document: dict[str, Any]) -> str:
    raw = json.dumps(document, allow_nan=False).encode()
    packed = base64.b64encode(zlib.compress(raw)).decode()
    return f"BUDEVAL1 {name} {len(raw)} {hashlib.sha256(raw).hexdigest()} {packed}"
