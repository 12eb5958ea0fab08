"""The action plugins on an API server in memory: what is made, seen and removed, and in which order."""

import base64
import json
from typing import Any

import pytest
import yaml

from budeval.ansible.runner import PlaybookRunner
from budeval.domain.observation import JobFacts, observe
from budeval.engines import manifests
from budeval.errors import ClusterError
from tests.ansible import plugins
from tests.ansible.fake_api import FakeApi
from tests.ansible.plugins import Act
from tests.evals import samples

Json = dict[str, Any]


def _look(*eval_ids: str, settled: list[list[str]] | None = None) -> Json:
    selector = f"{manifests.MANAGED_BY}=budeval,{manifests.RUN_LABEL}"
    return {
        "namespace": plugins.NAMESPACE,
        "selector": selector,
        "evaluations": list(eval_ids),
        "settled": settled or [],
    }


def _all_of(run_id: str) -> list[tuple[str, str]]:
    return [("jobs", run_id), *((kind, plugins.parts(run_id)) for kind in ("configmaps", "secrets"))]


def _writes(api: FakeApi) -> list[tuple[str, str]]:
    return [asked for asked in api.asked if asked[0] != "GET"]


# Deploying


def test_a_job_is_released_when_all_it_needs_is_there(api: FakeApi, act: Act) -> None:
    """Suspended at first: a pod would not start without its files."""
    done = act("deploy", plugins.runs("r-1"))

    assert api.asked == [
        ("POST", "jobs/r-1"),
        ("POST", f"configmaps/{plugins.parts('r-1')}"),
        ("POST", f"secrets/{plugins.parts('r-1')}"),
        ("PATCH", "jobs/r-1"),
    ]
    assert api.bodies[0]["spec"]["suspend"] is True
    assert api.objects["jobs"]["r-1"]["spec"]["suspend"] is False
    uids = [api.objects[kind][name]["metadata"]["uid"] for kind, name in _all_of("r-1")]
    assert done["runs"] == [
        {
            "run_id": "r-1",
            "job": "r-1",
            "uid": uids[0],
            "parts": {"ConfigMap": uids[1], "Secret": uids[2]},
        }
    ]
    assert api.tokens == {"Bearer a-token"}


def test_files_and_secrets_belong_to_the_job(api: FakeApi, act: Act) -> None:
    """They go with it, and it names them; the key is in the Secret alone."""
    act("deploy", plugins.runs("r-1"))

    job = api.objects["jobs"]["r-1"]
    parts = [api.objects[kind][plugins.parts("r-1")] for kind in ("configmaps", "secrets")]
    owners = [part["metadata"]["ownerReferences"][0] for part in parts]
    assert {(owner["kind"], owner["name"], owner["uid"]) for owner in owners} == {
        ("Job", "r-1", job["metadata"]["uid"])
    }
    assert {json.dumps(part["metadata"]["labels"]) for part in parts} == {
        json.dumps(job["metadata"]["labels"])
    }
    pod = job["spec"]["template"]["spec"]
    items = [{"key": "run.json", "path": "run.json"}]
    volume = {"name": "files", "configMap": {"name": plugins.parts("r-1"), "items": items}}
    assert volume in pod["volumes"]
    references = [item["valueFrom"] for item in pod["containers"][0]["env"] if "valueFrom" in item]
    assert references == [{"secretKeyRef": {"name": plugins.parts("r-1"), "key": "OPENAI_API_KEY"}}]
    assert parts[1]["stringData"] == {"OPENAI_API_KEY": plugins.KEY}
    assert plugins.KEY not in json.dumps([job, parts[0]])


def test_a_repeated_deployment_makes_nothing_twice(api: FakeApi, act: Act) -> None:
    """It finds its own Job, which it does not release again; it only takes it over."""
    first = act("deploy", plugins.runs("r-1", "r-2"))
    api.asked.clear()
    api.bodies.clear()

    again = act("deploy", plugins.runs("r-1", "r-2"))

    nothing = {"ConfigMap": None, "Secret": None}
    assert again["runs"] == [{**run, "parts": nothing} for run in first["runs"]]
    parts = sorted([plugins.parts("r-1"), plugins.parts("r-2")])
    assert plugins.made(api) == [["r-1", "r-2"], parts, parts]
    patches = [body for body, (method, _) in zip(api.bodies, api.asked, strict=True) if method == "PATCH"]
    assert [list(patch) for patch in patches] == [["metadata"], ["metadata"]]


