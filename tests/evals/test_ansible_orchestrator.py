"""Kubernetes operations, with a fake in place of the playbook runner."""

import json
import tempfile
from pathlib import Path
from typing import Any

import pytest

from budeval.ansible import kubeconfig
from budeval.ansible.runner import Tell
from budeval.config import EngineConfig, StorageConfig
from budeval.domain.cluster import ClusterTarget
from budeval.domain.evaluation import Evaluation
from budeval.domain.identifiers import parts_name
from budeval.domain.receipt import PRIVATE_DIRECTORY, ReceiptItem
from budeval.engines.base import JobSpec
from budeval.engines.manifests import INSTALLATION_LABEL
from budeval.engines.opencompass.jobs import OpenCompass
from budeval.errors import ClusterError, EvaluationError
from budeval.evals.ansible_orchestrator import AnsibleOrchestrator
from budeval.evals.clusters import Clusters
from budeval.evals.installation import Installation
from budeval.evals.receipts import Receipts
from tests.evals import samples
from tests.runtime.fake_dapr import FakeDapr

_STORAGE = StorageConfig(claim="a-claim", mount_path="/shared")
_TARGET = ClusterTarget(cluster="first", namespace="team-a")
_FOUND = {
    "server_version": "v1.34.4",
    "namespace_exists": True,
    "claim_phase": "Bound",
    "quota_used_up": False,
}


def _allowed() -> None:
    """Nobody has changed his mind."""


class FakeRunner:
    """Takes down what is run, and answers with what it was made with."""

    def __init__(self, outcome: dict[str, Any] | ClusterError) -> None:
        self.outcome = outcome
        self.runs: list[tuple[str, dict[str, Any], str]] = []

    def run(
        self,
        playbook: str,
        data: dict[str, Any],
        kubeconfig: str,
        patience: float = 0,
        tell: Tell | None = None,
    ) -> dict[str, Any]:
        """Return the outcome, or raise it."""
        self.told = tell is not None
        if tell:
            tell(Path(tempfile.gettempdir()) / "budeval-run-fake")
        self.patience = patience
        self.runs.append((playbook, data, kubeconfig))
        if isinstance(self.outcome, ClusterError):
            raise self.outcome
        return self.outcome


def _orchestrator(runner: FakeRunner, directory: Path) -> AnsibleOrchestrator:
    clusters = Clusters(directory, lambda _eval_id: None)
    sidecar = FakeDapr().client()
    return AnsibleOrchestrator(
        runner, clusters, {}, _STORAGE, EngineConfig(), Receipts(sidecar, {}), Installation(sidecar)
    )


@pytest.fixture
def clusters(tmp_path: Path) -> Path:
    """Two configured clusters, and files that are none."""
    for name in ("second", "first"):
        (tmp_path / f"{name}.yaml").write_text(samples.kubeconfig(f"token-of-{name}"))
    (tmp_path / "notes.txt").write_text("no cluster")
    return tmp_path


def test_a_usable_cluster_is_told_with_what_was_found(clusters: Path) -> None:
    """Version and phase of the claim come from the playbook, the claim's name from the settings."""
    verification = _orchestrator(FakeRunner(_FOUND), clusters).verify(_TARGET)

    assert verification.model_dump() == {
        "target": {"cluster": "first", "namespace": "team-a"},
        "ok": True,
        "code": None,
        "message": "Evaluations can run in namespace team-a of cluster first.",
        "server_version": "v1.34.4",
        "claim": "a-claim",
        "claim_phase": "Bound",
    }


@pytest.mark.parametrize(
    ("found", "missing"),
    [
        ({"namespace_exists": False, "claim_phase": None}, "no namespace team-a"),
        ({"claim_phase": None}, "no PersistentVolumeClaim a-claim"),
    ],
    ids=["namespace", "claim"],
)
def test_what_is_missing_is_named(clusters: Path, found: dict[str, Any], missing: str) -> None:
    """A cluster that answers but lacks something is an answer: not usable, and why."""
    verification = _orchestrator(FakeRunner(_FOUND | found), clusters).verify(_TARGET)

    assert (verification.ok, verification.code) == (False, "NAMESPACE_OR_PVC_MISSING")
    assert missing in verification.message
    assert verification.server_version == "v1.34.4"


