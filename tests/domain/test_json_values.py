"""Objects of any shape, as far as every reader of JSON gives them back unchanged."""

import json
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from budeval.domain.json_values import DEEPEST, LARGEST_INTEGER, FreeObject

_FREE: TypeAdapter[dict[str, Any]] = TypeAdapter(FreeObject)


def _nested(depth: int, innermost: Any = 1) -> Any:
    value = innermost
    for level in range(depth):
        value = {"a": value} if level % 2 else [value]
    return value


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"a": [1, -1, 0.5, None, True, "text", {"b": []}]},
        {"a": LARGEST_INTEGER, "b": -LARGEST_INTEGER, "c": 1e300},
        {"a": _nested(DEEPEST - 1)},
    ],
    ids=["empty", "all-kinds", "largest", "deepest"],
)
def test_what_every_reader_gives_back_is_taken(document: dict[str, Any]) -> None:
    """As it is, also by those who read every number as a float."""
    assert _FREE.validate_python(document) == document
    assert json.loads(json.dumps(document), parse_int=float) == document


@pytest.mark.parametrize("depth", [DEEPEST, 260, 100_000])
def test_what_is_nested_too_deeply_is_refused(depth: int) -> None:
    """Whoever walks through it by recursion would fall."""
    with pytest.raises(ValidationError, match="more than 32 levels deep"):
        _FREE.validate_python({"a": _nested(depth)})


@pytest.mark.parametrize("number", [LARGEST_INTEGER + 1, -LARGEST_INTEGER - 1, 10**22, 10**400])
@pytest.mark.parametrize("depth", [0, 3])
def test_an_integer_that_would_come_back_as_another_is_refused(number: int, depth: int) -> None:
    """Wherever it is."""
    with pytest.raises(ValidationError, match="send it as text"):
        _FREE.validate_python({"a": _nested(depth, number)})


@pytest.mark.parametrize("number", [float("inf"), float("-inf"), float("nan")])
def test_a_number_that_is_none_in_json_is_refused(number: float) -> None:
    """Python's reader takes it, others do not."""
    with pytest.raises(ValidationError, match="not finite"):
        _FREE.validate_python({"a": [number]})
