"""Watchers: who is woken when, and when a watcher ends. Driven by hand, without a cluster."""

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from budeval.ansible.runner import Tell
from budeval.config import EngineConfig, StorageConfig
from budeval.domain.evaluation import EvaluationRecord, Outcome
from budeval.errors import BudevalError, ClusterError, SidecarError
from budeval.evals import watching
from budeval.evals.ansible_orchestrator import AnsibleOrchestrator
from budeval.evals.clusters import Clusters
from budeval.evals.installation import Installation
from budeval.evals.receipts import Receipts
from budeval.evals.store import EvaluationStore, Look
from budeval.evals.watching import WatchActivities
from budeval.runtime.sealing import Sealer, new_key
from budeval.runtime.vault import Vault
from tests.evals import samples
from tests.runtime.fake_dapr import FakeDapr

_KEY = "sk-very-secret"
_AWAY = ClusterError("nobody answers", code="CLUSTER_UNREACHABLE", retryable=True)
_CHANGED = "runs_changed"

Json = dict[str, Any]


class FakeSharedDapr(FakeDapr):
    """Takes one request after the other, so that threads can share it."""

    def __init__(self) -> None:
        super().__init__()
        self._turn = threading.Lock()

    def _answer(self, request: httpx.Request) -> httpx.Response:
        with self._turn:
            return super()._answer(request)


class FakeRunner:
    """A cluster whose Jobs are a list."""

    def __init__(self) -> None:
        self.jobs: list[Json] = []
        self.trouble: ClusterError | None = None
        self.asked: list[tuple[str, Json]] = []

    def run(
        self,
        playbook: str,
        data: Json,
        kubeconfig: str,
        patience: float = 0,  # noqa: ARG002
        tell: Tell | None = None,  # noqa: ARG002
    ) -> Json:
        """Tell what is there, to whom it may."""
        assert playbook == "check_job_status_k8s.yml"
        self.asked.append((_token(kubeconfig), data))
        if self.trouble:
            raise self.trouble
        return {"jobs": [job for job in self.jobs if job["eval_id"] in data["evaluations"]]}


@dataclass
class FakeEngine:
    """Workflows that are active, and what was raised to any."""

    active: set[str] = field(default_factory=set)
    ending: int = 0
    """So many times more an instance is still active."""
    raised: list[tuple[str, str, Any]] = field(default_factory=list)
    deaf: bool = False

    def is_active(self, workflow_id: str) -> bool:
        """One of the active."""
        if self.ending:
            self.ending -= 1
            if self.ending == 0:
                self.active.clear()
            return True
        return workflow_id in self.active

    def raise_event(self, workflow_id: str, event: str, data: Any) -> None:
        """Remember it."""
        if self.deaf:
            raise SidecarError("away")
        self.raised.append((workflow_id, event, data))


class Watch:
    """The activities with all that is behind them."""

    def __init__(self, directory: Path) -> None:
        self.dapr = FakeSharedDapr()
        self.runner = FakeRunner()
        self.engine = FakeEngine()
        self.started: list[str] = []
        self.kubeconfigs: dict[str, str] = {}
        self.directory = directory
        sidecar = self.dapr.client()
        self.store = EvaluationStore(sidecar)
        clusters = Clusters(directory, self.kubeconfigs.get, Path("/nowhere"))
        orchestrator = AnsibleOrchestrator(
            self.runner,
            clusters,
            {},
            StorageConfig(),
            EngineConfig(),
            Receipts(sidecar, {}),
            Installation(sidecar),
        )
        self.vault = Vault(sidecar, Sealer(new_key()))
        self.activities = WatchActivities(
            orchestrator, clusters, sidecar, self.store, self.vault, self.engine, self._start
        )

    def _start(self, watch_id: str) -> None:
        self.started.append(watch_id)
        self.engine.active.add(watch_id)

    def configure(self, name: str, token: str) -> None:
        """A cluster of the settings."""
        (self.directory / f"{name}.yaml").write_text(samples.kubeconfig(token))

    def register(self, eval_id: str, **target: Any) -> str:
        """A new evaluation comes; the id of its watcher."""
        record = self.store.create(_record(eval_id, target))
        self.vault.put(record.sealed_as, {"api_key": _KEY})
        self.activities.register_with_watcher({"eval_id": eval_id})
        (watch_id,) = (
            key.removeprefix("watched-")
            for key, registry in self.dapr.state.items()
            if key.startswith("watched-") and eval_id in registry["members"]
        )
        return watch_id

    def tick(self, watch_id: str) -> Json:
        """One look."""
        return self.activities.watch_tick({"watch_id": watch_id})

    def members(self, watch_id: str) -> list[str]:
        """Of its registry."""
        return list(self.dapr.state[f"watched-{watch_id}"]["members"])

    def runs(self, eval_id: str) -> list[Json]:
        """As they were last seen."""
        return list((self.store.snapshot(eval_id) or {"runs": []})["runs"])

    def woken(self) -> list[tuple[str, Any]]:
        """Since the last time: (workflow, data)."""
        raised, self.engine.raised = self.engine.raised, []
        assert {event for _, event, _ in raised} <= {_CHANGED}
        return [(workflow, data) for workflow, _, data in raised]


