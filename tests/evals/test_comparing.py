"""Two evaluations side by side."""

from typing import Any

import pytest

from budeval.domain.evaluation import EvaluationRecord
from budeval.engines.opencompass.extract_results import Marks, packed
from budeval.errors import RequestError
from budeval.evals.comparing import Comparisons
from budeval.evals.store import EvaluationStore
from tests.evals import samples
from tests.runtime.fake_dapr import FakeDapr

_OWN = {"digest": "rows", "format": "jsonl", "prompt": "{q}", "answer": "a", "evaluator": "exact"}
_ITEMS = "ab" * 32


def _cell(dataset: str, right: int, count: int = 100, **more: Any) -> dict[str, Any]:
    marks = Marks([place < right for place in range(count)], _ITEMS)
    cell = {"dataset": dataset, "metric": "accuracy", "unit": "percent", "primary": True, "state": "scored"}
    cell |= {"score": 100 * right / count, "samples": count, "interval": [0, 1], "verdicts": packed(marks)}
    return {**cell, **more}


class Desk:
    """A store with evaluations in it."""

    def __init__(self) -> None:
        self.store = EvaluationStore(FakeDapr().client())
        self.comparisons = Comparisons(self.store)

    def has(
        self, eval_id: str, runs: list[tuple[dict[str, Any], list[dict[str, Any]]]], **provenance: Any
    ) -> None:
        """An evaluation whose runs left these cells, from the same rows unless it says otherwise."""
        own = {"dataset": "own-sums", "rows": 100, "rows_sha256": "rows"}
        provenance = {"engine": "opencompass", "datasets": [own], **provenance}
        evaluation = samples.evaluation(
            eval_id, runs=[{"run_id": f"r-{n}", **run} for n, (run, _) in enumerate(runs)]
        )
        self.store.create(EvaluationRecord(evaluation=evaluation, digest="d", created="2026-01-01"))
        results = [
            {
                "run_id": f"r-{number}",
                "dataset_id": run["dataset_id"],
                "status": "success",
                "outcome": "COMPLETED",
                "job_state": "succeeded",
                "cells": cells,
                "provenance": provenance,
            }
            for number, (run, cells) in enumerate(runs)
        ]
        self.store.save_results(eval_id, results)


@pytest.fixture
def desk() -> Desk:
    """An empty one."""
    return Desk()


def _sums(right: int, **own: Any) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    return {"dataset_id": "sums", "own": {**_OWN, **own}}, [_cell("own-sums", right)]


def test_the_same_scores_are_no_evidence_and_what_differs_is_told(desk: Desk) -> None:
    """Of image and decoding; what is the same is not."""
    desk.has("a", [_sums(60)], image="x:1", decoding={"seed": 1}, engine="opencompass")
    desk.has("b", [_sums(60)], image="x:2", decoding={"seed": 1}, engine="opencompass")

    report = desk.comparisons.report("a", "b", 0.05)

    assert (report.verdict, report.verdicts["no_evidence"]) == ("no_evidence", 1)
    assert report.differs == {"image": ["x:1", "x:2"]}
    assert (report.base.eval_id, report.candidate.eval_id, report.alpha) == ("a", "b", 0.05)
    assert report.base.headline is not None
    (dataset,) = report.datasets
    assert (dataset.dataset, dataset.method, dataset.p_holm) == ("sums", "mcnemar_exact", 1.0)


def test_a_loss_is_told(desk: Desk) -> None:
    """Whichever engine calls the dataset what."""
    desk.has("a", [_sums(80)])
    desk.has("b", [({"dataset_id": "sums", "own": _OWN}, [_cell("sums", 30)])])

    (dataset,) = desk.comparisons.report("a", "b", 0.05).datasets

    assert (dataset.verdict, dataset.only_base, dataset.only_candidate) == ("worse", 50, 0)
    assert dataset.difference == pytest.approx(-0.5)


def test_parts_of_a_stock_dataset_are_compared_part_by_part(desk: Desk) -> None:
    """Groups, second metrics and what nobody asked for are not."""
    extra = [
        _cell("mmlu", 1, group=True),
        _cell("law", 1, primary=False, metric="f1"),
        _cell("odd", 1, unexpected=True),
    ]
    for name in ("a", "b"):
        desk.has(name, [({"dataset_id": "mmlu_gen"}, [_cell("law", 50), _cell("algebra", 50), *extra])])

    report = desk.comparisons.report("a", "b", 0.05)

    assert [dataset.dataset for dataset in report.datasets] == ["mmlu_gen law", "mmlu_gen algebra"]


def test_a_dataset_in_two_runs_is_paired_in_their_order(desk: Desk) -> None:
    """Nothing is lost."""
    desk.has("a", [_sums(60), _sums(70)])
    desk.has("b", [_sums(60)])

    report = desk.comparisons.report("a", "b", 0.05)

    assert [(dataset.dataset, dataset.verdict) for dataset in report.datasets] == [
        ("sums", "no_evidence"),
        ("sums (2)", "not_comparable"),
    ]


@pytest.mark.parametrize(
    ("other", "says"),
    [
        (_sums(60, evaluator="choice"), "measured by exact and by opencompass's choice"),
        (
            ({"dataset_id": "sums", "own": _OWN}, [_cell("own-sums", 60, count=99)]),
            "number of samples differs: 100 and 99",
        ),
        (
            (
                {"dataset_id": "sums", "own": _OWN},
                [{"dataset": "sums", "state": "failed", "reason": "OOM", "metric": "-", "score": None}],
            ),
            "no score: OOM",
        ),
    ],
)
def test_what_cannot_be_compared_is_not(desk: Desk, other: Any, says: str) -> None:
    """It says why."""
    desk.has("a", [_sums(60)])
    desk.has("b", [other])

    report = desk.comparisons.report("a", "b", 0.05)

    assert report.verdict == "not_comparable"
    assert says in (report.datasets[0].reason or "")


