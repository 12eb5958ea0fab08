"""The stack itself: seen, healed, side by side with others, gone without a trace."""

import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from dev import apps, process
from dev import stack as stacks
from dev.cluster.remains import mounts_below
from dev.layout import CACHE, CHECKOUT, STACKS, StackLayout
from dev.network import HOST
from dev.stack import Plan, Row, Stack
from tests.e2e.observe import wait_for

pytestmark = pytest.mark.e2e


def _dev(
    *arguments: str, prefix: tuple[str, ...] = (), **environment: str
) -> subprocess.CompletedProcess[str]:
    """`python -m dev` as a user types it, on the host."""
    command = [*prefix, sys.executable, "-m", "dev", *arguments]
    variables = {**os.environ, **environment}
    return HOST.call(
        lambda: subprocess.run(
            command, cwd=CHECKOUT, env=variables, capture_output=True, text=True, check=False, timeout=300
        )
    )


def _problems(stack: Stack) -> dict[str, str]:
    return {row.name: row.problem for row in stack.status() if row.problem}


def _entries() -> set[str]:
    return {path.name for path in CACHE.glob("*-*")}


def test_status_tells_each_part(stack: Stack) -> None:
    """Version, pid, address and memory of every part of a healthy stack, as `make status` prints them."""
    stack.up()

    rows = stack.status()
    printed = _dev("status", "--stack", "test")

    assert printed.returncode == 0, printed.stdout + printed.stderr
    assert not [row for row in rows if row.problem]
    for row in rows:
        assert row.version
        assert row.address
        assert row.pid, row.name
        assert row.memory_bytes > 1_000_000, row.name
        assert row.name in printed.stdout
        assert str(row.pid) in printed.stdout


def _names() -> list[str]:
    """Every part that `make status` shows; `second-…` is the second cluster."""
    cluster = [
        "containerd",
        "etcd",
        "kube-apiserver",
        "kube-controller-manager",
        "kube-scheduler",
        "kubelet",
        "provisioner",
    ]
    control_plane = ["redis", "dapr-placement", "dapr-scheduler", "model-chat", "model-embeddings"]
    members = [member.name for member in apps.members()]
    return [*cluster, "second-kube-apiserver", *control_plane, "apps", *members, "forwarder"]


def test_every_part_is_tried(stack: Stack) -> None:
    """The list of parts that are killed below is complete, but for the second cluster's other processes."""
    tried = set(_names())

    others = {row.name for row in stack.status()} - tried

    assert all(name.startswith("second-") for name in others)


@pytest.mark.parametrize("name", _names())
def test_a_killed_part_is_shown_and_healed(stack: Stack, name: str) -> None:
    """After `kill -9` of any one part `status` says which, and `up` makes everything healthy again."""
    stack.up()
    victim = _row(stack, name)
    assert victim.pid
    os.kill(victim.pid, signal.SIGKILL)
    time.sleep(0.2)

    shown = _dev("status", "--stack", "test")
    problems = _problems(stack)
    healed = _dev("up", "--stack", "test")

    assert shown.returncode == 1
    assert name in problems
    assert healed.returncode == 0, healed.stderr
    assert _problems(stack) == {}
    assert _row(stack, name).pid != victim.pid


def _row(stack: Stack, name: str) -> Row:
    return next(row for row in stack.status() if row.name == name)


def test_a_second_up_builds_and_starts_nothing(stack: Stack) -> None:
    """A healthy stack is left alone: the same processes, no new entry in the cache."""
    stack.up()
    before = {row.name: row.pid for row in stack.status()}
    entries = _entries()

    again = _dev("up", "--stack", "test")

    assert again.returncode == 0, again.stderr
    assert "starting" not in again.stderr
    assert "building" not in again.stderr
    assert {row.name: row.pid for row in stack.status()} == before
    assert _entries() == entries


def test_a_hanging_part_is_not_healthy(stack: Stack) -> None:
    """A part that is there but does not answer is shown, with a reason, and replaced."""
    stack.up()
    victim = _row(stack, "redis")
    assert victim.pid
    os.kill(victim.pid, signal.SIGSTOP)

    problem = _problems(stack)["redis"]
    healed = _dev("up", "--stack", "test")

    assert "does not answer" in problem
    assert healed.returncode == 0, healed.stderr
    assert _problems(stack) == {}


@pytest.fixture
def other() -> Iterator[StackLayout]:
    """The name of another stack, taken down at the end whatever became of it."""
    layout = StackLayout.of_checkout("other")
    HOST.call(lambda: stacks.down(layout))
    yield layout
    HOST.call(lambda: stacks.down(layout))


