"""The course of a job with its real activities: in which order, how it ends, and what is told of it."""

import json
from pathlib import Path
from typing import Any

import pytest

from budeval.domain.score_job import AdviceStatus, JobOutcome, JobStatus, Phase, ScoreRecord
from budeval.domain.score_run import ScoreRun
from budeval.errors import ArtifactError, SidecarError
from budeval.scoring.artifacts import Artifact
from budeval.scoring.course import CANCELLED, DEADLINE, SAMPLES_PER_GENERATION
from budeval.scoring.ledger import Ledger
from tests.scoring.bodies import batch, lines, request
from tests.scoring.desk import Desk, FakeTurn
from tests.scoring.fake_judge import YES, FakeJudge, refusal
from tests.scoring.measured import accepted, score
from tests.scoring.replies import for_context_recall, for_faithfulness
from tests.scoring.strict import document

_END = ["write_artifacts", "settle_job", "announce_scores"]
_ADVICE = ["advise", "announce_scores"]


@pytest.fixture
def desk(fake: FakeJudge, tmp_path: Path) -> Desk:
    """With a judge that says what a test scripts."""
    return Desk(fake, tmp_path)


def _accepted(desk: Desk, **changes: Any) -> ScoreRecord:
    return desk.intake.accept(request(**changes), "default")


def _now(desk: Desk, record: ScoreRecord) -> ScoreRecord:
    return desk.store.load(record.job.job_id)


def _told(desk: Desk) -> list[dict[str, Any]]:
    """Contents of the events that were published, with their ids and names."""
    told = []
    for message in desk.dapr.messages:
        payload = json.loads(message.content)["payload"]
        event_id = message.url.params["metadata.cloudevent.id"]
        told.append({"id": event_id, "event": payload["event"], **payload["content"]})
    return told


def _late(code: str) -> Any:
    return lambda turn: setattr(turn, "late", code)


def test_a_sample_is_scored_written_told_and_advised(desk: Desk, fake: FakeJudge) -> None:
    """In this order: the scores are known before there is any advice."""
    fake.will_say(*for_context_recall(YES))
    record = _accepted(desk, metrics=["context_recall", "exact_match"])

    turn = desk.run(record)

    assert turn.calls == [
        "begin_scoring",
        "score_metric",
        "score_metric",
        *_END,
        *_ADVICE,
        "end_job",
    ]
    assert turn.said == ["scoring 1 to 1 of 1", "writing", "advising"]
    done = _now(desk, record)
    assert (done.status, done.outcome, done.phase) == (JobStatus.COMPLETED, JobOutcome.COMPLETED, None)
    assert done.created <= str(done.started) <= str(done.finished) <= str(done.ended)
    assert desk.store.active() == []


def test_scores_are_told_first_and_the_advice_then(desk: Desk) -> None:
    """Under the ids by which a repetition is known, with all that a consumer needs."""
    record = _accepted(desk)

    desk.run(record)

    scores, advice = _told(desk)
    subject = f"score-{record.job.job_id}"
    assert (scores["id"], advice["id"]) == (f"{subject}/1", f"{subject}/2")
    assert (scores["event"], advice["event"]) == ("score_results", "score_advice")
    assert scores["result"] == {
        "job_id": record.job.job_id,
        "status": "completed",
        "outcome": "completed",
        "run_id": record.job.run_id,
        "scores": {"exact_match": 0.0, "non_llm_string_similarity": pytest.approx(8 / 13)},
        "weighted_score": pytest.approx(4 / 13, abs=1e-4),
        "weight_coverage": 1.0,
        "error": None,
    }
    assert advice["result"]["advice_status"] == "rules_only"


def test_scores_are_visible_while_the_advice_is_written(desk: Desk) -> None:
    """With the run, and the state `completed`."""
    record = _accepted(desk)
    seen = []
    advise = desk.adviser.advise

    async def looks(run: ScoreRun, ledger: Ledger) -> AdviceStatus:
        seen.append(desk.views.state(record.job.job_id))
        return await advise(run, ledger)

    desk.adviser.advise = looks  # type: ignore[method-assign]
    desk.run(record)

    (state,) = seen
    assert (state.status, state.phase) == (JobStatus.COMPLETED, Phase.ADVISING)
    assert (state.run_id, state.advice_status) == (record.job.run_id, None)
    assert state.scores["exact_match"] == 0.0


def test_advice_may_be_left_out(desk: Desk) -> None:
    """Nobody is asked for it, and the state says so."""
    record = _accepted(desk, advise=False)

    turn = desk.run(record)

    assert turn.calls == ["begin_scoring", "score_metric", "score_metric", *_END, "end_job"]
    assert (_now(desk, record).advice, desk.adviser.runs) == (AdviceStatus.SKIPPED, [])
    assert [told["event"] for told in _told(desk)] == ["score_results"]


