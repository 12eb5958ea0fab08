"""What many tests need one of: a kubeconfig, an evaluation."""

from typing import Any

import yaml

from budeval.domain.evaluation import Evaluation

ROWS = '{"question": "What is 2 + 3?", "answer": "5"}\n'
"""Of an inline dataset."""


def kubeconfig(token: str) -> str:
    """A usable kubeconfig whose credential is the token."""
    return yaml.safe_dump(
        {
            "clusters": [{"name": "c", "cluster": {"server": "https://10.0.0.1:6443"}}],
            "users": [{"name": "u", "user": {"token": token}}],
            "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
            "current-context": "x",
        }
    )


def evaluation(eval_id: str = "e-1", **changes: Any) -> Evaluation:
    """One run `r-1` on the cluster `local`, told on the topic `news`; fields given by name are other ones."""
    return Evaluation.model_validate(
        {
            "eval_id": eval_id,
            "experiment_id": "x-1",
            "engine": "opencompass",
            "model": {"name": "m", "endpoint": "http://m/v1"},
            "runs": [{"run_id": "r-1", "dataset_id": "d"}],
            "target": {"cluster": "local", "namespace": "team-a"},
            "claim": "a-claim",
            "audience": {"topics": ["news"], "workflow_id": "theirs"},
            **changes,
        }
    )
