"""Scores of OpenCompass runs: what the trees hold, what is missing, and nothing else.

The numbers in brackets are those of the extractor's requirements: what OpenCompass 0.5.4 was seen to write.
`samples/` holds output of real runs (c..) and of OpenCompass' own summarizer (s..), shortened.
"""

import ast
import json
import os
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from budeval.domain import frames
from budeval.engines.opencompass import extract_results as extractor
from tests.engines.opencompass.trees import EVAL as _EVAL
from tests.engines.opencompass.trees import HEAD as _HEAD
from tests.engines.opencompass.trees import LATER as _LATER
from tests.engines.opencompass.trees import STAMP as _STAMP
from tests.engines.opencompass.trees import Content, Document, Tree
from tests.engines.opencompass.trees import codes as _codes
from tests.engines.opencompass.trees import config as _config
from tests.engines.opencompass.trees import unscored as _unscored
from tests.engines.opencompass.trees import values as _values


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    """A run without anything yet."""
    return Tree(tmp_path)


@pytest.fixture
def sample(tmp_path: Path, request: pytest.FixtureRequest) -> Document:
    """The document of a sample tree."""
    made = Tree(tmp_path)
    made.fill(request.param)
    return made.read()


@pytest.mark.parametrize("sample", ["c01"], indirect=True)
def test_a_complete_run_is_a_success(sample: Document) -> None:
    """[1] One score for each row, with the guide's keys, exact, and with its uncertainty."""
    assert sample["status"] == "success"
    assert [(s["dataset"], s["version"], s["metric"], s["mode"], s["score"]) for s in sample["scores"]] == [
        ("demo_gsm8k", "1d7fe4", "accuracy", "gen", 93.75),
        ("arith_qa", "359d58", "accuracy", "gen", 75.0),
        ("tiles_mcq", "d890be", "accuracy", "gen", 80.0),
    ]
    assert all(s["exact"] and s["primary"] and s["unit"] == "percent" for s in sample["scores"])
    assert [s.get("samples") for s in sample["scores"]] == [32, 20, 20]
    assert sample["csv_file"].endswith("/20261122_112931/summary/summary_20261122_112931.csv")
    assert sample["warnings"] == []


@pytest.mark.parametrize("sample", ["c05"], indirect=True)
def test_a_summary_of_dashes_is_a_failed_run(sample: Document) -> None:
    """[2] Each requested dataset is listed, with the log that tells why."""
    assert sample["code"] == "NOTHING_SCORED"
    assert _unscored(sample) == [
        ("arith_qa", "stub-500", "failed", "INFERENCE_FAILED"),
        ("tiles_mcq", "stub-500", "failed", "INFERENCE_FAILED"),
    ]
    assert all("failed after retrying" in cell["log"] for cell in sample["cells"])
    assert sample["cells"][0]["evidence"] == "20261122_114036/logs/infer/stub-500/arith_qa.out"


@pytest.mark.parametrize("sample", ["s03"], indirect=True)
def test_a_run_with_gaps_is_partial(sample: Document) -> None:
    """[3, 8, 9] What is there counts, a dash concerns its own model only, and the gaps are listed."""
    assert (sample["status"], sample["code"]) == ("error", "PARTLY_SCORED")
    assert sample["error"] == "No score for: err1, absent, only3"
    assert _values(sample) == {
        ("ok", "accuracy", "m1"): 50.0,
        ("ok", "accuracy", "m2"): 60.0,
        ("ok", "accuracy", "m3"): 70.0,
        ("err1", "accuracy", "m2"): 10.0,
        ("only3", "accuracy", "m3"): 1.0,
    }
    assert ("err1", "m1", "failed", "EVALUATOR_ERROR") in _unscored(sample)
    assert ("absent", "m1", "missing", "NO_RESULT") in _unscored(sample)
    assert len(_unscored(sample)) == 7


@pytest.mark.parametrize("sample", ["s01"], indirect=True)
def test_a_missing_subset_fails_one_model_and_its_groups(sample: Document) -> None:
    """[9, 24] The group that lacks a subset is missing for that model, and is no dataset of its own."""
    assert sample["error"] == "No score for: lukaemon_mmlu_philosophy"
    states = {row[0]: row[1:] for row in _unscored(sample)}
    assert states["lukaemon_mmlu_philosophy"] == ("llama-3-8b", "missing", "NO_RESULT")
    assert states["mmlu-humanities"] == ("llama-3-8b", "missing", "GROUP_INCOMPLETE")
    assert ("mmlu-humanities", "accuracy", "Qwen2.5-7B") in _values(sample)


@pytest.mark.parametrize("sample", ["c02"], indirect=True)
def test_groups_are_told_from_datasets(sample: Document) -> None:
    """[24, 25] A group's rows are flagged, and a deviation is not called a score."""
    assert sample["status"] == "success"
    kinds = {(s["dataset"], s["group"], s["kind"]) for s in sample["scores"]}
    assert {kind for kind in kinds if kind[1]} == {
        ("minimmlu", True, "group"),
        ("minimmlu-weighted", True, "group"),
        ("minimmlu-std", True, "deviation"),
    }
    assert _values(sample)["minimmlu-std", "accuracy", "stub-strong"] == 15.29
    assert not any(s["primary"] for s in sample["scores"] if s["group"])


@pytest.mark.parametrize("sample", ["c02"], indirect=True)
def test_every_model_has_its_scores(sample: Document) -> None:
    """[8] All columns, each with exact values of its own."""
    values = _values(sample)
    assert values["minimmlu_law", "accuracy", "stub-strong"] == pytest.approx(900 / 11)
    assert values["minimmlu_law", "accuracy", "stub-weak"] == pytest.approx(500 / 11)
    assert len(sample["scores"]) == 34


@pytest.mark.parametrize("sample", ["c02"], indirect=True)
def test_the_primary_metric_is_a_datasets_last_score(sample: Document) -> None:
    """[26] It is the summary's first; whoever keeps the last score keeps it."""
    mine = [s for s in sample["scores"] if s["dataset"] == "tiles_circular" and s["model"] == "stub-strong"]
    assert [s["metric"] for s in mine if s["primary"]] == ["acc_origin"]
    assert mine[-1]["metric"] == "acc_origin"
    listed = [c["metric"] for c in sample["cells"] if c["dataset"] == "tiles_circular"]
    assert listed[0] == "acc_origin"


