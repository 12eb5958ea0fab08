"""The HTTP API of runs: evaluations and jobs of scoring from their real stores, on a sidecar in memory."""

import csv
import io
import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import Depends, FastAPI

from budeval.api import http_errors
from budeval.api.access import Access, new_token
from budeval.config import ApiToken, Scope
from budeval.domain.evaluation import EvaluationRecord, Outcome
from budeval.domain.receipt import Fate, ReceiptItem
from budeval.domain.score_job import (
    AdviceStatus,
    JobOutcome,
    JobResult,
    RequestSummary,
    ScoreJob,
    ScoreRecord,
)
from budeval.domain.scoring import Usage
from budeval.evals.receipts import Receipts
from budeval.evals.run_source import EvaluationRuns
from budeval.evals.store import EvaluationStore
from budeval.evals.views import EvaluationViews
from budeval.runs.routes import run_routes
from budeval.runs.runs import Runs
from budeval.runs.source import RunSource
from budeval.scoring.artifacts import Artifact, artifact_store, write_advice, write_artifacts
from budeval.scoring.run_source import ScoreRuns
from budeval.scoring.store import ScoreStore
from tests.asgi import Caller
from tests.evals import samples
from tests.runtime.fake_dapr import FakeDapr
from tests.scoring.runs import MIXED

_DAY = "2026-01-01"
_RESULT = {
    "run_id": "r-1",
    "eval_id": "e-1",
    "status": "success",
    "outcome": "COMPLETED",
    "scores": [{"dataset": "d", "metric": "accuracy", "score": 62.5, "interval": [30.0, 86.0]}],
    "cells": [],
    "error": "=1+1",
    "job_state": "succeeded",
}


class Desk:
    """Both stores, and the API in front of them."""

    def __init__(self, directory: Path, tokens: tuple[ApiToken, ...] = ()) -> None:
        sidecar = FakeDapr().client()
        self.evaluations = EvaluationStore(sidecar)
        self.receipts = Receipts(sidecar, {})
        self.jobs = ScoreStore(sidecar)
        self.artifacts = artifact_store(str(directory))
        sources: list[RunSource] = [
            EvaluationRuns(self.evaluations, EvaluationViews(self.evaluations, sidecar, self.receipts)),
            ScoreRuns(self.jobs, self.artifacts),
        ]
        application = FastAPI(dependencies=[Depends(Access(tokens, None, []).guard)])
        application.include_router(run_routes(Runs(sources)))
        http_errors.install(application)
        self._caller = Caller(application)

    def get(self, path: str, token: str | None = None) -> httpx.Response:
        """GET, as whoever has the token."""
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        return self._caller.request("GET", path, headers=headers)

    def evaluation(self, eval_id: str, minute: int, **changes: Any) -> None:
        """One that was taken in."""
        self.evaluations.add_to_index(eval_id, _DAY)
        created = f"{_DAY}T10:{minute:02}:00+00:00"
        evaluation = samples.evaluation(eval_id, **changes)
        self.evaluations.create(EvaluationRecord(evaluation=evaluation, digest="d", created=created))

    def finish(self, eval_id: str) -> None:
        """One run with a score."""
        self.evaluations.save_results(eval_id, [_RESULT])
        data = {"headline": {"score": 62.5, "unit": "percent", "datasets": 1, "rule": "r"}}
        self.evaluations.update_workflow_data_in_statestore(f"eval-{eval_id}", data)
        self.receipts.note(eval_id, [ReceiptItem(kind="Job", name="r-1", outcome=Fate.DELETED)])
        self.evaluations.end(eval_id, Outcome.PARTIAL)

    def job(self, job_id: str, minute: int, tenant: str = "default", **changes: Any) -> ScoreRecord:
        """One that was taken in."""
        self.jobs.add_to_index(job_id, _DAY)
        job = ScoreJob(
            job_id=job_id, tenant=tenant, metrics=("faithfulness",), judge="judge-7b", timeout_s=60
        )
        summary = RequestSummary(
            question="q",
            answer="",
            metrics=("faithfulness",),
            judge_model="judge-7b",
            embedding_model="",
            has_contexts=False,
            has_ground_truth=False,
        )
        created = f"{_DAY}T10:{minute:02}:00.500+00:00"
        record = ScoreRecord(job=job, digest="d", summary=summary, created=created, **changes)
        return self.jobs.create(record)


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    """Nothing has run."""
    return Desk(tmp_path)


