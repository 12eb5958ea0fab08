"""A job with `store_inputs=false`: nothing of its texts outlasts it, whatever else has gone wrong."""

import asyncio
import copy
import hashlib
import itertools
import json
import logging
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from budeval.domain.score_job import AdviceStatus, JobOutcome, ScoreRecord
from budeval.errors import ArtifactError, RequestError, SidecarError
from budeval.scoring.advice import Adviser, Writer
from budeval.scoring.artifacts import Artifact
from budeval.scoring.course import CANCELLED, DEADLINE
from budeval.scoring.limiter import Limiter
from budeval.scoring.schema import SampleLine
from tests.scoring.asking import judge_settings
from tests.scoring.bodies import batch, request
from tests.scoring.desk import Desk, FakeTurn
from tests.scoring.fake_cut_dapr import FakeCutDapr
from tests.scoring.fake_judge import YES, FakeJudge, Reply, refusal, says, verdicts
from tests.scoring.replies import embedded_alike
from tests.scoring.strict import artifacts, document, left_of

_WORD = "xyzzy"
"""In every text of the sample, and in what the judge says of it."""
_TEXTS: dict[str, Any] = {
    "question": f"Who said {_WORD}?",
    "answer": f"A cave said {_WORD}.",
    "contexts": [f"In the cave {_WORD} is said.", "Elsewhere it is not."],
    "ground_truth": f"The cave says {_WORD}.",
    "reference_contexts": [f"{_WORD} in a cave"],
    "context_ids": [f"{_WORD}-1"],
    "reference_context_ids": [f"{_WORD}-2"],
}


def _accepted(desk: Desk, *metrics: str, **changes: Any) -> ScoreRecord:
    asked = request(**_TEXTS, metrics=list(metrics), store_inputs=False, **changes)
    return desk.intake.accept(asked, "default")


def _for_faithfulness() -> list[Reply]:
    return [says({"statements": [f"A cave said {_WORD}."]}), verdicts(YES)]


def _assert_nothing_left(desk: Desk, record: ScoreRecord) -> None:
    for where, text in left_of(desk, record.job.run_id).items():
        assert _WORD not in text, where
    assert _WORD not in desk.views.state(record.job.job_id).model_dump_json()
    assert all(_WORD not in run.model_dump_json() for run in desk.adviser.runs)


def test_while_it_runs_the_texts_are_there(fake: FakeJudge, tmp_path: Path) -> None:
    """Or nothing could be scored; but the record and the list never have them."""
    desk = Desk(fake, tmp_path)

    record = _accepted(desk, "faithfulness")

    holding = [where for where, text in left_of(desk, record.job.run_id).items() if _WORD in text]
    assert holding == [f"state score-sample-{record.job.job_id}-1"]