def test_an_adviser_that_fails_takes_nothing_with_it(desk: Desk) -> None:
    """The scores stand, and what became of the advice is told."""
    desk.adviser.fails = True
    record = _accepted(desk)

    turn = desk.run(record)

    done = _now(desk, record)
    assert (done.outcome, done.advice) == (JobOutcome.COMPLETED, AdviceStatus.FAILED)
    assert turn.calls[-1] == "end_job"
    assert _told(desk)[-1]["status"] == "FAILED"
    assert _told(desk)[-1]["result"]["advice_status"] == "failed"


def test_no_score_is_a_failure_with_its_reason(desk: Desk, fake: FakeJudge) -> None:
    """The workflow fails, too; the run is written all the same, and nobody advises on it."""
    fake.will_say(refusal(401, "who are you?"))
    record = _accepted(desk, metrics=["faithfulness"])

    turn = desk.run(record)

    done = _now(desk, record)
    assert (done.status, done.outcome, done.advice) == (
        JobStatus.FAILED,
        JobOutcome.FAILED,
        AdviceStatus.SKIPPED,
    )
    assert str(done.error).startswith("NOTHING_SCORED: No metric has a value. faithfulness: judge_refused: ")
    assert turn.calls == ["begin_scoring", "score_metric", *_END, "end_job"]
    assert desk.adviser.runs == []
    assert desk.artifacts.sizes(record.job.run_id)
    assert (_told(desk)[0]["status"], _told(desk)[0]["message"]) == ("FAILED", done.error)


def test_a_failed_metric_beside_a_scored_one_is_an_error_not_a_failure(desk: Desk, fake: FakeJudge) -> None:
    """The weighted score says how much it rests on."""
    fake.will_say(refusal(401, "who are you?"))
    weights = {"faithfulness": 3.0, "non_llm_string_similarity": 1.0}
    record = _accepted(desk, metrics=["faithfulness", "non_llm_string_similarity"], weights=weights)

    desk.run(record)

    state = desk.views.state(record.job.job_id)
    assert (state.status, state.outcome) == (JobStatus.COMPLETED, JobOutcome.COMPLETED_WITH_ERRORS)
    assert state.weighted_score == pytest.approx(8 / 13, abs=1e-4)
    assert state.weight_coverage == 0.25
    assert state.error is None


@pytest.mark.parametrize("weight", [5e-324, 1e-9, 1e308])
def test_weights_of_any_size_are_weights(desk: Desk, weight: float) -> None:
    """Only their shares count; sums of large ones would not be finite."""
    names = ["exact_match", "non_llm_string_similarity", "id_based_context_recall"]
    record = _accepted(desk, metrics=names, weights=dict.fromkeys(names, weight))

    desk.run(record)

    state = desk.views.state(record.job.job_id)
    assert state.weighted_score == pytest.approx(4 / 13, abs=1e-4)
    assert state.weight_coverage == pytest.approx(2 / 3, abs=1e-4)


def test_nothing_to_score_completes_where_that_was_asked_for(desk: Desk) -> None:
    """As the original does it: completed, each metric null, no advice."""
    record = _accepted(desk, metrics=["context_recall"], ground_truth=None, allow_empty=True)

    desk.run(record)

    state = desk.views.state(record.job.job_id)
    assert (state.status, state.scores, state.weighted_score) == (
        JobStatus.COMPLETED,
        {"context_recall": None},
        None,
    )
    assert (state.skipped_metrics, state.advice_status) == (["context_recall"], AdviceStatus.SKIPPED)


def test_an_event_that_cannot_be_published_is_told_later(desk: Desk) -> None:
    """The job waits with its end, and goes on where it was; nothing is told under another number."""
    record = _accepted(desk)
    desk.dapr.refused["/v1.0/publish"] = 503

    with pytest.raises(Exception, match="SIDECAR_UNAVAILABLE"):
        desk.run(record)
    assert (_now(desk, record).outcome, _now(desk, record).ended) == (JobOutcome.COMPLETED, None)
    desk.dapr.refused.clear()
    desk.run(record)

    assert [told["id"].partition("/")[2] for told in _told(desk)] == ["1", "2"]
    assert _now(desk, record).ended


