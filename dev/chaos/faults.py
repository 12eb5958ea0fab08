"""Ways to break a stack, and to put it right again."""

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Any, TypeVar

from budeval.engines.manifests import EVAL_LABEL, RUN_LABEL
from dev import apps, command, console, model, process
from dev.chaos.plan import Fault, PlannedFault
from dev.errors import DevError
from dev.part import Part
from dev.stack import Stack

T = TypeVar("T")

CUT_SECONDS = 60.0
_VICTIM_SECONDS = 60.0
_HEALINGS = 6
_SIDECAR = "service-sidecar"
_ALONE_SECONDS = 12.0
"""That the service is without its sidecar, at most."""
_RETURN_SECONDS = 180.0
"""Until it must be ready again after that, on a busy machine."""
_NAMESPACE = "budeval"
_BLOCK = 64 * 1024
_TO_THE_API_SERVER = ("INPUT", "-p", "tcp", "--dport", "6443", "-j", "DROP")


class NoVictimError(Exception):
    """Nothing of the kind was there to be broken."""


@dataclass(frozen=True)
class Strike:
    """A fault that was done."""

    what: str
    eval_id: str | None = None
    """The evaluation whose engine was hit: it may end without all of its scores."""
    finding: str | None = None
    """What did not come right by itself, though it should have."""


class Breaker:
    """Breaks one stack.

    Args:
        stack: up, with one cluster; the calling thread is in its namespace.
        disk: a small filesystem that holds the state store and nothing else.
        deliver_again: sends a request that is known twice more; its id, None where there is none yet.
    """

    def __init__(self, stack: Stack, disk: Path, deliver_again: Callable[[Random], str | None]) -> None:
        self._stack = stack
        self._ballast = disk / "ballast"
        self._deliver_again = deliver_again
        self._cut = False
        self._ways: dict[Fault, Callable[[Random], Strike]] = {
            Fault.KILL_SERVICE: lambda _: self._kill_member("service"),
            Fault.KILL_SIDECAR: lambda _: self._kill_member(_SIDECAR),
            Fault.RETURN_SIDECAR: self._return_sidecar,
            Fault.KILL_PLACEMENT: lambda _: self._kill_part("dapr-placement"),
            Fault.KILL_SCHEDULER: lambda _: self._kill_part("dapr-scheduler"),
            Fault.KILL_REDIS: lambda _: self._kill_part("redis"),
            Fault.KILL_APISERVER: lambda _: self._kill_part("kube-apiserver"),
            Fault.KILL_KUBELET: lambda _: self._kill_part("kubelet"),
            Fault.KILL_ENGINE: self._kill_engine,
            Fault.EVICT_POD: self._evict_pod,
            Fault.KILL_PLAYBOOK: self._kill_playbook,
            Fault.FILL_DISK: lambda _: self._fill_disk(),
            Fault.CUT_NETWORK: lambda _: self._cut_network(),
            Fault.DELIVER_TWICE: self._deliver_twice,
            Fault.RESTART_SERVICE: lambda _: self._stop_service(),
            Fault.RESTART_ALL: lambda _: self._kill_all(),
        }

    def strike(self, fault: PlannedFault) -> Strike:
        """Break something.

        Raises:
            NoVictimError: nothing of the kind came up within a minute.
        """
        random = Random(fault.seed)  # noqa: S311 - it shall be repeatable
        return self._ways[fault.kind](random)

    def heal(self) -> None:
        """Put everything right that was broken.

        Raises:
            DevError: a part does not come up, however often it is started.
        """
        self._ballast.unlink(missing_ok=True)
        if self._cut:
            command.run(["iptables", "-D", *_TO_THE_API_SERVER])
            self._cut = False
        # On a busy machine the model may not answer in time; nothing has broken it, so nobody restarts it.
        for _ in range(_HEALINGS - 1):
            try:
                return self._stack.up(leave=model.NAMES)
            except DevError as error:
                console.say(f"  not yet: {error}")
                time.sleep(2)
        return self._stack.up(leave=model.NAMES)

    def _kill_member(self, name: str) -> Strike:
        record = self._member(name)
        process.kill([record])
        return Strike(f"{name} ({record.pid})")

    def _return_sidecar(self, random: Random) -> Strike:
        """`dapr run` waits for a signal only: it neither starts a sidecar again nor ends the service then.

        The next one is none of its children; by its marks the stack finds and stops it like the first one.
        """
        record = self._member(_SIDECAR)
        launch = process.Launch.of(record)
        if launch is None:
            raise NoVictimError(f"{_SIDECAR} ended meanwhile")
        process.kill([record])
        time.sleep(random.uniform(0, _ALONE_SECONDS))
        part = self._part(apps.NAME)
        returned = self._stack.namespace.call(lambda: launch.again(part.log))
        return Strike(f"{_SIDECAR} ({record.pid}), back as {returned.pid}", finding=_why_not_well(part))

    def _member(self, name: str) -> process.Record:
        member = next(member for member in apps.members() if member.name == name)
        return _await(lambda: member.find(self._stack.layout))

    def _part(self, name: str) -> Part:
        return next(part for part in self._stack.parts() if part.name == name)

    def _kill_part(self, name: str) -> Strike:
        part = self._part(name)
        record = _await(part.main_process)
        process.kill([record])
        return Strike(f"{name} ({record.pid})")

    def _kill_engine(self, random: Random) -> Strike:
        pod = self._engine_pod(random)
        uid = pod["metadata"]["uid"]
        victims = _await(lambda: _in_pod(uid))
        process.kill(victims)
        return Strike(f"pod {pod['metadata']['name']}", _eval_id(pod))

    def _evict_pod(self, random: Random) -> Strike:
        pod = self._engine_pod(random)
        name = pod["metadata"]["name"]
        eviction = {
            "apiVersion": "policy/v1",
            "kind": "Eviction",
            "metadata": {"name": name, "namespace": _NAMESPACE},
        }
        url = f"/api/v1/namespaces/{_NAMESPACE}/pods/{name}/eviction"
        try:
            self._stack.kubectl(1, "create", "--raw", url, "--filename", "-", stdin=json.dumps(eviction))
        except DevError as error:
            raise NoVictimError(f"pod {name} ended meanwhile: {error}") from error
        return Strike(f"pod {name}", _eval_id(pod))

    def _engine_pod(self, random: Random) -> dict[str, Any]:
        def running() -> list[dict[str, Any]]:
            selection = (f"--selector={RUN_LABEL}", "--field-selector=status.phase=Running")
            answer = self._stack.kubectl(1, "get", "pods", "-n", _NAMESPACE, *selection, "-o", "json")
            pods: list[dict[str, Any]] = json.loads(answer)["items"]
            return [pod for pod in pods if "deletionTimestamp" not in pod["metadata"]]

        return random.choice(_await(running))

    def _kill_playbook(self, random: Random) -> Strike:
        victim = random.choice(_await(lambda: playbooks(self._stack)))
        process.kill([victim])
        return Strike(f"ansible-playbook ({victim.pid})")

    def _fill_disk(self) -> Strike:
        # Without a buffer: closing would write once more what there was no room for.
        with self._ballast.open("wb", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(_BLOCK))
            except OSError:
                written = file.tell()
        return Strike(f"disk of the state store, with {written >> 20} MiB")

    def _cut_network(self) -> Strike:
        command.run(["iptables", "-I", *_TO_THE_API_SERVER])
        self._cut = True
        time.sleep(CUT_SECONDS)
        return Strike(f"way to the API server, for {CUT_SECONDS:.0f} s")

    def _deliver_twice(self, random: Random) -> Strike:
        return Strike(f"request {_await(lambda: self._deliver_again(random))}")

    def _stop_service(self) -> Strike:
        self._part(apps.NAME).stop()
        return Strike("service and sidecars, by SIGTERM")

    def _kill_all(self) -> Strike:
        """All but the model's servers: an endpoint that is away is its owner's to answer for."""
        parts = [part for part in self._stack.parts() if part.name not in model.NAMES]
        mains = [main for part in parts if (main := part.main_process())]
        process.kill([*mains, *process.marked(self._stack.layout.name, apps.NAME)])
        return Strike(f"{len(mains)} parts")


