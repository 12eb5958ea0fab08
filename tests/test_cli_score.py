"""The commands that score, against a fake of the service."""

import io
import sys
from pathlib import Path
from typing import Any

import pytest

from budeval.cli_score import _bar
from budeval.scoring.answers import ScoreState
from budeval.scoring.schema import ScoreRequest
from tests.fake_service import FakeService, only_line, refusal, run_budeval

_JOB = "0123456789ab"
_STATE = f"GET /scores/{_JOB}"


def _state(outcome: str | None = "completed", **more: Any) -> dict[str, Any]:
    """A ScoreState of one sample."""
    ended = outcome is not None
    status = {"completed": "completed", None: "running"}.get(outcome, "failed")
    metric = {"metric": "faithfulness", "status": "scored", "value": 0.5, "usage": {"calls": 2}}
    return {
        "job_id": _JOB,
        "status": status,
        "outcome": outcome,
        "phase": None if ended else "scoring",
        "created_at": "2026-11-28T00:00:00.000+00:00",
        "request_summary": {
            "question": "Why [bold]?",
            "answer": "",
            "metrics": ["faithfulness"],
            "judge_model": "j",
            "embedding_model": "",
            "has_contexts": True,
            "has_ground_truth": False,
        },
        "kind": "sample",
        "samples": 1,
        "scores": {"faithfulness": 0.5} if ended else {},
        "weighted_score": 0.5 if ended else None,
        "weight_coverage": 1.0 if ended else None,
        "run_id": f"score-{_JOB}" if ended else None,
        "metrics": [metric] if ended else [],
        "engine": "native",
        "attempt": 1,
        "labels": {},
        **more,
    }


@pytest.fixture
def fake() -> FakeService:
    """Whose jobs take one look."""
    fake = FakeService().put("POST /scores", _state(None)).put("POST /scores:batch", _state(None))
    return fake.put(_STATE, _state(None), _state())


def test_a_sample_is_sent_and_its_scores_are_shown(fake: FakeService, tmp_path: Path) -> None:
    """Texts may lie in files; what is left out is not sent."""
    contexts, answer = tmp_path / "contexts.txt", tmp_path / "answer.txt"
    contexts.write_text("one\n\ntwo")
    answer.write_text("\ufeffBecause.")

    result = run_budeval(
        fake,
        *("score", "--question", "Why?", "--answer", f"@{answer}", "--contexts", str(contexts)),
        *("--metrics", "faithfulness, answer_relevancy", "--weights", "faithfulness=2", "--key", "k"),
    )

    assert result.exit_code == 0
    assert fake.body == {
        "question": "Why?",
        "answer": "Because.",
        "contexts": "one\n\ntwo",
        "metrics": ["faithfulness", "answer_relevancy"],
        "weights": {"faithfulness": 2.0},
        "advise": True,
        "store_inputs": True,
        "allow_empty": False,
    }
    assert fake.requests[0].headers["idempotency-key"] == "k"
    assert "faithfulness" in result.stdout
    assert "weighted score 0.5000, on 100% of the weight" in result.stdout


def test_the_end_of_a_files_last_line_is_no_part_of_the_text(fake: FakeService, tmp_path: Path) -> None:
    """Or equal texts would differ; what else is blank in it stays, and Windows ends lines in its own way."""
    written = {"question": b"Why?\r\n", "answer": b"Because.\n", "ground_truth": b" So.\n \n\n"}
    lists = {"contexts": b"one\n\ntwo\n", "reference_contexts": b"one\n\ntwo\n"}
    for name, content in {**written, **lists}.items():
        (tmp_path / name).write_bytes(content)

    result = run_budeval(
        fake,
        *("score", "--question", f"@{tmp_path / 'question'}", "--answer", f"@{tmp_path / 'answer'}"),
        *("--ground-truth", f"@{tmp_path / 'ground_truth'}", "--contexts", str(tmp_path / "contexts")),
        *("--reference-contexts", str(tmp_path / "reference_contexts")),
        *("--metrics", "exact_match", "--no-wait"),
    )

    assert result.exit_code == 0
    assert {name: fake.body[name] for name in written} == {
        "question": "Why?",
        "answer": "Because.",
        "ground_truth": " So.\n \n",
    }
    assert [fake.body[name] for name in lists] == ["one\n\ntwo", ["one", "two"]]


