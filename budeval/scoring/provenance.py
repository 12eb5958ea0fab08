"""Who makes an outcome. Told when it is kept: code and settings may be others when the run is written."""

from collections.abc import Iterable
from typing import Any

from budeval.domain.score_job import ScoreJob
from budeval.domain.score_run import ScoredSample
from budeval.domain.scoring import Maker
from budeval.scoring.engines.base import ScoringEngine
from budeval.scoring.metrics import METRICS
from budeval.scoring.settings import EndpointSettings, ScoringSettings


def maker_of(job: ScoreJob, metric: str, engine: ScoringEngine, settings: ScoringSettings) -> Maker:
    """Whoever measures a metric of a job now."""
    needs = METRICS[metric]
    return Maker(
        engine_version=engine.version,
        metric_version=engine.metrics[metric],
        judge_model=_model_of(settings.judges, job.judge) if needs.needs_judge else None,
        embedding_model=_model_of(settings.embedders, job.embedder) if needs.needs_embedder else None,
    )


def made_by(
    samples: Iterable[ScoredSample], job: ScoreJob, engine: ScoringEngine, settings: ScoringSettings
) -> dict[str, Any]:
    """What a run tells of those that made its outcomes; where nobody did, of those that would now."""
    made = [(metric, maker) for sample in samples for metric, maker in sample.makers.items()]
    now = {
        "judge_model": _model_of(settings.judges, job.judge),
        "embedding_model": _model_of(settings.embedders, job.embedder),
        "engine_version": engine.version,
    }
    versions = {
        name: _each(maker.metric_version for metric, maker in made if metric == name) for name in job.metrics
    }
    return {
        **{name: _each(getattr(maker, name) for _, maker in made) or now[name] for name in now},
        "metric_versions": {name: version or engine.metrics[name] for name, version in versions.items()},
    }


def _each(names: Iterable[str | None]) -> str:
    """All different ones."""
    return ", ".join(dict.fromkeys(name for name in names if name))


def _model_of(endpoints: Iterable[EndpointSettings], alias: str | None) -> str | None:
    """Its name; the alias where the settings were changed since the request."""
    return next((endpoint.model for endpoint in endpoints if endpoint.alias == alias), alias)