@pytest.mark.parametrize("sample", ["c06"], indirect=True)
def test_the_latest_summary_counts(sample: Document) -> None:
    """[17] `-r` writes a second summary beside the first, which had nothing but dashes."""
    assert sample["status"] == "success"
    assert sample["csv_file"].endswith("summary_20261122_114329.csv")
    assert sorted(s["score"] for s in sample["scores"]) == [70.0, 75.0]


def test_no_summary_is_an_error_with_a_log(tree: Tree) -> None:
    """[4] The end of the newest log says what happened; of a progress bar only the last state."""
    tree.write(f"{_STAMP}/logs/infer/m1/a.out", "bar 1%\rbar 2%\rbar 99%\nCUDA out of memory\n")

    document = tree.read()

    assert (document["error"], document["code"]) == ("No CSV results found", "SUMMARY_MISSING")
    assert document["log"] == "bar 99%\nCUDA out of memory"


def test_a_header_alone_is_no_success(tree: Tree) -> None:
    """[5] What the configuration names is missing then."""
    tree.summary(f"{_HEAD},m1")
    tree.configure(datasets=_config("a", "b"), models=_config("m1"))

    document = tree.read()

    assert document["code"] == "NOTHING_SCORED"
    assert [row[0] for row in _unscored(document)] == ["a", "b"]


@pytest.mark.parametrize("text", ["", "\n", "dataset", "a,b,c,d"])
def test_a_file_that_is_no_summary_is_an_error(tree: Tree, text: str) -> None:
    """[5] Without a model's column there is nothing to read."""
    tree.write(f"{_STAMP}/summary/summary_{_STAMP}.csv", text)

    assert tree.read()["code"] == "RESULTS_UNREADABLE"


@pytest.mark.parametrize("text", ['{"0": {"prediction": "4', "[1]", "", "[" * 100_000, "9" * 10_000])
def test_broken_predictions_fail_their_dataset(tree: Tree, text: str) -> None:
    """[6] Whatever the CSV says; the other dataset stands."""
    tree.summary(f"{_HEAD},m1", "a,111111,accuracy,gen,75.00", "b,111111,accuracy,gen,50.00")
    tree.write(f"{_STAMP}/predictions/m1/a.json", text)
    tree.prediction("m1/b", "x")

    document = tree.read()

    assert _unscored(document) == [("a", "m1", "failed", "PREDICTIONS_UNREADABLE")]
    assert _values(document) == {("b", "accuracy", "m1"): 50.0}


def test_a_broken_part_fails_its_dataset_only(tree: Tree) -> None:
    """[6] `a_0`, `a_1` are parts of `a`; `b_1` is a dataset beside `b`."""
    rows = [f"{name},111111,accuracy,gen,75.00" for name in ("a", "b", "b_1")]
    tree.summary(f"{_HEAD},m1", *rows)
    for name in ("a", "b", "b_1"):
        tree.result(f"m1/{name}", {"accuracy": 75.0})
    tree.prediction("m1/a_0", "x")
    tree.write(f"{_STAMP}/predictions/m1/a_1.json", "{")
    tree.prediction("m1/b", "x")
    tree.write(f"{_STAMP}/predictions/m1/b_1.json", "{")

    assert [row[0] for row in _unscored(tree.read())] == ["a", "b_1"]


@pytest.mark.parametrize("reply", ["", " \n", ["", ""], None])
def test_empty_predictions_are_a_warning(tree: Tree, reply: Any) -> None:
    """[7] A set of choices scores empty replies as if they were an A."""
    tree.summary(f"{_HEAD},m1", "a,111111,accuracy,gen,25.00")
    tree.prediction("m1/a", reply, reply)

    document = tree.read()

    assert document["status"] == "success"
    assert _codes(document) == ["PREDICTIONS_EMPTY"]


def test_one_reply_is_enough_and_ppl_has_none(tree: Tree) -> None:
    """[7] Neither a single reply among empty ones nor items without a text are a reason to doubt."""
    tree.summary(f"{_HEAD},m1", "a,111111,accuracy,gen,25.00", "b,111111,accuracy,ppl,25.00")
    tree.prediction("m1/a", "", "B")
    tree.write(f"{_STAMP}/predictions/m1/b.json", {"0": {"label: A": {"PPL": 1.5}}})

    assert tree.read()["warnings"] == []


@pytest.mark.parametrize(
    "model", ["dataset", "version", "metric", "mode", "42", "-", "1e5", '"quoted"', 'odd"']
)
def test_a_model_may_have_any_name(tree: Tree, model: str) -> None:
    """[10, 11, 12] Place alone says what a column is, and quotes belong to the name."""
    tree.summary(
        f"{_HEAD},{model},m2", "a,111111,accuracy,gen,25.00,30.00", "b,111111,accuracy,gen,35.00,40.00"
    )

    document = tree.read()

    assert document["status"] == "success"
    assert list(_values(document).items()) == [
        (("a", "accuracy", model), 25.0),
        (("a", "accuracy", "m2"), 30.0),
        (("b", "accuracy", model), 35.0),
        (("b", "accuracy", "m2"), 40.0),
    ]


def test_quotes_swallow_nothing(tree: Tree) -> None:
    """[11, 12] There is no CSV quoting: an unbalanced quote is a character like others."""
    tree.summary(
        f"{_HEAD},m1", 'a "big,111111,accuracy,gen,25.00', '"b",111111,accuracy,gen,35.00', "c,-,-,-,-"
    )
    tree.result("m1/c", {"error": "x"})

    document = tree.read()

    assert _values(document) == {('a "big', "accuracy", "m1"): 25.0, ('"b"', "accuracy", "m1"): 35.0}
    assert [row[0] for row in _unscored(document)] == ["c"]


@pytest.mark.parametrize("name", ["two\nlines", "\nleading", "three\n\nlines", "b\na"])
def test_a_newline_in_a_name_tears_no_score(tree: Tree, name: str) -> None:
    """[13] The row is put together again."""
    tree.configure(datasets=_config(name, "a"), models=_config("m1"))
    tree.summary(f"{_HEAD},m1", f"{name},111111,accuracy,gen,25.00", "a,111111,accuracy,gen,35.00")

    document = tree.read()

    assert document["status"] == "success"
    assert _values(document) == {(name, "accuracy", "m1"): 25.0, ("a", "accuracy", "m1"): 35.0}


def test_a_stray_line_takes_no_score_with_it(tree: Tree) -> None:
    """[13] A line that belongs to no name is left out, and said."""
    tree.configure(datasets=_config("a"), models=_config("m1"))
    tree.summary(f"{_HEAD},m1", "stray", "a,111111,accuracy,gen,35.00", "end")

    document = tree.read()

    assert _values(document) == {("a", "accuracy", "m1"): 35.0}
    assert _codes(document) == ["ROW_RAGGED", "ROW_RAGGED"]


