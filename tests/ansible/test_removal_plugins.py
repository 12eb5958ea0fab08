"""What is deleted from a cluster, on an API server in memory: only that, and with a proof of each."""

from typing import Any

import pytest

from budeval.ansible.runner import PlaybookRunner
from budeval.engines import manifests
from tests.ansible import plugins
from tests.ansible.fake_api import FakeApi
from tests.ansible.plugins import Act

Json = dict[str, Any]

_MARKED = manifests.selector(None)


def _by_kind(receipt: list[Json]) -> dict[str, Json]:
    return {entry["kind"]: entry for entry in receipt}


def _uid(api: FakeApi, kind: str, name: str) -> str:
    uid: str = api.objects[kind][name]["metadata"]["uid"]
    return uid


# Of an evaluation


def test_all_of_an_evaluation_is_removed_and_nothing_else(api: FakeApi, act: Act) -> None:
    """Jobs by a propagation that takes their pods along; another evaluation's objects stay."""
    act("deploy", plugins.runs("r-1", "r-2"))
    act("deploy", plugins.runs("r-3", eval_id="e-2"))

    done = act("remove", plugins.removal())

    others = [plugins.parts("r-3", "e-2")]
    assert plugins.made(api) == [["r-3"], others, others]
    parts = [plugins.parts("r-1"), plugins.parts("r-2")]
    names = {"ConfigMap": parts, "Job": ["r-1", "r-2"], "Secret": parts}
    assert sorted((item["kind"], item["name"], item["outcome"]) for item in done["receipt"]) == sorted(
        (kind, name, "deleted") for kind, several in names.items() for name in several
    )
    deletions = [body for body, (method, _) in zip(api.bodies, api.asked, strict=True) if method == "DELETE"]
    assert {body["propagationPolicy"] for body in deletions} == {"Background"}


def test_each_entry_has_its_uid_and_what_was_seen(api: FakeApi, act: Act) -> None:
    """A list without it; of a Secret, which cannot be listed, a second deletion that finds none."""
    act("deploy", plugins.runs("r-1"))
    uids = {
        "Job": _uid(api, "jobs", "r-1"),
        "ConfigMap": _uid(api, "configmaps", plugins.parts("r-1")),
        "Secret": _uid(api, "secrets", plugins.parts("r-1")),
    }

    done = act("remove", plugins.removal())

    entries = _by_kind(done["receipt"])
    assert {kind: entry["uid"] for kind, entry in entries.items()} == uids
    version = str(api._made)
    assert f"list of Jobs at resource version {version}" in entries["Job"]["proof"]
    assert f"list of ConfigMaps at resource version {version}" in entries["ConfigMap"]["proof"]
    assert "another deletion with 404" in entries["Secret"]["proof"]
    assert api.asked.count(("DELETE", f"secrets/{plugins.parts('r-1')}")) == 2


def test_what_is_in_the_objects_is_not_asked_for(api: FakeApi, act: Act) -> None:
    """All rows of a namespace's ConfigMaps would be more than is read of an answer."""
    act("deploy", plugins.runs("r-1"))
    name = plugins.parts("r-1")
    api.objects["configmaps"][name]["data"] = {"rows": "x" * (plugins.CLUSTER._LARGEST_ANSWER + 1)}

    assert {item["name"] for item in _list(act)["objects"]} == {"r-1", name}


def test_removing_again_finds_nothing(act: Act) -> None:
    """And tells by what that is known; the receipt of the first try is kept by the service."""
    act("deploy", plugins.runs("r-1"))
    act("remove", plugins.removal())

    again = act("remove", plugins.removal())

    assert again["receipt"] == []
    assert "404" in again["absence"]["Secret"]
    assert "list of Pods" in again["absence"]["Pod"]


