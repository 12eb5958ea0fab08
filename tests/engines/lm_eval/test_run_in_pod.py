"""The script that runs one lm-eval evaluation in a pod, with a fake engine and a fake endpoint."""

import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from budeval.engines.in_pod.progress import Progress
from budeval.engines.lm_eval import run_in_pod
from tests.engines.pods import KEY, FakeEndpoint, Pod, dataset_entry, model_entry, progress_told, run_spec

_ENGINE = """
import json, os, sys
config = json.load(open(sys.argv[sys.argv.index("--config") + 1]))
mode = os.environ["FAKE_MODE"]
with open(os.environ["FAKE_TOLD"], "w") as file:
    json.dump(config, file)
print("Cached requests: 0, Requests remaining: 1")
print("it says " + os.environ["OPENAI_API_KEY"])
if mode == "endpoint":
    print("Traceback (most recent call last): API request failed! Status code: 503, "
          "Response text: busy. Retrying...\\nTraceback (most recent call last):")
    sys.exit(1)
if mode != "nothing":
    folder = os.path.join(config["output_path"], "m")
    os.makedirs(folder)
    value = {"good": 0.5, "nan": float("nan"), "fails": 0.5}[mode]
    with open(os.path.join(folder, "results_now.json"), "w") as file:
        json.dump({"results": {config["tasks"][0]: {"alias": "x", "accuracy,none": value}}}, file)
sys.exit(7 if mode == "fails" else 0)
"""


@pytest.fixture
def pod(tmp_path: Path, endpoint: FakeEndpoint) -> Iterator[Pod]:
    """One that was just started; signals are as before afterwards."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield Pod(tmp_path, endpoint.url, _ENGINE)
    for number, handler in before.items():
        signal.signal(number, handler)


def _failure(pod: Pod) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(pod.termination.read_text())
    return document


def test_a_whole_run_ends_with_0(pod: Pod, capsys: pytest.CaptureFixture[str]) -> None:
    """The plan names the output; the key is nowhere; the engine is told where its cache is."""
    assert pod.main(run_in_pod.run, "good") == 0

    output = capsys.readouterr().out
    told = progress_told(output)
    assert (told[0], told[-1]) == ((0, 0, "prepare"), (1, 1, "done"))
    plan = json.loads((pod.root / "run/.budeval/plan.json").read_text())
    assert plan["output"] == "start-1"
    assert plan["models"] == ["m"]
    (planned,) = plan["datasets"]
    assert len(planned.pop("sha256")) == len(planned.pop("rows_sha256")) == 64
    assert planned == {
        "abbr": "own-sums",
        "dataset_id": "sums",
        "rows": 1,
        "rows_there": 1,
        "unit": "fraction",
        "evaluator": "exact",
    }
    config = pod.told()
    assert config["output_path"] == str(pod.root / "run/start-1")
    assert config["use_cache"] == str(pod.root / "run/.budeval/answers")
    assert not pod.key_is_in(output)


def test_each_start_has_an_output_of_its_own(pod: Pod) -> None:
    """So an older one's result is never taken for a newer one's."""
    assert pod.main(run_in_pod.run, "good") == 0
    assert pod.main(run_in_pod.run, "nothing") == 3

    assert pod.told()["output_path"].endswith("/start-2")
    assert _failure(pod)["code"] == "RESULT_MISSING"


@pytest.mark.parametrize(
    ("mode", "code"), [("fails", "ENGINE_FAILED"), ("nothing", "RESULT_MISSING"), ("nan", "RESULT_MISSING")]
)
def test_a_run_without_scores_ends_with_3(pod: Pod, mode: str, code: str) -> None:
    """Whatever the engine's exit status is; Kubernetes is told why."""
    assert pod.main(run_in_pod.run, mode) == 3

    assert _failure(pod)["code"] == code
    assert KEY not in _failure(pod)["message"]


def test_an_endpoint_that_ended_the_engine_is_named(pod: Pod) -> None:
    """And not the trace that its answer left."""
    assert pod.main(run_in_pod.run, "endpoint") == 3

    assert _failure(pod)["code"] == "ENDPOINT_ERROR"
    assert "answers 503: busy" in _failure(pod)["message"]


