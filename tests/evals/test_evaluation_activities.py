"""What an evaluation's workflow does outside itself; each activity may run twice."""

import base64
import hashlib
import json
import tempfile
import zlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from budeval.ansible.private_directory import sweep
from budeval.ansible.runner import Tell
from budeval.config import EngineConfig, StorageConfig
from budeval.domain.evaluation import Evaluation, EvaluationRecord, Outcome
from budeval.domain.notification import WorkflowStatus
from budeval.domain.redaction import SECRET_VALUES
from budeval.engines.opencompass.jobs import OpenCompass
from budeval.errors import BudevalError, ClusterError, EvaluationError, RequestError, SealError
from budeval.evals import activities
from budeval.evals.activities import EvaluationActivities
from budeval.evals.announcer import Announcer
from budeval.evals.ansible_orchestrator import AnsibleOrchestrator
from budeval.evals.clusters import Clusters
from budeval.evals.installation import Installation
from budeval.evals.receipts import Receipts
from budeval.evals.store import EvaluationStore
from budeval.runtime.sealing import Sealer
from budeval.runtime.vault import Vault
from tests.evals import samples
from tests.runtime.fake_dapr import FakeDapr

_KEY = "sk-very-secret"
_TOKEN = "token-of-the-request"
_ROWS = '{"question": "What is 2 + 3?", "answer": "5"}\n'
_ORDER = {"eval_id": "e-1"}

Json = dict[str, Any]


class FakeRunner:
    """A cluster whose playbooks publish what they are told to."""

    def __init__(self) -> None:
        self.answers: dict[str, Json | ClusterError] = {}
        self.directory = Path(tempfile.gettempdir()) / "budeval-run-fake"
        self.runs: list[tuple[str, Json, str]] = []
        self.meanwhile: list[Callable[[], object]] = []
        """What happens while the next playbook runs."""

    def run(
        self,
        playbook: str,
        data: Json,
        kubeconfig: str,
        patience: float = 0,  # noqa: ARG002
        tell: Tell | None = None,
    ) -> Json:
        """Publish, or fail."""
        if tell:
            tell(self.directory)
        self.runs.append((playbook, data, kubeconfig))
        answer = self.answers[playbook]
        if self.meanwhile:
            self.meanwhile.pop()()
        if isinstance(answer, ClusterError):
            raise answer
        return answer


@dataclass
class Case:
    """The activities with all that is behind them, and one evaluation of two runs."""

    seal_key: str
    dapr: FakeDapr = field(default_factory=FakeDapr)
    runner: FakeRunner = field(default_factory=FakeRunner)

    def __post_init__(self) -> None:
        sidecar = self.dapr.client()
        self.store = EvaluationStore(sidecar)
        self.vault = Vault(sidecar, Sealer(self.seal_key))
        engines = {"opencompass": OpenCompass("an-image", StorageConfig())}
        clusters = Clusters(
            None,
            lambda eval_id: self.vault.open(self.store.load(eval_id).sealed_as).get("kubeconfig"),
            Path("/nowhere"),
        )
        self.receipts = Receipts(sidecar, {})
        orchestrator = AnsibleOrchestrator(
            self.runner,
            clusters,
            engines,
            StorageConfig(),
            EngineConfig(),
            self.receipts,
            Installation(sidecar),
        )
        self.activities = EvaluationActivities(
            orchestrator, sidecar, self.store, self.vault, engines, self.receipts
        )

    def create(self) -> None:
        """What the intake has kept."""
        record = EvaluationRecord(evaluation=_evaluation(), digest="d", created="2026-01-01T00:00:00+00:00")
        self.vault.put(record.sealed_as, {"api_key": _KEY, "kubeconfig": samples.kubeconfig(_TOKEN)})
        self.store.save_rows(_ORDER["eval_id"], _ROWS)
        self.store.create(record)

    def delete(self) -> None:
        """It ends, and nothing of it is kept but that."""
        self.store.end("e-1", Outcome.FAILED)
        record = self.store.begin_deletion("e-1")
        self.vault.destroy(record.sealed_as)
        self.store.bury(record)

    def extracted(self, *documents: Json) -> None:
        """What the extraction Job prints."""
        self.runner.answers["extract_results_k8s.yml"] = {
            "log": _frames(*documents),
            "pods": [],
            "removed": [],
        }

    def finished(self, outcome: str = "success") -> None:
        """Both runs have results."""
        self.extracted(_document("r-1", outcome), _document("r-2", outcome))
        self.activities.extract_eval_results({**_ORDER, "runs": [_seen("r-1"), _seen("r-2")]})

    def result(self, run_id: str) -> Json:
        """As stored."""
        stored: Json = self.dapr.state[f"results-e-1-{run_id}"]
        return stored

    def without_receipt(self) -> Json:
        """What is stored beside it."""
        return {key: value for key, value in self.dapr.state.items() if not key.startswith("receipt-")}

    def receipt(self) -> dict[str, tuple[str, str | None]]:
        """Kind -> outcome, and the proof or the reason."""
        return {
            item.kind: (item.outcome, item.proof or item.reason)
            for item in self.receipts.of(_ORDER["eval_id"])
        }

    def record(self) -> EvaluationRecord:
        """As stored."""
        return self.store.load("e-1")


@pytest.fixture
def case(seal_keys: str) -> Case:
    """With an evaluation that was taken in."""
    made = Case(seal_keys)
    made.create()
    return made


def _evaluation() -> Evaluation:
    own = {
        "digest": hashlib.sha256(_ROWS.encode()).hexdigest(),
        "format": "jsonl",
        "prompt": "{question}",
        "answer": "answer",
        "evaluator": "exact",
    }
    return samples.evaluation(
        runs=[
            {"run_id": "r-1", "dataset_id": "sums", "own": own},
            {"run_id": "r-2", "dataset_id": "demo_gsm8k_chat_gen"},
        ],
        target={"cluster": "from-request", "namespace": "team-a", "eval_id": "e-1"},
        audience={"topics": ["news", "more"], "workflow_id": "theirs"},
    )