def _scored(score: float | None) -> dict[str, Any]:
    result = JobResult(
        scores={"faithfulness": score},
        statuses={},
        weighted_score=score,
        weight_coverage=1.0,
        latency_ms=1,
        skipped={},
        reasons={},
        usage=Usage(),
    )
    finished = f"{_DAY}T11:00:00.000+00:00"
    return {
        "started": finished,
        "finished": finished,
        "outcome": JobOutcome.COMPLETED_WITH_ERRORS,
        "result": result,
        "advice": AdviceStatus.RULES_ONLY,
    }


def _said(answer: httpx.Response) -> tuple[int, str, str | None]:
    body = answer.json()
    return answer.status_code, body["code"], body["param"]


def test_what_is_listed_on_two_days_is_one_run(desk: Desk) -> None:
    """As of a request that came before midnight and again after."""
    desk.evaluation("e-0", 0)
    desk.job(f"{1:012x}", 1)
    for day in ("2025-12-31", "2026-01-02"):
        desk.evaluations.add_to_index("e-0", day)
        desk.jobs.add_to_index(f"{1:012x}", day)

    runs = desk.get("/runs").json()["runs"]

    assert [run["run_id"] for run in runs] == [f"score-{1:012x}", "eval-e-0"]


def test_evaluations_and_scores_are_in_one_list(desk: Desk) -> None:
    """Newest first, whatever their kind, over pages; and one kind alone."""
    for minute in range(0, 6, 2):
        desk.evaluation(f"e-{minute}", minute)
        desk.job(f"{minute + 1:012x}", minute + 1)

    first = desk.get("/runs?limit=4").json()
    second = desk.get(f"/runs?limit=4&cursor={first['cursor']}").json()
    only = desk.get("/runs?kind=score").json()

    assert [run["run_id"] for run in first["runs"]] == [
        "score-000000000005",
        "eval-e-4",
        "score-000000000003",
        "eval-e-2",
    ]
    assert [run["run_id"] for run in second["runs"]] == ["score-000000000001", "eval-e-0"]
    assert second["cursor"] is None
    assert [run["run_id"] for run in only["runs"]] == [
        "score-000000000005",
        "score-000000000003",
        "score-000000000001",
    ]


def test_an_empty_list_is_a_list(desk: Desk) -> None:
    """Of nothing, without a next page."""
    assert desk.get("/runs").json() == {"object": "runs", "runs": [], "cursor": None}


def test_an_evaluation_is_a_run(desk: Desk) -> None:
    """In the list as by itself: model, datasets, and its headline once it has one."""
    desk.evaluation("e-1", 3, labels={"team": "a"})
    before = desk.get("/runs/eval-e-1").json()
    desk.finish("e-1")

    run = desk.get("/runs/eval-e-1").json()

    assert (before["status"], before["outcome"], before["headline"]) == ("running", None, None)
    assert run == desk.get("/runs").json()["runs"][0]
    assert run.pop("finished")
    assert run == {
        "object": "run",
        "run_id": "eval-e-1",
        "kind": "evaluation",
        "name": "e-1",
        "status": "completed",
        "outcome": "PARTIAL",
        "created": f"{_DAY}T10:03:00+00:00",
        "headline": {"score": 62.5, "unit": "percent"},
        "metrics": [],
        "datasets": ["d"],
        "models": ["m"],
        "labels": {"team": "a"},
        "tenant": "default",
        "href": "/evals/e-1",
    }


@pytest.mark.parametrize(
    ("changes", "status", "score"),
    [
        ({}, "queued", None),
        ({"started": f"{_DAY}T10:03:01.000+00:00"}, "running", None),
        (_scored(0.875), "completed", {"score": 0.875, "unit": "fraction"}),
        ({"outcome": JobOutcome.FAILED}, "failed", None),
        ({"outcome": JobOutcome.CANCELLED}, "cancelled", None),
    ],
)
def test_a_job_of_scoring_is_a_run(desk: Desk, changes: dict[str, Any], status: str, score: Any) -> None:
    """In the list as by itself, from its beginning to each of its ends."""
    desk.job("abcabcabcabc", 3, **changes)

    run = desk.get("/runs/score-abcabcabcabc").json()

    assert run == desk.get("/runs").json()["runs"][0]
    assert (run["kind"], run["status"], run["headline"]) == ("score", status, score)
    assert (run["name"], run["metrics"], run["models"]) == (
        "async-score-abcabcabcabc",
        ["faithfulness"],
        ["judge-7b"],
    )
    assert run["href"] == "/scores/abcabcabcabc"


