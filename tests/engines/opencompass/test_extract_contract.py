"""What was asked for is the list: completeness, doubts, verdicts and provenance of OpenCompass runs."""

import base64
from pathlib import Path
from typing import Any

import pytest

from budeval.engines.opencompass import extract_results as extractor
from tests.engines.opencompass.trees import EVAL, HEAD, STAMP, Tree
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
    assert [score["score"] for score in document["scores"]] == [50.0]
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


@pytest.mark.parametrize(
    ("evaluator", "read", "codes", "says"),
    [
        ("choice", "A", ["ANSWERS_EQUAL"], "each of 8 replies was read as A"),
        ("choice", "", ["ANSWERS_EQUAL"], "read as no option"),
        ("choice", "the whole reply", ["ANSWERS_EQUAL"], "read as the same"),
        ("exact", "A", [], ""),
    ],
)
def test_a_fallback_option_is_noticed_in_own_datasets(
    tree: Tree, evaluator: str, read: str, codes: list[str], says: str
) -> None:
    """Their evaluator writes another key. No reply is quoted."""
    details = [{"pred": read, "refr": "ABCD"[number % 4], "is_correct": False} for number in range(8)]
    tree.plan({"abbr": "a", "evaluator": evaluator, "unit": "percent"})
    tree.summary(f"{HEAD},m1", "a,111111,accuracy,gen,0.00")
    tree.result("m1/a", {"accuracy": 0.0, "details": details})

    document = tree.read()

    assert _codes(document) == codes
    assert says in str(document["warnings"])


@pytest.mark.parametrize(
    ("score", "details", "doubt"),
    [
        (90.0, [True, False], "90.0 is not the percent of its 2 verdicts, 1 of them right"),
        (500.0, [], "500.0 is no percent"),
        (-1.0, [], "-1.0 is no percent"),
        (50.0, [True, False], None),
    ],
)
def test_a_score_that_its_verdicts_or_its_unit_deny_is_doubted(
    tree: Tree, score: float, details: list[bool], doubt: str | None
) -> None:
    """It stands, without a unit: nothing is made of it."""
    tree.plan({"abbr": "a", "unit": "percent", "evaluator": "exact"})
    tree.summary(f"{HEAD},m1", f"a,111111,accuracy,gen,{score:.2f}")
    tree.result("m1/a", {"accuracy": score, "details": [{"is_correct": right} for right in details]})

    document = tree.read()

    (cell,) = document["cells"]
    assert (cell["score"], cell["unit"], cell.get("doubt")) == (score, None if doubt else "percent", doubt)
    assert _codes(document) == (["SCORE_DOUBTFUL"] if doubt else [])


def test_verdicts_on_other_samples_than_the_replies_are_not_identified(tree: Tree) -> None:
    """Three verdicts and two replies: which are they of?"""
    tree.summary(f"{HEAD},m1", _A)
    tree.result("m1/a", {"accuracy": 100 / 3, "details": [{"correct": n == 0} for n in range(3)]})
    tree.write(f"{STAMP}/predictions/m1/a.json", _items("x", "y"))

    assert "verdicts" not in tree.read()["cells"][0]


@pytest.mark.parametrize(("total", "codes"), [(3, ["PREDICTIONS_FEWER"]), (2, []), ("x", [])])
def test_fewer_replies_than_a_stock_dataset_has_rows_are_said(
    tree: Tree, total: Any, codes: list[str]
) -> None:
    """No plan knows how many; OpenCompass' inference has noted it."""
    tree.plan({"abbr": "a"})
    tree.summary(f"{HEAD},m1", _A)
    tree.write(f"{STAMP}/predictions/m1/a.json", _items("x", "y"))
    tree.write(f"{STAMP}/infer_status/m1/a.json", {"status": "done", "total": total})

    assert _codes(tree.read()) == codes


@pytest.mark.parametrize("scored", [True, False])
def test_what_nobody_asked_for_costs_nothing_and_counts_for_nothing(tree: Tree, *, scored: bool) -> None:
    """A dataset beside the planned one: neither its failure nor its score is the run's."""
    tree.plan({"abbr": "a"})
    asked, other = ("-", "99.00") if scored else ("50.00", "-")
    tree.summary(f"{HEAD},m1", f"a,111111,accuracy,gen,{asked}", f"b,111111,accuracy,gen,{other}")

    document = tree.read()

    assert document["status"] == ("error" if scored else "success")
    assert document.get("code") == ("NOTHING_SCORED" if scored else None)
    assert [score["dataset"] for score in document["scores"]] == ([] if scored else ["a"])