def test_names_are_told_as_they_were_given(tree: Tree) -> None:
    """[14] Commas come back from the files, and a slash makes folders."""
    tree.summary(f"{_HEAD},org/m1 v2", "a b,111111,accuracy,gen,33.33", "数学,111111,accuracy,gen,12.50")
    tree.result("org/m1,v2/a,b", {"accuracy": 33.3333})
    tree.result("org/m1,v2/数学", {"accuracy": 12.5})

    document = tree.read()

    assert document["status"] == "success"
    assert [(s["dataset"], s["score"], s["exact"]) for s in document["scores"]] == [
        ("a,b", 33.3333, True),
        ("数学", 12.5, True),
    ]


def test_a_model_below_another_models_folder_is_its_own(tree: Tree) -> None:
    """[14] `org` and `org/m1` share a folder and no dataset."""
    tree.summary(f"{_HEAD},org,org/m1", "a,111111,accuracy,gen,10.00,20.00")
    tree.result("org/a", {"accuracy": 10.0})
    tree.result("org/m1/a", {"accuracy": 20.0})

    document = tree.read()

    assert document["status"] == "success"
    assert _values(document) == {("a", "accuracy", "org"): 10.0, ("a", "accuracy", "org/m1"): 20.0}
    assert all(s["exact"] for s in document["scores"])


@pytest.mark.parametrize("configured", [True, False], ids=["configuration", "files"])
def test_a_renamed_column_finds_its_folder(tree: Tree, *, configured: bool) -> None:
    """[15] `summarizer_abbr` changes the header only."""
    tree.summary(f"{_HEAD},Nice Name", "a,111111,accuracy,gen,66.67")
    tree.result("m1/a", {"accuracy": 66.6667})
    if configured:
        tree.configure(datasets=_config("a"), models=_config("m1", summarizer_abbr="'Nice Name'"))

    (score,) = tree.read()["scores"]

    assert (score["model"], score["score"], score["exact"]) == ("Nice Name", 66.6667, True)


def test_a_shared_column_is_said(tree: Tree) -> None:
    """[15] Two models under one name have one score: the last one's."""
    tree.summary(f"{_HEAD},both", "a,111111,accuracy,gen,20.00")
    tree.configure(datasets=_config("a"), models=_config("m1", "m2", summarizer_abbr="'both'"))
    tree.result("m1/a", {"accuracy": 10.0})
    tree.result("m2/a", {"accuracy": 20.0})

    document = tree.read()

    assert _values(document) == {("a", "accuracy", "both"): 20.0}
    assert _codes(document) == ["COLUMN_SHARED"]


def test_duplicate_names_have_one_score_and_a_warning(tree: Tree) -> None:
    """[16] The second dataset, or model, of a name never ran."""
    tree.summary(f"{_HEAD},m1", "a,111111,accuracy,gen,20.00", "a,111111,accuracy,gen,20.00")
    tree.configure(datasets=_config("a", "a"), models=_config("m1", "m1"))

    document = tree.read()

    assert _values(document) == {("a", "accuracy", "m1"): 20.0}
    assert len(document["scores"]) == 1
    assert set(_codes(document)) == {"DUPLICATE_DATASET", "DUPLICATE_MODEL"}


def test_the_newest_summary_may_be_in_an_older_directory(tree: Tree) -> None:
    """[18] `-r` writes into the directory of the attempt that it takes up."""
    tree.summary(
        f"{_HEAD},m1", "a,111111,accuracy,gen,10.00", stamp="20260105_101400", folder="20260105_101400"
    )
    tree.summary(f"{_HEAD},m1", "a,111111,accuracy,gen,20.00", stamp=_LATER, folder=_STAMP)

    assert [s["score"] for s in tree.read()["scores"]] == [20.0]


@pytest.mark.parametrize("folder", [_STAMP, _LATER], ids=["resumed", "new directory"])
def test_an_older_attempts_score_is_not_returned(tree: Tree, folder: str) -> None:
    """[19] An attempt that died before its summary leaves its configuration."""
    tree.summary(f"{_HEAD},m1", "a,111111,accuracy,gen,10.00")
    tree.configure(stamp=_LATER, folder=folder)
    tree.write(f"{folder}/logs/infer/m1/a.out", "Killed")

    document = tree.read()

    assert (document["code"], document["scores"]) == ("ATTEMPT_INCOMPLETE", [])
    assert _LATER in document["error"]
    assert document["log"] == "Killed"


def test_a_plan_younger_than_the_summary_is_another_attempt(tree: Tree) -> None:
    """[19] The plan is written before the engine starts, so an attempt that died at once is noticed too."""
    tree.summary(f"{_HEAD},m1", "a,111111,accuracy,gen,10.00")
    later = time.time() + 60
    plan = tree.plan({"abbr": "a"}, attempt=2, written=later)
    assert tree.read()["status"] == "success"

    os.utime(plan, (later, later))

    assert tree.read()["code"] == "ATTEMPT_INCOMPLETE"


@pytest.mark.parametrize("written", [None, "soon", 1_700_000_000.0])
def test_a_plan_that_was_copied_later_is_this_attempts(tree: Tree, written: Any) -> None:
    """[19] A file's time alone is no evidence: copies have that of the copy."""
    tree.summary(f"{_HEAD},m1", "a,111111,accuracy,gen,10.00")
    plan = tree.plan({"abbr": "a"}, written=written)
    later = time.time() + 60
    os.utime(plan, (later, later))

    assert tree.read()["status"] == "success"


def test_every_judge_is_returned(tree: Tree) -> None:
    """[20, 22] One summary each; a judge's replies are no results."""
    tree.configure(datasets=_config("a"), models=_config("m1"))
    tree.summary(f"{_HEAD},m1", "a,111111,score,gen,7.50", name="_by_judge-1")
    tree.summary(f"{_HEAD},m1", "a,111111,score,gen,8.12", name="_by_judge-2")
    tree.result("m1_judged-by--judge-2/a", {"score": 8.125})
    tree.result("m1/a_replica0", {"score": 1})

    document = tree.read()

    assert document["status"] == "success"
    assert [(s["judge"], s["score"], s["exact"]) for s in document["scores"]] == [
        ("judge-1", 7.5, False),
        ("judge-2", 8.125, True),
    ]


