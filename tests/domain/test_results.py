"""From what the extractor read and the watcher saw to the results that callers get."""

import json
from typing import Any

import pytest

from budeval.domain.evaluation import Evaluation, Outcome
from budeval.domain.observation import CANCELLED, RunObservation
from budeval.domain.results import (
    Result,
    evaluation_outcome,
    failed_result,
    for_event,
    in_a_status,
    run_result,
    summary_of,
    totals,
    with_earlier_scores,
)

_EVALUATION = Evaluation.model_validate(
    {
        "eval_id": "e-1",
        "experiment_id": "x-1",
        "engine": "opencompass",
        "model": {"name": "m", "endpoint": "http://m/v1"},
        "runs": [{"run_id": "other", "dataset_id": "other"}, {"run_id": "r", "dataset_id": "sums"}],
        "target": {"cluster": "local", "namespace": "team-a"},
        "claim": "a-claim",
        "audience": {"topics": ["news"], "workflow_id": "theirs"},
        "attempt": 2,
    }
)
_SCORE = {"dataset": "sums", "version": "abc", "metric": "accuracy", "mode": "gen", "score": 62.5}
_GUIDE = {
    "run_id": "r",
    "eval_id": "e-1",
    "status": "success",
    "scores": [_SCORE],
    "csv_file": "20260101_000000/summary/summary_20260101_000000.csv",
    "error": None,
}
_EMPTY = {**_GUIDE, "status": "error", "scores": [], "csv_file": None, "error": "No score.", "code": "EMPTY"}


def _seen(state: str, **more: Any) -> RunObservation:
    return RunObservation.model_validate({"run_id": "r", "state": state, **more})


def _result(seen: RunObservation, extracted: dict[str, Any] | None, problem: str | None = None) -> Result:
    return run_result(_EVALUATION, seen, extracted, problem)


def test_a_success_has_the_guides_keys_and_ours() -> None:
    """What the extractor says is passed on, with the run's dataset and the attempt."""
    result = _result(_seen("succeeded"), {**_GUIDE, "warnings": ["w"]})

    assert {name: result[name] for name in _GUIDE} == _GUIDE
    assert (result["dataset_id"], result["attempt"], result["warnings"]) == ("sums", 2, ["w"])
    assert result["outcome"] == "COMPLETED"
    assert (result["code"], result["error"]) == (None, None)


def test_times_are_the_clusters() -> None:
    """With the original service's names; the seconds are their difference."""
    seen = _seen("succeeded", started="2026-01-01T00:00:00Z", ended="2026-01-01T00:01:30Z")

    result = _result(seen, _GUIDE)

    assert result["startTime"] == "2026-01-01T00:00:00+00:00"
    assert result["completionTime"] == "2026-01-01T00:01:30+00:00"
    assert result["duration_seconds"] == 90


@pytest.mark.parametrize(
    "times", [{}, {"started": "2026-01-01T00:00:00Z"}, {"ended": "2026-01-01T00:00:00Z"}]
)
def test_what_has_no_times_has_no_duration(times: dict[str, str]) -> None:
    """The keys are there nevertheless."""
    result = _result(_seen("succeeded", **times), _GUIDE)

    assert result["duration_seconds"] is None
    assert (result["startTime"] is None) == ("started" not in times)
    assert (result["completionTime"] is None) == ("ended" not in times)


@pytest.mark.parametrize("extracted", [None, _EMPTY])
def test_a_jobs_failure_is_the_cause(extracted: dict[str, Any] | None) -> None:
    """That the extractor finds nothing is its consequence."""
    seen = _seen("failed", code="OOM", message="too much")

    result = _result(seen, extracted, "LOG_CORRUPT: torn")

    assert (result["status"], result["code"], result["error"]) == ("error", "OOM", "too much")
    assert (result["outcome"], result["scores"]) == ("FAILED", [])


def test_scores_of_a_job_that_failed_are_kept() -> None:
    """They are evidence, and no success."""
    result = _result(_seen("failed", code="DEADLINE", message="too long"), _GUIDE)

    assert (result["status"], result["code"], result["outcome"]) == ("error", "DEADLINE", "PARTIAL")
    assert result["scores"] == [_SCORE]


