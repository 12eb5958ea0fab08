"""Scoring on the real stack: by the local model, as many samples, and while everything is killed."""

import asyncio
import csv
import io
import json
import os
import random
import re
import signal
import time
import uuid
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from budeval.domain.score_job import AdviceStatus
from budeval.scoring.advice import Adviser, Writer
from budeval.scoring.artifacts import Artifact, artifact_store, write_artifacts
from budeval.scoring.ledger import question_of
from budeval.scoring.limiter import Limiter
from budeval.scoring.metrics import METRICS
from budeval.scoring.settings import JudgeSettings
from dev import apps, model
from dev.errors import DevError
from dev.stack import Stack
from tests.e2e.observe import Subscriber, wait_for
from tests.e2e.payments import Outage, Payments, Question, StoreWatch, needless
from tests.e2e.scripted_judge import ScriptedJudge, scripted_judge
from tests.scoring.runs import MIXED

pytestmark = pytest.mark.e2e

_SAMPLE = {
    "question": "When did people first walk on the Moon?",
    "answer": "People first walked on the Moon in July 1969, with Apollo 11.",
    "contexts": ["Apollo 11 landed on the Moon on 20 July 1969.", "The Moon is 384,400 km away."],
    "ground_truth": "It was on 20 July 1969.",
    "reference_contexts": ["Apollo 11 landed on the Moon on 20 July 1969."],
    "context_ids": ["a", "b"],
    "reference_context_ids": ["a"],
}
_TYPED = {"scored", "undetermined", "failed"}
_PATIENCE = 1800
"""Seconds for the local model, which is slow where the machine has other work."""
_JOBS = 200
_KILLS = 8
_QUIET = 5.0
"""Seconds after the last job's end in which somebody might still ask."""


def _ended(service: httpx.Client, job_id: str, seconds: float = 300) -> dict[str, Any]:
    """A job's state once there is nothing left to do for it."""

    def look() -> dict[str, Any] | None:
        state: dict[str, Any] = service.get(f"/scores/{job_id}").raise_for_status().json()
        return state if state["outcome"] and state["advice_status"] else None

    return wait_for(look, f"the end of scoring job {job_id}", seconds)


@pytest.mark.timeout(_PATIENCE + 300)
def test_every_metric_comes_to_a_typed_outcome_by_the_local_model(
    service: httpx.Client, subscriber: Subscriber
) -> None:
    """A judge of 135 million parameters says odd things; none of them is NaN, and all of them are told.

    None is cut off by the deadline either, which would say nothing of what becomes of odd things.
    """
    body = {**_SAMPLE, "metrics": list(METRICS), "judge_model": "smollm2", "timeout_s": _PATIENCE}

    answer = service.post("/scores", json=body)
    state = _ended(service, answer.json()["job_id"], _PATIENCE + 60)

    assert answer.status_code == 202
    assert answer.headers["Location"] == f"/scores/{state['job_id']}"
    outcomes = {outcome["metric"]: outcome for outcome in state["metrics"]}
    assert outcomes.keys() == METRICS.keys()
    assert {outcome["status"] for outcome in outcomes.values()} <= _TYPED
    assert "deadline" not in {outcome["reason_code"] for outcome in outcomes.values()}
    assert all(outcome["reason_code"] for outcome in outcomes.values() if outcome["status"] != "scored")
    for outcome in outcomes.values():
        assert (outcome["status"] == "scored") == (outcome["value"] is not None)
    # Those that ask nobody have values by their definitions, whatever the model says.
    assert outcomes["exact_match"]["value"] == 0
    assert outcomes["id_based_context_recall"]["value"] == 1
    # An embedder of its own: it cannot fail to give vectors.
    assert outcomes["semantic_similarity"]["status"] == "scored"
    asked = sum(
        outcome["usage"]["calls"] + outcome["usage"]["embedding_calls"] for outcome in outcomes.values()
    )
    assert asked >= len([metric for metric in METRICS.values() if metric.needs_judge])
    events = wait_for(lambda: _two(subscriber, state["job_id"]), "both events of the job")
    assert [event["data"]["payload"]["event"] for event in events] == ["score_results", "score_advice"]
    assert events[0]["data"]["payload"]["content"]["result"]["scores"] == state["scores"]


