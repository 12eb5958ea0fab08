"""What is in the files of a run."""

import csv
import io
import itertools
import json
from pathlib import Path
from typing import Any, NoReturn

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from budeval.domain.score_run import InvalidSample, ScoreRun
from budeval.domain.scoring import Sample
from budeval.scoring.artifacts import Artifact, write_artifacts
from budeval.scoring.artifacts.objects import ObjectArtifacts
from tests.scoring.fake_objects import FakeObjects
from tests.scoring.record_artifacts import GOLDEN, RUNS, record
from tests.scoring.runs import MIXED, RUN_ID, failed, many, run_of, sample_of, single, skipped, value

_METADATA_OF_THE_ORIGINAL = [
    "run_id",
    "scenario_name",
    "mode",
    "judge_model",
    "embedding_model",
    "started_at",
    "finished_at",
    "dataset",
    "valid_samples",
    "invalid_samples",
]
_SCENARIO_OF_THE_ORIGINAL = [
    "scenario_name",
    "mode",
    "dataset",
    "judge_model",
    "embedding_model",
    "metrics",
    "output_dir",
    "runtime",
    "app_adapter",
    "source_path",
    "optimization_advisor",
]
_COLUMNS_OF_THE_ORIGINAL = ["sample_id", "question", "answer", "contexts", "ground_truth", "error"]
_TEXTS = st.text(st.characters(), max_size=20) | st.sampled_from(
    [
        "=1+1",
        "-2",
        "a\r\nb\rc",
        "```\n# x",
        "\ud800",
        "x\x00y",
        "\u2028",
        "| a | b |",
        '"',
        "{{ x }}",
        "!!python/x",
    ]
)


def files_of(run: ScoreRun, **more: bool) -> dict[Artifact, str]:
    """The texts of all files of a run."""
    store = ObjectArtifacts(FakeObjects(), "runs")
    write_artifacts(run, store, **more)
    texts = {}
    for name in store.sizes(run.run_id) or {}:
        file = store.open(run.run_id, name)
        assert file
        with file:
            texts[name] = file.read().decode()
    return texts


def _json(text: str) -> Any:
    """As strict parsers read it."""

    def refuse(constant: str) -> NoReturn:
        raise ValueError(constant)

    return json.loads(text, parse_constant=refuse)


def _rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text, newline="")))


@pytest.mark.parametrize("name", RUNS)
def test_the_files_are_those_that_were_recorded(name: str, tmp_path: Path) -> None:
    """Byte by byte: callers parse them. `record_artifacts` writes them anew."""
    record(tmp_path)

    written = {path.name: path.read_text() for path in (tmp_path / name).iterdir()}
    assert written == {path.name: path.read_text() for path in (GOLDEN / name).iterdir()}
    assert written.keys() == set(Artifact)


def test_names_and_fields_of_the_original_come_first() -> None:
    """Whoever reads its six files can read ours."""
    files = files_of(MIXED)

    assert (
        list(_json(files[Artifact.METADATA]))[: len(_METADATA_OF_THE_ORIGINAL)] == _METADATA_OF_THE_ORIGINAL
    )
    scenario = yaml.safe_load(files[Artifact.SCENARIO])
    assert list(scenario)[: len(_SCENARIO_OF_THE_ORIGINAL)] == _SCENARIO_OF_THE_ORIGINAL
    columns = [*_COLUMNS_OF_THE_ORIGINAL, *MIXED.metrics]
    assert list(_rows(files[Artifact.SCORES_CSV])[0])[: len(columns)] == columns
    assert files[Artifact.INVALID_CSV].startswith('"sample_id","error"')


@pytest.mark.parametrize("advised", [True, False])
def test_the_scenario_says_whether_advice_was_asked_for(*, advised: bool) -> None:
    """It is written before there is any."""
    scenario = yaml.safe_load(files_of(MIXED, advised=advised)[Artifact.SCENARIO])

    assert scenario["optimization_advisor"] is advised


