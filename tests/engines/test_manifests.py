"""The manifests of evaluation Jobs: what they allow a pod, and what they show of a request."""

import json
from dataclasses import replace
from typing import Any

import pytest

from budeval.config import StorageConfig
from budeval.domain.evaluation import Evaluation
from budeval.domain.redaction import SECRET_VALUES
from budeval.engines.base import MOUNT, SCRATCH, JobSpec
from budeval.engines.manifests import deployment, hardened_pod, labels, probe_job

_STORAGE = StorageConfig(mount_path="/workspace/shared")
_SPEC = JobSpec(
    run_id="sums-1",
    attempt=1,
    image="images.local/engine:1",
    command=["/usr/bin/tini", "--", "python3", "/budeval/run.py"],
    files={"run.json": "{}", "run.py": "print()"},
    environment={"MODE": "fast"},
    secret_environment={"OPENAI_API_KEY": "sk-very-secret"},
)
# What `restricted` and the service's own rules leave to a container.
_CONTAINER = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}


def _evaluation(**more: Any) -> Evaluation:
    return Evaluation.model_validate(
        {
            "eval_id": "e-1",
            "experiment_id": "x-1",
            "engine": "opencompass",
            "model": {"name": "m", "endpoint": "http://m/v1"},
            "runs": [
                {
                    "run_id": "sums-1",
                    "dataset_id": "sums",
                    "resources": {"cpu": "250m", "memory": "3Gi"},
                }
            ],
            "target": {"cluster": "local", "namespace": "team-a"},
            "claim": "a-claim",
            "timeouts": {"start": 100, "run": 1000},
            "audience": {"topics": ["news"], "workflow_id": "theirs"},
            **more,
        }
    )


def _deployed(
    spec: JobSpec = _SPEC, storage: StorageConfig = _STORAGE, evaluation: Evaluation | None = None
) -> dict[str, Any]:
    evaluation = evaluation or _evaluation()
    return deployment(evaluation, evaluation.runs[0], spec, storage, "here")


def _job(spec: JobSpec = _SPEC, storage: StorageConfig = _STORAGE) -> dict[str, Any]:
    job: dict[str, Any] = _deployed(spec, storage)["job"]
    return job


def _pod(job: dict[str, Any]) -> dict[str, Any]:
    pod: dict[str, Any] = job["spec"]["template"]["spec"]
    return pod


def _container(job: dict[str, Any]) -> dict[str, Any]:
    (container,) = _pod(job)["containers"]
    assert isinstance(container, dict)
    return container


def _digest(deployed: dict[str, Any]) -> Any:
    return deployed["job"]["metadata"]["annotations"]["budeval.dev/spec"]


_JOBS = pytest.mark.parametrize(
    "job", [_job(), probe_job("team-a", "a-claim", _STORAGE)], ids=["evaluation", "probe"]
)


@_JOBS
def test_pods_meet_the_restricted_security_level(job: dict[str, Any]) -> None:
    """Field by field what it asks for; the probe has the same, so that it finds out what is allowed."""
    security = _pod(job)["securityContext"]

    assert security["runAsNonRoot"] is True
    assert security["runAsUser"] == security["runAsGroup"] == security["fsGroup"] == 10001
    assert security["seccompProfile"] == {"type": "RuntimeDefault"}
    assert _container(job)["securityContext"] == _CONTAINER
    assert not {"hostNetwork", "hostPID", "hostIPC", "initContainers"} & set(_pod(job))
    assert all(set(volume) & {"persistentVolumeClaim", "emptyDir", "configMap"} for volume in _volumes(job))


def _volumes(job: dict[str, Any]) -> list[dict[str, Any]]:
    volumes: list[dict[str, Any]] = _pod(job)["volumes"]
    return volumes


@_JOBS
def test_pods_know_nothing_of_the_cluster(job: dict[str, Any]) -> None:
    """No token of a service account, no variables that name services."""
    assert _pod(job)["automountServiceAccountToken"] is False
    assert _pod(job)["enableServiceLinks"] is False
    assert "serviceAccountName" not in _pod(job)


