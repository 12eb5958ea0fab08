"""The extractor of lm-eval runs, on real output trees and on broken ones."""

import base64
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from budeval.engines.lm_eval.extract_results import LM_EVAL
from budeval.engines.opencompass.extract_results import extract_run, to_json

Document = dict[str, Any]

_SAMPLES = Path(__file__).with_name("samples")


class Tree:
    """The directory of one run."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.base = root / "e-1" / "lm-eval-r-1"
        self.base.mkdir(parents=True)

    def fill(self, sample: str) -> "Tree":
        """Copy a sample tree."""
        shutil.copytree(_SAMPLES / sample, self.base, dirs_exist_ok=True)
        return self

    def results(self, content: Any, name: str = "m/results_2026-01-01.json") -> None:
        """A result file; what is not a text is written as JSON."""
        path = self.base / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content if isinstance(content, str) else json.dumps(content))

    def plan(
        self, *tasks: str, rows: int | None = None, output: str | None = None, evaluator: str = "exact"
    ) -> None:
        """What was asked for."""
        (self.base / ".budeval").mkdir(exist_ok=True)
        each = {"rows": rows, "unit": "fraction", "evaluator": evaluator}
        datasets = [{"abbr": task, "dataset_id": task, **each} for task in tasks]
        plan = {"schema": 1, "attempt": 1, "models": ["m"], "datasets": datasets, "output": output}
        (self.base / ".budeval" / "plan.json").write_text(json.dumps(plan))

    def read(self) -> Document:
        """The run's document, which is strict JSON."""
        document = extract_run(LM_EVAL, str(self.root), "e-1", "r-1")
        json.loads(to_json(document), parse_constant=pytest.fail)
        return document


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    """An empty one."""
    return Tree(tmp_path)


def _cells(document: Document) -> list[tuple[str, str, str, float | None]]:
    return [(cell["dataset"], cell["metric"], cell["state"], cell["score"]) for cell in document["cells"]]


def test_an_own_dataset_has_its_score_with_verdicts(tree: Tree) -> None:
    """16 of 20 rows are right; lm-eval's own result file says 0.8."""
    document = tree.fill("own").read()

    assert (document["status"], document["engine"], document["attempt"]) == ("success", "lm-eval", 1)
    (cell,) = document["cells"]
    assert (cell["dataset_id"], cell["score"], cell["unit"], cell["samples"]) == ("sums", 0.8, "fraction", 20)
    assert cell["interval"] == pytest.approx([0.58398, 0.91934], abs=1e-5)  # Wilson's, 16 of 20
    bits = int.from_bytes(base64.b64decode(cell["verdicts"]["bits"]))
    assert (cell["verdicts"]["count"], bits.bit_count()) == (20, 16)
    assert document["warnings"] == []


def test_groups_and_filters_are_told_apart(tree: Tree) -> None:
    """A metric with two filters is two metrics; a group is marked, and is nobody's primary."""
    document = tree.fill("groups").read()

    assert _cells(document) == [
        (task, metric, "scored", 0.5)
        for task in ("mini_a", "mini_b", "mini")
        for metric in ("exact_match,strict-match", "exact_match,flexible-extract")
    ]
    kinds = [(cell["kind"], cell["group"], cell["primary"]) for cell in document["cells"]]
    assert kinds == [("score", False, True), ("score", False, False)] * 2 + [("group", True, False)] * 2
    assert {cell["model"] for cell in document["cells"]} == {"org/m,x=1"}
    assert {cell["version"] for cell in document["cells"]} == {"2"}
    assert [cell.get("samples") for cell in document["cells"]] == [6, 6, 6, 6, None, None]


def test_without_a_result_file_the_log_tells_why(tree: Tree) -> None:
    """One failed row, and lm-eval writes nothing."""
    tree.plan("own-sums", output="start-1")
    (tree.base / ".budeval" / "engine.log").write_text("boom\n")

    document = tree.read()

    assert (document["status"], document["code"], document["log"]) == ("error", "SUMMARY_MISSING", "boom")


