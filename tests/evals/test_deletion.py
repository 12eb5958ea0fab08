"""Evaluations that are deleted."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from budeval.ansible.runner import Tell
from budeval.config import EngineConfig, Settings, StorageConfig
from budeval.domain.cluster import FROM_REQUEST
from budeval.domain.evaluation import EvaluationRecord, Outcome
from budeval.domain.notification import (
    Announcement,
    NotificationContent,
    NotificationPayload,
    NotificationRequest,
    WorkflowStatus,
)
from budeval.domain.receipt import Fate, ReceiptItem
from budeval.errors import BudevalError, ClusterError, RequestError, SidecarError
from budeval.evals.ansible_orchestrator import AnsibleOrchestrator
from budeval.evals.arrivals import Arrivals
from budeval.evals.clusters import Clusters
from budeval.evals.deletion import Deletions
from budeval.evals.installation import Installation
from budeval.evals.intake import Intake
from budeval.evals.receipts import Receipts
from budeval.evals.schema import DeletionRequest
from budeval.evals.store import EvaluationStore
from budeval.runtime.sealing import Sealer
from budeval.runtime.vault import Vault
from budeval.runtime.workflow_engine import WorkflowSnapshot
from tests.evals import samples
from tests.evals.application_on_fakes import ENDED, ApplicationOnFakes
from tests.runtime.fake_dapr import FakeDapr

_OURS = DeletionRequest.model_validate({"kubeconfig": samples.kubeconfig("a-token")})
_OWN = {"digest": "a" * 64, "format": "jsonl", "prompt": "p", "answer": "a", "evaluator": "exact"}


class FakeRunner:
    """A cluster on which everything goes, unless a playbook fails or leaves something."""

    def __init__(self) -> None:
        self.runs: list[tuple[str, str]] = []
        self.failing: dict[str, ClusterError] = {}
        self.receipt: list[dict[str, str]] = []
        self.log = '{"files": 3, "bytes": 5}\n'

    def run(
        self,
        playbook: str,
        data: dict[str, Any],  # noqa: ARG002
        kubeconfig: str,
        patience: float = 0,  # noqa: ARG002
        tell: Tell | None = None,  # noqa: ARG002
    ) -> dict[str, Any]:
        """What the playbook publishes."""
        self.runs.append((playbook, kubeconfig))
        if playbook in self.failing:
            raise self.failing[playbook]
        absence = dict.fromkeys(("Job", "Pod", "ConfigMap", "Secret"), "It was not there.")
        return {
            "receipt": self.receipt,
            "absence": absence,
            "log": self.log,
            "pods": [],
            "removed": [{"kind": "Job", "name": "remove-results-x", "uid": "u", "gone": True}],
        }


@dataclass
class Desk:
    """An evaluation of two attempts that has ended, with all that is kept of one. Its own fake engine."""

    seal_key: str
    cluster: str = FROM_REQUEST
    directory: Path | None = None
    """Of the configured clusters."""
    dapr: FakeDapr = field(default_factory=FakeDapr)
    runner: FakeRunner = field(default_factory=FakeRunner)
    purged: list[str] = field(default_factory=list)
    workflow: WorkflowStatus = WorkflowStatus.COMPLETED
    away: bool = False

    def __post_init__(self) -> None:
        sidecar = self.dapr.client()
        self.store = EvaluationStore(sidecar)
        vault = Vault(sidecar, Sealer(self.seal_key))
        clusters = Clusters(self.directory, lambda _eval_id: None, Path("/nowhere"))
        arrivals, self.receipts = Arrivals(sidecar, self.store, vault), Receipts(sidecar, {})
        intake = Intake(Settings(), self.store, arrivals, clusters, {}, lambda _: {}, lambda _: None)
        orchestrator = AnsibleOrchestrator(
            self.runner, clusters, {}, StorageConfig(), EngineConfig(), self.receipts, Installation(sidecar)
        )
        self.deletions = Deletions(self.store, self, vault, intake, orchestrator, self.receipts)
        evaluation = samples.evaluation(
            "e-1",
            attempt=2,
            runs=[{"run_id": "r-1", "dataset_id": "a"}, {"run_id": "r-2", "dataset_id": "b", "own": _OWN}],
            target={"cluster": self.cluster, "namespace": "team-a", "eval_id": "e-1"},
        )
        record = EvaluationRecord(evaluation=evaluation, digest="d" * 20, created="2026-01-01")
        vault.put(record.sealed_as, {"api_key": "sk-secret"})
        self.store.add_to_index("e-1", "2026-01-01")
        self.store.create(record)
        self.dapr.state["dataset-e-1-" + "a" * 64] = {"rows": "x"}
        self.store.save_results("e-1", [{"run_id": "r-1", "outcome": "COMPLETED"}])
        self.store.save_log("e-1", "r-2", "a log")
        self.receipts.note("e-1", [ReceiptItem(kind="Job", name="r-0", outcome=Fate.DELETED)])
        self.dapr.state["observed-e-1"] = {"tick": 1}
        for number in (1, 2, 3):
            content = NotificationContent(title="t", message="m", status=WorkflowStatus.RUNNING)
            payload = NotificationPayload(type="t", event="e", workflow_id="w", content=content)
            told = NotificationRequest(payload=payload)
            sidecar.announce([], Announcement(subject="eval-e-1", number=number, notification=told))
        self.store.end("e-1", Outcome.COMPLETED)
        self.store.deactivate("e-1")

    def find(self, workflow_id: str) -> WorkflowSnapshot | None:
        """Every instance is in the same state."""
        return WorkflowSnapshot(workflow_id=workflow_id, name="evaluate_model", status=self.workflow)

    def purge(self, workflow_id: str) -> None:
        """Take down which."""
        if self.away:
            raise SidecarError("Dapr does not answer")
        self.purged.append(workflow_id)

    def kept(self) -> set[str]:
        """Keys that tell of the evaluation."""
        return {key for key in self.dapr.state if "e-1" in key or key.startswith("sealed-")}

    def refused(self, request: DeletionRequest = _OURS) -> BudevalError:
        """Of a deletion."""
        before = self.kept()
        with pytest.raises(BudevalError) as refused:
            self.deletions.delete("e-1", request)
        assert self.kept() == before
        return refused.value


@pytest.fixture
def desk(seal_keys: str) -> Desk:
    """Of an evaluation that brought its own kubeconfig."""
    return Desk(seal_keys)


def test_nothing_is_kept_but_a_tombstone(desk: Desk) -> None:
    """Objects, files, histories of all attempts, then the state; the credential is the one that was given."""
    done = desk.deletions.delete("e-1", _OURS)

    assert done.files_removed == 3
    told = {(item.kind, item.name): item.outcome for item in done.objects}
    assert told["Job", "r-0"] == told["Job", "remove-results-x"] == "deleted"
    assert told["ResultTree", "results/e-1 on claim a-claim"] == "deleted"
    assert [playbook for playbook, _ in desk.runner.runs] == ["cleanup_k8s.yml", "remove_results_k8s.yml"]
    assert all("a-token" in credential for _, credential in desk.runner.runs)
    assert desk.purged == ["eval-e-1", "eval-e-1-a2"]
    assert desk.kept() == {"eval-e-1"}
    assert set(desk.dapr.state["eval-e-1"]) == {"schema_version", "eval_id", "tenant", "deleted"}
    assert "sk-secret" not in str(desk.dapr.state)


def test_what_was_deleted_is_gone_for_good(desk: Desk) -> None:
    """It is in no list, and whoever asks for it is told so; its id is never used again."""
    desk.deletions.delete("e-1", _OURS)

    for ask in (
        lambda: desk.store.load("e-1"),
        lambda: desk.deletions.delete("e-1", _OURS),
        lambda: desk.store.cancel("e-1", extract=False),
        lambda: desk.store.retry("e-1", 2, [], 0, "a-3"),
        lambda: desk.store.create(
            EvaluationRecord(evaluation=samples.evaluation("e-1"), digest="d", created="2026-01-01")
        ),
    ):
        with pytest.raises(RequestError) as gone:
            ask()
        assert (gone.value.status, gone.value.code) == (410, "EVALUATION_DELETED")
    assert desk.store.briefs(["e-1"]) == []
    assert desk.store.load_all(["e-1"]) == []


def test_files_can_be_kept(desk: Desk) -> None:
    """Where the cluster is gone: then it is not asked, and no credential is needed."""
    done = desk.deletions.delete("e-1", DeletionRequest(keep_files=True))

    assert (done.files_removed, desk.runner.runs) == (None, [])
    assert [item.outcome for item in done.objects if item.kind == "ResultTree"] == ["kept"]
    assert desk.kept() == {"eval-e-1"}


def test_without_its_credential_nothing_is_deleted(desk: Desk) -> None:
    """It was destroyed at the evaluation's end."""
    assert desk.refused(DeletionRequest()).code == "KUBECONFIG_REQUIRED"
    assert desk.store.load("e-1").deletion is None