def test_a_quota_that_is_used_up_is_no_reason_against_a_cluster(clusters: Path) -> None:
    """Runs will wait for it, as for a node."""
    verification = _orchestrator(FakeRunner(_FOUND | {"quota_used_up": True}), clusters).verify(_TARGET)

    assert verification.ok
    assert "runs will wait" in verification.message


def test_a_final_refusal_is_an_answer(clusters: Path) -> None:
    """Another try would not help, so the code is in the outcome instead of an exception."""
    refusal = ClusterError("You may not.", code="FORBIDDEN", retryable=False)

    verification = _orchestrator(FakeRunner(refusal), clusters).verify(_TARGET)

    assert (verification.ok, verification.code, verification.message) == (False, "FORBIDDEN", "You may not.")
    assert verification.claim == "a-claim"


def test_what_may_pass_is_raised(clusters: Path) -> None:
    """The caller decides on another try."""
    away = ClusterError("nobody answers", code="CLUSTER_UNREACHABLE", retryable=True)

    with pytest.raises(ClusterError) as raised:
        _orchestrator(FakeRunner(away), clusters).verify(_TARGET)

    assert raised.value is away


@pytest.mark.parametrize("cluster", ["first", "second"])
def test_the_credential_is_that_of_the_cluster(clusters: Path, cluster: str) -> None:
    """The playbook gets the named cluster's kubeconfig, rebuilt, and no other."""
    runner = FakeRunner(_FOUND)

    _orchestrator(runner, clusters).verify(ClusterTarget(cluster=cluster, namespace="team-a"))

    ((_, _, credential),) = runner.runs
    assert credential == kubeconfig.rebuild(samples.kubeconfig(f"token-of-{cluster}"))


@pytest.mark.parametrize(
    "content",
    [None, b"", b"users: [{name: u, user: {exec: {command: sh}}}]", b"\xff\xfe\x00"],
    ids=["absent", "empty", "incomplete", "no-text"],
)
def test_a_kubeconfig_that_cannot_be_used_runs_nothing(clusters: Path, content: bytes | None) -> None:
    """No playbook is run, and none with another cluster's credential: the outcome says why."""
    runner = FakeRunner(_FOUND)
    path = clusters / "first.yaml"
    path.unlink()
    if content is not None:
        path.write_bytes(content)

    verification = _orchestrator(runner, clusters).verify(_TARGET)

    assert (verification.ok, verification.code) == (False, "KUBECONFIG_INVALID")
    assert runner.runs == []


