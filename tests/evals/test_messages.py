"""Evaluation requests by pub/sub, as Dapr delivers them."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI

from budeval.api import http_errors
from budeval.config import Settings, StorageConfig
from budeval.domain.evaluation import EvaluationRecord, Outcome
from budeval.engines.opencompass.jobs import OpenCompass
from budeval.evals.arrivals import Arrivals
from budeval.evals.clusters import Clusters
from budeval.evals.intake import Intake
from budeval.evals.messages import ROUTE, message_routes
from budeval.evals.store import EvaluationStore
from budeval.runtime.sealing import Sealer
from budeval.runtime.vault import Vault
from tests.asgi import Caller
from tests.evals import samples
from tests.runtime.fake_dapr import FakeDapr

_ID = "223e4567-e89b-12d3-a456-426614174020"
_KEY = "sk-very-secret"

Json = dict[str, Any]


@dataclass
class Inbox:
    """The subscription with all that is behind it."""

    clusters_dir: Path
    seal_key: str
    dapr: FakeDapr = field(default_factory=FakeDapr)
    started: list[EvaluationRecord] = field(default_factory=list)
    most: int = 100

    def caller(self) -> Caller:
        """The sidecar's side."""
        settings = Settings(
            default_cluster="first",
            clusters_dir=self.clusters_dir,
            pubsub="broker",
            request_topic="requests",
            dead_letter_topic="dead",
            notification_topic="notifications",
            allowed_topics=frozenset({"news"}),
            max_active_evaluations=self.most,
        )
        sidecar = self.dapr.client()
        store = EvaluationStore(sidecar)
        intake = Intake(
            settings,
            store,
            Arrivals(sidecar, store, Vault(sidecar, Sealer(self.seal_key))),
            Clusters(settings.clusters_dir, lambda _eval_id: None, Path("/nowhere")),
            {"opencompass": OpenCompass("an-image", StorageConfig())},
            {"mine": {"mine": _KEY}}.__getitem__,
            self.started.append,
        )
        application = FastAPI()
        application.include_router(message_routes(settings, intake, sidecar))
        http_errors.install(application)
        return Caller(application)

    def deliver(self, data: Any) -> tuple[int, Any]:
        """A CloudEvent."""
        event = {"id": "1", "source": "them", "type": "t", "specversion": "1.0", "data": data}
        answer = self.caller().post(ROUTE, json=event)
        return answer.status_code, answer.json()

    def told(self) -> list[tuple[str, str, Json]]:
        """(topic, event id, payload) of what was published."""
        return [
            (
                message.url.path.rpartition("/")[2],
                message.url.params["metadata.cloudevent.id"],
                json.loads(message.content)["payload"],
            )
            for message in self.dapr.messages
        ]


@pytest.fixture
def inbox(tmp_path: Path, seal_keys: str) -> Inbox:
    """One cluster is configured: `first`, the default."""
    (tmp_path / "first.yaml").write_text("never read here")
    return Inbox(tmp_path, seal_keys)


def _body(**changes: Any) -> Json:
    return {
        "eval_id": _ID,
        "experiment_id": "123e4567-e89b-12d3-a456-426614174000",
        "eval_model_info": {"model_name": "m", "endpoint": "http://m/v1", "secret_ref": {"name": "mine"}},
        "eval_datasets": [{"dataset_id": "sums", "run_id": "r-1", "source": {"inline": samples.ROWS}}],
        **changes,
    }


_DONE = (200, {"status": "SUCCESS"})
_AGAIN = (200, {"status": "RETRY"})


def test_the_sidecar_is_told_what_to_deliver(inbox: Inbox) -> None:
    """Requests, and where those go that cannot be taken in."""
    assert inbox.caller().get("/dapr/subscribe").json() == [
        {"pubsubname": "broker", "topic": "requests", "route": ROUTE, "deadLetterTopic": "dead"}
    ]


def test_a_message_starts_an_evaluation(inbox: Inbox) -> None:
    """Delivered twice it is the same; nothing is answered but by the evaluation itself."""
    assert [inbox.deliver(_body()) for _ in range(2)] == [_DONE, _DONE]

    assert {record.evaluation.eval_id for record in inbox.started} == {_ID}
    assert len({record.digest for record in inbox.started}) == 1
    assert inbox.told() == []


def test_a_nested_message_is_the_same(inbox: Inbox) -> None:
    """Callers of the original service put the request into `data` of a second CloudEvent."""
    outer = {"topic": "requests", "pubsubname": "broker", "traceid": "1", "time": "now"}

    assert inbox.deliver({**outer, "data": _body()}) == _DONE
    assert inbox.deliver({**outer, "traceid": "2", "time": "later", "data": _body()}) == _DONE

    assert {record.evaluation.eval_id for record in inbox.started} == {_ID}


