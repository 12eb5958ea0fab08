"""The HTTP API of scoring, on a sidecar in memory and a judge that says what a test scripts."""

import sys
import threading
from pathlib import Path
from typing import Any

import httpx
import pytest

from budeval.api.access import digest_of
from budeval.config import ApiToken, Scope
from budeval.domain.score_job import Engine
from budeval.runtime import listing
from budeval.scoring.engines.ragas.engine import RagasEngine
from budeval.scoring.limiter import Limiters
from budeval.scoring.metrics import METRICS
from budeval.scoring.schema import MAX_CONTEXTS
from tests.scoring.bodies import PLAIN, body, lines
from tests.scoring.desk import Desk
from tests.scoring.fake_judge import YES, FakeJudge, refusal
from tests.scoring.replies import for_context_recall
from tests.scoring.service import ON_A_JOB, Service, refused

Json = dict[str, Any]

_UNKNOWN = "0123456789ab"


@pytest.fixture
def service(fake: FakeJudge, tmp_path: Path) -> Service:
    """Open to this machine, without tokens."""
    return Service(Desk(fake, tmp_path))


def test_a_sample_is_accepted(service: Service) -> None:
    """202 with the place to look at, and the fields that callers of the original know."""
    answer = service.score(labels={"team": "a"})

    state = answer.json()
    assert (answer.status_code, answer.headers["Location"]) == (202, f"/scores/{state['job_id']}")
    assert (state["status"], state["kind"], state["samples"], state["attempt"]) == ("queued", "sample", 1, 1)
    assert (state["scores"], state["metrics"], state["run_id"], state["finished_at"]) == ({}, [], None, None)
    assert state["request_summary"]["metrics"] == PLAIN
    assert (state["labels"], state["engine"]) == ({"team": "a"}, "native")
    assert service.caller.get(answer.headers["Location"]).json() == state


def test_a_finished_job_tells_its_scores(service: Service, fake: FakeJudge) -> None:
    """Those of the original first; beside them why, at which cost, and on what it rests."""
    fake.will_say(*for_context_recall(YES))
    names = ["context_recall", "exact_match", "id_based_context_recall"]
    job_id = service.accepted(metrics=names)

    service.run(job_id)

    state = service.state(job_id)
    assert (state["status"], state["outcome"], state["phase"], state["error"]) == (
        "completed",
        "completed",
        None,
        None,
    )
    assert state["scores"] == {"context_recall": 1.0, "exact_match": 0.0, "id_based_context_recall": None}
    assert (state["weighted_score"], state["weight_coverage"]) == (0.5, pytest.approx(2 / 3, abs=1e-4))
    assert (state["skipped_metrics"], state["run_id"]) == (["id_based_context_recall"], f"score-{job_id}")
    assert state["created_at"] <= state["started_at"] <= state["finished_at"]
    assert state["latency_ms"] >= 0
    assert [said["status"] for said in state["metrics"]] == ["scored", "scored", "skipped"]
    assert state["usage"]["calls"] == 1
    assert state["advice_status"] == "rules_only"


def test_metrics_are_told_as_they_come(service: Service) -> None:
    """While others are still being scored."""
    job_id = service.accepted()
    service.run_first_metric(job_id)

    state = service.state(job_id)

    assert (state["status"], state["phase"], state["scores"]) == ("running", "scoring", {})
    assert [(said["metric"], said["value"]) for said in state["metrics"]] == [("exact_match", 0.0)]


@pytest.mark.parametrize("path", ["/scores?wait=60", "/scores/{}?wait=60"])
def test_who_waits_is_answered_with_the_scores(service: Service, path: str) -> None:
    """As soon as they are there, long before the time is up."""
    job_id = service.accepted(key="k")
    answers: list[httpx.Response] = []

    def ask() -> None:
        if path.startswith("/scores?"):
            answers.append(service.caller.post(path, json=body(), headers={"Idempotency-Key": "k"}))
        else:
            answers.append(service.caller.get(path.format(job_id)))

    waiting = threading.Thread(target=ask)
    waiting.start()
    service.run(job_id)
    waiting.join()

    assert answers[0].json()["job_id"] == job_id
    assert answers[0].json()["weighted_score"] is not None


