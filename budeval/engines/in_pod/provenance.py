"""Where scores come from: what ran, on which rows, and whether the endpoint stayed the same meanwhile."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import time
import urllib.request
from importlib import metadata
from typing import Any

from budeval.engines.in_pod.endpoint import NoRedirects
from budeval.engines.in_pod.files import read_json, write_json
from budeval.engines.in_pod.masking import without_key

MODELS_SECONDS = 10.0
MOST_MODELS = 100
LONGEST_ANSWER = 1024 * 1024


def begin(spec: dict[str, Any], package: str, key: str, evaluators: str | None = None) -> None:
    """Write what is known before the engine starts.

    `package` is the engine's, installed beside this Python; `evaluators` the text of our own evaluators,
    where not the engine's are used.
    """
    keep(
        spec["run_dir"],
        evaluators_sha256=hashlib.sha256(evaluators.encode()).hexdigest() if evaluators else None,
        engine_version=installed(package),
        python=platform.python_version(),
        started=now(),
        endpoint_models=endpoint_models(spec["model"], key),
    )


def end(spec: dict[str, Any], key: str) -> None:
    """Add when it ended, and what the endpoint says now."""
    known = read_json(path_in(spec["run_dir"])) or {}
    keep(spec["run_dir"], **known, ended=now(), endpoint_models_after=endpoint_models(spec["model"], key))


def keep(run_dir: str, **known: Any) -> None:
    """Write the file as a whole."""
    write_json(path_in(run_dir), known)


def path_in(run_dir: str) -> str:
    """Where it is."""
    return os.path.join(run_dir, ".budeval", "provenance.json")


def now() -> str:
    """UTC, by the pod's clock."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def installed(package: str) -> str | None:
    """The version of a package."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def endpoint_models(model: dict[str, Any], key: str) -> list[str] | None:
    """The names of the endpoint's models; None where it does not tell, as many do not."""
    url = model["endpoint"].rstrip("/") + "/models"
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), NoRedirects)
    try:
        request = urllib.request.Request(url, headers={"Authorization": f"Bearer {key}"})  # noqa: S310
        with opener.open(request, timeout=MODELS_SECONDS) as answer:
            listed = json.loads(answer.read(LONGEST_ANSWER))["data"]
        return sorted({without_key(str(item["id"]), key) for item in listed})[:MOST_MODELS]
    except Exception:  # noqa: BLE001 - whatever an endpoint answers, a run does not fail of it
        return None