def test_what_is_not_removed_is_told_and_stops_nothing(api: FakeApi, act: Act) -> None:
    """In the API server's words, without the document around them."""
    act("deploy", plugins.runs("r-1"))
    api.refuse = lambda method, what: (
        (403, "you may not" * 100)
        if (method, what) == ("DELETE", f"secrets/{plugins.parts('r-1')}")
        else None
    )

    entries = _by_kind(act("remove", plugins.removal())["receipt"])

    assert (entries["Job"]["outcome"], entries["ConfigMap"]["outcome"]) == ("deleted", "deleted")
    assert entries["Secret"]["outcome"] == "refused"
    assert entries["Secret"]["reason"].startswith("403 you may not")
    assert len(entries["Secret"]["reason"]) <= 300


@pytest.mark.parametrize("kind", ["jobs", "configmaps", "secrets"])
def test_what_is_still_there_is_not_told_to_be_gone(api: FakeApi, act: Act, kind: str) -> None:
    """The deletion was taken, but somebody's finalizer keeps the object."""
    act("deploy", plugins.runs("r-1"))
    name = "r-1" if kind == "jobs" else plugins.parts("r-1")
    uid = _uid(api, kind, name)
    api.stuck = {name}
    for other in {"configmaps", "secrets"} - {kind}:
        api.objects[other].clear()

    receipt = act("remove", plugins.removal())["receipt"]

    left = [entry for entry in receipt if entry["outcome"] != "deleted"]
    assert [(entry["uid"], entry["outcome"]) for entry in left] == [(uid, "ending")]
    assert "proof" not in left[0]


@pytest.mark.usefixtures("hasty")
def test_a_pod_that_does_not_end_is_told(api: FakeApi, act: Act) -> None:
    """It is waited for, but not for ever."""
    act("deploy", plugins.runs("r-1"))
    pod = plugins.pod(api, "r-1")

    receipt = act("remove", plugins.removal())["receipt"]

    assert [(entry["name"], entry["outcome"]) for entry in receipt if entry["kind"] == "Pod"] == [
        (pod, "ending")
    ]


def test_a_pod_that_goes_with_its_job_at_once_is_told(api: FakeApi, act: Act) -> None:
    """It had ended before: whoever looks only afterwards never hears of it."""
    act("deploy", plugins.runs("r-1"))
    pod = plugins.pod(api, "r-1", phase="Succeeded")
    uid = _uid(api, "pods", pod)

    def collected(method: str, what: str) -> None:
        if (method, what) == ("DELETE", "jobs/r-1"):
            del api.objects["pods"][pod]

    api.refuse = collected

    receipt = act("remove", plugins.removal())["receipt"]

    told = [entry for entry in receipt if entry["kind"] == "Pod"]
    assert [(entry["name"], entry["uid"], entry["outcome"]) for entry in told] == [(pod, uid, "deleted")]
    assert "list of Pods" in told[0]["proof"]


def test_what_comes_meanwhile_is_told(api: FakeApi, act: Act) -> None:
    """Somebody makes a Job while the others are deleted: nothing is said to be clean then."""
    act("deploy", plugins.runs("r-1"))
    labels = api.objects["jobs"]["r-1"]["metadata"]["labels"]

    def late(method: str, what: str) -> None:
        if (method, what) == ("DELETE", "jobs/r-1"):
            api.put("jobs", "late", metadata={"labels": labels})

    api.refuse = late

    receipt = act("remove", plugins.removal())["receipt"]

    assert [(entry["name"], entry["outcome"]) for entry in receipt if entry["outcome"] != "deleted"] == [
        ("late", "in_use")
    ]


def test_a_secret_of_others_is_not_removed(api: FakeApi, act: Act) -> None:
    """A deployment that could make no Secret has left somebody's under the Job's name."""
    act("deploy", plugins.runs("r-1"))
    theirs = api.put("secrets", "r-1", data={"theirs": "dear"})

    act("remove", plugins.removal())

    assert api.objects["secrets"].get("r-1") == theirs


# Of no evaluation


