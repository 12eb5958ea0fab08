"""What the state store keeps of evaluations."""

import hashlib
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from budeval.domain.evaluation import EvaluationRecord, Outcome
from budeval.domain.orphans import Standing
from budeval.errors import RequestError, SidecarError
from budeval.evals.store import EvaluationStore, Look
from budeval.runtime.listing import INDEX_PAGE
from tests.evals import samples
from tests.runtime.fake_dapr import FakeDapr

_DAY = "2026-01-01"
_NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def _record(eval_id: str = "e-1", digest: str = "d") -> EvaluationRecord:
    evaluation = samples.evaluation(eval_id)
    return EvaluationRecord(evaluation=evaluation, digest=digest, created="2026-01-01T00:00:00+00:00")


@pytest.fixture
def dapr() -> FakeDapr:
    """An empty store."""
    return FakeDapr()


@pytest.fixture
def store(dapr: FakeDapr) -> EvaluationStore:
    """In that."""
    return EvaluationStore(dapr.client())


def test_a_record_is_created_once(store: EvaluationStore) -> None:
    """The second is told what the first has stored."""
    first = store.create(_record(digest="first"))

    assert store.create(_record(digest="second")) == first
    assert store.load("e-1") == first


def test_an_unknown_evaluation_is_not_found(store: EvaluationStore) -> None:
    """None for those who ask whether, a refusal for those who need it."""
    assert store.find("e-1") is None
    with pytest.raises(RequestError) as refused:
        store.load("e-1")
    assert (refused.value.status, refused.value.code, refused.value.param) == (
        404,
        "EVALUATION_UNKNOWN",
        "eval_id",
    )


def test_missing_records_are_passed_over(store: EvaluationStore) -> None:
    """The order is that of the ids."""
    for eval_id in ("a", "b"):
        store.create(_record(eval_id))

    found = store.load_all(["b", "cut", "a"])

    assert [record.evaluation.eval_id for record in found] == ["b", "a"]


def test_a_list_reads_lines_and_not_records(dapr: FakeDapr, store: EvaluationStore) -> None:
    """A record may carry a megabyte of results. Its line has what it says, and when it ended."""
    for eval_id in ("a", "b"):
        store.create(_record(eval_id))
    store.end("a", Outcome.PARTIAL)
    whole = store.load("a")
    for eval_id in ("a", "b"):
        del dapr.state[f"eval-{eval_id}"]

    found = store.briefs(["b", "cut", "a"])

    assert [brief.eval_id for brief in found] == ["b", "a"]
    assert found[1] == whole.brief
    assert (found[1].outcome, found[0].outcome) == (Outcome.PARTIAL, None)
    assert found[1].ended


def test_a_record_without_a_line_gives_one(dapr: FakeDapr, store: EvaluationStore) -> None:
    """The service died between the two."""
    record = store.create(_record())
    del dapr.state["brief-e-1"]

    assert store.briefs(["e-1"]) == [record.brief]


def test_a_lost_line_comes_back_with_a_repetition(dapr: FakeDapr, store: EvaluationStore) -> None:
    """It is the line of the record that is there, not of the one that came second."""
    first = store.create(_record(digest="first"))
    store.end("e-1", Outcome.COMPLETED)
    line = dapr.state.pop("brief-e-1")

    assert store.create(_record(digest="second")).digest == first.digest

    assert dapr.state["brief-e-1"] == line
    assert line["outcome"] == "COMPLETED"


def test_what_has_ended_stays_as_it_ended(store: EvaluationStore) -> None:
    """Two may want to end it: the workflow, and who cleans up after it."""
    store.create(_record())
    store.end("e-1", Outcome.COMPLETED)
    first = store.load("e-1")

    store.end("e-1", Outcome.FAILED)

    assert store.load("e-1") == first
    assert first.outcome is Outcome.COMPLETED


def test_workflow_data_is_merged_into_the_record(store: EvaluationStore) -> None:
    """What is not named stays; a repetition changes nothing."""
    before = store.create(_record())
    data = {"extraction_status": "completed", "extraction_results": [{"run_id": "r-1"}]}

    for _ in range(2):
        store.update_workflow_data_in_statestore("eval-e-1", data)
    store.update_workflow_data_in_statestore("eval-e-1", {"outcome": "COMPLETED"})

    expected = {**before.model_dump(mode="json"), **data, "outcome": "COMPLETED"}
    assert store.load("e-1") == EvaluationRecord.model_validate(expected)


def test_workflow_data_may_come_before_a_record(dapr: FakeDapr, store: EvaluationStore) -> None:
    """It begins one."""
    store.update_workflow_data_in_statestore("eval-e-1", {"a": 1})

    assert dapr.state == {"eval-e-1": {"a": 1}}