@pytest.mark.parametrize("writes", range(4))
def test_a_deployment_that_was_cut_is_completed(api: FakeApi, act: Act, writes: int) -> None:
    """After any of its writes: the next try makes the rest, and no second Job."""
    api.refuse = lambda method, _what: (
        (500, "etcd is away") if method != "GET" and len(_writes(api)) > writes else None
    )
    with pytest.raises(plugins.CLUSTER.ApiError, match="etcd is away"):
        act("deploy", plugins.runs("r-1"))
    api.refuse = lambda _method, _what: None

    act("deploy", plugins.runs("r-1"))

    assert plugins.made(api) == [["r-1"], [plugins.parts("r-1")], [plugins.parts("r-1")]]
    assert api.objects["jobs"]["r-1"]["spec"]["suspend"] is False


def test_a_name_that_another_job_has_is_left_to_it(api: FakeApi, act: Act) -> None:
    """Of another evaluation, or of anybody: the run takes its second name."""
    act("deploy", plugins.runs("r-1", eval_id="e-2"))
    theirs = json.dumps(api.objects, sort_keys=True)
    second = plugins.runs("r-1")["runs"][0]["names"][1]

    done = act("deploy", plugins.runs("r-1"))

    assert done["runs"][0]["job"] == second
    parts = sorted([plugins.parts("r-1", "e-2"), second])
    assert plugins.made(api) == [["r-1", second], parts, parts]
    for kind in ("jobs", "configmaps", "secrets"):
        del api.objects[kind][second]
    assert json.dumps(api.objects, sort_keys=True) == theirs


@pytest.mark.parametrize("change", ["label", "deletion"])
def test_a_job_that_only_looks_like_ones_own_is_not_taken(api: FakeApi, act: Act, change: str) -> None:
    """Another attempt's, or one that is on its way out."""
    act("deploy", plugins.runs("r-1"))
    metadata = api.objects["jobs"]["r-1"]["metadata"]
    if change == "label":
        metadata["labels"] = {**metadata["labels"], manifests.ATTEMPT_LABEL: "2"}
    else:
        metadata["deletionTimestamp"] = "2026-01-01T00:00:00Z"

    done = act("deploy", plugins.runs("r-1"))

    assert done["runs"][0]["job"] == plugins.runs("r-1")["runs"][0]["names"][1]


def test_a_run_without_a_free_name_is_refused_and_the_others_go_on(api: FakeApi, act: Act) -> None:
    """Both names are somebody else's."""
    for name in plugins.runs("r-1")["runs"][0]["names"]:
        api.put("jobs", name)

    done = act("deploy", plugins.runs("r-1", "r-2"))

    assert [sorted(run) for run in done["runs"]] == [["msg", "run_id"], ["job", "parts", "run_id", "uid"]]
    assert "are taken by other Jobs" in done["runs"][0]["msg"]


@pytest.mark.parametrize("status", [403, 413, 422])
@pytest.mark.parametrize("kind", ["jobs", "configmaps", "secrets"])
def test_a_refused_run_does_not_stop_the_others(api: FakeApi, act: Act, status: int, kind: str) -> None:
    """Whichever of its objects the API server does not want; nothing of it is released."""
    refused_name = "r-1" if kind == "jobs" else plugins.parts("r-1")
    api.refuse = lambda _method, what: (status, "not this one") if what == f"{kind}/{refused_name}" else None

    refused, other = act("deploy", plugins.runs("r-1", "r-2"))["runs"]

    assert (refused["run_id"], sorted(refused)) == ("r-1", ["msg", "run_id"])
    assert "not this one" in refused["msg"]
    assert other["job"] == "r-2"
    assert ("PATCH", "jobs/r-1") not in api.asked