def test_an_attempt_that_dies_early_has_a_plan_of_its_own(pod: Pod, endpoint: FakeEndpoint) -> None:
    """Which names an output that is not there: an earlier attempt's scores are not taken for its own."""
    assert pod.main(run_in_pod.run, "good") == 0
    endpoint.script = [(401, "no")]
    pod.spec["attempt"] = 2

    assert pod.main(run_in_pod.run, "good") == 3

    plan = json.loads((pod.root / "run/.budeval/plan.json").read_text())
    assert (plan["attempt"], plan["output"]) == (2, "start-2")
    assert [item["abbr"] for item in plan["datasets"]] == ["own-sums"]


def test_stock_datasets_are_refused(pod: Pod) -> None:
    """Their data are on a hub, which pods do not reach."""
    pod.spec["datasets"] = [{"dataset_id": "gsm8k", "abbr": "gsm8k", "kind": "stock"}]

    assert pod.main(run_in_pod.run, "good") == 3

    assert _failure(pod)["code"] == "DATASET_UNKNOWN"


@pytest.mark.parametrize("name", ["m", "org/model,x=1", "'; !python/object #\n{{x}}", "ä 😀", "a: b"])
def test_the_configuration_is_data(tmp_path: Path, name: str) -> None:
    """Nothing of a request is ever code, whatever it is called; lm-eval reads it as YAML."""
    spec = run_spec(tmp_path, model=model_entry(endpoint="http://m/v1/", name=name))
    planned = [{**dataset_entry(tmp_path / "rows"), "abbr": "own-sums", "rows": 1}]
    spec["model"].update(temperature=0.5, seed=7)

    config = yaml.safe_load(
        Path(run_in_pod.write_config(spec, planned, str(tmp_path), "/out")).read_text(encoding="utf-8")
    )

    assert config["model_args"]["model"] == name
    assert config["model_args"]["base_url"] == "http://m/v1/chat/completions"
    assert (config["model_args"]["num_concurrent"], config["model_args"]["seed"]) == (4, 7)
    text = (tmp_path / "tasks" / "own-sums.yaml").read_text()
    task = yaml.safe_load(text.replace("!function ", ""))
    assert (task["process_results"], task["custom_dataset"]) == ("evaluators.exact", "texts.rows")
    assert task["generation_kwargs"] == {
        "until": ["<|endoftext|>"],
        "max_gen_toks": 8,
        "temperature": 0.5,
        "do_sample": True,
    }
    assert (tmp_path / "tasks" / "evaluators.py").exists()
    assert (tmp_path / "tasks" / "texts.py").exists()


@pytest.mark.parametrize(
    ("abbr", "task"), [("sums", "own-sums"), ("gsm8k", "own-gsm8k"), ("a.yaml", "own-a-yaml"), ("*", "own--")]
)
def test_a_task_has_none_of_lm_evals_names(tmp_path: Path, abbr: str, task: str) -> None:
    """It would read a name as a pattern or as a path."""
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"question": "?", "answer": 1}')

    planned = run_in_pod.own_task(dataset_entry(rows, abbr=abbr), None, str(tmp_path))

    assert (planned["abbr"], planned["rows"]) == (task, 1)


def test_progress_is_read_from_the_bar_of_this_start(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What the cache had is done; an earlier start's bar does not count."""
    log = tmp_path / ".budeval" / "engine.log"
    log.parent.mkdir()
    log.write_text("Cached requests: 9, x\nRequesting API: 100%|##| 1/1 [00:00]\n")
    progress, bar = Progress(), run_in_pod.Bar(str(log), run_in_pod.log_size(str(tmp_path)))
    planned = [{"abbr": "own-sums", "rows": 10}]

    def look(more: str) -> None:
        with log.open("a") as file:
            file.write(more)
        run_in_pod.tell_progress(bar, planned, progress)

    look("loading\n")
    look("Cached requests: 4, Requests remaining: 6\n")
    look("\rRequesting API:   0%|     | 0/6 [00:00<?, ?it/s]\rRequesting API:  33%|##   | 2/6 [00:00<00:01]")
    look("\rRequesting API:  50%|##   | 3")
    look("/6 [00:00<00:01]")
    look("\rRequesting API: 100%|#####| 6/6 [00:00<00:01]")

    assert progress_told(capsys.readouterr().out) == [
        (4, 10, "infer"),
        (6, 10, "infer"),
        (7, 10, "infer"),
        (0, 1, "evaluate"),
    ]