@pytest.mark.parametrize("state", ["pending", "blocked", "running", "failed", "gone"])
def test_a_run_that_did_not_succeed_has_a_reason(state: str) -> None:
    """Also where nobody gave one, and whatever state it was left in."""
    result = _result(_seen(state), None)

    assert (result["status"], result["code"], result["outcome"]) == ("error", "JOB_FAILED", "FAILED")
    assert result["error"]


@pytest.mark.parametrize(
    ("problem", "code", "error"),
    [
        ("LOG_CORRUPT: a frame: torn", "LOG_CORRUPT", "a frame: torn"),
        (None, "RESULT_MISSING", "the extraction gave no answer"),
    ],
)
def test_a_success_without_a_document_is_none(problem: str | None, code: str, error: str) -> None:
    """Why there is no document is told; where nobody knows, that."""
    result = _result(_seen("succeeded"), None, problem)

    assert (result["code"], result["error"], result["outcome"]) == (code, error, "FAILED")


@pytest.mark.parametrize(
    ("extracted", "code", "error", "outcome"),
    [
        (_EMPTY, "EMPTY", "No score.", "FAILED"),
        ({**_EMPTY, "code": None, "error": None}, "RESULT_MISSING", "No score.", "FAILED"),
        ({**_EMPTY, "scores": [_SCORE]}, "EMPTY", "No score.", "PARTIAL"),
        ({}, "RESULT_MISSING", "No score.", "FAILED"),
    ],
    ids=["its-code", "no-code", "some-scores", "nothing"],
)
def test_the_extractors_verdict_counts_for_a_job_that_succeeded(
    extracted: dict[str, Any], code: str, error: str, outcome: str
) -> None:
    """Exit status 0 is no score; some scores of a run are a part of it."""
    result = _result(_seen("succeeded"), extracted)

    assert (result["status"], result["code"], result["error"]) == ("error", code, error)
    assert result["outcome"] == outcome


def test_a_run_that_never_had_a_job_has_a_result() -> None:
    """Every run that was asked for is answered."""
    result = failed_result(_EVALUATION, "r", "FORBIDDEN", "You may not.")

    assert (result["run_id"], result["eval_id"], result["dataset_id"]) == ("r", "e-1", "sums")
    assert (result["status"], result["scores"]) == ("error", [])
    assert (result["code"], result["error"], result["outcome"]) == ("FORBIDDEN", "You may not.", "FAILED")
    assert result["duration_seconds"] is None
    assert [(cell["state"], cell["reason"]) for cell in result["cells"]] == [("failed", "FORBIDDEN")]
    assert (result["completeness"]["requested"], result["completeness"]["ratio"]) == (1, 0)


def test_a_run_whose_results_could_not_be_read_lacks_them() -> None:
    """The Job has succeeded: its cells are missing, not failed."""
    result = _result(_seen("succeeded"), None, "LOG_CORRUPT: torn")

    assert [(cell["state"], cell["reason"]) for cell in result["cells"]] == [("missing", "LOG_CORRUPT")]


def test_a_limited_run_says_that_it_is() -> None:
    """Its score is not that of the dataset."""
    runs = [{"run_id": "r", "dataset_id": "sums", "limit": 8}]
    evaluation = Evaluation.model_validate({**_EVALUATION.model_dump(mode="json"), "runs": runs})

    result = run_result(evaluation, _seen("succeeded"), {**_GUIDE, "warnings": [{"code": "X"}]}, None)

    assert [warning["code"] for warning in result["warnings"]] == ["X", "SAMPLES_LIMITED"]
    assert result["provenance"]["source"]["limit"] == 8


@pytest.mark.parametrize(
    ("there", "says"),
    [(8, None), (7, None), (9, "the first 8 of 9 rows"), (None, "the first 8 rows")],
)
def test_a_limit_that_cuts_nothing_is_no_doubt(there: int | None, says: str | None) -> None:
    """The pod tells how many rows there are; of stock datasets it does not."""
    runs = [{"run_id": "r", "dataset_id": "sums", "limit": 8}]
    evaluation = Evaluation.model_validate({**_EVALUATION.model_dump(mode="json"), "runs": runs})
    provenance = {"datasets": [{"dataset": "sums", "rows_there": there}]}

    result = run_result(evaluation, _seen("succeeded"), {**_GUIDE, "provenance": provenance}, None)

    messages = [warning["message"] for warning in result["warnings"]]
    assert len(messages) == (says is not None)
    assert (says or "") in "".join(messages)


