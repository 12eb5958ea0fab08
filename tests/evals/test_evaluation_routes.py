"""The HTTP API of evaluations on the whole application, with a sidecar in memory."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from fastapi import Depends, FastAPI

from budeval.ansible.runner import Tell
from budeval.api import http_errors
from budeval.api.access import Access
from budeval.config import Settings
from budeval.domain.addresses import AddressRules
from budeval.domain.evaluation import EvaluationRecord, Outcome
from budeval.domain.receipt import ReceiptItem
from budeval.engines.opencompass.jobs import OpenCompass
from budeval.evals.ansible_orchestrator import AnsibleOrchestrator
from budeval.evals.arrivals import Arrivals
from budeval.evals.clusters import Clusters
from budeval.evals.deletion import Deletions
from budeval.evals.evaluation_routes import engine_routes, evaluation_routes, lifecycle_routes
from budeval.evals.installation import Installation
from budeval.evals.intake import Intake
from budeval.evals.lifecycle import Lifecycle
from budeval.evals.ownership import owned_evaluations
from budeval.evals.receipts import Receipts
from budeval.evals.store import EvaluationStore
from budeval.evals.validation import Validation
from budeval.evals.views import EvaluationViews
from budeval.runtime.sealing import Sealer
from budeval.runtime.vault import Vault
from tests.asgi import Caller
from tests.runtime.fake_dapr import FakeDapr

_ID = "223e4567-e89b-12d3-a456-426614174020"
_KEY = "sk-very-secret"
_STOCK = "demo_gsm8k_chat_gen"

Json = dict[str, Any]


class FakeRunner:
    """No cluster is asked here."""

    def run(
        self, playbook: str, data: Json, kubeconfig: str, patience: float = 0, tell: Tell | None = None
    ) -> Json:
        """Fail."""
        raise AssertionError((playbook, data, kubeconfig, patience, tell))


@dataclass
class Service:
    """The API with all that is behind it."""

    clusters_dir: Path
    seal_key: str
    dapr: FakeDapr = field(default_factory=FakeDapr)
    started: list[EvaluationRecord] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.settings = settings = Settings(default_cluster="first", clusters_dir=self.clusters_dir)
        sidecar = self.dapr.client()
        self.store = EvaluationStore(sidecar)
        clusters = Clusters(settings.clusters_dir, lambda _eval_id: None, Path("/nowhere"))
        engines = {"opencompass": OpenCompass("an-image", settings.storage)}
        vault = Vault(sidecar, Sealer(self.seal_key))
        arrivals = Arrivals(sidecar, self.store, vault)
        self.receipts = Receipts(sidecar, {})
        start = self.started.append
        intake = Intake(settings, self.store, arrivals, clusters, engines, lambda _name: {}, start)
        orchestrator = AnsibleOrchestrator(
            FakeRunner(),
            clusters,
            engines,
            settings.storage,
            settings.images,
            self.receipts,
            Installation(sidecar),
        )
        access = Access(settings.api_tokens, None, [owned_evaluations(self.store)])
        application = FastAPI(dependencies=[Depends(access.guard)])
        validation = Validation(intake, orchestrator, AddressRules())
        views = EvaluationViews(self.store, sidecar, self.receipts)
        application.include_router(evaluation_routes(intake, validation, views))
        lifecycle = Lifecycle(self.store, self, sidecar, intake, arrivals, start)
        deletions = Deletions(self.store, self, vault, intake, orchestrator, self.receipts)
        application.include_router(lifecycle_routes(lifecycle, deletions, views))
        application.include_router(engine_routes(engines))
        http_errors.install(application)
        self.caller = Caller(application)

    def raise_event(self, workflow_id: str, event: str, data: object) -> None:
        """Nobody waits for it here."""

    def find(self, _workflow_id: str) -> None:
        """There are no workflows here."""

    def purge(self, _workflow_id: str) -> None:
        """There are no workflows here."""

    def start(self, **changes: Any) -> Any:
        """Send a request."""
        return self.caller.post("/evals/start", json=request_body(**changes))


@pytest.fixture
def service(tmp_path: Path, seal_keys: str) -> Service:
    """One cluster is configured: `first`, the default."""
    (tmp_path / "first.yaml").write_text("never read here")
    return Service(tmp_path, seal_keys)


def request_body(**changes: Any) -> Json:
    """A request of two runs of a stock dataset."""
    return {
        "eval_id": _ID,
        "experiment_id": "123e4567-e89b-12d3-a456-426614174000",
        "eval_model_info": {"model_name": "m", "endpoint": "http://m/v1", "api_key": _KEY},
        "eval_datasets": [{"dataset_id": _STOCK, "run_id": "r-1"}, {"dataset_id": _STOCK, "run_id": "r-2"}],
        **changes,
    }


def test_a_started_evaluation_is_answered_as_the_original_service_did(service: Service) -> None:
    """With the workflow's id, the guide's steps in their order, and an estimate."""
    answer = service.start()

    body = answer.json()
    assert answer.status_code == 200
    assert body["object"] == "workflow_metadata"
    assert (body["workflow_id"], body["workflow_name"]) == (f"eval-{_ID}", "evaluate_model")
    assert [step["id"] for step in body["steps"]] == [
        "verify_cluster_connection",
        "preparing_eval_engine",
        "deploy_eval_job",
        "monitor_eval_job_progress",
        "extract_results",
    ]
    assert (body["status"], body["eta"]) == ("PENDING", 3600)
    assert _KEY not in answer.text
    assert [record.evaluation.eval_id for record in service.started] == [_ID]


def test_the_same_request_again_is_answered_the_same(service: Service) -> None:
    """And another one with its id is refused."""
    first, again = service.start(), service.start()
    other = service.start(namespace="other")

    assert again.json() == first.json()
    assert (other.status_code, other.json()["code"], other.json()["param"]) == (
        409,
        "EVALUATION_CONFLICT",
        "eval_id",
    )


@pytest.mark.parametrize("path", ["/evals/start", "/evals:validate"])
@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"eval_id": _KEY}, "eval_id"),
        ({"eval_datasets": []}, "eval_datasets"),
        (
            {"eval_model_info": {"model_name": "m", "endpoint": _KEY, "api_key": _KEY}},
            "eval_model_info.endpoint",
        ),
        ({"eval_model_info": {"model_name": "m", "endpoint": "http://m", "api_key": _KEY + "\n."}}, None),
        ({"kubeconfig": {"token": _KEY}}, "kubeconfig"),
        ({"namespace": _KEY.upper()}, "namespace"),
    ],
    ids=["id", "runs", "endpoint", "key", "kubeconfig", "namespace"],
)
def test_a_refusal_names_the_field_and_quotes_nothing(
    service: Service, path: str, changes: Json, param: str | None
) -> None:
    """What is refused may be a secret that stands in the wrong place."""
    answer = service.caller.post(path, json=request_body(**changes))

    assert answer.status_code == 422
    assert answer.json()["object"] == "error"
    assert param is None or answer.json()["param"] == param
    assert _KEY.casefold() not in answer.text.casefold()
    assert service.dapr.state == {}


@pytest.mark.parametrize(
    "content", ["", "[]", "{", "null", '{"eval_id": NaN}', '{"a": "\\ud800"}'], ids=range(6)
)
def test_a_body_that_is_no_request_is_refused(service: Service, content: str) -> None:
    """Whatever it is."""
    headers = {"Content-Type": "application/json"}

    answer = service.caller.post("/evals/start", content=content, headers=headers)

    assert (answer.status_code, answer.json()["object"]) == (422, "error")


def test_an_evaluation_is_told_from_its_start_on(service: Service) -> None:
    """State, list, events; results and logs are not there yet."""
    service.start(labels={"team": "a"})

    state = service.caller.get(f"/evals/{_ID}").json()
    listed = service.caller.get("/evals").json()
    events = service.caller.get(f"/evals/{_ID}/events").json()
    results = service.caller.get(f"/evals/{_ID}/results")
    logs = service.caller.get(f"/evals/{_ID}/logs?run_id=r-1")

    assert (state["status"], state["labels"], list(state["runs"])) == (
        "RUNNING",
        {"team": "a"},
        ["r-1", "r-2"],
    )
    assert [line["eval_id"] for line in listed["evaluations"]] == [_ID]
    assert events == {"events": [], "last": 0}
    assert (results.status_code, results.json()["code"]) == (409, "RESULTS_NOT_READY")
    assert (logs.status_code, logs.json()["code"]) == (404, "LOG_NOT_READY")


def test_results_and_logs_are_told_when_they_are_there(service: Service) -> None:
    """As they are stored."""
    service.start()
    results: list[Json] = [
        {
            "run_id": run_id,
            "job_state": "succeeded",
            "status": "success",
            "outcome": "COMPLETED",
            "scores": [],
        }
        for run_id in ("r-1", "r-2")
    ]
    service.store.save_results(_ID, results)
    service.store.save_log(_ID, "r-1", "the end")

    found = service.caller.get(f"/evals/{_ID}/results").json()
    log = service.caller.get(f"/evals/{_ID}/logs?run_id=r-1").json()

    assert found["results"] == results
    assert (found["success"], found["outcome"], found["eval_id"]) == (True, "COMPLETED", _ID)
    assert (found["completeness"]["requested"], found["headline"]) == (0, None)
    assert log["log"] == "the end"


@pytest.mark.parametrize(
    "path",
    [
        f"/evals/{_ID}",
        f"/evals/{_ID}/results",
        f"/evals/{_ID}/events",
        f"/evals/{_ID}/logs?run_id=r",
        "/evals/x",
    ],
)
def test_an_unknown_evaluation_is_not_found(service: Service, path: str) -> None:
    """Whatever is asked of it."""
    answer = service.caller.get(path)

    assert (answer.status_code, answer.json()["code"]) == (404, "EVALUATION_UNKNOWN")


@pytest.mark.parametrize(
    ("path", "param"),
    [
        ("/evals?limit=0", "limit"),
        ("/evals?limit=201", "limit"),
        ("/evals?status=nothing", "status"),
        ("/evals?since=yesterday", "since"),
        ("/evals?cursor=x", "cursor"),
        (f"/evals/{_ID}/events?after=-1", "after"),
        (f"/evals/{_ID}/logs", "run_id"),
    ],
)
def test_a_bad_question_is_refused_with_its_parameter(service: Service, path: str, param: str) -> None:
    """In the shape of every error."""
    service.start()

    answer = service.caller.get(path)

    assert answer.status_code in {400, 422}
    assert answer.json()["param"] == param


@pytest.mark.parametrize(
    "ask",
    [
        lambda service: service.start(),
        lambda service: service.caller.get("/evals"),
        lambda service: service.caller.get(f"/evals/{_ID}"),
    ],
    ids=["start", "list", "state"],
)
def test_without_dapr_the_caller_is_told_to_come_again(
    service: Service, ask: Callable[[Service], Any]
) -> None:
    """503: nothing is wrong with the request."""
    service.dapr.unreachable = True

    answer = ask(service)

    assert (answer.status_code, answer.json()["code"]) == (503, "SIDECAR_UNAVAILABLE")


@pytest.mark.parametrize("body", [None, {}, {"extract": True}])
def test_a_cancellation_is_answered_with_the_state(service: Service, body: Json | None) -> None:
    """Accepted, not done; the body may be left out."""
    service.start()

    answer = service.caller.post(f"/evals/{_ID}/cancel", json=body)

    assert answer.status_code == 202
    assert (answer.json()["status"], answer.json()["cancelling"]) == ("RUNNING", True)
    cancellation = service.store.load(_ID).cancellation
    assert cancellation
    assert cancellation.extract is bool(body)


def test_a_retry_is_answered_with_the_state(service: Service) -> None:
    """Of the attempt that has begun; secrets come again and are quoted nowhere."""
    service.start()
    service.store.save_results(
        _ID, [{"run_id": "r-1", "outcome": "COMPLETED"}, {"run_id": "r-2", "outcome": "FAILED"}]
    )
    service.store.end(_ID, Outcome.PARTIAL)

    answer = service.caller.post(f"/evals/{_ID}/retry", json={"api_key": _KEY})

    assert answer.status_code == 202
    assert (answer.json()["attempt"], answer.json()["status"], answer.json()["outcome"]) == (
        2,
        "RUNNING",
        None,
    )
    assert _KEY not in answer.text
    assert [run.run_id for run in service.started[-1].current.runs] == ["r-2"]
    assert service.caller.get("/evals").json()["evaluations"][0]["attempt"] == 2


@pytest.mark.parametrize("body", [{}, {"api_key": " "}, {"api_key": "a", "secret_ref": {"name": "s"}}])
def test_a_retry_without_one_key_is_refused(service: Service, body: Json) -> None:
    """As a request would be."""
    service.start()

    answer = service.caller.post(f"/evals/{_ID}/retry", json=body)

    assert (answer.status_code, answer.json()["code"]) == (422, "REQUEST_INVALID")


def test_what_was_deleted_is_gone(service: Service) -> None:
    """The same request again is a conflict: nobody knows any more whether it is the same."""
    service.start()
    path = f"/evals/{_ID}"
    running = service.caller.request("DELETE", path)
    service.store.end(_ID, Outcome.COMPLETED)

    done = service.caller.request("DELETE", path, json={"keep_files": True})

    assert (running.status_code, running.json()["code"]) == (409, "EVALUATION_RUNNING")
    assert (done.status_code, done.json()["files_removed"]) == (200, None)
    for answer in (service.caller.get(path), service.caller.request("DELETE", path)):
        assert (answer.status_code, answer.json()["code"]) == (410, "EVALUATION_DELETED")
    again = service.start()
    assert (again.status_code, again.json()["code"]) == (409, "EVALUATION_DELETED")
    assert service.caller.get("/evals").json()["evaluations"] == []


def test_a_receipt_tells_what_became_of_each_object(service: Service) -> None:
    """The secrets only where nothing was made yet; not clean where something is left."""
    service.start()
    path = f"/evals/{_ID}/receipt"
    before = service.caller.get(path).json()
    removed = {"kind": "Job", "name": "r-1", "uid": "u", "outcome": "deleted", "proof": "It was not there."}
    service.receipts.note(_ID, [ReceiptItem.model_validate(removed)])
    service.store.end(_ID, Outcome.FAILED)
    after = service.caller.get(path).json()
    service.receipts.leave(_ID, "FORBIDDEN: not any more")

    assert (before["ended"], before["clean"]) == (False, False)
    assert [(item["kind"], item["outcome"]) for item in before["objects"]] == [("SealedSecrets", "in_use")]
    assert (after["ended"], after["clean"]) == (True, True)
    assert [{name: item[name] for name in removed} for item in after["objects"]] == [removed]
    assert service.caller.get(path).json()["clean"] is False


def test_engines_tell_what_they_can_be_asked_for(service: Service) -> None:
    """And their datasets can be searched."""
    (engine,) = service.caller.get("/engines").json()
    everything = service.caller.get("/engines/opencompass/datasets").json()["datasets"]
    found = service.caller.get(f"/engines/opencompass/datasets?contains={_STOCK}").json()["datasets"]

    assert (engine["name"], engine["image"], engine["stock_datasets"]) == (
        "opencompass",
        "an-image",
        len(everything),
    )
    assert _STOCK in found
    assert set(found) < set(everything)


def test_an_unknown_engine_is_not_found(service: Service) -> None:
    """With the known ones."""
    answer = service.caller.get("/engines/another/datasets")

    assert (answer.status_code, answer.json()["code"]) == (404, "ENGINE_UNKNOWN")
    assert "opencompass" in answer.json()["message"]
