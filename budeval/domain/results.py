"""From what the extractor read and the watcher saw to the results that callers get.

A result has all keys of the guide (`run_id`, `eval_id`, `status`, `scores`, `csv_file`, `error`) with the
guide's meaning; ours stand beside them.
"""

import hashlib
import json
from typing import Any

from budeval.domain import cells
from budeval.domain.evaluation import Evaluation, Outcome, Run
from budeval.domain.observation import CANCELLED, RunObservation, RunState

Result = dict[str, Any]

_RUNS_IN_STATUS = 20
_ERROR_IN_STATUS = 200


def run_result(
    evaluation: Evaluation, seen: RunObservation, extracted: dict[str, Any] | None, problem: str | None
) -> Result:
    """The result of one run.

    Args:
        evaluation: which it belongs to.
        seen: how its Job ended.
        extracted: the extractor's document of the run; None where there is none.
        problem: why there is none, `CODE: message`.
    """
    run = next(run for run in evaluation.runs if run.run_id == seen.run_id)
    extracted, problem = _of_this_attempt(evaluation, extracted, problem)
    result: Result = {
        "run_id": seen.run_id,
        "eval_id": evaluation.eval_id,
        "status": "error",
        "scores": [],
        "csv_file": None,
        "attempt": evaluation.attempt,
    }
    result |= extracted or {}
    result |= {"dataset_id": run.dataset_id, "job_state": seen.state.value} | _times(seen)
    result["provenance"] = (result.get("provenance") or {}) | _provenance(evaluation, run, seen)
    code, error = _error(seen, extracted, problem)
    result |= {"code": code, "error": error}
    if code:
        result["status"] = "error"
    result["warnings"] = [*result.get("warnings", []), *_limited(run, result["provenance"])]
    result["outcome"] = _outcome(result).value
    if not result.get("cells"):
        failed = code != CANCELLED and seen.state is not RunState.SUCCEEDED
        result["cells"] = [cells.unscored(run.dataset_id, code or "RESULT_MISSING", failed=failed)]
        result["planned"] = True
    result["completeness"] = cells.completeness(result["cells"], planned=result.get("planned", True))
    result["headline"] = cells.headline(result["cells"], planned=result.get("planned", True))
    return result


def _limited(run: Run, provenance: dict[str, Any]) -> list[dict[str, str]]:
    """A warning where the request's limit cut the dataset, or may have."""
    if run.limit is None:
        return []
    there = [item.get("rows_there") for item in provenance.get("datasets") or []]
    if there and all(rows is not None and rows <= run.limit for rows in there):
        return []
    of_all = f" of {there[0]}" if len(there) == 1 and there[0] else ""
    text = f"the request's `limit` takes the first {run.limit}{of_all} rows: no score of the whole dataset"
    return [{"code": "SAMPLES_LIMITED", "message": text}]


def _of_this_attempt(
    evaluation: Evaluation, extracted: dict[str, Any] | None, problem: str | None
) -> tuple[dict[str, Any] | None, str | None]:
    """Scores of an earlier attempt are on the volume until this one has written its own."""
    attempt = extracted.get("attempt") if extracted else None
    if attempt is None or attempt == evaluation.attempt:
        return extracted, problem
    return None, f"RESULT_STALE: the volume holds results of attempt {attempt}, not of {evaluation.attempt}"


def _provenance(evaluation: Evaluation, run: Run, seen: RunObservation) -> dict[str, Any]:
    """What the service knows of where a score comes from; the run itself has noted the rest."""
    model = evaluation.model.model_dump(mode="json")
    own = (
        run.own.model_dump(mode="json", include={"digest", "path", "answer", "evaluator"}) if run.own else {}
    )
    prompt = hashlib.sha256(run.own.prompt.encode()).hexdigest() if run.own else None
    return {
        "engine": evaluation.engine,
        "image": seen.image,
        "image_id": seen.image_id,
        "model": model.pop("name"),
        "endpoint": model.pop("endpoint"),
        "decoding": model,
        "source": own | {"limit": run.limit, "prompt_sha256": prompt},
        "job": seen.job,
        "pod": seen.pod,
    }


def _times(seen: RunObservation) -> dict[str, Any]:
    """When the Job ran, by the cluster's clock; the names are those of the original service."""
    seconds = (seen.ended - seen.started).total_seconds() if seen.started and seen.ended else None
    return {
        "startTime": seen.started.isoformat() if seen.started else None,
        "completionTime": seen.ended.isoformat() if seen.ended else None,
        "duration_seconds": seconds,
    }


def _error(
    seen: RunObservation, extracted: dict[str, Any] | None, problem: str | None
) -> tuple[str | None, str | None]:
    """What went wrong first: the Job's failure is the cause, what the extractor misses its consequence."""
    if seen.state is not RunState.SUCCEEDED:
        return seen.code or "JOB_FAILED", seen.message or "The run did not succeed."
    if extracted is None:
        code, _, message = (problem or "RESULT_MISSING: the extraction gave no answer").partition(": ")
        return code, message
    if extracted.get("status") != "success":
        return extracted.get("code") or "RESULT_MISSING", extracted.get("error") or "No score."
    return None, None


