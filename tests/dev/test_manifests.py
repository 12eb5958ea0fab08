from collections.abc import Iterable
from typing import Any

import pytest
import yaml

from dev.cluster import objects

_SERVICE = {"kind": "ServiceAccount", "name": "budeval", "namespace": "budeval-system"}


@pytest.fixture
def manifests() -> list[dict[str, Any]]:
    """Everything that is applied to a cluster."""
    return [document for document in yaml.safe_load_all(objects.manifests()) if document]


@pytest.fixture
def rules(manifests: list[dict[str, Any]]) -> list[dict[str, list[str]]]:
    """The rights of the service."""
    (role,) = _of_kind(manifests, "ClusterRole")
    found: list[dict[str, list[str]]] = role["rules"]
    return found


def _of_kind(manifests: Iterable[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [document for document in manifests if document["kind"] == kind]


def _verbs(rules: list[dict[str, list[str]]], resource: str) -> set[str]:
    return {verb for rule in rules if resource in rule["resources"] for verb in rule["verbs"]}


def test_every_manifest_is_an_object(manifests: list[dict[str, Any]]) -> None:
    """Each document has what Kubernetes asks of every object, and no two are the same object."""
    names = [
        (document["kind"], document["metadata"].get("namespace"), document["metadata"]["name"])
        for document in manifests
    ]
    assert all(document["apiVersion"] for document in manifests)
    assert len(names) == len(set(names))


def test_no_placeholder_is_left() -> None:
    """Names are put in place of their placeholder everywhere."""
    assert "EVALUATION_NAMESPACE" not in objects.manifests()


def test_each_evaluation_namespace_is_complete(manifests: list[dict[str, Any]]) -> None:
    """Every team has a namespace under the restricted standard, a volume claim and the service's rights."""
    namespaces = {document["metadata"]["name"]: document for document in _of_kind(manifests, "Namespace")}
    assert set(namespaces) == {*objects.EVALUATION_NAMESPACES, objects.IDENTITY_NAMESPACE}
    for name in objects.EVALUATION_NAMESPACES:
        kinds = [document["kind"] for document in manifests if document["metadata"].get("namespace") == name]
        assert sorted(kinds) == ["PersistentVolumeClaim", "RoleBinding"]
        assert namespaces[name]["metadata"]["labels"] == {"pod-security.kubernetes.io/enforce": "restricted"}


def test_claim_that_the_stack_waits_for_is_the_one_that_is_made(manifests: list[dict[str, Any]]) -> None:
    """`make up` waits for a claim by its name, which the manifests must give it."""
    claims = _of_kind(manifests, "PersistentVolumeClaim")
    assert {claim["metadata"]["name"] for claim in claims} == {objects._CLAIM}


def test_service_has_rights_only_in_evaluation_namespaces(manifests: list[dict[str, Any]]) -> None:
    """Its role is bound namespace by namespace, never for the whole cluster."""
    bindings = _of_kind(manifests, "RoleBinding")
    assert [binding["metadata"]["namespace"] for binding in bindings] == list(objects.EVALUATION_NAMESPACES)
    assert all(binding["subjects"] == [_SERVICE] for binding in bindings)
    assert all(binding["roleRef"]["name"] == "budeval-evaluations" for binding in bindings)
    everywhere = [binding["subjects"] for binding in _of_kind(manifests, "ClusterRoleBinding")]
    assert all(subject["kind"] == "User" for subjects in everywhere for subject in subjects)


def test_service_role_has_no_wildcard(rules: list[dict[str, list[str]]]) -> None:
    """Every right is named."""
    words = [word for rule in rules for values in rule.values() for word in values]
    assert [word for word in words if "*" in word] == []


def test_service_cannot_read_secrets(rules: list[dict[str, list[str]]]) -> None:
    """It makes and removes Secrets without ever reading one."""
    assert _verbs(rules, "secrets") == {"create", "delete"}


@pytest.mark.parametrize(
    "resource",
    ["pods/exec", "pods/attach", "pods/portforward", "pods/ephemeralcontainers", "serviceaccounts/token"],
)
def test_service_cannot_enter_pods(resource: str, rules: list[dict[str, list[str]]]) -> None:
    """No right lets it run something in a pod or act as another identity."""
    assert _verbs(rules, resource) == set()


@pytest.mark.parametrize("verb", ["impersonate", "escalate", "bind"])
def test_service_cannot_raise_its_rights(verb: str, rules: list[dict[str, list[str]]]) -> None:
    """No right leads to more rights."""
    assert [rule for rule in rules if verb in rule["verbs"]] == []


def test_service_account_is_not_mounted_into_pods(manifests: list[dict[str, Any]]) -> None:
    """A pod does not get the service's token by accident."""
    (account,) = _of_kind(manifests, "ServiceAccount")
    assert account["automountServiceAccountToken"] is False
    assert account["metadata"] == {"name": _SERVICE["name"], "namespace": _SERVICE["namespace"]}


def test_there_is_one_default_storage_class(manifests: list[dict[str, Any]]) -> None:
    """A claim that names no class is served."""
    (storage,) = _of_kind(manifests, "StorageClass")
    assert storage["metadata"]["annotations"] == {"storageclass.kubernetes.io/is-default-class": "true"}
