"""What was asked for is the list: completeness, doubts, verdicts and provenance of OpenCompass runs."""

import base64
from pathlib import Path
from typing import Any

import pytest

from tests.engines.opencompass.trees import HEAD, STAMP, Tree
from tests.engines.opencompass.trees import codes as _codes

_A = "a,111111,accuracy,gen,50.00"


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    """An empty one."""
    return Tree(tmp_path)


def _items(*replies: Any, prompt: str = "q") -> dict[str, Any]:
    return {
        str(number): {
            "origin_prompt": [{"role": "HUMAN", "prompt": f"{prompt}{number}"}],
            "prediction": reply,
            "gold": "x",
        }
        for number, reply in enumerate(replies)
    }


def test_without_a_summary_each_planned_cell_is_missing(tree: Tree) -> None:
    """With the reason; nothing that was asked for vanishes with its run."""
    tree.plan({"abbr": "a", "dataset_id": "A"}, {"abbr": "b", "dataset_id": "B"}, models=("m1", "m2"))
    tree.write(".budeval/provenance.json", {"engine_version": "0.5.4"})

    document = tree.read()

    assert (document["code"], document["planned"]) == ("SUMMARY_MISSING", True)
    assert [(cell["dataset_id"], cell["model"], cell["state"]) for cell in document["cells"]] == [
        (dataset, model, "missing") for dataset in "AB" for model in ("m1", "m2")
    ]
    assert {cell["reason"] for cell in document["cells"]} == {"SUMMARY_MISSING"}
    assert document["provenance"]["engine_version"] == "0.5.4"


def test_what_nobody_asked_for_is_marked(tree: Tree) -> None:
    """A dataset and a model; groups follow from their datasets."""
    tree.summary(f"{HEAD},m1,other", "a,111111,accuracy,gen,50.00,60.00", "b,111111,accuracy,gen,1.00,2.00")
    tree.result("m1/a", {"accuracy": 50})
    tree.result("other/a", {"accuracy": 60})
    tree.plan({"abbr": "a"})

    document = tree.read()

    unexpected = [(c["dataset"], c["model"]) for c in document["cells"] if c.get("unexpected")]
    assert unexpected == [("a", "other"), ("b", "m1"), ("b", "other")]
    assert _codes(document).count("UNEXPECTED") == 2


@pytest.mark.parametrize(
    ("replies", "code"),
    [
        (["No."] * 8, "PREDICTIONS_EQUAL"),
        (["<think>hm</think> yes", "no"], "REASONING_IN_PREDICTIONS"),
        (["yes", "</think> no"], "REASONING_IN_PREDICTIONS"),
    ],
)
def test_doubtful_replies_are_warned_of(tree: Tree, replies: list[str], code: str) -> None:
    """The score stands."""
    tree.summary(f"{HEAD},m1", _A)
    tree.write(f"{STAMP}/predictions/m1/a.json", _items(*replies))

    document = tree.read()

    assert (document["status"], _codes(document)) == ("success", [code])


def test_few_equal_replies_are_chance(tree: Tree) -> None:
    """Seven are not many."""
    tree.summary(f"{HEAD},m1", _A)
    tree.write(f"{STAMP}/predictions/m1/a.json", _items(*["No."] * 7))

    assert _codes(tree.read()) == []


@pytest.mark.parametrize(("right", "codes"), [("ABCD", ["ANSWERS_EQUAL"]), ("AAAA", [])])
def test_a_fallback_option_is_noticed(tree: Tree, right: str, codes: list[str]) -> None:
    """Where every reply was read as the same option although others were right."""
    details = [{"parsed": ["A"], "refr": [right[number % 4]], "correct": [True]} for number in range(8)]
    tree.summary(f"{HEAD},m1", _A)
    tree.result("m1/a", {"accuracy": 50, "details": details})

    assert _codes(tree.read()) == codes


def _verdicts(tree: Tree, prompt: str = "q") -> Any:
    details = [{"correct": [number % 2 == 0]} for number in range(10)]
    tree.summary(f"{HEAD},m1", _A)
    tree.result("m1/a", {"accuracy": 50, "details": details})
    tree.write(f"{STAMP}/predictions/m1/a.json", _items(*"abcdefghij", prompt=prompt))
    return tree.read()["cells"][0].get("verdicts")