def test_a_judge_that_lacks_a_dataset_is_missed(tree: Tree) -> None:
    """[20] The other judge's score does not stand in for it."""
    tree.configure(datasets=_config("a"), models=_config("m1"))
    tree.summary(f"{_HEAD},m1", "a,111111,score,gen,7.50", name="_by_j1")
    tree.summary(f"{_HEAD},m1", name="_by_j2")

    document = tree.read()

    assert document["code"] == "PARTLY_SCORED"
    assert [cell["judge"] for cell in document["cells"] if cell["state"] != "scored"] == ["j2"]


def test_profiles_are_found_and_make_one_whole(tree: Tree) -> None:
    """[21] One folder deeper, with a header that a comma in the model's name has torn."""
    tree.configure(datasets=_config("a", "b,c"), models=_config("m,1"))
    folder = f"{_STAMP}/summary/summary_{_STAMP}"
    tree.write(f"{folder}/basic.csv", f"{_HEAD},m,1\na,111111,accuracy,gen,10.00\n")
    tree.write(f"{folder}/hard.csv", f"{_HEAD},m,1\nb,c,111111,accuracy,gen,20.00\n")

    document = tree.read()

    assert document["status"] == "success"
    assert [(s["profile"], s["dataset"], s["model"], s["score"]) for s in document["scores"]] == [
        ("basic", "a", "m,1", 10.0),
        ("hard", "b,c", "m,1", 20.0),
    ]


def test_a_torn_header_is_told_by_its_rows(tree: Tree) -> None:
    """[21] Without a configuration the rows say how many columns there are."""
    tree.summary(f"{_HEAD},m,1", "a,111111,accuracy,gen,10.00", "b,111111,accuracy,gen,20.00")

    document = tree.read()

    assert [(s["model"], s["score"]) for s in document["scores"]] == [("m,1", 10.0), ("m,1", 20.0)]
    assert _codes(document) == ["HEADER_RAGGED"]


def test_a_row_that_is_too_long_gives_no_score(tree: Tree) -> None:
    """[21] Nothing tells which of its cells is which."""
    tree.configure(datasets=_config("a"), models=_config("m1"))
    tree.summary(f"{_HEAD},m1", "a,111111,accuracy,gen,10.00,99.00")

    document = tree.read()

    assert document["scores"] == []
    assert _codes(document) == ["ROW_RAGGED"]


def test_replies_of_a_judge_are_no_dataset(tree: Tree) -> None:
    """[22] `<dataset>_replica<n>.json` lies beside the results."""
    tree.summary(f"{_HEAD},m1", "a,111111,accuracy,gen,10.00")
    tree.result("m1/a", {"accuracy": 10.0})
    tree.result("m1/a_replica0", {"0": {"prediction": "GRADE: A"}})

    document = tree.read()

    assert document["status"] == "success"
    assert [cell["dataset"] for cell in document["cells"]] == ["a"]


@pytest.mark.parametrize(
    "text", ["nan", "inf", "-inf", "NaN", "Infinity", "1_000", "0x10", "١٢", "12 %", "0.12/0.34"]
)
def test_what_is_not_a_number_has_no_score(tree: Tree, text: str) -> None:
    """[23] It is null with a reason, and so the run is not whole."""
    tree.summary(f"{_HEAD},m1", f"a,111111,accuracy,gen,{text}", "b,111111,accuracy,gen,50.00")

    document = tree.read()

    assert document["code"] == "PARTLY_SCORED"
    assert _unscored(document) == [("a", "m1", "not_a_number", "NOT_A_NUMBER")]


@pytest.mark.parametrize("constant", ["NaN", "Infinity", "-Infinity", "1e999", "1" + "0" * 400])
def test_what_a_result_file_calls_a_number_may_be_none(tree: Tree, constant: str) -> None:
    """[23] Python's JSON knows NaN; the answer's does not."""
    tree.summary(f"{_HEAD},m1", "a,111111,accuracy,gen,nan")
    tree.write(f"{_STAMP}/results/m1/a.json", f'{{"accuracy": {constant}}}')

    assert _unscored(tree.read()) == [("a", "m1", "not_a_number", "NOT_A_NUMBER")]


@pytest.mark.parametrize(
    ("text", "value"), [("-0.00", 0.0), ("1e300", 1e300), ("-123456789012.50", -123456789012.5), ("+3", 3.0)]
)
def test_finite_numbers_are_kept(tree: Tree, text: str, value: float) -> None:
    """[23] However large; negative zero is zero."""
    tree.summary(f"{_HEAD},m1", f"a,111111,gap,gen,{text}")

    (score,) = tree.read()["scores"]

    assert (score["score"], str(score["score"])[0] == "-") == (value, value < 0)


@pytest.mark.parametrize(
    ("value", "printed"), [(0.125, "0.12"), (-0.001, "-0.00"), (1e22 / 3, f"{1e22 / 3:.2f}")]
)
def test_the_exact_number_is_taken(tree: Tree, value: float, printed: str) -> None:
    """[23] The summary's rounding, half to even, is no contradiction."""
    tree.summary(f"{_HEAD},m1", f"a,111111,gap,gen,{printed}")
    tree.result("m1/a", {"gap": value})

    document = tree.read()

    assert [(s["score"], s["exact"]) for s in document["scores"]] == [(value, True)]
    assert document["warnings"] == []


def test_a_summary_that_differs_from_the_result_is_said(tree: Tree) -> None:
    """The result file counts, and the doubt is told."""
    tree.summary(f"{_HEAD},m1", "a,111111,accuracy,gen,10.00")
    tree.result("m1/a", {"accuracy": 20.0})

    document = tree.read()

    assert _values(document) == {("a", "accuracy", "m1"): 20.0}
    assert _codes(document) == ["SUMMARY_DIFFERS"]


def test_a_listed_group_without_scores_is_no_dataset(tree: Tree) -> None:
    """[24] `dataset_abbrs` lists groups whether they have a value or not."""
    tree.configure(datasets=_config("a"), models=_config("m1"))
    tree.summary(f"{_HEAD},m1", "a,111111,accuracy,gen,10.00", "all,-,-,-,-")

    document = tree.read()

    assert document["status"] == "success"
    assert _unscored(document) == [("all", "m1", "missing", "GROUP_INCOMPLETE")]


def test_datasets_behind_a_listed_group_are_found(tree: Tree) -> None:
    """[24] Where the summary lists groups only, the result files have the datasets' scores."""
    tree.configure(datasets=_config("a", "b"), models=_config("m1"))
    tree.summary(f"{_HEAD},m1", "all,-,naive_average,gen,15.00")
    tree.result("m1/a", {"bp": 1.0, "f1": 40.0, "accuracy": 10.0, "type": 3, "details": []})

    document = tree.read()

    assert document["code"] == "PARTLY_SCORED"
    assert [(s["dataset"], s["metric"], s["primary"]) for s in document["scores"] if not s["group"]] == [
        ("a", "f1", False),
        ("a", "accuracy", True),
    ]
    assert _unscored(document) == [("b", "m1", "missing", "NO_RESULT")]
    assert _codes(document) == ["NOT_IN_SUMMARY"]


