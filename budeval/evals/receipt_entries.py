"""Entries of receipts, from what playbooks publish and what the service does itself."""

import socket
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from budeval.domain.cluster import FROM_REQUEST
from budeval.domain.evaluation import Evaluation
from budeval.domain.receipt import (
    CONFIG_MAP,
    JOB,
    PRIVATE_DIRECTORY,
    RESULT_TREE,
    SEALED_SECRETS,
    SECRET,
    Fate,
    ReceiptItem,
)

Entries = list[ReceiptItem]


def now() -> str:
    """UTC, ISO 8601, as receipts have it."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def deployed(evaluation: Evaluation, runs: Iterable[Mapping[str, Any]], parts: Mapping[str, str]) -> Entries:
    """What was made of runs, and the files that they will leave.

    Args:
        evaluation: whose.
        runs: as `deploy_runs` tells them; those without a Job are passed over.
        parts: run id -> the name of its ConfigMap and its Secret.
    """
    made = []
    for run in runs:
        if "job" in run:
            name = parts[run["run_id"]]
            made += [(JOB, run["job"], run["uid"])]
            made += [(kind, name, run["parts"][kind]) for kind in (CONFIG_MAP, SECRET)]
    reason = "The run needs it; the clean-up removes it."
    entries = [_in_use(evaluation, reason, *one) for one in made]
    return [*entries, _kept_tree(evaluation)] if entries else []


def _kept_tree(evaluation: Evaluation) -> ReceiptItem:
    by_whom = (
        "is deleted" if evaluation.target.cluster == FROM_REQUEST else "is deleted or its retention ends"
    )
    reason = f"It stays for a retry and as evidence until the evaluation {by_whom}."
    return _tree(evaluation, Fate.KEPT, reason=reason)


def program_begun(evaluation: Evaluation, name: str) -> Entries:
    """A Job with its ConfigMap that is about to be made at the claim."""
    reason = "It reads or removes files on the claim; the same playbook removes it."
    return [_in_use(evaluation, reason, kind, name, None) for kind in (JOB, CONFIG_MAP)]


def program_removed(evaluation: Evaluation, removed: Iterable[Mapping[str, Any]]) -> Entries:
    """What became of them, as the playbook tells it."""
    return [_removed(evaluation, item) for item in removed]


def _removed(evaluation: Evaluation, item: Mapping[str, Any]) -> ReceiptItem:
    fate: dict[str, Any] = (
        {"outcome": Fate.DELETED, "proof": "After the deletion the API server had none of that name."}
        if item["gone"]
        else {"outcome": Fate.ENDING, "reason": "It is being deleted, and was still there."}
    )
    where = evaluation.target.namespace
    return ReceiptItem(
        kind=item["kind"], name=item["name"], uid=item["uid"] or None, namespace=where, at=now(), **fate
    )


def seen(namespace: str, receipt: Iterable[Mapping[str, Any]]) -> Entries:
    """What a removal has seen, as the action plugins tell it."""
    return [ReceiptItem(**item, namespace=namespace, at=now()) for item in receipt]


def tree_removed(evaluation: Evaluation, files: int) -> ReceiptItem:
    """The files on the claim are gone."""
    proof = f"A Job at the claim removed {files} files; Kubernetes' empty directory for them may stay."
    return _tree(evaluation, Fate.DELETED, proof=proof)


def tree_left(evaluation: Evaluation) -> ReceiptItem:
    """The files on the claim are to stay, although the evaluation goes."""
    return _tree(evaluation, Fate.KEPT, reason="The deletion was asked to leave the cluster alone.")


def _tree(evaluation: Evaluation, outcome: Fate, **why: str) -> ReceiptItem:
    name = f"results/{evaluation.eval_id} on claim {evaluation.claim}"
    where = evaluation.target.namespace
    return ReceiptItem(kind=RESULT_TREE, name=name, namespace=where, outcome=outcome, at=now(), **why)


def secrets_in_use(name: str) -> ReceiptItem:
    """The secrets of an evaluation that has not ended."""
    reason = "The evaluation needs its API key and kubeconfig until its end, which destroys them."
    return ReceiptItem(kind=SEALED_SECRETS, name=name, outcome=Fate.IN_USE, at=now(), reason=reason)


def secrets_destroyed(name: str, *, still_there: bool) -> ReceiptItem:
    """The secrets after they were destroyed."""
    if still_there:
        reason = "They were destroyed, and are there: ask for the deletion of the evaluation."
        return ReceiptItem(kind=SEALED_SECRETS, name=name, outcome=Fate.ENDING, at=now(), reason=reason)
    proof = "After the deletion the state store had nothing under their key."
    return ReceiptItem(kind=SEALED_SECRETS, name=name, outcome=Fate.DELETED, at=now(), proof=proof)


def directory_in_use(path: Path) -> ReceiptItem:
    """The private directory of a playbook that is about to run."""
    reason = "A playbook has its files there; they go when it ends, or when the service starts next."
    return ReceiptItem(
        kind=PRIVATE_DIRECTORY,
        name=str(path),
        host=socket.gethostname(),
        outcome=Fate.IN_USE,
        at=now(),
        reason=reason,
    )


def _in_use(evaluation: Evaluation, reason: str, kind: str, name: str, uid: str | None) -> ReceiptItem:
    return ReceiptItem(
        kind=kind,
        name=name,
        uid=uid,
        namespace=evaluation.target.namespace,
        outcome=Fate.IN_USE,
        at=now(),
        reason=reason,
    )