@pytest.mark.parametrize(
    ("outcome", "status"),
    [(Outcome.COMPLETED, "completed"), (Outcome.FAILED, "failed"), (Outcome.CANCELLED, "cancelled")],
)
def test_an_evaluations_end_is_told_in_the_words_of_all(desk: Desk, outcome: Outcome, status: str) -> None:
    """Its own word is beside it."""
    desk.evaluation("e-1", 1)
    desk.evaluations.end("e-1", outcome)

    run = desk.get("/runs/eval-e-1").json()

    assert (run["status"], run["outcome"]) == (status, outcome.value)


def test_the_artifacts_of_a_scoring_run(desk: Desk) -> None:
    """Listed with their size, and given to be kept: no browser shows what models wrote."""
    desk.job("abcabcabcabc", 3, **_scored(0.5))
    assert desk.get("/runs/score-abcabcabcabc/artifacts").json()["artifacts"] == []
    write_artifacts(MIXED.model_copy(update={"run_id": "score-abcabcabcabc"}), desk.artifacts)
    write_advice("score-abcabcabcabc", "# Advice \u5317\n", desk.artifacts)

    listed = desk.get("/runs/score-abcabcabcabc/artifacts").json()

    assert listed["run_id"] == "score-abcabcabcabc"
    assert [item["name"] for item in listed["artifacts"]] == [name.value for name in Artifact]
    for item in listed["artifacts"]:
        answer = desk.get(f"/runs/score-abcabcabcabc/artifacts/{item['name']}")
        assert answer.status_code == 200
        assert len(answer.content) == item["bytes"] == int(answer.headers["content-length"])
        assert answer.headers["content-type"] == item["media_type"]
        assert answer.headers["content-disposition"] == f'attachment; filename="{item["name"]}"'
        assert answer.headers["x-content-type-options"] == "nosniff"
    assert desk.get("/runs/score-abcabcabcabc/artifacts/optimization_advice.md").text == "# Advice \u5317\n"


def test_the_artifacts_of_an_evaluation(desk: Desk) -> None:
    """Its results and its receipt, once they are there; its table is safe to open."""
    desk.evaluation("e-1", 3)
    assert desk.get("/runs/eval-e-1/artifacts").json()["artifacts"] == []
    desk.finish("e-1")

    listed = desk.get("/runs/eval-e-1/artifacts").json()["artifacts"]
    files = {item["name"]: desk.get(f"/runs/eval-e-1/artifacts/{item['name']}") for item in listed}

    assert list(files) == ["results.json", "results.csv", "receipt.json"]
    assert [len(answer.content) for answer in files.values()] == [item["bytes"] for item in listed]
    assert files["results.json"].json()["results"] == [_RESULT]
    (row,) = csv.DictReader(io.StringIO(files["results.csv"].text))
    assert (row["run_id"], row["score"], row["interval_low"], row["error"]) == (
        "r-1",
        "62.5",
        "30",
        "'=1+1",
    )
    assert files["receipt.json"].json()["clean"] is True
    assert files["results.csv"].headers["content-type"] == "text/csv; charset=utf-8"


@pytest.mark.parametrize(
    "run_id", ["eval-none", "score-none", "none", "eval-", "score-", "%2E%2E", "score-%2E%2E", "score-a%2Fb"]
)
@pytest.mark.parametrize("rest", ["", "/artifacts", "/artifacts/metadata.json"])
def test_a_run_that_is_not_there_is_unknown(desk: Desk, run_id: str, rest: str) -> None:
    """Whatever is put into the path."""
    answer = desk.get(f"/runs/{run_id}{rest}")

    assert answer.status_code == 404
    assert answer.json()["code"] in {"RUN_UNKNOWN", "ROUTE_UNKNOWN"}