@pytest.mark.parametrize("status", [401, 429, 500, 503])
def test_what_concerns_all_runs_ends_the_deployment(api: FakeApi, act: Act, status: int) -> None:
    """It is tried again as a whole; no run is told to have been refused."""
    api.refuse = lambda _method, _what: (status, "not now")

    with pytest.raises(plugins.CLUSTER.ApiError, match="not now"):
        act("deploy", plugins.runs("r-1", "r-2"))

    assert plugins.made(api) == [[], [], []]


@pytest.mark.parametrize("kind", ["configmaps", "secrets"])
def test_what_others_have_under_a_runs_name_is_not_touched(api: FakeApi, act: Act, kind: str) -> None:
    """Callers choose run ids: one that is the name of somebody's Secret must not destroy it."""
    theirs = api.put(kind, "r-1", data={"theirs": "dear"})

    act("deploy", plugins.runs("r-1"))

    assert api.objects[kind].get("r-1") == theirs


# Observing


def _deployed(api: FakeApi, act: Act, *run_ids: str, eval_id: str = "e-1", attempt: int = 1) -> list[str]:
    """Deploy runs; the names of their Jobs."""
    done = act("deploy", plugins.runs(*run_ids, eval_id=eval_id, attempt=attempt))
    for record in (api.asked, api.queries, api.bodies):
        record.clear()
    return [run["job"] for run in done["runs"]]


def _warning(api: FakeApi, name: str, reason: str, message: str, at: str, **about: Any) -> None:
    """An event about an object."""
    number = len(api.objects.get("events", {}))
    api.put(
        "events",
        f"event-{number}",
        type="Warning",
        reason=reason,
        message=message,
        lastTimestamp=at,
        involvedObject={"name": name, **about},
    )


def _facts(act: Act, *eval_ids: str, settled: list[list[str]] | None = None) -> dict[str, JobFacts]:
    """run_id -> facts, as the service reads them."""
    found = act("observe", _look(*(eval_ids or ("e-1",)), settled=settled))
    return {job["run_id"]: JobFacts.model_validate(job) for job in found["jobs"]}


def test_a_running_job_is_seen_with_its_pod_and_log(api: FakeApi, act: Act) -> None:
    """One listing of Jobs, one of pods, one log; no events."""
    (job,) = _deployed(api, act, "r-1")
    api.objects["jobs"][job]["status"] = {"startTime": "2026-01-01T00:00:00Z"}
    pod = plugins.pod(api, job)
    api.logs[pod] = 'BUDEVAL1-PROGRESS {"done": 5, "total": 10, "phase": "infer"}\n'

    facts = _facts(act)["r-1"]

    seen = observe("r-1", facts)
    assert (seen.state, seen.job, seen.pod) == ("running", job, pod)
    assert seen.progress is not None
    assert seen.progress.done == 5
    assert api.asked == [("GET", "jobs"), ("GET", "pods"), ("GET", f"pods/{pod}/log")]
    assert api.queries[-1]["tailLines"] == "100"


@pytest.mark.parametrize(
    ("condition", "state", "code"),
    [
        ({"type": "Complete"}, "succeeded", None),
        ({"type": "Failed", "reason": "BackoffLimitExceeded", "message": "no more"}, "failed", "OOM"),
        ({"type": "Failed", "reason": "DeadlineExceeded", "message": "too long"}, "failed", "DEADLINE"),
    ],
    ids=["complete", "failed", "late"],
)
def test_an_ended_job_is_seen_with_its_end(
    api: FakeApi, act: Act, condition: Json, state: str, code: str | None
) -> None:
    """When it ended, why, and more of its log than of one that runs."""
    (job,) = _deployed(api, act, "r-1")
    at = "2026-01-01T00:10:00Z"
    api.objects["jobs"][job]["status"] = {
        "startTime": "2026-01-01T00:00:00Z",
        "conditions": [
            {"type": "Suspended", "status": "False"},
            {**condition, "status": "True", "lastTransitionTime": at},
        ],
    }
    ended = {"exitCode": 137, "reason": "OOMKilled"}
    plugins.pod(api, job, phase="Failed", containerStatuses=[{"state": {"terminated": ended}}])

    seen = observe("r-1", _facts(act)["r-1"])

    assert (seen.state, seen.code) == (state, code)
    assert seen.started is not None
    assert seen.ended is not None
    assert (seen.ended - seen.started).total_seconds() == 600
    assert api.queries[-1]["tailLines"] == "1000"