@_JOBS
def test_jobs_run_once_and_not_for_ever(job: dict[str, Any]) -> None:
    """No second try by Kubernetes, a deadline, and nothing runs before it is released."""
    assert job["spec"]["backoffLimit"] == 0
    assert job["spec"]["suspend"] is True
    assert job["spec"]["activeDeadlineSeconds"] > 0
    assert _pod(job)["restartPolicy"] == "Never"


def test_the_deadline_holds_the_time_to_start_and_to_run() -> None:
    """Kubernetes counts from the release; patience with the start is ours."""
    assert _job()["spec"]["activeDeadlineSeconds"] == 1100


def test_resources_are_those_of_the_run() -> None:
    """Memory is limited, so that a run hurts nobody but itself; idle cores may be used."""
    assert _container(_job())["resources"] == {
        "requests": {"cpu": "250m", "memory": "3Gi"},
        "limits": {"memory": "3Gi"},
    }


@pytest.mark.parametrize("root", ["/workspace/shared", "/mnt"])
def test_only_the_evaluations_own_results_are_writable(root: str) -> None:
    """Datasets, stock data and files are read-only; of the claim nothing else is there."""
    container = _container(_job(storage=StorageConfig(mount_path=root)))

    mounts = {mount["mountPath"]: mount for mount in container["volumeMounts"]}
    writable = {path for path, mount in mounts.items() if not mount.get("readOnly")}
    of_claim = {path: mount["subPath"] for path, mount in mounts.items() if mount["name"] == "shared"}
    assert writable == {f"{root}/results/e-1", SCRATCH}
    assert set(mounts) - writable == {f"{root}/datasets", f"{root}/data", MOUNT}
    assert of_claim == {
        f"{root}/results/e-1": "results/e-1",
        f"{root}/datasets": "datasets",
        f"{root}/data": "data",
    }


def test_a_tenants_pods_see_its_own_datasets() -> None:
    """In the place where those of tenant `default` are for others, so paths are the same."""
    mounts = _deployed(evaluation=_evaluation(tenant="team-a"))["job"]["spec"]["template"]["spec"][
        "containers"
    ][0]["volumeMounts"]
    (datasets,) = [mount for mount in mounts if mount["mountPath"].endswith("/datasets")]
    assert datasets["subPath"] == "tenants/team-a/datasets"
    assert datasets["readOnly"] is True
    assert "datasets" not in [mount.get("subPath") for mount in mounts]


def test_the_claim_is_that_of_the_evaluation() -> None:
    """In the namespace that was asked for."""
    job = _job()

    claims = [
        volume["persistentVolumeClaim"] for volume in _volumes(job) if "persistentVolumeClaim" in volume
    ]
    assert claims == [{"claimName": "a-claim"}]
    assert job["metadata"]["namespace"] == "team-a"


def test_secrets_are_referred_to_and_never_shown() -> None:
    """They are told apart from all that is stored in the clear: the Job, its digest, its files."""
    deployed = _deployed()

    assert deployed[SECRET_VALUES] == {"OPENAI_API_KEY": "sk-very-secret"}
    others = {name: value for name, value in deployed.items() if name != SECRET_VALUES}
    assert "sk-very-secret" not in json.dumps(others)
    variables = {item["name"]: item for item in _container(deployed["job"])["env"]}
    assert variables["OPENAI_API_KEY"]["valueFrom"] == {
        "secretKeyRef": {"name": deployed["parts"], "key": "OPENAI_API_KEY"}
    }
    assert "sk-very-secret" not in repr(_SPEC)


def test_the_digest_does_not_depend_on_secrets() -> None:
    """It is public, and a key could be guessed by it."""
    other = replace(_SPEC, secret_environment={"OPENAI_API_KEY": "another"})

    assert _digest(_deployed(other)) == _digest(_deployed())


