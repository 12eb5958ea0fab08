"""The commands that tell what is left: of an evaluation, and of none."""

import json
from typing import Any

import pytest

from tests.fake_service import EVAL_ID, FakeService, only_line, refusal, run_budeval

_FIND, _REMOVE = "GET /receipts/orphans", "POST /receipts/orphans:remove"
_PLACE = {"cluster": "local", "namespace": "budeval", "installation": "here"}

Json = dict[str, Any]


def _item(outcome: str, **more: Any) -> Json:
    """An entry of a receipt."""
    entry = {
        "kind": "Job",
        "name": "sums-1",
        "namespace": "budeval",
        "uid": "u",
        "host": None,
        "count": 1,
        "outcome": outcome,
        "at": "2026-01-02T03:04:05+00:00",
        "proof": "No list has it." if outcome == "deleted" else None,
        "reason": None if outcome == "deleted" else "It ends.",
    }
    return {**entry, **more}


def _orphan(name: str = "sums-1", **more: Any) -> Json:
    orphan = {
        "kind": "Job",
        "name": name,
        "namespace": "budeval",
        "uid": "u",
        "eval_id": EVAL_ID,
        "run_id": "r-1",
        "age_seconds": 7200,
        "why": "ended_evaluation",
        "reason": "The evaluation has ended.",
    }
    return {**orphan, **more}


def _found(*orphans: Json, **more: Any) -> Json:
    return {"object": "orphans", **_PLACE, "orphans": list(orphans), "others": [], **more}


def _removal(outcome: str) -> Json:
    clean = outcome == "deleted"
    return {"object": "orphan_removal", **_PLACE, "clean": clean, "objects": [_item(outcome)]}


@pytest.mark.parametrize(
    ("ended", "outcome", "exit_code"), [(True, "deleted", 0), (True, "ending", 1), (False, "ending", 0)]
)
def test_receipt(fake: FakeService, outcome: str, exit_code: int, *, ended: bool) -> None:
    """For people, and as JSON; 1 only if something of what has ended is left."""
    clean, item = outcome == "deleted", _item(outcome)
    receipt = {"object": "receipt", "eval_id": EVAL_ID, "ended": ended, "clean": clean, "objects": [item]}
    fake.put(f"GET /evals/{EVAL_ID}/receipt", receipt)

    shown, as_json = (run_budeval(fake, "receipt", EVAL_ID, *flags) for flags in ((), ("--json",)))

    assert (shown.exit_code, as_json.exit_code) == (exit_code, exit_code)
    for text in ("sums-1", outcome, "2026-01-02T03:04:05", item["proof"] or item["reason"]):
        assert text in shown.stdout
    assert ("not whole yet" in shown.stdout) is not ended
    assert ("Nothing of it is left." in shown.stdout) is clean
    assert json.loads(as_json.stdout) == receipt


def test_what_is_kept_and_what_is_counted(fake: FakeService) -> None:
    """What stays on purpose is no reason for alarm; directories of a long evaluation are one line."""
    tree = _item("kept", kind="ResultTree", name="results/e-1", reason="It stays.")
    directories = _item("deleted", kind="PrivateDirectory", name="earlier ones", count=150)
    receipt = {"eval_id": EVAL_ID, "ended": True, "clean": True, "objects": [tree, directories]}
    fake.put(f"GET /evals/{EVAL_ID}/receipt", receipt)

    shown = run_budeval(fake, "receipt", EVAL_ID)

    assert shown.exit_code == 0
    assert "earlier ones (150)" in shown.stdout
    assert "Nothing of it is left but what is kept." in shown.stdout