def _traces(layout: StackLayout) -> dict[str, list[str]]:
    """Everything that a stack leaves on a machine, by kind."""
    scopes = [layout.cluster(number).scope for number in (1, 2)]
    return {
        "processes": [str(record.pid) for record in process.marked(layout.name)],
        "in directory": _processes_in(layout.directory),
        "in cgroups": [str(record.pid) for scope in scopes for record in process.in_cgroup(scope)],
        "cgroups": [str(path) for scope in scopes for path in process.cgroup_directories(scope)],
        "mounts": list(mounts_below(layout.directory)),
        "namespaces": [scope for scope in scopes if (Path("/run/netns") / scope).exists()],
        "directories": [str(path) for path in STACKS.glob(f"{layout.name}*")],
    }


def _processes_in(directory: Path) -> list[str]:
    """Processes that run in a directory or one below, found without any mark of ours."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cwd"):
        try:
            where = str(entry.readlink())
        except OSError:
            continue
        if where.startswith(str(directory)):
            found.append(entry.parent.name)
    return found


def _host_network() -> str:
    """Interfaces, addresses, routes and packet filter of the host."""
    commands = (["ip", "-o", "link"], ["ip", "route"], ["iptables-save"])
    texts = [
        subprocess.run(command, capture_output=True, text=True, check=True).stdout for command in commands
    ]
    return "\n".join(line for text in texts for line in text.splitlines() if not line.startswith(("#", ":")))


_POD = """
apiVersion: v1
kind: Pod
metadata: {name: sleeper, namespace: budeval}
spec:
  automountServiceAccountToken: false
  securityContext: {runAsNonRoot: true, runAsUser: 10001, seccompProfile: {type: RuntimeDefault}}
  containers:
  - name: sleeper
    image: budeval.local/python:3.11
    command: [python3, -c, "open('/shared/there', 'w'); import time; time.sleep(3600)"]
    securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}
    volumeMounts: [{name: shared, mountPath: /shared}]
  volumes: [{name: shared, persistentVolumeClaim: {claimName: eval-datasets-pvc-rwx}}]
"""


def _start_with_a_pod(layout: StackLayout) -> Stack:
    def start() -> Stack:
        running = stacks.up(layout, clusters=1, kubeconfig=None)
        running.kubectl(1, "apply", "--filename", "-", stdin=_POD)
        ready = ["--namespace", "budeval", "--for=condition=Ready", "pod/sleeper", "--timeout=50s"]
        running.kubectl(1, "wait", *ready)
        return running

    return HOST.call(start)


def test_stacks_run_side_by_side_and_down_leaves_nothing(stack: Stack, other: StackLayout) -> None:
    """A second stack comes up beside the first, with a pod of its own, and goes without a trace."""
    stack.up()
    pids = {row.name: row.pid for row in stack.status()}
    network = HOST.call(_host_network)

    second = _start_with_a_pod(other)
    both_ready = [
        HOST.call(lambda url=url: httpx.get(f"{url}/readyz", timeout=30).status_code)  # type: ignore[misc]
        for url in (stack.service_url, second.service_url)
    ]
    busy = _traces(other)
    down = _dev("down", "--stack", "other")

    assert both_ready == [200, 200]
    assert stack.service_url != second.service_url
    assert all(found for kind, found in busy.items() if kind != "in directory"), busy
    assert len(busy["in directory"]) > 5
    assert down.returncode == 0, down.stderr
    assert _traces(other) == {kind: [] for kind in busy}
    assert HOST.call(_host_network) == network
    assert {row.name: row.pid for row in stack.status()} == pids


def _kill_everything(layout: StackLayout) -> None:
    for record in [*process.marked(layout.name), *process.in_cgroup(layout.cluster(1).scope)]:
        os.kill(record.pid, signal.SIGKILL)


def test_up_works_after_a_crash(stack: Stack, other: StackLayout) -> None:
    """With every process killed and nothing cleaned up, `up` heals the stack, and the cluster its pod."""
    stack.up()
    crashed = _start_with_a_pod(other)
    _kill_everything(other)

    healed = _dev("up", "--stack", "other")

    assert healed.returncode == 0, healed.stderr
    assert HOST.call(lambda: _problems(crashed)) == {}
    phase = ["--namespace", "budeval", "get", "pod", "sleeper", "--output", "jsonpath={.status.phase}"]
    HOST.call(lambda: wait_for(lambda: _known_to_have_ended(crashed, phase), "the killed pod to be noticed"))
    assert _problems(stack) == {}


def _known_to_have_ended(stack: Stack, phase: list[str]) -> bool | None:
    """The kubelet saw that the pod's process was killed: it fails, or was started again."""
    return stack.kubectl(1, *phase) in {"Failed", "Running"} or None


def test_up_works_after_a_power_cut(stack: Stack, other: StackLayout) -> None:
    """With processes, mounts and namespace gone and another boot id, `up` starts the clusters anew."""
    stack.up()
    _start_with_a_pod(other)
    _kill_everything(other)
    HOST.call(lambda: subprocess.run(["ip", "netns", "delete", other.name], check=True))
    plan = Plan.read(other)
    assert plan
    Plan(plan.checkout, plan.clusters, plan.kubeconfig, plan.host_port, "another boot").write(other)

    healed = _dev("up", "--stack", "other")

    assert healed.returncode == 0, healed.stderr
    assert "the machine restarted" in healed.stderr
    assert HOST.call(lambda: _problems(stacks.open_stack(other))) == {}