def _list(act: Act, *secrets: str) -> Json:
    return act("list", {"namespace": plugins.NAMESPACE, "selector": _MARKED, "secrets": list(secrets)})


def _orders(found: Json, *secrets: Json) -> Json:
    """Everything that was listed, to be removed."""
    names = ("kind", "name", "uid", "version", "owners")
    objects = [{name: item[name] for name in names} for item in found["objects"]]
    return {"namespace": plugins.NAMESPACE, "selector": _MARKED, "objects": [*objects, *secrets]}


def _secret_of(found: Json) -> Json:
    """As the service orders it: of the same Job as the rest."""
    (job,) = (item for item in found["objects"] if item["kind"] == "Job")
    (secret,) = found["secrets"]
    return {"kind": "Secret", **secret, "version": None, "owners": [job["uid"]]}


def _outcomes(done: Json) -> dict[str, str]:
    return {entry["kind"]: entry["outcome"] for entry in done["receipt"]}


def test_what_bears_the_mark_is_listed(api: FakeApi, act: Act) -> None:
    """With all by which its owner is known, and the time; nothing is deleted by looking for Secrets."""
    act("deploy", plugins.runs("r-1"))
    plugins.pod(api, "r-1")
    api.put("jobs", "theirs", metadata={"labels": {"app": "other"}})
    before = plugins.made(api)

    found = _list(act, plugins.parts("r-1"), "no-such-secret")

    assert [(item["kind"], item["name"]) for item in found["objects"]] == [
        ("Job", "r-1"),
        ("ConfigMap", plugins.parts("r-1")),
        ("Pod", "r-1-pod"),
    ]
    job, parts, pod = found["objects"]
    assert job["labels"][manifests.INSTALLATION_LABEL] == plugins.INSTALLATION
    assert job["version"] == api.objects["jobs"]["r-1"]["metadata"]["resourceVersion"]
    assert parts["owners"] == pod["owners"] == [job["uid"]]
    uid = _uid(api, "secrets", plugins.parts("r-1"))
    assert found["secrets"] == [{"name": plugins.parts("r-1"), "uid": uid}]
    assert found["date"].endswith("GMT")
    assert plugins.made(api) == before


def test_a_secret_that_may_not_be_asked_for_is_told(api: FakeApi, act: Act) -> None:
    """It is not taken for one that is not there."""
    api.refuse = lambda method, _what: (403, "you may not") if method == "DELETE" else None

    with pytest.raises(plugins.CLUSTER.ApiError, match="403"):
        _list(act, "a-secret")


def test_what_was_listed_is_removed_with_proof(api: FakeApi, act: Act) -> None:
    """Pods and Secrets, too, whoever has left them; what is not listed stays."""
    act("deploy", plugins.runs("r-1"))
    act("deploy", plugins.runs("r-2", eval_id="e-2"))
    found = _list(act, plugins.parts("r-1"))
    found["objects"] = [item for item in found["objects"] if item["labels"][manifests.EVAL_LABEL] == "e-1"]
    pod = plugins.pod(api, "r-1")
    orphan = {"kind": "Pod", "name": pod, "uid": _uid(api, "pods", pod), "version": "1", "owners": []}

    done = act("remove_objects", _orders(found, _secret_of(found), orphan))

    assert _outcomes(done) == dict.fromkeys(("Job", "ConfigMap", "Secret", "Pod"), "deleted")
    assert all(entry["proof"] and entry["uid"] for entry in done["receipt"])
    others = [plugins.parts("r-2", "e-2")]
    assert plugins.made(api) == [["r-2"], others, others]
    assert api.named("pods") == []


