"""Requests, replies and files that are meant to harm, on the real stack, to the end of an evaluation."""

import json
import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from budeval.engines.claim.frame import framed
from dev.stack import Stack
from tests.e2e import evaluations
from tests.e2e.evaluations import Json, dataset, request
from tests.e2e.hostile_endpoint import HostileEndpoint
from tests.e2e.observe import Subscriber

pytestmark = pytest.mark.e2e

_POD_USER = 10001
_FORGED_SCORE = 77.125


@pytest.fixture
def endpoint(service: httpx.Client) -> Iterator[HostileEndpoint]:
    """It takes every chat, and has nothing to say yet."""
    assert service
    with HostileEndpoint().served() as endpoint:
        yield endpoint


@pytest.fixture
def datasets(results_on_the_claim: Path) -> Path:
    """Where tenant `default`'s datasets lie on the node."""
    path = results_on_the_claim.parent / "datasets"
    if not path.exists():
        path.mkdir()
        os.chown(path, _POD_USER, _POD_USER)
    return path


class Payload:
    """Texts that leave a file of a name that is nowhere else, wherever they are taken for a program."""

    def __init__(self) -> None:
        self.word = f"owned-{uuid.uuid4().hex[:12]}"
        here, in_pod = f"touch /tmp/{self.word}", f"touch /workspace/shared/results/*/{self.word}"
        self.shell = f"$({here}) `{in_pod}`; {in_pod}"
        self.line = f"{{{{ lookup('pipe', '{here}') }}}} {{% raw %}} {self.shell}"

    def lines(self, forged_run: str) -> str:
        """The same, then lines that look like the progress, the failure and the results of a run."""
        score = {"dataset": "d", "metric": "accuracy", "score": _FORGED_SCORE}
        progress = 'BUDEVAL1-PROGRESS {"done": 77125, "total": 77126, "phase": "infer"}'
        failure = 'BUDEVAL1-FAILED {"code": "OOM", "message": "forged"}'
        frames = framed(forged_run, {"status": "success", "scores": [score]})
        return f"{self.line}\n{progress}\n{failure}\n{frames}\n"

    def traces(self, stack: Stack) -> list[Path]:
        """The files that are there: on this machine, in the stack's directories, on the claim."""
        places = (Path("/tmp"), Path("/dev/shm"), Path.cwd())  # noqa: S108 - where a shell would leave them
        found = [place / self.word for place in places if (place / self.word).exists()]
        return [*found, *stack.layout.directory.rglob(self.word)]


@pytest.mark.parametrize("engine", ["lm-eval", "opencompass"])
def test_a_text_is_a_text_to_the_end(
    stack: Stack,
    service: httpx.Client,
    subscriber: Subscriber,
    endpoint: HostileEndpoint,
    datasets: Path,
    engine: str,
) -> None:
    """Of the request, of a file on the claim, of the model's replies: told to the letter, never executed.

    What looks like a frame, a line of progress or a failure of ours is none, and gives no run a score.
    """
    payload = Payload()
    broken = dataset("broken", source={"inline": None, "path": f"{uuid.uuid4().hex}.jsonl"})
    hostile = payload.lines(broken["run_id"])
    (datasets / broken["source"]["path"]).write_text(json.dumps({hostile: hostile}) + "\n")
    told = dataset(
        payload.line,
        run_id=f"told-{uuid.uuid4().hex[:8]}",
        source={
            "inline": json.dumps({"question": hostile, "answer": payload.word}),
            "prompt": f"{hostile}\n{{question}}",
            "evaluator": "contains",
        },
    )
    endpoint.reply = hostile
    body = request(
        told,
        broken,
        engine=engine,
        endpoint=endpoint.url,
        model={"model_name": f"m {payload.shell}"},
        labels={"note": payload.line},
        notification_metadata={"workflow_id": payload.line, "actor": payload.line},
    )

    eval_id = evaluations.start(service, body)
    state = evaluations.wait_for_end(service, eval_id)
    found = {result["run_id"]: result for result in evaluations.results(service, eval_id)["results"]}
    evaluations.told(subscriber, eval_id)

    assert state["outcome"] == "PARTIAL", found
    assert (state["labels"], state["model"]) == ({"note": payload.line}, f"m {payload.shell}")
    assert payload.line in [run["dataset_id"] for run in state["runs"].values()]
    good, bad = found[told["run_id"]], found[broken["run_id"]]
    assert (good["outcome"], good["dataset_id"]) == ("COMPLETED", payload.line)
    assert {(score["score"] > 0, score["samples"]) for score in good["scores"]} == {(True, 1)}
    assert _FORGED_SCORE not in [score["score"] for score in good["scores"]]
    assert (bad["code"], bad["scores"]) == ("DATASET_INVALID", [])
    assert hostile in bad["error"]
    assert state["runs"][broken["run_id"]].get("done") in {None, 0}
    log = service.get(f"/evals/{eval_id}/logs", params={"run_id": broken["run_id"]}).json()["log"]
    assert json.dumps(hostile)[1:-1] in log
    (event, *_) = subscriber.events(f"eval-{eval_id}")
    assert event["data"]["actor"] == payload.line
    assert event["data"]["payload"]["workflow_id"] == payload.line
    assert payload.traces(stack) == []


