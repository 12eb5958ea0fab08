"""Where scores come from."""

import json
from pathlib import Path

import pytest

from budeval.engines.in_pod import provenance
from tests.engines.pods import KEY, FakeEndpoint, Json, model_entry, run_spec


def _noted(root: Path) -> Json:
    document: Json = json.loads((root / "run/.budeval/provenance.json").read_text())
    return document


def test_versions_times_and_models_are_noted(tmp_path: Path, endpoint: FakeEndpoint) -> None:
    """Before the engine starts, and again after its end: an endpoint may have become another one."""
    spec = run_spec(tmp_path, model=model_entry(endpoint.url))
    endpoint.script = [(200, '{"data": [{"id": "b"}, {"id": "a"}]}'), (200, '{"data": [{"id": "a"}]}')]

    provenance.begin(spec, "pytest", KEY)
    before = _noted(tmp_path)
    provenance.end(spec, KEY)

    assert before["engine_version"] == pytest.__version__
    assert (before["endpoint_models"], before["started"][-1]) == (["a", "b"], "Z")
    assert _noted(tmp_path) == {**before, "endpoint_models_after": ["a"], "ended": _noted(tmp_path)["ended"]}
    assert [path for path, _, _ in endpoint.asked] == ["/v1/models", "/v1/models"]
    assert endpoint.asked[0][1] == f"Bearer {KEY}"


def test_an_endpoint_that_echoes_the_key_is_not_quoted(tmp_path: Path, endpoint: FakeEndpoint) -> None:
    """And has not changed because of it."""
    spec = run_spec(tmp_path, model=model_entry(endpoint.url))
    endpoint.script = [(200, json.dumps({"data": [{"id": f"for {KEY}"}]}))] * 2

    provenance.begin(spec, "pytest", KEY, "def exact(): ...")
    provenance.end(spec, KEY)

    assert _noted(tmp_path)["endpoint_models"] == _noted(tmp_path)["endpoint_models_after"] == ["for ***"]
    assert len(_noted(tmp_path)["evaluators_sha256"]) == 64


@pytest.mark.parametrize(
    "answer", [(404, "no"), (200, "{"), (200, "[]"), (200, '{"data": 3}'), (200, '{"data": [{}]}'), (302, "")]
)
def test_an_endpoint_need_not_tell_its_models(
    tmp_path: Path, endpoint: FakeEndpoint, answer: tuple[int, str]
) -> None:
    """A run does not fail of it."""
    endpoint.script = [answer]

    provenance.begin(run_spec(tmp_path, model=model_entry(endpoint.url)), "no-such-package", KEY)

    assert (_noted(tmp_path)["endpoint_models"], _noted(tmp_path)["engine_version"]) == (None, None)