def test_a_deviation_is_known_without_its_own_row(tree: Tree) -> None:
    """[25] The configuration tells it where the summary lists the misleading row alone."""
    groups = "dict(summary_groups=[dict(name='all-std', std=True, subsets=['a'])])"
    tree.configure(datasets=_config("a"), models=_config("m1"), summarizer=groups)
    tree.summary(f"{_HEAD},m1", "a,111111,accuracy,gen,80.00", "all-std,-,accuracy,gen,15.29")

    assert [(s["dataset"], s["kind"]) for s in tree.read()["scores"]] == [
        ("a", "score"),
        ("all-std", "deviation"),
    ]


def test_a_sum_has_no_unit(tree: Tree) -> None:
    """[25] A sum of percentages is labelled like one of them."""
    rows = [f"all,-,{metric},gen,90.00" for metric in ("accuracy", "sum")]
    tree.summary(f"{_HEAD},m1", "a,111111,accuracy,gen,45.00", *rows)

    assert {(s["kind"], s["unit"]) for s in tree.read()["scores"] if s["group"]} == {("sum", None)}


def test_units_are_kept_apart(tree: Tree) -> None:
    """[26] One evaluator returns a percentage, a fraction and counts side by side."""
    marks = [{"correct": [index < 3]} for index in range(8)]
    metrics = {"accuracy": 37.5, "share": 0.375, "total": 8, "seconds": 2.5}
    tree.summary(f"{_HEAD},m1", *(f"a,111111,{name},gen,{value:.2f}" for name, value in metrics.items()))
    tree.result("m1/a", {**metrics, "details": marks})

    document = tree.read()

    assert {s["metric"]: s["unit"] for s in document["scores"]} == {
        "accuracy": "percent",
        "share": "fraction",
        "total": "count",
        "seconds": None,
    }
    assert document["warnings"] == []
    assert [s["metric"] for s in document["scores"]][-1] == "accuracy"


@pytest.mark.parametrize("value", [0.75, 1.0])
def test_an_open_unit_is_not_guessed(tree: Tree, value: float) -> None:
    """[26] An accuracy of 0.75 is a fraction or less than one per cent; without verdicts nothing tells."""
    tree.summary(f"{_HEAD},m1", f"a,111111,accuracy,gen,{value:.2f}")

    assert [s["unit"] for s in tree.read()["scores"]] == [None]


@pytest.mark.parametrize(
    ("value", "scale", "unit"),
    [(75.0, 100.0, "percent"), (0.75, 1.0, "fraction")],
    ids=["percent", "fraction"],
)
def test_verdicts_give_an_interval_in_the_scores_unit(
    tree: Tree, value: float, scale: float, unit: str
) -> None:
    """Standard error and Wilson's interval of 15 out of 20: (0.531, 0.888) in the tables."""
    tree.summary(f"{_HEAD},m1", f"a,111111,accuracy,gen,{value:.2f}")
    tree.result("m1/a", {"accuracy": value, "details": [{"correct": index < 15} for index in range(20)]})

    (score,) = tree.read()["scores"]

    assert (score["unit"], score["samples"]) == (unit, 20)
    assert score["stderr"] == pytest.approx(0.0968246 * scale, rel=1e-5)
    assert score["interval"] == pytest.approx([0.531299 * scale, 0.888138 * scale], rel=1e-5)


@pytest.mark.parametrize(("right", "low", "high"), [(0, 0.0, 27.7533), (10, 72.2467, 100.0)])
def test_an_interval_stays_within_the_range(tree: Tree, right: int, low: float, high: float) -> None:
    """Where all samples agree it is not empty."""
    tree.summary(f"{_HEAD},m1", f"a,111111,accuracy,gen,{10.0 * right:.2f}")
    details = [{"correct": [index < right]} for index in range(10)]
    tree.result("m1/a", {"accuracy": 10.0 * right, "details": details})

    (score,) = tree.read()["scores"]

    assert (score["stderr"], score["unit"]) == (0.0, "percent")
    assert score["interval"] == pytest.approx([low, high], abs=1e-4)


def test_a_score_that_is_not_the_verdicts_mean_has_no_interval(tree: Tree) -> None:
    """The samples are counted; their spread says nothing of another number."""
    tree.summary(f"{_HEAD},m1", "a,111111,accuracy,gen,76.00")
    tree.result("m1/a", {"accuracy": 76.0, "details": [{"correct": index < 15} for index in range(20)]})

    (score,) = tree.read()["scores"]

    assert score["samples"] == 20
    assert not {"stderr", "interval"} & score.keys()


@pytest.mark.parametrize(
    "details", [{"type": "GEN", "0": {}}, [{"correct": True}, {}], [], "x", [{"correct": [True, False]}]]
)
def test_no_interval_without_verdicts_of_all_samples(tree: Tree, details: Any) -> None:
    """Details of another form are no verdicts."""
    tree.summary(f"{_HEAD},m1", "a,111111,accuracy,gen,50.00")
    tree.result("m1/a", {"accuracy": 50.0, "details": details})

    (score,) = tree.read()["scores"]

    assert score["score"] == 50.0
    assert not {"samples", "stderr", "interval"} & score.keys()


@pytest.mark.parametrize("metric", ["accuracy (4 runs average)", "G-Pass@4_0.5", "acc/mG-Pass@4", "Δ(a)"])
@pytest.mark.parametrize("mode", ["gen", "ppl", "ll", "unknown", "mixed"])
def test_metrics_and_modes_may_be_called_anything(tree: Tree, metric: str, mode: str) -> None:
    """[27] Spaces, `@`, `/` and parentheses are part of a metric's name."""
    tree.summary(f"{_HEAD},m1", f"a,111111,{metric},{mode},50.00")
    tree.result("m1/a", {metric: 50.0})

    assert [(s["metric"], s["mode"], s["exact"]) for s in tree.read()["scores"]] == [(metric, mode, True)]


