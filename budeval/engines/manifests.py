"""Kubernetes manifests of evaluation Jobs, as data: nothing of a request is ever part of a template.

Pods are unprivileged, non-root, have a read-only root file system and no service-account token, ask for
resources and have limits and a deadline, and see of the shared claim only their evaluation's results
(writable), the datasets of its tenant and the engines' stock data (both read-only).
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from budeval.config import StorageConfig
from budeval.domain.datasets import datasets_directory
from budeval.domain.evaluation import Evaluation, Run
from budeval.domain.identifiers import job_names, parts_name
from budeval.domain.redaction import SECRET_VALUES
from budeval.engines import pod_files
from budeval.engines.base import MOUNT, SCRATCH, JobSpec

MANAGED_BY = "app.kubernetes.io/managed-by"
EVAL_LABEL = "budeval.dev/eval-id"
RUN_LABEL = "budeval.dev/run-id"
ATTEMPT_LABEL = "budeval.dev/attempt"
TENANT_LABEL = "budeval.dev/tenant"
INSTALLATION_LABEL = "budeval.dev/installation"
SPEC_ANNOTATION = "budeval.dev/spec"

_USER = 10001
_TERMINATION_GRACE_SECONDS = 15
_LEFT_OVER_SECONDS = 7 * 24 * 3600

Manifest = dict[str, Any]


def labels(
    evaluation: Evaluation, installation: str, more: Mapping[str, str] | None = None
) -> dict[str, str]:
    """What all objects of an evaluation carry."""
    return {
        MANAGED_BY: "budeval",
        INSTALLATION_LABEL: installation,
        EVAL_LABEL: evaluation.eval_id,
        TENANT_LABEL: evaluation.tenant,
        **(more or {}),
    }


def selector(eval_id: str | None) -> str:
    """Finds all objects of an evaluation, or of all of them."""
    return f"{MANAGED_BY}=budeval" + (f",{EVAL_LABEL}={eval_id}" if eval_id else "")


def deployment(
    evaluation: Evaluation, run: Run, spec: JobSpec, storage: StorageConfig, installation: str
) -> dict[str, Any]:
    """What the deploy playbook makes of a run: the Job, and what belongs to it.

    Returns:
        {run_id, names: the Job's possible names, parts: the name of its ConfigMap and Secret, job: manifest
        without a name, files: {name: content}, secret_values: {name: value}}.
    """
    marks = labels(evaluation, installation, {RUN_LABEL: run.run_id, ATTEMPT_LABEL: str(spec.attempt)})
    parts = parts_name(evaluation.eval_id, run.run_id, spec.attempt)
    job = _job(evaluation, run, spec, marks, storage, parts)
    job["metadata"]["annotations"] = {SPEC_ANNOTATION: _digest(evaluation, run, spec.attempt)}
    return {
        "run_id": run.run_id,
        "names": job_names(evaluation.eval_id, run.run_id, spec.attempt),
        "parts": parts,
        "job": job,
        "files": pod_files.as_data(spec.files),
        SECRET_VALUES: dict(spec.secret_environment),
    }


def _digest(evaluation: Evaluation, run: Run, attempt: int) -> str:
    """The same for the same run of the same request: by it a repeated deployment knows its own Job.

    Of what was asked for and not of the manifest, which a newer release of the service may word otherwise.
    """
    asked = evaluation.model_dump(mode="json", exclude_defaults=True)
    text = json.dumps([asked, run.run_id, attempt], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _job(
    evaluation: Evaluation,
    run: Run,
    spec: JobSpec,
    marks: dict[str, str],
    storage: StorageConfig,
    parts: str,
) -> Manifest:
    pod = {
        **hardened_pod(storage),
        "terminationGracePeriodSeconds": _TERMINATION_GRACE_SECONDS,
        "containers": [_container(evaluation, run, spec, storage, parts)],
        "volumes": [
            {"name": "shared", "persistentVolumeClaim": {"claimName": evaluation.claim}},
            {"name": "scratch", "emptyDir": {}},
            {"name": "files", "configMap": {"name": parts, "items": pod_files.as_items(spec.files)}},
        ],
    }
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"namespace": evaluation.target.namespace, "labels": marks},
        "spec": {
            # Released when its ConfigMap and Secret are there; both belong to it and go with it.
            "suspend": True,
            # A run's end is not retried by itself: OOM, DEADLINE, JOB_FAILED stand until somebody retries.
            "backoffLimit": 0,
            # But a node that is drained or lost is not the run's doing: the pod is replaced, and resumes.
            "podFailurePolicy": {
                "rules": [{"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget"}]}]
            },
            "activeDeadlineSeconds": evaluation.timeouts.start + evaluation.timeouts.run,
            # Should clean-up never reach the cluster. Long, for a Job that vanishes early looks lost.
            "ttlSecondsAfterFinished": _LEFT_OVER_SECONDS,
            "template": {"metadata": {"labels": marks}, "spec": pod},
        },
    }


def _container(
    evaluation: Evaluation, run: Run, spec: JobSpec, storage: StorageConfig, parts: str
) -> Manifest:
    root = storage.mount_path
    results = f"results/{evaluation.eval_id}"
    datasets = datasets_directory(evaluation.tenant)
    return {
        "name": "engine",
        "image": spec.image,
        "command": spec.command,
        "workingDir": SCRATCH,
        "env": _environment(spec, parts),
        "resources": {
            "requests": {"cpu": run.resources.cpu, "memory": run.resources.memory},
            "limits": {"memory": run.resources.memory},
        },
        "securityContext": hardened_container(),
        "volumeMounts": [
            {"name": "shared", "mountPath": f"{root}/{results}", "subPath": results},
            {"name": "shared", "mountPath": f"{root}/datasets", "subPath": datasets, "readOnly": True},
            {"name": "shared", "mountPath": f"{root}/data", "subPath": "data", "readOnly": True},
            {"name": "scratch", "mountPath": SCRATCH},
            {"name": "files", "mountPath": MOUNT, "readOnly": True},
        ],
    }


def _environment(spec: JobSpec, secret: str) -> list[Manifest]:
    """Plain variables, and references into the Secret."""
    plain = {**spec.environment, "HOME": SCRATCH, "TMPDIR": SCRATCH}
    return [
        *({"name": name, "value": value} for name, value in sorted(plain.items())),
        *(
            {"name": name, "valueFrom": {"secretKeyRef": {"name": secret, "key": name}}}
            for name in sorted(spec.secret_environment)
        ),
    ]


def hardened_pod(storage: StorageConfig) -> Manifest:
    """What every pod of ours has: Kubernetes' pod security level `restricted`, and no token."""
    pod: Manifest = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": _USER,
            "runAsGroup": _USER,
            "fsGroup": _USER,
            "fsGroupChangePolicy": "OnRootMismatch",
            "seccompProfile": {"type": "RuntimeDefault"},
        },
    }
    return pod | ({"imagePullSecrets": [{"name": storage.pull_secret}]} if storage.pull_secret else {})


def hardened_container() -> Manifest:
    """What every container of ours has."""
    return {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


def probe_job(namespace: str, claim: str, storage: StorageConfig) -> Manifest:
    """A Job with the shape and the security settings of an evaluation's; only ever sent as a dry run."""
    container = {
        "name": "probe",
        "image": "budeval.local/probe:none",
        "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}, "limits": {"memory": "64Mi"}},
        "securityContext": hardened_container(),
        "volumeMounts": [{"name": "shared", "mountPath": storage.mount_path}],
    }
    pod = {
        **hardened_pod(storage),
        "containers": [container],
        "volumes": [{"name": "shared", "persistentVolumeClaim": {"claimName": claim}}],
    }
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": "budeval-verify-probe",
            "namespace": namespace,
            "labels": {MANAGED_BY: "budeval"},
        },
        "spec": {"backoffLimit": 0, "activeDeadlineSeconds": 60, "suspend": True, "template": {"spec": pod}},
    }