def test_a_job_that_an_evaluation_takes_over_stays_with_all_it_needs(api: FakeApi, act: Act) -> None:
    """The evaluation was unknown when the Job was listed; its request comes, and finds the Job."""
    act("deploy", plugins.runs("r-1"))
    plugins.pod(api, "r-1")
    found = _list(act, plugins.parts("r-1"))
    act("deploy", plugins.runs("r-1"))
    before = plugins.made(api)

    done = act("remove_objects", _orders(found, _secret_of(found)))

    assert _outcomes(done) == dict.fromkeys(("Job", "ConfigMap", "Secret", "Pod"), "refused")
    reasons = {entry["kind"]: entry["reason"] for entry in done["receipt"]}
    assert "resourceVersion in the precondition" in reasons["Job"]
    assert reasons["Secret"] == "Its Job stays."
    assert (plugins.made(api), api.named("pods")) == (before, ["r-1-pod"])


def test_what_an_evaluation_makes_anew_under_the_same_name_stays(api: FakeApi, act: Act) -> None:
    """The Job was listed and went; the evaluation makes its own, with another uid."""
    act("deploy", plugins.runs("r-1"))
    found = _list(act, plugins.parts("r-1"))
    orders = _orders(found, _secret_of(found))
    for kind in ("jobs", "configmaps", "secrets"):
        api.objects[kind].clear()
    act("deploy", plugins.runs("r-1"))
    before = plugins.made(api)

    done = act("remove_objects", orders)

    # What was listed is gone, and that is what the receipt says of those uids.
    assert _outcomes(done) == dict.fromkeys(("Job", "ConfigMap", "Secret"), "deleted")
    assert "what has the name now is another one" in done["receipt"][-1]["proof"]
    assert plugins.made(api) == before


def test_a_job_that_goes_while_it_is_taken_over_is_made_anew(api: FakeApi, act: Act) -> None:
    """The removal was faster than the deployment's second step."""
    act("deploy", plugins.runs("r-1"))
    first = _uid(api, "jobs", "r-1")

    def removed(method: str, what: str) -> None:
        if (method, what) == ("PATCH", "jobs/r-1") and _uid(api, "jobs", "r-1") == first:
            for kind in ("jobs", "configmaps", "secrets"):
                api.objects[kind].clear()

    api.refuse = removed

    done = act("deploy", plugins.runs("r-1"))

    assert done["runs"][0]["uid"] == _uid(api, "jobs", "r-1") != first
    assert api.objects["jobs"]["r-1"]["spec"]["suspend"] is False
    assert plugins.made(api) == [["r-1"], [plugins.parts("r-1")], [plugins.parts("r-1")]]


@pytest.mark.usefixtures("hasty")
def test_only_the_pods_that_go_are_waited_for(api: FakeApi, act: Act) -> None:
    """Those of evaluations that run bear the same mark."""
    act("deploy", plugins.runs("r-1"))
    mine, other = plugins.pod(api, "r-1", "mine"), plugins.pod(api, "r-1", "other")
    orphan: Json = {
        "kind": "Pod",
        "name": mine,
        "uid": _uid(api, "pods", mine),
        "version": None,
        "owners": [],
    }

    done = act("remove_objects", {**_orders({"objects": []}), "objects": [orphan]})

    assert _outcomes(done) == {"Pod": "deleted"}
    assert api.named("pods") == [other]
    assert api.asked.count(("GET", "pods")) == 2  # until it is gone, and the last look


def test_the_playbooks_find_and_remove(playbooks: PlaybookRunner, api: FakeApi, act: Act) -> None:
    """Through Ansible, from the list to the receipt."""
    act("deploy", plugins.runs("r-1"))
    order = {"namespace": plugins.NAMESPACE, "selector": _MARKED, "secrets": [plugins.parts("r-1")]}

    found = playbooks.run("list_marked_k8s.yml", order, api.kubeconfig())
    done = playbooks.run("remove_objects_k8s.yml", _orders(found, _secret_of(found)), api.kubeconfig())

    assert _outcomes(done) == dict.fromkeys(("Job", "ConfigMap", "Secret"), "deleted")
    assert plugins.made(api) == [[], [], []]