@pytest.mark.parametrize("configured", [True, False])
@pytest.mark.parametrize("title", ["--------- Exam ---------", "######## MMLU ########", "---- 考试"])
def test_titles_are_no_rows(tree: Tree, title: str, *, configured: bool) -> None:
    """[28] A title between dashes has no score and misses none."""
    if configured:
        tree.configure(datasets=_config("a"), models=_config("m1"))
    tree.summary(f"{_HEAD},m1", f"{title},-,-,-,-", "a,111111,accuracy,gen,50.00")

    document = tree.read()

    assert document["status"] == "success"
    assert len(document["cells"]) == 1


def test_metadata_of_a_pretrained_model_are_no_scores(tree: Tree) -> None:
    """[29] PretrainSummarizer's first rows, section averages, empty rows and second table with its -1."""
    tree.configure(datasets=_config("a", "b"), models=_config("m_7b"))
    tree.summary(
        f"{_HEAD},m_7b",
        "time,version,metric,mode,01/05 10:11",
        "checkpoint,version,metric,mode,7b",
        "max_seq_len,version,metric,mode,4096",
        "a,111111,accuracy,gen,50.00",
        "b,-,-,-,-",
        "---- Exam ----,-,-,-,50.00",
        ",,,,",
        ",,,,",
        "a,111111,correct_bpb-incorrect_bpb,gen,-1.00",
        "b,,,,",
    )

    document = tree.read()

    assert _values(document) == {("a", "accuracy", "m_7b"): 50.0}
    assert _unscored(document) == [("b", "m_7b", "missing", "NO_RESULT")]
    assert document["warnings"] == []


def test_the_plan_says_what_was_asked_for(tree: Tree) -> None:
    """A submitted name goes beside the engine's, and what the engine does not mention is missing."""
    tree.plan({"abbr": "set-1", "dataset_id": "team/set 1", "rows": 2}, {"abbr": "set-2"}, attempt=3)
    tree.summary(f"{_HEAD},m1", "set-1,111111,accuracy,gen,50.00")

    document = tree.read()

    assert document["attempt"] == 3
    assert [(s["dataset"], s["dataset_id"]) for s in document["scores"]] == [("set-1", "team/set 1")]
    assert _unscored(document) == [("set-2", "m1", "missing", "NO_RESULT")]
    assert document["cells"][0]["dataset_id"] == "team/set 1"
    assert "dataset_id" not in document["cells"][1]


def test_a_planned_model_without_a_column_is_missing(tree: Tree) -> None:
    """Each requested pair needs a score."""
    tree.plan({"abbr": "a"}, models=("m1", "m2"))
    tree.summary(f"{_HEAD},m1", "a,111111,accuracy,gen,50.00")
    tree.result("m1/a", {"accuracy": 50.0})

    assert _unscored(tree.read()) == [("a", "m2", "missing", "NO_RESULT")]


def test_fewer_predictions_than_rows_are_said(tree: Tree) -> None:
    """A score over a part of the rows stands with a warning."""
    tree.plan({"abbr": "a", "rows": 3})
    tree.summary(f"{_HEAD},m1", "a,111111,accuracy,gen,50.00")
    tree.prediction("m1/a", "x", "y")

    assert _codes(tree.read()) == ["PREDICTIONS_FEWER"]


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"schema": 2, "datasets": []}', '{"schema": 1, "datasets": [1]}']
)
def test_a_broken_plan_is_an_error(tree: Tree, text: str) -> None:
    """Without knowing what was asked for nothing is called a success."""
    tree.summary(f"{_HEAD},m1", "a,111111,accuracy,gen,50.00")
    tree.write(".budeval/plan.json", text)

    assert tree.read()["code"] == "RESULTS_UNREADABLE"


@pytest.mark.parametrize(
    "text",
    [
        "datasets=[dict(abbr='a'",
        "datasets=" + "[" * 5000,
        "datasets=open('/etc/passwd')",
        "datasets=5\nmodels=dict(abbr=1)\nsummarizer=dict(summary_groups=7)",
        "\0",
        "datasets=" + "-" * 9999 + "1",
    ],
)
def test_a_broken_configuration_is_as_good_as_none(tree: Tree, text: str) -> None:
    """It is parsed, never executed, and the files tell what was asked for."""
    tree.summary(f"{_HEAD},m1", "a,111111,accuracy,gen,50.00")
    tree.write(f"{_STAMP}/configs/{_STAMP}_7.py", text)

    assert tree.read()["status"] == "success"


def test_odd_escapes_in_a_configuration_are_nobodys_business(tree: Tree) -> None:
    """Python warns of them, which here is an error; the datasets are still known."""
    tree.summary(f"{_HEAD},m1", "a,111111,accuracy,gen,50.00")
    tree.write(f"{_STAMP}/configs/{_STAMP}_7.py", "pattern='\\d+'\ndatasets=[dict(abbr='a'),dict(abbr='b')]")

    assert _unscored(tree.read()) == [("b", "m1", "missing", "NO_RESULT")]


def test_links_lead_nowhere(tree: Tree, tmp_path: Path) -> None:
    """A link to another evaluation's files is not followed, wherever it is."""
    other = Tree(tmp_path, "other")
    other.summary(f"{_HEAD},m1", "secret,111111,accuracy,gen,50.00")
    (tree.base / _STAMP).symlink_to(other.base / _STAMP)
    assert tree.read()["code"] == "SUMMARY_MISSING"

    (tree.base / _LATER).mkdir()
    (tree.base / _LATER / "summary").symlink_to(other.base / _STAMP / "summary")
    assert tree.read()["code"] == "SUMMARY_MISSING"

    (tree.root / _EVAL / "opencompass-link").symlink_to(other.base)
    assert (
        extractor.extract_run(extractor.OPENCOMPASS, str(tree.root), _EVAL, "link")["code"]
        == "RESULTS_MISSING"
    )


@pytest.mark.parametrize(
    "path", ["results/m1/a.json", "predictions/m1/a.json", "logs/infer/m1/a.out", "configs/x.py"]
)
@pytest.mark.parametrize("kind", ["fifo", "link", "endless", "folder"])
def test_odd_files_neither_block_nor_break(tree: Tree, path: str, kind: str) -> None:
    """A pipe has no end, a device neither: they are not read at all."""
    tree.summary(f"{_HEAD},m1", "a,111111,accuracy,gen,50.00")
    odd = tree.write(f"{_STAMP}/{path}", "")
    odd.unlink()
    if kind == "fifo":
        os.mkfifo(odd)
    elif kind == "folder":
        odd.mkdir()
    else:
        odd.symlink_to("/dev/zero" if kind == "endless" else "/etc/passwd")

    assert _values(tree.read()) == {("a", "accuracy", "m1"): 50.0}


