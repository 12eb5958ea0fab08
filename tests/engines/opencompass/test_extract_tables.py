"""Tables of OpenCompass' summarizers that are not the plain one, and what configurations say of them."""

from pathlib import Path
from typing import Any

import pytest

from budeval.engines.opencompass import extract_results as extractor
from tests.engines.opencompass.trees import HEAD, STAMP, Document, Tree
from tests.engines.opencompass.trees import codes as _codes


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    """An empty one."""
    return Tree(tmp_path)


def _named(*names: str) -> str:
    return "[" + ", ".join(f"dict(abbr={name!r})" for name in names) + "]"


def _cells(document: Document) -> list[tuple[Any, ...]]:
    return [(cell["dataset"], cell["metric"], cell["model"], cell["score"]) for cell in document["cells"]]


@pytest.mark.parametrize("configured", [True, False])
@pytest.mark.parametrize(
    "table",
    [
        ["dataset,m1,m2,m3", "Average,1.00,2.00,3.00", "needle,91.00,92.00,93.00"],
        [
            "dataset,m1,m2,m3,m4,m5",
            "Average,1.00,2.00,3.00,4.00,5.00",
            "needle,91.00,92.00,93.00,94.00,95.00",
        ],
        ["dataset,version,base_model,metric,mode,ranking,rating", "needle,1,b,elo,gen,1,1120.50"],
        ["ATC Experiment Type,m1,m2,m3,m4,m5", "en,1,2,3,4,5"],
        ["dataset,version,mode,m1,-", "needle,111111,gen,91.00,-"],
        ["", "needle"],
    ],
    ids=["NeedleBench", "NeedleBench, many models", "Bradley-Terry", "ATC", "circular", "none"],
)
def test_of_a_table_that_is_not_known_nothing_is_taken(
    tree: Tree, table: list[str], *, configured: bool
) -> None:
    """The result files have every score, under its own name."""
    if configured:
        tree.configure(datasets=_named("needle"), models=_named("m1", "m2"))
    tree.summary(*table)
    for model, score in (("m1", 91.0), ("m2", 92.0)):
        tree.result(f"{model}/needle", {"score": score})

    document = tree.read()

    assert document["status"] == "success"
    assert _cells(document) == [("needle", "score", "m1", 91.0), ("needle", "score", "m2", 92.0)]
    assert set(_codes(document)) == {"LAYOUT_UNKNOWN", "NOT_IN_SUMMARY"}


def test_a_configuration_that_cannot_be_read_is_said(tree: Tree) -> None:
    """What was asked for is what the files show, then: something may be missing."""
    tree.configure(datasets="[")
    tree.summary(f"{HEAD},m1", "a,111111,accuracy,gen,50.00")

    assert _codes(tree.read()) == ["CONFIGURATION_UNREAD"]
    tree.plan({"abbr": "a"})
    assert _codes(tree.read()) == []


def test_a_large_suites_configuration_is_read(tree: Tree) -> None:
    """Hundreds of datasets, each written twice."""
    padding = ", ".join(f"k{number}={'x' * 60!r}" for number in range(60))
    entries = ", ".join(f"dict(abbr='mmlu_{number}', {padding})" for number in range(300))
    assert 1024 * 1024 < len(entries) < extractor.MAX_CONFIGURATION
    tree.configure(datasets=f"[{entries}]", models=_named("m1"))
    tree.summary(f"{HEAD},m1", *(f"mmlu_{number},111111,accuracy,gen,50.00" for number in range(299)))

    assert tree.read()["error"] == "No score for: mmlu_299"


def test_a_row_without_its_metric_has_those_of_the_result_file(tree: Tree) -> None:
    """The summarizer was asked for a metric that the dataset has not."""
    tree.configure(datasets=_named("gsm8k", "gone"), models=_named("m1"))
    tree.summary(f"{HEAD},m1", "gsm8k,-,-,-,-", "gone,-,-,-,-")
    tree.result("m1/gsm8k", {"accuracy": 70.0, "n": 8})

    document = tree.read()

    assert _cells(document)[:2] == [("gsm8k", "accuracy", "m1", 70.0), ("gsm8k", "n", "m1", 8.0)]
    assert [cell["primary"] for cell in document["cells"]] == [True, False, False]
    assert document["error"] == "No score for: gone"


def test_not_every_model_need_run_every_dataset(tree: Tree) -> None:
    """`model_dataset_combinations`: pairs that nobody asked for are missed by nobody; others are."""
    first = f"dict(models={_named('m1')}, datasets={_named('a', 'c')})"
    second = f"dict(models={_named('m2')}, datasets={_named('b')})"
    both = {"datasets": _named("a", "b", "c"), "models": _named("m1", "m2")}
    tree.configure(**both, model_dataset_combinations=f"[{first}, {second}]")
    tree.summary(f"{HEAD},m1,m2", "a,111111,accuracy,gen,50.00,-", "b,111111,accuracy,gen,-,60.00")

    document = tree.read()

    assert _cells(document) == [
        ("a", "accuracy", "m1", 50.0),
        ("b", "accuracy", "m2", 60.0),
        ("c", "-", "m1", None),
    ]
    assert document["error"] == "No score for: c"