@pytest.fixture
def watch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Watch:
    """One cluster is configured: `first`. Nobody waits long for an ending watcher."""
    monkeypatch.setattr(watching, "_ENDING_SECONDS", 0.2)
    monkeypatch.setattr(watching, "_ENDING_POLL_SECONDS", 0.01)
    made = Watch(tmp_path)
    made.configure("first", "token-of-first")
    return made


def _token(kubeconfig: str) -> str:
    return str(yaml.safe_load(kubeconfig)["users"][0]["user"]["token"])


def _record(eval_id: str, target: Json) -> EvaluationRecord:
    target = {"cluster": "first", "namespace": "team-a", **target}
    if target["cluster"] == "from-request":
        target["eval_id"] = eval_id
    evaluation = samples.evaluation(eval_id, target=target)
    return EvaluationRecord(evaluation=evaluation, digest="d", created="2026-01-01T00:00:00+00:00")


def _job(eval_id: str, **more: Any) -> Json:
    created = datetime(2026, 1, 1, tzinfo=UTC).isoformat()
    return {"eval_id": eval_id, "run_id": "r-1", "name": "j", "uid": "u", "created": created, **more}


def test_every_activity_is_found_by_its_name(watch: Watch) -> None:
    """As workflows call it."""
    assert [name for name, _ in watch.activities.all()] == [
        "register_with_watcher",
        "leave_watcher",
        "watch_tick",
    ]


def test_the_first_member_starts_the_watcher(watch: Watch) -> None:
    """Those who come later, or again, only join."""
    watch_id = watch.register("e-1")
    watch.register("e-2")
    watch.activities.register_with_watcher({"eval_id": "e-1"})

    assert watch.started == [watch_id]
    assert watch.members(watch_id) == ["e-1", "e-2"]


def test_a_watcher_that_is_gone_is_started_again(watch: Watch) -> None:
    """An open registry without a watcher is one that was lost."""
    watch_id = watch.register("e-1")
    watch.engine.active.clear()

    watch.register("e-2")

    assert watch.started == [watch_id, watch_id]


def test_a_closed_registry_is_opened_again(watch: Watch) -> None:
    """Its watcher is about to end: only then the next one is started."""
    watch_id = watch.register("e-1")
    watch.activities.leave_watcher({"eval_id": "e-1"})
    assert watch.tick(watch_id)["closed"]
    watch.engine.ending = 3

    watch.register("e-2")

    assert watch.started == [watch_id, watch_id]
    assert watch.members(watch_id) == ["e-2"]
    assert not watch.tick(watch_id)["closed"]


def test_a_watcher_that_does_not_end_is_not_doubled(watch: Watch) -> None:
    """Nobody waits for it without limit."""
    watch_id = watch.register("e-1")
    watch.activities.leave_watcher({"eval_id": "e-1"})
    watch.tick(watch_id)

    watch.register("e-2")

    assert watch.started == [watch_id]


def test_a_watcher_without_members_ends(watch: Watch) -> None:
    """It closes the registry, and does not ask the cluster."""
    watch_id = watch.register("e-1")
    watch.activities.leave_watcher({"eval_id": "e-1"})

    found = watch.tick(watch_id)

    assert found == {"closed": True, "changed": False, "trouble": None}
    assert watch.dapr.state[f"watched-{watch_id}"] == {"schema": 1, "closed": True, "members": {}}
    assert watch.runner.asked == []