def test_a_pipe_for_a_plan_or_a_summary_is_an_answer(tree: Tree) -> None:
    """What must be read and cannot be is an error."""
    (tree.base / ".budeval").mkdir()
    os.mkfifo(tree.base / ".budeval" / "plan.json")
    assert tree.read()["code"] == "RESULTS_UNREADABLE"

    (tree.base / ".budeval" / "plan.json").unlink()
    (tree.base / _STAMP / "summary").mkdir(parents=True)
    os.mkfifo(tree.base / _STAMP / "summary" / f"summary_{_STAMP}.csv")
    assert tree.read()["code"] == "SUMMARY_MISSING"


def _sparse(file: Path, size: int) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("wb") as handle:
        handle.truncate(size)


def test_huge_files_are_not_read(tree: Tree) -> None:
    """A result falls back to the summary, predictions stay unchecked, a summary is an error."""
    tree.summary(f"{_HEAD},m1", "a,111111,accuracy,gen,50.00")
    _sparse(tree.base / _STAMP / "results/m1/a.json", 1 << 40)
    _sparse(tree.base / _STAMP / "predictions/m1/a.json", 1 << 40)
    _sparse(tree.base / _STAMP / "logs/infer/m1/a.out", 1 << 40)

    document = tree.read()

    assert [(s["score"], s["exact"]) for s in document["scores"]] == [(50.0, False)]
    assert set(_codes(document)) == {"RESULT_UNREADABLE", "PREDICTIONS_UNCHECKED"}

    _sparse(tree.base / _STAMP / f"summary/summary_{_LATER}.csv", 1 << 40)
    assert tree.read()["code"] == "RESULTS_UNREADABLE"


@pytest.mark.parametrize(
    "text",
    [f"{_HEAD}," + "," * 200_000, f"{_HEAD},m\n" + "a,b,c,d,1\n" * 50_000, f"{_HEAD},m\n" + "\n" * 900_000],
)
def test_endless_tables_have_an_end(tree: Tree, text: str) -> None:
    """More columns or rows than any run has are refused before they use up the memory."""
    tree.write(f"{_STAMP}/summary/summary_{_STAMP}.csv", text)

    document = tree.read()

    assert len(json.dumps(document)) < 1_000_000
    assert document["status"] == "error"