def test_a_judges_name_may_have_a_slash(tree: Tree) -> None:
    """It makes a folder, of the summary and of the results."""
    tree.configure(datasets=_named("a"), models=_named("m1"))
    tree.summary(f"{HEAD},m1", "a,111111,score,gen,7.50", name="_by_org/judge-1")
    tree.summary(f"{HEAD},m1", "a,111111,score,gen,8.12", name="_by_judge-2")
    tree.result("m1_judged-by--org/judge-1/a", {"score": 7.503})

    document = tree.read()

    assert [(score["judge"], score["score"]) for score in document["scores"]] == [
        ("judge-2", 8.12),
        ("org/judge-1", 7.503),
    ]


def test_a_judge_without_a_summary_is_missed(tree: Tree) -> None:
    """The summarizer has died between two judges."""
    tree.configure(datasets=_named("a"), models=_named("m1"), judge_models=_named("j1", "j2"))
    tree.summary(f"{HEAD},m1", "a,111111,score,gen,7.50", name="_by_j1")

    document = tree.read()

    assert [(cell.get("judge"), cell["state"]) for cell in document["cells"]] == [
        ("j1", "scored"),
        ("j2", "missing"),
    ]
    assert document["error"] == "No score for: a"
    tree.summary(f"{HEAD},m1", "a,111111,score,gen,8.50", name="_by_j2")
    assert tree.read()["status"] == "success"


def test_judges_are_missed_by_no_plain_summary(tree: Tree) -> None:
    """It is of a stage that has none."""
    tree.configure(datasets=_named("a"), models=_named("m1"), judge_models=_named("j1"))
    tree.summary(f"{HEAD},m1", "a,111111,score,gen,7.50")

    assert tree.read()["status"] == "success"


@pytest.mark.parametrize(
    ("value", "unit"), [(0.531, None), (0.0, None), (1.0, None), (53.0, "count")], ids=str
)
def test_a_share_that_is_called_correct_is_no_count(tree: Tree, value: float, unit: str | None) -> None:
    """Chinese SimpleQA's is one."""
    tree.summary(f"{HEAD},m1", f"a,111111,correct,gen,{value:.2f}")
    tree.result("m1/a", {"correct": value})

    assert tree.read()["cells"][0]["unit"] == unit


def test_a_group_may_bear_its_datasets_name(tree: Tree) -> None:
    """Then its version is the dataset's: only the result file tells whose the aggregate is."""
    tree.configure(datasets=_named("SciCode"), models=_named("m1"))
    tree.summary(f"{HEAD},m1", "SciCode,111111,accuracy,gen,15.00", "SciCode,111111,naive_average,gen,20.00")
    tree.result("m1/SciCode", {"accuracy": 15.0, "sub_accuracy": 25.0})

    cells = {cell["metric"]: cell for cell in tree.read()["cells"]}

    assert (cells["accuracy"]["group"], cells["accuracy"]["primary"]) == (False, True)
    assert (cells["naive_average"]["group"], cells["naive_average"]["kind"]) == (True, "group")


@pytest.mark.parametrize(
    ("rows", "unit"),
    [
        (["g,-,accuracy,gen,60.00", "g,-,naive_average,gen,60.00"], "percent"),
        (["g,-,accuracy,gen,60.00", "g,-,pass,gen,3.00", "g,-,naive_average,gen,60.00"], None),
        (["g,-,naive_average,gen,60.00"], None),
    ],
)
def test_an_averages_unit_is_what_its_group_has_in_common(
    tree: Tree, rows: list[str], unit: str | None
) -> None:
    """Which of several metrics it is of, no file tells."""
    tree.configure(datasets=_named("a"), models=_named("m1"))
    tree.summary(f"{HEAD},m1", "a,111111,accuracy,gen,60.00", *rows)

    assert tree.read()["cells"][-1]["unit"] == unit


@pytest.mark.parametrize(
    ("group", "kind", "unit"),
    [
        ("std=True", "deviation", "percent"),
        ("std=True, sum=True", "deviation", "percent"),
        ("sum=True", "sum", None),
        ("metric='accuracy', std=True", "group", "percent"),
    ],
)
def test_what_a_group_is_its_configuration_says(tree: Tree, group: str, kind: str, unit: str | None) -> None:
    """In OpenCompass' order: a metric of its own makes it an average."""
    groups = f"dict(summary_groups=[dict(name='g', {group})])"
    tree.configure(datasets=_named("a"), models=_named("m1"), summarizer=groups)
    tree.summary(f"{HEAD},m1", "a,111111,accuracy,gen,60.00", "g,-,accuracy,gen,12.00")

    cell = tree.read()["cells"][-1]

    assert (cell["kind"], cell["unit"]) == (kind, unit)


@pytest.mark.parametrize(("again", "codes"), [("50.00", []), ("51.00", ["ROW_REPEATED"])])
def test_the_same_row_in_two_sections_is_no_contradiction(tree: Tree, again: str, codes: list[str]) -> None:
    """Another number is."""
    row = "a,111111,accuracy,gen"
    tree.summary(f"{HEAD},m1", "--- one ---,-,-,-,-", f"{row},50.00", "--- two ---,-,-,-,-", f"{row},{again}")

    document = tree.read()

    assert ([score["score"] for score in document["scores"]], _codes(document)) == ([50.0], codes)


def test_files_beside_the_summaries_are_none(tree: Tree) -> None:
    """Texts, and tables of other names."""
    tree.write(f"{STAMP}/summary/summary_{STAMP}.txt", "x")
    tree.write(f"{STAMP}/summary/report_{STAMP}.csv", f"{HEAD},m1")

    assert tree.read()["code"] == "SUMMARY_MISSING"