def test_results_of_another_attempt_are_not_this_ones() -> None:
    """They are on the volume until this one has written its own."""
    result = _result(_seen("succeeded"), {**_GUIDE, "attempt": 7, "scores": [_SCORE]})

    assert (result["code"], result["scores"], result["attempt"]) == ("RESULT_STALE", [], 2)
    assert "attempt 7" in result["error"]


_CELLS = [{"state": "scored", "score": 62.5, "unit": "percent", "primary": True}, {"state": "missing"}]
_PARTLY = {**_GUIDE, "status": "error", "code": "PARTLY_SCORED", "error": "No score for: b", "cells": _CELLS}
_EARLIER = {**_result(_seen("succeeded", ended="2026-01-01T00:00:00Z"), _PARTLY), "attempt": 1}


@pytest.mark.parametrize(
    ("code", "outcome"), [("CLUSTER_UNREACHABLE", "PARTIAL"), (CANCELLED, "CANCELLED")], ids=["fails", "ends"]
)
def test_an_attempt_without_scores_costs_a_run_none(code: str, outcome: str) -> None:
    """How it ended is told, however often; the scores stay, with all that belongs to them."""
    ended = ("code", "error", "outcome", "warnings")
    result, told = _EARLIER, []
    for attempt in (2, 3):
        failed = failed_result(_EVALUATION, "r", code, f"In attempt {attempt}.")
        result = with_earlier_scores({**failed, "attempt": attempt}, result, attempt)
        told.append([result[name] for name in ended[:3]])

    assert told == [[code, "In attempt 2.", outcome], [code, "In attempt 3.", outcome]]
    assert {name: value for name, value in result.items() if name not in ended} == {
        name: value for name, value in _EARLIER.items() if name not in ended
    }
    (warning,) = result["warnings"]
    assert warning["code"] == "SCORES_OF_EARLIER_ATTEMPT"
    assert "ended with PARTLY_SCORED: No score for: b" in warning["message"]


@pytest.mark.parametrize(
    ("new", "before"),
    [
        (_result(_seen("succeeded"), _GUIDE), _EARLIER),
        (_result(_seen("succeeded"), _EMPTY), None),
        (_result(_seen("succeeded"), _EMPTY), {**_EARLIER, "scores": []}),
        (_result(_seen("succeeded"), _EMPTY), {**_EARLIER, "attempt": 2}),
    ],
    ids=["has-scores", "nothing-before", "no-scores-before", "of-this-attempt"],
)
def test_otherwise_a_result_is_its_attempts_own(new: Result, before: Result | None) -> None:
    """Whatever was there before."""
    assert with_earlier_scores(new, before, 2) == new


def test_without_a_plan_there_is_no_headline() -> None:
    """What is missing would not be missed."""
    cell = {"state": "scored", "score": 40.0, "unit": "percent", "primary": True}
    result = _result(_seen("succeeded"), {**_GUIDE, "cells": [cell], "planned": False})

    assert (result["headline"], totals([result])["headline"]) == (None, None)


def test_totals_are_over_all_runs() -> None:
    """One incomplete run takes the headline, and its cells count."""
    cell = {"state": "scored", "score": 40.0, "unit": "percent", "primary": True}
    good = _result(_seen("succeeded"), {**_GUIDE, "cells": [cell], "planned": True})
    bad = failed_result(_EVALUATION, "r", "OOM", "Too large.")

    assert totals([good])["headline"]["score"] == 40
    assert totals([good, bad])["headline"] is None
    assert totals([good, bad])["completeness"]["ratio"] == 0.5