def _made(run_id: str, job: str) -> Json:
    """A run that was deployed."""
    return {"run_id": run_id, "job": job, "uid": "u", "parts": {"ConfigMap": "c", "Secret": "s"}}


def _removed(*objects: Json) -> Json:
    """What the clean-up publishes."""
    absence = dict.fromkeys(("Job", "Pod", "ConfigMap", "Secret"), "It was not there.")
    return {"receipt": list(objects), "absence": absence}


def _frames(*documents: Json) -> str:
    lines = [_frame(document["run_id"], document) for document in documents]
    return "\n".join([*lines, _frame("-", {"count": len(documents)})])


def _frame(name: str, document: Json) -> str:
    text = json.dumps(document).encode()
    packed = base64.b64encode(zlib.compress(text)).decode()
    return f"BUDEVAL1 {name} {len(text)} {hashlib.sha256(text).hexdigest()} {packed}"


def _document(run_id: str, status: str = "success") -> Json:
    if status == "success":
        return {"run_id": run_id, "eval_id": "e-1", "status": status, "scores": [{"score": 50.0}]}
    failure = {"code": "NOTHING_SCORED", "error": "no score"}
    return {"run_id": run_id, "eval_id": "e-1", "status": status, "scores": [], **failure}


def _seen(run_id: str, state: str = "succeeded", **more: Any) -> Json:
    return {"run_id": run_id, "state": state, "job": run_id, "uid": "u", **more}


def _fact(run_id: str, **more: Any) -> Json:
    made = {"name": run_id, "uid": "u", "created": "2026-01-01T00:00:00Z"}
    return {"eval_id": "e-1", "run_id": run_id, **made, **more}


def _refused(error: type[BudevalError], call: Any, *arguments: Any) -> str:
    with pytest.raises(error) as raised:
        call(*arguments)
    return raised.value.code


def test_every_activity_knows_only_evaluations_that_are_there(case: Case) -> None:
    """An order for another is a mistake that no repetition mends."""
    unknown = {"eval_id": "e-2", "run_ids": [], "attempt": 1, "runs": [], "code": "C", "message": "m"}

    for activity in (
        case.activities.prepare_engine,
        case.activities.deploy_eval_job,
        case.activities.check_jobs_status,
        case.activities.extract_eval_results,
        case.activities.record_failure,
        case.activities.cleanup_evaluation,
    ):
        assert _refused(RequestError, activity, unknown) == "EVALUATION_UNKNOWN"
    assert case.runner.runs == []


def test_the_cluster_is_verified_with_the_credential_of_the_request(case: Case) -> None:
    """For the evaluation's namespace and claim."""
    found = {
        "server_version": "v1.34.4",
        "namespace_exists": True,
        "claim_phase": "Bound",
        "quota_used_up": False,
    }
    case.runner.answers["verify_cluster_k8s.yml"] = found
    evaluation = _evaluation()

    verified = case.activities.verify_evaluation_cluster(
        {**_ORDER, "target": evaluation.target.model_dump(mode="json"), "claim": evaluation.claim}
    )

    ((_, data, credential),) = case.runner.runs
    assert verified["ok"]
    assert (data["namespace"], data["claim"]) == ("team-a", "a-claim")
    assert _TOKEN in credential


@pytest.mark.parametrize(
    "activity",
    [
        "verify_evaluation_cluster",
        "prepare_engine",
        "deploy_eval_job",
        "check_jobs_status",
        "read_snapshot",
    ],
)
def test_what_is_cancelled_goes_no_further(case: Case, activity: str) -> None:
    """Whatever it is at; no cluster is asked. Retrying would not help."""
    case.store.cancel("e-1", extract=False)

    with pytest.raises(EvaluationError, match="CANCELLED: It was cancelled on request at 20") as refused:
        getattr(case.activities, activity)({**_ORDER, "run_ids": ["r-1"], "attempt": 1})

    assert (refused.value.retryable, case.runner.runs) == (False, [])


def test_what_is_wanted_of_a_cancelled_evaluation_is_kept(case: Case) -> None:
    """Whoever asked for its scores gets them, also if others did not; what has ended is not cancelled."""
    assert case.activities.read_cancellation(_ORDER) == {"extract": False, "runs": []}
    first = case.store.cancel("e-1", extract=True)
    again = case.store.cancel("e-1", extract=False)

    assert first.cancellation == again.cancellation
    assert case.activities.read_cancellation(_ORDER) == {"extract": True, "runs": []}


def test_an_end_comes_before_a_cancellation(case: Case) -> None:
    """Nothing is noted in what has ended."""
    case.finished()
    case.activities.end_evaluation({**_ORDER, "outcome": "COMPLETED"})

    record = case.store.cancel("e-1", extract=False)

    assert (record.outcome, record.cancellation) == ("COMPLETED", None)


def test_cancelled_runs_have_results_of_their_own(case: Case) -> None:
    """What ended before keeps its scores, if they were read; the rest says CANCELLED."""
    case.extracted(_document("r-1", "success"), {**_document("r-2", "error"), "scores": []})
    cancelled = {**_seen("r-2"), "state": "cancelled", "code": "CANCELLED", "message": "on request"}

    case.activities.extract_eval_results({**_ORDER, "runs": [_seen("r-1"), cancelled]})

    assert (case.result("r-1")["outcome"], case.result("r-2")["outcome"]) == ("COMPLETED", "CANCELLED")
    assert (case.result("r-2")["code"], case.result("r-2")["error"]) == ("CANCELLED", "on request")
    report = case.activities.report_results(_ORDER)
    assert report["outcome"] == "CANCELLED"


