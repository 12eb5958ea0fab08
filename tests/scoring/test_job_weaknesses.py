"""What the original scoring manager gets wrong, weakness by weakness, as far as it is about its jobs.

The numbers are those of the list that this service was designed by; test_reference_weaknesses.py has what is
about artifacts.
"""

import json
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import quote

import pytest

from budeval.domain.score_job import AdviceStatus, JobOutcome, ScoreRecord
from budeval.errors import RequestError
from budeval.runtime.retention import Retention
from budeval.scoring.artifacts import Artifact
from budeval.scoring.course import DEADLINE
from budeval.scoring.reconciler import ScoreReconciler
from tests.scoring.bodies import SAMPLE, request
from tests.scoring.desk import Desk, unasking_desk
from tests.scoring.fake_cut_dapr import FakeCutDapr
from tests.scoring.fake_judge import YES, FakeJudge, embeddings, refusal, says
from tests.scoring.replies import for_faithfulness
from tests.scoring.service import Service, refused
from tests.scoring.strict import artifacts

_METRICS = ["faithfulness", "exact_match"]


@pytest.mark.parametrize("activities", range(9))
def test_1_a_restart_strands_no_running_job(fake: FakeJudge, tmp_path: Path, activities: int) -> None:
    """Killed before any of its activities, it is finished by the next process; nothing is paid for twice."""
    fake.will_say(*for_faithfulness(YES))
    desk = Desk(fake, tmp_path)
    record = desk.intake.accept(request(metrics=_METRICS), "default")
    with suppress(KeyboardInterrupt):
        desk.run(record, lambda turn: setattr(turn, "crash_after", activities))
    assert desk.store.load(record.job.job_id).ended is None

    Desk(fake, tmp_path, desk.dapr).run(record)

    state = desk.views.state(record.job.job_id)
    assert (state.outcome, state.scores) == (
        JobOutcome.COMPLETED,
        {"faithfulness": 1.0, "exact_match": 0.0},
    )
    assert state.advice_status is AdviceStatus.RULES_ONLY
    assert len(fake.requests) == 2


def test_1_a_restart_strands_no_queued_job(tmp_path: Path) -> None:
    """What was accepted is stored as a whole, and whoever comes next starts it."""
    question = "Which? " * 100
    before = unasking_desk(tmp_path)
    job_id = before.intake.accept(request(question=question), "default").job.job_id

    after = unasking_desk(tmp_path, before.dapr)
    started: list[ScoreRecord] = []
    ScoreReconciler(after.store, after.workflows, started.append, after.activities.close_broken).look()
    after.run(started[0])

    assert [record.job.job_id for record in started] == [job_id]
    assert after.store.samples(job_id, [1])[0].sample.question == question
    assert after.views.state(job_id).outcome is JobOutcome.COMPLETED


def test_2_a_skipped_metric_does_not_fail_the_job(tmp_path: Path) -> None:
    """It is null beside the others, with its reason, and the run is whole."""
    desk = unasking_desk(tmp_path)
    record = desk.intake.accept(request(metrics=["exact_match", "faithfulness"], contexts=[]), "default")

    desk.run(record)

    state = desk.views.state(record.job.job_id)
    assert (state.outcome, state.scores) == (
        JobOutcome.COMPLETED,
        {"exact_match": 0.0, "faithfulness": None},
    )
    assert (state.skipped_metrics, state.skipped) == (["faithfulness"], {"faithfulness": "missing_contexts"})
    assert Artifact.METADATA in dict(artifacts(desk, record.job.run_id))


def test_3_what_is_no_number_is_null(fake: FakeJudge, tmp_path: Path) -> None:
    """Where the definitions give NaN: answers are strict JSON, and the other scores are weighed."""
    fake.will_say(says({"statements": []}))
    fake.embeddings.append(embeddings([0.0], [0.0]))
    service = Service(Desk(fake, tmp_path))
    job_id = service.accepted(metrics=["faithfulness", "semantic_similarity", "non_llm_string_similarity"])

    service.run(job_id)

    def refuse(word: str) -> None:
        raise AssertionError(word)

    state = json.loads(service.caller.get(f"/scores/{job_id}").text, parse_constant=refuse)
    assert (state["scores"]["faithfulness"], state["scores"]["semantic_similarity"]) == (None, None)
    assert state["weighted_score"] == pytest.approx(8 / 13, abs=1e-4)
    assert state["weight_coverage"] == pytest.approx(1 / 3, abs=1e-4)


def test_4_a_job_has_one_run_whose_name_is_its_own(fake: FakeJudge, tmp_path: Path) -> None:
    """A retry writes the same one, two jobs of one moment have two, and the name is fit for a URL."""
    fake.will_say(refusal(401, "no"), *for_faithfulness(YES))
    desk = Desk(fake, tmp_path)
    first, other = (desk.intake.accept(request(metrics=_METRICS), "default") for _ in range(2))
    desk.run(first)
    desk.lifecycle.retry(first.job.job_id)
    desk.run(desk.store.load(first.job.job_id))
    desk.run(other)

    runs = {path.name for path in tmp_path.iterdir() if not path.name.startswith(".")}
    assert runs == {first.job.run_id, other.job.run_id}
    assert desk.views.state(first.job.job_id).scores["faithfulness"] == 1.0
    assert quote(first.job.run_id, safe="") == first.job.run_id == f"score-{first.job.job_id}"