@pytest.mark.timeout(_PATIENCE + 300)
def test_ragas_itself_scores_by_the_local_model(service: httpx.Client) -> None:
    """The other engine, in its own process: its judgements are asked for by the same clients."""
    asked = [
        "faithfulness",
        "context_recall",
        "semantic_similarity",
        "exact_match",
        "id_based_context_recall",
    ]
    body = {**_SAMPLE, "metrics": asked, "engine": "ragas", "judge_model": "smollm2", "timeout_s": _PATIENCE}

    answer = service.post("/scores", json=body)
    state = _ended(service, answer.json()["job_id"], _PATIENCE + 60)

    assert answer.status_code == 202
    outcomes = {outcome["metric"]: outcome for outcome in state["metrics"]}
    assert outcomes.keys() == set(asked)
    assert {outcome["status"] for outcome in outcomes.values()} <= _TYPED
    # What the judge says may be unusable; that the engine is away or fails may not be.
    reasons = {outcome["reason_code"] for outcome in outcomes.values()}
    assert reasons <= {None, "judge_output_invalid", "judge_truncated", "no_statements", "not_a_number"}
    assert outcomes["semantic_similarity"]["status"] == "scored"
    assert (outcomes["exact_match"]["value"], outcomes["id_based_context_recall"]["value"]) == (0, 1)
    assert outcomes["faithfulness"]["usage"]["calls"] >= 1
    run = service.get(f"/runs/{state['run_id']}/artifacts/metadata.json").raise_for_status().json()
    assert run["engine"] == "ragas"


def test_the_local_model_puts_advice_into_words(stack: Stack, tmp_path: Path) -> None:
    """What the rules have found, or why a model this small could not; the findings are there either way."""
    stack.up()
    endpoint = model.chat_endpoint(stack.clusters[0].node_address)
    settings = JudgeSettings(
        alias="smollm2", base_url=endpoint, model=model.MODEL_NAME, timeout=600, max_tokens=400
    )
    store = artifact_store(str(tmp_path))
    write_artifacts(MIXED, store)

    status = asyncio.run(Adviser(store, Writer(settings, Limiter(1)), seconds=900).advise(MIXED))

    page = (tmp_path / MIXED.run_id / Artifact.ADVICE).read_text()
    findings, words = page.split("## In a model's words\n\n")
    assert "`faithfulness` is 0.5000" in findings
    if status is AdviceStatus.GENERATED:
        assert words.startswith(f"*Written by `{model.MODEL_NAME}` from the findings above, and not checked.")
    else:
        assert status is AdviceStatus.RULES_ONLY
        assert re.match(r"There are none: judge\\?_(output\\?_invalid|truncated)", words)


def _two(subscriber: Subscriber, job_id: str) -> list[dict[str, Any]] | None:
    events = subscriber.events(f"score-{job_id}")
    return events if len(events) > 1 else None


def test_a_run_of_many_has_means_and_artifacts(service: httpx.Client) -> None:
    """By the scripted judge: what it says is known, so the means are, too. One line is no sample."""
    line = '{"id": "s-%d", "question": "=1+1?", "answer": "It was.", "contexts": ["c"]}'
    lines = [line % number for number in range(40)]
    with scripted_judge(thinks=0.01):
        body = {
            "jsonl": "\n".join([*lines, "no json"]),
            "metrics": ["faithfulness"],
            "judge_model": "scripted",
        }
        job_id = service.post("/scores:batch", json=body).json()["job_id"]
        state = _ended(service, job_id)

    assert (state["outcome"], state["samples"], state["invalid"]) == ("completed_with_errors", 40, 1)
    assert state["scores"] == {"faithfulness": 0.5}
    assert state["statuses"] == {"faithfulness": {"scored": 40}}
    run = service.get(f"/runs/{state['run_id']}").raise_for_status().json()
    assert run["kind"] == "score"
    table = service.get(f"/runs/{state['run_id']}/artifacts/scores.csv").raise_for_status().text
    rows = list(csv.DictReader(io.StringIO(table)))
    assert len(rows) == 40
    assert {row["question"] for row in rows} == {"'=1+1?"}
    assert "no json" in service.get(f"/runs/{state['run_id']}/artifacts/invalid.csv").text