def test_all_of_a_sample_can_be_sent(fake: FakeService, tmp_path: Path) -> None:
    """What should have been retrieved, too, as texts and by ids; and all that a request may ask for."""
    references = tmp_path / "references.txt"
    references.write_text('\ufeff["one", "two"]')

    result = run_budeval(
        fake,
        *("score", "--question", "Why?", "--metrics", "id_based_context_recall", "--no-wait"),
        *("--reference-contexts", str(references), "--context-id", "a,1", "--context-id", "b"),
        *("--reference-context-id", "b", "--label", "team=search", "--label", "note=a=b"),
        *("--allow-empty", "--no-store-inputs", "--no-advise"),
    )

    assert result.exit_code == 0
    assert fake.body == {
        "question": "Why?",
        "reference_contexts": ["one", "two"],
        "context_ids": ["a,1", "b"],
        "reference_context_ids": ["b"],
        "metrics": ["id_based_context_recall"],
        "labels": {"team": "search", "note": "a=b"},
        "advise": False,
        "store_inputs": False,
        "allow_empty": True,
    }
    assert ScoreRequest.model_validate(fake.body).context_ids == ["a,1", "b"]


def test_many_samples_have_the_same_options(fake: FakeService, tmp_path: Path) -> None:
    """But for those of a sample."""
    file = tmp_path / "samples.jsonl"
    file.write_text("{}")

    result = run_budeval(
        fake,
        *("score", "run", str(file), "--metrics", "faithfulness", "--no-wait"),
        *("--label", "team=search", "--allow-empty", "--no-store-inputs"),
    )

    assert result.exit_code == 0
    told = (fake.body["labels"], fake.body["allow_empty"], fake.body["store_inputs"])
    assert told == ({"team": "search"}, True, False)


def test_what_was_left_out_is_told(fake: FakeService) -> None:
    """Blank contexts, and repeats that have no value."""
    state = _state()
    state["request_summary"]["blanks_left_out"] = 2
    state["metrics"][0]["repeats_without_value"] = ["judge_timeout", "judge_timeout"]
    fake.put(_STATE, state)

    result = run_budeval(fake, "score", "status", _JOB)

    assert "2 blank context(s) or id(s) were left out" in result.stderr
    assert "2 repeat(s) without a value: judge_timeout" in result.stdout


def test_the_spread_of_repeats_is_told(fake: FakeService) -> None:
    """Beside their mean."""
    state = _state()
    state["metrics"][0] |= {"value": 0.5, "repeats": [0.25, 0.75], "stdev": 0.3536}
    fake.put(_STATE, state)

    result = run_budeval(fake, "score", "status", _JOB)

    assert "0.5000 (s.d. 0.3536, n 2)" in result.stdout


@pytest.mark.parametrize(
    ("state", "told"),
    [
        ({"samples": 30, "done": 12, "measured": 13}, "running (scoring: 13 of 30 values, 12 of 30 samples)"),
        ({"measured": 0}, "running (scoring: 0 of 1 values)"),
        ({"phase": "writing"}, "running (writing)"),
        ({"phase": None, "status": "queued"}, "queued (queued)"),
    ],
)
def test_what_is_done_so_far_is_told(fake: FakeService, state: dict[str, Any], told: str) -> None:
    """By values, since many samples end at the same time; and by samples where there are many."""
    fake.put(_STATE, _state(None, **state))

    assert f"{_JOB}: {told}," in run_budeval(fake, "score", "status", _JOB).stdout


class FakeTerminal(io.StringIO):
    """Somebody looks."""

    def isatty(self) -> bool:
        """As of a terminal."""
        return True