@pytest.mark.parametrize(
    ("outcomes", "whole"),
    [
        ("", "FAILED"),
        ("COMPLETED", "COMPLETED"),
        ("PARTIAL", "PARTIAL"),
        ("FAILED", "FAILED"),
        ("CANCELLED", "CANCELLED"),
        ("COMPLETED COMPLETED", "COMPLETED"),
        ("COMPLETED PARTIAL", "PARTIAL"),
        ("COMPLETED FAILED", "PARTIAL"),
        ("COMPLETED CANCELLED", "CANCELLED"),
        ("PARTIAL FAILED", "PARTIAL"),
        ("PARTIAL CANCELLED", "CANCELLED"),
        ("FAILED CANCELLED", "CANCELLED"),
        ("FAILED COMPLETED FAILED", "PARTIAL"),
        ("COMPLETED PARTIAL FAILED", "PARTIAL"),
        ("COMPLETED PARTIAL CANCELLED", "CANCELLED"),
        ("COMPLETED FAILED CANCELLED", "CANCELLED"),
        ("PARTIAL FAILED CANCELLED", "CANCELLED"),
        ("COMPLETED PARTIAL FAILED CANCELLED", "CANCELLED"),
    ],
)
def test_an_evaluation_is_as_good_as_its_runs(outcomes: str, whole: str) -> None:
    """CANCELLED if one is, COMPLETED if all are, FAILED if none has a score, else PARTIAL."""
    results = [{"outcome": outcome, "job_state": "succeeded"} for outcome in outcomes.split()]

    assert evaluation_outcome(results) is Outcome(whole)


def test_scores_of_failed_jobs_make_no_success() -> None:
    """Monitoring has told that all failed; where one Job succeeded, the scores of the others count."""
    partly = {"outcome": "PARTIAL", "job_state": "failed"}

    assert evaluation_outcome([partly, partly]) is Outcome.FAILED
    assert evaluation_outcome([partly, {"outcome": "FAILED", "job_state": "succeeded"}]) is Outcome.PARTIAL


def test_a_failed_evaluations_status_is_small() -> None:
    """Dapr shows it; a thousand runs and long reasons must not blow up the history."""
    result = {"run_id": "r", "status": "error", "code": "OOM", "error": "x" * 5000, "scores": [_SCORE] * 50}

    text = in_a_status([result] * 1000)

    shown = json.loads(text)
    assert (shown["extraction_status"], shown["runs"]) == ("failed", 1000)
    assert shown["extraction_results"][0] == {**result, "error": "x" * 200, "scores": [_SCORE]}
    assert len(text) < 16_000


@pytest.mark.parametrize(
    ("counts", "sentence"),
    [([], "Extracted 0 scores from 0 runs"), ([2, 0, 1], "Extracted 3 scores from 3 runs")],
)
def test_the_summary_is_the_guides_sentence(counts: list[int], sentence: str) -> None:
    """Callers show it as it is, also for one."""
    assert summary_of([{"scores": [_SCORE] * count} for count in counts]) == sentence


def _two_results() -> tuple[list[Result], dict[str, dict[str, Any]]]:
    scores = [{**_SCORE, "metric": "f1"}, _SCORE]
    good = _result(_seen("succeeded"), {**_GUIDE, "scores": scores, "cells": [{"state": "scored"}]})
    bad = failed_result(_EVALUATION, "other", "OOM", "too much")
    sizes = {
        name: {"key": f"result-{name}", "digest": "d", "bytes": size}
        for name, size in (("r", 700), ("other", 300))
    }
    return [good, bad], sizes


@pytest.mark.parametrize("limit", [1000, 5000])
def test_results_that_fit_are_told_whole(limit: int) -> None:
    """Up to the limit, all of them together."""
    results, sizes = _two_results()

    assert for_event(results, limit, sizes) == results


def test_results_that_are_too_large_are_told_in_short() -> None:
    """Verdict, the last score, which is the primary one, and where the whole is stored."""
    results, sizes = _two_results()

    good, bad = for_event(results, 999, sizes)

    assert (good.pop("completeness")["ratio"], good.pop("headline")) == (1.0, None)
    assert good == {
        "run_id": "r",
        "eval_id": "e-1",
        "status": "success",
        "outcome": "COMPLETED",
        "dataset_id": "sums",
        "code": None,
        "error": None,
        "scores": [_SCORE],
        "reference": sizes["r"],
    }
    assert (bad["code"], bad["error"], bad["scores"]) == ("OOM", "too much", [])
    assert bad["reference"] == sizes["other"]
