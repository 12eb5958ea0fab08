"""What no evaluation owns, through the whole application: only the cluster is a fake."""

import tempfile
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from budeval.ansible.private_directory import PrivateDirectory
from budeval.ansible.runner import Tell
from budeval.api.access import digest_of
from budeval.config import ApiToken, Scope, Settings
from budeval.domain.evaluation import EvaluationRecord, Outcome
from budeval.domain.identifiers import parts_name
from budeval.main import Service
from tests.asgi import Caller
from tests.evals import samples
from tests.runtime.fake_dapr import FakeDapr

_NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
_FIND, _REMOVE = "/receipts/orphans", "/receipts/orphans:remove"

Json = dict[str, Any]


class FakeCluster:
    """A namespace whose objects bear the mark; removes what it is told to."""

    def __init__(self) -> None:
        self.objects: list[Json] = []
        self.secrets: dict[str, str] = {}
        self.refused: set[str] = set()
        """Uids of what is not removed."""
        self.orders: list[tuple[str, Json]] = []
        self.once_listed: Callable[[], None] = lambda: None
        """What happens between the list and what is done with it."""

    def put(self, name: str, kind: str = "Job", hours: float = 1, **labels: str | None) -> str:
        """An object with labels, so old; its uid."""
        given = {
            "eval-id": "e-1",
            "run-id": "r-1",
            "attempt": "1",
            "installation": "here",
            **{label.replace("_", "-"): value for label, value in labels.items()},
        }
        self.objects.append(
            {
                "kind": kind,
                "name": name,
                "uid": f"uid-of-{name}",
                "version": f"version-of-{name}",
                "created": (_NOW - timedelta(hours=hours)).isoformat(),
                "labels": {f"budeval.dev/{label}": value for label, value in given.items() if value},
                "owners": [],
            }
        )
        return f"uid-of-{name}"

    def run(
        self, playbook: str, data: Json, kubeconfig: str, patience: float = 0, tell: Tell | None = None
    ) -> Json:
        """What the playbooks publish."""
        assert (tell, patience >= 0, bool(kubeconfig)) == (None, True, True)
        self.orders.append((playbook, data))
        if playbook == "remove_objects_k8s.yml":
            return {"receipt": [self._remove(item) for item in data["objects"]]}
        assert playbook == "list_marked_k8s.yml"
        there = [{"name": name, "uid": uid} for name, uid in self.secrets.items() if name in data["secrets"]]
        listed = {"objects": list(self.objects), "secrets": there, "date": format_datetime(_NOW, usegmt=True)}
        self.once_listed()
        return listed

    def _remove(self, item: Json) -> Json:
        entry = {name: item[name] for name in ("kind", "name", "uid")}
        if item["uid"] in self.refused:
            return {**entry, "outcome": "refused", "reason": "409 another version"}
        self.objects = [other for other in self.objects if other["uid"] != item["uid"]]
        return {**entry, "outcome": "deleted", "proof": "No list has it."}

    def close(self) -> None:
        """Nothing."""