def test_a_job_that_is_cancelled_ends_at_once(service: httpx.Client) -> None:
    """The judge takes a minute; nobody waits for it."""
    with scripted_judge(thinks=60):
        body = {**_SAMPLE, "metrics": ["faithfulness"], "judge_model": "scripted"}
        job_id = service.post("/scores", json=body).json()["job_id"]
        wait_for(
            lambda: service.get(f"/scores/{job_id}").json()["phase"] == "scoring" or None, "scoring to begin"
        )
        began = time.monotonic()
        service.post(f"/scores/{job_id}/cancel").raise_for_status()
        state = _ended(service, job_id)
        took = time.monotonic() - began

    assert (state["status"], state["outcome"]) == ("failed", "cancelled")
    assert took < 60
    assert service.delete(f"/scores/{job_id}").json()["deleted"]
    assert service.get(f"/scores/{job_id}").status_code == 410


class Killer:
    """Kills the service or its sidecar, again and again, and brings them up."""

    def __init__(self, stack: Stack, seed: int) -> None:
        self._stack = stack
        self._random = random.Random(seed)  # noqa: S311 - it shall be repeatable
        self.outages: list[Outage] = []

    def kill(self) -> None:
        """One of them, at a random moment."""
        time.sleep(self._random.uniform(0.5, 4))
        name = self._random.choice(["service", "service-sidecar"])
        pid = next(row.pid for row in self._stack.status() if row.name == name)
        assert pid
        began = time.time()
        os.kill(pid, signal.SIGKILL)
        self._bring_up()
        self.outages.append(Outage(began, time.time()))

    def _bring_up(self) -> None:
        for _ in range(4):
            try:
                return self._stack.up()
            except DevError:
                time.sleep(2)
        return self._stack.up()


@pytest.mark.timeout(1800)
def test_nothing_is_lost_doubled_or_paid_twice_while_everything_is_killed(
    stack: Stack, service: httpx.Client
) -> None:
    """200 jobs of two questions each, while the service and its sidecar are killed.

    A question comes again only if its answer was not stored yet, and something was down between its coming
    and its coming again; nothing is asked for a job that has ended. `payments.needless` has the whole rule.
    """
    killer = Killer(stack, seed=1)
    marks = [f"mark-{uuid.uuid4().hex}" for _ in range(_JOBS)]
    state_file = stack.layout.directory / "dapr" / "budeval-state.db"
    with (
        StoreWatch(state_file) as watch,
        scripted_judge(thinks=0.25) as judge,
        ThreadPoolExecutor(8) as callers,
    ):
        ends = [callers.submit(_scored_once, service.base_url, mark) for mark in marks]
        while len(killer.outages) < _KILLS:
            killer.kill()
        states = [end.result() for end in ends]
        time.sleep(_QUIET)

    assert Counter(state["outcome"] for state in states) == {"completed": _JOBS}
    assert {state["scores"]["faithfulness"] for state in states} == {0.5}
    assert len({state["job_id"] for state in states}) == _JOBS
    jobs = [_payments(judge, watch, mark, state) for mark, state in zip(marks, states, strict=True)]
    _assert_that_it_was_seen(jobs)
    found = {state["job_id"]: needless(job, killer.outages) for job, state in zip(jobs, states, strict=True)}
    assert {job_id: problems for job_id, problems in found.items() if problems} == {}
    job_ids = {state["job_id"] for state in states}
    assert Counter(job_id for job_id in _all_jobs(service) if job_id in job_ids) == Counter(job_ids)
    told = wait_for(lambda: _told(stack, job_ids), "the results of every job")
    # Repetitions have the same id and the same content; there is one event for each job.
    assert {key: len(contents) for key, contents in told.items()} == {(job, 1): 1 for job in job_ids}