def test_the_plain_environment_is_there_and_home_is_writable() -> None:
    """Whatever an engine wants: the root file system is read-only."""
    spec = replace(_SPEC, environment={"MODE": "fast", "HOME": "/root"})

    variables = {item["name"]: item.get("value") for item in _container(_job(spec))["env"]}

    assert variables == {"MODE": "fast", "HOME": SCRATCH, "TMPDIR": SCRATCH, "OPENAI_API_KEY": None}
    assert _container(_job(spec))["workingDir"] == SCRATCH


def test_all_objects_of_a_run_are_marked() -> None:
    """By the labels everything of an evaluation is found again, Jobs and pods alike."""
    job = _job(replace(_SPEC, attempt=2))

    marks = {
        "app.kubernetes.io/managed-by": "budeval",
        "budeval.dev/installation": "here",
        "budeval.dev/eval-id": "e-1",
        "budeval.dev/run-id": "sums-1",
        "budeval.dev/attempt": "2",
        "budeval.dev/tenant": "default",
    }
    assert job["metadata"]["labels"] == job["spec"]["template"]["metadata"]["labels"] == marks
    assert marks.items() >= labels(_evaluation(), "here").items()


def test_a_deployment_names_the_job_but_does_not_settle_its_name() -> None:
    """The playbook takes the first that is free."""
    deployed = _deployed(replace(_SPEC, attempt=2))

    assert deployed["run_id"] == "sums-1"
    assert deployed["names"][0] == "sums-1-a2"
    assert "name" not in deployed["job"]["metadata"]
    assert deployed["files"] == _SPEC.files


def test_the_digest_is_of_what_was_asked_for() -> None:
    """A newer release words the Job otherwise: a deployment that it repeats still finds its own."""
    newer = replace(_SPEC, files={"run.json": "{}"}, image="images.local/engine:2", command=["true"])

    assert _digest(_deployed(newer)) == _digest(_deployed())
    assert _digest(_deployed(replace(_SPEC, attempt=2))) != _digest(_deployed())


def test_a_drained_node_costs_a_run_no_second_chance() -> None:
    """Kubernetes replaces such a pod itself; every other end of a pod is the run's."""
    spec = _job()["spec"]

    assert spec["podFailurePolicy"] == {
        "rules": [{"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget"}]}]
    }
    assert (spec["backoffLimit"], _pod(_job())["restartPolicy"]) == (0, "Never")


def test_a_job_that_nobody_cleans_up_goes_by_itself() -> None:
    """After a week; sooner would look as if it was lost while the service was away."""
    assert _job()["spec"]["ttlSecondsAfterFinished"] == 7 * 24 * 3600


@pytest.mark.parametrize(
    "change",
    [
        {"eval_id": "e-2"},
        {"claim": "another"},
        {"timeouts": {"start": 100, "run": 1001}},
        {"target": {"cluster": "local", "namespace": "team-b"}},
    ],
)
def test_the_digest_changes_with_the_evaluation(change: dict[str, Any]) -> None:
    """Two teams that use the same run id do not take each other's Jobs for their own."""
    assert _digest(_deployed(evaluation=_evaluation(**change))) != _digest(_deployed())


def test_a_pull_secret_is_named_where_there_is_one() -> None:
    """Otherwise the field is missing."""
    private = StorageConfig(pull_secret="registry")

    assert hardened_pod(private)["imagePullSecrets"] == [{"name": "registry"}]
    assert "imagePullSecrets" not in hardened_pod(_STORAGE)


def test_the_probe_belongs_to_nobody_and_mounts_the_claim() -> None:
    """It is only ever sent as a dry run."""
    job = probe_job("team-a", "a-claim", _STORAGE)

    assert job["metadata"]["labels"] == {"app.kubernetes.io/managed-by": "budeval"}
    assert job["metadata"]["namespace"] == "team-a"
    assert _volumes(job) == [{"name": "shared", "persistentVolumeClaim": {"claimName": "a-claim"}}]
