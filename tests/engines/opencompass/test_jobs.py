"""A run as a Job of OpenCompass."""

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from budeval.config import StorageConfig
from budeval.domain.evaluation import Evaluation
from budeval.engines.base import JobSpec, RunSecrets
from budeval.engines.in_pod.program import load_spec
from budeval.engines.manifests import deployment
from budeval.engines.opencompass.jobs import OpenCompass

_STORAGE = StorageConfig(mount_path="/workspace/shared")
_ENGINE = OpenCompass("images.local/opencompass:1", _STORAGE)
_OWN = {"format": "csv", "prompt": "{question}", "answer": "reference", "evaluator": "last_number"}
_ROWS = "question,reference\n2 + 3?,5\n"
# What a kubelet would replace in commands and variables: $(NAME), and $$ by $.
_HOSTILE = ["$(OPENAI_API_KEY)", "$$(HOME)", "a $(HOME) $$ b", "{{ lookup('env', 'HOME') }}", "'; rm -rf / #"]


def _evaluation(model: dict[str, Any] | None = None, **run: Any) -> Evaluation:
    return Evaluation.model_validate(
        {
            "eval_id": "e-1",
            "experiment_id": "x-1",
            "engine": "opencompass",
            "model": {"name": "m", "endpoint": "http://m/v1", **(model or {})},
            "runs": [{"run_id": "r", "dataset_id": "demo_gsm8k_chat_gen", **run}],
            "target": {"cluster": "local", "namespace": "team-a"},
            "claim": "a-claim",
            "audience": {"topics": ["news"], "workflow_id": "theirs"},
        }
    )


def _job(evaluation: Evaluation, rows: str | None = None, attempt: int = 1) -> JobSpec:
    return _ENGINE.build_job(evaluation, evaluation.runs[0], attempt, RunSecrets("sk-very-secret", rows))


def _run_json(spec: JobSpec) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(spec.files["run.json"])
    return document


def _dataset(spec: JobSpec) -> dict[str, Any]:
    (dataset,) = _run_json(spec)["datasets"]
    assert isinstance(dataset, dict)
    return dataset


def test_the_job_runs_our_script_under_an_init_process() -> None:
    """As PID 1 OpenCompass would not hear that it shall stop."""
    spec = _job(_evaluation())

    assert spec.command == ["/usr/bin/tini", "-g", "--", "python3", "/budeval", "/budeval/run.json"]
    assert spec.image == "images.local/opencompass:1"
    assert "budeval.engines.opencompass.run_in_pod" in spec.files["__main__.py"]


def test_run_json_holds_what_the_script_reads(tmp_path: Any) -> None:
    """The contract between the service and the pod; the script itself takes it."""
    spec = _job(_evaluation(run_id="R_1", limit=8), attempt=2)

    document = _run_json(spec)
    assert set(document) == {
        "schema",
        "eval_id",
        "run_id",
        "attempt",
        "model",
        "limit",
        "datasets",
        "run_dir",
        "data_dir",
        "seconds",
    }
    assert (document["schema"], document["eval_id"], document["run_id"]) == (1, "e-1", "R_1")
    assert (document["attempt"], document["limit"]) == (1, 8)
    assert document["run_dir"] == "/workspace/shared/results/e-1/opencompass-R_1"
    assert document["data_dir"] == "/workspace/shared"
    (tmp_path / "run.json").write_text(spec.files["run.json"])
    assert load_spec(str(tmp_path / "run.json")) == document


def test_results_lie_where_the_pod_may_write_and_the_extractor_looks() -> None:
    """`results/<eval_id>/<prefix><run_id>` of the claim."""
    evaluation = _evaluation()
    spec = _job(evaluation)

    job = deployment(evaluation, evaluation.runs[0], spec, _STORAGE, "here")["job"]
    (container,) = job["spec"]["template"]["spec"]["containers"]
    writable = [mount["mountPath"] for mount in container["volumeMounts"] if not mount.get("readOnly")]
    assert any(_run_json(spec)["run_dir"].startswith(f"{path}/opencompass-") for path in writable)


def test_the_model_is_asked_as_the_evaluation_says() -> None:
    """All of its settings, and how often and how long a request is tried."""
    model = {
        "name": "team/model:7b",
        "endpoint": "https://m.example/v1",
        "query_per_second": 2.5,
        "max_out_len": 32,
        "max_seq_len": 64,
        "batch_size": 4,
        "temperature": 0.7,
        "seed": 11,
    }

    told = _run_json(_job(_evaluation(model)))["model"]

    assert told == {**model, "retry": told["retry"], "timeout": told["timeout"]}
    assert told["retry"] >= 1
    assert told["timeout"] > 0


def test_a_stock_dataset_is_only_named() -> None:
    """OpenCompass has its configuration; nothing of the request is added to it."""
    spec = _job(_evaluation())

    assert _dataset(spec) == {
        "dataset_id": "demo_gsm8k_chat_gen",
        "abbr": "demo_gsm8k_chat_gen",
        "kind": "stock",
    }