class Desk:
    """The application of a service of the installation `here`, with one cluster."""

    def __init__(self, directory: Path, *scopes: Scope) -> None:
        (directory / "first.yaml").write_text(samples.kubeconfig("a-token"))
        tokens = [ApiToken(name="t", sha256=digest_of("t"), scopes=frozenset(scopes))] if scopes else []
        given: Json = {"clusters_dir": directory, "default_cluster": "first", "api_tokens": tokens}
        service = Service(Settings(**given))
        self.dapr, self.cluster = FakeDapr(), FakeCluster()
        service.sidecar._http = self.dapr.client()._http
        service.sidecar._state_url = "/v1.0/state/store"
        self.dapr.state["installation"] = {"schema": 1, "id": "here"}
        service._runner = self.cluster  # type: ignore[assignment]
        self.store, self.receipts = service.store, service.receipts
        self._caller = Caller(service.application())

    def create(self, eval_id: str = "e-1", *, ended: bool = False) -> None:
        """A record."""
        evaluation = samples.evaluation(eval_id)
        self.store.create(EvaluationRecord(evaluation=evaluation, digest="d", created="2026-01-01"))
        if ended:
            self.store.end(eval_id, Outcome.FAILED)

    def ask(self, method: str, path: str, **more: Any) -> httpx.Response:
        """With the token."""
        return self._caller.request(method, path, headers={"authorization": "Bearer t"}, **more)

    def found(self, query: str = "") -> Json:
        """What is an orphan now."""
        answer = self.ask("GET", _FIND + query)
        assert answer.status_code == 200, answer.text
        found: Json = answer.json()
        return found

    def names(self, query: str = "") -> list[str]:
        """Of the orphans."""
        return [orphan["name"] for orphan in self.found(query)["orphans"]]

    def removed(self, **where: str) -> Json:
        """What became of each."""
        answer = self.ask("POST", _REMOVE, json=where)
        assert answer.status_code == 200, answer.text
        done: Json = answer.json()
        return done


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    """Without tokens, and with a directory for temporary files of its own."""
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    clusters = tmp_path / "clusters"
    clusters.mkdir()
    return Desk(clusters)


def test_only_what_no_evaluation_owns_is_told(desk: Desk) -> None:
    """With whose it was, how old it is and why it is one."""
    desk.create("runs")
    desk.create("over", ended=True)
    desk.cluster.put("owned", eval_id="runs")
    desk.cluster.put("ended", eval_id="over", hours=2)
    desk.cluster.put("unknown", "ConfigMap", eval_id="nobodys")

    found = desk.found()

    assert {name: found[name] for name in ("cluster", "namespace", "installation")} == {
        "cluster": "first",
        "namespace": "budeval",
        "installation": "here",
    }
    assert found["orphans"] == [
        {
            "kind": "Job",
            "name": "ended",
            "namespace": "budeval",
            "uid": "uid-of-ended",
            "eval_id": "over",
            "run_id": "r-1",
            "age_seconds": 7200,
            "why": "ended_evaluation",
            "reason": "The evaluation has ended.",
        },
        {
            "kind": "ConfigMap",
            "name": "unknown",
            "namespace": "budeval",
            "uid": "uid-of-unknown",
            "eval_id": "nobodys",
            "run_id": "r-1",
            "age_seconds": 3600,
            "why": "unknown_evaluation",
            "reason": "There is no such evaluation.",
        },
    ]


def test_only_orphans_are_removed_each_as_it_was_listed(desk: Desk) -> None:
    """The order has uid and version; what an evaluation owns is not in it."""
    desk.create("runs")
    desk.cluster.put("owned", eval_id="runs")
    uid = desk.cluster.put("unknown")

    done = desk.removed()

    playbook, order = desk.cluster.orders[-1]
    assert playbook == "remove_objects_k8s.yml"
    assert order["objects"] == [
        {"kind": "Job", "name": "unknown", "uid": uid, "version": "version-of-unknown", "owners": []}
    ]
    assert [(item["name"], item["outcome"], item["namespace"]) for item in done["objects"]] == [
        ("unknown", "deleted", "budeval")
    ]
    assert (done["clean"], done["objects"][0]["proof"]) == (True, "No list has it.")
    assert [item["name"] for item in desk.cluster.objects] == ["owned"]


def test_an_evaluation_that_begins_meanwhile_keeps_its_own(desk: Desk) -> None:
    """Who owns what is asked after the list: the record comes before the first object."""
    desk.cluster.put("its-own")
    desk.cluster.once_listed = desk.create

    assert desk.names() == []
    assert desk.removed()["objects"] == []
    assert [playbook for playbook, _ in desk.cluster.orders] == ["list_marked_k8s.yml"] * 2


def test_nothing_is_removed_where_nobody_knows_who_owns_it(desk: Desk) -> None:
    """The state store goes away after the list."""
    desk.cluster.put("r-1")

    def away() -> None:
        desk.dapr.unreachable = True

    desk.cluster.once_listed = away

    answer = desk.ask("POST", _REMOVE)

    assert (answer.status_code, answer.json()["code"]) == (503, "SIDECAR_UNAVAILABLE")
    assert [playbook for playbook, _ in desk.cluster.orders] == ["list_marked_k8s.yml"]