def test_a_watcher_that_ends_forgets_whom_it_woke(watch: Watch) -> None:
    """Who comes to the next one is woken, also for what an earlier one has seen."""
    watch_id = watch.register("e-1")
    watch.runner.jobs = [_job("e-1")]
    watch.tick(watch_id)
    watch.activities.leave_watcher({"eval_id": "e-1"})
    watch.tick(watch_id)
    assert f"woken-{watch_id}" not in watch.dapr.state
    watch.woken()

    watch.register("e-1")
    watch.tick(watch_id)

    assert watch.woken() == [("eval-e-1", {"check": False})]


@pytest.mark.parametrize("quiet", [True, False])
def test_a_watcher_that_goes_on_forgets_who_has_left(watch: Watch, *, quiet: bool) -> None:
    """Also where nothing has changed since; who stays is not woken again for what it knows."""
    watch_id = watch.register("stays")
    watch.register("leaves")
    watch.tick(watch_id)
    watch.woken()
    watch.activities.leave_watcher({"eval_id": "leaves"})
    if not quiet:
        watch.runner.jobs = [_job("stays")]

    watch.tick(watch_id)

    assert set(watch.dapr.state[f"woken-{watch_id}"]) == {"stays"}
    assert watch.woken() == ([] if quiet else [("eval-stays", {"check": False})])


def test_a_watcher_does_not_end_on_one_who_has_just_come(watch: Watch) -> None:
    """Who joins between the look at the empty registry and its closing keeps it open."""
    watch_id = watch.register("e-1")
    joined = watch.dapr.state[f"watched-{watch_id}"]
    watch.activities.leave_watcher({"eval_id": "e-1"})
    watch.dapr.rival = joined

    assert watch.activities._close(watch_id) == joined
    assert watch.dapr.state[f"watched-{watch_id}"] == joined


def test_a_watcher_without_a_registry_ends(watch: Watch) -> None:
    """Somebody has emptied the store."""
    assert watch.tick("watch-lost")["closed"]


def test_leaving_may_be_repeated(watch: Watch) -> None:
    """The others stay, and it does not matter whether there is a registry."""
    watch_id = watch.register("e-1")
    watch.register("e-2")

    for _ in range(2):
        watch.activities.leave_watcher({"eval_id": "e-1"})
    assert watch.members(watch_id) == ["e-2"]

    del watch.dapr.state[f"watched-{watch_id}"]
    watch.activities.leave_watcher({"eval_id": "e-2"})
    assert f"watched-{watch_id}" not in watch.dapr.state


def test_only_those_are_woken_whose_runs_have_changed(watch: Watch) -> None:
    """Each by its own snapshot, which is stored before it is woken."""
    watch_id = watch.register("e-1")
    watch.register("e-2")
    watch.runner.jobs = [_job("e-1"), _job("e-2")]

    first = watch.tick(watch_id)
    assert first["changed"]
    assert watch.woken() == [("eval-e-1", {"check": False}), ("eval-e-2", {"check": False})]

    assert not watch.tick(watch_id)["changed"]
    assert watch.woken() == []

    watch.runner.jobs = [_job("e-1"), _job("e-2", complete=True)]
    assert watch.tick(watch_id)["changed"]
    assert watch.woken() == [("eval-e-2", {"check": False})]
    snapshot = watch.store.snapshot("e-2")
    assert snapshot is not None
    assert (snapshot["tick"], snapshot["runs"][0]["state"]) == (3, "succeeded")


def test_one_look_serves_all_members(watch: Watch) -> None:
    """Logs of runs that were seen to have ended are not read again."""
    watch_id = watch.register("e-1")
    watch.register("e-2")
    watch.runner.jobs = [_job("e-1", complete=True), _job("e-2")]

    for _ in range(2):
        watch.tick(watch_id)

    (_, first), (_, second) = watch.runner.asked
    assert first["evaluations"] == second["evaluations"] == ["e-1", "e-2"]
    assert (first["settled"], second["settled"]) == ([], [["e-1", "r-1"]])


def test_a_log_that_was_seen_is_kept(watch: Watch) -> None:
    """It outlives the pod, but the key in it does not; with it comes the progress."""
    watch_id = watch.register("e-1")
    line = 'BUDEVAL1-PROGRESS {"done": 1, "total": 4, "phase": "infer"}\n'
    log = f"the endpoint says: {_KEY} is wrong\n{line}"
    watch.runner.jobs = [_job("e-1", log=log, pod={"name": "p", "phase": "Running"})]

    watch.tick(watch_id)

    assert watch.store.log("e-1", "r-1") == f"the endpoint says: *** is wrong\n{line}"
    snapshot = watch.store.snapshot("e-1")
    assert snapshot is not None
    assert snapshot["runs"][0]["progress"]["done"] == 1


