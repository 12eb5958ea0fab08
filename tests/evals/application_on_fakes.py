"""The whole application as `main` wires it; state store, workflow engine and cluster are fakes."""

import copy
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx

from budeval.api.access import digest_of
from budeval.config import ApiToken, Scope, Settings
from budeval.domain.evaluation import EvaluationRecord, Outcome
from budeval.domain.notification import NotificationContent, WorkflowStatus
from budeval.engines.claim.frame import framed
from budeval.evals.announcer import announcement_of
from budeval.main import Service
from budeval.runtime.workflow_engine import WorkflowSnapshot
from tests.asgi import Caller
from tests.evals import samples
from tests.runtime.fake_dapr import FakeDapr

ENDED, RUNNING = "223e4567-e89b-12d3-a456-426614174020", "323e4567-e89b-12d3-a456-426614174020"
"""The evaluations that are there."""
CLUSTER = "local"
"""The only one, and the default."""
TOKEN = "a-token"
"""Allows everything."""

Json = dict[str, Any]


class FakeWorkflowEngine:
    """Every evaluation's workflow is there, and has ended but for that of the one that runs."""

    def __init__(self) -> None:
        self.scheduled: list[Any] = []
        """The arguments of what was started."""

    def find(self, workflow_id: str) -> WorkflowSnapshot | None:
        """Of the evaluations that are there."""
        if not any(eval_id in workflow_id for eval_id in (ENDED, RUNNING)):
            return None
        status = WorkflowStatus.RUNNING if RUNNING in workflow_id else WorkflowStatus.COMPLETED
        return WorkflowSnapshot(workflow_id=workflow_id, name="evaluate_model", status=status)

    def schedule(self, _workflow: Callable[..., Any], _workflow_id: str, argument: Any) -> None:
        """It is not found afterwards."""
        self.scheduled.append(argument)

    def raise_event(self, _workflow_id: str, _event: str, _data: Any) -> None:
        """Nobody waits for it."""

    def purge(self, _workflow_id: str) -> None:
        """It is found all the same."""

    def probe(self) -> None:
        """It is well."""


class FakeCluster:
    """Answers as playbooks publish it where a cluster is well."""

    def __init__(self) -> None:
        self.orders: list[tuple[Json, str]] = []
        """Data and kubeconfig of each playbook."""

    def run(
        self,
        playbook: str,
        data: Json,
        kubeconfig: str,
        patience: float = 0,
        tell: Callable[[Path], None] | None = None,
    ) -> Json:
        """In place of a playbook."""
        assert patience >= 0
        if tell:
            tell(Path("/nowhere/budeval-run-x"))
        self.orders.append((data, kubeconfig))
        return _ANSWERS[playbook](data)


def _deployed(data: Json) -> Json:
    parts = {"ConfigMap": None, "Secret": None}
    return {
        "runs": [
            {"run_id": run["run_id"], "job": run["names"][0], "uid": "uid-1", "parts": parts}
            for run in data["runs"]
        ]
    }


def _printed_at_datasets(data: Json) -> Json:
    purpose = data["job"]["metadata"]["name"].split("-")[1]
    file = {"path": "a.jsonl", "bytes": 3, "sha256": None, "modified": "2026-01-01T00:00:00Z"}
    answer = {"state": "stored", "received": 3, "files": [file], "truncated": False}
    return {"pods": [], "log": framed(purpose, answer)}


_MARKED = {
    "kind": "Job",
    "name": "r-1",
    "uid": "uid-1",
    "version": "1",
    "created": "2026-01-01T00:00:00Z",
    "labels": {
        "budeval.dev/eval-id": "e-1",
        "budeval.dev/run-id": "r-1",
        "budeval.dev/installation": "other",
    },
    "owners": [],
}


def _seen(item: Json) -> Json:
    entry = {name: item[name] for name in ("kind", "name", "uid")}
    return {**entry, "outcome": "deleted", "proof": "It was not there."}