@pytest.mark.parametrize("by", ["record", "workflow"])
def test_what_runs_is_not_deleted(desk: Desk, by: str) -> None:
    """Not even while its last word is being said."""
    if by == "record":
        desk.dapr.state["eval-e-1"]["ended"] = None
    else:
        desk.workflow = WorkflowStatus.RUNNING

    refusal = desk.refused()

    assert isinstance(refusal, RequestError)
    assert (refusal.status, refusal.code) == (409, "EVALUATION_RUNNING")
    assert desk.runner.runs == []


def test_one_that_begins_again_meanwhile_is_not_deleted(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the look and the note in the record somebody has retried it."""
    load = EvaluationStore.load

    def and_then_retried(store: EvaluationStore, eval_id: str) -> EvaluationRecord:
        record = load(store, eval_id)
        desk.dapr.state["eval-e-1"]["ended"] = None
        return record

    monkeypatch.setattr(EvaluationStore, "load", and_then_retried)

    assert desk.refused().code == "EVALUATION_RUNNING"
    assert desk.runner.runs == []


@pytest.mark.parametrize("playbook", ["cleanup_k8s.yml", "remove_results_k8s.yml"])
def test_what_the_cluster_refuses_can_be_repeated(desk: Desk, playbook: str) -> None:
    """Until then nothing is deleted here, but nobody can retry it."""
    desk.runner.failing = {playbook: ClusterError("no", code="CLUSTER_UNREACHABLE", retryable=True)}

    assert desk.refused().code == "CLUSTER_UNREACHABLE"
    with pytest.raises(RequestError, match="was deleted"):
        desk.store.retry("e-1", 2, ["r-1"], 3, "a-3")
    desk.runner.failing = {}
    desk.deletions.delete("e-1", _OURS)

    assert desk.kept() == {"eval-e-1"}


@pytest.mark.parametrize(
    ("receipt", "log", "code"),
    [
        (
            [{"kind": "Job", "name": "r-1", "uid": "u", "outcome": "ending", "reason": "It ends."}],
            "{}",
            "CLEANUP_INCOMPLETE",
        ),
        ([], "Permission denied", "REMOVAL_FAILED"),
        ([], '{"files": null}', "REMOVAL_FAILED"),
        ([], "", "REMOVAL_FAILED"),
    ],
)
def test_what_is_left_on_the_cluster_is_told(
    desk: Desk, receipt: list[dict[str, str]], log: str, code: str
) -> None:
    """The record stays: it says where it is left."""
    desk.runner.receipt, desk.runner.log = receipt, log

    assert desk.refused().code == code


def test_a_deletion_that_was_cut_off_is_completed_by_the_next(desk: Desk) -> None:
    """After the cluster, Dapr was away; after some keys, the store."""
    desk.away = True
    assert desk.refused().code == "SIDECAR_UNAVAILABLE"
    assert desk.store.load("e-1").deletion
    desk.away = False
    desk.dapr.refused = {"/v1.0/state/store/observed-e-1": 503}
    with pytest.raises(SidecarError):
        desk.deletions.delete("e-1", _OURS)
    assert "eval-e-1" in desk.kept()
    desk.dapr.refused = {}

    desk.deletions.delete("e-1", _OURS)

    assert desk.kept() == {"eval-e-1"}


@pytest.mark.usefixtures("seal_keys")
@pytest.mark.parametrize(
    "cut_at", [f"results-{ENDED}-", f"logs-{ENDED}", f"observed-{ENDED}", f"brief-{ENDED}"]
)
@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", f"/evals/{ENDED}/results", None),
        ("GET", f"/runs/eval-{ENDED}/artifacts/results.json", None),
        ("GET", f"/runs/eval-{ENDED}/artifacts/results.csv", None),
        ("GET", f"/compare?base={ENDED}&candidate={ENDED}", None),
        ("POST", f"/evals/{ENDED}/retry", {"api_key": "k"}),
    ],
)
def test_what_a_deletion_that_was_cut_off_has_left_is_told_as_deleted(
    tmp_path: Path, cut_at: str, method: str, path: str, body: dict[str, str] | None
) -> None:
    """Wherever it was cut: nobody meets half of it, and the same again completes it."""
    service = ApplicationOnFakes(tmp_path)
    service.dapr.refused = {f"/v1.0/state/store/{cut_at}": 503}
    assert service.ask("DELETE", f"/evals/{ENDED}").status_code == 503
    service.dapr.refused = {}

    answer = service.ask(method, path, json=body)

    assert (answer.status_code, answer.json()["code"]) in {
        (410, "EVALUATION_DELETED"),
        (404, "ARTIFACT_NOT_READY"),
    }
    assert service.ask("DELETE", f"/evals/{ENDED}").status_code == 200
    assert {key for key in service.dapr.state if ENDED in key} == {f"eval-{ENDED}"}


def test_results_that_go_while_they_are_read_are_told_as_deleted(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The deletion comes between their index and themselves."""
    read = desk.store._sidecar.get_states

    def deleted_before(keys: list[str]) -> list[Any]:
        monkeypatch.setattr(desk.store._sidecar, "get_states", read)
        desk.deletions.delete("e-1", _OURS)
        return read(keys)

    monkeypatch.setattr(desk.store._sidecar, "get_states", deleted_before)
    with pytest.raises(RequestError) as gone:
        desk.store.load_results("e-1")

    assert gone.value.code == "EVALUATION_DELETED"


def _overtaken(desk: Desk) -> None:
    """The cluster's turn takes so long that another deletion is done, then it notes something and fails."""
    record = desk.store.load("e-1")

    def noted_late(*_: Any) -> None:
        desk.deletions.forget(record)
        desk.receipts.note("e-1", [ReceiptItem(kind="Job", name="r-0", outcome=Fate.DELETED)])
        raise ClusterError("away", code="CLUSTER_UNREACHABLE", retryable=True)

    desk.runner.run = noted_late  # type: ignore[method-assign, assignment]


def test_one_that_another_deletion_has_overtaken_leaves_nothing(desk: Desk) -> None:
    """What it had noted by then in the receipt would stay for ever."""
    _overtaken(desk)
    with pytest.raises(ClusterError):
        desk.deletions.delete("e-1", _OURS)

    assert "receipt-e-1" not in desk.dapr.state
    with pytest.raises(RequestError, match="was deleted"):
        desk.store.load("e-1")


def test_what_is_retried_is_not_forgotten(desk: Desk) -> None:
    """The sweep has read the record of the attempt before."""
    before = desk.store.load("e-1")
    desk.store.retry("e-1", 2, ["r-1"], 3, "again")

    with pytest.raises(RequestError) as refused:
        desk.deletions.expire(before)

    assert refused.value.code == "EVALUATION_RUNNING"
    assert desk.store.load("e-1").ended is None
    assert desk.purged == []


def test_what_is_being_forgotten_cannot_be_retried(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its secrets would come to an evaluation that is no more."""
    refused: list[str] = []

    def retried_meanwhile(_record: EvaluationRecord) -> None:
        with pytest.raises(RequestError) as error:
            desk.store.retry("e-1", 2, ["r-1"], 3, "again")
        refused.append(error.value.code)

    monkeypatch.setattr(desk.deletions, "forget", retried_meanwhile)
    desk.deletions.expire(desk.store.load("e-1"))

    assert refused == ["EVALUATION_DELETED"]


@pytest.fixture
def configured(seal_keys: str, tmp_path: Path) -> Desk:
    """Of an evaluation on a cluster of the settings."""
    (tmp_path / "first.yaml").write_text(samples.kubeconfig("token-of-first"))
    return Desk(seal_keys, "first", tmp_path)


def _begun(desk: Desk, ago: timedelta) -> None:
    """The first sweep has tried to forget it so long ago."""
    desk.store.begin_expiry("e-1")
    desk.dapr.state["eval-e-1"]["expiry"] = (datetime.now(UTC) - ago).isoformat()


def test_retention_removes_the_files_on_a_configured_cluster(configured: Desk) -> None:
    """Its credential is there at any time; nothing else on the cluster is touched."""
    configured.deletions.expire(configured.store.load("e-1"))

    ((playbook, credential),) = configured.runner.runs
    assert playbook == "remove_results_k8s.yml"
    assert "token-of-first" in credential
    assert configured.kept() == {"eval-e-1"}


def test_retention_leaves_the_files_on_a_cluster_of_a_request(desk: Desk) -> None:
    """Nobody has a credential of it any more."""
    desk.deletions.expire(desk.store.load("e-1"))

    assert desk.runner.runs == []
    assert desk.kept() == {"eval-e-1"}


def test_retention_leaves_the_files_that_a_deletion_was_to_keep(configured: Desk) -> None:
    """That one was cut off; whoever asked for it has said what shall stay."""
    configured.dapr.refused = {"/v1.0/state/store/results-e-1": 503}
    with pytest.raises(SidecarError):
        configured.deletions.delete("e-1", DeletionRequest(keep_files=True))
    configured.dapr.refused = {}

    configured.deletions.expire(configured.store.load("e-1"))

    assert configured.runner.runs == []
    assert configured.kept() == {"eval-e-1"}


def test_retention_tries_again_where_the_files_could_not_be_removed(configured: Desk) -> None:
    """Until then the record says where they are; the one after it in the sweep has its turn."""
    away = ClusterError("away", code="CLUSTER_UNREACHABLE", retryable=True)
    configured.runner.failing = {"remove_results_k8s.yml": away}
    _begun(configured, timedelta(days=6))
    with pytest.raises(ClusterError):
        configured.deletions.expire(configured.store.load("e-1"))
    assert configured.store.load("e-1").deletion
    assert configured.purged == []

    configured.runner.failing = {}
    configured.deletions.expire(configured.store.load("e-1"))

    assert configured.kept() == {"eval-e-1"}


def test_retention_tries_for_a_week_of_its_own(configured: Desk) -> None:
    """Somebody's deletion that failed long before is none of its tries."""
    away = ClusterError("away", code="CLUSTER_UNREACHABLE", retryable=True)
    configured.runner.failing = {"remove_results_k8s.yml": away}
    configured.store.begin_deletion("e-1")
    configured.dapr.state["eval-e-1"]["deletion"] = (datetime.now(UTC) - timedelta(days=20)).isoformat()

    with pytest.raises(ClusterError):
        configured.deletions.expire(configured.store.load("e-1"))

    assert configured.store.load("e-1").deletion


def test_retention_leaves_files_of_a_deletion_that_an_older_version_has_begun(configured: Desk) -> None:
    """It did not note whether they were to be kept."""
    configured.store.begin_deletion("e-1")
    del configured.dapr.state["eval-e-1"]["keep_files"]

    configured.deletions.expire(configured.store.load("e-1"))

    assert configured.runner.runs == []
    assert configured.kept() == {"eval-e-1"}


@pytest.mark.parametrize("lost", ["cluster", "configuration"])
def test_retention_gives_files_up_after_a_week(
    configured: Desk, caplog: pytest.LogCaptureFixture, tmp_path: Path, lost: str
) -> None:
    """A cluster may be gone for good: then only the log can say where they are, and why."""
    if lost == "configuration":
        (tmp_path / "first.yaml").unlink()
    away = ClusterError("away", code="CLUSTER_UNREACHABLE", retryable=True)
    configured.runner.failing = {"remove_results_k8s.yml": away}
    _begun(configured, timedelta(days=8))

    configured.deletions.expire(configured.store.load("e-1"))

    assert configured.kept() == {"eval-e-1"}
    reason = {"cluster": "CLUSTER_UNREACHABLE: away", "configuration": "KUBECONFIG_INVALID: "}[lost]
    assert f"results/e-1 on claim a-claim of cluster first is left: {reason}" in caplog.text


def test_a_sweep_that_a_deletion_has_overtaken_leaves_nothing(configured: Desk) -> None:
    """What it had noted by then in the receipt would stay for ever."""
    record = configured.store.load("e-1")
    _overtaken(configured)
    with pytest.raises(ClusterError):
        configured.deletions.expire(record)

    assert configured.kept() == {"eval-e-1"}
