"""What is refused at the door, with which status and code, and by which field it is named."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from budeval.scoring.metrics import METRICS
from budeval.scoring.schema import MAX_CONTEXTS, MAX_SAMPLE, MAX_TEXT
from tests.scoring.bodies import PLAIN, SAMPLE, body
from tests.scoring.desk import unasking_desk
from tests.scoring.service import Service, refused

_GONE: Any = object()
"""In a change: the field is left out."""
_JSON = {"Content-Type": "application/json"}
_INVALID = "REQUEST_INVALID"
_SURROGATE = "\ud800"


@pytest.fixture(scope="module")
def _api(tmp_path_factory: pytest.TempPathFactory) -> Service:
    return Service(unasking_desk(tmp_path_factory.mktemp("runs")))


@pytest.fixture
def service(_api: Service) -> Service:
    """One judge and one embedder, whom nobody asks here, and an empty state store."""
    _api.desk.dapr.state.clear()
    return _api


def _content(**changes: Any) -> str:
    return json.dumps({name: value for name, value in body(**changes).items() if value is not _GONE})


def _weights(**weights: float) -> dict[str, Any]:
    return {"metrics": PLAIN, "weights": weights}


_REFUSED = [
    pytest.param({"question": _GONE}, "question", id="question-missing"),
    pytest.param({"question": ""}, "question", id="question-empty"),
    pytest.param({"question": " \n\t"}, "question", id="question-blank"),
    pytest.param({"question": "\u200b\u00a0"}, "question", id="question-invisible"),
    pytest.param({"question": None}, "question", id="question-null"),
    pytest.param({"question": 1}, "question", id="question-number"),
    pytest.param({"question": ["q"]}, "question", id="question-list"),
    pytest.param({"answer": 1.5}, "answer", id="answer-number"),
    pytest.param({"answer": True}, "answer", id="answer-bool"),
    pytest.param({"ground_truth": {}}, "ground_truth", id="ground-truth-object"),
    pytest.param({"contexts": 5}, "contexts", id="contexts-number"),
    pytest.param({"contexts": {"0": "c"}}, "contexts", id="contexts-object"),
    pytest.param({"contexts": ["c", 1]}, "contexts.1", id="contexts-of-numbers"),
    pytest.param({"contexts": [["c"]]}, "contexts.0", id="contexts-nested"),
    pytest.param({"contexts": ["c"] * (MAX_CONTEXTS + 1)}, "contexts", id="contexts-too-many"),
    pytest.param({"contexts": "\n\n".join("c" * 65)}, "contexts", id="contexts-too-many-in-a-text"),
    pytest.param({"reference_contexts": "c"}, "reference_contexts", id="reference-contexts-text"),
    pytest.param({"reference_contexts": ["c"] * 65}, "reference_contexts", id="reference-contexts-too-many"),
    pytest.param({"context_ids": [7]}, "context_ids.0", id="id-number"),
    pytest.param({"context_ids": [""]}, "context_ids.0", id="id-empty"),
    pytest.param({"context_ids": ["i" * 257]}, "context_ids.0", id="id-long"),
    pytest.param({"reference_context_ids": ["i"] * 65}, "reference_context_ids", id="ids-too-many"),
    pytest.param({"question": "x" * (MAX_TEXT + 1)}, "question", id="question-long"),
    pytest.param({"answer": "ä" * (MAX_TEXT + 1)}, "answer", id="answer-long"),
    pytest.param({"contexts": ["c", "x" * (MAX_TEXT + 1)]}, "contexts.1", id="context-long"),
    pytest.param({"metrics": _GONE}, "metrics", id="metrics-missing"),
    pytest.param({"metrics": []}, "metrics", id="metrics-empty"),
    pytest.param({"metrics": "faithfulness"}, "metrics", id="metrics-text"),
    pytest.param({"metrics": [1]}, "metrics.0", id="metrics-of-numbers"),
    pytest.param({"metrics": ["exact_match", "exact_match"]}, "metrics", id="metric-twice"),
    pytest.param({"metrics": ["noise_sensitivity"]}, "metrics", id="metric-unknown"),
    pytest.param({"metrics": [*METRICS, "one_more"]}, "metrics", id="metrics-too-many"),
    pytest.param(_weights(faithfulness=1.0), "weights", id="weight-of-another"),
    pytest.param(_weights(exact_match=-0.1), "weights", id="weight-negative"),
    pytest.param(_weights(exact_match=float("nan")), "weights", id="weight-nan"),
    pytest.param(_weights(exact_match=float("inf")), "weights", id="weight-infinite"),
    pytest.param(_weights(exact_match=0.0, non_llm_string_similarity=0.0), "weights", id="weights-zero"),
    pytest.param({"weights": {"exact_match": "much"}}, "weights.exact_match", id="weight-text"),
    pytest.param({"weights": [1]}, "weights", id="weights-list"),
    pytest.param({"timeout_s": 0}, "timeout_s", id="timeout-zero"),
    pytest.param({"timeout_s": 86_401}, "timeout_s", id="timeout-long"),
    pytest.param({"timeout_s": float("nan")}, "timeout_s", id="timeout-nan"),
    pytest.param({"repeats": 0}, "repeats", id="repeats-zero"),
    pytest.param({"repeats": 11}, "repeats", id="repeats-many"),
    pytest.param({"repeats": 1.5}, "repeats", id="repeats-broken"),
    pytest.param({"engine": "theirs"}, "engine", id="engine"),
    pytest.param({"judge_model": ""}, "judge_model", id="judge-empty"),
    pytest.param({"base_url": "http://169.254.169.254/"}, "base_url", id="base-url"),
    pytest.param({"api_key": "sk-theirs"}, "api_key", id="api-key"),
    pytest.param({"refrence_contexts": []}, "refrence_contexts", id="field-unknown"),
    pytest.param({"labels": {"a b": "c"}}, "labels.a b.[key]", id="label-name"),
    pytest.param({"labels": {"team": ""}}, "labels.team", id="label-empty"),
    pytest.param({"labels": {"team": "a\x1b[2J"}}, "labels.team", id="label-control"),
    pytest.param({"labels": {str(at): "x" for at in range(21)}}, "labels", id="labels-too-many"),
]


@pytest.mark.parametrize("path", ["/scores", "/scores:validate"])
@pytest.mark.parametrize(("changes", "param"), _REFUSED)
def test_a_refusal_names_its_field(service: Service, changes: dict[str, Any], param: str, path: str) -> None:
    """422, whether it was to be scored or only checked; nothing is stored then."""
    answer = service.caller.post(path, content=_content(**changes), headers=_JSON)

    assert refused(answer) == (422, _INVALID, param)
    assert answer.json()["message"].startswith(f"{param}: ")
    assert service.desk.dapr.state == {}


_TEXTS: dict[str, Callable[[str], Any]] = {
    "question": str,
    "answer": str,
    "ground_truth": str,
    "contexts": lambda text: ["one", text],
    "reference_contexts": lambda text: ["one", text],
    "context_ids": lambda text: ["one", text],
    "reference_context_ids": lambda text: ["one", text],
}


@pytest.mark.parametrize("letter", ["\0", "\x07", "\x1b", "\x85", "\x7f", _SURROGATE])
@pytest.mark.parametrize("name", _TEXTS)
def test_controls_and_lone_surrogates_are_refused(service: Service, name: str, letter: str) -> None:
    """In every text: they do what nobody sees, in terminals and tables, or break encoders much later."""
    value = _TEXTS[name](f"a {letter} b")

    answer = service.caller.post("/scores", content=_content(**{name: value}), headers=_JSON)

    param = name if isinstance(value, str) else f"{name}.1"
    assert refused(answer) == (422, _INVALID, param)


def test_tabs_and_line_breaks_are_text(service: Service) -> None:
    """They are what contexts are made of."""
    assert service.score(answer="one\r\n\ttwo").status_code == 202


@pytest.mark.parametrize(
    "name",
    ["answer", "ground_truth", "contexts", "reference_contexts", "context_ids", "reference_context_ids"],
)
def test_what_is_null_is_not_there(service: Service, name: str) -> None:
    """The same request as without it, as tables are exported."""
    first = service.caller.post(
        "/scores",
        content=_content(**{name: None}, allow_empty=True),
        headers={**_JSON, "Idempotency-Key": "k"},
    )
    again = service.caller.post(
        "/scores",
        content=_content(**{name: _GONE}, allow_empty=True),
        headers={**_JSON, "Idempotency-Key": "k"},
    )

    assert (first.status_code, again.status_code) == (202, 202)
    assert first.json()["job_id"] == again.json()["job_id"]


def test_a_sample_has_a_size(service: Service) -> None:
    """413 where all texts together are too large, though each may be."""
    room = MAX_SAMPLE - sum(len(SAMPLE[name]) for name in ("question", "answer", "ground_truth"))
    full = ["x" * MAX_TEXT] * (room // MAX_TEXT) + ["x" * (room % MAX_TEXT)]

    fits = service.score(contexts=full)
    more = service.score(contexts=[*full, "x"])
    checked = service.caller.post("/scores:validate", json=body(contexts=[*full, "x"]))

    assert fits.status_code == 202
    for answer in (more, checked):
        assert refused(answer) == (413, "REQUEST_TOO_LARGE", None)
        assert str(MAX_SAMPLE) in answer.json()["message"]


def test_the_longest_text_is_taken(service: Service) -> None:
    """The limit is one of characters, not of bytes."""
    assert service.score(answer="ä" * MAX_TEXT, contexts=["c"] * MAX_CONTEXTS).status_code == 202


def test_a_mistyped_metric_is_told_the_nearest(service: Service) -> None:
    """Not where none is near."""
    near = service.score(metrics=["faithfullness"]).json()["message"]
    far = service.score(metrics=["x" * 1000]).json()["message"]

    assert "did you mean faithfulness?" in near
    assert "did you mean" not in far
    assert len(far) < 200


@pytest.mark.parametrize(
    ("changes", "expected", "said"),
    [
        ({"judge_model": "gpt-9"}, (422, "ENDPOINT_UNKNOWN", "judge_model"), "There are: j."),
        ({"embedding_model": "x"}, (422, "ENDPOINT_UNKNOWN", "embedding_model"), "There are: e."),
        ({"judge_model": "http://j/v1"}, (422, "ENDPOINT_UNKNOWN", "judge_model"), "There are: j."),
        ({"engine": "ragas"}, (422, "ENGINE_UNKNOWN", "engine"), "not installed"),
        (
            {"metrics": ["faithfulness"], "contexts": []},
            (422, "NOTHING_TO_SCORE", "metrics"),
            "faithfulness (missing_contexts)",
        ),
    ],
)
def test_what_is_not_there_is_named(
    service: Service, changes: dict[str, Any], expected: tuple[int, str, str], said: str
) -> None:
    """With what is there, or what is missing; nothing is stored then."""
    for path in ("/scores", "/scores:validate"):
        answer = service.caller.post(path, json=body(**changes))

        assert refused(answer) == expected
        assert said in answer.json()["message"]
    assert service.desk.dapr.state == {}


@pytest.mark.parametrize(
    ("metric", "without", "reason"),
    [("semantic_similarity", "embedders", "no_embedder"), ("context_recall", "judges", "no_judge")],
)
def test_a_metric_without_its_endpoint_is_refused(
    tmp_path: Path, metric: str, without: str, reason: str
) -> None:
    """Where it is the only one; beside others it is skipped with that reason."""
    lacking: dict[str, Any] = {without: ()}
    service = Service(unasking_desk(tmp_path, **lacking))

    alone = service.score(metrics=[metric])
    beside = service.caller.post("/scores:validate", json=body(metrics=[metric, "exact_match"])).json()

    assert refused(alone) == (422, "NOTHING_TO_SCORE", "metrics")
    assert f"{metric} ({reason})" in alone.json()["message"]
    assert (beside["effective"], beside["skipped"]) == (["exact_match"], {metric: reason})


@pytest.mark.parametrize(
    "content",
    ["", "[]", "{", "null", '"q"', '{"question": NaN}', "[" * 10_000, '{"repeats": 9e999}'],
    ids=range(8),
)
def test_a_body_that_is_no_request_is_refused(service: Service, content: str) -> None:
    """Whatever it is."""
    answer = service.caller.post("/scores", content=content, headers=_JSON)

    assert answer.status_code in {400, 422}
    assert refused(answer)[1] == _INVALID


_SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(exclude_categories=()), max_size=20)
)
_VALUES = st.recursive(
    _SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
_FIELDS = st.sampled_from(
    [
        *SAMPLE,
        "metrics",
        "weights",
        "repeats",
        "timeout_s",
        "labels",
        "engine",
        "context_ids",
        "reference_contexts",
        "judge_model",
        "advise",
        "store_inputs",
        "allow_empty",
        "jsonl",
        _SURROGATE,
    ]
)


@pytest.mark.parametrize("path", ["/scores", "/scores:validate", "/scores:batch"])
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes=st.dictionaries(_FIELDS, _VALUES, max_size=4))
def test_no_input_is_an_internal_error(service: Service, path: str, changes: dict[str, Any]) -> None:
    """Any JSON in any field is taken, or refused in the shape of every error."""
    document = body(**changes)
    if path == "/scores:batch":
        document = {name: value for name, value in document.items() if name not in SAMPLE}
    answer = service.caller.post(path, content=json.dumps(document), headers=_JSON)

    assert answer.status_code in {200, 202, 400, 413, 422}
    if answer.status_code >= 400:
        assert refused(answer)[1] in {_INVALID, "NOTHING_TO_SCORE", "ENDPOINT_UNKNOWN", "ENGINE_UNKNOWN"}


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(
        st.dictionaries(st.sampled_from([*SAMPLE, "id", "more"]), _VALUES, max_size=4).map(json.dumps)
        | st.text(max_size=30),
        max_size=4,
    )
)
def test_no_line_is_an_internal_error(service: Service, rows: list[str]) -> None:
    """What is no sample is told as invalid, beside a line that is one."""
    good = json.dumps({**SAMPLE, "id": "the good one"})

    answer = service.caller.post(
        "/scores:batch", json={"jsonl": "\n".join([good, *rows]), "metrics": ["exact_match"]}
    )

    assert answer.status_code == 202 or refused(answer) == (422, _INVALID, "jsonl")