def test_who_has_waited_long_enough_is_answered_with_the_state(service: Service) -> None:
    """It is no error that the scores are not there."""
    answer = service.caller.post("/scores?wait=1", json=body())

    assert (answer.status_code, answer.json()["status"]) == (202, "queued")


def test_a_key_makes_one_job_of_many_requests(service: Service) -> None:
    """And a conflict of another one."""
    first, again = service.score(key="k"), service.score(key="k")
    other = service.score(key="k", answer="Another.")

    assert again.json() == first.json()
    assert again.headers["Location"] == first.headers["Location"]
    assert refused(other) == (409, "SCORE_CONFLICT", "Idempotency-Key")


@pytest.mark.parametrize("key", ["", "k" * 256])
def test_a_key_has_a_length(service: Service, key: str) -> None:
    """From 1 to 255 characters."""
    assert refused(service.score(key=key)) == (422, "REQUEST_INVALID", "Idempotency-Key")


def test_many_samples_are_one_job(service: Service) -> None:
    """Their means are its scores; single outcomes are in the files of the run."""
    answer = service.caller.post("/scores:batch", json={"jsonl": f"{lines(3)}\nnone", "metrics": PLAIN})
    job_id = answer.json()["job_id"]
    service.run(job_id)

    state = service.state(job_id)
    assert (answer.status_code, answer.headers["Location"]) == (202, f"/scores/{job_id}")
    assert (state["kind"], state["samples"], state["invalid"], state["metrics"]) == ("samples", 3, 1, [])
    assert state["scores"]["exact_match"] == 0.0
    assert state["statuses"]["exact_match"] == {"scored": 3}
    assert state["outcome"] == "completed_with_errors"


def test_a_check_tells_what_would_be_scored(service: Service) -> None:
    """For how many calls at most, and starts nothing."""
    names = ["faithfulness", "answer_correctness", "exact_match", "context_precision"]
    asked = body(metrics=names, contexts=[], repeats=2)

    answer = service.caller.post("/scores:validate", json=asked)

    assert (answer.status_code, answer.json()) == (
        200,
        {
            "effective": ["answer_correctness", "exact_match"],
            "skipped": {"faithfulness": "missing_contexts", "context_precision": "missing_contexts"},
            "judge_calls": 4,
            "judge_model": "j",
            "embedding_model": "e",
        },
    )
    assert service.desk.dapr.state == {}


_FOR_64_CONTEXTS = {
    "faithfulness": (2, 2),
    "answer_relevancy": (1, 3),
    "context_precision": (1, 64),
    "context_utilization": (1, 64),
    "context_recall": (1, 1),
    "answer_correctness": (2, 3),
}
"""Requests to the judge: natively, and of ragas 0.4.3."""


@pytest.mark.parametrize("metric", METRICS)
def test_a_check_counts_the_calls_of_the_engine(service: Service, metric: str) -> None:
    """For as many contexts as there are; those that are blank are not judged."""
    service.desk.engines[Engine.RAGAS] = RagasEngine(Limiters([]), Path(sys.executable))
    lists = {"reference_contexts": ["c"], "context_ids": ["1"], "reference_context_ids": ["1"]}

    def counted(engine: str, **changes: Any) -> int:
        asked = body(metrics=[metric], engine=engine, **lists, **changes)
        told = service.caller.post("/scores:validate", json=asked).json()
        assert told["effective"] == [metric]
        return int(told["judge_calls"])

    native, ragas = _FOR_64_CONTEXTS.get(metric, (0, 0))
    full = ["c"] * MAX_CONTEXTS
    assert (counted("native", contexts=full), counted("ragas", contexts=full)) == (native, ragas)
    assert counted("ragas", contexts=[*full[1:], " "]) == min(ragas, MAX_CONTEXTS - 1)
    assert counted("ragas", contexts=full, repeats=3) == 3 * ragas


def test_jobs_are_listed_page_by_page(service: Service) -> None:
    """The newest first, each once, without what single metrics say."""
    job_ids = [service.accepted() for _ in range(5)]
    service.run(job_ids[0])

    pages = _pages(service, "limit=2")

    newest = job_ids[::-1]
    assert [[state["job_id"] for state in page] for page in pages] == [newest[:2], newest[2:4], newest[4:]]
    (last,) = pages[-1]
    assert (last["weighted_score"], last["metrics"]) == (pytest.approx(4 / 13, abs=1e-4), [])
    assert [len(page) for page in _pages(service, "limit=5")] == [5]