def _payments(judge: ScriptedJudge, watch: StoreWatch, mark: str, state: dict[str, Any]) -> Payments:
    """Of one job, whose texts and no others have the mark."""
    return Payments(
        asked=[
            Question(asked.at, question_of(["judge", "s", asked.prompt, "1"]))
            for asked in judge.asked
            if mark in asked.prompt
        ],
        stored=watch.answers(state["job_id"]),
        scored=watch.outcome(state["job_id"]),
        ended=datetime.fromisoformat(state["finished_at"]).timestamp(),
    )


def _assert_that_it_was_seen(jobs: list[Payments]) -> None:
    """Where nothing is seen, nothing needless is found."""
    assert {len({question.name for question in job.asked}) for job in jobs} == {2}
    assert all(job.scored for job in jobs)
    # An answer is in the ledger only until there is an outcome: the watch may come too late for some.
    assert sum(job.asked[0].name in job.stored for job in jobs) > _JOBS / 2


def _told(stack: Stack, job_ids: set[str]) -> dict[tuple[str, int], set[str]] | None:
    """(job, number) -> contents of its events at the subscriber, once there is one of each job."""
    told: dict[tuple[str, int], set[str]] = {}
    for line in apps.received(stack.layout).read_text().splitlines():
        event = json.loads(line)
        if event["dead"]:
            continue  # perhaps another test's, and without an id
        subject, _, number = event["id"].rpartition("/")
        job_id = subject.removeprefix("score-")
        if job_id in job_ids:
            told.setdefault((job_id, int(number)), set()).add(event["digest"])
    return told if {job_id for job_id, _ in told} == job_ids else None


def _scored_once(base_url: httpx.URL, mark: str) -> dict[str, Any]:
    """A caller who asks until he is answered, always with the same key."""
    body = {
        "question": mark,
        "answer": f"It was in 1969. {mark}",
        # The second question has the contexts, and not the answer.
        "contexts": [f"It was in 1969. {mark}"],
        "metrics": ["faithfulness"],
        "judge_model": "scripted",
        "timeout_s": 1800,
        "advise": False,
    }
    with httpx.Client(base_url=base_url, timeout=10, trust_env=False) as client:
        job_id = _patiently(lambda: client.post("/scores", json=body, headers={"Idempotency-Key": mark}))[
            "job_id"
        ]
        deadline = time.monotonic() + 900
        while time.monotonic() < deadline:
            state = _patiently(lambda: client.get(f"/scores/{job_id}"))
            if state["outcome"]:
                return state
            time.sleep(1)
    pytest.fail(f"job {job_id} did not end")


def _patiently(ask: Any) -> dict[str, Any]:
    deadline = time.monotonic() + 600
    while time.monotonic() < deadline:
        try:
            answer = ask()
        except httpx.HTTPError:
            time.sleep(1)
            continue
        if answer.status_code in {200, 202}:
            found: dict[str, Any] = answer.json()
            return found
        assert answer.status_code in {429, 502, 503}, answer.text
        time.sleep(1)
    pytest.fail("nobody answered")


def _all_jobs(service: httpx.Client) -> list[str]:
    listed: list[str] = []
    cursor = None
    while True:
        params = {"limit": 200} | ({"cursor": cursor} if cursor else {})
        page = service.get("/scores", params=params).raise_for_status().json()
        listed += [state["job_id"] for state in page["scores"]]
        cursor = page["cursor"]
        if not cursor:
            return listed