@pytest.mark.parametrize(
    "name",
    [
        "nothing.txt",
        "..%2Fmetadata.json",
        "%2E%2E",
        "%2Fetc%2Fpasswd",
        "METADATA.JSON",
        "metadata.json%00",
        ".staging",
    ],
)
@pytest.mark.parametrize("run_id", ["score-abcabcabcabc", "eval-e-1"])
def test_no_name_but_the_fixed_ones_is_opened(desk: Desk, run_id: str, name: str) -> None:
    """Others are refused by naming those."""
    desk.job("abcabcabcabc", 1)
    desk.evaluation("e-1", 1)
    write_artifacts(MIXED.model_copy(update={"run_id": "score-abcabcabcabc"}), desk.artifacts)

    answer = desk.get(f"/runs/{run_id}/artifacts/{name}")

    assert answer.status_code == 404
    assert answer.json()["code"] in {"ARTIFACT_UNKNOWN", "ROUTE_UNKNOWN"}
    if name == "nothing.txt":
        assert _said(answer) == (404, "ARTIFACT_UNKNOWN", "name")
        known = "metadata.json" if run_id == "score-abcabcabcabc" else "results.json"
        assert known in answer.json()["message"]


@pytest.mark.parametrize(
    "path", ["score-abcabcabcabc/artifacts/metadata.json", "eval-e-1/artifacts/results.json"]
)
def test_a_file_that_is_not_there_yet_is_told_as_that(desk: Desk, path: str) -> None:
    """It may come."""
    desk.job("abcabcabcabc", 1)
    desk.evaluation("e-1", 1)

    assert _said(desk.get(f"/runs/{path}")) == (404, "ARTIFACT_NOT_READY", "name")


def test_each_tenant_has_its_own_runs(tmp_path: Path) -> None:
    """Another's are not there: neither in lists nor by name, nor their files, nor after they were deleted."""
    tokens = {who: new_token() for who in ("a", "b", "all")}
    entries = tuple(
        ApiToken(
            name=who,
            sha256=digest,
            tenant="team-b" if who == "b" else "team-a",
            scopes=frozenset({Scope.ADMIN if who == "all" else Scope.READ}),
        )
        for who, (_, digest) in tokens.items()
    )
    desk = Desk(tmp_path, entries)
    token = {who: clear for who, (clear, _) in tokens.items()}
    desk.evaluation("e-1", 1, tenant="team-a")
    desk.job("abcabcabcabc", 2, "team-a")
    desk.job("defdefdefdef", 3, "team-b")
    write_artifacts(MIXED.model_copy(update={"run_id": "score-abcabcabcabc"}), desk.artifacts)

    def listed(who: str) -> list[str]:
        return [run["run_id"] for run in desk.get("/runs", token[who]).json()["runs"]]

    assert listed("a") == ["score-abcabcabcabc", "eval-e-1"]
    assert listed("b") == ["score-defdefdefdef"]
    assert listed("all") == ["score-defdefdefdef", "score-abcabcabcabc", "eval-e-1"]
    for path in (
        "score-abcabcabcabc",
        "score-abcabcabcabc/artifacts",
        "score-abcabcabcabc/artifacts/metadata.json",
        "eval-e-1",
    ):
        assert desk.get(f"/runs/{path}", token["a"]).status_code == 200
        assert _said(desk.get(f"/runs/{path}", token["b"])) == (404, "RUN_UNKNOWN", "run_id")
    desk.evaluations.bury(desk.evaluations.load("e-1"))
    assert _said(desk.get("/runs/eval-e-1", token["a"])) == (410, "EVALUATION_DELETED", "eval_id")
    assert _said(desk.get("/runs/eval-e-1", token["b"])) == (404, "RUN_UNKNOWN", "run_id")
    assert listed("a") == ["score-abcabcabcabc"]


@pytest.mark.parametrize(
    ("query", "param"),
    [("limit=0", "limit"), ("limit=201", "limit"), ("kind=other", "kind"), ("cursor=x", "cursor")],
)
def test_a_list_that_cannot_be_given_names_the_field(desk: Desk, query: str, param: str) -> None:
    """As everywhere."""
    answer = desk.get(f"/runs?{query}")

    assert answer.status_code in {400, 422}
    assert answer.json()["param"] in {param, f"query.{param}"}


def test_everything_that_is_told_is_json(desk: Desk) -> None:
    """Strict, also for scores that are there and those that are not."""
    desk.job("abcabcabcabc", 1, **_scored(None))

    assert json.loads(desk.get("/runs").text, parse_constant=pytest.fail)["runs"][0]["headline"] is None