def test_the_playbook_is_asked_about_a_job_like_an_evaluations(clusters: Path) -> None:
    """The probe is a restricted Job that mounts the claim, names the namespace and would start nothing."""
    runner = FakeRunner(_FOUND)

    _orchestrator(runner, clusters).verify(_TARGET)

    ((playbook, data, _),) = runner.runs
    job = data["probe_job"]
    pod = job["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert playbook == "verify_cluster_k8s.yml"
    assert (data["namespace"], data["claim"]) == ("team-a", "a-claim")
    assert (job["kind"], job["metadata"]["namespace"], job["spec"]["suspend"]) == ("Job", "team-a", True)
    assert pod["volumes"][0]["persistentVolumeClaim"] == {"claimName": "a-claim"}
    assert container["volumeMounts"] == [{"name": pod["volumes"][0]["name"], "mountPath": "/shared"}]


def test_the_probe_satisfies_the_restricted_level(clusters: Path) -> None:
    """All that Kubernetes' restricted pod security level demands is set, or namespaces with it refuse us."""
    runner = FakeRunner(_FOUND)

    _orchestrator(runner, clusters).verify(_TARGET)

    pod = runner.runs[0][1]["probe_job"]["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] > 0
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["automountServiceAccountToken"] is False
    for container in pod["containers"]:
        assert container["securityContext"]["allowPrivilegeEscalation"] is False
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}


def _evaluation() -> Evaluation:
    return samples.evaluation(
        runs=[{"run_id": run_id, "dataset_id": "d"} for run_id in ("r-1", "r-2")],
        target={"cluster": "first", "namespace": "team-a"},
        claim="another-claim",
    )


def _working(
    runner: FakeRunner, directory: Path, storage: StorageConfig = _STORAGE, dapr: FakeDapr | None = None
) -> AnsibleOrchestrator:
    images = EngineConfig(extractor="an-extractor")
    clusters = Clusters(directory, lambda _eval_id: None)
    engines = {"opencompass": OpenCompass("an-image", storage)}
    sidecar = (dapr or FakeDapr()).client()
    return AnsibleOrchestrator(
        runner, clusters, engines, storage, images, Receipts(sidecar, {}), Installation(sidecar)
    )


def _made(run_id: str) -> dict[str, Any]:
    """A run that was deployed, as the plugin tells it."""
    parts = {"ConfigMap": f"uid-of-files-{run_id}", "Secret": f"uid-of-secret-{run_id}"}
    return {"run_id": run_id, "job": f"job-{run_id}", "uid": f"uid-of-job-{run_id}", "parts": parts}


def _receipt(dapr: FakeDapr) -> dict[tuple[str, str], ReceiptItem]:
    """By kind and name, what is on the cluster or the claim."""
    items = Receipts(dapr.client(), {}).of("e-1")
    return {(item.kind, item.name): item for item in items if item.kind != PRIVATE_DIRECTORY}


def _job(eval_id: str, run_id: str) -> dict[str, Any]:
    return {
        "eval_id": eval_id,
        "run_id": run_id,
        "name": "j",
        "uid": "u",
        "created": "2026-01-01T00:00:00Z",
    }


@pytest.mark.parametrize(
    ("said", "code"),
    [
        (
            '403 {"kind":"Status","code":403,"reason":"Forbidden","message":"exceeded quota: q"}',
            "QUOTA_EXCEEDED",
        ),
        (
            '403 {"kind":"Status","code":403,"reason":"Forbidden","message":"violates PodSecurity"}',
            "POD_REJECTED",
        ),
        (
            '422 {"kind":"Status","code":422,"reason":"Invalid","message":"spec: Invalid value"}',
            "SPEC_INVALID",
        ),
        ('404 {"kind":"Status","code":404,"reason":"NotFound","message":"no"}', "NAMESPACE_OR_PVC_MISSING"),
    ],
)
def test_a_run_that_is_not_deployed_has_a_code(clusters: Path, said: str, code: str) -> None:
    """By the API server's words; the others have their Job."""
    found = [_made("r-1"), {"run_id": "r-2", "msg": said}]
    specs = [JobSpec(run_id, 1, "i", ["c"], {}) for run_id in ("r-1", "r-2")]

    first, second = _working(FakeRunner({"runs": found}), clusters).deploy(_evaluation(), specs, _allowed)

    assert (first.job, first.code, first.message) == ("job-r-1", None, None)
    assert (second.job, second.code) == (None, code)
    assert second.message


def test_a_runs_name_does_not_choose_its_code(clusters: Path) -> None:
    """A number in a name, which the caller chooses, is no status of the API server."""
    said = "409 the Job names run-401 and run-403 are taken by other Jobs"
    runner = FakeRunner({"runs": [{"run_id": "run-401", "msg": said}]})

    (refused,) = _working(runner, clusters).deploy(_evaluation(), [], _allowed)

    assert refused.code not in {"AUTH_FAILED", "FORBIDDEN"}


@pytest.mark.parametrize(
    ("eval_ids", "selector"),
    [
        (["e-1"], "app.kubernetes.io/managed-by=budeval,budeval.dev/eval-id=e-1,budeval.dev/run-id"),
        (["e-1", "e-2"], "app.kubernetes.io/managed-by=budeval,budeval.dev/run-id"),
    ],
)
def test_one_listing_serves_many_evaluations(clusters: Path, eval_ids: list[str], selector: str) -> None:
    """What is found is told apart by evaluation and run."""
    runner = FakeRunner({"jobs": [_job(eval_id, "r-1") for eval_id in eval_ids]})

    found = _working(runner, clusters).check_jobs_status(_TARGET, eval_ids, [["e-1", "r-9"]])

    ((playbook, data, credential),) = runner.runs
    assert {eval_id: list(runs) for eval_id, runs in found.items()} == {
        eval_id: ["r-1"] for eval_id in eval_ids
    }
    assert playbook == "check_job_status_k8s.yml"
    assert (data["selector"], data["evaluations"]) == (selector, eval_ids)
    assert data["settled"] == [["e-1", "r-9"]]
    assert "token-of-first" in credential


def test_each_try_of_an_extraction_has_a_job_of_its_own(clusters: Path) -> None:
    """One that runs twice at once must not delete the Job under the other. It gets the guide's 300 s."""
    runner = FakeRunner({"log": "", "pods": [], "removed": []})
    orchestrator = _working(runner, clusters, StorageConfig(pull_secret="a-secret", mount_path="/shared"))

    for _ in range(2):
        with pytest.raises(ClusterError):
            orchestrator.extract_job_results(_evaluation(), ["r-1"], _allowed)

    orders = [data for _, data, _ in runner.runs]
    names = [order.pop("temp_id") for order in orders]
    assert len(set(names)) == 2
    assert all(len(f"extract-results-{name}") <= 57 for name in names)
    assert orders[0] == orders[1]
    assert (orders[0]["claim"], orders[0]["image"]) == ("another-claim", "an-extractor")
    assert orders[0]["pull_secrets"] == [{"name": "a-secret"}]
    assert "budeval.engines.opencompass.extract_results" in orders[0]["files"]["__main__.py"]
    assert json.loads(orders[0]["files"]["run_ids.json"]) == ["r-1"]
    assert {"key": "run_ids.json", "path": "run_ids.json"} in orders[0]["items"]
    assert (orders[0]["wait_seconds"], runner.patience) == (300, 300)


def test_files_are_removed_by_a_job_of_their_own(clusters: Path) -> None:
    """A line of its log says how many."""
    log = '{"files": 7, "bytes": 1}\na warning\n'
    runner, dapr = FakeRunner({"log": log, "pods": [], "removed": []}), FakeDapr()

    assert _working(runner, clusters, dapr=dapr).remove_results(_evaluation()) == 7

    ((playbook, data, _),) = runner.runs
    assert playbook == "remove_results_k8s.yml"
    assert (data["eval_id"], data["claim"]) == ("e-1", "another-claim")
    assert len(f"remove-results-{data['temp_id']}") <= 57
    assert "budeval.engines.claim.remove_results" in data["files"]["__main__.py"]
    tree = _receipt(dapr)["ResultTree", "results/e-1 on claim another-claim"]
    assert (tree.outcome, tree.namespace) == ("deleted", "team-a")
    assert "removed 7 files" in str(tree.proof)


def _waiting(reason: str) -> dict[str, Any]:
    state = {"waiting": {"reason": reason, "message": "said the kubelet"}}
    return {"phase": "Pending", "containerStatuses": [{"state": state}]}


@pytest.mark.parametrize(
    ("pods", "code", "retryable", "says"),
    [
        ([], "EXTRACTION_FAILED", True, "no pod"),
        ([{"phase": "Pending"}], "EXTRACTION_FAILED", True, "Pending"),
        ([{"phase": "Running", "containerStatuses": [{"state": {}}]}], "EXTRACTION_FAILED", True, "Running"),
        ([_waiting("ImagePullBackOff")], "IMAGE_PULL", False, "said the kubelet"),
        ([_waiting("InvalidImageName")], "IMAGE_PULL", False, "said the kubelet"),
        ([_waiting("CreateContainerConfigError")], "EXTRACTION_FAILED", True, "said the kubelet"),
    ],
)
def test_an_extraction_without_a_log_tells_why(
    clusters: Path,
    pods: list[dict[str, Any]],
    code: str,
    retryable: bool,  # noqa: FBT001 - a table
    says: str,
) -> None:
    """By its pod, if it has come to one."""
    orchestrator = _working(FakeRunner({"log": "", "pods": pods, "removed": []}), clusters)

    with pytest.raises(ClusterError) as raised:
        orchestrator.extract_job_results(_evaluation(), ["r-1"], _allowed)

    assert (raised.value.code, raised.value.retryable) == (code, retryable)
    assert says in raised.value.message


def test_a_log_that_is_no_extractors_is_refused(clusters: Path) -> None:
    """Whatever a pod prints, it is believed only if its digests are right."""
    orchestrator = _working(
        FakeRunner({"log": "Traceback: no such file", "pods": [], "removed": []}), clusters
    )

    with pytest.raises(ClusterError) as raised:
        orchestrator.extract_job_results(_evaluation(), ["r-1"], _allowed)

    assert raised.value.code == "LOG_CORRUPT"


def test_a_clean_up_is_that_of_one_evaluation(clusters: Path) -> None:
    """By its label, and only of what is ours."""
    gone = {"kind": "Job", "name": "r-1", "uid": "u", "outcome": "deleted", "proof": "a list without it"}
    runner, dapr = FakeRunner({"receipt": [gone], "absence": {}}), FakeDapr()

    _working(runner, clusters, dapr=dapr).cleanup(_evaluation())

    job = _receipt(dapr)["Job", "r-1"]
    assert (job.uid, job.namespace, job.outcome, job.proof) == ("u", "team-a", "deleted", "a list without it")
    assert job.at
    ((playbook, data, _),) = runner.runs
    assert playbook == "cleanup_k8s.yml"
    assert data["selector"] == "app.kubernetes.io/managed-by=budeval,budeval.dev/eval-id=e-1"
    assert data["secrets"] == [
        parts_name("e-1", run_id, attempt) for run_id in ("r-1", "r-2") for attempt in (1, 2)
    ]
    assert runner.patience == 60


def test_what_is_left_by_a_clean_up_is_told(clusters: Path) -> None:
    """It may be gone at the next try; until then the receipt has it with its reason."""
    left = {"kind": "Pod", "name": "r-1-x", "uid": "u", "outcome": "ending", "reason": "It ends."}
    runner, dapr = FakeRunner({"receipt": [left], "absence": {}}), FakeDapr()

    with pytest.raises(ClusterError, match="Pod r-1-x: It ends") as raised:
        _working(runner, clusters, dapr=dapr).cleanup(_evaluation())

    assert (raised.value.code, raised.value.retryable) == ("CLEANUP_INCOMPLETE", True)
    assert _receipt(dapr)["Pod", "r-1-x"].outcome == "ending"


def test_what_a_deployment_makes_is_in_the_receipt_before_anything_is_removed(clusters: Path) -> None:
    """With uids, so that a clean-up which is cut off after its work finds what there was."""
    runner, dapr = FakeRunner({"runs": [_made("r-1"), {"run_id": "r-2", "msg": "422 no"}]}), FakeDapr()
    specs = [JobSpec(run_id, 1, "i", ["c"], {}) for run_id in ("r-1", "r-2")]

    _working(runner, clusters, dapr=dapr).deploy(_evaluation(), specs, _allowed)

    parts = parts_name("e-1", "r-1", 1)
    receipt = _receipt(dapr)
    assert {key: (item.uid, item.outcome) for key, item in receipt.items()} == {
        ("Job", "job-r-1"): ("uid-of-job-r-1", "in_use"),
        ("ConfigMap", parts): ("uid-of-files-r-1", "in_use"),
        ("Secret", parts): ("uid-of-secret-r-1", "in_use"),
        ("ResultTree", "results/e-1 on claim another-claim"): (None, "kept"),
    }
    assert all(item.reason and item.at and item.namespace == "team-a" for item in receipt.values())


def test_a_deployment_of_nothing_leaves_no_tree(clusters: Path) -> None:
    """No pod was there that could have written."""
    runner, dapr = FakeRunner({"runs": [{"run_id": "r-1", "msg": "422 no"}]}), FakeDapr()

    _working(runner, clusters, dapr=dapr).deploy(_evaluation(), [JobSpec("r-1", 1, "i", ["c"], {})], _allowed)

    assert _receipt(dapr) == {}


def test_a_job_at_the_claim_is_in_the_receipt_before_it_is_made(clusters: Path) -> None:
    """Whoever is killed while it runs has left its name; the playbook tells what became of it."""
    runner, dapr = FakeRunner(ClusterError("killed", code="RUNNER_CRASH", retryable=True)), FakeDapr()
    orchestrator = _working(runner, clusters, dapr=dapr)
    with pytest.raises(ClusterError):
        orchestrator.extract_job_results(_evaluation(), ["r-1"], _allowed)
    name = f"extract-results-{runner.runs[0][1]['temp_id']}"
    cut_off = {key: item.outcome for key, item in _receipt(dapr).items()}
    runner.outcome = {"log": "", "pods": [], "removed": _removed("again", gone=True)}
    with pytest.raises(ClusterError):
        orchestrator.extract_job_results(_evaluation(), ["r-1"], _allowed)

    assert cut_off == {("Job", name): "in_use", ("ConfigMap", name): "in_use"}
    done = _receipt(dapr)["Job", "again"]
    assert (done.outcome, done.uid) == ("deleted", "uid-of-Job")
    assert done.proof


def test_what_is_not_wanted_any_more_is_in_no_receipt(clusters: Path) -> None:
    """It was never made: the next attempt's clean-up would look for it."""
    runner, dapr = FakeRunner({}), FakeDapr()

    def over() -> None:
        raise EvaluationError("over", code="ATTEMPT_OVER")

    with pytest.raises(EvaluationError):
        _working(runner, clusters, dapr=dapr).extract_job_results(_evaluation(), ["r-1"], over)

    assert "receipt-e-1" not in dapr.state


def test_a_job_at_the_claim_that_stays_is_told(clusters: Path) -> None:
    """Its deletion took longer than the playbook waits."""
    log = '{"files": 0, "bytes": 0}'
    removed = {"log": log, "pods": [], "removed": _removed("x", gone=False)}
    runner, dapr = FakeRunner(removed), FakeDapr()

    _working(runner, clusters, dapr=dapr).remove_results(_evaluation())

    item = _receipt(dapr)["ConfigMap", "x"]
    assert (item.outcome, item.proof) == ("ending", None)
    assert item.reason


def _removed(name: str, *, gone: bool) -> list[dict[str, Any]]:
    return [
        {"kind": kind, "name": name, "uid": f"uid-of-{kind}", "gone": gone} for kind in ("Job", "ConfigMap")
    ]


@pytest.mark.parametrize(("owner", "told"), [("e-1", True), (None, False)])
def test_only_what_is_run_for_one_evaluation_is_told_of_its_directory(
    clusters: Path, owner: str | None, *, told: bool
) -> None:
    """A watcher's look serves many, a verification of a cluster none."""
    runner = FakeRunner({"jobs": [], **_FOUND})
    orchestrator = _working(runner, clusters)

    orchestrator.check_jobs_status(_TARGET, ["e-1"], [], owner=owner)
    assert runner.told is told
    orchestrator.verify(_TARGET, owner=owner)
    assert runner.told is told


def test_everything_bears_the_installations_id(clusters: Path) -> None:
    """By it another service in the same namespace tells ours from its own; drawn once for a state store."""
    runner, dapr = FakeRunner({"runs": [], "log": "", "pods": [], "removed": []}), FakeDapr()
    for _ in range(2):
        orchestrator = _working(runner, clusters, dapr=dapr)
        orchestrator.deploy(_evaluation(), [JobSpec("r-1", 1, "i", ["c"], {})], _allowed)
        with pytest.raises(ClusterError):
            orchestrator.extract_job_results(_evaluation(), ["r-1"], _allowed)

    marks = {
        data["runs"][0]["job"]["metadata"]["labels"][INSTALLATION_LABEL] for _, data, _ in runner.runs[::2]
    }
    marks |= {data["labels"][INSTALLATION_LABEL] for _, data, _ in runner.runs[1::2]}
    assert marks == {dapr.state["installation"]["id"]}
