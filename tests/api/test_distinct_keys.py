"""A body that says two things under one key is refused."""

import json
from typing import Annotated, Any

import pytest
from fastapi import Body, Depends, FastAPI

from budeval.api import http_errors
from budeval.api.distinct_keys import require_distinct_keys
from budeval.config import Settings
from budeval.main import create_app
from tests.asgi import Caller

_JSON = {"content-type": "application/json"}


@pytest.fixture
def caller() -> Caller:
    """Of an application that takes any JSON."""
    application = FastAPI(dependencies=[Depends(require_distinct_keys)])
    http_errors.install(application)

    @application.post("/")
    def take(body: Annotated[Any, Body()] = None) -> Any:
        return body

    return Caller(application)


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ('{"store_inputs": false, "a": 1, "store_inputs": true}', "store_inputs"),
        ('{"a": 1, "a": 1}', "a"),
        ('{"a": 1, "\\u0061": 2}', "a"),
        ('{"labels": {"team": "a", "team": "b"}}', "team"),
        ('[1, {"a": [{"b": 1, "b": 2}]}]', "b"),
        (f'{{"{"x" * 1000}": 1, "{"x" * 1000}": 2}}', "x" * 100),
        ('{"\\ud800": 1, "\\ud800": 2}', "?"),
        ('{"": 1, "": 2}', ""),
    ],
)
def test_a_key_that_is_there_twice_is_named(caller: Caller, text: str, key: str) -> None:
    """On any level, and however it is spelt; the last one would win without a word."""
    answer = caller.post("/", content=text, headers=_JSON)

    told = answer.json()
    assert (answer.status_code, told["code"], told["param"]) == (422, "REQUEST_INVALID", key)
    assert told["message"].startswith(f"{key}: this key is there twice")


@pytest.mark.parametrize(
    "document", [{}, {"a": {"a": [{"a": 1}, {"a": 2}]}, "A": 1}, [1, "a", "a"], "a", None, 1.5]
)
def test_a_key_may_be_in_several_objects(caller: Caller, document: Any) -> None:
    """What is not ambiguous is given on as it is."""
    answer = caller.post("/", content=json.dumps(document), headers=_JSON)

    assert (answer.status_code, answer.json()) == (200, document)


@pytest.mark.parametrize("text", ["{", "[" * 100_000, "NaN,", '{"a": 1} {"a": 1}', "\xff"])
def test_what_is_no_json_is_refused_by_whoever_reads_it(caller: Caller, text: str) -> None:
    """As ever."""
    answer = caller.post("/", content=text.encode("latin-1"), headers=_JSON)

    assert answer.status_code in {400, 422}
    assert "twice" not in answer.json()["message"]


def test_the_whole_api_refuses_it() -> None:
    """Before a field is looked at, wherever a body is taken and nobody's id is in the path."""
    application = create_app(Settings())
    paths = [
        path
        for path, methods in application.openapi()["paths"].items()
        if "requestBody" in methods.get("post", {}) and "{" not in path
    ]

    answers = [Caller(application).post(path, content='{"x": 1, "x": 2}', headers=_JSON) for path in paths]

    assert {"/evals/start", "/scores", "/scores:batch", "/scores:validate"} <= set(paths)
    for answer in answers:
        assert (answer.status_code, answer.json()["param"]) == (422, "x")
        assert answer.json()["message"].startswith("x: this key is there twice")
