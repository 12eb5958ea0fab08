"""The composition root: what is wired, and what importing it does not do."""

import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from budeval.config import Settings
from budeval.domain.evaluation import EvaluationRecord
from budeval.errors import SidecarError
from budeval.main import Service, create_app
from budeval.runtime.workflow_engine import WorkflowEngine, WorkflowSnapshot
from tests.asgi import Caller
from tests.evals import samples
from tests.runtime.fake_dapr import FakeDapr

_ROOT = Path(__file__).resolve().parent.parent

_WATCHED_IMPORT = """
import os, sys

seen = []

def watch(event, arguments):
    if event in {"socket.connect", "socket.bind", "subprocess.Popen", "os.fork", "os.mkdir"}:
        seen.append(event)
    if event == "import" and arguments[0] == "grpc":
        fork_support.append(os.environ.get("GRPC_ENABLE_FORK_SUPPORT"))

fork_support = []
sys.addaudithook(watch)
import budeval.main
print(seen, fork_support[0])
"""


def test_importing_the_application_touches_nothing() -> None:
    """No connection, process or directory before the start; gRPC is told to leave forks alone."""
    done = subprocess.run(
        [sys.executable, "-c", _WATCHED_IMPORT],
        cwd=_ROOT,
        env={"PATH": "/usr/bin:/bin", "PYTHONDONTWRITEBYTECODE": "1"},  # the compiler makes directories
        check=True,
        capture_output=True,
        text=True,
    )

    assert done.stdout == "[] 0\n"


def test_a_caller_is_answered_before_dapr_is_there() -> None:
    """The application can be made and asked without a sidecar."""
    answer = Caller(create_app(Settings())).get("/healthz")

    assert answer.status_code == 200


def test_the_settings_reach_the_routes(tmp_path: Path) -> None:
    """Clusters and their default are those of the settings that the application was made with."""
    (tmp_path / "mine.yaml").write_text("")
    application = create_app(Settings(clusters_dir=tmp_path, default_cluster="other"))

    answer = Caller(application).post("/clusters:verify", json={})

    assert (answer.status_code, answer.json()["code"]) == (404, "CLUSTER_UNKNOWN")
    assert "Configured: mine." in answer.json()["message"]


@pytest.mark.parametrize(("keep", "capped"), [(None, False), (3, True)])
def test_scores_are_capped_by_number_where_the_settings_say_so(keep: int | None, *, capped: bool) -> None:
    """Beside the days for which they are kept."""
    periodic = Service(Settings(keep_scores=keep)).scoring.periodic

    assert ("score-count-cap" in [work._name for work in periodic]) is capped


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/nowhere", 404), ("POST", "/clusters:verify", 422), ("POST", "/healthz", 405)],
)
def test_errors_have_one_shape(method: str, path: str, status: int) -> None:
    """The application answers every refusal as documented, not in the framework's words."""
    answer = Caller(create_app(Settings())).request(method, path)

    assert answer.status_code == status
    assert answer.json()["object"] == "error"


class FakeEngine(WorkflowEngine):
    """Refuses to schedule, as Dapr does where an instance is active; may know that instance."""

    def __init__(self, *, rival: bool) -> None:
        self.looks = 0
        self.rival = rival

    def find(self, workflow_id: str) -> WorkflowSnapshot | None:
        """Not there at the first look."""
        self.looks += 1
        if self.looks == 1 or not self.rival:
            return None
        return WorkflowSnapshot.model_validate(
            {"workflow_id": workflow_id, "name": "evaluate_model", "status": "RUNNING"}
        )

    def schedule(self, *_arguments: object) -> None:
        """Too late."""
        raise SidecarError("the workflow could not be started: ALREADY_EXISTS")


def _start_with(engine: FakeEngine) -> None:
    service = Service(Settings())
    service.engine = engine
    record = EvaluationRecord(evaluation=samples.evaluation("e-1"), digest="d", created="2026-01-01T00:00:00")
    service._start_evaluation(record)


def test_what_is_swept_at_the_start_is_told_in_receipts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By whoever removes it, as long as it lives: nobody else knows."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    service, left = Service(Settings()), tmp_path / "budeval-run-left"
    left.mkdir()
    monkeypatch.setattr(service.sidecar, "_http", FakeDapr().client()._http)
    monkeypatch.setattr(service.sidecar, "_state_url", "/v1.0/state/store")
    monkeypatch.setattr(service.engine, "start", lambda: None)
    monkeypatch.setattr(service, "_periodic", [])
    service.receipts.enter_directory("e-1", left)

    service.start()

    (item,) = service.receipts.of("e-1")
    assert (item.outcome, left.exists()) == ("deleted", False)
    assert "A killed service had left it" in str(item.proof)


def test_the_same_request_twice_at_once_starts_one_workflow() -> None:
    """Both looked before it was there; the slower one finds the faster one's, and that is what it wanted."""
    _start_with(FakeEngine(rival=True))


def test_a_workflow_that_could_not_be_started_is_told() -> None:
    """The same request again is safe."""
    with pytest.raises(SidecarError):
        _start_with(FakeEngine(rival=False))
