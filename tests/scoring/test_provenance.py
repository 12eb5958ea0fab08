"""Artifacts tell who made each value, also where code and settings have changed in between."""

from pathlib import Path
from typing import Any

import pytest

from budeval.domain.score_job import Engine, ScoreRecord
from budeval.scoring.artifacts import Artifact
from budeval.scoring.engines.native import NativeEngine
from budeval.scoring.limiter import Limiters
from tests.scoring.asking import embedder_settings, judge_settings
from tests.scoring.bodies import batch, lines, request
from tests.scoring.desk import Desk
from tests.scoring.fake_judge import YES, FakeJudge, refusal, verdicts
from tests.scoring.replies import for_context_recall
from tests.scoring.strict import artifacts, document

_OLD, _NEW = "m", "m-next"


class FakeUpgrade(NativeEngine):
    """The native engine, in which every metric has another version."""

    @property
    def version(self) -> str:
        """See `ScoringEngine`."""
        return "2"

    @property
    def metrics(self) -> dict[str, str]:
        """See `ScoringEngine`."""
        return dict.fromkeys(super().metrics, "9-next")


@pytest.fixture
def desk(fake: FakeJudge, tmp_path: Path) -> Desk:
    """Before the upgrade."""
    return Desk(fake, tmp_path)


def _upgraded(desk: Desk, fake: FakeJudge) -> Desk:
    """The next process, on the same state store and artifacts, with another model and other versions."""
    judge, embedder = judge_settings(fake, model=_NEW), embedder_settings(fake)
    upgraded = Desk(fake, Path(desk.settings.artifacts), desk.dapr, judges=(judge,))
    upgraded.engines[Engine.NATIVE] = FakeUpgrade(Limiters([judge, embedder]))
    return upgraded


def _maker(desk: Desk, metric: str, model: str | None) -> dict[str, Any]:
    engine = desk.engines[Engine.NATIVE]
    return {
        "engine_version": engine.version,
        "metric_version": engine.metrics[metric],
        "judge_model": model,
        "embedding_model": None,
    }


def _retried(desk: Desk, record: ScoreRecord) -> None:
    desk.run(desk.lifecycle.retry(record.job.job_id))


def _summary(desk: Desk, record: ScoreRecord) -> str:
    return dict(artifacts(desk, record.job.run_id))[Artifact.SUMMARY]


def test_a_run_tells_who_made_its_values(desk: Desk, fake: FakeJudge) -> None:
    """No model for what asks none; the names of the request where nothing was measured."""
    fake.will_say(*for_context_recall(YES))
    names = ["context_recall", "exact_match", "id_based_context_recall"]
    record = desk.intake.accept(request(metrics=names), "default")

    desk.run(record)

    told = document(desk, record.job.run_id, Artifact.METADATA)
    assert told["made_by"] == {
        "context_recall": [_maker(desk, "context_recall", _OLD)],
        "exact_match": [_maker(desk, "exact_match", None)],
        "id_based_context_recall": [],
    }
    assert (told["judge_model"], told["embedding_model"], told["engine_version"]) == (_OLD, "em", "1")
    assert told["metric_versions"] == {name: desk.engines[Engine.NATIVE].metrics[name] for name in names}


def test_what_is_kept_over_an_upgrade_keeps_its_version(desk: Desk, fake: FakeJudge) -> None:
    """A retry scores only what has failed: the rest is still of the model and the version that made it."""
    fake.will_say(*for_context_recall(YES), refusal(401, "no"))
    record = desk.intake.accept(request(metrics=["context_recall", "context_precision"]), "default")
    desk.run(record)
    upgraded = _upgraded(desk, fake)
    fake.will_say(verdicts(YES, YES))

    _retried(upgraded, record)

    told = document(upgraded, record.job.run_id, Artifact.METADATA)
    kept, fresh = _maker(desk, "context_recall", _OLD), _maker(upgraded, "context_precision", _NEW)
    assert told["made_by"] == {"context_recall": [kept], "context_precision": [fresh]}
    assert told["metric_versions"] == {
        "context_recall": kept["metric_version"],
        "context_precision": "9-next",
    }
    assert (told["judge_model"], told["engine_version"]) == (f"{_OLD}, {_NEW}", "1, 2")


def test_a_mean_over_several_makers_says_so(desk: Desk, fake: FakeJudge) -> None:
    """Its values cannot be compared: all makers are told, and the summary warns."""
    fake.will_say(*for_context_recall(YES), refusal(401, "no"))
    record = desk.intake.accept_many(batch(lines(2), metrics=["context_recall"]), "default")
    desk.run(record)
    before = _summary(desk, record)
    upgraded = _upgraded(desk, fake)
    fake.will_say(*for_context_recall(YES))

    _retried(upgraded, record)

    told = document(upgraded, record.job.run_id, Artifact.METADATA)
    makers = [_maker(desk, "context_recall", _OLD), _maker(upgraded, "context_recall", _NEW)]
    assert told["made_by"] == {"context_recall": makers}
    assert told["metric_versions"] == {
        "context_recall": ", ".join(str(maker["metric_version"]) for maker in makers)
    }
    assert "versions or models" not in before
    assert "by 2 versions or models (metadata.json)" in _summary(upgraded, record)


def test_a_failure_after_an_upgrade_is_nobodys_value(desk: Desk, fake: FakeJudge) -> None:
    """What failed is made by nobody: the run tells of those whose values it has."""
    fake.will_say(*for_context_recall(YES), refusal(401, "no"))
    record = desk.intake.accept(request(metrics=["context_recall", "context_precision"]), "default")
    desk.run(record)
    upgraded = _upgraded(desk, fake)
    fake.will_say(refusal(401, "no"))

    _retried(upgraded, record)

    told = document(upgraded, record.job.run_id, Artifact.METADATA)
    assert told["judge_model"] == _OLD
    assert told["made_by"]["context_precision"] == []