def _pages(service: Service, query: str) -> list[list[Json]]:
    """All of a list, by its cursors."""
    pages: list[list[Json]] = []
    cursor = ""
    while cursor is not None:
        page = service.caller.get(f"/scores?{query}&cursor={cursor}" if cursor else f"/scores?{query}").json()
        pages.append(page["scores"])
        cursor = page["cursor"]
    return pages


def test_a_filter_fills_its_page(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many others lie between; and no request reads without a bound."""
    old = [service.accepted(), service.accepted()]
    for job_id in old:
        service.post(job_id, "cancel")
        service.run(job_id)
    for _ in range(12):
        service.accepted()

    def found() -> list[list[str]]:
        return [[state["job_id"] for state in page] for page in _pages(service, "limit=1&status=failed")]

    assert found() == [[old[1]], [old[0]]]
    monkeypatch.setattr(listing, "_PER_READ", 1)
    assert found() == [[], [old[1]], [old[0]]]


def test_a_list_may_be_of_one_status(service: Service, fake: FakeJudge) -> None:
    """Of the four that callers of the original know; a cancelled one has failed."""
    fake.will_say(refusal(401, "no"))
    done, failed, cancelled, queued = (
        service.accepted(),
        service.accepted(metrics=["faithfulness"]),
        service.accepted(),
        service.accepted(),
    )
    service.post(cancelled, "cancel")
    for job_id in (done, failed, cancelled):
        service.run(job_id)

    def listed(status: str) -> list[str]:
        page = service.caller.get(f"/scores?status={status}").json()
        return [state["job_id"] for state in page["scores"]]

    assert (listed("completed"), listed("queued"), listed("running")) == ([done], [queued], [])
    assert listed("failed") == [cancelled, failed]


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/scores?limit=0", (422, "REQUEST_INVALID", "limit")),
        ("/scores?limit=201", (422, "REQUEST_INVALID", "limit")),
        ("/scores?status=done", (422, "REQUEST_INVALID", "status")),
        ("/scores?cursor=x", (400, "CURSOR_INVALID", "cursor")),
        ("/scores?cursor=WzFd", (400, "CURSOR_INVALID", "cursor")),
        (f"/scores/{_UNKNOWN}?wait=61", (422, "REQUEST_INVALID", "wait")),
        (f"/scores/{_UNKNOWN}?wait=-1", (422, "REQUEST_INVALID", "wait")),
        (f"/scores/{_UNKNOWN}?wait=x", (422, "REQUEST_INVALID", "wait")),
    ],
)
def test_a_bad_question_is_refused_with_its_parameter(
    service: Service, path: str, expected: tuple[int, str, str]
) -> None:
    """In the shape of every error."""
    assert refused(service.caller.get(path)) == expected


@pytest.mark.parametrize(("method", "path"), ON_A_JOB)
@pytest.mark.parametrize(
    "job_id",
    [
        _UNKNOWN,
        "x",
        "index-days",
        "active-0",
        "..%2f..%2fetc",
        "%00",
        "ABCDEF012345",
        "0" * 33,
        "%F0%9F%9A%80",
    ],
)
def test_an_unknown_job_is_not_found(service: Service, method: str, path: str, job_id: str) -> None:
    """Whatever is asked of it; what cannot be an id is no key of the state store either."""
    service.accepted()
    before = dict(service.desk.dapr.state)

    answer = service.caller.request(method, path.format(job_id))

    assert answer.status_code == 404
    assert answer.json()["code"] in {"SCORE_UNKNOWN", "ROUTE_UNKNOWN"}
    assert service.desk.dapr.state == before


def test_metrics_tell_what_they_need(service: Service) -> None:
    """All of them, with who judges, embeds and computes."""
    listed = service.caller.get("/score-metrics").json()

    assert [metric["name"] for metric in listed["metrics"]] == list(METRICS)
    assert (listed["judges"], listed["embedders"]) == (["j"], ["e"])
    by_name = {metric["name"]: metric for metric in listed["metrics"]}
    correctness = by_name["answer_correctness"]
    assert correctness["needs"] == ["question", "answer", "ground_truth"]
    assert (correctness["needs_judge"], correctness["needs_embedder"]) == (True, True)
    assert correctness["judge_calls"] == {"native": 2}
    assert by_name["exact_match"]["needs_judge"] is False
    assert correctness["engines"] == {"native": METRICS["answer_correctness"].version}


def test_metrics_tell_what_they_ask_of_a_judge(service: Service) -> None:
    """By engine; null where ragas judges each context by itself."""
    service.desk.engines[Engine.RAGAS] = RagasEngine(Limiters([]), Path(sys.executable))

    listed = service.caller.get("/score-metrics").json()["metrics"]

    calls = {metric["name"]: metric["judge_calls"] for metric in listed}
    assert calls["context_precision"] == {"native": 1, "ragas": None}
    assert calls["answer_relevancy"] == {"native": 1, "ragas": 3}
    assert calls["exact_match"] == {"native": 0, "ragas": 0}


@pytest.mark.parametrize(
    ("method", "path"), [("POST", "/scores"), ("GET", "/scores"), *ON_A_JOB], ids=lambda value: value
)
def test_without_dapr_the_caller_is_told_to_come_again(service: Service, method: str, path: str) -> None:
    """503: nothing is wrong with the request."""
    job_id = service.accepted()
    service.run(job_id)
    service.desk.dapr.unreachable = True

    more = {"json": body()} if path == "/scores" and method == "POST" else {}
    answer = service.caller.request(method, path.format(job_id), **more)

    assert (answer.status_code, answer.json()["code"]) == (503, "SIDECAR_UNAVAILABLE")


def _token(name: str, tenant: str, *scopes: Scope) -> ApiToken:
    return ApiToken(name=name, sha256=digest_of(name), tenant=tenant, scopes=frozenset(scopes))


_TOKENS = (
    _token("ours", "team-a", Scope.READ, Scope.SUBMIT),
    _token("theirs", "team-b", Scope.READ, Scope.SUBMIT),
    _token("reader", "team-a", Scope.READ),
    _token("admin", "ops", Scope.ADMIN),
)


def _as(service: Service, token: str, method: str, path: str, **more: Any) -> httpx.Response:
    return service.caller.request(method, path, headers={"Authorization": f"Bearer {token}"}, **more)


def test_a_job_is_there_for_its_tenant_only(fake: FakeJudge, tmp_path: Path) -> None:
    """To others it is unknown, in every route, also when it was deleted; an admin sees all."""
    service = Service(Desk(fake, tmp_path), *_TOKENS)
    job_id = _as(service, "ours", "POST", "/scores", json=body()).json()["job_id"]
    _as(service, "theirs", "POST", "/scores", json=body())

    def listed(token: str) -> int:
        return len(_as(service, token, "GET", "/scores").json()["scores"])

    def unknown() -> set[tuple[int, str, str | None]]:
        return {refused(_as(service, "theirs", method, path.format(job_id))) for method, path in ON_A_JOB}

    assert unknown() == {(404, "SCORE_UNKNOWN", "job_id")}
    assert (listed("ours"), listed("theirs"), listed("admin")) == (1, 1, 2)
    assert _as(service, "admin", "GET", f"/scores/{job_id}").json()["job_id"] == job_id
    service.run(job_id)
    assert _as(service, "ours", "DELETE", f"/scores/{job_id}").status_code == 200
    assert unknown() == {(404, "SCORE_UNKNOWN", "job_id")}


def test_who_may_only_read_starts_and_ends_nothing(fake: FakeJudge, tmp_path: Path) -> None:
    """And who shows no token gets nothing at all."""
    service = Service(Desk(fake, tmp_path), *_TOKENS)
    job_id = _as(service, "ours", "POST", "/scores", json=body()).json()["job_id"]

    assert _as(service, "reader", "GET", f"/scores/{job_id}").status_code == 200
    for method, path in [("POST", "/scores"), ("POST", "/scores:validate"), *ON_A_JOB[1:]]:
        answer = _as(service, "reader", method, path.format(job_id), json=body())
        assert refused(answer) == (403, "SCOPE_MISSING", None)
    assert refused(service.score()) == (401, "TOKEN_REQUIRED", None)
