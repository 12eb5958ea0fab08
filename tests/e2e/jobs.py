"""Jobs that tests start by themselves, with what the namespaces' `restricted` level demands of a pod."""

from typing import Any

Json = dict[str, Any]

CLAIM = {"name": "shared", "persistentVolumeClaim": {"claimName": "eval-datasets-pvc-rwx"}}
"""The shared claim as a volume."""


def restricted_job(name: str, namespace: str, container: Json, volumes: list[Json]) -> Json:
    """One try of one container, which says itself what it may write."""
    pod = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": 10001,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [container],
        "volumes": volumes,
    }
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"backoffLimit": 0, "template": {"spec": pod}},
    }


def python_job(name: str, namespace: str, script: str) -> Json:
    """Runs a script of Python with the shared claim at /workspace/shared, and nothing else to write to."""
    container = {
        "name": "main",
        "image": "budeval.local/python:3.11",
        "command": ["python3", "-c", script],
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [{"name": "shared", "mountPath": "/workspace/shared"}],
    }
    return restricted_job(name, namespace, container, [CLAIM])
