"""The Jobs of programs that work at a tenant's datasets on the claim, as data."""

import base64
import json
from typing import Any, NamedTuple

from budeval.config import StorageConfig
from budeval.domain.datasets import DatasetPlace
from budeval.engines import pod_files
from budeval.engines.base import MOUNT
from budeval.engines.manifests import (
    INSTALLATION_LABEL,
    MANAGED_BY,
    TENANT_LABEL,
    hardened_container,
    hardened_pod,
)

PIECE_LIMIT = 900 * 1024
"""Bytes of a ConfigMap with a piece of a part: at most 1 MiB with all that is in it."""
_HERE = "budeval.engines.claim"
_DIGEST_SECONDS = 120
"""For reading all files of a tenant; the Job may need the rest of its time for its node and its image."""
_LEFT_OVER_SECONDS = 300

Manifest = dict[str, Any]


class Program(NamedTuple):
    """What a Job runs."""

    files: dict[str, str]
    environment: dict[str, str]
    pieces: list[bytes]
    """Files `piece-0`, … beside the others."""
    read_only: bool


def push_program(order: dict[str, Any], part: bytes) -> Program:
    """Writes a part.

    Args:
        order: {path, bytes, sha256, offset, replace}, as of `push_dataset`.
        part: gzipped.
    """
    pieces = [part[at : at + PIECE_LIMIT] for at in range(0, len(part), PIECE_LIMIT)]
    names = [f"piece-{number}" for number in range(len(pieces))]
    files = pod_files.program(f"{_HERE}.push_dataset", f"{_HERE}.frame", f"{_HERE}.tree")
    files["order.json"] = json.dumps({**order, "pieces": names})
    return Program(files, {"ORDER_FILE": f"{MOUNT}/order.json"}, pieces, read_only=False)


def list_program() -> Program:
    """Lists what is there."""
    files = pod_files.program(f"{_HERE}.list_datasets", f"{_HERE}.frame", f"{_HERE}.tree")
    return Program(files, {"SECONDS": str(_DIGEST_SECONDS)}, [], read_only=True)


def order(
    name: str,
    place: DatasetPlace,
    program: Program,
    image: str,
    storage: StorageConfig,
    seconds: int,
    *,
    installation: str,
) -> dict[str, Any]:
    """What the playbook `run_at_datasets_k8s.yml` reads.

    Args:
        name: of the Job; its ConfigMaps have a number behind it.
        place: whose datasets.
        program: what is run.
        image: any Python >= 3.9.
        storage: how the claim is mounted.
        seconds: for all of it.
        installation: whose Job it is.
    """
    marks = {MANAGED_BY: "budeval", INSTALLATION_LABEL: installation, TENANT_LABEL: place.tenant}
    meta = {"namespace": place.target.namespace, "labels": marks}
    contents: list[Manifest] = [{"data": pod_files.as_data(program.files)}]
    contents += [
        {"binaryData": {f"piece-{number}": base64.b64encode(piece).decode()}}
        for number, piece in enumerate(program.pieces)
    ]
    maps = [
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {**meta, "name": f"{name}-{number}"}, **content}
        for number, content in enumerate(contents)
    ]
    job = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {**meta, "name": name},
        "spec": {
            # Should nobody be there to delete it: it is stopped, then removed by the cluster.
            "activeDeadlineSeconds": seconds,
            "ttlSecondsAfterFinished": _LEFT_OVER_SECONDS,
            "backoffLimit": 0,
            "template": {"metadata": {"labels": marks}, "spec": _pod(maps, place, program, image, storage)},
        },
    }
    return {"namespace": place.target.namespace, "job": job, "config_maps": maps, "wait_seconds": seconds}


def _pod(
    maps: list[Manifest], place: DatasetPlace, program: Program, image: str, storage: StorageConfig
) -> Manifest:
    root = f"{storage.mount_path}/datasets"
    environment = {**program.environment, "DATASETS_ROOT": root}
    datasets = {"name": "shared", "mountPath": root, "subPath": place.directory}
    container = {
        "name": "program",
        "image": image,
        "command": ["python3", MOUNT],
        "env": [{"name": name, "value": value} for name, value in sorted(environment.items())],
        "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"memory": "512Mi"}},
        "securityContext": hardened_container(),
        "volumeMounts": [
            {**datasets, "readOnly": program.read_only},
            {"name": "files", "mountPath": MOUNT, "readOnly": True},
        ],
    }
    first, *others = [one["metadata"]["name"] for one in maps]
    sources = [{"configMap": {"name": first, "items": pod_files.as_items(program.files)}}]
    sources += [{"configMap": {"name": name}} for name in others]
    return {
        **hardened_pod(storage),
        "containers": [container],
        "volumes": [
            # Writable: where the directory is missing, the kubelet makes it.
            {"name": "shared", "persistentVolumeClaim": {"claimName": place.claim}},
            {"name": "files", "projected": {"sources": sources}},
        ],
    }
