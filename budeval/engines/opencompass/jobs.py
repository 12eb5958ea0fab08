"""OpenCompass as an engine: https://github.com/open-compass/opencompass, release 0.5.4."""

import json
from functools import cache
from pathlib import Path

from budeval.engines.container import ContainerEngine


class OpenCompass(ContainerEngine):
    """Own datasets, and those that OpenCompass ships configurations for; their data are on the claim."""

    name = "opencompass"
    program = ("budeval.engines.opencompass.run_in_pod", "budeval.engines.opencompass.resuming")
    extractor = ("budeval.engines.opencompass.extract_results",)

    def stock_datasets(self) -> list[str]:
        """The names that OpenCompass 0.5.4 ships configurations for and that run against a chat API."""
        return list(_stock_datasets())


@cache
def _stock_datasets() -> tuple[str, ...]:
    return tuple(json.loads((Path(__file__).parent / "stock_datasets.json").read_text()))