_USABLE = {
    "namespace_exists": True,
    "claim_phase": "Bound",
    "quota_used_up": False,
    "server_version": "v1.34.4",
}
_ANSWERS: dict[str, Callable[[Json], Json]] = {
    "verify_cluster_k8s.yml": lambda _data: _USABLE,
    "deploy_eval_jobs_k8s.yml": _deployed,
    "cleanup_k8s.yml": lambda _data: {"receipt": [], "absence": {}},
    "remove_results_k8s.yml": lambda _data: {"pods": [], "log": '{"files": 3, "bytes": 7}', "removed": []},
    "list_marked_k8s.yml": lambda _data: {"objects": [_MARKED], "secrets": [], "date": ""},
    "remove_objects_k8s.yml": lambda data: {"receipt": [_seen(item) for item in data["objects"]]},
    "run_at_datasets_k8s.yml": _printed_at_datasets,
}


class ApplicationOnFakes:
    """One evaluation has ended, one runs; whatever is done to them, `begin_anew` undoes it."""

    def __init__(self, clusters: Path) -> None:
        """`clusters` is an empty directory."""
        (clusters / f"{CLUSTER}.yaml").write_text(samples.kubeconfig("t"))
        token = ApiToken(name="all", sha256=digest_of(TOKEN), scopes=frozenset(Scope))
        self.service = Service(Settings(clusters_dir=clusters, default_cluster=CLUSTER, api_tokens=(token,)))
        self.dapr, self.engine, self.cluster = FakeDapr(), FakeWorkflowEngine(), FakeCluster()
        self._put_in_place()
        for eval_id in (ENDED, RUNNING):
            self._know(eval_id)
        self._end()
        self._beginning = copy.deepcopy(self.dapr.state)
        self.application = self.service.application()

    def _put_in_place(self) -> None:
        sidecar = self.service.sidecar
        sidecar._http = self.dapr.client()._http
        sidecar._state_url, sidecar._publish_url = "/v1.0/state/store", "/v1.0/publish/broker"
        for name in ("find", "schedule", "raise_event", "purge", "probe"):
            setattr(self.service.engine, name, getattr(self.engine, name))
        for runner in (self.service._runner, self.service._data_runner):
            setattr(runner, "run", self.cluster.run)  # noqa: B010 - a method, which mypy would not let go

    def _know(self, eval_id: str) -> None:
        service, evaluation = self.service, samples.evaluation(eval_id)
        service.store.add_to_index(eval_id, "2026-01-01")
        record = EvaluationRecord(evaluation=evaluation, digest="d", created="2026-01-01T00:00:00+00:00")
        service.store.create(record)
        service.vault.put(record.sealed_as, {"api_key": "k"})
        service.store.save_log(eval_id, "r-1", "a line")
        content = NotificationContent(title="t", message="m", status=WorkflowStatus.STARTED)
        event = announcement_of(
            evaluation.audience, evaluation.workflow_id, 1, "evaluate_model_status", content
        )
        service.sidecar.announce(["news"], event)

    def _end(self) -> None:
        result = {
            "run_id": "r-1",
            "eval_id": ENDED,
            "dataset_id": "d",
            "status": "error",
            "outcome": "FAILED",
            "job_state": "failed",
            "code": "JOB_FAILED",
            "error": "it failed",
            "scores": [],
            "cells": [],
        }
        store = self.service.store
        store.save_results(ENDED, [result])
        store.end(ENDED, Outcome.FAILED)
        long_ago = datetime(2026, 1, 2, tzinfo=UTC).isoformat()
        store.update_workflow_data_in_statestore(
            f"eval-{ENDED}", {"ended": long_ago, "extraction_results": [result]}
        )

    def begin_anew(self) -> None:
        """Everything is as it was, and nothing was ordered or announced."""
        self.dapr.state.clear()
        self.dapr.state.update(copy.deepcopy(self._beginning))
        self.dapr.unreachable = False
        self.dapr.messages.clear()
        self.engine.scheduled.clear()
        self.cluster.orders.clear()

    @property
    def changed(self) -> Json:
        """What the state store has beside what was there in the beginning, or has now instead."""
        return {key: value for key, value in self.dapr.state.items() if value != self._beginning.get(key)}

    def ask(
        self, method: str, path: str, headers: dict[str, str] | None = None, **more: Any
    ) -> httpx.Response:
        """With the token."""
        headers = {"authorization": f"Bearer {TOKEN}", **(headers or {})}
        return Caller(self.application).request(method, path, headers=headers, **more)
