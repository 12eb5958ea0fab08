"""What is evaluated and what breaks, drawn from a seed: the same seed gives the same plan."""

import uuid
from dataclasses import dataclass
from enum import StrEnum
from random import Random

_OPENCOMPASS_EACH = 10
_LONGEST_OUTAGE_SECONDS = 12.0
_LONGEST_PAUSE_SECONDS = 14.0


class Fault(StrEnum):
    """What breaks."""

    KILL_SERVICE = "kill service"
    KILL_SIDECAR = "kill daprd"
    RETURN_SIDECAR = "kill daprd alone"
    """It comes back by itself, under a service that has lived on, as on Kubernetes."""
    KILL_PLACEMENT = "kill placement"
    KILL_SCHEDULER = "kill scheduler"
    KILL_REDIS = "kill redis"
    KILL_APISERVER = "kill kube-apiserver"
    KILL_KUBELET = "kill kubelet"
    KILL_ENGINE = "kill engine pod"
    EVICT_POD = "evict engine pod"
    KILL_PLAYBOOK = "kill playbook"
    FILL_DISK = "fill disk"
    CUT_NETWORK = "cut network"
    DELIVER_TWICE = "deliver twice"
    RESTART_SERVICE = "restart service"
    RESTART_ALL = "restart everything"


class Fate(StrEnum):
    """How an evaluation shall end."""

    COMPLETE = "complete"
    CANCEL = "cancel"
    """It is cancelled somewhere on its way; where that comes too late, it completes."""
    FAIL = "fail"
    """It asks for a file that is not there."""


@dataclass(frozen=True)
class PlannedEvaluation:
    """One evaluation."""

    eval_id: str
    engine: str
    runs: int
    rows: int
    """Of each run."""
    by_message: bool
    """Requested by pub/sub; otherwise by HTTP."""
    deliveries: int
    """How often the request is sent, at the same time."""
    fate: Fate
    cancel_after: float
    """Seconds from its acceptance, for `Fate.CANCEL`."""
    retry: bool
    """Whether, once it has ended as it should, another attempt is asked for that no fault has called for.

    To what has completed it is refused; what was cancelled completes by it, what has failed fails again.
    """
    delete: bool
    """Whether it is deleted in the end, with its files."""
    calls: int
    """How often its cancellation and each retry are asked for, at the same time."""

    @property
    def run_ids(self) -> list[str]:
        """Of its runs, each on a dataset of its own."""
        return [f"sums-{number}-{self.eval_id[:8]}" for number in range(self.runs)]


@dataclass(frozen=True)
class PlannedFault:
    """One fault."""

    kind: Fault
    pause: float
    """Seconds before it."""
    outage: float
    """Seconds until what it broke is put right."""
    seed: int
    """Chooses its victim."""


@dataclass(frozen=True)
class Plan:
    """A whole run."""

    seed: int
    evaluations: list[PlannedEvaluation]
    faults: list[PlannedFault]


def draw(seed: int, evaluations: int, faults: int) -> Plan:
    """A plan of so many evaluations, every tenth by OpenCompass, and so many faults, every kind in turn."""
    random = Random(seed)  # noqa: S311 - it shall be repeatable
    return Plan(
        seed,
        [_evaluation(random, number) for number in range(evaluations)],
        [_fault(random, kind) for kind in _kinds(random, faults)],
    )


def _evaluation(random: Random, number: int) -> PlannedEvaluation:
    """Every second tenth is of OpenCompass; its Jobs take long, so they are small."""
    opencompass = number % _OPENCOMPASS_EACH == _OPENCOMPASS_EACH // 2
    return PlannedEvaluation(
        eval_id=str(uuid.UUID(int=random.getrandbits(128), version=4)),
        engine="opencompass" if opencompass else "lm-eval",
        runs=1 if opencompass else random.choice([1, 1, 1, 2]),
        rows=random.randint(2, 6),
        by_message=random.random() < 1 / 4,
        deliveries=random.choice([1, 1, 2, 3]),
        fate=random.choices([*Fate], weights=[16, 2, 1])[0],
        cancel_after=random.uniform(0, 30),
        retry=random.random() < 1 / 3,
        delete=random.random() < 1 / 4,
        calls=random.choice([1, 2]),
    )


def _kinds(random: Random, count: int) -> list[Fault]:
    """Each kind equally often, in ever another order."""
    kinds: list[Fault] = []
    while len(kinds) < count:
        kinds += random.sample([*Fault], len(Fault))
    return kinds[:count]


def _fault(random: Random, kind: Fault) -> PlannedFault:
    return PlannedFault(
        kind,
        pause=random.uniform(1, _LONGEST_PAUSE_SECONDS),
        outage=random.uniform(0, _LONGEST_OUTAGE_SECONDS),
        seed=random.getrandbits(32),
    )