def test_an_older_starts_result_is_not_taken(tree: Tree) -> None:
    """The plan names the newest start's directory; a name that leads elsewhere stays inside."""
    tree.results({"results": {"own-sums": {"accuracy,none": 1.0}}}, "start-1/m/results_1.json")

    tree.plan("own-sums", output="start-2")
    assert tree.read()["code"] == "SUMMARY_MISSING"

    tree.plan("own-sums", output="../../start-1")
    assert tree.read()["status"] == "success"


def test_the_newest_result_file_counts(tree: Tree) -> None:
    """Where no plan tells which."""
    tree.results({"results": {"a": {"acc,none": 0.25}}}, "m/results_2026-01-02T00-00-00.json")
    tree.results({"results": {"a": {"acc,none": 0.75}}}, "z/results_2026-01-01T00-00-00.json")

    assert _cells(tree.read()) == [("a", "acc", "scored", 0.25)]


def test_what_was_asked_for_is_the_list(tree: Tree) -> None:
    """A task that is not in the file is missing, one without a number too; NaN is none."""
    tree.plan("own-a", "own-b", "own-c", "own-d")
    found = {
        "own-a": {"alias": "a", "accuracy,none": 0.5},
        "own-b": {"accuracy,none": float("nan")},
        "own-c": {},
    }
    tree.results({"results": found})

    document = tree.read()

    assert _cells(document) == [
        ("own-a", "accuracy", "scored", 0.5),
        ("own-b", "accuracy", "not_a_number", None),
        ("own-c", "-", "missing", None),
        ("own-d", "-", "missing", None),
    ]
    assert (document["status"], document["code"]) == ("error", "PARTLY_SCORED")


def test_metrics_that_are_no_share_have_no_unit(tree: Tree) -> None:
    """Only their documentation tells; a standard error is no metric."""
    metrics = {
        "acc,none": 0.5,
        "acc_stderr,none": 0.1,
        "perplexity,none": 27.3,
        "acc_stderr,x": "N/A",
        "word,none": "x",
    }
    tree.results({"results": {"a": metrics}})

    document = tree.read()

    assert [(cell["metric"], cell["unit"]) for cell in document["cells"]] == [
        ("acc", "fraction"),
        ("perplexity", None),
        ("word", None),
    ]


def _sample(number: int, reply: str, accuracy: float) -> str:
    arguments = {"gen_args_0": {"arg_0": [json.dumps([{"role": "user", "content": f"q{number}"}])]}}
    sample = {"doc_id": number, "target": "t", "arguments": arguments, "resps": [[reply]], "filter": "none"}
    return json.dumps({**sample, "accuracy": accuracy})


@pytest.mark.parametrize(
    ("replies", "code"),
    [
        ([""] * 10, "PREDICTIONS_EMPTY"),
        (["I cannot help."] * 10, "PREDICTIONS_EQUAL"),
        ([f"<think>{n}</think> 5" for n in range(10)], "REASONING_IN_PREDICTIONS"),
        ([f"reply {n}" for n in range(9)], "PREDICTIONS_FEWER"),
        ([f"reply {n}" for n in range(11)], "PREDICTIONS_MORE"),
    ],
)
def test_scores_that_may_be_artefacts_are_warned_of(tree: Tree, replies: list[str], code: str) -> None:
    """The score stands, with a doubt."""
    tree.plan("own-a", rows=10)
    tree.results({"results": {"own-a": {"accuracy,none": 0.0}}})
    lines = [_sample(number, reply, 0.0) for number, reply in enumerate(replies)]
    tree.results("\n".join(lines) + "\n", "m/samples_own-a_2026-01-01.jsonl")

    document = tree.read()

    assert document["status"] == "success"
    assert [warning["code"] for warning in document["warnings"]] == [code]


@pytest.mark.parametrize(("right", "codes"), [("ABCD", ["ANSWERS_EQUAL"]), ("AAAA", [])])
def test_one_option_for_all_is_noticed(tree: Tree, right: str, codes: list[str]) -> None:
    """As the evaluator reads replies."""
    tree.plan("own-a", evaluator="choice")
    tree.results({"results": {"own-a": {"accuracy,none": 0.0}}})
    samples = [json.loads(_sample(number, f"I say A, {number}", 0.0)) for number in range(8)]
    lines = [json.dumps({**item, "target": right[n % 4]}) for n, item in enumerate(samples)]
    tree.results("\n".join(lines), "m/samples_own-a_2026-01-01.jsonl")

    assert [warning["code"] for warning in tree.read()["warnings"]] == codes