def test_verdicts_are_packed_with_a_digest_of_the_items(tree: Tree, tmp_path: Path) -> None:
    """The same items have the same digest, whatever was replied; others have another."""
    found = _verdicts(tree)

    assert (found["count"], base64.b64decode(found["bits"])) == (10, bytes([0b10101010, 0b10000000]))
    assert len(found["items"]) == 64
    assert _verdicts(Tree(tmp_path / "other"))["items"] == found["items"]
    assert _verdicts(Tree(tmp_path / "more"), prompt="p")["items"] != found["items"]


def test_items_without_prompts_are_not_known_again(tree: Tree) -> None:
    """Two datasets of one size would look the same."""
    tree.summary(f"{HEAD},m1", _A)
    tree.result("m1/a", {"accuracy": 50, "details": [{"correct": True}, {"correct": False}]})
    tree.prediction("m1/a", "yes", "no")

    (cell,) = tree.read()["cells"]

    assert (cell["samples"], "verdicts" in cell) == (2, False)


def test_where_a_run_comes_from_is_told(tree: Tree) -> None:
    """As our own program noted it; a list of models that changed is a doubt."""
    tree.summary(f"{HEAD},m1", _A)
    tree.plan({"abbr": "a", "rows": 2, "sha256": "ab"})
    noted = {"engine_version": "0.5.4", "python": 3, "started": "s", "endpoint_models": ["m"], "odd": "x"}
    tree.write(".budeval/provenance.json", {**noted, "endpoint_models_after": ["m", "n"]})

    document = tree.read()

    assert document["provenance"] == {
        "engine_version": "0.5.4",
        "python": None,
        "started": "s",
        "ended": None,
        "endpoint_models": ["m"],
        "endpoint_models_after": ["m", "n"],
        "datasets": [{"dataset": "a", "rows": 2, "sha256": "ab"}],
    }
    assert "ENDPOINT_CHANGED" in _codes(document)


@pytest.mark.parametrize("noted", ["", "{", "[1]", '{"endpoint_models": 3}'])
def test_notes_that_cannot_be_read_cost_nothing(tree: Tree, noted: str) -> None:
    """The scores are there."""
    tree.summary(f"{HEAD},m1", _A)
    tree.write(".budeval/provenance.json", noted)

    assert tree.read()["status"] == "success"


def test_replies_however_deep_cost_no_score(tree: Tree) -> None:
    """A hostile file must not take the run's other answers with it."""
    deep: Any = "x"
    for _ in range(300):
        deep = [deep]
    tree.summary(f"{HEAD},m1", _A)
    item = {"origin_prompt": deep, "prediction": deep, "gold": deep}
    tree.write(f"{STAMP}/predictions/m1/a.json", {"0": item, "1": item})

    assert tree.read()["status"] == "success"


@pytest.mark.parametrize(("score", "counted"), [(66.67, True), (66.6, False), (33.33, False)])
def test_contained_answers_have_verdicts_where_they_make_the_score(
    tree: Tree, *, score: float, counted: bool
) -> None:
    """OpenCompass leaves none and rounds; what its replies show is believed only if its mean is the score."""
    tree.plan({"abbr": "a", "evaluator": "contains", "unit": "percent", "rows": 3})
    tree.summary(f"{HEAD},m1", f"a,111111,score,gen,{score:.2f}")
    tree.result("m1/a", {"score": score, "details": []})
    items = _items("It is PARIS.", "<think>Rome</think> Oslo", "Bern")
    for item, gold in zip(items.values(), ("Paris", "Rome", "bern"), strict=True):
        item["gold"] = [gold]
    tree.write(f"{STAMP}/predictions/m1/a.json", items)

    (cell,) = tree.read()["cells"]

    assert (cell["score"], cell["samples"], "interval" in cell) == (score, 3, counted)
    assert (cell.get("verdicts", {}).get("bits") == "oA==") is counted