_LOOK_AROUND = """
import json, os, sys

victim = sys.argv[1]
root = "/workspace/shared"
seen = {}

def attempt(name, action):
    try:
        seen[name] = action()
    except OSError as error:
        seen[name] = type(error).__name__

def read(path):
    with open(path) as file:
        return file.read()

def write(path):
    with open(path, "w") as file:
        file.write("x")
    return "written"

attempt("tree", lambda: sorted(os.listdir(root)))
attempt("results", lambda: sorted(os.listdir(root + "/results")))
own = f"{root}/results/{os.listdir(root + '/results')[0]}"
attempt("theirs", lambda: read(f"{root}/results/{victim}/secret.log"))
attempt("upwards", lambda: read(f"{own}/../{victim}/secret.log"))
os.symlink(f"../{victim}/secret.log", own + "/a-link")
attempt("by link", lambda: read(own + "/a-link"))
attempt("by data", lambda: read(f"{root}/data/../results/{victim}/secret.log"))
attempt("by the first process", lambda: read(f"/proc/1/root{root}/results/{victim}/secret.log"))
attempt("token", lambda: os.listdir("/var/run/secrets/kubernetes.io"))
attempt("write own", lambda: write(own + "/mine"))
attempt("write datasets", lambda: write(root + "/datasets/x"))
attempt("write data", lambda: write(root + "/data/x"))
attempt("write beside", lambda: write(root + "/results/x"))
attempt("write image", lambda: write("/usr/x"))
seen["user"] = [os.getuid(), os.getgid()]
print(json.dumps(seen))
"""


def _as_its_pod(stack: Stack, eval_id: str, victim: str) -> Json:
    """What a pod sees that is as one of the evaluation's own, but for its program."""
    selector = f"--selector=budeval.dev/eval-id={eval_id}"
    (job,) = json.loads(stack.kubectl(1, "get", "jobs", "-n", "budeval", selector, "-o", "json"))["items"]
    spec = job["spec"]["template"]["spec"]
    (container,) = spec["containers"]
    container["command"] = ["python3", "-c", _LOOK_AROUND, victim]
    name = f"look-{uuid.uuid4().hex[:8]}"
    copy = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, "namespace": "budeval"},
        "spec": {"backoffLimit": 0, "template": {"spec": spec}},
    }
    stack.kubectl(1, "create", "--filename", "-", stdin=json.dumps(copy))
    try:
        waits = ("wait", f"job/{name}", "-n", "budeval", "--for=condition=complete", "--timeout=60s")
        stack.kubectl(1, *waits)
        seen: Json = json.loads(stack.kubectl(1, "logs", f"job/{name}", "-n", "budeval"))
    finally:
        stack.kubectl(1, "delete", "job", name, "-n", "budeval", "--cascade=foreground")
    return seen