def test_rows_are_kept_by_their_digest(dapr: FakeDapr, store: EvaluationStore) -> None:
    """The same rows are there once in an evaluation, and come back as they were; others have their own."""
    rows = '{"question": "ä"}\r\n'

    digests = {store.save_rows("e-1", rows) for _ in range(2)}

    digest = hashlib.sha256(rows.encode()).hexdigest()
    assert digests == {digest}
    assert list(dapr.state) == [f"dataset-e-1-{digest}"]
    assert store.rows("e-1", digest) == rows
    assert store.rows("e-2", digest) is None
    assert store.rows("e-1", "other") is None


def _saw(run: dict[str, Any]) -> Look:
    return lambda _before: [run]


def test_a_look_knows_the_one_before(store: EvaluationStore) -> None:
    """None at first."""
    store.save_snapshot("e-1", _NOON, lambda before: [*before, {"look": 1}])

    snapshot = store.save_snapshot("e-1", _NOON, lambda before: [*before, {"look": 2}])

    assert snapshot["runs"] == [{"look": 1}, {"look": 2}]


def test_snapshots_count_up(store: EvaluationStore) -> None:
    """Each look that is kept is one tick more."""
    ticks = [
        store.save_snapshot("e-1", _NOON + timedelta(seconds=second), _saw({"at": second}))["tick"]
        for second in range(3)
    ]

    assert ticks == [1, 2, 3]
    newest = store.snapshot("e-1")
    assert newest is not None
    assert newest["runs"] == [{"at": 2}]


def test_an_older_snapshot_never_replaces_a_newer(dapr: FakeDapr, store: EvaluationStore) -> None:
    """Who comes late is told the newer one, and the tick stays."""
    newer = store.save_snapshot("e-1", _NOON, _saw({"state": "succeeded"}))

    answer = store.save_snapshot("e-1", _NOON - timedelta(seconds=1), _saw({"state": "running"}))

    assert answer == newer == dapr.state["observed-e-1"]


@given(
    st.lists(
        st.tuples(
            st.integers(min_value=0, max_value=30),
            st.sampled_from([0, 1, 500_000, 999_999]),
        ),
        min_size=1,
    )
)
@settings(max_examples=50, deadline=None)
def test_the_newest_snapshot_wins_in_any_order(moments: list[tuple[int, int]]) -> None:
    """Whoever writes when; ticks never go down."""
    store = EvaluationStore(FakeDapr().client())
    times = [_NOON + timedelta(seconds=second, microseconds=micro) for second, micro in moments]

    kept = [store.save_snapshot("e-1", at, _saw({"at": at.timestamp()})) for at in times]

    ticks = [snapshot["tick"] for snapshot in kept]
    assert ticks == sorted(ticks)
    newest = store.snapshot("e-1")
    assert newest is not None
    assert newest["runs"] == [{"at": max(times).timestamp()}]


def test_logs_are_kept_by_run(store: EvaluationStore) -> None:
    """The newest of each; an empty one is one."""
    store.save_log("e-1", "a", "old")
    store.save_log("e-1", "a", "new")
    store.save_log("e-1", "b", "")

    assert (store.log("e-1", "a"), store.log("e-1", "b"), store.log("e-1", "c")) == ("new", "", None)


def test_results_are_kept_by_run_with_an_index(dapr: FakeDapr, store: EvaluationStore) -> None:
    """Each under its own key, with size and digest of its canonical JSON; they come back in their order."""
    results: list[dict[str, Any]] = [
        {"run_id": "b", "scores": [1.5]},
        {"run_id": "a", "scores": [], "error": "ä"},
    ]

    index = store.save_results("e-1", results)

    assert store.results("e-1") == (results, index)
    assert list(index) == ["b", "a"]
    for result in results:
        text = json.dumps(result, sort_keys=True)
        assert index[result["run_id"]] == {
            "key": f"results-e-1-{result['run_id']}",
            "digest": hashlib.sha256(text.encode()).hexdigest(),
            "bytes": len(text.encode()),
        }
    assert set(dapr.state) == {"results-e-1", "results-e-1-a", "results-e-1-b"}


def test_there_are_no_results_before_they_are_whole(dapr: FakeDapr, store: EvaluationStore) -> None:
    """The index comes last: without it there are none."""
    dapr.state["results-e-1-a"] = {"run_id": "a"}

    assert store.results("e-1") is None


def test_results_of_which_some_are_missing_are_an_outage(dapr: FakeDapr, store: EvaluationStore) -> None:
    """Nobody takes that for an evaluation without results: a retry would write what is left over them."""
    store.save_results("e-1", [{"run_id": "a"}, {"run_id": "b"}])
    del dapr.state["results-e-1-a"]

    with pytest.raises(SidecarError, match="evaluation e-1"):
        store.results("e-1")