@pytest.mark.parametrize(
    ("metric", "value", "marks", "unit", "codes"),
    [
        ("f1", 82.4, [], None, []),
        ("em", 61.0, [], None, []),
        ("acc", 61.0, [], None, ["SCORE_DOUBTFUL"]),
        ("f1", 0.8, [], "fraction", []),
        ("f1", 0.4, [1.0, 0.0], "fraction", []),
        ("acc", 0.4, [1.0, 0.0], None, ["SCORE_DOUBTFUL"]),
    ],
)
def test_a_fraction_is_one(
    tree: Tree, metric: str, value: float, marks: list[float], unit: str | None, codes: list[str]
) -> None:
    """SQuAD's metrics are percentages, which is no doubt; F1 is no mean of its samples, accuracy is."""
    tree.results({"results": {"a": {f"{metric},none": value}}})
    lines = [json.dumps({**json.loads(_sample(n, f"{n}", 0)), metric: mark}) for n, mark in enumerate(marks)]
    tree.results("\n".join(lines), "m/samples_a_2026-01-01.jsonl")

    document = tree.read()

    assert document["cells"][0]["unit"] == unit
    assert [warning["code"] for warning in document["warnings"]] == codes


def test_a_sample_without_its_reply_costs_no_score(tree: Tree) -> None:
    """It was not logged."""
    tree.plan("own-a", evaluator="choice")
    tree.results({"results": {"own-a": {"accuracy,none": 0.5}}})
    tree.results('{"doc_id": 0, "filter": "none", "accuracy": 1.0}', "m/samples_own-a_2026-01-01.jsonl")

    assert _cells(tree.read()) == [("own-a", "accuracy", "scored", 0.5)]


@pytest.mark.parametrize("place", ["x", 0])
def test_samples_at_one_place_are_not_identified(tree: Tree, place: Any) -> None:
    """Which verdict is whose is not known."""
    tree.results({"results": {"a": {"accuracy,none": 0.5}}})
    samples = [json.loads(_sample(number, "r", float(number % 2))) for number in range(4)]
    lines = [json.dumps({**sample, "doc_id": place}) for sample in samples]
    tree.results("\n".join(lines), "m/samples_a_2026-01-01.jsonl")

    (cell,) = tree.read()["cells"]

    assert (cell["samples"], "verdicts" in cell) == (4, False)


def test_a_planned_task_is_no_group(tree: Tree) -> None:
    """Whatever the file says of it: a cell that was asked for is not lost among groups."""
    tree.plan("own-a")
    tree.results({"results": {"own-a": {"accuracy,none": 0.5}}, "groups": {"own-a": {"accuracy,none": 0.5}}})

    (cell,) = tree.read()["cells"]

    assert (cell["group"], cell["primary"]) == (False, True)


def test_the_tasks_of_a_group_that_was_asked_for_were_asked_for(tree: Tree) -> None:
    """They are scores, of groups in groups too; the group is none beside them, or it would count twice."""
    tree.plan("g")
    subtasks = {"g": ["b", "h"], "h": ["c", "lost"], "b": []}
    results = {"g": {"acc,none": 0.4}, "h": {"alias": "h"}, "b": {"acc,none": 0.2}, "c": {"acc,none": 0.6}}
    tree.results({"results": {**results, "d": {"acc,none": 1.0}}, "group_subtasks": subtasks})

    document = tree.read()

    assert [(cell["dataset"], cell["group"], cell["primary"]) for cell in document["cells"]] == [
        ("g", True, False),
        ("b", False, True),
        ("c", False, True),
        ("d", False, True),
        ("lost", False, False),
    ]
    assert [cell["dataset"] for cell in document["cells"] if cell.get("unexpected")] == ["d"]
    assert (document["code"], document["error"]) == ("PARTLY_SCORED", "No score for: lost")