def playbooks(stack: Stack) -> list[process.Record]:
    """The playbooks that the service runs just now.

    By their arguments: they get none of the service's environment, so they do not bear the stack's mark.
    """
    private = f"{stack.layout.directory}/"
    return [
        record
        for record in _everything()
        if _is_playbook(words := process.arguments_of(record)) and any(private in word for word in words)
    ]


def _is_playbook(words: list[str]) -> bool:
    return any(Path(word).name == "ansible-playbook" for word in words[:3])


def _why_not_well(part: Part) -> str | None:
    """Why service and sidecars are not ready again without a restart; nobody restarts them meanwhile."""
    try:
        replace(part, start_timeout=_RETURN_SECONDS).wait_until_healthy()
    except DevError as error:
        return f"after its sidecar came back, the service did not get ready by itself: {error}"
    return None


def _in_pod(uid: str) -> list[process.Record]:
    """The processes of a pod's containers, its pause process left out."""
    return [
        record
        for record in _everything()
        if uid in _cgroup_of(record.pid) and process.arguments_of(record)[:1] != ["/pause"]
    ]


def _everything() -> Iterator[process.Record]:
    """The processes of this machine."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (record := process.Record.of(int(entry.name))):
            yield record


def _cgroup_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cgroup").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def _eval_id(pod: dict[str, Any]) -> str:
    return str(pod["metadata"]["labels"][EVAL_LABEL])


def _await(look: Callable[[], T | None]) -> T:
    """What `look` finds, as soon as it finds something."""
    deadline = time.monotonic() + _VICTIM_SECONDS
    while time.monotonic() < deadline:
        if found := look():
            return found
        time.sleep(0.2)
    raise NoVictimError("nothing of the kind was there")
