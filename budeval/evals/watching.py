"""One watcher for each cluster, namespace and credential; evaluations register with it and wait to be woken.

The cluster is the truth and events are hints: whoever wakes, for whatever reason, reads the newest snapshot
and ignores older ones. So lost, doubled, early and late events cost time and never truth.

State: `watched-<hash>` is the registry {members: {eval_id: target}, closed}. A watcher ends only by swapping
an empty registry to closed, so none ends on a member that has just come. `woken-<hash>` is what each member
was last woken for; it is not in the watcher's input, for a history shall not grow with its members.
"""

import hashlib
import json
import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Protocol

from budeval.domain.cluster import ClusterTarget
from budeval.domain.evaluation import EvaluationRecord
from budeval.domain.observation import JobFacts
from budeval.errors import BudevalError, ClusterError, SidecarError
from budeval.evals.ansible_orchestrator import AnsibleOrchestrator
from budeval.evals.clusters import Clusters
from budeval.evals.evaluate import RUNS_CHANGED
from budeval.evals.snapshots import Snapshots
from budeval.evals.store import EvaluationStore
from budeval.runtime.sidecar import Sidecar
from budeval.runtime.vault import Vault
from budeval.runtime.workflow_engine import Activity

_WITHOUT_A_CREDENTIAL = {"SECRETS_GONE", "SEAL_FAILED", "KUBECONFIG_INVALID", "EVALUATION_UNKNOWN"}
_ENDING_SECONDS = 5.0
_ENDING_POLL_SECONDS = 0.2

_log = logging.getLogger(__name__)


class WakesWorkflows(Protocol):
    """What of the workflow engine is used here; tests put a fake in its place."""

    def is_active(self, workflow_id: str) -> bool:
        """Whether an instance exists and has not ended."""

    def raise_event(self, workflow_id: str, event: str, data: Any) -> None:
        """Raise an event to an instance; one that is not there or has ended is passed over."""


