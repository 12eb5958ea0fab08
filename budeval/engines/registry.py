"""The engines of this service, by the name that requests give."""

from budeval.config import EngineConfig, StorageConfig
from budeval.engines.base import Engine
from budeval.engines.lm_eval.jobs import LmEval
from budeval.engines.opencompass.jobs import OpenCompass


def all_engines(images: EngineConfig, storage: StorageConfig) -> dict[str, Engine]:
    """Every engine with its image."""
    engines: list[Engine] = [OpenCompass(images.opencompass, storage), LmEval(images.lm_eval, storage)]
    return {engine.name: engine for engine in engines}
