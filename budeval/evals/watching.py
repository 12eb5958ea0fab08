"""One watcher for each cluster, namespace and credential; evaluations register with it and wait to be woken.

The cluster is the truth and events are hints: whoever wakes, for whatever reason, reads the newest snapshot
and ignores older ones. So lost, doubled, early and late events cost time and never truth.

State: `watched-<hash>` is the registry {members: {eval_id: target}, closed}. A watcher ends only by swapping
an empty registry to closed, so none ends on a member that has just come.
"""

import hashlib
import json
import logging
import time
from collections.abc import Callable
from typing import Any, Protocol

from budeval.domain.cluster import ClusterTarget
from budeval.domain.evaluation import workflow_id
from budeval.domain.observation import JobFacts
from budeval.errors import BudevalError, ClusterError, SidecarError
from budeval.evals.ansible_orchestrator import AnsibleOrchestrator
from budeval.evals.clusters import Clusters
from budeval.evals.evaluate import RUNS_CHANGED
from budeval.evals.snapshots import Snapshots
from budeval.evals.store import EvaluationStore
from budeval.runtime.sidecar import Sidecar
from budeval.runtime.workflow_engine import Activity

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

    def __init__(
        self,
        orchestrator: AnsibleOrchestrator,
        clusters: Clusters,
        sidecar: Sidecar,
        store: EvaluationStore,
        engine: WakesWorkflows,
        start: Callable[[str], None],
    ) -> None:
        """Wire it.

        Args:
            orchestrator: one with playbook workers of its own, so that ticks wait for nobody.
            clusters: the credentials.
            sidecar: the state store.
            store: evaluations.
            engine: asks for instances and wakes them.
            start: schedules the watcher with an id.
        """
        self._orchestrator = orchestrator
        self._clusters = clusters
        self._sidecar = sidecar
        self._store = store
        self._snapshots = Snapshots(store)
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
        """{watch_id, delivered} -> {closed, changed, trouble, delivered}: one look for all members.

        `delivered` is what each member was last woken for: eval_id -> digest of its snapshot.
        """
        registry = self._sidecar.get_state(_registry_key(order["watch_id"]))
        if not registry or not registry["members"]:
            registry = self._close(order["watch_id"])
        if registry["closed"]:
            return {"closed": True, "changed": False, "trouble": None, "delivered": {}}
        members: dict[str, Any] = registry["members"]
        try:
            facts = self._look(members)
        except BudevalError as error:
            return self._tell_trouble(members, error, order["delivered"])
        delivered = {eval_id: self._deliver(eval_id, facts.get(eval_id, {})) for eval_id in members}
        changed = [eval_id for eval_id in members if delivered[eval_id] != order["delivered"].get(eval_id)]
        for eval_id in changed:
            self._wake(eval_id, {"check": False})
        return {"closed": False, "changed": bool(changed), "trouble": None, "delivered": delivered}

    def _close(self, watch_id: str) -> dict[str, Any]:
        """Swap an empty registry to closed, unless somebody has just come; returns what it is now."""

        def close(registry: Any) -> Any:
            members = (registry or {"members": {}})["members"]
            return {"schema": 1, "closed": not members, "members": members}

        registry: dict[str, Any] = self._sidecar.update_state(_registry_key(watch_id), close)
        return registry

    def _look(self, members: dict[str, Any]) -> dict[str, dict[str, JobFacts]]:
        """By the credential of the first member whose secrets are still there."""
        settled = [pair for eval_id in members for pair in self._snapshots.settled(eval_id)]
        problem: BudevalError = ClusterError(
            "no member has a credential", code="AUTH_FAILED", retryable=False
        )
        for target in members.values():
            aim = ClusterTarget.model_validate(target)
            try:
                self._clusters.credential(aim)
            except BudevalError as error:
                problem = error
                continue
            return self._orchestrator.check_jobs_status(aim, list(members), settled)
        raise problem

    def _deliver(self, eval_id: str, facts: dict[str, JobFacts]) -> str:
        """Store a member's snapshot; returns its digest, without the time at which it was taken."""
        record = self._store.find(eval_id)
        if record is None:
            return ""
        snapshot = self._snapshots.keep(record.evaluation, facts)
        return hashlib.sha256(json.dumps(snapshot["runs"], sort_keys=True).encode()).hexdigest()[:12]

    def _tell_trouble(
        self, members: dict[str, Any], error: BudevalError, delivered: dict[str, str]
    ) -> dict[str, Any]:
        """The same trouble is told once; each member then looks for itself, with its own patience."""
        mark = f"!{error.code}"
        for eval_id in members:
            if delivered.get(eval_id) != mark:
                self._wake(eval_id, {"check": True})
        _log.warning("a watcher cannot look: %s", error)
        told = dict.fromkeys(members, mark)
        return {"closed": False, "changed": False, "trouble": error.code, "delivered": told}

    def _wake(self, eval_id: str, data: dict[str, Any]) -> None:
        try:
            self._engine.raise_event(workflow_id(eval_id), RUNS_CHANGED, data)
        except SidecarError as error:
            _log.warning("could not wake eval_id=%s: %s", eval_id, error)  # it looks for itself in time

    def _watch_id(self, target: ClusterTarget) -> str:
        """The same for those with the same credential only: nobody reads with another's rights."""
        text = f"{target.namespace}/{self._clusters.credential(target)}"
        return f"watch-{hashlib.sha256(text.encode()).hexdigest()[:24]}"


def _membership_key(eval_id: str) -> str:
    return f"watching-{eval_id}"


def _registry_key(watch_id: str) -> str:
    return f"watched-{watch_id}"