def test_5_no_job_is_lost_from_the_list(tmp_path: Path) -> None:
    """However many come and end at the same time."""
    desk = unasking_desk(tmp_path, FakeCutDapr())

    def scored(_number: int) -> str:
        record = desk.intake.accept(request(metrics=["exact_match"]), "default")
        desk.run(record)
        return record.job.job_id

    with ThreadPoolExecutor(8) as callers:
        job_ids = list(callers.map(scored, range(24)))

    listed, cursor = desk.store.newest(None, 100)
    assert (sorted(listed), cursor) == (sorted(job_ids), None)
    assert desk.store.active() == []


def test_5_a_write_that_fails_leaves_what_was_there(tmp_path: Path) -> None:
    """A record is changed as a whole or not at all, and nobody else's change is lost by it."""
    desk = unasking_desk(tmp_path)
    record = desk.intake.accept(request(), "default")
    key = f"score-{record.job.job_id}"
    seen: list[str | None] = []

    def change(now: ScoreRecord) -> ScoreRecord:
        if not seen:  # somebody else writes between our reading and our writing
            desk.lifecycle.cancel(record.job.job_id)
        seen.append(now.cancelled)
        return now.model_copy(update={"done": 7})

    desk.store.update(record.job.job_id, change)

    assert (desk.dapr.state[key]["done"], bool(desk.dapr.state[key]["cancelled"])) == (7, True)
    assert len(seen) == 2


def test_6_nobody_advises_on_no_scores(fake: FakeJudge, tmp_path: Path) -> None:
    """The original does; and a failure of the adviser is a status, beside scores that were there before."""
    fake.will_say(refusal(401, "no"))
    desk = Desk(fake, tmp_path)
    unscored = desk.intake.accept(request(metrics=["faithfulness"]), "default")
    scored = desk.intake.accept(request(metrics=["exact_match"]), "default")

    desk.run(unscored)
    assert desk.adviser.runs == []
    desk.adviser.fails = True
    desk.run(scored)

    assert desk.views.state(unscored.job.job_id).advice_status is AdviceStatus.SKIPPED
    state = desk.views.state(scored.job.job_id)
    assert (state.advice_status, state.scores) == (AdviceStatus.FAILED, {"exact_match": 0.0})


def test_7_a_job_has_a_deadline(tmp_path: Path) -> None:
    """Which it keeps, whatever its endpoints do."""
    desk = unasking_desk(tmp_path)
    record = desk.intake.accept(request(metrics=["faithfulness"], timeout_s=1), "default")

    desk.run(record, lambda turn: setattr(turn, "late", DEADLINE))

    assert "faithfulness: deadline: " in str(desk.views.state(record.job.job_id).error)


def test_7_a_job_can_be_cancelled_listed_and_deleted(tmp_path: Path) -> None:
    """None of which the original can."""
    service = Service(unasking_desk(tmp_path))
    job_ids = [service.accepted() for _ in range(3)]

    assert service.post(job_ids[0], "cancel").status_code == 202
    service.run(job_ids[0])
    first = service.caller.get("/scores?limit=2").json()
    rest = service.caller.get(f"/scores?limit=2&cursor={first['cursor']}").json()
    assert service.caller.request("DELETE", f"/scores/{job_ids[0]}").status_code == 200

    assert [state["job_id"] for state in (*first["scores"], *rest["scores"])] == job_ids[::-1]
    assert rest["scores"][0]["outcome"] == "cancelled"


def test_7_the_queue_ends_somewhere(tmp_path: Path) -> None:
    """And says when to come again."""
    service = Service(unasking_desk(tmp_path, max_active_jobs=1))
    service.accepted()

    answer = service.score()

    assert refused(answer)[:2] == (429, "QUEUE_FULL")
    assert answer.headers["Retry-After"]


def test_7_the_same_request_is_scored_once(fake: FakeJudge, tmp_path: Path) -> None:
    """Where the caller says by a key that it is the same."""
    fake.will_say(*for_faithfulness(YES))
    service = Service(Desk(fake, tmp_path))
    job_id = service.accepted(key="k", metrics=["faithfulness"])
    service.run(job_id)

    again = service.score(key="k", metrics=["faithfulness"])

    assert (again.json()["job_id"], again.json()["scores"]) == (job_id, {"faithfulness": 1.0})
    assert len(fake.requests) == 2


def test_7_what_ended_long_ago_is_forgotten(tmp_path: Path) -> None:
    """With its run; what has not ended stays, however old it is."""
    desk = unasking_desk(tmp_path)
    old, running = (desk.intake.accept(request(), "default") for _ in range(2))
    desk.run(old)
    long_ago = (datetime.now(UTC) - timedelta(days=31)).isoformat()
    desk.store.update(old.job.job_id, lambda now: now.model_copy(update={"ended": long_ago}))
    page, days = f"score-index-{old.created[:10]}-0", "score-index-days"
    desk.dapr.state[f"score-index-{long_ago[:10]}-0"] = desk.dapr.state.pop(page)
    desk.dapr.state[days] = [long_ago[:10]]

    Retention(desk.store, desk.lifecycle.forget, timedelta(days=30)).sweep()

    with pytest.raises(RequestError, match="was deleted"):
        desk.store.load(old.job.job_id)
    assert desk.artifacts.sizes(old.job.run_id) is None
    assert desk.store.load(running.job.job_id).ended is None
    assert SAMPLE["question"] not in json.dumps(desk.dapr.state[f"score-{old.job.job_id}"])


def test_7_the_dataset_is_the_sample(tmp_path: Path) -> None:
    """As it was sent, for whoever wants to repeat it."""
    desk = unasking_desk(tmp_path)
    record = desk.intake.accept(request(), "default")

    desk.run(record)

    written = json.loads(dict(artifacts(desk, record.job.run_id))[Artifact.DATASET])
    assert {name: written[name] for name in SAMPLE} == SAMPLE