def test_only_the_newest_attempt_counts(api: FakeApi, act: Act) -> None:
    """And of a Job only the newest pod."""
    _deployed(api, act, "r-1")
    (second,) = _deployed(api, act, "r-1", attempt=2)
    plugins.pod(api, second, "old")
    plugins.pod(api, second, "new")

    facts = _facts(act)["r-1"]

    assert (facts.name, facts.pod and facts.pod.name) == (second, "new")


def test_other_evaluations_are_not_looked_at(api: FakeApi, act: Act) -> None:
    """Nor is what belongs to no run, as an extraction's Job."""
    _deployed(api, act, "r-1")
    (other,) = _deployed(api, act, "r-2", eval_id="e-2")
    plugins.pod(api, other)
    api.put(
        "jobs",
        "extract",
        metadata={"labels": manifests.labels(samples.evaluation("e-1"), plugins.INSTALLATION)},
    )

    found = _facts(act)

    assert list(found) == ["r-1"]
    assert not [what for _, what in api.asked if what.endswith("/log")]


def test_lists_are_read_to_their_end(api: FakeApi, act: Act) -> None:
    """Page by page."""
    names = [f"r-{number}" for number in range(7)]
    jobs = _deployed(api, act, *names)
    for job in jobs:
        plugins.pod(api, job)
    api.page = 2

    found = _facts(act)

    assert sorted(found) == names
    assert all(facts.pod for facts in found.values())


def test_warnings_tell_why_no_pod_is_there(api: FakeApi, act: Act) -> None:
    """The newest last, five at most, none about others."""
    (job,) = _deployed(api, act, "r-1")
    uid = api.objects["jobs"][job]["metadata"]["uid"]
    for minute in (9, 1, 8, 2, 7, 3):
        at = f"2026-01-01T01:0{minute}:00Z"
        _warning(api, job, "FailedCreate", f"minute {minute}", at, uid=uid, kind="Job")
    _warning(api, "another", "FailedCreate", "not ours", "2026-01-01T02:00:00Z")

    facts = _facts(act)["r-1"]

    assert facts.events == [f"FailedCreate: minute {minute}" for minute in (2, 3, 7, 8, 9)]


def test_warnings_about_an_earlier_job_of_the_name_are_not_ours(api: FakeApi, act: Act) -> None:
    """Events live for an hour: a run that was refused once is not refused for ever under that name."""
    _warning(
        api,
        "r-1",
        "FailedCreate",
        "pods is forbidden: violates PodSecurity",
        "2026-01-01T00:00:00Z",
        uid="old",
    )
    _deployed(api, act, "r-1")

    seen = observe("r-1", _facts(act)["r-1"])

    assert (seen.state, seen.code) == ("pending", None)


def test_warnings_about_a_waiting_pod_are_its_jobs(api: FakeApi, act: Act) -> None:
    """As a volume that cannot be mounted."""
    (job,) = _deployed(api, act, "r-1")
    pod = plugins.pod(api, job, phase="Pending")
    uid = api.objects["pods"][pod]["metadata"]["uid"]
    _warning(api, pod, "FailedMount", "no such volume", "2026-01-01T01:00:00Z", uid=uid, kind="Pod")

    seen = observe("r-1", _facts(act)["r-1"])

    assert (seen.state, seen.code) == ("blocked", "VOLUME_MOUNT")
    assert not [what for _, what in api.asked if what.endswith("/log")]


def test_a_scheduler_that_finds_no_node_is_quoted(api: FakeApi, act: Act) -> None:
    """Its words are in a condition of the pod."""
    (job,) = _deployed(api, act, "r-1")
    said = {"type": "PodScheduled", "status": "False", "message": "0/1 nodes are available"}
    plugins.pod(api, job, phase="Pending", conditions=[said])

    seen = observe("r-1", _facts(act)["r-1"])

    assert (seen.state, seen.code) == ("blocked", "UNSCHEDULABLE")
    assert "0/1 nodes are available" in str(seen.message)


