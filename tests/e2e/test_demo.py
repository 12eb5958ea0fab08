"""The demo's evaluation: its scores are those of OpenCompass itself, its events those of the workflow."""

import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from dev import demo, images, model
from dev.stack import Stack
from tests.e2e import evaluations
from tests.e2e.jobs import restricted_job
from tests.e2e.observe import Subscriber, wait_for

pytestmark = pytest.mark.e2e

_DIRECT = Path(__file__).with_name("direct_opencompass.py")
_LEAST_ROWS = 60
_LOWEST, _HIGHEST = 20, 95


def _direct_rows(path: Path) -> str:
    """As RULER's evaluator wants them: a list of answers."""
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    if path.stem != "sums":
        rows = [{**row, "answer": [row["answer"]]} for row in rows]
    return "".join(json.dumps(row) + "\n" for row in rows)


def _direct_job() -> dict[str, Any]:
    command = ["python3", "/cfg/direct_opencompass.py", model.MODEL_NAME, evaluations.MODEL_ENDPOINT]
    container = {
        "name": "direct",
        "image": images.opencompass().tag,
        "command": command,
        "env": [{"name": "OPENAI_API_KEY", "value": "none"}, {"name": "HOME", "value": "/scratch"}],
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
        "volumeMounts": [
            {"name": "cfg", "mountPath": "/cfg"},
            {"name": "scratch", "mountPath": "/scratch"},
        ],
    }
    volumes = [{"name": "cfg", "configMap": {"name": "direct"}}, {"name": "scratch", "emptyDir": {}}]
    return restricted_job("direct", "team-a", container, volumes)


def _run_directly(stack: Stack) -> dict[str, float]:
    """The scores of OpenCompass, started by hand on the same rows."""
    files = {path.name: _direct_rows(path) for path in sorted(demo.DATASETS.glob("*.jsonl"))}
    files[_DIRECT.name] = _DIRECT.read_text()
    config = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "direct", "namespace": "team-a"},
        "data": files,
    }
    objects = json.dumps({"apiVersion": "v1", "kind": "List", "items": [config, _direct_job()]})
    stack.kubectl(1, "apply", "--filename", "-", stdin=objects)

    def ended() -> str | None:
        status = stack.kubectl(1, "get", "job", "direct", "-n", "team-a", "-o", "jsonpath={.status}")
        return status if '"Complete"' in status or '"Failed"' in status else None

    try:
        wait_for(ended, "OpenCompass run by hand", 500)
        log = stack.kubectl(1, "logs", "job/direct", "-n", "team-a")
    finally:
        stack.kubectl(1, "delete", "--ignore-not-found", "--filename", "-", stdin=objects)
    line = next((line for line in log.splitlines() if line.startswith("DIRECT ")), None)
    assert line, log[-3000:]
    scores: dict[str, float] = json.loads(line.removeprefix("DIRECT "))
    return scores


@pytest.fixture(scope="module")
def demo_evaluation(stack: Stack) -> dict[str, Any]:
    """The demo's request, evaluated: {eval_id, results}."""
    return _evaluated(stack)


def _evaluated(stack: Stack, **changes: Any) -> dict[str, Any]:
    stack.up()
    body = demo.request(model.chat_endpoint(stack.clusters[0].node_address)) | changes
    with httpx.Client(base_url="http://127.0.0.1:13080", timeout=30, trust_env=False) as service:
        eval_id = evaluations.start(service, body)
        evaluations.wait_for_end(service, eval_id)
        return {"eval_id": eval_id, **evaluations.results(service, eval_id)}


def test_the_demos_scores_say_something(demo_evaluation: dict[str, Any]) -> None:
    """Each dataset has enough rows, and a score that is neither that of a sage nor that of a guesser."""
    scores = {result["dataset_id"]: result["scores"] for result in demo_evaluation["results"]}

    assert demo_evaluation["success"] is True
    assert set(scores) == {"capitals", "reading", "sums"}
    for name, (score,) in scores.items():
        rows = (demo.DATASETS / f"{name}.jsonl").read_text().splitlines()
        assert len(rows) >= _LEAST_ROWS
        assert _LOWEST <= score["score"] <= _HIGHEST, name
        assert score["unit"] == "percent"


def test_the_demos_scores_are_those_of_opencompass(stack: Stack, demo_evaluation: dict[str, Any]) -> None:
    """The same rows, the same model, OpenCompass started by hand: the same numbers."""
    ours = {result["dataset_id"]: result["scores"][0]["score"] for result in demo_evaluation["results"]}

    direct = _run_directly(stack)

    assert ours == pytest.approx(direct)
    assert all(score > 0 for score in direct.values())


@pytest.fixture(scope="module")
def by_lm_eval(stack: Stack) -> dict[str, Any]:
    """The demo's request with the other engine."""
    return _evaluated(stack, engine="lm-eval")


def test_engines_are_compared_where_they_compare_alike(
    service: httpx.Client, demo_evaluation: dict[str, Any], by_lm_eval: dict[str, Any]
) -> None:
    """Contained answers sample by sample, the items being the same; numbers each reads by its own rule."""
    asked = {"base": demo_evaluation["eval_id"], "candidate": by_lm_eval["eval_id"]}

    report = service.get("/compare", params=asked).raise_for_status().json()

    found = {item["dataset"]: (item["verdict"], item["method"]) for item in report["datasets"]}
    assert found == {
        "capitals": ("no_evidence", "mcnemar_exact"),
        "reading": ("no_evidence", "mcnemar_exact"),
        "sums": ("not_comparable", None),
    }
    assert report["verdict"] == "not_comparable"
    assert report["differs"]["engine"] == ["opencompass", "lm-eval"]


def test_both_engines_give_the_same_scores(
    demo_evaluation: dict[str, Any], by_lm_eval: dict[str, Any]
) -> None:
    """The same rows, the same model, the same comparison: lm-eval's shares are OpenCompass' percentages."""
    other = by_lm_eval

    percentages = {result["dataset_id"]: result["scores"][0] for result in demo_evaluation["results"]}
    shares = {result["dataset_id"]: result["scores"][0] for result in other["results"]}
    assert {(score["metric"], score["unit"]) for score in shares.values()} == {("accuracy", "fraction")}
    # OpenCompass' evaluator of contained answers rounds to two digits.
    assert {name: 100 * score["score"] for name, score in shares.items()} == pytest.approx(
        {name: score["score"] for name, score in percentages.items()}, abs=0.005
    )
    assert {name: score["samples"] for name, score in shares.items()} == {
        name: score["samples"] for name, score in percentages.items()
    }


def test_the_demos_events_are_what_the_workflow_did(
    subscriber: Subscriber, demo_evaluation: dict[str, Any]
) -> None:
    """Each once, in order, without a gap; progress between the start and the end of monitoring."""
    events = evaluations.told(subscriber, demo_evaluation["eval_id"])

    assert [number for number, _, _ in events] == list(range(1, len(events) + 1))
    assert evaluations.without_progress(events) == evaluations.WHOLE_STORY
    monitoring = [number for number, event, _ in events if event == "monitor_eval_job_progress"]
    progress = [number for number, event, _ in events if event == "eta"]
    assert [number for number in progress if monitoring[0] < number < monitoring[1]] != []