@pytest.mark.parametrize(
    ("rows", "method", "says"),
    [("rows", "fisher_exact", None), ("others", None, "rows are others"), (None, None, "not known to be")],
)
def test_other_items_are_compared_only_where_the_rows_are_the_same(
    desk: Desk, rows: str | None, method: str | None, says: str | None
) -> None:
    """Known by the digest that the pod made: a file on the claim may have been replaced."""
    path = {**_OWN, "digest": None, "path": "sums.jsonl"}
    desk.has("a", [({"dataset_id": "sums", "own": path}, [_cell("own-sums", 60)])])
    other = _cell("own-sums", 60)
    other["verdicts"]["items"] = "cd" * 32
    of = [{"dataset": "own-sums", "rows": 100, "rows_sha256": rows}]
    desk.has("b", [({"dataset_id": "sums", "own": path}, [other])], datasets=of)

    (dataset,) = desk.comparisons.report("a", "b", 0.05).datasets

    assert dataset.method == method
    assert says in dataset.reason if says and dataset.reason else dataset.reason is says


@pytest.mark.parametrize(
    ("evaluator", "compared"), [("contains", True), ("choice", False), ("last_number", False)]
)
def test_engines_read_numbers_and_options_by_rules_of_their_own(
    desk: Desk, evaluator: str, *, compared: bool
) -> None:
    """Texts they compare alike."""
    desk.has("a", [_sums(60, evaluator=evaluator)])
    desk.has("b", [_sums(60, evaluator=evaluator)], engine="lm-eval")

    (dataset,) = desk.comparisons.report("a", "b", 0.05).datasets

    assert (dataset.p_value is not None) is compared


def test_rows_that_were_scored_in_part_are_not_known(desk: Desk) -> None:
    """Of each evaluation other ones may be missing."""
    for name, items in (("a", "ab"), ("b", "cd")):
        cell = _cell("own-sums", 60)
        cell["verdicts"]["items"] = items * 32
        of = [{"dataset": "own-sums", "rows": 200, "rows_sha256": "rows"}]
        desk.has(name, [({"dataset_id": "sums", "own": _OWN}, [cell])], datasets=of)

    (dataset,) = desk.comparisons.report("a", "b", 0.05).datasets

    assert "not known to be the same" in (dataset.reason or "")


def test_our_own_rules_may_change_with_the_service(desk: Desk) -> None:
    """What reads options otherwise makes another score of the same replies."""
    desk.has("a", [_sums(60, evaluator="choice")], engine="lm-eval", evaluators_sha256="1" * 64)
    desk.has("b", [_sums(60, evaluator="choice")], engine="lm-eval", evaluators_sha256="2" * 64)

    report = desk.comparisons.report("a", "b", 0.05)

    assert (
        report.datasets[0].reason
        == "measured by lm-eval's choice (11111111) and by lm-eval's choice (22222222)"
    )
    assert "evaluators_sha256" in report.differs


def test_a_stock_dataset_asked_in_part_is_not_compared_with_the_whole(desk: Desk) -> None:
    """The first fifty rows may be the easy ones."""
    desk.has("a", [({"dataset_id": "gsm8k_gen"}, [_cell("gsm8k", 60)])])
    desk.has("b", [({"dataset_id": "gsm8k_gen", "limit": 50}, [_cell("gsm8k", 10, count=50)])])

    report = desk.comparisons.report("a", "b", 0.05)

    assert report.verdict == "not_comparable"
    assert report.datasets[0].reason == "the number of samples differs: 100 and 50"


def test_stock_datasets_without_verdicts_have_no_share(desk: Desk) -> None:
    """A BLEU of 27 is not 27 of 100 samples."""
    cell = {key: value for key, value in _cell("wmt", 27).items() if key not in {"interval", "verdicts"}}
    for name in ("a", "b"):
        desk.has(name, [({"dataset_id": "wmt_gen"}, [cell])])

    assert "no share" in (desk.comparisons.report("a", "b", 0.05).datasets[0].reason or "")


@pytest.mark.parametrize(("base", "candidate", "param"), [("x", "a", "base"), ("a", "x", "candidate")])
def test_the_evaluation_that_is_missing_is_named(desk: Desk, base: str, candidate: str, param: str) -> None:
    """Which of the two."""
    desk.has("a", [_sums(60)])

    with pytest.raises(RequestError) as refused:
        desk.comparisons.report(base, candidate, 0.05)

    assert (refused.value.code, refused.value.param, refused.value.status) == (
        "EVALUATION_UNKNOWN",
        param,
        404,
    )


def test_without_results_there_is_nothing_to_compare(desk: Desk) -> None:
    """Not yet."""
    desk.has("a", [_sums(60)])
    record = EvaluationRecord(evaluation=samples.evaluation("b"), digest="d", created="2026-01-01")
    desk.store.create(record)

    with pytest.raises(RequestError) as refused:
        desk.comparisons.report("a", "b", 0.05)

    assert (refused.value.code, refused.value.status) == ("RESULTS_NOT_READY", 409)
