"""What no evaluation owns: found on the cluster by the service's mark, and among its temporary files.

Ownership is read from the state store after the cluster was listed, and what is removed is removed only as it
was listed: so nothing of an evaluation goes that begins meanwhile.
"""

import time
from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, NamedTuple

from budeval.ansible import private_directory
from budeval.config import Settings
from budeval.domain.cluster import ClusterTarget
from budeval.domain.identifiers import parts_name
from budeval.domain.orphans import REASONS, UNMARKED, Marked, Why, why_orphan
from budeval.domain.receipt import JOB, PRIVATE_DIRECTORY, SECRET, Fate, ReceiptItem
from budeval.engines import manifests
from budeval.evals import receipt_entries
from budeval.evals.ansible_orchestrator import RunsPlaybooks
from budeval.evals.answers import Orphan, OrphanList, OrphanRemoval, OtherInstallation
from budeval.evals.clusters import Clusters
from budeval.evals.installation import Installation
from budeval.evals.receipts import Receipts
from budeval.evals.store import EvaluationStore

_REMOVAL_SECONDS = 60.0


class _Found(NamedTuple):
    """One look."""

    marked: list[Marked]
    now: datetime
    """On the cluster's clock."""


class Orphans:
    """Finds them, and removes them on request."""

    def __init__(
        self,
        settings: Settings,
        clusters: Clusters,
        runner: RunsPlaybooks,
        store: EvaluationStore,
        receipts: Receipts,
        installation: Installation,
    ) -> None:
        self._settings = settings
        self._clusters = clusters
        self._runner = runner
        self._store = store
        self._receipts = receipts
        self._installation = installation

    def find(self, cluster: str | None, namespace: str | None, installation: str | None) -> OrphanList:
        """What no evaluation owns just now.

        Args:
            cluster: configured; None for the default.
            namespace: None for that of the settings.
            installation: of which service; None for this one, then with its private directories.

        Raises:
            RequestError: CLUSTER_REQUIRED, CLUSTER_UNKNOWN.
            ClusterError: the cluster could not be asked.
            SidecarError: the state store did not answer.
        """
        target = self._clusters.target(cluster, namespace, self._settings)
        found, orphans, whose = self._look(target, installation)
        listed = [_orphan(target, marked, why, found.now) for marked, why in orphans]
        if installation is None:
            listed += [_left_directory(path) for path in private_directory.left_behind()]
        others = Counter(marked.installation or UNMARKED for marked in found.marked)
        return OrphanList(
            cluster=target.cluster,
            namespace=target.namespace,
            installation=whose,
            orphans=listed,
            others=[
                OtherInstallation(installation=name, objects=count)
                for name, count in sorted(others.items())
                if name != whose
            ],
        )

    def remove(self, cluster: str | None, namespace: str | None, installation: str | None) -> OrphanRemoval:
        """Remove what `find` would tell now. Raises as it does."""
        target = self._clusters.target(cluster, namespace, self._settings)
        _, orphans, whose = self._look(target, installation)
        removed = self._removed(target, [marked for marked, _ in orphans])
        if installation is None:
            removed += [_swept(path) for path in private_directory.sweep()]
        return OrphanRemoval(
            cluster=target.cluster,
            namespace=target.namespace,
            installation=whose,
            clean=all(item.settled for item in removed),
            objects=removed,
        )

    def _look(
        self, target: ClusterTarget, installation: str | None
    ) -> tuple[_Found, list[tuple[Marked, Why]], str]:
        """What is there, which of it no evaluation owns, and whose it is."""
        whose = installation or self._installation.id
        found = self._listed(target, {})
        secrets = _secrets_of(marked for marked, _ in self._judged(found, whose))
        if secrets:  # which of them there are is asked with another look, and everything judged anew
            found = self._listed(target, secrets)
        return found, self._judged(found, whose), whose

    def _listed(self, target: ClusterTarget, secrets: dict[str, Marked]) -> _Found:
        """What bears the mark; `secrets` are names of Secrets that may be there, and what they go with."""
        data = {
            "namespace": target.namespace,
            "selector": manifests.selector(None),
            "secrets": sorted(secrets),
        }
        found = self._run("list_marked_k8s.yml", target, data)
        marked = [_marked(item) for item in found["objects"]]
        uids = {item["name"]: item["uid"] for item in found["secrets"]}
        return _Found([*marked, *_beside(secrets, uids)], _clock(found["date"]))

    def _judged(self, found: _Found, whose: str) -> list[tuple[Marked, Why]]:
        mine = [marked for marked in found.marked if (marked.installation or UNMARKED) == whose]
        standings = self._store.standings({marked.eval_id for marked in mine if marked.eval_id})
        whys = [
            (marked, why_orphan(marked, standings.get(marked.eval_id or ""), found.now)) for marked in mine
        ]
        return [(marked, why) for marked, why in whys if why]

    def _removed(self, target: ClusterTarget, orphans: list[Marked]) -> list[ReceiptItem]:
        """What became of each; evaluations that have a record keep it in their receipts, too."""
        if not orphans:
            return []
        data = {
            "namespace": target.namespace,
            "selector": manifests.selector(None),
            "objects": [
                marked.model_dump(include={"kind", "name", "uid", "version", "owners"}) for marked in orphans
            ],
        }
        done = self._run("remove_objects_k8s.yml", target, data, _REMOVAL_SECONDS)
        entries = receipt_entries.seen(target.namespace, done["receipt"])
        whose = {marked.uid: marked.eval_id for marked in orphans}
        known = self._store.standings({eval_id for eval_id in whose.values() if eval_id})
        for eval_id in (eval_id for eval_id, standing in known.items() if not standing.deleted):
            self._receipts.note(eval_id, [item for item in entries if whose.get(item.uid or "") == eval_id])
        return entries

    def _run(
        self, playbook: str, target: ClusterTarget, data: dict[str, Any], patience: float = 0
    ) -> dict[str, Any]:
        return self._runner.run(playbook, data, self._clusters.credential(target), patience)


