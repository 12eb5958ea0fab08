"""From lines to a job of many samples."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from budeval.errors import RequestError
from budeval.scoring.schema import BatchRequest
from tests.scoring.asking import embedder_settings, judge_settings
from tests.scoring.bodies import SAMPLE, batch, lines
from tests.scoring.desk import Desk, unasking_desk
from tests.scoring.fake_judge import FakeJudge


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    """Takes eight lines at most."""
    return unasking_desk(tmp_path, max_samples=8)


def _refused(desk: Desk, asked: BatchRequest) -> tuple[int, str, str | None]:
    with pytest.raises(RequestError) as refused:
        desk.intake.accept_many(asked, "default")
    return refused.value.status, refused.value.code, refused.value.param


def test_many_samples_are_one_job(desk: Desk) -> None:
    """Each under its own id, else by its line; what is no sample is kept with the reason."""
    jsonl = "\n".join(
        [
            json.dumps({**SAMPLE, "id": "mine"}),
            "",
            json.dumps(SAMPLE),
            "no JSON",
            json.dumps({**SAMPLE, "question": " "}),
            json.dumps({**SAMPLE, "extra": 1}),
            json.dumps({**SAMPLE, "id": "two\nlines"}),
            json.dumps([SAMPLE]),
        ]
    )

    record = desk.intake.accept_many(batch(jsonl), "default")

    job_id = record.job.job_id
    assert (record.job.kind, record.job.samples) == ("samples", 2)
    assert [stored.sample_id for stored in desk.store.samples(job_id, [1, 2])] == ["mine", "line-3"]
    invalid = {line.sample_id: line for line in desk.store.invalid(job_id)}
    assert list(invalid) == ["line-4", "line-5", "line-6", "line-7", "line-8"]
    assert [line.error.split(":")[0] for line in invalid.values()] == [
        "line",
        "question",
        "extra",
        "id",
        "line",
    ]
    assert invalid["line-4"].raw == "no JSON"
    assert record.summary.question == SAMPLE["question"]


def _seconds(desk: Desk, samples: int, **changes: Any) -> int:
    return desk.intake.accept_many(batch(lines(samples), **changes), "default").job.timeout_s


def test_many_samples_have_time_for_all_their_requests(tmp_path: Path) -> None:
    """If each takes as long as its endpoint may: two of a judge for each sample, four at once."""
    desk = unasking_desk(tmp_path, max_samples=5000)
    metrics = {"metrics": ["faithfulness"]}

    assert [_seconds(desk, samples, **metrics) for samples in (1, 100, 2000)] == [300, 1600, 32_000]
    assert _seconds(desk, 100, metrics=["faithfulness"], repeats=3) == 4600
    assert _seconds(desk, 5000, metrics=["faithfulness"], repeats=10) == 86_400
    assert _seconds(desk, 100, metrics=["semantic_similarity"], repeats=3) == 1600
    assert _seconds(desk, 2000) == 4000


def test_aliases_of_one_address_have_the_time_of_the_slowest(fake: FakeJudge, tmp_path: Path) -> None:
    """All of them together have so many requests at once as the least of them, embedders too."""
    judges = judge_settings(fake, timeout=60, concurrency=8), judge_settings(fake, alias="k", concurrency=4)
    embedders = (embedder_settings(fake, concurrency=2),)
    desk = Desk(fake, tmp_path, judges=judges, embedders=embedders, max_samples=100)

    assert _seconds(desk, 100, metrics=["faithfulness"]) == 100 * (1 + 2 * 60 / 2)


def test_a_time_that_is_named_stands(tmp_path: Path) -> None:
    """However many samples there are."""
    assert _seconds(unasking_desk(tmp_path, max_samples=100), 100, metrics=["faithfulness"], timeout_s=5) == 5


def test_only_what_can_be_scored_needs_time(tmp_path: Path) -> None:
    """Requests that nobody makes take none."""
    desk = unasking_desk(tmp_path, max_samples=100)
    without_truth = "\n".join(json.dumps({"question": f"q{at}", "answer": "a"}) for at in range(100))
    asked = batch(without_truth, metrics=["context_recall", "answer_relevancy"], repeats=10)

    assert desk.intake.accept_many(asked, "default").job.timeout_s == 100 * (1 + 10 * (7.5 + 15))


def test_lines_may_end_as_windows_ends_them(desk: Desk) -> None:
    """And the last one need not end."""
    assert desk.intake.accept_many(batch(lines(3).replace("\n", "\r\n")), "default").job.samples == 3


def test_a_mark_before_the_lines_costs_no_sample(desk: Desk) -> None:
    """Editors of Windows put it there."""
    record = desk.intake.accept_many(batch(f"\ufeff{lines(2)}"), "default")

    assert record.job.samples == 2
    assert desk.store.invalid(record.job.job_id) == []


@pytest.mark.parametrize(
    ("more", "key"),
    [('"question": "Another?"', "question"), ('"contexts": [], "contexts": ["c"]', "contexts")],
)
def test_a_line_that_says_a_thing_twice_is_no_sample(desk: Desk, more: str, key: str) -> None:
    """Nobody knows which of both is meant; the reason names it."""
    twice = json.dumps({"answer": "a", "question": "q"})[:-1] + f", {more}}}"

    record = desk.intake.accept_many(batch(f"{twice}\n{lines(1)}"), "default")

    (invalid,) = desk.store.invalid(record.job.job_id)
    assert (invalid.error, invalid.raw) == (f"line: the key '{key}' is there twice", twice)
    assert record.job.samples == 1


def test_blank_entries_are_counted_over_all_samples(desk: Desk) -> None:
    """And with the one that they were in."""
    rows = [{**SAMPLE, "contexts": ["one", *[" "] * blanks]} for blanks in (2, 0, 1)]

    record = desk.intake.accept_many(batch("\n".join(map(json.dumps, rows))), "default")

    stored = desk.store.samples(record.job.job_id, [1, 2, 3])
    assert [sample.blanks_left_out for sample in stored] == [2, 0, 1]
    assert record.summary.blanks_left_out == 3


def test_what_a_line_has_as_null_it_does_not_have(desk: Desk) -> None:
    """As tables are exported."""
    row = {**SAMPLE, "contexts": None, "reference_contexts": None, "context_ids": None, "id": None}

    record = desk.intake.accept_many(batch(json.dumps(row)), "default")

    (stored,) = desk.store.samples(record.job.job_id, [1])
    assert (stored.sample_id, stored.sample.contexts, stored.sample.context_ids) == ("line-1", (), ())


@pytest.mark.parametrize(
    ("jsonl", "said"),
    [
        ("\n \n", "No line is a sample."),
        ("none\n{}", "No line is a sample. The first: line: Invalid JSON"),
        ('{"question": ""}', "The first: question: "),
        (
            "\n".join(json.dumps({**SAMPLE, "id": "same"}) for _ in range(2)),
            "The id 'same' is there twice",
        ),
        (f"{lines(1)}\n{json.dumps({**SAMPLE, 'id': 'line-1'})}", "The id 'line-1' is there twice"),
    ],
    ids=["blank", "none", "broken", "twice", "name-of-another"],
)
def test_lines_that_are_no_samples_are_refused(desk: Desk, jsonl: str, said: str) -> None:
    """Where none is, or two would be one; nothing is stored then."""
    with pytest.raises(RequestError, match=re.escape(said)) as refused:
        desk.intake.accept_many(batch(jsonl), "default")

    assert (refused.value.status, refused.value.param) == (422, "jsonl")
    assert desk.dapr.state == {}


def test_a_run_has_so_many_samples(desk: Desk) -> None:
    """413 beyond them, whether the lines are samples or not; blank lines do not count."""
    assert _refused(desk, batch(f"{lines(8)}\nnone")) == (413, "REQUEST_TOO_LARGE", "jsonl")
    assert desk.intake.accept_many(batch(f"{lines(8)}\n\n"), "default").job.samples == 8


def test_a_line_that_is_too_large_is_no_sample(desk: Desk) -> None:
    """It does not take the others with it, and only its beginning is kept."""
    large = json.dumps({**SAMPLE, "contexts": ["x" * 60_000] * 9})

    record = desk.intake.accept_many(batch(f"{large}\n{lines(1)}"), "default")

    (invalid,) = desk.store.invalid(record.job.job_id)
    assert (invalid.sample_id, len(invalid.raw)) == ("line-1", 2000)
    assert "characters" in invalid.error


def test_many_samples_that_score_nothing_are_refused(desk: Desk) -> None:
    """One that can be scored is enough."""
    without = json.dumps({"question": "q"})

    def ask(jsonl: str, **more: Any) -> BatchRequest:
        return batch(jsonl, metrics=["context_recall"], **more)

    assert _refused(desk, ask(without)) == (422, "NOTHING_TO_SCORE", "metrics")
    assert desk.intake.accept_many(ask(f"{without}\n{lines(1)}"), "default").job.samples == 2
    assert desk.intake.accept_many(ask(without, allow_empty=True), "default").job.samples == 1