def test_a_runs_secret_is_found_by_its_name(desk: Desk) -> None:
    """It cannot be listed: it is asked for where its Job or ConfigMap is an orphan, and goes with its Job."""
    names = {
        (eval_id, run_id): parts_name(eval_id, run_id, 1)
        for eval_id in ("a", "b")
        for run_id in ("r-1", "r-2")
    }
    desk.create("b")
    desk.cluster.put("job", eval_id="a")
    desk.cluster.put(names["a", "r-1"], "ConfigMap", eval_id="a")
    desk.cluster.put(names["a", "r-2"], "ConfigMap", eval_id="a", run_id="r-2")
    desk.cluster.put("owned", eval_id="b")
    desk.cluster.secrets = {name: f"uid-of-secret-{key}" for key, name in names.items()}

    secrets = [item for item in desk.found()["orphans"] if item["kind"] == "Secret"]
    desk.removed()

    mine = [names["a", "r-1"], names["a", "r-2"]]
    assert desk.cluster.orders[1][1]["secrets"] == sorted(mine)
    assert sorted(item["name"] for item in secrets) == sorted(mine)
    ordered = {
        item["name"]: item for item in desk.cluster.orders[-1][1]["objects"] if item["kind"] == "Secret"
    }
    assert ordered[mine[0]]["owners"] == ["uid-of-job"]
    assert ordered[mine[1]]["owners"] == []
    assert {item["version"] for item in ordered.values()} == {None}


def test_no_secret_is_asked_for_where_nothing_is_an_orphan(desk: Desk) -> None:
    """A deletion that is only tried still stands in the cluster's audit log."""
    desk.create()
    desk.cluster.put("owned")

    desk.found()

    assert [data["secrets"] for _, data in desk.cluster.orders] == [[]]


def test_what_is_pushed_or_read_just_now_is_left_alone(desk: Desk) -> None:
    """Jobs at the claim belong to no run; the cluster removes them within ten minutes."""
    desk.cluster.put("datasets-push-1", hours=0.1, eval_id=None, run_id=None, attempt=None)
    desk.cluster.put("remove-results-1", hours=0.1, run_id=None, attempt=None)
    desk.cluster.put("datasets-push-2", hours=0.2, eval_id=None, run_id=None, attempt=None)

    (orphan,) = desk.found()["orphans"]

    assert (orphan["name"], orphan["why"], orphan["eval_id"]) == ("datasets-push-2", "no_evaluation", None)


def test_what_another_service_has_made_is_only_counted(desk: Desk) -> None:
    """Its evaluations are not known here, so all of it would look like an orphan."""
    desk.cluster.put("theirs", installation="there")
    desk.cluster.put("of-old", installation=None)
    desk.cluster.put("mine")

    found, done = desk.found(), desk.removed()

    assert [orphan["name"] for orphan in found["orphans"]] == ["mine"]
    assert found["others"] == [
        {"installation": "there", "objects": 1},
        {"installation": "unmarked", "objects": 1},
    ]
    assert [item["name"] for item in done["objects"]] == ["mine"]
    assert [item["name"] for item in desk.cluster.objects] == ["theirs", "of-old"]


@pytest.mark.parametrize(("whose", "name"), [("there", "theirs"), ("unmarked", "of-old")])
def test_another_service_that_is_no_more_can_be_named(desk: Desk, whose: str, name: str) -> None:
    """Then only that one's are looked at, and not this machine's directories."""
    desk.cluster.put("theirs", installation="there")
    desk.cluster.put("of-old", installation=None)
    desk.cluster.put("mine")
    (Path(tempfile.gettempdir()) / "budeval-run-left").mkdir()

    assert desk.names(f"?installation={whose}") == [name]
    done = desk.removed(installation=whose)

    assert [item["name"] for item in done["objects"]] == [name]
    assert (done["installation"], len(desk.cluster.objects)) == (whose, 2)


