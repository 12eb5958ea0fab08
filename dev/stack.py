"""The stack as a whole: which parts it has, how they come up, and how nothing of them stays."""

import json
import os
from collections.abc import Container, Iterator
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from dev import apps, console, dapr, forwarder, lock, model, network, own_cluster, process, redis, system
from dev.cluster import binaries, containerd, image_store, objects, pki, remains
from dev.cluster import parts as cluster_parts
from dev.errors import DevError
from dev.layout import CHECKOUT, LOCKS, MAX_CLUSTERS, STACKS, ClusterLayout, StackLayout
from dev.network import HOST, Namespace
from dev.part import Part, connect_check

_DOWN_GRACE_SECONDS = 4.0


@dataclass(frozen=True)
class Plan:
    """What a stack was asked to be; kept in its directory for the commands that follow."""

    checkout: str
    clusters: int
    kubeconfig: str | None
    """Path of a foreign cluster's kubeconfig; then `clusters` is 0 and there is no own namespace."""
    host_port: int
    boot_id: str

    @classmethod
    def read(cls, layout: StackLayout) -> "Plan | None":
        """The plan of a stack that was started, or None."""
        try:
            return cls(**json.loads((layout.directory / "plan.json").read_text()))
        except (FileNotFoundError, ValueError, TypeError):
            return None

    def write(self, layout: StackLayout) -> None:
        """Keep it."""
        layout.directory.mkdir(parents=True, exist_ok=True)
        layout.directory.chmod(0o700)  # keys, histories and logs are nobody else's business
        unfinished = layout.directory / "plan.json.new"
        with unfinished.open("w") as file:
            json.dump(asdict(self), file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        unfinished.rename(layout.directory / "plan.json")


@dataclass(frozen=True)
class Row:
    """One line of `make status`."""

    name: str
    version: str
    pid: int | None
    address: str
    memory_bytes: int
    problem: str | None
    """Why it is not healthy; None if it is."""


class Stack:
    """One stack of this machine."""

    def __init__(self, layout: StackLayout, plan: Plan) -> None:
        self.layout = layout
        self.plan = plan
        self.namespace = HOST if plan.kubeconfig else Namespace(layout.name)

    @property
    def clusters(self) -> list[ClusterLayout]:
        """The clusters of our own that it has."""
        return [self.layout.cluster(number) for number in range(1, self.plan.clusters + 1)]

    @property
    def service_url(self) -> str:
        """Where the service is reached from the host."""
        return f"http://127.0.0.1:{self.plan.host_port}"

    def namespace_of(self, cluster: ClusterLayout) -> Namespace:
        """The network namespace that a cluster lives in."""
        return Namespace(cluster.scope)

    def kubectl(self, number: int, *arguments: str, stdin: str | None = None) -> str:
        """Run kubectl as administrator of the n-th cluster."""
        cluster = self.layout.cluster(number)
        return objects.kubectl(cluster, self.namespace_of(cluster), *arguments, stdin=stdin)

    def parts(self) -> list[Part]:
        """Every part, in the order in which they start."""
        model_address = self.clusters[0].node_address if self.clusters else "127.0.0.1"
        control_plane = [redis.part(self.layout, self.namespace), *dapr.parts(self.layout, self.namespace)]
        if self.namespace == HOST:
            control_plane = [_ours_or_theirs(part) for part in control_plane]
        models = model.parts(self.layout, self.namespace, model_address)
        clusters = [part for cluster in self.clusters for part in self._cluster_parts(cluster)]
        needs = tuple(part.name for part in control_plane)
        service = apps.part(self.layout, self.namespace, model_address, needs)
        everything = [*clusters, *control_plane, *models, service]
        if self.namespace != HOST:
            port = self.plan.host_port
            everything.append(
                forwarder.part(self.layout, self.namespace, port, apps.SERVICE_PORT, (service.name,))
            )
        return everything

    def _kubeconfig_of(self, cluster: ClusterLayout) -> Path:
        """The service's own credential for a cluster."""
        return self.layout.clusters_directory / f"{cluster.name}.yaml"

    def _cluster_parts(self, cluster: ClusterLayout) -> Iterator[Part]:
        namespace = self.namespace_of(cluster)
        kubeconfig = self._kubeconfig_of(cluster)
        for part in cluster_parts.parts(self.layout, cluster, namespace):
            if part.name.endswith("kube-apiserver"):
                yield replace(part, when_healthy=lambda: objects.apply(cluster, namespace, kubeconfig))
            else:
                yield part

    def up(self, leave: Container[str] = ()) -> None:
        """Start what is not healthy, in order; leave alone what is, and the parts in `leave`."""
        self._prepare()
        parts = {part.name: part for part in self.parts() if part.name not in leave}
        started: set[str] = set()
        for part in parts.values():
            if part.why_unhealthy() is None:
                continue
            for need in part.needs:
                self._await(parts[need], started)
            console.say(f"starting {part.name}")
            part.start()
            started.add(part.name)
        for part in parts.values():
            self._await(part, started)
        for cluster in self.clusters:
            objects.wait_until_usable(cluster, self.namespace_of(cluster), self._kubeconfig_of(cluster))
            image_store.refresh(containerd.root(cluster), containerd.socket(cluster))

    def restart(self, name: str) -> None:
        """Stop and start one part, then whatever did not outlive that.

        Raises:
            DevError: there is no such part.
        """
        parts = {part.name: part for part in self.parts()}
        if name not in parts:
            raise DevError(f"There is no part {name!r}. There are: {', '.join(parts)}.")
        with _changing(self.layout.name):
            parts[name].stop()
            self.up()

    def _await(self, part: Part, started: set[str]) -> None:
        if part.name in started:
            part.wait_until_healthy()
            part.when_healthy()
            started.discard(part.name)

    def _prepare(self) -> None:
        self.namespace.create()
        for cluster in self.clusters:
            cluster.directory.mkdir(parents=True, exist_ok=True)
            pki.make(cluster)
            namespace = self.namespace_of(cluster)
            namespace.create()
            network.add_bridge(namespace, f"{cluster.node_address}/24")
            if cluster.number > 1:
                first = self.clusters[0].pod_subnet
                network.join(self.namespace, namespace, first, cluster.pod_subnet)
        if self.plan.kubeconfig:
            self.layout.clusters_directory.mkdir(parents=True, exist_ok=True)
            target = self.layout.clusters_directory / "local.yaml"
            target.touch(mode=0o600)
            target.write_text(own_cluster.read(Path(self.plan.kubeconfig)))

    def status(self) -> list[Row]:
        """The state of every part, and of the processes under `dapr run` one by one."""
        rows = []
        for part in self.parts():
            main = part.main_process()
            rows.append(_row(part.name, part.version, part.address, main, part.why_unhealthy()))
            if part.name == apps.NAME:
                rows += [self._member_row(member) for member in apps.members()]
        return rows

    def _member_row(self, member: apps.Member) -> Row:
        record = member.find(self.layout)
        problem = None if record else "not running"
        if record:
            try:
                self.namespace.call(member.check)
            except DevError as error:
                problem = str(error)
        return _row(member.name, member.version, member.address, record, problem)


def _ours_or_theirs(part: Part) -> Part:
    """On the host's own ports: a Redis or an initialised Dapr that runs already is used as it is."""
    theirs = replace(part, foreign=True, version="not ours", check=connect_check(part.address))
    return part if part.main_process() or theirs.why_unhealthy() else theirs


def _row(name: str, version: str, address: str, record: process.Record | None, problem: str | None) -> Row:
    memory = process.memory_of(record) if record else 0
    return Row(name, version, record.pid if record else None, address, memory, problem)


def open_stack(layout: StackLayout) -> Stack:
    """A stack that was started before.

    Raises:
        DevError: there is none.
    """
    plan = Plan.read(layout)
    if plan is None:
        raise DevError(f"There is no stack {layout.name}. `make up` starts it.")
    return Stack(layout, plan)


def up(layout: StackLayout, clusters: int, kubeconfig: str | None) -> Stack:
    """Build what is missing, then bring the stack up, or back to health.

    Args:
        layout: which stack.
        clusters: how many clusters of our own; ignored with `kubeconfig`.
        kubeconfig: path of the kubeconfig of an existing cluster to use instead.
    """
    if not 1 <= clusters <= MAX_CLUSTERS:
        raise DevError(f"CLUSTERS={clusters}: it can be 1 to {MAX_CLUSTERS}.")
    system.require(own_cluster=kubeconfig is None)
    if kubeconfig:
        console.say(f"using the cluster of KUBECONFIG={kubeconfig}, starting none")
        own_cluster.require_reachable(own_cluster.read(Path(kubeconfig)))
    build(with_cluster=kubeconfig is None)
    with _changing(layout.name):
        before = Plan.read(layout)
        if layout.directory.exists():
            _settle(layout, before, kubeconfig)
        with _changing("ports"):
            stack = Stack(layout, _plan(layout, before, clusters, kubeconfig))
            stack.plan.write(layout)
        stack.up()
    return stack


def _changing(name: str) -> AbstractContextManager[None]:
    """The lock of a stack by its name, or of the choice of host ports."""
    return lock.held(LOCKS / name, f"another command that changes {name}")


def build(*, with_cluster: bool) -> None:
    """Build everything that the cache lacks, before anything starts."""
    dapr.runtime_path()
    dapr.cli()
    model.model_file()
    if with_cluster:
        binaries.kubernetes()
        binaries.provisioner()
        image_store.prepare()


def _plan(layout: StackLayout, before: Plan | None, clusters: int, kubeconfig: str | None) -> Plan:
    """What the stack shall be: clusters that it has stay, and so does a host port that it can have."""
    path = str(Path(kubeconfig).resolve()) if kubeconfig else None
    own = 0 if kubeconfig else max(clusters, before.clusters if before else 0)
    port = apps.SERVICE_PORT if kubeconfig else _host_port(layout, before)
    return Plan(str(CHECKOUT), own, path, port, process.boot_id())


def _host_port(layout: StackLayout, before: Plan | None) -> int:
    """The port that the stack's forwarder has, or else one that no stack of this machine has."""
    if before and any(process.marked(layout.name, forwarder.NAME)):
        return before.host_port
    plans = (Plan.read(StackLayout(path.name)) for path in STACKS.glob("bud-*") if path.name != layout.name)
    taken = {plan.host_port for plan in plans if plan}
    return forwarder.free_port(before.host_port if before else None, taken)


def _settle(layout: StackLayout, before: Plan | None, kubeconfig: str | None) -> None:
    """Bring what an earlier command left into a state that this one can go on from.

    Raises:
        DevError: the stack is of the other kind; only its owner can say that it may go.
    """
    if before and bool(before.kubeconfig) != bool(kubeconfig):
        kind = "with the cluster of a KUBECONFIG" if before.kubeconfig else "with clusters of its own"
        raise DevError(
            f"Stack {layout.name} is up {kind}. Take it down first (`make down`), or name another STACK."
        )
    if before is None or before.boot_id != process.boot_id():
        console.say("the machine restarted: the clusters start anew, the service's state stays")
        for number in range(1, MAX_CLUSTERS + 1):
            remains.remove_directory(layout.cluster(number).directory)
            (layout.clusters_directory / f"{layout.cluster(number).name}.yaml").unlink(missing_ok=True)


def down(layout: StackLayout) -> None:
    """End every process of the stack and remove everything it made. Harmless where there is nothing."""
    with _changing(layout.name):
        _remove(layout)


def _remove(layout: StackLayout) -> None:
    ours = {*process.marked(layout.name), *process.recorded(layout.directory / "pid")}
    process.stop(ours, grace=_DOWN_GRACE_SECONDS)
    for number in range(MAX_CLUSTERS, 0, -1):
        remains.remove(layout.cluster(number))
    for number in range(MAX_CLUSTERS, 0, -1):
        Namespace(layout.cluster(number).scope).delete()
    remains.remove_directory(layout.directory)