def test_an_existing_cluster_is_used_instead(stack: Stack, other: StackLayout, tmp_path: Path) -> None:
    """`KUBECONFIG=… make up` starts no cluster, and no Redis where one runs; the given one is verified.

    The stand-in for somebody's cluster is the test stack's second one, in whose namespace this stack runs.
    """
    stack.up()
    inside = ("nsenter", f"--net=/run/netns/{stack.layout.cluster(2).scope}")
    kubeconfig = str(stack.layout.clusters_directory / "second.yaml")

    redis = subprocess.Popen(
        [*inside, "redis-server", "--save", "", "--bind", "127.0.0.1"],
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
    )
    up = _dev("up", "--stack", "other", prefix=inside, KUBECONFIG=kubeconfig)
    status = _dev("status", "--stack", "other", prefix=inside)
    written = other.clusters_directory / "local.yaml"
    private = stat.S_IMODE(written.stat().st_mode) if written.exists() else None
    namespace = stack.namespace_of(stack.layout.cluster(2))
    with httpx.Client(base_url=f"http://127.0.0.1:{apps.SERVICE_PORT}", timeout=60) as client:
        answer = namespace.call(lambda: client.post("/clusters:verify", json={}))
        state = namespace.call(lambda: _wait_for_end(client, answer.json()["workflow_id"]))
    down = _dev("down", "--stack", "other", prefix=inside)
    redis_stayed = redis.poll() is None
    redis.kill()
    redis.wait()

    assert up.returncode == 0, up.stderr
    assert redis_stayed
    assert "not ours" in status.stdout
    assert status.returncode == 0, status.stdout
    assert "kube-apiserver" not in status.stdout
    assert private == 0o600
    assert state == "COMPLETED"
    assert down.returncode == 0, down.stderr
    assert not any(_traces(other).values())


def _wait_for_end(client: httpx.Client, workflow: str) -> str:
    for _ in range(200):
        status = str(client.get(f"/workflow/{workflow}/status").json()["status"])
        if status in {"COMPLETED", "FAILED"}:
            return status
        time.sleep(0.3)
    return "still running"


def test_the_state_store_is_the_stacks_own(stack: Stack) -> None:
    """The sidecar's database is a file of the stack, for root alone, and not of the checkout."""
    stack.up()
    sidecar = _row(stack, "service-sidecar")

    opened = {str(path.readlink()) for path in Path(f"/proc/{sidecar.pid}/fd").iterdir()}

    databases = {path for path in opened if path.endswith(".db")}
    assert databases == {str(stack.layout.directory / "dapr" / "budeval-state.db")}
    assert stat.S_IMODE(stack.layout.directory.stat().st_mode) == 0o700


def test_another_kind_of_cluster_does_not_replace_a_running_stack(stack: Stack, tmp_path: Path) -> None:
    """A KUBECONFIG, usable or mistyped, never takes a stack down that has clusters of its own."""
    stack.up()
    before = {row.name: row.pid for row in stack.status()}
    usable = str(stack.layout.clusters_directory / "local.yaml")
    inside = ("nsenter", f"--net=/run/netns/{stack.layout.name}")

    mistyped = _dev("up", "--stack", "test", KUBECONFIG=str(tmp_path / "nope"))
    other_kind = _dev("up", "--stack", "test", prefix=inside, KUBECONFIG=usable)

    assert mistyped.returncode == 1
    assert "cannot be read" in mistyped.stderr
    assert other_kind.returncode == 1
    assert "Take it down first" in other_kind.stderr
    assert {row.name: row.pid for row in stack.status()} == before


def test_two_ups_at_once_take_turns(stack: Stack, other: StackLayout) -> None:
    """Started together for the same stack, one waits for the other, and both end well."""
    stack.up()
    command = [sys.executable, "-m", "dev", "up", "--stack", "other"]

    def start() -> subprocess.Popen[str]:
        return subprocess.Popen(command, cwd=CHECKOUT, stderr=subprocess.PIPE, text=True)

    both = HOST.call(lambda: [start(), start()])
    said = [running.communicate(timeout=300)[1] for running in both]

    assert [running.returncode for running in both] == [0, 0], said
    assert any("waiting for another command" in text for text in said)
    assert HOST.call(lambda: _problems(stacks.open_stack(other))) == {}


def test_the_service_is_on_the_hosts_loopback(stack: Stack) -> None:
    """The forwarder brings the service's port, and only that, to 127.0.0.1 of the host."""
    stack.up()

    answer = HOST.call(lambda: httpx.get(f"{stack.service_url}/healthz", timeout=10))

    assert answer.json() == {"status": "alive"}