def test_a_container_that_waits_is_quoted(api: FakeApi, act: Act) -> None:
    """Its words are in its state."""
    (job,) = _deployed(api, act, "r-1")
    waiting = {"reason": "ImagePullBackOff", "message": "no such image"}
    plugins.pod(api, job, phase="Pending", containerStatuses=[{"state": {"waiting": waiting}}])

    seen = observe("r-1", _facts(act)["r-1"])

    assert (seen.state, seen.code) == ("blocked", "IMAGE_PULL")


def test_logs_of_settled_runs_are_not_read_again(api: FakeApi, act: Act) -> None:
    """They were read when the runs were first seen to have ended."""
    first, second = _deployed(api, act, "r-1", "r-2")
    plugins.pod(api, first)
    pod = plugins.pod(api, second)

    _facts(act, settled=[["e-1", "r-1"], ["e-2", "r-2"]])

    assert [what for _, what in api.asked if what.endswith("/log")] == [f"pods/{pod}/log"]


def test_a_log_that_cannot_be_read_does_not_hide_the_job(api: FakeApi, act: Act) -> None:
    """The pod may have gone between the listing and the reading."""
    (job,) = _deployed(api, act, "r-1")
    plugins.pod(api, job)
    api.refuse = lambda _method, what: (404, "gone") if what.endswith("/log") else None

    facts = _facts(act)["r-1"]

    assert (facts.log, observe("r-1", facts).state) == (None, "running")


def test_the_end_of_a_log_counts(api: FakeApi, act: Act) -> None:
    """64 KiB of it, in whole words: half a key at its beginning would not be recognised as one."""
    (job,) = _deployed(api, act, "r-1")
    api.logs[plugins.pod(api, job)] = f"sk-secret-key{'x' * 10} and " * 10_000 + "the end"

    log = str(_facts(act)["r-1"].log)

    assert 64 * 1024 - 30 < len(log) <= 64 * 1024
    assert log.startswith(("sk-secret-key", "and "))
    assert log.endswith("the end")


def test_a_log_that_the_server_has_cut_ends_with_a_whole_word(api: FakeApi, act: Act) -> None:
    """A megabyte in a hundred lines: the cut may go through a key."""
    (job,) = _deployed(api, act, "r-1")
    api.logs[plugins.pod(api, job)] = "sk-secret-key " * 100_000

    log = str(_facts(act)["r-1"].log)

    assert set(log.split()) == {"sk-secret-key"}


def test_a_log_of_one_word_is_kept(api: FakeApi, act: Act) -> None:
    """As far as it goes."""
    (job,) = _deployed(api, act, "r-1")
    api.logs[plugins.pod(api, job)] = "x" * 100_000

    assert len(str(_facts(act)["r-1"].log)) == 64 * 1024


# As playbooks, through Ansible


def test_the_playbooks_hand_over_what_the_plugins_find(playbooks: PlaybookRunner, api: FakeApi) -> None:
    """From the deployment to the receipt; a log is data, whatever stands in it."""
    log = "{{ lookup('ansible.builtin.env', 'HOME') }} {% raw %} é 漢 \x1b[1m\n"
    deployed = playbooks.run("deploy_eval_jobs_k8s.yml", plugins.runs("r-1"), api.kubeconfig())
    pod = plugins.pod(api, "r-1")
    api.logs[pod] = log

    observed = playbooks.run("check_job_status_k8s.yml", _look("e-1"), api.kubeconfig())
    del api.objects["pods"][pod]
    removed = playbooks.run("cleanup_k8s.yml", plugins.removal(), api.kubeconfig())

    assert [run["job"] for run in deployed["runs"]] == ["r-1"]
    assert [job["log"] for job in observed["jobs"]] == [log]
    assert [item["kind"] for item in removed["receipt"]] == ["Secret", "ConfigMap", "Job"]
    assert {item["outcome"] for item in removed["receipt"]} == {"deleted"}
    assert plugins.made(api) == [[], [], []]


