"""Settings that could not work are refused at the start, and no message shows a key."""

import json
from typing import Any

import pytest
from pydantic import ValidationError

from budeval.scoring.settings import JudgeSettings, ScoringSettings

_KEY = "sk-canary-4711"


def _judge(**more: Any) -> JudgeSettings:
    return JudgeSettings.model_validate({"alias": "j", "base_url": "http://x/v1", "model": "m", **more})


@pytest.mark.parametrize("key", [f"{_KEY}\n", f" {_KEY}\r\n", _KEY])
def test_a_key_may_come_from_a_file(key: str) -> None:
    """With the end of its line."""
    judge = _judge(api_key=key)

    assert judge.api_key
    assert judge.api_key.get_secret_value() == _KEY


@pytest.mark.parametrize("key", [f"{_KEY}\nX: y", f"{_KEY} {_KEY}", f"{_KEY}é", f"{_KEY}\0", " ", ""])
def test_a_key_that_no_header_can_carry_is_refused(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """And not shown, though pydantic would."""
    judges = [{"alias": "j", "base_url": "http://x/v1", "model": "m", "api_key": key}]
    monkeypatch.setenv("BUDEVAL_SCORING_JUDGES", json.dumps(judges))

    with pytest.raises(ValidationError, match="visible ASCII") as refused:
        ScoringSettings()

    assert _KEY not in str(refused.value)
    assert "api_key" in str(refused.value)


@pytest.mark.parametrize(
    "url",
    ["http://[::1/v1", "http://x:99999/v1", "http://x:0/v1", "http://u:p@x/v1", "http:///v1", "ftp://x/v1"],
)
def test_an_address_that_leads_nowhere_is_refused(url: str) -> None:
    """At the start, not by the first job."""
    with pytest.raises(ValidationError, match="base_url"):
        _judge(base_url=url)


@pytest.mark.parametrize("url", ["http://x/v1/", "http://X/v1", "http://x:80/v1", "http://x/v1//"])
def test_spellings_of_one_address_are_one(url: str) -> None:
    """So that they share one limiter."""
    assert _judge(base_url=url).base_url == _judge().base_url