def test_a_cancellation_without_extraction_says_so_of_every_run(case: Case) -> None:
    """Also of one whose Job had ended, and of one that never had a Job."""
    order = {**_ORDER, "code": "CANCELLED", "message": "on request"}

    case.activities.record_failure({**order, "runs": [_seen("r-1")]})

    found = [case.result(run_id) for run_id in ("r-1", "r-2")]
    assert [(one["code"], one["outcome"], one["cells"][0]["state"]) for one in found] == [
        ("CANCELLED", "CANCELLED", "missing")
    ] * 2


def test_a_retry_keeps_the_results_of_the_other_runs(case: Case) -> None:
    """In the order of the request, and only the repeated one is looked at, extracted and stored anew."""
    case.extracted(_document("r-1", "error"), _document("r-2", "success"))
    case.activities.extract_eval_results({**_ORDER, "runs": [_seen("r-1"), _seen("r-2")]})
    case.activities.end_evaluation({**_ORDER, "outcome": "PARTIAL"})
    record = case.store.retry("e-1", 1, ["r-1"], 12, "a-2")
    case.vault.put(record.sealed_as, {"api_key": _KEY, "kubeconfig": samples.kubeconfig(_TOKEN)})
    before = case.result("r-2")

    case.extracted({**_document("r-1", "success"), "attempt": 2})
    said = case.activities.extract_eval_results({**_ORDER, "runs": [_seen("r-1")]})

    assert said == "Extracted 2 scores from 2 runs"
    found = case.store.load_results("e-1")
    assert [(one["run_id"], one["status"], one["attempt"]) for one in found] == [
        ("r-1", "success", 2),
        ("r-2", "success", 1),
    ]
    assert case.result("r-2") == before
    assert case.activities.report_results(_ORDER)["outcome"] == "COMPLETED"
    assert case.record().extraction_status == "completed"


def _retried(case: Case) -> None:
    """A second attempt of a run that has half of its scores, and of one that has none."""
    case.extracted({**_document("r-1", "error"), "scores": [{"score": 50.0}]}, _document("r-2", "error"))
    case.activities.extract_eval_results({**_ORDER, "runs": [_seen("r-1"), _seen("r-2")]})
    case.activities.end_evaluation({**_ORDER, "outcome": "PARTIAL"})
    record = case.store.retry("e-1", 1, ["r-1", "r-2"], 12, "a-2")
    case.vault.put(record.sealed_as, {"api_key": _KEY, "kubeconfig": samples.kubeconfig(_TOKEN)})


@pytest.mark.parametrize(
    ("code", "outcome"), [("CLUSTER_UNREACHABLE", "PARTIAL"), ("CANCELLED", "CANCELLED")]
)
def test_a_retry_that_comes_to_nothing_costs_no_scores(case: Case, code: str, outcome: str) -> None:
    """Dapr may run it twice. Results, record and the last event have them, with how the retry ended."""
    _retried(case)
    order = {**_ORDER, "attempt": 2, "code": code, "message": "away", "runs": []}

    case.activities.record_failure(order)
    once = case.without_receipt()
    case.activities.record_failure(order)

    assert case.without_receipt() == once
    kept, other = case.store.load_results("e-1")
    assert (kept["scores"], kept["attempt"], kept["job_state"]) == ([{"score": 50.0}], 1, "succeeded")
    assert [(one["code"], one["error"]) for one in (kept, other)] == [(code, "away")] * 2
    assert [warning["code"] for warning in kept["warnings"]] == ["SCORES_OF_EARLIER_ATTEMPT"]
    assert (other["scores"], other["attempt"], other["warnings"]) == ([], 2, [])
    assert case.record().extraction_results == [kept, other]
    report = case.activities.report_results(_ORDER)
    assert (report["outcome"], report["summary"]) == (outcome, "Extracted 1 scores from 2 runs")
    case.activities.announce_event(
        Announcer(_evaluation(), 12).status(WorkflowStatus.COMPLETED, "done", attach="metadata")
    )
    content = case.dapr.messages[-1].content
    assert b"SCORES_OF_EARLIER_ATTEMPT" in content


def test_a_retry_whose_job_has_left_no_scores_costs_none(case: Case) -> None:
    """It was read, and there was nothing, or only what the earlier attempt has left on the claim."""
    _retried(case)
    case.extracted({**_document("r-1", "error"), "attempt": 2}, {**_document("r-2"), "attempt": 1})
    failed = {"state": "failed", "code": "OOM", "message": "too much"}

    case.activities.extract_eval_results(
        {**_ORDER, "attempt": 2, "runs": [{**_seen("r-1"), **failed}, _seen("r-2")]}
    )

    assert (case.result("r-1")["scores"], case.result("r-1")["code"]) == ([{"score": 50.0}], "OOM")
    assert (case.result("r-2")["scores"], case.result("r-2")["code"]) == ([], "RESULT_STALE")


# Building and deploying


def test_preparing_tells_engine_and_image(case: Case) -> None:
    """And asks no cluster."""
    assert case.activities.prepare_engine(_ORDER) == "opencompass with image an-image"
    assert case.runner.runs == []


@pytest.mark.parametrize("lost", ["rows", "secrets"])
def test_what_cannot_be_built_fails_while_preparing(case: Case, lost: str) -> None:
    """Before anything is on the cluster; trying again does not help."""
    if lost == "rows":
        del case.dapr.state[f"dataset-e-1-{hashlib.sha256(_ROWS.encode()).hexdigest()}"]
        assert _refused(EvaluationError, case.activities.prepare_engine, _ORDER) == "DATASET_LOST"
    else:
        case.vault.destroy(case.record().sealed_as)
        assert _refused(SealError, case.activities.prepare_engine, _ORDER) == "SECRETS_GONE"
    assert not SealError.retryable
    assert not EvaluationError.retryable