@pytest.mark.parametrize(
    "secret",
    [
        {"eval_model_info": {"model_name": "m", "endpoint": "http://m/v1", "api_key": _KEY}},
        {"kubeconfig": _KEY},
    ],
    ids=["api-key", "kubeconfig"],
)
@pytest.mark.parametrize("nesting", ["flat", "nested"])
def test_a_message_with_a_secret_is_refused(
    inbox: Inbox, secret: Json, nesting: str, caplog: pytest.LogCaptureFixture
) -> None:
    """By an event with number 0, which quotes nothing; so does the log. It is not delivered again."""
    body = _body(**secret)
    if nesting == "nested":
        body = {"topic": "requests", "pubsubname": "broker", "eval_id": _ID, "data": body}

    assert inbox.deliver(body) == _DONE

    ((topic, event_id, payload),) = inbox.told()
    assert (topic, event_id) == ("notifications", f"eval-{_ID}/0")
    assert payload["event"] == "evaluate_model_status"
    assert payload["content"]["status"] == "FAILED"
    assert payload["content"]["result"] == {
        "evaluation_id": _ID,
        "code": "SECRET_IN_MESSAGE",
        "param": "eval_model_info.api_key",
    }
    assert _KEY not in inbox.dapr.messages[0].content.decode() + caplog.text
    assert (inbox.dapr.state, inbox.started) == ({}, [])


@pytest.mark.parametrize(
    ("data", "code", "param"),
    [
        pytest.param(_body(eval_datasets=[]), "REQUEST_INVALID", "eval_datasets", id="no-dataset"),
        pytest.param(_body(eval_datset=[]), "REQUEST_INVALID", "eval_datset", id="misspelt"),
        pytest.param(_body(eval_model_info="m"), "REQUEST_INVALID", "eval_model_info", id="no-object"),
        pytest.param(_body(cluster="third"), "CLUSTER_UNKNOWN", "cluster", id="unknown-cluster"),
    ],
)
def test_a_message_that_cannot_be_is_refused_with_its_field(
    inbox: Inbox, data: Json, code: str, param: str
) -> None:
    """Once: another delivery would not make it better."""
    assert inbox.deliver(data) == _DONE

    ((_, _, payload),) = inbox.told()
    assert payload["content"]["result"] == {"evaluation_id": _ID, "code": code, "param": param}
    assert payload["content"]["message"].startswith(f"{code}: ")
    assert inbox.started == []


@pytest.mark.parametrize("data", [None, 7, "text", [], [_body()], {}, {"eval_id": 7}], ids=repr)
def test_a_message_that_is_no_request_is_refused(inbox: Inbox, data: Any) -> None:
    """Whose it was, nobody can tell."""
    assert inbox.deliver(data) == _DONE

    ((topic, event_id, payload),) = inbox.told()
    assert (topic, event_id) == ("notifications", "eval-unknown/0")
    assert payload["content"]["result"]["code"] == "REQUEST_INVALID"


@pytest.mark.parametrize("path", ["/v1.0/state", "/v1.0"])
def test_without_the_state_store_the_message_comes_again(inbox: Inbox, path: str) -> None:
    """It is not its fault."""
    inbox.dapr.refused[path] = 500

    assert inbox.deliver(_body()) == _AGAIN
    assert inbox.started == []


def test_without_a_sidecar_the_message_comes_again(inbox: Inbox) -> None:
    """As without the store."""
    inbox.dapr.unreachable = True

    assert inbox.deliver(_body()) == _AGAIN


