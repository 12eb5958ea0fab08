"""The engines that there are."""

from budeval.domain.score_job import Engine
from budeval.scoring.engines.base import ScoringEngine
from budeval.scoring.engines.native import NativeEngine
from budeval.scoring.engines.ragas.engine import RagasEngine
from budeval.scoring.limiter import Limiters
from budeval.scoring.settings import ScoringSettings


def scoring_engines(settings: ScoringSettings, limiters: Limiters) -> dict[Engine, ScoringEngine]:
    """Each by the name that requests choose it by; `ragas` only where there is an environment for it."""
    engines: dict[Engine, ScoringEngine] = {Engine.NATIVE: NativeEngine(limiters)}
    if settings.ragas_python:
        engines[Engine.RAGAS] = RagasEngine(limiters, settings.ragas_python)
    return engines