@pytest.mark.parametrize("form", ["jsonl", "csv"])
def test_inline_rows_come_as_a_file(form: str) -> None:
    """Beside the script, unchanged, and with the name that the script reads."""
    evaluation = _evaluation(dataset_id="sums", own={**_OWN, "format": form, "digest": "d" * 64})

    spec = _job(evaluation, _ROWS)

    assert spec.files[f"dataset-0.{form}"] == _ROWS
    assert _dataset(spec) == {
        "dataset_id": "sums",
        "abbr": "sums",
        "kind": "own",
        "file": f"/budeval/dataset-0.{form}",
        "format": form,
        "prompt": "{question}",
        "answer": "reference",
        "evaluator": "last_number",
    }


def test_rows_on_the_claim_are_read_there() -> None:
    """Below `datasets/`, which the pod may only read; no file is added."""
    spec = _job(_evaluation(dataset_id="sums", own={**_OWN, "path": "team-a/sums.csv"}))

    assert _dataset(spec)["file"] == "/workspace/shared/datasets/team-a/sums.csv"
    assert not any("dataset" in path for path in spec.files)


@pytest.mark.parametrize(
    ("dataset_id", "abbr"),
    [
        ("sums", "sums"),
        ("Sums_v1.2-b", "Sums_v1.2-b"),
        ("our sums / 2026", "our-sums-2026"),
        ("../../etc/passwd", "..-..-etc-passwd"),
        ("/", "dataset"),
        ("数学", "dataset"),
    ],
)
def test_a_datasets_name_becomes_a_file_name(dataset_id: str, abbr: str) -> None:
    """OpenCompass names files by it; the id itself is passed on as it is."""
    dataset = _dataset(_job(_evaluation(dataset_id=dataset_id, own={**_OWN, "path": "a.csv"})))

    assert (dataset["abbr"], dataset["dataset_id"]) == (abbr, dataset_id)


@given(st.text(min_size=1, max_size=50))
def test_no_dataset_id_leaves_its_directory(dataset_id: str) -> None:
    """Whatever a caller calls it, the name of its file has no slash and is not empty."""
    dataset = _dataset(_job(_evaluation(dataset_id=dataset_id)))

    assert re.fullmatch(r"[A-Za-z0-9._-]+", dataset["abbr"])


def test_the_api_key_is_the_only_secret_and_stands_in_no_file() -> None:
    """It reaches the pod as a variable out of a Secret."""
    spec = _job(_evaluation(), _ROWS)

    assert spec.secret_environment == {"OPENAI_API_KEY": "sk-very-secret"}
    assert "sk-very-secret" not in json.dumps([spec.command, dict(spec.files), dict(spec.environment)])
    assert "sk-very-secret" not in repr(spec)
    assert "sk-very-secret" not in repr(RunSecrets("sk-very-secret"))


@pytest.mark.parametrize("hostile", _HOSTILE)
def test_nothing_of_a_request_is_where_a_kubelet_replaces_variables(hostile: str) -> None:
    """Names, prompts and rows are data in files; in the manifest itself there is nothing to replace."""
    evaluation = _evaluation(
        {"name": hostile, "endpoint": f"http://m/{hostile}"},
        dataset_id=hostile,
        own={**_OWN, "prompt": hostile, "answer": hostile, "digest": "d"},
    )
    spec = _job(evaluation, hostile)

    deployed = deployment(evaluation, evaluation.runs[0], spec, _STORAGE, "here")

    text = json.dumps(deployed["job"])
    assert "$" not in text
    assert json.dumps(hostile)[1:-1] not in text
    document = json.loads(deployed["files"]["run.json"])
    assert document["model"]["name"] == document["datasets"][0]["prompt"] == hostile


@given(st.text(max_size=200), st.text(max_size=200))
def test_run_json_carries_any_text(name: str, prompt: str) -> None:
    """Quotes, control characters and other scripts arrive as they were sent, in plain ASCII."""
    own = {**_OWN, "prompt": prompt, "path": "a.csv"}

    spec = _job(_evaluation({"name": name}, dataset_id="sums", own=own))

    assert spec.files["run.json"].isascii()
    assert _run_json(spec)["model"]["name"] == name
    assert _dataset(spec)["prompt"] == prompt


def test_the_same_run_makes_the_same_job() -> None:
    """By that a repeated deployment knows its own; another attempt is another Job."""
    assert _job(_evaluation()) == _job(_evaluation())
    assert _job(_evaluation(), attempt=2) != _job(_evaluation())


def test_stock_datasets_are_names_of_configurations() -> None:
    """Each once, in order, and without anything that a search for files would expand."""
    names = _ENGINE.stock_datasets()

    assert len(names) > 100
    assert names == sorted(set(names))
    assert [name for name in names if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.+-]*", name)] == []
    assert "demo_gsm8k_chat_gen" in names


def test_stock_datasets_ask_for_generated_text() -> None:
    """A chat API gives no perplexities."""
    assert [name for name in _ENGINE.stock_datasets() if re.search(r"(^|_)ppl(_|$)", name)] == []
