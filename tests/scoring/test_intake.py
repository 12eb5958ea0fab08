"""From a request to a started job, whatever is cut off in between."""

import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from budeval.domain.score_job import SAMPLE_ID, Engine, JobStatus, ScoreRecord
from budeval.errors import RequestError, SidecarError
from budeval.scoring import intake
from budeval.scoring.intake import ScoreIntake
from tests.scoring.asking import judge_settings
from tests.scoring.bodies import PLAIN, batch, lines, request
from tests.scoring.desk import Desk, unasking_desk
from tests.scoring.fake_cut_dapr import FakeCutDapr
from tests.scoring.fake_judge import FakeJudge
from tests.scoring.service import Service, refused

_KEY = "order-7"
_DIGEST = "afee5d63b3a8e79e5f3207c28d6457590aaeebdb518c12fef9bf05ecce02c445"
"""Of `request()`, as it was stored when 300 s was the default of all."""


def _desk(directory: Path, *, takes_the_last: bool = False, **settings: Any) -> Desk:
    return unasking_desk(directory, FakeCutDapr(takes_the_last=takes_the_last), **settings)


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    """The judge `j` and the embedder `e`."""
    return _desk(tmp_path)


def _cut(desk: Desk) -> FakeCutDapr:
    assert isinstance(desk.dapr, FakeCutDapr)
    return desk.dapr


def _refused(call: Callable[[], Any]) -> tuple[int, str, str | None]:
    with pytest.raises(RequestError) as refused:
        call()
    return refused.value.status, refused.value.code, refused.value.param


def _listed(desk: Desk) -> list[str]:
    return desk.store.newest(None, 1000)[0]


def test_what_is_left_out_comes_from_the_settings(desk: Desk) -> None:
    """The first endpoint of each kind, and the defaults."""
    job = desk.intake.accept(request(), "team-a").job

    assert (job.judge, job.embedder, job.engine) == ("j", "e", Engine.NATIVE)
    assert (job.repeats, job.timeout_s, job.attempt) == (1, 300, 1)
    assert (job.advise, job.store_inputs, job.weights, job.labels) == (True, True, {}, {})
    assert (job.kind, job.samples, job.tenant) == ("sample", 1, "team-a")


def test_an_alias_chooses_an_endpoint(tmp_path: Path) -> None:
    """By its name in the settings, never by an address."""
    fake = FakeJudge()
    fake.url = "http://127.0.0.1:9/v1"
    judges = (judge_settings(fake), judge_settings(fake, alias="strict"))
    desk = _desk(tmp_path, judges=judges)

    job = desk.intake.accept(request(judge_model="strict", embedding_model="e"), "default").job

    assert (job.judge, job.embedder) == ("strict", "e")


def test_without_endpoints_there_is_none(tmp_path: Path) -> None:
    """Metrics that ask nobody are scored all the same."""
    desk = _desk(tmp_path, judges=(), embedders=())

    record = desk.intake.accept(request(), "default")

    assert (record.job.judge, record.job.embedder) == (None, None)
    assert (record.summary.judge_model, record.summary.embedding_model) == ("", "")


def test_a_job_is_what_the_original_answers(desk: Desk) -> None:
    """Twelve hex digits, queued, and a summary of 80 characters of each text."""
    record = desk.intake.accept(request(question="q" * 100, answer="a" * 100, contexts=[]), "default")

    assert re.fullmatch(r"[0-9a-f]{12}", record.job.job_id)
    assert record.status is JobStatus.QUEUED
    assert record.summary.model_dump() == {
        "question": "q" * 80,
        "answer": "a" * 80,
        "metrics": tuple(PLAIN),
        "judge_model": "j",
        "embedding_model": "e",
        "has_contexts": False,
        "has_ground_truth": True,
        "blanks_left_out": 0,
    }


def test_blank_entries_are_left_out_and_counted(desk: Desk) -> None:
    """Of every list, in the summary and with the sample; blank lines at the end of a text are none."""
    lists = {"contexts": ["one", " ", ""], "reference_contexts": ["\u200b"], "context_ids": ["a", " "]}

    record = desk.intake.accept(request(**lists), "default")
    divided = desk.intake.accept(request(contexts="one\n\ntwo\n\n"), "default")

    (stored,) = desk.store.samples(record.job.job_id, [1])
    assert (stored.sample.contexts, stored.sample.context_ids) == (("one",), ("a",))
    assert (stored.blanks_left_out, record.summary.blanks_left_out) == (4, 4)
    assert divided.summary.blanks_left_out == 0