def _outcome(result: Result) -> Outcome:
    if result["status"] == "success":
        return Outcome.COMPLETED
    if result["code"] == CANCELLED:
        return Outcome.CANCELLED
    return Outcome.PARTIAL if result["scores"] else Outcome.FAILED


def evaluation_outcome(results: list[Result]) -> Outcome:
    """The outcome of all runs together.

    CANCELLED if a run is; COMPLETED if all are; FAILED if no Job succeeded or no run has a score; or PARTIAL.
    With all Jobs failed, monitoring has told that it failed: scores that they left do not turn that around.
    """
    outcomes = {result["outcome"] for result in results}
    if Outcome.CANCELLED in outcomes:
        return Outcome.CANCELLED
    if all(result["job_state"] != RunState.SUCCEEDED for result in results):
        return Outcome.FAILED
    if outcomes == {Outcome.COMPLETED}:
        return Outcome.COMPLETED
    return Outcome.FAILED if outcomes <= {Outcome.FAILED} else Outcome.PARTIAL


def first_error(results: list[Result]) -> tuple[str, str]:
    """(code, message) of the first run that has an error: what an evaluation without scores failed of."""
    for result in results:
        if result.get("error"):
            return result.get("code", "EVALUATION_FAILED"), result["error"]
    return "EVALUATION_FAILED", "No run has a score."


def failed_result(evaluation: Evaluation, run_id: str, code: str, message: str) -> Result:
    """The result of a run that never got to its Job."""
    state = RunState.CANCELLED if code == CANCELLED else RunState.FAILED
    seen = RunObservation(run_id=run_id, state=state, code=code, message=message)
    return run_result(evaluation, seen, None, None)


def with_earlier_scores(result: Result, before: Result | None, attempt: int) -> Result:
    """The result of a run that was repeated: who has scores loses none by trying for more.

    Where this attempt has none, all of the earlier result stays but for how the run has ended: `code`,
    `error` and `outcome` are this attempt's, and a warning tells whose the scores are.

    Args:
        result: of this attempt.
        before: what is stored of the run.
        attempt: the number of this one.
    """
    if result["scores"] or before is None or not before["scores"] or before.get("attempt") == attempt:
        return result
    ended = {name: result[name] for name in ("status", "code", "error")}
    kept = {**before, **ended, "warnings": _told_whose(before)}
    return {**kept, "outcome": _outcome(kept).value}


def _told_whose(before: Result) -> list[dict[str, str]]:
    """The warnings of a result whose scores are kept; the first attempt without any has added one."""
    warnings: list[dict[str, str]] = before.get("warnings", [])
    if any(warning["code"] == "SCORES_OF_EARLIER_ATTEMPT" for warning in warnings):
        return warnings
    end = f"{before['code']}: {before['error']}"
    text = f"the scores are of the attempt that `attempt` names, which ended with {end}; later ones have none"
    return [*warnings, {"code": "SCORES_OF_EARLIER_ATTEMPT", "message": text}]


def totals(results: list[Result]) -> dict[str, Any]:
    """Over all runs of an evaluation: `completeness` and `headline`."""
    all_cells = [cell for result in results for cell in result.get("cells", [])]
    planned = all(result.get("planned", True) for result in results)
    return {
        "completeness": cells.completeness(all_cells, planned=planned),
        "headline": cells.headline(all_cells, planned=planned),
    }


def summary_of(results: list[Result]) -> str:
    """The guide's sentence: "Extracted N scores from M runs"."""
    scores = sum(len(result["scores"]) for result in results)
    return f"Extracted {scores} scores from {len(results)} runs"


def for_event(results: list[Result], limit: int, sizes: dict[str, dict[str, Any]]) -> list[Result]:
    """The results as an event can carry them: whole up to `limit` bytes in all, otherwise in short.

    Args:
        results: of all runs.
        limit: bytes.
        sizes: per run id `{"key", "digest", "bytes"}` of the stored result.
    """
    if sum(item["bytes"] for item in sizes.values()) <= limit:
        return results
    return [_in_short(result, sizes[result["run_id"]]) for result in results]


def in_a_status(results: list[Result]) -> str:
    """The results of a failed evaluation as its workflow's custom status can carry them: JSON, some KiB."""
    shown = [
        {name: result[name] for name in ("run_id", "status", "code", "error")}
        | {"scores": result["scores"][-1:]}
        for result in results[:_RUNS_IN_STATUS]
    ]
    for item in shown:
        item["error"] = (item["error"] or "")[:_ERROR_IN_STATUS]
    return json.dumps({"extraction_status": "failed", "runs": len(results), "extraction_results": shown})


def _in_short(result: Result, reference: dict[str, Any]) -> Result:
    names = (
        "run_id",
        "eval_id",
        "status",
        "outcome",
        "dataset_id",
        "code",
        "error",
        "completeness",
        "headline",
    )
    kept = {name: result[name] for name in names if name in result}
    return {**kept, "scores": result["scores"][-1:], "reference": reference}