def test_scores_stay_and_texts_go(fake: FakeJudge, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """With digests in their places; evidence would quote them. The history and the log have none either."""
    caplog.set_level(logging.DEBUG, "budeval")
    fake.will_say(*_for_faithfulness())
    fake.embeddings.append(embedded_alike(2))
    desk = Desk(fake, tmp_path)
    metrics = ("faithfulness", "semantic_similarity", "id_based_context_recall", "exact_match")
    record = _accepted(desk, *metrics)

    turn = desk.run(record)

    _assert_nothing_left(desk, record)
    assert _WORD not in json.dumps(turn.answers) + caplog.text
    state = desk.views.state(record.job.job_id)
    assert list(state.scores.values()) == [1.0, 1.0, 0.0, 0.0]
    assert state.outcome is JobOutcome.COMPLETED
    files = dict(artifacts(desk, record.job.run_id))
    kept = json.loads(files[Artifact.DATASET])
    assert kept["question"] == f"sha256:{hashlib.sha256(_TEXTS['question'].encode()).hexdigest()}"
    assert len(kept["contexts"]) == 2
    assert document(desk, record.job.run_id, Artifact.EVIDENCE)["samples"] == [
        {"sample_id": "async-score-1", "evidence": {}}
    ]


_QUOTING = {
    "unreadable": ([says(f"The statements are: {_WORD}")] * 2, "judge_output_invalid"),
    "cut-off": ([says(f'{{"statements": ["{_WORD}', finish="length")] * 2, "judge_truncated"),
    "refused": ([refusal(400, f"I do not judge {_WORD}")], "judge_refused"),
    "unavailable": ([refusal(500, f"no idea of {_WORD}")] * 6, "judge_unavailable"),
    "limited": ([refusal(429, f"no time for {_WORD}")] * 6, "rate_limited"),
}


@pytest.mark.parametrize(("replies", "reason"), _QUOTING.values(), ids=_QUOTING)
def test_a_judge_that_quotes_a_text_is_not_quoted(
    fake: FakeJudge, tmp_path: Path, replies: list[Reply], reason: str
) -> None:
    """The reason of the failure is told by its code: in state, artifacts and events."""
    fake.will_say(*replies)
    desk = Desk(fake, tmp_path)
    record = _accepted(desk, "faithfulness")

    turn = desk.run(record)

    _assert_nothing_left(desk, record)
    assert _WORD not in json.dumps(turn.answers)
    assert desk.store.load(record.job.job_id).error == (
        f"NOTHING_SCORED: No metric has a value. faithfulness: {reason}"
    )


def test_a_try_that_failed_is_not_quoted_though_the_next_one_scores(
    fake: FakeJudge, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Dapr keeps what each try says in the workflow's history, which stays after the job: the code alone."""
    caplog.set_level(logging.DEBUG, "budeval")
    fake.will_say(refusal(500, f"no idea of {_WORD}"), *_for_faithfulness())
    desk = Desk(fake, tmp_path)
    record = _accepted(desk, "faithfulness")

    turn = desk.run(record)

    assert desk.views.state(record.job.job_id).scores == {"faithfulness": 1.0}
    (told,) = [answer for answer in turn.answers if str(answer).startswith("JUDGE_UNAVAILABLE: ")]
    assert _WORD not in told + caplog.text
    _assert_nothing_left(desk, record)


def _fails_to_write(desk: Desk, patch: pytest.MonkeyPatch) -> None:
    def fails(*_given: object) -> None:
        raise ArtifactError("the disk is full")

    patch.setattr(desk.artifacts, "commit", fails)


@pytest.mark.parametrize(
    ("change", "spoil"),
    [
        (
            lambda turn: setattr(turn, "late", CANCELLED),
            lambda desk, _: desk.lifecycle.cancel(desk.started[0].job.job_id),
        ),
        (lambda turn: setattr(turn, "late", DEADLINE), lambda _desk, _patch: None),
        (lambda _turn: None, _fails_to_write),
    ],
    ids=["cancelled", "deadline", "not-written"],
)
def test_however_it_ends_the_texts_go(
    fake: FakeJudge,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[[FakeTurn], None],
    spoil: Callable[[Desk, pytest.MonkeyPatch], None],
) -> None:
    """Also where there is no run."""
    fake.will_say(*_for_faithfulness())
    desk = Desk(fake, tmp_path)
    record = _accepted(desk, "faithfulness")
    spoil(desk, monkeypatch)

    desk.run(record, change)

    assert desk.store.load(record.job.job_id).outcome in {JobOutcome.CANCELLED, JobOutcome.FAILED}
    _assert_nothing_left(desk, record)


def test_advice_is_given_by_what_may_be_kept(fake: FakeJudge, tmp_path: Path) -> None:
    """That an answer is evasive quotes nothing, and decides which advice is right; no model sees digests."""
    fake.will_say(says({"questions": [f"Who said {_WORD}?"], "noncommittal": True}))
    desk = Desk(fake, tmp_path)
    record = _accepted(desk, "answer_relevancy")
    desk.run(record)
    (run,) = desk.adviser.runs
    asked = len(fake.requests)

    status = asyncio.run(Adviser(desk.artifacts, Writer(judge_settings(fake), Limiter(1))).advise(run))

    page = dict(artifacts(desk, record.job.run_id))[Artifact.ADVICE]
    assert status is AdviceStatus.RULES_ONLY
    assert "### 1. The answer is evasive." in page
    assert "does not keep to the question" not in page
    assert "There are none: inputs_not_kept: " in page.partition("## In a model's words")[2]
    assert len(fake.requests) == asked
    _assert_nothing_left(desk, record)


def test_lines_that_were_no_sample_go_too(fake: FakeJudge, tmp_path: Path) -> None:
    """They are counted, with their ids and reasons."""
    desk = Desk(fake, tmp_path)
    good, broken = json.dumps(_TEXTS), json.dumps({**_TEXTS, "question": ""})
    record = desk.intake.accept_many(batch(f"{good}\n{broken}\n{_WORD}", store_inputs=False), "default")

    desk.run(record)

    _assert_nothing_left(desk, record)
    assert document(desk, record.job.run_id, Artifact.METADATA)["invalid_samples"] == 2
    assert "question: " in dict(artifacts(desk, record.job.run_id))[Artifact.INVALID_CSV]
    assert desk.views.state(record.job.job_id).invalid == 2


_KEYS = {
    "unknown": {f"patient Meier has {_WORD}": "yes"},
    "unknown and empty": {f"{_WORD}": "yes", "question": ""},
    "within": {"contexts": {_WORD: "c"}},
    "in a list": {"contexts": [{_WORD: "c"}]},
    "id": {"id": f"{_WORD}\n"},
    "context id": {"context_ids": [[_WORD]]},
}


@pytest.mark.parametrize("more", _KEYS.values(), ids=_KEYS)
def test_why_a_line_was_no_sample_quotes_neither_key_nor_text(
    fake: FakeJudge, tmp_path: Path, more: dict[str, Any]
) -> None:
    """It names fields of samples only: in invalid.csv and scores.json it outlasts the line."""
    desk = Desk(fake, tmp_path)
    good, broken = json.dumps(_TEXTS), json.dumps({"question": "q", **more})
    record = desk.intake.accept_many(batch(f"{good}\n{broken}", store_inputs=False), "default")

    desk.run(record)

    _assert_nothing_left(desk, record)
    (invalid,) = document(desk, record.job.run_id, Artifact.SCORES)["invalid"]
    assert invalid["error"].partition(":")[0].partition(".")[0] in {"line", *SampleLine.model_fields}


@pytest.mark.parametrize("takes_the_last", [False, True], ids=["refused", "answer-lost"])
def test_a_job_that_has_ended_has_no_texts(fake: FakeJudge, tmp_path: Path, *, takes_the_last: bool) -> None:
    """Wherever its end was cut off: what has ended is not looked at again, so its end is written last."""
    fake.will_say(*_for_faithfulness())
    dapr = FakeCutDapr(takes_the_last=takes_the_last)
    desk = Desk(fake, tmp_path, dapr)
    record = _accepted(desk, "faithfulness")
    with suppress(KeyboardInterrupt):
        desk.run(record, lambda turn: setattr(turn, "crash_after", 7))
    order = {"job_id": record.job.job_id, "attempt": 1}
    # A crash between the outcome and the deletion of what led to it.
    desk.store.save_ledger(record.job.job_id, 1, "faithfulness", 1, {"paid": {"q": {"answer": _WORD}}})
    before = copy.deepcopy(dapr.state)

    for at in itertools.count():
        dapr.state, dapr.left = copy.deepcopy(before), at
        with suppress(SidecarError):
            desk.activities.end_job(order)
        whole, dapr.left = dapr.left >= 0, None
        if desk.store.load(record.job.job_id).ended:
            _assert_nothing_left(desk, record)
        desk.activities.end_job(order)
        _assert_nothing_left(desk, record)
        assert desk.store.active() == []
        if whole:
            break
    assert at >= 8


def test_a_job_without_texts_cannot_be_repeated(fake: FakeJudge, tmp_path: Path) -> None:
    """409: nobody has them any more."""
    fake.will_say(refusal(401, "no"))
    desk = Desk(fake, tmp_path)
    record = _accepted(desk, "faithfulness")
    desk.run(record)

    with pytest.raises(RequestError, match="send them anew") as refused:
        desk.lifecycle.retry(record.job.job_id)

    assert (refused.value.status, refused.value.code) == (409, "INPUTS_GONE")