def _marked(item: dict[str, Any]) -> Marked:
    labels = item["labels"]
    deployment = labels.get(manifests.ATTEMPT_LABEL, "")
    return Marked(
        kind=item["kind"],
        name=item["name"],
        uid=item["uid"],
        version=item["version"],
        created=item["created"],
        eval_id=labels.get(manifests.EVAL_LABEL),
        run_id=labels.get(manifests.RUN_LABEL),
        deployment=int(deployment) if deployment.isdecimal() else None,
        installation=labels.get(manifests.INSTALLATION_LABEL),
        owners=item["owners"],
    )


def _secrets_of(orphans: Iterable[Marked]) -> dict[str, Marked]:
    """The names of the Secrets that belong to runs, each with its Job, or with what else of it is there."""
    found: dict[str, Marked] = {}
    for marked in orphans:
        if marked.eval_id and marked.run_id and marked.deployment:
            name = parts_name(marked.eval_id, marked.run_id, marked.deployment)
            if marked.kind == JOB or name not in found:
                found[name] = marked
    return found


def _beside(secrets: dict[str, Marked], uids: dict[str, str]) -> Iterator[Marked]:
    """The Secrets that are there: as what each goes with, and belonging to the same Job."""
    for name, uid in uids.items():
        other = secrets[name]
        owners = [other.uid] if other.kind == JOB else other.owners
        changes = {"kind": SECRET, "name": name, "uid": uid, "version": None, "owners": owners}
        yield other.model_copy(update=changes)


def _clock(date: str) -> datetime:
    """The API server's, or ours where a proxy has left it out."""
    return parsedate_to_datetime(date) if date else datetime.now(UTC)


def _orphan(target: ClusterTarget, marked: Marked, why: Why, now: datetime) -> Orphan:
    return Orphan(
        kind=marked.kind,
        name=marked.name,
        namespace=target.namespace,
        uid=marked.uid,
        eval_id=marked.eval_id,
        run_id=marked.run_id,
        age_seconds=max(0, int((now - marked.created).total_seconds())),
        why=why,
        reason=REASONS[why],
    )


def _left_directory(path: Path) -> Orphan:
    try:
        age = time.time() - path.stat().st_mtime
    except FileNotFoundError:
        age = 0
    why = Why.NO_PROCESS
    return Orphan(
        kind=PRIVATE_DIRECTORY, name=str(path), age_seconds=max(0, int(age)), why=why, reason=REASONS[why]
    )


def _swept(path: Path) -> ReceiptItem:
    entry = receipt_entries.directory_in_use(path)
    if path.exists():
        return entry.model_copy(update={"outcome": Fate.REFUSED, "reason": "Not all of it could be removed."})
    proof = f"There is no {path} on {entry.host}."
    return entry.model_copy(update={"outcome": Fate.DELETED, "proof": proof, "reason": None})