@pytest.mark.parametrize("status", [400, 403, 422, 500])
def test_a_secret_that_is_refused_in_its_own_words_is_not_told(
    playbooks: PlaybookRunner, api: FakeApi, status: int
) -> None:
    """As of an admission webhook that quotes what it was shown; in the answer, or in the failure of all."""
    in_base64 = base64.b64encode(plugins.KEY.encode()).decode()
    quoted = f"{{'OPENAI_API_KEY': '{plugins.KEY}'}} is data {{OPENAI_API_KEY: {in_base64}}}"
    api.refuse = lambda _method, what: (status, f"refused: {quoted}") if what.startswith("secrets") else None

    try:
        answer = str(playbooks.run("deploy_eval_jobs_k8s.yml", plugins.runs("r-1"), api.kubeconfig()))
    except ClusterError as error:
        answer = str(error)

    assert "refused: {'OPENAI_API_KEY': '***'} is data {OPENAI_API_KEY: ***" in answer.replace("\\", "")
    assert (plugins.KEY in answer, in_base64[:-4] in answer) == (False, False)


@pytest.mark.parametrize(
    ("status", "code"), [(401, "AUTH_FAILED"), (403, "FORBIDDEN"), (500, "CLUSTER_UNREACHABLE")]
)
def test_a_refused_look_has_its_code(playbooks: PlaybookRunner, api: FakeApi, status: int, code: str) -> None:
    """The same as that of every other playbook."""
    api.refuse = lambda _method, _what: (status, "no")

    with pytest.raises(ClusterError) as raised:
        playbooks.run("check_job_status_k8s.yml", _look("e-1"), api.kubeconfig())

    assert raised.value.code == code
    assert "a-token" not in str(raised.value)


def test_an_empty_cluster_is_an_answer(playbooks: PlaybookRunner, api: FakeApi) -> None:
    """No Jobs, and nothing to remove."""
    assert playbooks.run("check_job_status_k8s.yml", _look("e-1"), api.kubeconfig()) == {"jobs": []}
    removed = playbooks.run("cleanup_k8s.yml", plugins.removal(), api.kubeconfig())
    assert removed["receipt"] == []
    assert set(removed["absence"]) == {"Job", "Pod", "ConfigMap", "Secret"}


def test_a_server_that_is_away_is_unreachable(playbooks: PlaybookRunner) -> None:
    """Worth another try."""
    with FakeApi().served() as gone:
        text = gone.kubeconfig()

    with pytest.raises(ClusterError) as raised:
        playbooks.run("check_job_status_k8s.yml", _look("e-1"), text)

    assert (raised.value.code, raised.value.retryable) == ("CLUSTER_UNREACHABLE", True)


def _extraction(**changes: Any) -> Json:
    return {
        "namespace": plugins.NAMESPACE,
        "eval_id": "e-1",
        "run_ids": ["r-1"],
        "temp_id": "extract-0123456789abcdef",
        "claim": "a-claim",
        "image": "an-image",
        "mount_path": "/shared",
        "files": {"__main__.py": ""},
        "items": [{"key": "__main__.py", "path": "__main__.py"}],
        "arguments": [],
        "labels": {},
        "pull_secrets": [],
        "wait_seconds": 1,
        **changes,
    }


@pytest.mark.parametrize(
    "changes",
    [{"namespace": "n" * 63}, {"claim": f"{'c' * 126}.{'d' * 126}"}, {"temp_id": "t" * 47}],
    ids=["namespace", "claim", "temp_id"],
)
def test_every_name_that_a_request_may_give_can_be_extracted_from(
    playbooks: PlaybookRunner, changes: Json
) -> None:
    """A label has 63 characters: what could be deployed must not fail at its last step."""
    with FakeApi().served() as gone:
        text = yaml.safe_load(gone.kubeconfig())
    context = {"name": "target", "context": {"cluster": "target", "user": "target"}}
    text |= {"contexts": [context], "current-context": "target"}

    with pytest.raises(ClusterError) as raised:
        playbooks.run("extract_results_k8s.yml", _extraction(**changes), yaml.safe_dump(text))

    assert raised.value.code == "CLUSTER_UNREACHABLE"  # so far it has come