def test_how_it_stands_with_evaluations_is_read_from_their_records(
    dapr: FakeDapr, store: EvaluationStore
) -> None:
    """Not from their lines in lists, which may be older; only of what can be an evaluation's id."""
    for eval_id in ("runs", "ended", "deleted"):
        store.create(EvaluationRecord(evaluation=samples.evaluation(eval_id), digest="d", created=_DAY))
    for eval_id in ("ended", "deleted"):
        store.end(eval_id, Outcome.FAILED)
    store.bury(store.load("deleted"))
    store.retry("ended", 1, [], 0, "a-2")
    dapr.state["brief-ended"]["ended"] = _DAY
    dapr.state["eval-../up"] = {}

    assert store.standings(["runs", "ended", "deleted", "unknown", "../up"]) == {
        "runs": Standing(attempt=1),
        "ended": Standing(attempt=2),
        "deleted": Standing(ended=True, deleted=True),
    }


def test_the_list_goes_on_on_another_page(dapr: FakeDapr, store: EvaluationStore) -> None:
    """A page is full at 200; a repetition finds the page where the id is."""
    ids = [f"e-{number}" for number in range(2 * INDEX_PAGE + 1)]
    for eval_id in ids:
        store.add_to_index(eval_id, _DAY)

    for eval_id in (ids[0], ids[INDEX_PAGE], ids[-1]):
        store.add_to_index(eval_id, _DAY)

    pages = [dapr.state[f"index-{_DAY}-{number}"] for number in range(3)]
    assert [len(page) for page in pages] == [INDEX_PAGE, INDEX_PAGE, 1]
    assert [eval_id for page in pages for eval_id in page] == ids
    assert dapr.state["index-days"] == [_DAY]
    assert store.newest(None, 1000) == (ids[::-1], None)


def test_an_empty_list_has_no_next_page(store: EvaluationStore) -> None:
    """Nothing, and no cursor."""
    assert store.newest(None, 10) == ([], None)


def _indexed(sizes: dict[str, int]) -> tuple[EvaluationStore, list[str]]:
    """A list with so many entries each day, and its ids, newest first."""
    dapr, ids = FakeDapr(), []
    for day, size in sizes.items():
        of_day = [f"{day}/{number}" for number in range(size)]
        for page in range(0, size, INDEX_PAGE):
            dapr.state[f"index-{day}-{page // INDEX_PAGE}"] = of_day[page : page + INDEX_PAGE]
        ids += of_day
    dapr.state["index-days"] = sorted(sizes)
    return EvaluationStore(dapr.client()), ids[::-1]


def _walk(store: EvaluationStore, count: int) -> list[str]:
    ids, cursor = store.newest(None, count)
    while cursor:
        more, cursor = store.newest(cursor, count)
        assert more, "a cursor leads somewhere"
        ids += more
    return ids


@given(
    st.lists(st.integers(min_value=0, max_value=2 * INDEX_PAGE + 5), max_size=4),
    st.integers(min_value=1, max_value=3 * INDEX_PAGE),
)
@settings(max_examples=30, deadline=None)
def test_a_walk_meets_every_evaluation_once(sizes: list[int], count: int) -> None:
    """Newest first, over pages and days, whatever is asked for at once."""
    store, ids = _indexed({f"2026-01-0{day}": size for day, size in enumerate(sizes, 1)})

    assert _walk(store, max(count, 20)) == ids


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_a_walk_in_small_steps_meets_every_evaluation_once(count: int) -> None:
    """Also where a step ends with a page or a day."""
    store, ids = _indexed({"2026-01-01": 3, "2026-01-03": INDEX_PAGE + 1, "2026-02-01": 4})

    assert _walk(store, count) == ids


def test_what_comes_during_a_walk_is_not_in_it() -> None:
    """Nor does it shift what is left."""
    store, ids = _indexed({_DAY: 5})
    first, cursor = store.newest(None, 2)

    any_more: dict[str, Any] = {"new": "2026-01-02", "late": _DAY}
    for eval_id, day in any_more.items():
        store.add_to_index(eval_id, day)
    rest, _ = store.newest(cursor, 10)

    assert first + rest == ids


def test_what_cannot_be_read_does_not_keep_others_from_being_read(
    dapr: FakeDapr, store: EvaluationStore, caplog: pytest.LogCaptureFixture
) -> None:
    """A record or a line that an older version has let in; the log names its field, not its value."""
    for eval_id in ("a", "b", "c"):
        store.create(_record(eval_id))
    dapr.state["eval-a"]["evaluation"]["runs"][0]["limit"] = 1e22
    dapr.state["brief-b"]["runs"] = "sk-secret"

    records, briefs = store.load_all(["a", "b", "c"]), store.briefs(["a", "b", "c"])

    assert [record.evaluation.eval_id for record in records] == ["b", "c"]
    assert [brief.eval_id for brief in briefs] == ["a", "c"]
    assert "eval-a cannot be read" in caplog.text
    assert "evaluation.runs.0.limit" in caplog.text
    assert "brief-b cannot be read" in caplog.text
    assert "sk-secret" not in caplog.text