def test_an_answer_has_a_limit(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    """What no frame could carry is an error instead."""
    tree.summary(f"{_HEAD},m1", "a,111111,accuracy,gen,50.00")
    monkeypatch.setattr(extractor, "MAX_DOCUMENT", 100)

    document = tree.read()

    assert (document["code"], document["cells"]) == ("RESULTS_UNREADABLE", [])


@pytest.mark.parametrize("first", [True, False])
def test_a_dash_beside_a_score_misses_nothing(tree: Tree, *, first: bool) -> None:
    """A listed metric that the dataset does not have gives a row of dashes under the dataset's name."""
    rows = ["a,-,-,-,-", "a,111111,accuracy,gen,50.00"]
    tree.summary(f"{_HEAD},m1", *(rows if first else rows[::-1]))

    assert tree.read()["status"] == "success"


def test_columns_of_one_name_are_said(tree: Tree) -> None:
    """[14] Commas have become spaces, and two models read the same."""
    tree.summary(f"{_HEAD},m 1,m 1", "a,111111,accuracy,gen,50.00,60.00")

    document = tree.read()

    assert [s["score"] for s in document["scores"]] == [50.0, 60.0]
    assert _codes(document) == ["COLUMN_REPEATED"]


def test_nested_texts_are_no_texts(tree: Tree) -> None:
    """Predictions and errors may be anything that JSON is, as deep as the reader takes it."""
    deep: Any = "x"
    for _ in range(300):
        deep = [deep]
    tree.summary(f"{_HEAD},m1", "a,111111,accuracy,gen,50.00", "b,-,-,-,-")
    tree.prediction("m1/a", deep, {"x": deep}, 3)
    tree.result("m1/b", {"error": deep})

    document = tree.read()

    assert _values(document) == {("a", "accuracy", "m1"): 50.0}
    assert _unscored(document) == [("b", "m1", "failed", "EVALUATOR_ERROR")]


def test_deep_and_odd_trees_are_answered(tree: Tree) -> None:
    """Folders in folders, and names that are no UTF-8."""
    tree.summary(f"{_HEAD},m1", "a,111111,accuracy,gen,50.00")
    deep = tree.base / _STAMP / "results" / Path(*["d"] * 300)
    deep.mkdir(parents=True)
    odd = os.fsencode(tree.base / _STAMP / "results") + b"/m1"
    os.mkdir(odd)  # noqa: PTH102 - bytes
    with open(odd + b"/\xff\xfe.json", "wb") as file:  # noqa: PTH123 - bytes
        file.write(b'{"accuracy": 1.5}')

    document = tree.read()

    assert ("a", "accuracy", "m1") in _values(document)
    json.dumps(document, ensure_ascii=False).encode()


def test_a_surprise_in_one_run_leaves_the_others_their_answers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever goes wrong inside, each run has its frame."""
    for name in ("r1", "r2"):
        Tree(tmp_path, name).summary(f"{_HEAD},m1", "a,111111,accuracy,gen,50.00")

    def stumble(base: str) -> Document:
        if base.endswith("r1"):
            raise ZeroDivisionError
        return extractor.judge_run(base)

    environment = {"EVAL_ID": _EVAL, "RUN_IDS": "r1,r2", "RESULTS_ROOT": str(tmp_path)}
    extractor.main([], environment, extractor.Engine("opencompass", stumble))

    found = frames.decode(capsys.readouterr().out, ["r1", "r2"])
    assert found["r1"]["error"] == "Results cannot be read: ZeroDivisionError"
    assert found["r2"]["status"] == "success"


_CELLS = st.one_of(
    st.text(max_size=12),
    st.sampled_from(
        ["-", "", "a", "b", "accuracy", "50.00", "nan", "111111", "dataset", "\n", '"', "---x---"]
    ),
)
_LINES = st.lists(st.lists(_CELLS, max_size=9).map(",".join), max_size=12).map("\n".join)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    text=st.one_of(_LINES, _LINES.map(lambda lines: f"{_HEAD},m1,m2\n{lines}"), st.text()),
    planned=st.booleans(),
    result=st.dictionaries(
        st.sampled_from(["accuracy", "a", "error", "details", ""]), st.one_of(st.floats(), _CELLS, st.none())
    ),
)
def test_any_text_gives_strict_json(tree: Tree, text: str, result: Content, *, planned: bool) -> None:
    """No summary, whatever it says, raises or makes an answer that breaks a rule (see `_check`)."""
    shutil.rmtree(tree.base)
    tree.summary()
    (tree.base / _STAMP / "summary" / f"summary_{_STAMP}.csv").write_bytes(
        text.encode("utf-8", "surrogatepass")
    )
    tree.result("m1/a", result)
    if planned:
        tree.plan({"abbr": "a", "dataset_id": "A"}, {"abbr": "b"}, models=("m1", "m2"))

    document = tree.read()

    assert document["eval_id"] == _EVAL
    if planned and document["cells"]:
        asked = {(cell["dataset"], cell["model"]) for cell in document["cells"]}
        assert {(d, m) for d in ("a", "b") for m in ("m1", "m2")} <= asked


@settings(deadline=None, max_examples=50)
@given(st.lists(st.floats(0, 100), min_size=1, max_size=20), st.randoms(use_true_random=False))
def test_every_score_is_found(scores: list[float], randomness: random.Random) -> None:
    """What OpenCompass' summarizer would write of any results is read back, exact."""
    names = [f"set {index}, {randomness.choice('äx-_')}" for index in range(len(scores))]
    with tempfile.TemporaryDirectory() as folder:
        tree = Tree(Path(folder))
        tree.configure(datasets=_config(*names), models=_config("m1"))
        for name, score in zip(names, scores, strict=True):
            tree.result(f"m1/{name}", {"accuracy": score})
        rows = [
            f"{n.replace(',', ' ')},111111,accuracy,gen,{s:.2f}" for n, s in zip(names, scores, strict=True)
        ]
        tree.summary(f"{_HEAD},m1", *rows)

        document = tree.read()

    assert document["status"] == "success"
    assert [(s["dataset"], s["score"]) for s in document["scores"]] == list(zip(names, scores, strict=True))


def test_the_guides_success_response(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`--plain` prints one JSON document with every key of the guide's example."""
    made = Tree(tmp_path, "test-job-001")
    made.fill("c01")
    environment = {"EVAL_ID": _EVAL, "RUN_IDS": "test-job-001", "RESULTS_ROOT": str(tmp_path)}

    assert extractor.main(["--plain"], environment, extractor.OPENCOMPASS) == 0

    answer = json.loads(capsys.readouterr().out)
    (result,) = answer["results"]
    assert answer["success"] is True
    assert (result["run_id"], result["eval_id"], result["status"]) == ("test-job-001", _EVAL, "success")
    guide = {key: result["scores"][0][key] for key in ("dataset", "version", "metric", "mode", "score")}
    assert guide == {
        "dataset": "demo_gsm8k",
        "version": "1d7fe4",
        "metric": "accuracy",
        "mode": "gen",
        "score": 93.75,
    }
    assert Path(result["csv_file"]).is_file()


def test_guide_error_1_no_directory(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The guide's error response, word for word."""
    environment = {"EVAL_ID": _EVAL, "RUN_IDS": "test-job-002", "RESULTS_ROOT": str(tmp_path)}

    assert extractor.main(["--plain"], environment, extractor.OPENCOMPASS) == 0

    answer = json.loads(capsys.readouterr().out)
    (result,) = answer["results"]
    assert answer["success"] is False
    assert {key: result[key] for key in ("run_id", "eval_id", "status", "error", "scores")} == {
        "run_id": "test-job-002",
        "eval_id": _EVAL,
        "status": "error",
        "error": "Results directory not found",
        "scores": [],
    }


def test_guide_error_2_no_csv(tree: Tree) -> None:
    """A directory without a summary."""
    tree.write(f"{_STAMP}/summary/summary_{_STAMP}.txt", "x")

    document = tree.read()

    assert (document["status"], document["error"], document["scores"]) == (
        "error",
        "No CSV results found",
        [],
    )


def test_guide_error_3_a_csv_that_cannot_be_parsed(tree: Tree) -> None:
    """An error of its run, with the reason, and no exception."""
    tree.write(f"{_STAMP}/summary/summary_{_STAMP}.csv", "not a table")

    document = tree.read()

    assert (document["status"], document["scores"]) == ("error", [])
    assert "a layout that is not known" in document["error"]


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"EVAL_ID": "../x", "RUN_IDS": "r1"},
        {"EVAL_ID": "e", "RUN_IDS": ""},
        {"EVAL_ID": "e", "RUN_IDS": "a,../b"},
        {"EVAL_ID": "e", "RUN_IDS": "[1]"},
        {"EVAL_ID": "e", "RUN_IDS": '["a"'},
        {"EVAL_ID": "e", "RUN_IDS": "[" * 100_000},
        {"EVAL_ID": "e", "RUN_IDS_FILE": "/does/not/exist"},
    ],
)
def test_guide_error_4_a_job_that_cannot_work_fails(
    environment: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    """The exit status tells the playbook; nothing that looks like an answer is printed."""
    assert extractor.main([], environment, extractor.OPENCOMPASS) == 2

    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("extract_results: ")


def test_guide_error_5_a_job_that_was_stopped_shows(tree: Tree, capsys: pytest.CaptureFixture[str]) -> None:
    """A log that ends early has no closing frame, so no part of it is taken for the whole."""
    environment = {"EVAL_ID": _EVAL, "RUN_IDS": "r1", "RESULTS_ROOT": str(tree.root)}
    extractor.main([], environment, extractor.OPENCOMPASS)
    whole = capsys.readouterr().out

    assert frames.decode(whole, ["r1"])["r1"]["code"] == "SUMMARY_MISSING"
    with pytest.raises(Exception, match="no closing frame"):
        frames.decode(whole[: whole.rindex("BUDEVAL1")], ["r1"])


@pytest.mark.parametrize("text", ["a,b", " a , b ,", '["a", "b", "a"]', "a,b,a"])
def test_run_ids_are_a_list_or_text(tmp_path: Path, text: str) -> None:
    """In the environment or in a file, each once."""
    file = tmp_path / "ids"
    file.write_text(text, encoding="utf-8")

    for more in ({"RUN_IDS": text}, {"RUN_IDS_FILE": str(file)}):
        assert extractor.parse_environment({"EVAL_ID": "e", **more})[1] == ["a", "b"]


def _imports(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""


def test_it_runs_alone_on_an_old_python() -> None:
    """Python 3.9 can parse it, and it imports the standard library only."""
    text = Path(extractor.__file__).read_text(encoding="utf-8")

    tree = ast.parse(text, feature_version=(3, 9))

    assert {name.partition(".")[0] for name in _imports(tree)} <= sys.stdlib_module_names