@pytest.mark.parametrize("fate", ["lost", "ended"])
def test_a_member_that_did_not_come_to_leave_is_taken_off(watch: Watch, fate: str) -> None:
    """Its workflow was terminated by hand, or its record is gone; nobody else is disturbed."""
    watch_id = watch.register("e-1")
    watch.register("gone")
    if fate == "lost":
        watch.dapr.state.pop("eval-gone")
    else:
        watch.store.end("gone", Outcome.FAILED)
    watch.runner.jobs = [_job("e-1")]

    watch.tick(watch_id)

    assert watch.members(watch_id) == ["e-1"]
    assert watch.woken() == [("eval-e-1", {"check": False})]


def test_a_member_that_cannot_be_read_disturbs_nobody(watch: Watch) -> None:
    """It is taken off; the others are looked at."""
    watch_id = watch.register("a")
    watch.register("b")
    watch.dapr.state["eval-a"]["evaluation"]["runs"][0]["limit"] = 1e22
    watch.runner.jobs = [_job("a"), _job("b")]

    assert watch.tick(watch_id)["changed"]

    assert watch.members(watch_id) == ["b"]
    assert [run["run_id"] for run in watch.runs("b")] == ["r-1"]


def test_a_watcher_whose_members_have_all_ended_ends(watch: Watch) -> None:
    """With the next tick."""
    watch_id = watch.register("e-1")
    watch.store.end("e-1", Outcome.COMPLETED)

    assert watch.tick(watch_id) == {"closed": False, "changed": False, "trouble": None}
    assert watch.tick(watch_id)["closed"]
    assert watch.runner.asked == []


def test_a_member_whose_look_cannot_be_kept_disturbs_nobody(watch: Watch) -> None:
    """Its secrets are lost: it finds that out for itself."""
    watch_id = watch.register("e-1")
    watch.register("e-2")
    watch.vault.destroy(watch.store.load("e-1").sealed_as)
    watch.runner.jobs = [_job("e-1"), _job("e-2")]

    assert watch.tick(watch_id)["trouble"] is None

    assert watch.woken() == [("eval-e-2", {"check": False})]


def test_a_state_store_that_is_away_fails_the_tick(watch: Watch) -> None:
    """It is tried again as a whole."""
    watch_id = watch.register("e-1")
    watch.runner.jobs = [_job("e-1")]
    watch.dapr.unreachable = True

    with pytest.raises(SidecarError):
        watch.tick(watch_id)