def test_the_metadata_say_what_a_number_rests_on() -> None:
    """Engine, versions, weights, coverage, cost, and digests of the other files."""
    run = single(value("faithfulness", 0.5), skipped("context_recall"), weights={"faithfulness": 2.0})
    document = _json(files_of(run)[Artifact.METADATA])

    assert (document["engine"], document["engine_version"]) == ("native", "0.1.0")
    assert document["metric_versions"] == {"faithfulness": "1-abc", "context_recall": "1-abc"}
    assert document["weights"] == {"faithfulness": 2.0}
    assert (document["weighted_score"], document["weight_coverage"]) == (0.5, 0.5)
    assert document["usage"] == {
        "calls": 2,
        "embedding_calls": 0,
        "prompt_tokens": 200,
        "completion_tokens": 20,
    }
    assert document["digests"].keys() == set(Artifact) - {
        Artifact.METADATA,
        Artifact.MANIFEST,
        Artifact.ADVICE,
    }


def test_blanks_that_were_left_out_are_counted() -> None:
    """With each sample, and over all of them."""
    samples = [
        sample_of(value("faithfulness", 0.5), sample_id=f"line-{blanks}").model_copy(
            update={"blanks_left_out": blanks}
        )
        for blanks in (2, 0, 1)
    ]
    files = files_of(run_of(*samples))

    assert _json(files[Artifact.METADATA])["blanks_left_out"] == 3
    assert [sample["blanks_left_out"] for sample in _json(files[Artifact.SCORES])["samples"]] == [2, 0, 1]


def test_repeats_without_a_value_are_told() -> None:
    """A value that rests on fewer than were asked for says so."""
    outcome = value("faithfulness", 0.5).model_copy(
        update={"repeats": (0.5,), "repeats_without_value": ("no_statements",)}
    )
    (sample,) = _json(files_of(single(outcome))[Artifact.SCORES])["samples"]

    assert sample["outcomes"]["faithfulness"]["repeats_without_value"] == ["no_statements"]


def test_the_deviation_of_repeats_is_told() -> None:
    """In a column of its own behind all others, empty where there is none; and for programs."""
    repeated = value("faithfulness", 0.5).model_copy(update={"repeats": (0.25, 0.75), "stdev": 0.3535})
    files = files_of(single(repeated, value("answer_relevancy", 0.9)))

    (row,) = csv.DictReader(io.StringIO(files[Artifact.SCORES_CSV]))
    assert list(row)[-2:] == ["faithfulness_stdev", "answer_relevancy_stdev"]
    assert (row["faithfulness_stdev"], row["answer_relevancy_stdev"]) == ("0.3535", "")
    outcomes = _json(files[Artifact.SCORES])["samples"][0]["outcomes"]
    assert [outcomes[metric]["stdev"] for metric in ("faithfulness", "answer_relevancy")] == [0.3535, None]


def test_scores_and_evidence_are_there_for_programs() -> None:
    """With status, reason and cost of each metric, and what it rests on."""
    files = files_of(MIXED)
    (sample,) = _json(files[Artifact.SCORES])["samples"]
    (evidence,) = _json(files[Artifact.EVIDENCE])["samples"]

    assert sample["outcomes"]["faithfulness"]["value"] == 0.5
    assert sample["outcomes"]["context_recall"]["reason_code"] == "missing_ground_truth"
    assert sample["outcomes"]["context_precision"]["message"] == "judge j answered 503: busy | =1+1"
    assert evidence["evidence"]["faithfulness"][1] == {"statement": "It was a Sunday.", "supported": False}


def test_the_samples_can_be_read_back() -> None:
    """`dataset.jsonl` has them as they were scored."""
    (line,) = files_of(MIXED)[Artifact.DATASET].splitlines()
    row = _json(line)

    assert row.pop("sample_id") == "async-score-1"
    assert Sample.model_validate(row) == MIXED.samples[0].sample