class WatchActivities:
    """Those of `watch_cluster`, and those by which evaluations come and go."""

    def __init__(  # noqa: PLR0917 - a composition of what main wires
        self,
        orchestrator: AnsibleOrchestrator,
        clusters: Clusters,
        sidecar: Sidecar,
        store: EvaluationStore,
        vault: Vault,
        engine: WakesWorkflows,
        start: Callable[[str], None],
    ) -> None:
        """Wire it.

        Args:
            orchestrator: one with playbook workers of its own, so that ticks wait for nobody.
            clusters: the credentials.
            sidecar: the state store.
            store: evaluations.
            vault: their secrets.
            engine: asks for instances and wakes them.
            start: schedules the watcher with an id.
        """
        self._orchestrator = orchestrator
        self._clusters = clusters
        self._sidecar = sidecar
        self._store = store
        self._snapshots = Snapshots(store, vault)
        self._engine = engine
        self._start = start

    def all(self) -> list[tuple[str, Activity]]:
        """Every activity under the name by which workflows call it."""
        activities = (self.register_with_watcher, self.leave_watcher, self.watch_tick)
        return [(activity.__name__, activity) for activity in activities]

    def register_with_watcher(self, order: dict[str, Any]) -> None:
        """{eval_id} -> it is on the registry of its cluster, and the watcher runs. May be repeated."""
        evaluation = self._store.load(order["eval_id"]).evaluation
        watch_id = self._watch_id(evaluation.target)
        self._leave(evaluation.eval_id, unless=watch_id)
        self._sidecar.save_state(_membership_key(evaluation.eval_id), {"schema": 1, "watch_id": watch_id})
        target = evaluation.target.model_dump(mode="json")
        was_closed = False

        def joined(registry: Any) -> Any:
            nonlocal was_closed
            was_closed = registry is None or registry["closed"]
            members = (registry or {"members": {}})["members"]
            return {"schema": 1, "closed": False, "members": {**members, evaluation.eval_id: target}}

        self._sidecar.update_state(_registry_key(watch_id), joined)
        if was_closed:
            self._await_end(watch_id)
        if not self._engine.is_active(watch_id):
            self._start(watch_id)

    def _await_end(self, watch_id: str) -> None:
        """The last watcher has closed the registry and is about to end; only then can the next one start."""
        deadline = time.monotonic() + _ENDING_SECONDS
        while self._engine.is_active(watch_id) and time.monotonic() < deadline:
            time.sleep(_ENDING_POLL_SECONDS)

    def leave_watcher(self, order: dict[str, Any]) -> None:
        """{eval_id} -> it is on no registry any more. May be repeated."""
        self._leave(order["eval_id"])
        self._sidecar.delete_state(_membership_key(order["eval_id"]))

    def _leave(self, eval_id: str, unless: str | None = None) -> None:
        """The watcher that was stored: by now the credential, and so the id, may be another one."""
        membership = self._sidecar.get_state(_membership_key(eval_id))
        if membership is None or membership["watch_id"] == unless:
            return

        def left(registry: Any) -> Any:
            members = {key: value for key, value in registry["members"].items() if key != eval_id}
            return {**registry, "members": members}

        key = _registry_key(membership["watch_id"])
        if self._sidecar.get_state(key):
            self._sidecar.update_state(key, left)

    def watch_tick(self, order: dict[str, Any]) -> dict[str, Any]:
        """{watch_id} -> {closed, changed, trouble}: one look for all members."""
        watch_id = order["watch_id"]
        registry = self._sidecar.get_state(_registry_key(watch_id))
        if not registry or not registry["members"]:
            registry = self._close(watch_id)
        if registry["closed"]:
            self._sidecar.delete_state(_woken_key(watch_id))
            return {"closed": True, "changed": False, "trouble": None}
        records = self._present(registry["members"])
        trouble, seen = self._sight(records) if records else (None, {})
        instances = {eval_id: record.evaluation.instance_id for eval_id, record in records.items()}
        changed = self._wake_changed(watch_id, seen, instances, check=trouble is not None)
        return {"closed": False, "changed": changed, "trouble": trouble}

    def _present(self, members: dict[str, Any]) -> dict[str, EvaluationRecord]:
        """The members that have not ended; the others did not come to leave, and are taken off.

        One whose record cannot be read is taken off, too: it looks for itself, as far as it can.
        """
        records = {record.evaluation.eval_id: record for record in self._store.load_all(list(members))}
        present = {eval_id: record for eval_id, record in records.items() if record.ended is None}
        for eval_id in members.keys() - present.keys():
            _log.warning("taken off the watcher: eval_id=%s has ended, or cannot be read", eval_id)
            self.leave_watcher({"eval_id": eval_id})
        return present

    def _sight(self, records: dict[str, EvaluationRecord]) -> tuple[str | None, dict[str, str]]:
        """Look at the runs of all; (code of what prevented it, what each member shall be woken for)."""
        begun = datetime.now(UTC)
        try:
            facts = self._look(records)
        except SidecarError:
            raise  # no trouble of the cluster: the tick is tried again
        except BudevalError as error:
            _log.warning("a watcher cannot look: %s", error)
            return error.code, dict.fromkeys(records, f"!{error.code}")
        kept = {eval_id: self._keep(record, facts, begun) for eval_id, record in records.items()}
        return None, {eval_id: digest for eval_id, digest in kept.items() if digest}

    def _keep(
        self, record: EvaluationRecord, facts: dict[str, dict[str, JobFacts]], begun: datetime
    ) -> str | None:
        """Store a member's snapshot; returns its digest, without the time at which it was taken.

        What is wrong with one member must not keep the others from being looked at.
        """
        eval_id = record.evaluation.eval_id
        try:
            snapshot = self._snapshots.keep(record, facts.get(eval_id, {}), begun)
        except SidecarError:
            raise
        except Exception:  # noqa: BLE001 - see above; the evaluation looks for itself in time
            _log.exception("what was seen of eval_id=%s could not be kept", eval_id)
            return None
        return hashlib.sha256(json.dumps(snapshot["runs"], sort_keys=True).encode()).hexdigest()[:12]

    def _wake_changed(
        self, watch_id: str, seen: dict[str, str], instances: dict[str, str], *, check: bool
    ) -> bool:
        """Wake those that were not yet woken for what was seen; with `check` they look for themselves.

        Of who is no member any more no mark stays: a watcher may live as long as the service.
        """
        woken: dict[str, str] = self._sidecar.get_state(_woken_key(watch_id)) or {}
        changed = [eval_id for eval_id, mark in seen.items() if woken.get(eval_id) != mark]
        for eval_id in changed:
            self._wake(instances[eval_id], {"check": check})
        marks = {eval_id: mark for eval_id, mark in {**woken, **seen}.items() if eval_id in instances}
        if marks != woken:
            self._sidecar.save_state(_woken_key(watch_id), marks)
        return bool(changed) and not check

    def _close(self, watch_id: str) -> dict[str, Any]:
        """Swap an empty registry to closed, unless somebody has just come; returns what it is now."""

        def close(registry: Any) -> Any:
            members = (registry or {"members": {}})["members"]
            return {"schema": 1, "closed": not members, "members": members}

        registry: dict[str, Any] = self._sidecar.update_state(_registry_key(watch_id), close)
        return registry

    def _look(self, records: dict[str, EvaluationRecord]) -> dict[str, dict[str, JobFacts]]:
        """By the credential of the first member whose secrets are still there."""
        settled = [pair for eval_id in records for pair in self._snapshots.settled(eval_id)]
        problem: BudevalError = ClusterError(
            "no member has a credential", code="AUTH_FAILED", retryable=False
        )
        for record in records.values():
            try:
                return self._orchestrator.check_jobs_status(record.evaluation.target, list(records), settled)
            except BudevalError as error:
                if error.code not in _WITHOUT_A_CREDENTIAL:
                    raise
                problem = error
        raise problem

    def _wake(self, instance: str, data: dict[str, Any]) -> None:
        try:
            self._engine.raise_event(instance, RUNS_CHANGED, data)
        except SidecarError as error:
            _log.warning("could not wake workflow_id=%s: %s", instance, error)  # it looks for itself in time

    def _watch_id(self, target: ClusterTarget) -> str:
        """The same for those with the same credential only: nobody reads with another's rights."""
        text = f"{target.namespace}/{self._clusters.identity(target)}"
        return f"watch-{hashlib.sha256(text.encode()).hexdigest()[:24]}"


def _membership_key(eval_id: str) -> str:
    return f"watching-{eval_id}"


def _woken_key(watch_id: str) -> str:
    return f"woken-{watch_id}"


def _registry_key(watch_id: str) -> str:
    return f"watched-{watch_id}"
