"""What the original scoring manager gets wrong, weakness by weakness, as far as it is about its artifacts.

The numbers are those of the list that this service was designed by. 1, and the rest of 5 and 7, are about
jobs.
"""

import asyncio
import csv
import io
import json
import re
from pathlib import Path
from urllib.parse import quote

import pytest
from pydantic import ValidationError

from budeval.domain.score_job import AdviceStatus, ScoreJob
from budeval.domain.score_run import ScoreRun
from budeval.domain.scoring import MetricOutcome, MetricStatus, Sample
from budeval.scoring.advice import Adviser, Writer
from budeval.scoring.artifacts import Artifact, ArtifactStore, artifact_store, write_artifacts
from budeval.scoring.limiter import Limiter
from tests.scoring.asking import judge_settings
from tests.scoring.fake_judge import FakeJudge, Reply
from tests.scoring.runs import MIXED, RUN_ID, single, skipped, value


@pytest.fixture
def store(tmp_path: Path) -> ArtifactStore:
    """An empty one."""
    return artifact_store(str(tmp_path / "runs"))


def _text(store: ArtifactStore, name: Artifact) -> str:
    file = store.open(RUN_ID, name)
    assert file
    with file:
        return file.read().decode()


def test_2_a_skipped_metric_does_not_fail_the_run(store: ArtifactStore) -> None:
    """Its column has no values: pandas refuses their mean, after the first files were written."""
    write_artifacts(single(value("faithfulness", 0.5), skipped("context_recall")), store)

    assert "- context_recall: `n/a`, 1 skipped" in _text(store, Artifact.SUMMARY)
    (row,) = csv.DictReader(io.StringIO(_text(store, Artifact.SCORES_CSV)))
    assert (row["faithfulness"], row["context_recall"], row["context_recall_status"]) == (
        "0.5",
        "",
        "skipped",
    )


def test_2_a_run_of_skipped_metrics_alone_is_a_run(store: ArtifactStore) -> None:
    """As where `allow_empty` asks for it."""
    write_artifacts(single(skipped("faithfulness"), skipped("context_recall")), store)

    metadata = json.loads(_text(store, Artifact.METADATA))
    assert (metadata["weighted_score"], metadata["weight_coverage"]) == (None, 0.0)
    assert metadata["means"] == {"faithfulness": None, "context_recall": None}


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -0.1, 1.1])
def test_3_a_value_that_is_none_cannot_be_in_a_run(number: float) -> None:
    """NaN would be no None, and make the weighted score NaN, too."""
    with pytest.raises(ValidationError):
        MetricOutcome(metric="faithfulness", status=MetricStatus.SCORED, value=number)


def test_3_no_document_says_nan(store: ArtifactStore) -> None:
    """Also where a judge's evidence holds one: strict parsers would refuse the whole document."""
    write_artifacts(
        single(value("faithfulness", 0.5, {"similarity": float("nan"), "in": [float("-inf")]})), store
    )

    assert '"similarity": null' in _text(store, Artifact.EVIDENCE)
    for name in store.sizes(RUN_ID) or {}:
        assert not re.search(r"\b(nan|infinity|inf)\b", _text(store, name), re.IGNORECASE)


def test_4_a_repetition_writes_the_same_run(store: ArtifactStore, tmp_path: Path) -> None:
    """The id is the job's and not the time's, so there is no second run; and no URL breaks at it."""
    job = ScoreJob(job_id="0123456789ab", metrics=("faithfulness",), timeout_s=60)
    run = MIXED.model_copy(update={"run_id": job.run_id})

    write_artifacts(run, store)
    write_artifacts(run, store)

    runs = [path.name for path in (tmp_path / "runs").iterdir() if not path.name.startswith(".")]
    assert runs == [job.run_id]
    assert quote(job.run_id, safe="") == job.run_id


def test_5_a_torn_document_is_never_seen(store: ArtifactStore, tmp_path: Path) -> None:
    """A directory without its metadata, as a crash of the original leaves it, is no run; a repetition is."""
    place = tmp_path / "runs" / RUN_ID
    place.mkdir(parents=True)
    (place / "scores.csv").write_text('"sample_id","quest')

    assert store.sizes(RUN_ID) is None
    assert store.open(RUN_ID, Artifact.SCORES_CSV) is None
    write_artifacts(MIXED, store)
    assert _text(store, Artifact.SCORES_CSV).startswith('"sample_id","question"')


def test_6_scores_are_seen_before_the_advice_ends(store: ArtifactStore, fake: FakeJudge) -> None:
    """A writer that hangs delays nothing, and what became of it is a status."""
    fake.will_say(Reply(hangs=True))
    writer = Writer(judge_settings(fake), Limiter(1))
    write_artifacts(MIXED, store)

    async def run() -> tuple[bool, AdviceStatus]:
        advising = asyncio.create_task(Adviser(store, writer, seconds=0.5).advise(MIXED))
        while not fake.requests:  # noqa: ASYNC110 - the fake is in another thread
            await asyncio.sleep(0.01)
        seen = Artifact.SCORES_CSV in (store.sizes(RUN_ID) or {}) and not advising.done()
        return seen, await advising

    assert asyncio.run(run()) == (True, AdviceStatus.RULES_ONLY)


def test_6_no_model_is_asked_for_advice_on_no_scores(store: ArtifactStore, fake: FakeJudge) -> None:
    """The original does, and pays for it."""
    run = single(skipped("faithfulness", "missing_answer"))
    write_artifacts(run, store)

    status = asyncio.run(Adviser(store, Writer(judge_settings(fake), Limiter(1))).advise(run))

    assert (status, fake.requests) == (AdviceStatus.SKIPPED, [])


def test_7_the_dataset_that_is_named_is_there(store: ArtifactStore, tmp_path: Path) -> None:
    """The original names a `dataset.csv` that it never writes."""
    write_artifacts(MIXED, store)

    named = json.loads(_text(store, Artifact.METADATA))["dataset"]
    assert (tmp_path / "runs" / named).is_file()


@pytest.mark.parametrize("answer", ['=HYPERLINK("http://x","y")', "+1", "-1", "@SUM(A1)", "\t=1", "\r=1"])
def test_7_an_answer_is_no_formula(store: ArtifactStore, answer: str) -> None:
    """It is only a text to a spreadsheet; the exact one is in the dataset and numbers are numbers."""
    write_artifacts(_answered(answer), store)

    (row,) = csv.DictReader(io.StringIO(_text(store, Artifact.SCORES_CSV), newline=""))
    assert row["answer"] == f"'{answer}"
    assert row["faithfulness"] == "0.5"
    assert json.loads(_text(store, Artifact.DATASET))["answer"] == answer


def _answered(answer: str) -> ScoreRun:
    return single(value("faithfulness", 0.5), sample=Sample(question="q", answer=answer))