@pytest.mark.parametrize(("orphans", "exit_code"), [([], 0), ([_orphan()], 1)])
def test_orphans_are_listed(fake: FakeService, orphans: list[Json], exit_code: int) -> None:
    """For people, and as JSON; 1 if there are any, so that a scheduled look can alarm. Nothing is removed."""
    found = _found(*orphans, others=[{"installation": "unmarked", "objects": 3}])
    fake.put(_FIND, found)
    place = ("--cluster", "local", "--namespace", "budeval")

    shown, as_json = (
        run_budeval(fake, "receipts", "--orphans", *place, *flags) for flags in ((), ("--json",))
    )

    assert (shown.exit_code, as_json.exit_code) == (exit_code, exit_code)
    for orphan in orphans:
        for text in (orphan["name"], EVAL_ID, "r-1", "2 h", "The evaluation has ended."):
            assert text in shown.stdout
    assert f"{len(orphans)} in namespace budeval of cluster local" in shown.stderr
    assert "3 objects there are of unmarked, not of this service" in shown.stderr
    assert json.loads(as_json.stdout) == found
    assert dict(fake.requests[0].url.params) == {"cluster": "local", "namespace": "budeval"}
    assert fake.asked(_REMOVE) == 0


@pytest.mark.parametrize(("outcome", "exit_code"), [("deleted", 0), ("refused", 1)])
def test_orphans_are_removed_on_request(fake: FakeService, outcome: str, exit_code: int) -> None:
    """With a line of what became of each; 1 if something stays."""
    fake.put(_REMOVE, _removal(outcome))

    done = run_budeval(fake, "receipts", "--orphans", "--remove", "--yes", "--namespace", "other")

    assert (done.exit_code, fake.asked(_FIND)) == (exit_code, 0)
    assert fake.body == {"namespace": "other"}
    assert outcome in done.stdout
    assert ("All of it is gone." in done.stdout) is (outcome == "deleted")


@pytest.mark.parametrize(("answer", "removed"), [("y\n", 1), ("n\n", 0), ("", 0)])
def test_it_is_asked_before_anything_is_removed(fake: FakeService, answer: str, removed: int) -> None:
    """After what would be removed was shown, beside the output."""
    fake.put(_FIND, _found(_orphan("dear"))).put(_REMOVE, _removal("deleted"))

    done = run_budeval(fake, "receipts", "--orphans", "--remove", "--json", stdin=answer)

    assert fake.asked(_REMOVE) == removed
    assert "dear" in done.stderr
    assert "Remove these 1 for good?" in done.stderr
    assert done.exit_code == (0 if removed else 1)
    # The first line is what was typed, as the test's terminal echoes it.
    assert not removed or json.loads(done.stdout.partition("\n")[2]) == _removal("deleted")


def test_who_removes_what_another_service_has_made_is_warned(fake: FakeService) -> None:
    """It may be in use; only its owner knows."""
    fake.put(_FIND, _found(_orphan(), installation="there")).put(_REMOVE, _removal("deleted"))

    done = run_budeval(fake, "receipts", "--orphans", "--remove", "--installation", "there", stdin="y\n")

    assert "If service there is still used, this breaks its evaluations." in done.stderr
    assert fake.body == {"installation": "there"}


def test_without_orphans_it_says_what_to_give(fake: FakeService) -> None:
    """Never a removal by a flag that was forgotten."""
    done = run_budeval(fake, "receipts", "--remove", "--yes")

    assert done.exit_code == 2
    assert "--orphans" in only_line(done)
    assert fake.requests == []


def test_who_may_not_is_told(fake: FakeService) -> None:
    """One line with the code."""
    fake.put(_FIND, refusal(403, "SCOPE_MISSING", "The token 't' does not have the scope 'admin'."))

    done = run_budeval(fake, "receipts", "--orphans")

    assert done.exit_code == 2
    assert "SCOPE_MISSING" in done.stderr


@pytest.mark.parametrize(("seconds", "age"), [(59, "59 s"), (60, "1 min"), (3600, "1 h"), (200_000, "2 d")])
def test_ages_are_told_in_one_unit(fake: FakeService, seconds: int, age: str) -> None:
    """The largest that is whole."""
    fake.put(_FIND, _found(_orphan(age_seconds=seconds)))

    assert f" {age} " in run_budeval(fake, "receipts", "--orphans").stdout
