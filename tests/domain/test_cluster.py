"""What is known of a cluster."""

from typing import Any

import pytest
from pydantic import ValidationError

from budeval.domain.cluster import ClusterTarget, ClusterVerification

_TARGET = {"cluster": "first", "namespace": "team-a"}


@pytest.mark.parametrize("change", [{"token": "secret"}, {"kubeconfig": "{}"}, {"cluster": "../x"}])
def test_a_target_holds_two_names_and_nothing_else(change: dict[str, Any]) -> None:
    """It travels in histories, so nobody can put a credential into it."""
    with pytest.raises(ValidationError):
        ClusterTarget.model_validate(_TARGET | change)


def test_a_target_does_not_change() -> None:
    """Every activity sees the target that the workflow was started with."""
    target = ClusterTarget.model_validate(_TARGET)

    with pytest.raises(ValidationError, match="frozen"):
        target.namespace = "other"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("server", "again", "elsewhere"),
    [("a", "a", False), ("a", "b", True), (None, "b", False), ("a", None, False), (None, None, False)],
)
def test_another_server_is_another_cluster(server: str | None, again: str | None, *, elsewhere: bool) -> None:
    """Where it is known of both."""
    target = ClusterTarget.model_validate(_TARGET | {"server": server})

    assert target.is_elsewhere(again) is elsewhere


def test_a_verification_survives_json() -> None:
    """It passes through histories, the state store and messages, and is the same afterwards."""
    verification = ClusterVerification(
        target=ClusterTarget.model_validate(_TARGET), ok=False, code="FORBIDDEN", message="No.", claim="c"
    )

    again = ClusterVerification.model_validate_json(verification.model_dump_json())

    assert again == verification