def test_what_breaks_us_goes_to_the_dead_letters(inbox: Inbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """A mistake of ours is none of those behind it, which wait while one is delivered again."""
    monkeypatch.setattr(Intake, "accept", lambda *_: 1 // 0)

    assert inbox.deliver(_body()) == (200, {"status": "DROP"})


def test_a_refusal_that_cannot_be_told_comes_again(inbox: Inbox) -> None:
    """Whatever is no success, the sidecar delivers again: no refusal is lost."""
    inbox.dapr.refused["/v1.0/publish"] = 500

    status, _ = inbox.deliver(_body(cluster="third"))

    assert status == 503


@pytest.mark.parametrize(
    ("named", "topic"),
    [
        ("news", "news"),
        ("notifications", "notifications"),
        ("other", "notifications"),
        ("../state/store", "notifications"),
        (7, "notifications"),
        (None, "notifications"),
    ],
)
def test_a_refusal_goes_to_allowed_topics_only(inbox: Inbox, named: Any, topic: str) -> None:
    """To the one that the message names, or else to the default."""
    inbox.deliver(_body(source_topic=named, engine="none"))

    assert [told[0] for told in inbox.told()] == [topic]


@pytest.mark.parametrize(
    ("metadata", "workflow_id"),
    [
        ({"workflow_id": "theirs", "name": "bud"}, "theirs"),
        ({"workflow_id": "theirs", "unknown": 1}, f"eval-{_ID}"),
        ({"topics": ["other"], "workflow_id": "theirs"}, "theirs"),
        ("text", f"eval-{_ID}"),
        (None, f"eval-{_ID}"),
    ],
    ids=["whole", "unknown-field", "topics", "text", "none"],
)
def test_a_refusal_echoes_the_callers_fields(inbox: Inbox, metadata: Any, workflow_id: str) -> None:
    """As far as they can be; they never change where it goes."""
    inbox.deliver(_body(notification_metadata=metadata, engine="none"))

    ((topic, _, payload),) = inbox.told()
    assert (topic, payload["workflow_id"]) == ("notifications", workflow_id)


def test_a_request_for_which_there_is_no_room_is_delivered_again(inbox: Inbox) -> None:
    """Nobody is told that it was refused: it was not."""
    assert inbox.deliver(_body()) == _DONE
    inbox.most = 1

    assert inbox.deliver(_body(eval_id="323e4567-e89b-12d3-a456-426614174020")) == _AGAIN
    assert inbox.deliver(_body()) == _DONE
    assert inbox.dapr.messages == []


@pytest.mark.parametrize(
    "changes",
    [
        {"engine": "lm-eval-2"},
        {"eval_datasets": []},
        {"labels": {"another": "request"}},
        {"kubeconfig": _KEY},
        {"topic": "t", "pubsubname": "p", "data": {"engine": "none"}},
    ],
    ids=["unknown-engine", "invalid", "conflict", "secret", "nested"],
)
@pytest.mark.parametrize("fate", ["runs", "deleted"])
def test_a_refusal_says_nothing_in_the_name_of_an_evaluation_that_is_there(
    inbox: Inbox, changes: Json, fate: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever sends its id would have all believe that it has failed."""
    inbox.deliver(_body())
    if fate == "deleted":
        store = EvaluationStore(inbox.dapr.client())
        store.end(_ID, Outcome.COMPLETED)
        store.bury(store.load(_ID))
    inbox.started.clear()

    assert inbox.deliver(_body(**changes)) == _DONE

    assert inbox.told() == []
    assert f"refused a request eval_id={_ID}" in caplog.text
    assert inbox.started == []


def test_whether_an_evaluation_is_there_must_be_known_before_a_refusal_is_told(inbox: Inbox) -> None:
    """Without the state store the message comes again."""
    inbox.deliver(_body())
    inbox.dapr.refused["/v1.0/state"] = 500

    status, _ = inbox.deliver(_body(engine="none"))

    assert (status, inbox.told()) == (503, [])


@pytest.mark.parametrize(
    "body",
    [
        b"{ this is no JSON",
        b"[]",
        b"",
        b'{"data": "\xff"}',
        b'{"data": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"data": ' + b"9" * 5000 + b"}",
    ],
    ids=["no-json", "no-object", "nothing", "no-text", "deep", "long-number"],
)
def test_what_nobody_can_read_is_not_delivered_again(inbox: Inbox, body: bytes) -> None:
    """It would be unreadable each time."""
    answer = inbox.caller().post(ROUTE, content=body, headers={"content-type": "application/json"})

    assert (answer.status_code, answer.json()) == _DONE
    assert [event_id for _, event_id, _ in inbox.told()] == ["eval-unknown/0"]


def _nested(depth: int) -> Json:
    value: Json = {}
    for _ in range(depth):
        value = {"a": value}
    return value


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        (
            {"eval_configs": [{"config_name": "a", "config_value": _nested(300)}]},
            "eval_configs.0.config_value",
        ),
        ({"data": {"a": 10**400}}, "data"),
        ({"decoding": {"seed": 10**400}}, "decoding.seed"),
        ({"x" * 10**6: 1}, "x" * 100),
    ],
    ids=["deep", "integer", "seed", "name"],
)
def test_what_would_break_its_readers_is_refused_once(inbox: Inbox, changes: Json, param: str) -> None:
    """And told in few words."""
    assert inbox.deliver(_body(**changes)) == _DONE

    ((_, _, payload),) = inbox.told()
    assert payload["content"]["result"]["param"] == param
    assert len(inbox.dapr.messages[0].content) < 2000


@pytest.mark.parametrize(
    "fields",
    [{"actor": "x" * 10**6}, {"topic_keys": ["x"] * 10**5}, {"subscriber_ids": "x" * 10**6}],
    ids=["actor", "topics", "subscribers"],
)
def test_a_refusal_echoes_nothing_at_length(inbox: Inbox, fields: Json) -> None:
    """What a request may not say is not said in its refusal; and it goes to each topic once."""
    metadata = {"workflow_id": "theirs", **fields}
    inbox.deliver(_body(notification_metadata=metadata, source_topic=["news"] * 1000))

    ((topic, _, payload),) = inbox.told()
    assert (topic, payload["workflow_id"]) == ("news", f"eval-{_ID}")
    assert len(inbox.dapr.messages[0].content) < 2000