def test_an_unmarked_object_of_a_running_evaluation_is_its_own(desk: Desk) -> None:
    """Made before the service was replaced by this version; the record knows it all the same."""
    desk.create()
    desk.cluster.put("of-old", installation=None)

    assert desk.names("?installation=unmarked") == []


def test_directories_of_killed_services_are_found_and_removed(desk: Desk) -> None:
    """Those that a living service holds are not."""
    held = PrivateDirectory()
    left = Path(tempfile.gettempdir()) / "budeval-run-left"
    (left / "tmp").mkdir(parents=True)

    (orphan,) = desk.found()["orphans"]
    done = desk.removed()

    assert (orphan["kind"], orphan["name"], orphan["why"]) == ("PrivateDirectory", str(left), "no_process")
    assert orphan["age_seconds"] >= 0
    assert [(item["name"], item["outcome"]) for item in done["objects"]] == [(str(left), "deleted")]
    assert (left.exists(), held.path.exists()) == (False, True)
    held.remove()


def test_what_stays_is_told(desk: Desk) -> None:
    """Somebody has taken it over, or the API server said no."""
    desk.cluster.refused = {desk.cluster.put("taken-over")}

    done = desk.removed()

    assert (done["clean"], done["objects"][0]["reason"]) == (False, "409 another version")


def test_the_receipt_of_an_ended_evaluation_is_gone_on_with(desk: Desk) -> None:
    """Its own clean-up could not be completed; now all of it is gone."""
    desk.create(ended=True)
    desk.receipts.leave("e-1", "CLUSTER_UNREACHABLE: away")
    desk.cluster.put("r-1")

    desk.removed()

    assert [(item.kind, item.outcome, item.uid) for item in desk.receipts.of("e-1")] == [
        ("Job", "deleted", "uid-of-r-1")
    ]


@pytest.mark.parametrize("gone", ["unknown", "deleted"])
def test_no_receipt_is_begun_for_what_has_no_record(desk: Desk, gone: str) -> None:
    """Nobody would ever delete it."""
    if gone == "deleted":
        desk.create(ended=True)
        desk.store.bury(desk.store.load("e-1"))
    desk.cluster.put("r-1")

    desk.removed()

    assert not [key for key in desk.dapr.state if key.startswith("receipt-")]


@pytest.mark.parametrize(
    ("where", "status", "code"),
    [
        ({"cluster": "third"}, 404, "CLUSTER_UNKNOWN"),
        ({"namespace": "-"}, 422, "REQUEST_INVALID"),
        ({"installation": "{{ x }}"}, 422, "REQUEST_INVALID"),
    ],
)
def test_a_place_that_cannot_be_is_refused_with_its_field(
    desk: Desk, where: dict[str, str], status: int, code: str
) -> None:
    """No cluster is asked."""
    for answer in (desk.ask("GET", _FIND, params=where), desk.ask("POST", _REMOVE, json=where)):
        assert (answer.status_code, answer.json()["code"]) == (status, code)
        assert answer.json()["param"] in where
    assert desk.cluster.orders == []


@pytest.mark.parametrize(
    ("scopes", "status"),
    [
        ((Scope.READ, Scope.SUBMIT), 403),
        ((Scope.READ,), 403),
        ((Scope.SUBMIT,), 403),
        ((Scope.ADMIN,), 200),
    ],
)
def test_it_is_for_administrators(tmp_path: Path, scopes: tuple[Scope, ...], status: int) -> None:
    """It spans tenants; whoever may delete his own evaluations may not delete what looks like nobody's."""
    desk = Desk(tmp_path, *scopes)

    for answer in (desk.ask("GET", _FIND), desk.ask("POST", _REMOVE)):
        assert answer.status_code == status
        assert status == 200 or answer.json()["code"] == "SCOPE_MISSING"
    assert bool(desk.cluster.orders) is (status == 200)
