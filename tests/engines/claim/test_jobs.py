"""The Jobs of programs at the datasets, as the cluster gets them."""

import base64
import json
from typing import Any

import pytest

from budeval.config import StorageConfig
from budeval.domain.cluster import ClusterTarget
from budeval.domain.datasets import PART_LIMIT, DatasetPlace
from budeval.domain.evaluation import Evaluation
from budeval.engines.claim import jobs
from budeval.engines.manifests import hardened_container, hardened_pod
from tests.engines.claim.conftest import order
from tests.engines.test_programs import _mounted, _python

_STORAGE = StorageConfig(mount_path="/shared", pull_secret="a-secret")
_PART = bytes(range(256)) * (PART_LIMIT // 256)


def _place(tenant: str = "default") -> DatasetPlace:
    return DatasetPlace(target=ClusterTarget(cluster="c", namespace="team-a"), claim="a-claim", tenant=tenant)


def _order(program: jobs.Program, tenant: str = "default") -> dict[str, Any]:
    return jobs.order("datasets-x", _place(tenant), program, "an-image", _STORAGE, 300, installation="here")


@pytest.mark.parametrize("tenant", ["default", "team-a"])
@pytest.mark.parametrize("program", [jobs.push_program(order(b"x"), _PART), jobs.list_program()])
def test_a_pod_is_restricted_and_sees_one_tenants_datasets(program: jobs.Program, tenant: str) -> None:
    """As an evaluation's pods do of the same tenant; who only lists cannot write."""
    pod = _order(program, tenant)["job"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    shared, files = container["volumeMounts"]
    assert hardened_pod(_STORAGE).items() <= pod.items()
    assert container["securityContext"] == hardened_container()
    directory = "datasets" if tenant == "default" else "tenants/team-a/datasets"
    assert shared == {
        "name": "shared",
        "mountPath": "/shared/datasets",
        "subPath": directory,
        "readOnly": program.read_only,
    }
    assert files["readOnly"] is True
    assert {"name": "DATASETS_ROOT", "value": "/shared/datasets"} in container["env"]
    assert pod["volumes"][0]["persistentVolumeClaim"] == {"claimName": "a-claim"}


def test_whatever_is_left_ends_and_goes_by_itself() -> None:
    """And is found by its labels."""
    given = _order(jobs.push_program(order(b"x"), _PART))
    spec = given["job"]["spec"]
    assert (spec["activeDeadlineSeconds"], spec["ttlSecondsAfterFinished"]) == (300, 300)
    assert spec["backoffLimit"] == 0
    for made in (given["job"], *given["config_maps"]):
        assert made["metadata"]["labels"] == {
            "app.kubernetes.io/managed-by": "budeval",
            "budeval.dev/installation": "here",
            "budeval.dev/tenant": "default",
        }
        assert made["metadata"]["namespace"] == "team-a"


def test_a_part_fits_into_its_config_maps() -> None:
    """Each holds 1 MiB at most; together they are the part, and the pod finds all of them."""
    given = _order(jobs.push_program(order(b"x"), _PART))
    first, *pieces = given["config_maps"]
    assert all(len(json.dumps(one.get("data", {}))) < 2**20 for one in given["config_maps"])
    contents = [base64.b64decode(data) for one in pieces for data in one["binaryData"].values()]
    assert b"".join(contents) == _PART
    assert max(map(len, contents)) <= jobs.PIECE_LIMIT
    assert json.loads(first["data"]["order.json"])["pieces"] == [f"piece-{number}" for number in range(5)]
    assert [name for one in pieces for name in one["binaryData"]] == [
        f"piece-{number}" for number in range(5)
    ]
    volume = given["job"]["spec"]["template"]["spec"]["volumes"][1]["projected"]
    mounted = [source["configMap"]["name"] for source in volume["sources"]]
    assert mounted == [one["metadata"]["name"] for one in given["config_maps"]]


def test_the_programs_find_all_that_they_import(tmp_path: Any) -> None:
    """With nothing but the standard library."""
    (tmp_path / "datasets").mkdir()
    for number, program in enumerate((jobs.push_program(order(b"x"), b""), jobs.list_program())):
        pod = _mounted(program.files, tmp_path / str(number))
        for piece, content in enumerate(program.pieces):
            (pod / f"piece-{piece}").write_bytes(content)
        environment = {**program.environment, "DATASETS_ROOT": str(tmp_path / "datasets")}
        environment["ORDER_FILE"] = str(pod / "order.json")
        done = _python(pod, **environment)
        assert done.stdout.startswith("BUDEVAL1 "), done.stderr


def test_no_tenant_is_anothers_directory() -> None:
    """Nor lies in it: `default` has the one that has always been."""
    evaluation = Evaluation.model_fields["tenant"].default
    directories = {tenant: _place(tenant).directory for tenant in (evaluation, "team-a", "team-b")}
    assert directories["default"] == "datasets"
    assert len(set(directories.values())) == 3
    assert not any(path.startswith("datasets/") for path in directories.values())