def test_the_texts_are_stored_beside_the_record(desk: Desk) -> None:
    """The record is small: it is read for lists, and its job stands in the workflow's history."""
    record = desk.intake.accept(request(answer="the very answer"), "default")

    (stored,) = desk.store.samples(record.job.job_id, [1])
    assert (stored.sample_id, stored.sample.answer) == (SAMPLE_ID, "the very answer")
    assert "answer" not in record.job.model_dump()


def test_who_finds_a_record_finds_all_that_it_needs(desk: Desk) -> None:
    """The list and the texts come before it, the start after it."""
    record = desk.intake.accept(request(), "default")

    job_id = record.job.job_id
    active, days, page, claim, sample, renewed, last, again = _cut(desk).keys
    assert active.startswith("score-active-")
    assert (days, page) == ("score-index-days", f"score-index-{record.created[:10]}-0")
    assert claim == renewed == f"score-claim-{job_id}"
    assert (sample, last, again) == (f"score-sample-{job_id}-1", f"score-{job_id}", active)
    assert desk.started == [record]


def test_a_request_without_texts_to_be_kept_shows_none(desk: Desk) -> None:
    """Only digests of them are to remain, so the record never has them."""
    record = desk.intake.accept(request(store_inputs=False), "default")

    assert (record.summary.question, record.summary.answer) == ("", "")


@pytest.mark.parametrize(
    ("changes", "skipped"),
    [
        ({"ground_truth": None}, {"context_recall": "missing_ground_truth"}),
        ({"ground_truth": " \n"}, {"context_recall": "missing_ground_truth"}),
        ({"contexts": ["", " "]}, {"context_recall": "missing_contexts"}),
        ({"embedding_model": None}, {}),
    ],
)
def test_skips_have_reasons(desk: Desk, changes: dict[str, Any], skipped: dict[str, str]) -> None:
    """What is left out or blank makes the metrics that need it be skipped, and no others."""
    asked = request(metrics=["context_recall", "answer_relevancy"], **changes)

    assert desk.intake.skipped(desk.intake.check(asked), asked.sample) == skipped
    assert desk.intake.accept(asked, "default").job.metrics == ("context_recall", "answer_relevancy")


def test_a_request_that_scores_nothing_is_refused_unless_it_says_so(desk: Desk) -> None:
    """The original completes it with no score; `allow_empty` asks for that."""
    empty = {"metrics": ["context_recall"], "ground_truth": None}

    assert _refused(lambda: desk.intake.accept(request(**empty), "default")) == (
        422,
        "NOTHING_TO_SCORE",
        "metrics",
    )
    assert desk.dapr.state == {}
    assert desk.intake.accept(request(**empty, allow_empty=True), "default").job.metrics == (
        "context_recall",
    )


def test_without_a_key_every_request_is_another_job(desk: Desk) -> None:
    """Two callers may well ask the same."""
    first, second = (desk.intake.accept(request(), "default") for _ in range(2))

    assert first.job.job_id != second.job.job_id
    assert sorted(_listed(desk)) == sorted([first.job.job_id, second.job.job_id])


def test_the_same_request_with_the_same_key_is_one_job(desk: Desk) -> None:
    """It is started again, for the start may have been cut off; nothing is stored twice."""
    first = desk.intake.accept(request(), "default", _KEY)
    stored = dict(desk.dapr.state)

    second = desk.intake.accept(request(), "default", _KEY)

    assert (second, desk.started) == (first, [first, first])
    assert desk.dapr.state == stored
    assert re.fullmatch(r"[0-9a-f]{24}", first.job.job_id)


def test_a_request_that_means_the_same_is_the_same(desk: Desk) -> None:
    """Contexts in one text are those of a list, and defaults may be written out."""
    first = desk.intake.accept(request(contexts=["one", "two"]), "default", _KEY)

    written_out = request(contexts="one\n\ntwo", repeats=1, timeout_s=300)
    assert desk.intake.accept(written_out, "default", _KEY) == first


