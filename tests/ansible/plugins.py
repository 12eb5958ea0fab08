"""The action plugins, loaded into the test's own process, and what their tests need to drive them."""

import importlib
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from budeval.ansible.runner import COLLECTIONS
from budeval.config import StorageConfig
from budeval.domain.identifiers import parts_name
from budeval.engines import manifests
from budeval.engines.base import JobSpec
from tests.ansible.fake_api import FakeApi
from tests.evals import samples

KEY = "sk-very-secret"
NAMESPACE = "team-a"
INSTALLATION = "here"

_PLUGINS = "ansible_collections.budeval.kubernetes.plugins"

Json = dict[str, Any]
Act = Callable[[str, Json], Json]


def load(module: str) -> Any:
    """As Ansible does, but into this process; the path is as it was afterwards."""
    sys.path.insert(0, str(COLLECTIONS))
    try:
        return importlib.import_module(f"{_PLUGINS}.{module}")
    finally:
        sys.path.remove(str(COLLECTIONS))


CLUSTER = load("plugin_utils.cluster")
_HANDLERS = {
    "deploy": load("action.deploy_runs")._deploy_all,
    "observe": load("action.observe_runs")._observe,
    "remove": load("action.remove_runs")._remove,
    "run": load("action.run_job")._run,
    "list": load("action.list_marked")._list,
    "remove_objects": load("action.remove_objects")._remove,
}


@contextmanager
def acting(api: FakeApi, directory: Path) -> Iterator[Act]:
    """Does what a plugin does, on the API server; the directory holds the kubeconfig."""
    path = directory / "kubeconfig"
    path.write_text(api.kubeconfig())
    cluster = CLUSTER.Cluster(str(path))

    def do(action: str, order: Json) -> Json:
        done: Json = _HANDLERS[action](cluster, order)
        return done

    yield do
    cluster._http.close()


def runs(*run_ids: str, eval_id: str = "e-1", attempt: int = 1, installation: str = INSTALLATION) -> Json:
    """What the orchestrator orders to be deployed."""
    asked = [{"run_id": run_id, "dataset_id": "d"} for run_id in run_ids]
    evaluation = samples.evaluation(eval_id, runs=asked)
    ordered = [
        manifests.deployment(
            evaluation,
            run,
            JobSpec(
                run_id=run.run_id,
                attempt=attempt,
                image="an-image",
                command=["run"],
                files={"run.json": "{}"},
                secret_environment={"OPENAI_API_KEY": KEY},
            ),
            StorageConfig(),
            installation,
        )
        for run in evaluation.runs
    ]
    return {"namespace": NAMESPACE, "runs": ordered}


def removal(eval_id: str = "e-1") -> Json:
    """What the orchestrator orders to be cleaned up, where there are two runs at most."""
    names = [parts(run_id, eval_id) for run_id in ("r-1", "r-2")]
    return {"namespace": NAMESPACE, "selector": manifests.selector(eval_id), "secrets": names}


def parts(run_id: str, eval_id: str = "e-1", attempt: int = 1) -> str:
    """The name of a run's ConfigMap and Secret."""
    return parts_name(eval_id, run_id, attempt)


def pod(api: FakeApi, job: str, name: str = "", **status: Any) -> str:
    """A pod of a Job, with a status."""
    metadata = api.objects["jobs"][job]["metadata"]
    name = name or f"{job}-pod"
    marks = {"labels": metadata["labels"], "ownerReferences": [{"uid": metadata["uid"]}]}
    api.put("pods", name, metadata=marks, status={"phase": "Running", **status})
    return name


def made(api: FakeApi) -> list[list[str]]:
    """The names of Jobs, ConfigMaps and Secrets; runs are deployed in parallel."""
    return [sorted(api.named(kind)) for kind in ("jobs", "configmaps", "secrets")]