def test_means_of_many_have_their_interval() -> None:
    """In the summary for people and in the scores for programs."""
    files = files_of(many())
    mean = _json(files[Artifact.SCORES])["summary"]["faithfulness"]["mean"]

    assert (mean["value"], mean["samples"]) == (0.5, 12)
    assert 0 < mean["interval"][0] < 0.5 < mean["interval"][1] < 1
    assert "- faithfulness: `0.5000` (n 12, s.e. 0.0950, 0.2587 to 0.7440)" in files[Artifact.SUMMARY]
    assert "question: must not be blank" in files[Artifact.INVALID_CSV]


def test_a_page_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """The table stops at a number of samples and says where the others are."""
    monkeypatch.setattr("budeval.scoring.artifacts.summary._ROWS", 5)

    summary = files_of(many())[Artifact.SUMMARY]

    assert "line-5 " in summary
    assert "line-6 " not in summary
    assert "7 more samples are in scores.csv." in summary


def test_a_run_without_any_sample_is_written() -> None:
    """Every line of a file may be invalid."""
    files = files_of(run_of(invalid=(InvalidSample(sample_id="line-1", error="not JSON", raw="{"),)))

    assert "No valid samples were scored." in files[Artifact.SUMMARY]
    assert _rows(files[Artifact.SCORES_CSV]) == []
    assert _json(files[Artifact.METADATA])["weighted_score"] is None


@given(_TEXTS, _TEXTS, st.lists(_TEXTS, max_size=3), _TEXTS)
@settings(deadline=None)
def test_whatever_a_sample_says_the_files_keep_their_form(
    question: str, answer: str, contexts: list[str], message: str
) -> None:
    """Strict JSON, YAML, one row in the CSV without a formula, and no heading but ours in the summary."""
    sample = Sample(question=question, answer=answer, contexts=tuple(contexts), ground_truth=message)
    outcomes = (
        value("faithfulness", 0.5, {"statement": answer, "supported": False, "similarity": float("nan")}),
        failed("context_recall", message=message),
    )
    broken = InvalidSample(sample_id=question, error=message, raw=answer)
    files = files_of(run_of(sample_of(*outcomes, sample_id=answer, sample=sample), invalid=(broken,)))

    for name in (Artifact.SCORES, Artifact.EVIDENCE, Artifact.METADATA, Artifact.MANIFEST):
        assert isinstance(_json(files[name]), dict)
    assert yaml.safe_load(files[Artifact.SCENARIO])["judge_model"] == "judge-7b"
    (line,) = files[Artifact.DATASET].splitlines()
    assert _json(line)["contexts"] == contexts
    for name in (Artifact.SCORES_CSV, Artifact.INVALID_CSV):
        (row,) = _rows(files[name])
        assert None not in row
        assert not any(cell.lstrip().startswith(tuple("=+-@")) for cell in row.values())
    tokens = MarkdownIt("commonmark").parse(files[Artifact.SUMMARY])
    headings = [after.content for token, after in itertools.pairwise(tokens) if token.type == "heading_open"]
    assert headings == [f"async-score-{RUN_ID.removeprefix('score-')}", "Metric Means", "Per-sample Scores"]
    assert [token.type for token in tokens].count("fence") == 1


@given(_TEXTS)
@settings(deadline=None, max_examples=30)
def test_names_of_models_are_only_names(name: str) -> None:
    """They come from the settings, and stand in every document."""
    run = single(value("faithfulness", 0.5), judge_model=name, engine_version=name)
    files = files_of(run)

    scenario = yaml.safe_load(files[Artifact.SCENARIO])
    assert scenario["metrics"] == ["faithfulness"]
    assert _json(files[Artifact.METADATA])["judge_model"] == name
    types = [token.type for token in MarkdownIt("commonmark").parse(files[Artifact.SUMMARY])]
    assert types.count("list_item_open") == 8 + 2


def test_the_same_run_gives_the_same_bytes() -> None:
    """On every machine, at every time."""
    assert files_of(many()) == files_of(many())