@pytest.mark.parametrize("changes", [{}, {"timeout_s": 300}], ids=["left-out", "named"])
def test_keys_of_older_versions_are_known(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any]
) -> None:
    """Whatever the least time for a job is by now: to them 300 s was what is meant where none is named."""
    monkeypatch.setattr(intake, "LEAST_SECONDS", 600)

    record = desk.intake.accept(request(**changes), "default", _KEY)

    assert record.digest == _DIGEST


@pytest.mark.parametrize(
    "changes",
    [
        {"answer": "Another."},
        {"metrics": ["exact_match"]},
        {"metrics": PLAIN[::-1]},
        {"repeats": 2},
        {"labels": {"a": "b"}},
    ],
)
def test_another_request_with_the_same_key_is_refused(desk: Desk, changes: dict[str, Any]) -> None:
    """409, and the first one is left as it is."""
    desk.intake.accept(request(), "default", _KEY)
    stored = dict(desk.dapr.state)

    refused = _refused(lambda: desk.intake.accept(request(**changes), "default", _KEY))

    assert refused == (409, "SCORE_CONFLICT", "Idempotency-Key")
    assert desk.dapr.state == stored
    assert len(desk.started) == 1


def test_many_samples_with_the_key_of_one_are_refused(desk: Desk) -> None:
    """A key is one for all kinds of jobs."""
    desk.intake.accept(request(), "default", _KEY)

    assert _refused(lambda: desk.intake.accept_many(batch(lines(1)), "default", _KEY))[:2] == (
        409,
        "SCORE_CONFLICT",
    )


def test_keys_are_a_tenants_own(desk: Desk) -> None:
    """What another has sent is neither a conflict nor an answer."""
    ours = desk.intake.accept(request(), "team-a", _KEY)
    theirs = desk.intake.accept(request(answer="Another."), "team-b", _KEY)

    assert ours.job.job_id != theirs.job.job_id
    assert (ours.job.tenant, theirs.job.tenant) == ("team-a", "team-b")


def test_the_key_of_a_deleted_job_is_used_up(desk: Desk) -> None:
    """Nobody knows any more whether it would be the same request."""
    record = desk.intake.accept(request(), "default", _KEY)
    desk.store.bury(record)

    refused = _refused(lambda: desk.intake.accept(request(), "default", _KEY))

    assert refused[:2] == (409, "SCORE_DELETED")


def test_fifty_at_once_with_one_key_are_one_job(desk: Desk) -> None:
    """Each is answered with it; it is listed once, with its texts."""
    with ThreadPoolExecutor(50) as callers:
        records = list(callers.map(lambda _: desk.intake.accept(request(), "default", _KEY), range(50)))

    assert {record.job.job_id for record in records} == {records[0].job.job_id}
    assert len({record.created for record in records}) == 1
    assert _listed(desk) == desk.store.active() == [records[0].job.job_id]
    assert len(desk.store.samples(records[0].job.job_id, [1])) == 1


def test_of_many_requests_at_once_with_one_key_one_is_scored(desk: Desk) -> None:
    """The texts that are scored are those of the record, and all others are refused."""
    answers = [f"Answer {number}." for number in range(20)]

    def accepted(answer: str) -> ScoreRecord | str:
        try:
            return desk.intake.accept(request(answer=answer), "default", _KEY)
        except RequestError as error:
            return error.code

    with ThreadPoolExecutor(20) as callers:
        found = list(callers.map(accepted, answers))

    (record,) = [answer for answer in found if isinstance(answer, ScoreRecord)]
    (stored,) = desk.store.samples(record.job.job_id, [1])
    assert stored.sample.answer == record.summary.answer
    assert found.count("SCORE_CONFLICT") == len(answers) - 1
    assert desk.started == [record]