@pytest.mark.parametrize(
    "subtasks", [{"g": ["g"]}, {"g": ["h"], "h": ["g"]}, {"g": ["nowhere"]}, {"g": [{}]}]
)
def test_a_group_without_tasks_is_not_lost(tree: Tree, subtasks: Any) -> None:
    """It was asked for."""
    tree.plan("g")
    tree.results({"results": {"g": {"acc,none": 0.4}}, "group_subtasks": subtasks})

    assert ("g", "acc", "scored", 0.4) in _cells(tree.read())


def test_only_the_same_name_is_asked_for_twice(tree: Tree) -> None:
    """lm-eval tells a comma from a space, as its results are no table."""
    tree.plan("a,b", "a b", "c", "c")
    tree.results({"results": {name: {"accuracy,none": 0.5} for name in ("a,b", "a b", "c")}})

    document = tree.read()

    assert document["status"] == "success"
    assert document["warnings"] == [{"code": "DUPLICATE_DATASET", "message": "c is asked for 2 times"}]


@pytest.mark.parametrize(
    ("option", "codes"), [("a continuation", []), (["one"], []), ({"until": []}, ["PREDICTIONS_EQUAL"])]
)
def test_likelihoods_are_no_replies(tree: Tree, option: Any, codes: list[str]) -> None:
    """Equal ones are no reason to doubt a score."""
    tree.results({"results": {"a": {"acc,none": 0.5}}})
    samples = [json.loads(_sample(n, "x", 0)) for n in range(8)]
    for number, sample in enumerate(samples):
        sample["arguments"]["gen_args_0"]["arg_1"] = option
        sample.update(acc=float(number % 2), resps=[[["-1.5", "False"]]])
    tree.results("\n".join(map(json.dumps, samples)), "m/samples_a_2026-01-01.jsonl")

    assert [warning["code"] for warning in tree.read()["warnings"]] == codes


def test_verdicts_are_in_the_order_of_the_rows(tree: Tree) -> None:
    """And identified by what was asked."""
    tree.results({"results": {"a": {"accuracy,none": 0.5}}})
    lines = [_sample(1, "x", 0.0), _sample(0, "y", 1.0)]

    tree.results("\n".join(lines), "m/samples_a_2026-01-01.jsonl")
    first = tree.read()["cells"][0]["verdicts"]
    tree.results("\n".join(reversed(lines)), "m/samples_a_2026-01-01.jsonl")

    assert tree.read()["cells"][0]["verdicts"] == first
    assert base64.b64decode(first["bits"]) == b"\x80"


@pytest.mark.parametrize(
    "break_it",
    [
        pytest.param(
            lambda base: (base / "m/samples_a_2026-01-01.jsonl").write_text('{"a"\n[1]\n'), id="torn"
        ),
        pytest.param(
            lambda base: (base / "m/samples_a_2026-01-01.jsonl").symlink_to("/etc/passwd"), id="link"
        ),
    ],
)
def test_samples_that_cannot_be_read_leave_the_score(tree: Tree, break_it: Callable[[Path], object]) -> None:
    """Without verdicts, and with a warning."""
    tree.results({"results": {"a": {"acc,none": 0.5}}})
    break_it(tree.base)

    document = tree.read()

    assert document["cells"][0]["score"] == 0.5
    assert "verdicts" not in document["cells"][0]
    assert document["warnings"][0]["code"] == "PREDICTIONS_UNREADABLE"


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=10,
)
_TASKS = st.dictionaries(
    st.text(max_size=6), st.dictionaries(st.sampled_from(["acc,none", "x", "a,b,c"]), _JSON)
)


def _numbers(value: Any) -> Iterator[float]:
    """All of them, as JSON readers have them: beyond 2**53 not every whole number is one."""
    if isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _numbers(inner)
    elif isinstance(value, int | float) and abs(value) < 1e308:
        yield float(value)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    results=_JSON
    | st.fixed_dictionaries({"results": _TASKS | _JSON, "group_subtasks": _JSON, "versions": _JSON})
)
def test_whatever_the_file_holds_there_is_an_answer(
    tmp_path_factory: pytest.TempPathFactory, results: Any
) -> None:
    """Strict JSON, never an exception, and no number that the file does not have."""
    tree = Tree(tmp_path_factory.mktemp("tree"))
    tree.results(results)

    document = tree.read()

    assert document["status"] in {"success", "error"}
    assert {score["score"] for score in document["scores"]} <= set(_numbers(results))