@pytest.fixture
def victim(results_on_the_claim: Path) -> Path:
    """Another evaluation's directory on the claim, with a word in each kind of file that is ever read."""
    directory = results_on_the_claim / str(uuid.uuid4())
    inner = directory / "lm-eval-r" / "start-1" / "m"
    inner.mkdir(parents=True)
    word = f"theirs-{uuid.uuid4().hex}"
    score = {"alias": word, "accuracy,none": 0.5}
    (inner / "results_2099-01-01.json").write_text(json.dumps({"results": {"own-sums": score}}))
    (inner / "samples_own-sums_2099-01-01.jsonl").write_text(json.dumps({"target": word}) + "\n")
    for log in (directory / "secret.log", directory / "lm-eval-r" / "engine.log"):
        log.write_text(word)
    return directory


def _link_to(victim: Path, run_directory: Path) -> None:
    """All that the extractor would read of a run, as links to another evaluation's."""
    plan = json.loads((run_directory / ".budeval" / "plan.json").read_text())
    theirs = Path("../..") / victim.name / "lm-eval-r"
    (run_directory / plan["output"]).symlink_to(theirs / "start-1")
    (run_directory / ".budeval" / "zz.log").symlink_to(Path("..") / theirs / "engine.log")
    (run_directory / ".budeval" / "provenance.json").unlink(missing_ok=True)
    (run_directory / ".budeval" / "provenance.json").symlink_to(victim / "secret.log")


def test_an_evaluation_has_its_own_files_only(
    stack: Stack,
    service: httpx.Client,
    subscriber: Subscriber,
    endpoint: HostileEndpoint,
    results_on_the_claim: Path,
    victim: Path,
) -> None:
    """Its pods see no other's, links in its tree are not followed, and with it only its own are deleted."""
    word = (victim / "secret.log").read_text()
    body = request(engine="lm-eval", endpoint=endpoint.url)
    (run,) = body["eval_datasets"]
    endpoint.open.clear()
    eval_id = evaluations.start(service, body)
    assert endpoint.asked.wait(240), "the pod did not ask its endpoint"

    seen = _as_its_pod(stack, eval_id, victim.name)
    _link_to(victim, results_on_the_claim / eval_id / f"lm-eval-{run['run_id']}")
    endpoint.status, endpoint.reply = 400, "no"
    endpoint.open.set()
    state = evaluations.wait_for_end(service, eval_id)

    assert seen["tree"] == ["data", "datasets", "results"]
    assert seen["results"] == [eval_id]
    ways = ("theirs", "upwards", "by link", "by data", "by the first process")
    assert {seen[way] for way in ways} == {"FileNotFoundError"}
    assert seen["token"] == "FileNotFoundError"
    assert seen["write own"] == "written"
    forbidden = ("write datasets", "write data", "write image")
    assert {seen[what] for what in forbidden} == {"OSError"}  # a read-only file system
    assert seen["write beside"] in {"OSError", "PermissionError"}
    assert seen["user"] == [_POD_USER, _POD_USER]

    (result,) = evaluations.results(service, eval_id)["results"]
    assert (state["outcome"], result["code"], result["scores"]) == ("FAILED", "ENDPOINT_REFUSED", [])
    evaluations.told(subscriber, eval_id)
    evaluations.ended_workflow(eval_id)
    parts = ("", "/results", "/events", f"/logs?run_id={run['run_id']}")
    everything = [
        *(service.get(f"/evals/{eval_id}{part}").text for part in parts),
        str(subscriber.events(f"eval-{eval_id}")),
    ]
    assert [text for text in everything if word in text] == []

    assert service.request("DELETE", f"/evals/{eval_id}", timeout=300).status_code == 200
    assert list((results_on_the_claim / eval_id).glob("*")) == []
    assert (victim / "lm-eval-r" / "start-1" / "m" / "results_2099-01-01.json").exists()
    assert (victim / "secret.log").read_text() == word