def test_the_bar_tells_what_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside the output, as it goes on."""
    screen = FakeTerminal()
    monkeypatch.setattr(sys, "stderr", screen)
    state = ScoreState.model_validate(_state(None, samples=4, done=1, measured=3))

    with _bar(state) as advance:
        advance(state)

    assert "scoring: 3 of 4 values, 1 of 4 samples" in screen.getvalue()


def test_lines_are_sent_as_one_run(fake: FakeService, tmp_path: Path) -> None:
    """As they are in the file: the service tells which are no samples."""
    file = tmp_path / "samples.jsonl"
    file.write_text('{"question": "a"}\nnot json\n', encoding="utf-8-sig")
    means: dict[str, Any] = {
        "kind": "samples",
        "samples": 1,
        "invalid": 1,
        "metrics": [],
        "statuses": {"faithfulness": {"scored": 1}},
    }
    fake.put(_STATE, _state(None, kind="samples", done=0), _state(**means))

    result = run_budeval(fake, "score", "run", str(file), "--metrics", "faithfulness")

    assert result.exit_code == 0
    assert fake.body["jsonl"] == '{"question": "a"}\nnot json\n'
    assert "1 scored" in result.stdout
    assert "1 line(s) were no sample" in result.stderr


@pytest.mark.parametrize(
    ("outcome", "error", "code"),
    [
        ("completed", None, 0),
        ("completed_with_errors", None, 0),
        ("completed", "CANCELLED: The retry was cancelled", 1),
        ("failed", "NOTHING_SCORED: none", 1),
        ("cancelled", None, 1),
    ],
)
def test_the_exit_code_says_whether_there_are_scores(
    fake: FakeService, outcome: str, error: str | None, code: int
) -> None:
    """As for evaluations. A retry that came to nothing has left those of before."""
    fake.put(_STATE, _state(outcome, error=error))

    assert run_budeval(fake, "score", "watch", _JOB).exit_code == code


def test_a_job_need_not_be_waited_for(fake: FakeService) -> None:
    """Then its id is told, and nothing more is asked."""
    result = run_budeval(fake, "score", "--question", "Why?", "--metrics", "faithfulness", "--no-wait")

    assert result.exit_code == 0
    assert _JOB in result.stdout
    assert fake.asked(_STATE) == 0


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        (("--question", "Why?"), "metrics"),
        (("--question", "@/no/such/file", "--metrics", "faithfulness"), "question"),
        (("--question", "Why?", "--metrics", "faithfulness", "--weights", "faithfulness"), "weights"),
        (("--question", "Why?", "--metrics", "m", "--weights", "m=1, m=2"), "weights"),
        (("--question", "Why?", "--metrics", "faithfulness", "--label", "team"), "label"),
        (("--question", "Why?", "--metrics", "m", "--label", "a=b", "--label", "a=c"), "label"),
        (
            ("--question", "Why?", "--metrics", "m", "--reference-contexts", "/no/such/file"),
            "reference-contexts",
        ),
        (("run", "/no/such/file", "--metrics", "faithfulness"), "FILE"),
    ],
)
def test_wrong_usage_is_one_line_with_the_field(
    fake: FakeService, arguments: tuple[str, ...], field: str
) -> None:
    """Before anything is sent."""
    result = run_budeval(fake, "score", *arguments)

    assert result.exit_code == 2
    assert field in only_line(result)
    assert fake.requests == []


@pytest.mark.parametrize("subcommand", [("run", "samples.jsonl", "--metrics", "faithfulness"), ("list",)])
def test_options_before_a_subcommand_are_refused(fake: FakeService, subcommand: tuple[str, ...]) -> None:
    """It would not see them: texts would be stored that were not to be."""
    before = ("--no-store-inputs", "--advise", "--judge", "big", "--label", "a=b", "--timeout", "7200")

    result = run_budeval(fake, "score", *before, *subcommand)

    assert result.exit_code == 2
    said = only_line(result)
    assert f"`{subcommand[0]}`" in said
    assert all(option in said for option in before if option.startswith("--"))
    assert "--store-inputs" not in said
    assert "--metrics" not in said
    assert fake.requests == []


def test_the_standard_input_has_one_reader(fake: FakeService) -> None:
    """A second one would find it empty, and metrics would be skipped that were not to be."""
    both = ("score", "--question", "@-", "--contexts", "-", "--metrics", "faithfulness", "--no-wait")
    one = ("score", "--question", "Why?", "--contexts", "-", "--metrics", "faithfulness", "--no-wait")

    refused = run_budeval(fake, *both, stdin="one")
    before = len(fake.requests)
    sent = run_budeval(fake, *one, stdin="one")

    assert (refused.exit_code, before, sent.exit_code) == (2, 0, 0)
    assert "--question and --contexts" in only_line(refused)
    assert fake.body["contexts"] == "one"


def test_what_the_service_refuses_is_told(fake: FakeService) -> None:
    """With its code and field."""
    fake.put("POST /scores", refusal(422, "REQUEST_INVALID", "metrics: there is no metric 'x'", "metrics"))

    result = run_budeval(fake, "score", "--question", "Why?", "--metrics", "x")

    assert result.exit_code == 2
    assert "there is no metric 'x'" in only_line(result)


def test_what_would_be_scored_is_told(fake: FakeService) -> None:
    """And nothing is started."""
    found = {
        "effective": ["faithfulness"],
        "skipped": {"context_recall": "missing_ground_truth"},
        "judge_calls": 2,
        "judge_model": "j",
        "embedding_model": None,
    }
    fake.put("POST /scores:validate", found)

    result = run_budeval(
        fake, "score", "--question", "Why?", "--metrics", "faithfulness,context_recall", "--validate"
    )

    assert "missing_ground_truth" in result.stdout
    assert "at most 2 calls of judge j" in result.stdout
    assert fake.asked("POST /scores") == 0


def test_jobs_are_listed_ended_repeated_and_deleted(fake: FakeService) -> None:
    """Each by its route."""
    fake.put("GET /scores", {"scores": [_state()], "cursor": None})
    fake.put(f"POST /scores/{_JOB}/cancel", _state("cancelled"))
    fake.put(f"POST /scores/{_JOB}/retry", _state(None))
    fake.put(f"DELETE /scores/{_JOB}", {"job_id": _JOB, "deleted": True})

    assert "Why [bold]?" in run_budeval(fake, "score", "list", "--status", "completed").stdout
    assert fake.requests[-1].url.params["status"] == "completed"
    assert run_budeval(fake, "score", "cancel", _JOB).exit_code == 0
    assert run_budeval(fake, "score", "retry", _JOB).exit_code == 0
    assert "is deleted" in run_budeval(fake, "score", "delete", _JOB).stdout


def test_a_list_goes_on_until_it_has_what_was_asked_for(fake: FakeService) -> None:
    """A filter may leave a page empty though more follow; what is not listed is mentioned."""
    empty, page = {"scores": [], "cursor": "a"}, {"scores": [_state("failed")] * 2, "cursor": "b"}
    fake.put("GET /scores", empty, page)

    two = run_budeval(fake, "score", "list", "--status", "failed", "--limit", "2")
    fake.put("GET /scores", page, {"scores": [_state("failed")], "cursor": None})
    three = run_budeval(fake, "score", "list", "--status", "failed", "--limit", "300")

    asked = [(request.url.params.get("cursor"), request.url.params["limit"]) for request in fake.requests]
    assert asked == [(None, "2"), ("a", "2"), (None, "200"), ("b", "200")]
    assert [result.stdout.count(_JOB) for result in (two, three)] == [2, 3]
    assert "There are more" in two.stderr
    assert three.stderr == ""


def test_the_metrics_are_listed(fake: FakeService) -> None:
    """With those who judge."""
    metric = {
        "name": "faithfulness",
        "description": "d",
        "needs": ["question"],
        "needs_judge": True,
        "needs_embedder": False,
        "judge_calls": {"native": 2, "ragas": None},
        "engines": {"native": "1", "ragas": "0.4.3"},
    }
    fake.put("GET /score-metrics", {"metrics": [metric], "judges": ["j"], "embedders": []})

    told = run_budeval(fake, "score", "metrics").stdout

    assert "faithfulness" in told
    assert "2, 1 a context" in told
    assert "judges: j" in told