def test_who_comes_second_leaves_the_texts_of_the_first(desk: Desk) -> None:
    """Also where the first has stored them and has no record yet: another answer would be scored."""
    save = desk.store.save_samples

    def overtaken(*given: Any) -> None:
        save(*given)
        refused = _refused(lambda: desk.intake.accept(request(answer="Theirs."), "default", _KEY))
        assert refused == (409, "SCORE_CONFLICT", "Idempotency-Key")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(desk.store, "save_samples", overtaken)
        record = desk.intake.accept(request(answer="Ours."), "default", _KEY)

    assert desk.store.samples(record.job.job_id, [1])[0].sample.answer == "Ours."


def _asked(desk: Desk, kind: str = "sample") -> ScoreRecord:
    if kind == "sample":
        return desk.intake.accept(request(), "default", _KEY)
    return desk.intake.accept_many(batch(f"{lines(2)}\nnone"), "default", _KEY)


def _is_cut(desk: Desk, kind: str, at: int) -> bool:
    """Send the request, and go away at the call of that number; False where there are fewer."""
    _cut(desk).left = at
    try:
        _asked(desk, kind)
    except SidecarError:
        return True
    finally:
        _cut(desk).left = None
    return False


@pytest.mark.parametrize("takes_the_last", [False, True], ids=["refused", "answer-lost"])
@pytest.mark.parametrize("kind", ["sample", "samples"])
def test_the_same_request_completes_what_was_cut(tmp_path: Path, kind: str, *, takes_the_last: bool) -> None:
    """At whichever call of the sidecar: there is one job then, on the list once, with all its texts."""
    steps = 0
    while _is_cut(desk := _desk(tmp_path, takes_the_last=takes_the_last), kind, steps):
        steps += 1
        assert desk.started == []
        record = _asked(desk, kind)
        job_id = record.job.job_id
        assert desk.started == [record]
        assert _listed(desk) == desk.store.active() == [job_id]
        assert len(desk.store.samples(job_id, range(1, record.job.samples + 1))) == record.job.samples
        assert len(desk.store.invalid(job_id)) == (1 if kind == "samples" else 0)
    assert steps >= 10


def test_a_cut_request_does_not_stand_in_its_own_way(tmp_path: Path) -> None:
    """It has its place in the queue, and takes no second one."""
    desk = _desk(tmp_path, max_active_jobs=1)
    assert _is_cut(desk, "sample", 9)
    assert desk.store.load_all(desk.store.active()) == []
    assert len(desk.store.active()) == 1

    record = _asked(desk)

    assert desk.started == [record]


def test_a_start_that_failed_is_made_up_for(tmp_path: Path) -> None:
    """The record is there, so the same request only starts it."""
    desk = _desk(tmp_path)

    def away(_record: ScoreRecord) -> None:
        raise SidecarError("the engine is away")

    with pytest.raises(SidecarError):
        ScoreIntake(desk.settings, desk.store, desk.engines, away).accept(request(), "default", _KEY)
    stored = dict(desk.dapr.state)

    record = desk.intake.accept(request(), "default", _KEY)

    assert (desk.started, desk.dapr.state) == ([record], stored)


def test_a_full_queue_says_when_to_come_again(tmp_path: Path) -> None:
    """429 with Retry-After; what is on its way is still answered, and an end makes room."""
    service = Service(_desk(tmp_path, max_active_jobs=2))
    first = service.score(key=_KEY).json()["job_id"]
    service.score()

    full = service.score()
    many = service.caller.post("/scores:batch", json={"jsonl": lines(1), "metrics": PLAIN})
    again = service.score(key=_KEY)
    service.desk.activities.end_job({"job_id": first})
    after = service.score()

    for answer in (full, many):
        assert refused(answer) == (429, "QUEUE_FULL", None)
        assert int(answer.headers["Retry-After"]) > 0
        assert "BUDEVAL_SCORING_MAX_ACTIVE_JOBS" in answer.json()["message"]
    assert (again.status_code, again.json()["job_id"]) == (202, first)
    assert after.status_code == 202
    assert len(_listed(service.desk)) == 3


def test_endpoints_of_the_settings_may_not_share_an_alias(tmp_path: Path) -> None:
    """Nobody could tell then which one has judged."""
    (one,) = _desk(tmp_path).settings.embedders

    with pytest.raises(ValueError, match="each alias may be there once"):
        _desk(tmp_path, embedders=(one, one))