@pytest.mark.parametrize(
    ("field", "name"),
    [
        *((field, "a-name\n") for field in ("namespace", "claim", "temp_id", "eval_id")),
        *(("namespace", name) for name in ("", "../up", "-a", "{{ x }}", "n" * 64)),
        *(("claim", name) for name in ("a..b", "c" * 254)),
        ("temp_id", "t" * 48),
    ],
)
def test_what_is_no_name_is_refused_before_anything_uses_it(
    playbooks: PlaybookRunner, api: FakeApi, field: str, name: str
) -> None:
    """Nothing is asked of the cluster."""
    with pytest.raises(ClusterError, match="must be given and be names"):
        playbooks.run("extract_results_k8s.yml", _extraction(**{field: name}), api.kubeconfig())

    assert api.asked == []


# Running a Job to its end


def _job(seconds: float = 5) -> Json:
    """A Job with two ConfigMaps."""
    maps = [{"metadata": {"name": f"j-{number}", "namespace": plugins.NAMESPACE}} for number in range(2)]
    job = {"metadata": {"name": "j", "namespace": plugins.NAMESPACE}, "spec": {}}
    return {"namespace": plugins.NAMESPACE, "job": job, "config_maps": maps, "wait_seconds": seconds}


def _pod_of_job(api: FakeApi, phase: str, name: str = "j-pod") -> None:
    metadata = {"namespace": plugins.NAMESPACE, "labels": {"job-name": "j"}}
    api.put("pods", name, metadata=metadata, status={"phase": phase})


def test_a_job_is_run_and_nothing_of_it_left(api: FakeApi, act: Act) -> None:
    """Its log is that of its pod. ConfigMaps belong to it, so they go with it."""
    _pod_of_job(api, "Succeeded")
    api.logs["j-pod"] = "said"
    done = act("run", _job())
    assert (done["log"], done["pods"]) == ("said", [{"phase": "Succeeded"}])
    assert api.asked == [
        ("POST", "jobs/j"),
        ("POST", "configmaps/j-0"),
        ("POST", "configmaps/j-1"),
        ("GET", "pods"),
        ("GET", "pods/j-pod/log"),
        ("DELETE", "jobs/j"),
    ]
    assert api.queries[-1] == {"propagationPolicy": "Background"}
    for name in ("j-0", "j-1"):
        (owner,) = api.objects["configmaps"][name]["metadata"]["ownerReferences"]
        assert (owner["kind"], owner["name"], owner["uid"]) == ("Job", "j", "uid-2")


def test_a_job_that_does_not_end_in_time_is_deleted(api: FakeApi, act: Act) -> None:
    """Its pod says why."""
    _pod_of_job(api, "Pending")
    done = act("run", _job(0.1))
    assert (done["log"], done["pods"]) == ("", [{"phase": "Pending"}])
    assert api.named("jobs") == []


@pytest.mark.parametrize("what", ["configmaps/j-1", "pods", "pods/j-pod/log"])
def test_whatever_is_refused_the_job_is_deleted(api: FakeApi, act: Act, what: str) -> None:
    """And the first refusal is told, also if the deletion is refused too."""
    _pod_of_job(api, "Failed")
    for refused in ({what}, {what, "jobs/j"}):

        def refuse(method: str, asked: str, them: set[str] = refused) -> tuple[int, str] | None:
            return (403, f"no {asked}") if asked in them and (method, asked) != ("POST", "jobs/j") else None

        api.refuse = refuse
        with pytest.raises(plugins.CLUSTER.ApiError, match=f"no {what}"):
            act("run", _job())
        assert (api.named("jobs") == []) == ("jobs/j" not in refused)
        assert api.asked[-1] == ("DELETE", "jobs/j")
        api.objects["jobs"].clear()
        api.objects["configmaps"].clear()


def test_the_playbook_publishes_the_log(playbooks: PlaybookRunner, api: FakeApi) -> None:
    """Braces in a log are no template."""
    _pod_of_job(api, "Succeeded")
    api.logs["j-pod"] = "{{ 1 + 1 }} {% raw %}"
    found = playbooks.run("run_at_datasets_k8s.yml", _job(), api.kubeconfig())
    assert found == {"pods": [{"phase": "Succeeded"}], "log": "{{ 1 + 1 }} {% raw %}"}