@pytest.mark.parametrize("parts", [1, 2])
def test_items_are_the_same_in_whatever_order_replies_came_in(tree: Tree, tmp_path: Path, parts: int) -> None:
    """Engines ask several at once; a dataset may be cut into parts, whose rows are counted from 0 again."""
    items = _items(*[f"reply {n} of 8" for n in range(8)])
    for number, item in items.items():
        item.update(origin_prompt=f"q{number}", gold=f"reply {number}" if int(number) < 3 else "no")

    def digest(other: Tree, order: list[str]) -> Any:
        other.plan({"abbr": "a", "evaluator": "contains", "unit": "percent"})
        other.summary(f"{HEAD},m1", "a,111111,score,gen,37.50")
        size = len(items) // parts
        for part in range(parts):
            mine = [key for key in order if int(key) // size == part]
            name = "a" if parts == 1 else f"a_{part}"
            content = {str(int(key) % size): items[key] for key in mine}
            other.write(f"{STAMP}/predictions/m1/{name}.json", content)
        return other.read()["cells"][0]["verdicts"]

    assert digest(tree, list(items)) == digest(Tree(tmp_path / "other"), list(reversed(items)))
    assert base64.b64decode(digest(tree, list(items))["bits"]) == bytes([0b11100000])


@pytest.mark.parametrize(
    ("lines", "scored", "codes"),
    [
        (["m1,m2", "a,v", "b,359d58,accuracy,gen,75.00,85.00"], [("b", 75.0), ("b", 85.0)], 1),
        (["m1", "a,1", "2,3,4,5", "b,359d58,accuracy,gen,75.00"], [("b", 75.0)], 2),
        (
            [
                "m1,m2",
                "a,359d58,accuracy,gen,10.00",
                "b,359d58,accuracy,gen,20.00,30.00",
                "b2,v,x,gen,1.00,2.00",
            ],
            [("b", 20.0), ("b", 30.0)],
            1,
        ),
    ],
)
def test_a_ragged_row_takes_nothing_from_the_next(
    tree: Tree, lines: list[str], scored: list[tuple[str, float]], codes: int
) -> None:
    """It is no name that goes on in the next line: names have no comma."""
    tree.plan({"abbr": "a"}, {"abbr": "b"}, models=tuple(lines[0].split(",")))
    tree.summary(f"{HEAD},{lines[0]}", *lines[1:])

    document = tree.read()

    found = [(cell["dataset"], cell["score"]) for cell in document["cells"] if cell["state"] == "scored"]
    assert [one for one in found if one[0] != "b2"] == scored
    assert {cell["dataset"] for cell in document["cells"] if cell["state"] != "scored"} == {"a"}
    assert _codes(document).count("ROW_RAGGED") == codes


@pytest.mark.parametrize("torn", ["d,1,acc", "uracy,gen,50.00", "x,1,2,3,4,5"])
def test_a_run_is_no_success_where_only_a_torn_row_tells_of_a_dataset(tree: Tree, torn: str) -> None:
    """Without a plan, a configuration or a result file."""
    tree.summary(f"{HEAD},m1", _A, torn)

    document = tree.read()

    assert (document["code"], [score["dataset"] for score in document["scores"]]) == ("PARTLY_SCORED", ["a"])
    assert [(cell["dataset"], cell["reason"]) for cell in document["cells"][1:]] == [
        (torn.partition(",")[0], "ROW_RAGGED")
    ]


def test_the_models_of_a_plan_put_commas_back_into_a_header(tree: Tree) -> None:
    """In whatever order they are, and where no configuration is left; the longest name counts."""
    tree.plan({"abbr": "a"}, models=("m", "m,1", "n,x,y"))
    tree.summary(f"{HEAD},n,x,y,other,m,1,m", "a,111111,accuracy,gen,10.00,20.00,30.00,40.00")

    document = tree.read()

    assert {cell["model"]: cell["score"] for cell in document["cells"]} == {
        "n,x,y": 10.0,
        "other": 20.0,
        "m,1": 30.0,
        "m": 40.0,
    }
    assert _codes(document) == ["UNEXPECTED"]


def test_other_means_are_no_reason_to_doubt(tree: Tree) -> None:
    """A metric that is no mean of the verdicts is not denied by them."""
    tree.plan({"abbr": "a", "unit": "percent"})
    tree.summary(f"{HEAD},m1", "a,111111,perf_origin,gen,90.00")
    tree.result("m1/a", {"perf_origin": 90.0, "details": [{"correct": True}, {"correct": False}]})

    document = tree.read()

    assert (document["scores"][0]["unit"], _codes(document)) == ("percent", [])


def test_names_that_read_the_same_are_two_cells(tree: Tree) -> None:
    """A comma is a space in the summary: one of them cannot be told."""
    tree.plan({"abbr": "a,b"}, {"abbr": "a b"})
    tree.summary(f"{HEAD},m1", "a b,111111,accuracy,gen,50.00")
    tree.result("m1/a,b", {"accuracy": 50})

    document = tree.read()

    assert [(cell["state"], cell.get("reason")) for cell in document["cells"]] == [
        ("scored", None),
        ("missing", "NAME_AMBIGUOUS"),
    ]
    assert "DUPLICATE_DATASET" in _codes(document)


def test_a_dataset_that_is_asked_for_twice_is_one_score_and_a_warning(tree: Tree) -> None:
    """[16] Nothing is missing."""
    tree.plan({"abbr": "a"}, {"abbr": "a"})
    tree.summary(f"{HEAD},m1", _A)

    document = tree.read()

    assert (document["status"], len(document["scores"])) == ("success", 1)
    assert _codes(document) == ["DUPLICATE_DATASET"]


def test_models_whose_names_have_commas_are_those_that_were_asked_for(tree: Tree) -> None:
    """Also those that have left nothing: the run is no success without them."""
    tree.plan({"abbr": "d"}, models=("a,1", "b,2", "c,3"))
    tree.summary(f"{HEAD},a 1,b 2,c 3", "d,111111,accuracy,gen,50.00,-,-")
    tree.result("a,1/d", {"accuracy": 50})

    document = tree.read()

    assert (document["status"], document["code"]) == ("error", "PARTLY_SCORED")
    assert not any(cell.get("unexpected") for cell in document["cells"])


def test_a_surprise_costs_no_planned_cell(tree: Tree) -> None:
    """Whatever goes wrong here: what was asked for is missing, not forgotten."""
    tree.plan({"abbr": "a", "dataset_id": "team/a", "unit": []})
    tree.summary(f"{HEAD},m1", _A)
    assert tree.read()["status"] == "success"

    engine = extractor.Engine("opencompass", lambda _base: 1 / 0)  # type: ignore[arg-type, return-value]
    document = extractor.extract_run(engine, str(tree.root), EVAL, tree.run_id)

    assert (document["code"], document["error"]) == (
        "RESULTS_UNREADABLE",
        "Results cannot be read: ZeroDivisionError",
    )
    assert [(cell["dataset_id"], cell["state"]) for cell in document["cells"]] == [("team/a", "missing")]


def test_a_score_without_verdicts_tells_what_was_asked_too(tree: Tree) -> None:
    """The digest of the items is that of the dataset as it was asked."""

    def items(other: Tree, *replies: str) -> str:
        other.summary(f"{HEAD},m1", "a,111111,bleu,gen,27.00")
        other.write(f"{STAMP}/predictions/m1/a.json", _items(*replies))
        (cell,) = other.read()["cells"]
        return str(cell["items"])

    assert len(items(tree, "x", "y")) == 64
    assert items(tree, "x", "y") == items(tree, "p", "q") != items(tree, "x")


@pytest.mark.parametrize(("replies", "codes"), [(2, ["PREDICTIONS_FEWER"]), (4, ["PREDICTIONS_MORE"])])
def test_samples_are_those_that_are_there(tree: Tree, replies: int, codes: list[str]) -> None:
    """And not those that were planned."""
    tree.plan({"abbr": "a", "unit": "percent", "rows": 3})
    tree.summary(f"{HEAD},m1", _A)
    tree.result("m1/a", {"accuracy": 50.0})
    tree.write(f"{STAMP}/predictions/m1/a.json", _items(*[f"reply {n}" for n in range(replies)]))

    document = tree.read()

    assert (document["cells"][0]["samples"], _codes(document)) == (replies, codes)


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
    tree.plan({"abbr": "a", "rows": 2, "rows_there": 9, "sha256": "ab", "rows_sha256": "cd"})
    noted = {"engine_version": "0.5.4", "python": 3, "started": "s", "endpoint_models": ["m"], "odd": "x"}
    tree.write(".budeval/provenance.json", {**noted, "endpoint_models_after": ["m", "n"]})

    document = tree.read()

    assert document["provenance"] == {
        "engine_version": "0.5.4",
        "evaluators_sha256": None,
        "python": None,
        "started": "s",
        "ended": None,
        "endpoint_models": ["m"],
        "endpoint_models_after": ["m", "n"],
        "datasets": [{"dataset": "a", "rows": 2, "rows_there": 9, "sha256": "ab", "rows_sha256": "cd"}],
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


def test_a_real_run_of_contained_answers_has_its_verdicts(tree: Tree) -> None:
    """42 of 64, which OpenCompass rounds to 65.62; its own details compare whole texts and say nothing."""
    tree.fill("own_contains")

    document = tree.read()

    (cell,) = document["cells"]
    assert (cell["score"], cell["unit"], cell["samples"]) == (65.62, "percent", 64)
    assert cell["interval"] == pytest.approx([53.40, 76.08], abs=0.005)  # Wilson's
    assert (cell["verdicts"]["count"], len(cell["verdicts"]["items"])) == (64, 64)
    assert sum(octet.bit_count() for octet in base64.b64decode(cell["verdicts"]["bits"])) == 42
    assert document["warnings"] == []


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