def test_runs_are_deployed_with_key_and_rows(case: Case) -> None:
    """Which the answer, a part of the workflow's history, does not hold."""
    case.runner.answers["deploy_eval_jobs_k8s.yml"] = {
        "runs": [
            _made("r-1", "r-1"),
            {"run_id": "r-2", "msg": "403 exceeded quota: team-a"},
        ]
    }

    deployed = case.activities.deploy_eval_job({**_ORDER, "run_ids": ["r-1", "r-2"], "attempt": 1})

    ((playbook, data, credential),) = case.runner.runs
    first, second = data["runs"]
    assert playbook == "deploy_eval_jobs_k8s.yml"
    assert first[SECRET_VALUES] == second[SECRET_VALUES] == {"OPENAI_API_KEY": _KEY}
    assert _ROWS in first["files"].values()
    assert _ROWS not in second["files"].values()
    assert _TOKEN in credential
    assert deployed[0] == {"run_id": "r-1", "job": "r-1", "code": None, "message": None}
    assert (deployed[1]["job"], deployed[1]["code"]) == (None, "QUOTA_EXCEEDED")
    assert not {_KEY, _TOKEN} & set(json.dumps(deployed).split('"'))


def test_only_the_wanted_runs_are_deployed_again(case: Case) -> None:
    """Under the name of their attempt."""
    case.runner.answers["deploy_eval_jobs_k8s.yml"] = {"runs": [_made("r-2", "r-2-a2")]}

    case.activities.deploy_eval_job({**_ORDER, "run_ids": ["r-2"], "attempt": 2})

    ((_, data, _),) = case.runner.runs
    assert [(run["run_id"], run["names"][0]) for run in data["runs"]] == [("r-2", "r-2-a2")]


# Looking


def test_a_look_is_kept_with_its_logs(case: Case) -> None:
    """Runs without a Job are told, too; the next look does not read the logs of those that have ended."""
    case.runner.answers["check_job_status_k8s.yml"] = {"jobs": [_fact("r-1", complete=True, log="the end")]}

    snapshot = case.activities.check_jobs_status(_ORDER)
    case.activities.check_jobs_status(_ORDER)

    assert [(run["run_id"], run["state"]) for run in snapshot["runs"]] == [
        ("r-1", "succeeded"),
        ("r-2", "gone"),
    ]
    assert (snapshot["tick"], case.activities.read_snapshot(_ORDER)["tick"]) == (1, 2)
    assert case.store.log("e-1", "r-1") == "the end"
    assert [data["settled"] for _, data, _ in case.runner.runs] == [[], [["e-1", "r-1"]]]
    assert {data["selector"] for _, data, _ in case.runner.runs} == {
        "app.kubernetes.io/managed-by=budeval,budeval.dev/eval-id=e-1,budeval.dev/run-id"
    }


def test_a_log_that_was_not_read_again_is_kept(case: Case) -> None:
    """A settled run's facts come without one."""
    for log in ("the end", None):
        case.runner.answers["check_job_status_k8s.yml"] = {"jobs": [_fact("r-1", complete=True, log=log)]}
        case.activities.check_jobs_status(_ORDER)

    assert case.store.log("e-1", "r-1") == "the end"


def test_samples_of_a_settled_run_stay(case: Case) -> None:
    """Its log is not read again, but what it said of its progress is still true."""
    line = 'BUDEVAL1-PROGRESS {"done": 10, "total": 10, "phase": "done"}\n'
    for log in (line, None):
        case.runner.answers["check_job_status_k8s.yml"] = {"jobs": [_fact("r-1", complete=True, log=log)]}
        snapshot = case.activities.check_jobs_status(_ORDER)

    assert snapshot["runs"][0]["progress"] == {"done": 10, "total": 10, "phase": "done"}


def test_a_slow_look_does_not_replace_what_was_seen_after_it_began(case: Case) -> None:
    """The watcher and the evaluation look at the same time: the later sight counts, not the later answer."""

    def a_quick_look() -> None:
        case.runner.answers["check_job_status_k8s.yml"] = {"jobs": [_fact("r-1", complete=True)]}
        case.activities.check_jobs_status(_ORDER)

    pod = {"name": "r-1-pod", "phase": "Running"}
    case.runner.answers["check_job_status_k8s.yml"] = {"jobs": [_fact("r-1", pod=pod)]}
    case.runner.meanwhile.append(a_quick_look)

    case.activities.check_jobs_status(_ORDER)

    assert case.activities.read_snapshot(_ORDER)["runs"][0]["state"] == "succeeded"


def test_without_a_look_there_is_an_empty_snapshot(case: Case) -> None:
    """Older than any other."""
    assert case.activities.read_snapshot(_ORDER) == {"tick": 0, "runs": []}


# Results


def test_extracted_results_are_kept_with_each_run_and_in_the_record(case: Case) -> None:
    """The history has the guide's sentence only."""
    case.extracted(_document("r-1"), _document("r-2", "error"))

    said = case.activities.extract_eval_results({**_ORDER, "runs": [_seen("r-1"), _seen("r-2")]})

    assert said == "Extracted 1 scores from 2 runs"
    assert (case.result("r-1")["status"], case.result("r-1")["outcome"]) == ("success", "COMPLETED")
    assert (case.result("r-2")["status"], case.result("r-2")["code"]) == ("error", "NOTHING_SCORED")
    record = case.record()
    assert record.extraction_status == "completed"
    assert record.extraction_results == [case.result("r-1"), case.result("r-2")]


def test_runs_that_never_had_a_job_are_not_asked_for(case: Case) -> None:
    """They have left nothing; they have a result all the same."""
    case.extracted(_document("r-1"))
    refused = {"run_id": "r-2", "state": "failed", "code": "SPEC_INVALID", "message": "no"}

    case.activities.extract_eval_results({**_ORDER, "runs": [_seen("r-1"), refused]})

    ((_, data, _),) = case.runner.runs
    assert data["run_ids"] == ["r-1"]
    assert (case.result("r-2")["code"], case.result("r-2")["scores"]) == ("SPEC_INVALID", [])


