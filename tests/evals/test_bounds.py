"""Nothing that callers may send is without a bound, as far as the document of the API goes."""

from collections.abc import Iterator
from typing import Any

import pytest

from budeval.main import create_app
from budeval.runtime.sealing import new_key

Json = dict[str, Any]

_BOUND_OTHERWISE = {
    "BatchRequest.jsonl": "BUDEVAL_MAX_BODY_BYTES and BUDEVAL_SCORING_MAX_SAMPLES",
    "ScoreRequest.metrics[]": "each is a metric that there is",
    "BatchRequest.metrics[]": "each is a metric that there is",
    "ScoreRequest.weights": "its names are among the metrics",
    "BatchRequest.weights": "its names are among the metrics",
    "ScoreRequest.weights{}": "finite, and read for their proportions only",
    "BatchRequest.weights{}": "finite, and read for their proportions only",
    "ScoreRequest.weights{name}": "among the metrics",
    "BatchRequest.weights{name}": "among the metrics",
}
_FREE = {"EvalConfig.config_value", "EvaluationRequest.data"}
"""Held to `budeval.domain.json_values`; kept nowhere."""
_SHORT_FORMATS = {"uuid"}
_BOTH_ENDS = ({"minimum", "exclusiveMinimum"}, {"maximum", "exclusiveMaximum"})
_BOUNDS: dict[str, tuple[set[str], ...]] = {
    "integer": _BOTH_ENDS,
    "number": _BOTH_ENDS,
    "string": ({"maxLength"},),
    "array": ({"maxItems"},),
    "object": ({"properties", "maxProperties"},),
    "boolean": (),
    "null": (),
}
"""By the kind of a value, of each set of keywords one that must be there."""


@pytest.fixture(scope="module")
def document() -> Json:
    """The API's, as it is served."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BUDEVAL_SEAL_KEYS", new_key())
        return create_app().openapi()


def _operations(document: Json) -> Iterator[tuple[str, Json]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield f"{method.upper()} {path}", operation


def _of_requests(document: Json) -> Iterator[tuple[str, Json]]:
    """Every node of the schemas of bodies, by the path to it from the nearest model."""
    schemas = document["components"]["schemas"]
    seen: set[str] = set()

    def walk(where: str, node: Json) -> Iterator[tuple[str, Json]]:
        if "$ref" not in node:
            yield where, node
            for mark, inner in _parts(node):
                yield from walk(where + mark, inner)
        elif (name := node["$ref"].rpartition("/")[2]) not in seen:
            seen.add(name)
            yield from walk(name, schemas[name])

    for _, operation in _operations(document):
        for media in operation.get("requestBody", {}).get("content", {}).values():
            yield from walk("", media["schema"])


def _parts(node: Json) -> Iterator[tuple[str, Json]]:
    """What a schema is made of, and how the path to it goes on."""
    for name, inner in node.get("properties", {}).items():
        yield f".{name}", inner
    for inner in node.get("patternProperties", {}).values():
        yield "{}", inner
    for kind in ("anyOf", "allOf", "oneOf"):
        for inner in node.get(kind, ()):
            yield "", inner
    if isinstance(node.get("additionalProperties"), dict):
        yield "{}", node["additionalProperties"]
    if "propertyNames" in node:
        yield "{name}", {"type": "string", **node["propertyNames"]}
    if "items" in node:
        yield "[]", node["items"]


def _is_bounded(node: Json) -> bool:
    if "enum" in node or "const" in node or node.get("format") in _SHORT_FORMATS:
        return True
    kind = node.get("type")
    if kind is None:
        return bool({"anyOf", "oneOf", "allOf"} & node.keys())
    return all(node.keys() & either for either in _BOUNDS[kind])


def test_every_part_of_a_body_is_bounded(document: Json) -> None:
    """Integers by a maximum that floats can tell, texts and lists by a length, objects by their fields."""
    nodes = list(_of_requests(document))
    unbounded = {where for where, node in nodes if not _is_bounded(node)}

    assert {"EvalDataset.limit", "NotificationMetadata.actor", "DatasetPart.data", "Decoding.seed"} <= {
        where for where, _ in nodes
    }
    assert sorted(unbounded - _FREE - _BOUND_OTHERWISE.keys()) == []
    assert unbounded >= _FREE


def test_every_integer_is_one_that_readers_of_json_give_back(document: Json) -> None:
    """Dapr reads numbers as floats: beyond 2^53 they come back as others, beyond 10^21 in another form."""
    integers = [node for _, node in _of_requests(document) if node.get("type") == "integer"]
    for _, operation in _operations(document):
        for parameter in operation.get("parameters", []):
            variants = parameter["schema"].get("anyOf", [parameter["schema"]])
            integers += [node for node in variants if node.get("type") == "integer"]

    assert len(integers) > 10
    assert all(node["maximum"] < 2**53 and node["minimum"] > -(2**53) for node in integers)


def test_only_what_is_known_to_be_free_is(document: Json) -> None:
    """Another field of any shape must be held to the same rules first."""
    free = {
        where
        for where, node in _of_requests(document)
        if node.get("additionalProperties") is True or not node.keys() - {"title", "description", "default"}
    }

    assert free == _FREE