@pytest.mark.parametrize("call", ["snapshot", "save_snapshot"])
def test_a_state_store_that_goes_away_during_a_tick_fails_it(
    watch: Watch, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    """It is the fault of no member and of no cluster: nobody is woken for it."""
    watch_id = watch.register("e-1")
    watch.runner.jobs = [_job("e-1")]

    def away(*_arguments: Any) -> None:
        raise SidecarError("away")

    with monkeypatch.context() as outage:
        outage.setattr(watch.store, call, away)
        with pytest.raises(SidecarError):
            watch.tick(watch_id)
    assert watch.woken() == []

    watch.tick(watch_id)
    assert watch.woken() == [("eval-e-1", {"check": False})]


def test_a_tick_that_was_cut_after_its_wake_ups_wakes_again(
    watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before it could note them: a wake-up too many costs a read, and nothing else."""
    watch_id = watch.register("e-1")
    watch.register("e-2")
    watch.runner.jobs = [_job("e-1"), _job("e-2", complete=True)]
    both = [("eval-e-1", {"check": False}), ("eval-e-2", {"check": False})]
    sidecar = watch.activities._sidecar
    save = sidecar.save_state

    def cut(key: str, value: Any) -> None:
        if key == f"woken-{watch_id}":
            raise SidecarError("cut")
        save(key, value)

    with monkeypatch.context() as crash:
        crash.setattr(sidecar, "save_state", cut)
        with pytest.raises(SidecarError):
            watch.tick(watch_id)
    assert watch.woken() == both
    seen = [watch.runs(eval_id) for eval_id in ("e-1", "e-2")]

    assert watch.tick(watch_id)["changed"]
    assert watch.woken() == both
    assert [watch.runs(eval_id) for eval_id in ("e-1", "e-2")] == seen

    assert not watch.tick(watch_id)["changed"]
    assert watch.woken() == []
    assert watch.members(watch_id) == ["e-1", "e-2"]


def test_ticks_that_overlap_lose_nothing(watch: Watch) -> None:
    """As after a restart of daprd: the look that began later counts, whoever of them ends last."""
    watch_id = watch.register("e-1")
    watch.runner.jobs = [_job("e-1")]
    look, later = watch.runner.run, [_job("e-1", complete=True)]

    def slowly(
        playbook: str,
        data: Json,
        kubeconfig: str,
        patience: float = 0,
        tell: Tell | None = None,  # noqa: ARG001
    ) -> Json:
        """The other tick begins and ends while this one looks."""
        old = look(playbook, data, kubeconfig, patience)
        watch.runner.run = look  # type: ignore[method-assign]
        watch.runner.jobs = later
        watch.tick(watch_id)
        return old

    watch.runner.run = slowly  # type: ignore[method-assign]
    watch.tick(watch_id)

    snapshot = watch.store.snapshot("e-1")
    assert snapshot is not None
    assert (snapshot["tick"], snapshot["runs"][0]["state"]) == (1, "succeeded")
    assert ("eval-e-1", {"check": False}) in watch.woken()


def test_ticks_that_write_at_once_wake_everybody_for_the_newest_look(
    watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both have read before either writes: no snapshot is lost, and nobody sleeps over one."""
    watch_id = watch.register("e-1")
    watch.register("e-2")
    older, newer = [_job("e-1"), _job("e-2")], [_job("e-1", complete=True), _job("e-2", complete=True)]
    looks, looking, both = iter([older, newer]), threading.Event(), threading.Barrier(2, timeout=10)
    save, woken_at = watch.store.save_snapshot, set()

    def look_at_once(*_arguments: Any) -> Json:
        jobs = next(looks)
        looking.set()
        both.wait()
        return {"jobs": jobs}

    def save_at_once(eval_id: str, at: datetime, look: Look) -> Json:
        first_try = [both]

        def met(before: list[Json]) -> list[Json]:
            if first_try:
                first_try.pop().wait()
            return look(before)

        return save(eval_id, at, met)

    def wake(workflow: str, _event: str, _data: Any) -> None:
        woken_at.add((workflow, watch.runs(workflow.removeprefix("eval-"))[0]["state"]))

    with monkeypatch.context() as patched, ThreadPoolExecutor(2) as threads:
        patched.setattr(watch.runner, "run", look_at_once)
        patched.setattr(watch.store, "save_snapshot", save_at_once)
        patched.setattr(watch.engine, "raise_event", wake)
        ticks = [threads.submit(watch.tick, watch_id)]
        assert looking.wait(10)
        ticks.append(threads.submit(watch.tick, watch_id))
        assert [tick.result(10)["trouble"] for tick in ticks] == [None, None]

    assert {("eval-e-1", "succeeded"), ("eval-e-2", "succeeded")} <= woken_at
    assert [watch.runs(eval_id)[0]["state"] for eval_id in ("e-1", "e-2")] == ["succeeded"] * 2
    watch.runner.jobs = newer
    watch.tick(watch_id)
    assert not watch.tick(watch_id)["changed"]


def test_trouble_is_told_once(watch: Watch) -> None:
    """Each member then looks for itself; another trouble is news, and so is its end."""
    watch_id = watch.register("e-1")
    watch.register("e-2")
    both = [("eval-e-1", {"check": True}), ("eval-e-2", {"check": True})]
    watch.runner.trouble = _AWAY

    first = watch.tick(watch_id)
    assert (first["trouble"], first["changed"], first["closed"]) == ("CLUSTER_UNREACHABLE", False, False)
    assert watch.woken() == both

    watch.tick(watch_id)
    assert watch.woken() == []

    watch.runner.trouble = ClusterError("you may not", code="FORBIDDEN", retryable=False)
    watch.tick(watch_id)
    assert watch.woken() == both

    watch.runner.trouble = None
    watch.runner.jobs = [_job("e-1"), _job("e-2")]
    assert watch.tick(watch_id)["trouble"] is None
    assert watch.woken() == [("eval-e-1", {"check": False}), ("eval-e-2", {"check": False})]


def test_a_member_that_comes_into_a_trouble_is_told(watch: Watch) -> None:
    """And the others not again."""
    watch_id = watch.register("e-1")
    watch.runner.trouble = _AWAY
    watch.tick(watch_id)
    watch.woken()

    watch.register("e-2")
    watch.tick(watch_id)

    assert watch.woken() == [("eval-e-2", {"check": True})]


@pytest.mark.parametrize("trouble", [None, _AWAY], ids=["change", "trouble"])
def test_a_member_that_cannot_be_woken_stops_nobody(watch: Watch, trouble: ClusterError | None) -> None:
    """It looks for itself in time."""
    watch_id = watch.register("e-1")
    watch.runner.trouble = trouble
    watch.engine.deaf = True

    found = watch.tick(watch_id)

    assert found["trouble"] == (trouble.code if trouble else None)
    assert set(watch.dapr.state[f"woken-{watch_id}"]) == {"e-1"}


def test_the_next_member_lends_its_credential(watch: Watch) -> None:
    """Where the first one's secrets are gone; it is the same credential, or they had not met."""
    watch.kubeconfigs |= {eval_id: samples.kubeconfig("shared") for eval_id in ("e-1", "e-2")}
    watch_id = watch.register("e-1", cluster="from-request")
    assert watch.register("e-2", cluster="from-request") == watch_id
    watch.runner.jobs = [_job("e-1"), _job("e-2")]

    del watch.kubeconfigs["e-1"]
    found = watch.tick(watch_id)

    assert found["trouble"] is None
    assert [token for token, _ in watch.runner.asked] == ["shared"]
    assert [workflow for workflow, _ in watch.woken()] == ["eval-e-1", "eval-e-2"]


def test_without_any_credential_it_is_a_trouble(watch: Watch) -> None:
    """The cluster is not asked with another's."""
    watch.kubeconfigs["e-1"] = samples.kubeconfig("gone")
    watch_id = watch.register("e-1", cluster="from-request")
    watch.kubeconfigs.clear()

    found = watch.tick(watch_id)

    assert found["trouble"] == "KUBECONFIG_INVALID"
    assert watch.runner.asked == []
    assert watch.woken() == [("eval-e-1", {"check": True})]


def test_nobody_is_watched_with_anothers_rights(watch: Watch) -> None:
    """Another credential or another namespace is another watcher; the same of both is the same."""
    watch.configure("second", "token-of-second")
    watch.configure("alias", "token-of-first")
    watch.kubeconfigs |= {
        "mine": samples.kubeconfig("token-of-first"),
        "theirs": samples.kubeconfig("token-of-theirs"),
    }

    first = watch.register("a")
    others = [
        watch.register("b", namespace="team-b"),
        watch.register("c", cluster="second"),
        watch.register("theirs", cluster="from-request"),
    ]
    same = [watch.register("d", cluster="alias"), watch.register("mine", cluster="from-request")]

    assert same == [first, first]
    assert len({first, *others}) == 4
    assert not any("token-of" in watch_id for watch_id in watch.started)


def test_an_evaluation_without_a_credential_cannot_be_registered(watch: Watch) -> None:
    """Nor does it leave a registry behind."""
    watch.store.create(_record("e-1", {"cluster": "third"}))

    with pytest.raises(BudevalError) as refused:
        watch.activities.register_with_watcher({"eval_id": "e-1"})

    assert refused.value.code == "KUBECONFIG_INVALID"
    assert not any(key.startswith("watched-") for key in watch.dapr.state)


def test_leaving_finds_the_watcher_that_was_joined(watch: Watch) -> None:
    """Also after the credential has changed, as service accounts' tokens do: nobody is watched for ever."""
    watch_id = watch.register("e-1")
    watch.configure("first", "another-token")

    watch.activities.leave_watcher({"eval_id": "e-1"})

    assert watch.dapr.state[f"watched-{watch_id}"]["members"] == {}


def test_a_new_credential_means_another_watcher(watch: Watch) -> None:
    """Registered again, the evaluation leaves the one that looks with the old credential."""
    old = watch.register("e-1")
    watch.configure("first", "another-token")

    new = watch.register("e-1")

    assert new != old
    assert watch.dapr.state[f"watched-{old}"]["members"] == {}
    assert set(watch.dapr.state[f"watched-{new}"]["members"]) == {"e-1"}