def test_without_any_job_nothing_is_extracted(case: Case) -> None:
    """No playbook is run for nothing."""
    refused = [
        {"run_id": run_id, "state": "failed", "code": "SPEC_INVALID", "message": "no"}
        for run_id in ("r-1", "r-2")
    ]

    said = case.activities.extract_eval_results({**_ORDER, "runs": refused})

    assert said == "Extracted 0 scores from 2 runs"
    assert case.runner.runs == []


def test_a_torn_log_is_no_result(case: Case) -> None:
    """Nothing of it is kept; it is read again."""
    log = _frames(_document("r-1"), _document("r-2")).rpartition("\n")[0]
    case.runner.answers["extract_results_k8s.yml"] = {"log": log, "pods": [], "removed": []}
    order = {**_ORDER, "runs": [_seen("r-1"), _seen("r-2")]}

    with pytest.raises(ClusterError) as raised:
        case.activities.extract_eval_results(order)

    assert (raised.value.code, raised.value.retryable) == ("LOG_CORRUPT", True)
    assert case.store.results("e-1") is None


def test_extracting_twice_keeps_one(case: Case) -> None:
    """The same results under the same keys."""
    case.finished()
    once = case.without_receipt()

    case.finished()

    assert case.without_receipt() == once


def test_a_failure_is_the_result_of_every_run_without_its_own(case: Case) -> None:
    """One that has failed by itself keeps its reason; one whose scores were not read has the failure's."""
    runs = [_seen("r-1", "failed", code="OOM", message="too much"), _seen("r-2", "running")]

    case.activities.record_failure({**_ORDER, "code": "AUTH_FAILED", "message": "expired", "runs": runs})

    assert (case.result("r-1")["code"], case.result("r-1")["error"]) == ("OOM", "too much")
    assert (case.result("r-2")["code"], case.result("r-2")["error"]) == ("AUTH_FAILED", "expired")
    assert case.record().extraction_status == "failed"


@pytest.mark.parametrize("runs", [[], [_seen("r-1"), _seen("r-2")]], ids=["unseen", "succeeded"])
def test_a_failure_reaches_runs_that_had_not_failed(case: Case, runs: list[Json]) -> None:
    """Nothing seen, or a success whose scores could not be read."""
    case.activities.record_failure({**_ORDER, "code": "LOG_CORRUPT", "message": "torn", "runs": runs})

    assert {case.result(run_id)["code"] for run_id in ("r-1", "r-2")} == {"LOG_CORRUPT"}


@pytest.mark.parametrize(
    ("status", "outcome", "code"),
    [("success", "COMPLETED", "EVALUATION_FAILED"), ("error", "FAILED", "NOTHING_SCORED")],
)
def test_the_report_tells_how_it_ended(case: Case, status: str, outcome: str, code: str) -> None:
    """With the first run's reason."""
    case.finished(status)

    report = case.activities.report_results(_ORDER)

    assert (report["outcome"], report["code"]) == (outcome, code)
    assert report["error"] == f"{code}: {report['message']}"


def test_a_report_without_results_is_a_failure(case: Case) -> None:
    """Never a success by accident."""
    assert case.activities.report_results(_ORDER)["outcome"] == "FAILED"


def test_the_output_is_the_guides(case: Case) -> None:
    """Readable by Dapr's own workflow API."""
    case.finished()

    output = case.activities.workflow_output(_ORDER)

    assert (output["workflow_id"], output["extraction_status"]) == ("eval-e-1", "completed")
    assert [result["run_id"] for result in output["extraction_results"]] == ["r-1", "r-2"]


