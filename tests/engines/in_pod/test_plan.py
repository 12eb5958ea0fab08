"""The plan."""

from pathlib import Path

import pytest

from budeval.engines.in_pod.plan import model_name
from tests.engines.pods import model_entry, run_spec


@pytest.mark.parametrize(
    ("name", "folder"),
    [
        ("org/model:7b", "org-model-7b"),
        ("../..", "model"),
        ("..", "model"),
        ("ä", "model"),
        ("a.b_c", "a.b_c"),
    ],
)
def test_a_models_name_becomes_a_directory(tmp_path: Path, name: str, folder: str) -> None:
    """That leads nowhere else."""
    assert model_name(run_spec(tmp_path, model=model_entry(name=name))) == folder
