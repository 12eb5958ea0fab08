"""Two evaluations of the same model, and one that is worse on purpose, compared on the real stack."""

import json
import os
import subprocess
import sys
from typing import Any

import httpx
import pytest

from dev import apps, demo
from dev.layout import CHECKOUT
from dev.stack import Stack
from tests.e2e import evaluations
from tests.e2e.evaluations import Json, dataset, request

pytestmark = pytest.mark.e2e

_ROWS = "".join((demo.DATASETS / f"{name}.jsonl").read_text() for name in ("capitals", "reading"))
_COUNT = len(_ROWS.splitlines())


def _evaluation(temperature: float) -> Json:
    source = {"inline": _ROWS, "evaluator": "contains"}
    asked = dataset("answers", source=source, resources={"cpu": "200m", "memory": "1Gi"})
    model = {"extra_args": {"max_out_len": 48, "batch_size": 4}}
    decoding = {"temperature": temperature, "seed": 1}
    return request(asked, engine="lm-eval", model=model, decoding=decoding)


@pytest.fixture(scope="module")
def three(stack: Stack) -> tuple[str, str, str]:
    """Ids of a base, of the same again, and of the model at temperature 2; all have ended well."""
    stack.up()
    url = f"http://127.0.0.1:{apps.SERVICE_PORT}"
    with httpx.Client(base_url=url, timeout=30, trust_env=False) as service:
        started = [evaluations.start(service, _evaluation(heat)) for heat in (0.0, 0.0, 2.0)]
        states = [evaluations.wait_for_end(service, eval_id) for eval_id in started]
    assert [state["outcome"] for state in states] == ["COMPLETED"] * 3, [state["error"] for state in states]
    return started[0], started[1], started[2]


def _compare(service: httpx.Client, base: str, candidate: str) -> Any:
    asked = {"base": base, "candidate": candidate}
    return service.get("/compare", params=asked).raise_for_status().json()


def test_the_same_model_twice_is_no_evidence(service: httpx.Client, three: tuple[str, str, str]) -> None:
    """On more than 100 items, sample by sample; nothing else differs."""
    report = _compare(service, three[0], three[1])

    assert _COUNT >= 100
    assert report["verdict"] == "no_evidence"
    (found,) = report["datasets"]
    assert (found["method"], found["base"]["samples"]) == ("mcnemar_exact", _COUNT)
    assert report["differs"] == {}


def test_a_hot_model_is_worse(service: httpx.Client, three: tuple[str, str, str]) -> None:
    """At the stated significance; and the temperature is told as what differs."""
    report = _compare(service, three[0], three[2])

    assert report["verdict"] == "worse"
    (found,) = report["datasets"]
    assert found["p_holm"] < report["alpha"] == 0.05
    assert found["difference"] < 0
    assert [facts["temperature"] for facts in report["differs"]["decoding"]] == [0.0, 2.0]


@pytest.mark.parametrize(("candidate", "code"), [(1, 0), (2, 1)], ids=["same", "worse"])
def test_the_gate_ends_with_its_exit_code(three: tuple[str, str, str], candidate: int, code: int) -> None:
    """As a pipeline would call it."""
    command = [sys.executable, "-m", "budeval", "compare", three[0], three[candidate], "--fail-if-worse"]
    environment = {**os.environ, "BUDEVAL_URL": f"http://127.0.0.1:{apps.SERVICE_PORT}"}

    done = subprocess.run(
        [*command, "--json"], cwd=CHECKOUT, env=environment, capture_output=True, text=True, check=False
    )

    assert done.returncode == code, done.stderr
    assert json.loads(done.stdout)["datasets"][0]["dataset"] == "answers"


def test_results_say_where_they_come_from(service: httpx.Client, three: tuple[str, str, str]) -> None:
    """Versions, image and its digest, rows, decoding, the endpoint's models, the Job, times."""
    found = evaluations.results(service, three[0])

    assert found["completeness"]["ratio"] == 1.0
    assert found["headline"]["datasets"] == 1
    provenance = found["results"][0]["provenance"]
    assert (provenance["engine"], provenance["engine_version"]) == ("lm-eval", "0.4.13")
    assert provenance["image"].startswith("budeval.local/lm-eval:")
    assert "sha256:" in provenance["image_id"]
    assert provenance["endpoint_models"] != []
    assert provenance["decoding"]["seed"] == 1
    assert [(item["rows"], len(item["sha256"])) for item in provenance["datasets"]] == [(_COUNT, 64)]
    assert provenance["job"].startswith("answers-")
    assert provenance["started"] <= provenance["ended"]