def test_large_results_are_references(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the output, in the record and in events; whole under their keys."""
    monkeypatch.setattr(activities, "RESULTS_IN_EVENT_LIMIT", 100)
    case.finished()

    output = case.activities.workflow_output(_ORDER)["extraction_results"]

    assert [result["reference"]["key"] for result in output] == ["results-e-1-r-1", "results-e-1-r-2"]
    assert case.record().extraction_results == output
    assert "reference" not in case.result("r-1")


# Announcing


def _published(case: Case) -> list[tuple[str, Json]]:
    return [
        (message.url.path.rpartition("/")[2], json.loads(message.content)["payload"]["content"])
        for message in case.dapr.messages
    ]


def test_an_event_goes_to_every_topic(case: Case) -> None:
    """Stored once, under its number."""
    order = Announcer(_evaluation(), 4).eta(3)

    case.activities.announce_event(order)

    assert [(topic, content["message"]) for topic, content in _published(case)] == [
        ("news", "3"),
        ("more", "3"),
    ]
    assert "event-eval-e-1-5" in case.dapr.state


@pytest.mark.parametrize("place", ["result", "metadata"])
def test_results_are_attached_outside_the_history(case: Case, place: str) -> None:
    """The workflow only says where; a repetition sends the same bytes."""
    case.finished()
    announcer = Announcer(_evaluation(), 0)
    order = (
        announcer.results("done")
        if place == "result"
        else announcer.status(WorkflowStatus.COMPLETED, "done", attach="metadata")
    )

    case.activities.announce_event(order)
    case.activities.announce_event(order)

    document = _published(case)[0][1][place]
    assert (document["evaluation_id"], document["outcome"]) == ("e-1", "COMPLETED")
    assert [result["run_id"] for result in document["results"]] == ["r-1", "r-2"]
    assert len({message.content for message in case.dapr.messages}) == 1
    assert "scores" not in json.dumps(order)


@pytest.mark.parametrize("step", ["begun", "done"])
def test_an_event_of_what_is_deleted_is_not_told_again(case: Case, step: str) -> None:
    """Dapr may run it once more, late: it would be kept for ever, and told of what is no more."""
    if step == "done":
        case.delete()
    else:
        case.store.end("e-1", Outcome.FAILED)
        case.store.begin_deletion("e-1")
    before = dict(case.dapr.state)

    case.activities.announce_event(Announcer(_evaluation(), 6).status(WorkflowStatus.FAILED, "late"))

    assert case.dapr.messages == []
    assert case.dapr.state == before


def test_an_event_of_what_has_no_record_is_told(case: Case) -> None:
    """Only that something was deleted is known for sure."""
    del case.dapr.state["eval-e-1"]

    case.activities.announce_event(Announcer(_evaluation(), 0).eta(3))

    assert [topic for topic, _ in _published(case)] == ["news", "more"]


def test_an_event_without_results_is_sent_without(case: Case) -> None:
    """Rather than not at all."""
    case.activities.announce_event(Announcer(_evaluation(), 0).results("none"))

    assert _published(case)[0][1]["result"] is None


# Ending


_GONE = {"kind": "Job", "name": "r-1", "uid": "u", "outcome": "deleted", "proof": "No list has it."}
_ENDING = {"kind": "Pod", "name": "r-1-x", "uid": "p", "outcome": "ending", "reason": "It ends."}


def test_a_clean_up_leaves_a_receipt(case: Case) -> None:
    """Of what was deleted, and of the directory that its playbook had."""
    case.runner.answers["cleanup_k8s.yml"] = _removed(_GONE)

    case.activities.cleanup_evaluation(_ORDER)

    ((_, data, _),) = case.runner.runs
    assert data["selector"] == "app.kubernetes.io/managed-by=budeval,budeval.dev/eval-id=e-1"
    assert case.receipt()["Job"] == ("deleted", "No list has it.")
    outcome, proof = case.receipt()["PrivateDirectory"]
    assert (outcome, str(proof).startswith(f"There is no {case.runner.directory} ")) == ("deleted", True)


def test_a_clean_up_that_leaves_something_is_tried_again(case: Case) -> None:
    """The receipt tells what; the next try may replace it."""
    case.runner.answers["cleanup_k8s.yml"] = _removed(_ENDING)

    with pytest.raises(ClusterError) as raised:
        case.activities.cleanup_evaluation(_ORDER)

    assert (raised.value.code, raised.value.retryable) == ("CLEANUP_INCOMPLETE", True)
    assert case.receipt()["Pod"] == ("ending", "It ends.")


def test_a_second_clean_up_that_finds_nothing_settles_the_first(case: Case) -> None:
    """A pod that was still ending has ended: the receipt must not say otherwise for ever."""
    case.runner.answers["cleanup_k8s.yml"] = _removed(_ENDING)
    with pytest.raises(ClusterError):
        case.activities.cleanup_evaluation(_ORDER)
    case.runner.answers["cleanup_k8s.yml"] = _removed()

    case.activities.cleanup_evaluation(_ORDER)

    assert case.receipt()["Pod"] == ("gone", "It was not there.")


def test_a_clean_up_whose_receipt_was_lost_is_made_up_for(case: Case) -> None:
    """The service died between the playbook and the store: what was deployed is gone, and known to be."""
    case.runner.answers["deploy_eval_jobs_k8s.yml"] = {"runs": [_made("r-1", "r-1")]}
    case.activities.deploy_eval_job({**_ORDER, "run_ids": ["r-1"], "attempt": 1})
    case.runner.answers["cleanup_k8s.yml"] = _removed()

    case.activities.cleanup_evaluation(_ORDER)

    outcomes = {kind: outcome for kind, (outcome, _) in case.receipt().items()}
    assert outcomes == {
        "Job": "gone",
        "ConfigMap": "gone",
        "Secret": "gone",
        "ResultTree": "kept",
        "PrivateDirectory": "deleted",
    }


def test_what_could_not_be_cleaned_up_is_in_the_receipt(case: Case) -> None:
    """With the reason."""
    case.activities.record_leftovers({**_ORDER, "problem": "FORBIDDEN: not any more"})

    assert case.receipt() == {"CleanUp": ("unknown", "FORBIDDEN: not any more")}


@pytest.mark.parametrize(
    ("activity", "playbook", "answer"),
    [
        ("verify_evaluation_cluster", "verify_cluster_k8s.yml", {}),
        ("deploy_eval_job", "deploy_eval_jobs_k8s.yml", {"runs": []}),
        ("check_jobs_status", "check_job_status_k8s.yml", {"jobs": []}),
        ("cleanup_evaluation", "cleanup_k8s.yml", {"receipt": [], "absence": {}}),
    ],
)
def test_a_playbook_that_is_killed_leaves_its_directory_in_the_receipt(
    case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, activity: str, playbook: str, answer: Json
) -> None:
    """Whatever the evaluation was at; it goes when the service starts next, and that is told."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    case.runner.directory = tmp_path / "budeval-run-left"
    case.runner.directory.mkdir()
    case.runner.answers[playbook] = ClusterError("killed", code="RUNNER_CRASH", retryable=True)
    order = {**_ORDER, "run_ids": ["r-1"], "attempt": 1, "claim": "c"}
    order["target"] = _evaluation().target.model_dump(mode="json")
    with pytest.raises(ClusterError):
        getattr(case.activities, activity)(order)
    left = case.receipt()

    assert [str(path) for path in sweep()] == [str(case.runner.directory)]
    case.runner.answers[playbook] = {**_FOUND, **answer}
    case.runner.directory = tmp_path / "budeval-run-next"
    getattr(case.activities, activity)(order)

    assert left["PrivateDirectory"][0] == "in_use"
    directories = [item for item in case.receipts.of("e-1") if item.kind == "PrivateDirectory"]
    assert [(Path(item.name).name, item.outcome) for item in directories] == [
        ("budeval-run-left", "deleted"),
        ("budeval-run-next", "deleted"),
    ]


_FOUND = {"server_version": "v1", "namespace_exists": True, "claim_phase": "Bound", "quota_used_up": False}


def test_the_receipt_tells_that_the_secrets_are_destroyed(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By looking for them; before the record says that it has ended, so nobody reads otherwise."""
    seen: list[tuple[bool, dict[str, tuple[str, str | None]]]] = []
    end = case.store.end

    def looked_at(*arguments: Any) -> bool:
        seen.append((case.record().ended is None, case.receipt()))
        return end(*arguments)

    monkeypatch.setattr(case.store, "end", looked_at)

    case.activities.end_evaluation({**_ORDER, "outcome": "PARTIAL"})

    ((not_ended, receipt),) = seen
    outcome, proof = receipt["SealedSecrets"]
    assert (not_ended, outcome) == (True, "deleted")
    assert "nothing under their key" in str(proof)


def test_secrets_that_stay_are_told(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that takes a deletion and does nothing is not believed."""
    monkeypatch.setattr(case.vault, "destroy", lambda _name: None)

    case.activities.end_evaluation({**_ORDER, "outcome": "PARTIAL"})

    assert case.receipt()["SealedSecrets"][0] == "ending"


def test_the_end_of_an_earlier_attempt_destroys_nothing(case: Case) -> None:
    """Somebody who looked before the retry repeats what was cut off of the last end."""
    case.activities.end_evaluation({**_ORDER, "outcome": "FAILED"})
    record = case.store.retry("e-1", 1, ["r-1"], 12, "a-2")
    case.vault.put(record.sealed_as, {"api_key": "sk-again"})

    order = {**_ORDER, "outcome": "FAILED", "attempt": 1}
    assert _refused(EvaluationError, case.activities.end_evaluation, order) == "ATTEMPT_OVER"

    assert case.vault.open(case.record().sealed_as) == {"api_key": "sk-again"}
    assert case.record().ended is None


def test_an_ended_evaluation_has_no_secrets(case: Case) -> None:
    """The record says how it ended; both may be said again."""
    case.activities.end_evaluation({**_ORDER, "outcome": "PARTIAL"})
    case.activities.end_evaluation({**_ORDER, "outcome": "PARTIAL"})

    record = case.record()
    assert record.outcome == "PARTIAL"
    assert record.ended is not None
    assert not [key for key in case.dapr.state if key.startswith("sealed-")]
    assert record.evaluation == _evaluation()


def test_no_secret_reaches_state_or_messages(case: Case, caplog: pytest.LogCaptureFixture) -> None:
    """From the first to the last activity; nor does any reach the log."""
    caplog.set_level("DEBUG")
    case.runner.answers["deploy_eval_jobs_k8s.yml"] = {"runs": [_made("r-1", "r-1")]}
    case.runner.answers["cleanup_k8s.yml"] = _removed()

    case.activities.deploy_eval_job({**_ORDER, "run_ids": ["r-1"], "attempt": 1})
    case.finished()
    case.activities.announce_event(Announcer(_evaluation(), 0).results("done"))
    case.activities.cleanup_evaluation(_ORDER)
    case.activities.end_evaluation({**_ORDER, "outcome": "COMPLETED"})

    told = json.dumps(case.dapr.state) + caplog.text + str([m.content for m in case.dapr.messages])
    assert _KEY not in told
    assert _TOKEN not in told


# Ending what its workflow has left


def test_an_evaluation_whose_workflow_broke_is_ended(case: Case) -> None:
    """Every run gets a result, the cluster is cleaned up, secrets are destroyed; again changes nothing."""
    case.runner.answers["cleanup_k8s.yml"] = _removed(_GONE)

    case.activities.close_broken(case.record(), "INTERNAL: KeyError in report_results")
    ended = case.record()
    case.activities.close_broken(case.record(), "INTERNAL: something else")

    assert case.record().ended == ended.ended
    assert ended.outcome is Outcome.FAILED
    assert [(case.result(run)["code"], case.result(run)["error"]) for run in ("r-1", "r-2")] == [
        ("INTERNAL", "KeyError in report_results")
    ] * 2
    assert case.receipt()["Job"] == ("deleted", "No list has it.")
    assert not [key for key in case.dapr.state if key.startswith("sealed-")]


def test_results_that_are_there_are_kept_when_a_workflow_breaks(case: Case) -> None:
    """It broke after the extraction."""
    case.runner.answers["cleanup_k8s.yml"] = _removed(_GONE)
    case.finished()

    case.activities.close_broken(case.record(), "INTERNAL: KeyError in report_results")

    assert case.result("r-1")["scores"] == [{"score": 50.0}]


def test_a_cluster_that_is_away_does_not_keep_an_evaluation_open(case: Case) -> None:
    """What is left is in the receipt; the Jobs go by themselves in time."""
    away = ClusterError("nobody answers", code="CLUSTER_UNREACHABLE", retryable=True)
    case.runner.answers["cleanup_k8s.yml"] = away

    case.activities.close_broken(case.record(), "INTERNAL: its workflow is TERMINATED")

    assert case.record().ended
    assert case.receipt()["CleanUp"] == ("unknown", "CLUSTER_UNREACHABLE: nobody answers")


def test_a_run_that_was_gone_twice_is_read_all_the_same(case: Case) -> None:
    """What its pods have left on the claim may be whole."""
    case.extracted(_document("r-1"), _document("r-2"))
    gone = {"run_id": "r-2", "state": "failed", "code": "JOB_GONE", "message": "not there"}

    case.activities.extract_eval_results({**_ORDER, "runs": [_seen("r-1"), gone]})

    assert case.result("r-2")["scores"] == [{"score": 50.0}]
    assert (case.result("r-2")["status"], case.result("r-2")["code"]) == ("error", "JOB_GONE")


def test_what_the_extractor_quotes_of_a_log_shows_no_key(case: Case) -> None:
    """Results are stored, announced and shown to whoever asks; a header may be shown in base64."""
    in_base64 = base64.b64encode(f"Bearer {_KEY}".encode()).decode()
    said = f"401 for {_KEY}, {in_base64}"
    case.extracted({**_document("r-1", "error"), "error": said}, _document("r-2"))

    case.activities.extract_eval_results({**_ORDER, "runs": [_seen("r-1"), _seen("r-2")]})

    assert case.result("r-1")["error"] == f"401 for ***, {in_base64[:10]}***"


def test_a_refusal_is_seen_before_anybody_looks(case: Case) -> None:
    """A run that waits for a quota is shown as blocked, not as gone."""
    case.runner.answers["deploy_eval_jobs_k8s.yml"] = {
        "runs": [_made("r-1", "r-1"), {"run_id": "r-2", "msg": "403 exceeded quota: team-a"}]
    }
    case.runner.answers["check_job_status_k8s.yml"] = {"jobs": [_fact("r-1")]}

    case.activities.deploy_eval_job({**_ORDER, "run_ids": ["r-1", "r-2"], "attempt": 1})
    snapshot = case.activities.check_jobs_status(_ORDER)

    states = {run["run_id"]: (run["state"], run["code"]) for run in snapshot["runs"]}
    assert states == {"r-1": ("pending", None), "r-2": ("blocked", "QUOTA_EXCEEDED")}


def test_an_eta_is_sent_to_who_wants_it(case: Case) -> None:
    """In seconds; whoever does not answer disturbs nobody."""
    case.activities._eta_receiver = "budapp/evaluations/eta"
    order = Announcer(_evaluation(), 0).eta(7)

    case.activities.announce_event(order)
    case.dapr.refused = {"/v1.0/invoke": 500}
    case.activities.announce_event(order)

    (sent,) = case.dapr.invocations
    assert (sent.method, sent.url.path) == ("PATCH", "/v1.0/invoke/budapp/method/evaluations/eta")
    assert json.loads(sent.content) == {"evaluation_id": "e-1", "eta_seconds": 420}
    assert len(case.dapr.messages) == 4  # two topics, twice


_LATE: dict[str, Json] = {
    "verify_evaluation_cluster": {"attempt": 1, "target": {}, "claim": "c"},
    "prepare_engine": {"attempt": 1},
    "deploy_eval_job": {"attempt": 1, "run_ids": ["r-1"]},
    "check_jobs_status": {"attempt": 1},
    "read_snapshot": {"attempt": 1},
    "extract_eval_results": {"attempt": 1, "runs": []},
    "record_failure": {"attempt": 1, "code": "C", "message": "m", "runs": []},
    "cleanup_evaluation": {"attempt": 1},
    "record_leftovers": {"attempt": 1, "problem": "p"},
    "end_evaluation": {"attempt": 1, "outcome": "FAILED"},
}


@pytest.mark.parametrize("activity", _LATE)
def test_what_is_run_late_does_nothing_to_the_next_attempt(case: Case, activity: str) -> None:
    """Dapr runs an activity at least once: also when a retry has begun since."""
    case.store.end("e-1", Outcome.FAILED)
    case.store.retry("e-1", 1, ["r-1"], 3, "again")
    before = dict(case.dapr.state)

    with suppress(EvaluationError):
        getattr(case.activities, activity)({**_ORDER, **_LATE[activity]})

    assert case.runner.runs == []
    assert case.dapr.state == before


def test_what_is_run_late_deploys_nothing_after_the_end(case: Case) -> None:
    """Nobody would clean it up."""
    case.store.end("e-1", Outcome.FAILED)

    refused = _refused(
        EvaluationError, case.activities.deploy_eval_job, {**_ORDER, "run_ids": ["r-1"], "attempt": 1}
    )

    assert refused == "ATTEMPT_OVER"
    assert case.runner.runs == []


@pytest.mark.parametrize(
    "order",
    [
        ("deploy_eval_job", {"run_ids": ["r-1"], "attempt": 1}),
        ("verify_evaluation_cluster", {"target": _evaluation().target.model_dump(), "claim": "c"}),
        ("check_jobs_status", {}),
    ],
    ids=lambda order: order[0],
)
@pytest.mark.parametrize("fate", ["CANCELLED", "EVALUATION_DELETED"])
def test_what_waited_for_a_worker_is_asked_again_whether_it_is_wanted(
    case: Case, order: tuple[str, Json], fate: str
) -> None:
    """All may be over, cleaned up and deleted by then: nothing is run, and no receipt comes back."""
    activity, more = order
    run = case.runner.run

    def when_a_worker_is_free(*arguments: Any) -> Json:
        case.store.cancel("e-1", extract=False)
        if fate == "EVALUATION_DELETED":
            case.delete()
        return run(*arguments)

    case.runner.run = when_a_worker_is_free  # type: ignore[method-assign, assignment]

    assert _refused(BudevalError, getattr(case.activities, activity), {**_ORDER, **more}) == fate
    assert case.runner.runs == []
    assert "receipt-e-1" not in case.dapr.state


@pytest.mark.parametrize(
    "activity",
    ["extract_eval_results", "record_failure", "cleanup_evaluation", "record_leftovers", "prepare_engine"],
)
def test_what_is_run_late_does_nothing_to_what_has_ended(case: Case, activity: str) -> None:
    """Its results, its receipt and the cluster are as its end has left them."""
    case.store.end("e-1", Outcome.FAILED)
    before = dict(case.dapr.state)

    assert _refused(EvaluationError, getattr(case.activities, activity), {**_ORDER, **_LATE[activity]}) == (
        "ATTEMPT_OVER"
    )
    assert case.runner.runs == []
    assert case.dapr.state == before