def test_what_cannot_be_written_fails_the_job(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """There is no run then; what was scored is known, and is not scored again when it is repeated."""
    record = _accepted(desk)

    def full(*_given: object) -> None:
        raise ArtifactError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(desk.artifacts, "commit", full)
        turn = desk.run(record)
    failed = _now(desk, record)
    desk.lifecycle.retry(record.job.job_id)
    again = desk.run(_now(desk, record))

    assert (failed.outcome, failed.error) == (
        JobOutcome.FAILED,
        "ARTIFACTS_UNAVAILABLE: the disk is full",
    )
    assert (failed.result, failed.advice) == (None, AdviceStatus.SKIPPED)
    assert turn.calls == ["begin_scoring", "score_metric", "score_metric", *_END, "end_job"]
    assert again.calls[-1] == "end_job"
    assert _now(desk, record).outcome is JobOutcome.COMPLETED
    assert [told["id"].partition("/")[2] for told in _told(desk)] == ["1", "2", "3"]


def test_a_write_that_fails_once_is_repeated(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """And the run tells the time at which the scores were there, not that of the repetition."""
    record = _accepted(desk)
    commit, tries = desk.artifacts.commit, []

    def at_the_second_time(*given: Any) -> None:
        tries.append(_now(desk, record).finished)
        if len(tries) == 1:
            raise ArtifactError("away")
        commit(*given)

    monkeypatch.setattr(desk.artifacts, "commit", at_the_second_time)
    desk.run(record)

    done = _now(desk, record)
    assert tries == [done.finished, done.finished]
    assert done.outcome is JobOutcome.COMPLETED


def test_whose_time_is_up_has_failed_where_it_has_no_outcome(desk: Desk, fake: FakeJudge) -> None:
    """What is scored by then stays; nobody is asked any more."""
    fake.will_say(*for_faithfulness(YES))
    record = _accepted(desk, metrics=["faithfulness", "context_recall"])
    given = {"job_id": record.job.job_id, "attempt": 1, "sample": 1, "metric": "faithfulness"}
    turn = FakeTurn(desk)
    turn._run("begin_scoring", given)
    turn._run("score_metric", {**given, "deadline": "2999-01-01T00:00:00"})

    late = desk.run(record, _late(DEADLINE))

    assert late.calls == ["begin_scoring", "give_up_metrics", *_END, *_ADVICE, "end_job"]
    state = desk.views.state(record.job.job_id)
    assert state.scores == {"faithfulness": 1.0, "context_recall": None}
    assert [said.reason_code for said in state.metrics] == [None, "deadline"]
    assert state.outcome is JobOutcome.COMPLETED_WITH_ERRORS


def test_a_cancelled_job_writes_no_run(desk: Desk) -> None:
    """Nor advice; it has failed for those who know four states only."""
    record = _accepted(desk)
    desk.lifecycle.cancel(record.job.job_id)

    turn = desk.run(record, _late(CANCELLED))

    assert turn.calls == ["begin_scoring", "give_up_metrics", *_END, "end_job"]
    done = _now(desk, record)
    assert (done.status, done.outcome) == (JobStatus.FAILED, JobOutcome.CANCELLED)
    assert str(done.error).startswith("CANCELLED: ")
    assert desk.artifacts.sizes(record.job.run_id) is None
    assert _told(desk)[0]["status"] == "TERMINATED"


def test_many_samples_are_scored_in_generations(desk: Desk) -> None:
    """So that no history grows with their number; a record tells how far they are."""
    count = 2 * SAMPLES_PER_GENERATION + 5
    record = desk.intake.accept_many(batch(lines(count), metrics=["exact_match"]), "default")

    turn = desk.run(record)

    first = ["score_metric"] * SAMPLES_PER_GENERATION
    assert turn.calls == [
        "begin_scoring",
        *first,
        "note_progress",
        *first,
        "note_progress",
        *["score_metric"] * 5,
        *_END,
        *_ADVICE,
        "end_job",
    ]
    assert turn.said[:3] == ["scoring 1 to 32 of 69", "scoring 33 to 64 of 69", "scoring 65 to 69 of 69"]
    state = desk.views.state(record.job.job_id)
    assert (state.statuses, state.samples) == ({"exact_match": {"scored": count}}, count)
    assert state.metrics == []
    written = document(desk, record.job.run_id, Artifact.SCORES)
    assert [sample["sample_id"] for sample in written["samples"]] == [
        f"line-{at}" for at in range(1, count + 1)
    ]


def test_progress_is_told_within_a_generation(desk: Desk) -> None:
    """By what is stored, so that a batch of one block moves, too; not any more at the end."""
    metrics = ["exact_match", "non_llm_string_similarity"]
    record = desk.intake.accept_many(batch(lines(34), metrics=metrics), "default")
    job_id, order = record.job.job_id, {"job_id": record.job.job_id, "attempt": 1}
    seen = []

    def look() -> None:
        state = desk.views.state(job_id)
        seen.append((state.done, state.measured))

    look()
    desk.activities.begin_scoring(order)
    look()
    for number, metric in ((1, metrics[0]), (2, metrics[0]), (2, metrics[1])):
        score(desk, record, metric, sample=number)
        look()
    desk.activities.note_progress({**order, "done": 32})
    score(desk, record, metrics[0], sample=34)
    look()
    desk.run(record)
    look()

    begun = [(None, None), (0, 0), (0, 1), (0, 2), (1, 3)]
    assert seen == [*begun, (32, 65), (None, None)]


def test_a_single_sample_moves_by_its_metrics(desk: Desk, fake: FakeJudge) -> None:
    """In a retry what has failed before does not count: it is scored again."""
    fake.will_say(refusal(401, "no"), *for_context_recall(YES))
    record = accepted(desk, "exact_match", "context_recall")
    score(desk, record)
    first = desk.views.state(record.job.job_id)
    desk.run(record)

    again = desk.lifecycle.retry(record.job.job_id)
    desk.activities.begin_scoring({"job_id": again.job.job_id})

    second = desk.views.state(record.job.job_id)
    assert [(state.done, state.measured) for state in (first, second)] == [(None, 1), (None, 1)]


def test_progress_is_told_while_there_is_more(desk: Desk) -> None:
    """Between two generations, and not any more at the end."""
    record = desk.intake.accept_many(batch(lines(33), metrics=["exact_match"]), "default")
    order = {"job_id": record.job.job_id, "attempt": 1}
    desk.activities.begin_scoring(order)
    desk.activities.note_progress({**order, "done": 32})

    assert desk.views.state(record.job.job_id).done == 32
    desk.run(record)
    assert desk.views.state(record.job.job_id).done is None


def test_lines_that_are_no_sample_are_an_error_of_the_run(desk: Desk) -> None:
    """The others are scored; who reads `completed` alone is told by the outcome."""
    record = desk.intake.accept_many(batch(f"{lines(1)}\nnone"), "default")

    desk.run(record)

    state = desk.views.state(record.job.job_id)
    assert (state.status, state.outcome, state.invalid) == (
        JobStatus.COMPLETED,
        JobOutcome.COMPLETED_WITH_ERRORS,
        1,
    )


def test_many_samples_whose_time_is_up_keep_what_they_have(desk: Desk) -> None:
    """Those that were not begun have failed as well: the scores of the others are not lost for them."""
    record = desk.intake.accept_many(batch(lines(40), metrics=["exact_match"]), "default")
    given = {"job_id": record.job.job_id, "attempt": 1, "sample": 1, "metric": "exact_match"}
    FakeTurn(desk)._run("score_metric", {**given, "deadline": "2999-01-01T00:00:00"})

    turn = desk.run(record, _late(DEADLINE))

    assert turn.calls.count("give_up_metrics") == 1
    state = desk.views.state(record.job.job_id)
    assert state.statuses == {"exact_match": {"scored": 1, "failed": 39}}
    assert (state.scores, state.outcome) == ({"exact_match": 0.0}, JobOutcome.COMPLETED_WITH_ERRORS)
    last = document(desk, record.job.run_id, Artifact.SCORES)["samples"][-1]["outcomes"]["exact_match"]
    assert (last["status"], last["reason_code"]) == ("failed", "deadline")


def test_an_outcome_that_is_lost_is_a_fault_of_ours(desk: Desk) -> None:
    """The job fails and says so; no value is made up for it."""
    record = _accepted(desk)
    forget = desk.store.keep_outcome

    def without(job_id: str, number: int, fresh: Any) -> Any:
        kept = forget(job_id, number, fresh)
        desk.dapr.state.pop(f"score-outcome-{job_id}-{number}-exact_match", None)
        return kept

    desk.store.keep_outcome = without  # type: ignore[method-assign]
    desk.run(record)

    assert _now(desk, record).error == "OUTCOME_LOST: Sample 1 has no outcome of exact_match."


def test_without_its_sample_a_job_fails_by_name(desk: Desk) -> None:
    """As where somebody has wiped a part of the state store."""
    record = _accepted(desk)
    order = {"job_id": record.job.job_id, "attempt": 1, "late": True}
    del desk.dapr.state[f"score-sample-{record.job.job_id}-1"]

    with pytest.raises(Exception, match="SAMPLE_LOST") as lost:
        desk.activities.write_artifacts(order)

    assert not isinstance(lost.value, SidecarError)
