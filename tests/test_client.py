from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from budeval.client import ApiError, BudevalClient, ServiceUnreachableError, document_of
from budeval.domain.evaluation import Outcome
from budeval.errors import BudevalError, RequestError
from budeval.evals.schema import EvaluationRequest
from tests.fake_service import EVAL_ID, URL, FakeService, announcement, evaluation, refusal, results, streamed

_AWAY = httpx.ConnectError("refused")
_STATE = f"GET /evals/{EVAL_ID}"
_EVENTS = f"GET /evals/{EVAL_ID}/events"
_STREAM = f"{_EVENTS}/stream"
_STARTED = {"workflow_id": "w", "workflow_name": "evaluate_model", "steps": []}


@pytest.fixture
def fake() -> FakeService:
    """A service that refuses whatever was not put there."""
    return FakeService()


def _request(**more: Any) -> EvaluationRequest:
    document = {
        "eval_id": EVAL_ID,
        "experiment_id": EVAL_ID,
        "eval_model_info": {"model_name": "m", "endpoint": "http://m/v1", "api_key": "sk-secret"},
        "eval_datasets": [{"dataset_id": "d", "run_id": "r"}],
    }
    return EvaluationRequest.model_validate(document | more)


def test_a_request_is_sent_with_its_secrets_in_clear(fake: FakeService) -> None:
    """What the models mask in every text stands in the request's body, and only there."""
    fake.put("POST /evals/start", _STARTED)
    request = _request(kubeconfig="kube-secret")

    started = fake.client().start(request)

    assert started.workflow_id == "w"
    assert fake.body["eval_model_info"]["api_key"] == "sk-secret"
    assert fake.body["kubeconfig"] == "kube-secret"
    assert EvaluationRequest.model_validate(document_of(request)) == request
    assert "sk-secret" not in repr(request)


def test_orphans_are_asked_for_where_they_shall_be_looked_for(fake: FakeService) -> None:
    """What is left out is the service's to choose; finding removes nothing."""
    place = {"cluster": "c", "namespace": "n", "installation": "i"}
    fake.put("GET /receipts/orphans", {**place, "orphans": [], "others": []})
    fake.put("POST /receipts/orphans:remove", {**place, "clean": True, "objects": []})

    with fake.client() as client:
        assert client.orphans("c", installation="i").orphans == []
        assert client.remove_orphans(namespace="n").clean is True
        assert client.remove_orphans().installation == "i"

    found, removed, all_left_out = fake.requests
    assert dict(found.url.params) == {"cluster": "c", "installation": "i"}
    assert [removed.content, all_left_out.content] == [b'{"namespace": "n"}', b"{}"]


def test_only_what_was_said_is_sent(fake: FakeService) -> None:
    """Defaults are the service's business, so that they may differ there."""
    fake.put("POST /evals/start", _STARTED)
    fake.client().start(_request())
    assert set(fake.body) == {"eval_id", "experiment_id", "eval_model_info", "eval_datasets"}


def test_every_question_has_its_route(fake: FakeService) -> None:
    """Each method asks its route with its parameters, and gives the typed answer."""
    fake.put(_STATE, evaluation("RUNNING"))
    fake.put(f"GET /evals/{EVAL_ID}/results", results("COMPLETED"))
    fake.put(_EVENTS, {"events": [announcement(3, "RUNNING")], "last": 3})
    fake.put(f"GET /evals/{EVAL_ID}/logs", {"eval_id": EVAL_ID, "run_id": "r", "log": "text"})
    fake.put("GET /evals", {"evaluations": [], "cursor": None})
    fake.put("GET /engines", [{"name": "e", "image": "i", "stock_datasets": 2}])
    fake.put("GET /engines/e/datasets", {"engine": "e", "datasets": ["d"]})
    fake.put("GET /openapi.json", {"info": {"version": "1.2"}})
    fake.put("POST /evals:validate", {"ok": True, "checks": []})
    fake.put("POST /clusters:verify", _STARTED)
    fake.put(
        "GET /workflow/w/status", {"workflow_id": "w", "workflow_name": "verify_cluster", "status": "RUNNING"}
    )
    with fake.client() as client:
        assert client.state(EVAL_ID).progress_percent == 40
        assert client.results(EVAL_ID).outcome is Outcome.COMPLETED
        assert client.events(EVAL_ID, after=2).last == 3
        assert client.log(EVAL_ID, "r").log == "text"
        assert client.evaluations("c", 7).evaluations == []
        assert client.engines()[0].name == "e"
        assert client.datasets("e", "x").datasets == ["d"]
        assert client.version() == "1.2"
        assert client.validate(_request()).ok
        assert client.verify_cluster(namespace="n").workflow_id == "w"
        assert client.workflow("w").status == "RUNNING"
    queries = [str(request.url.query, "ascii") for request in fake.requests if request.url.query]
    assert queries == ["after=2", "run_id=r", "limit=7&cursor=c", "contains=x"]
    assert fake.body == {"namespace": "n"}


def test_an_id_is_one_part_of_the_path(fake: FakeService) -> None:
    """Whatever an id holds, it does not lead to another route."""
    with pytest.raises(ApiError):
        fake.client().state("../engines?x#y")
    assert fake.requests[0].url.raw_path == b"/evals/..%2Fengines%3Fx%23y"
    with pytest.raises(RequestError, match="empty"):
        fake.client().state("")


def test_a_token_is_sent(fake: FakeService) -> None:
    """As a bearer token, and only where there is one."""
    fake.put("GET /engines", [])
    fake.client(token="t-1").engines()
    fake.client().engines()
    assert [request.headers.get("authorization") for request in fake.requests] == ["Bearer t-1", None]


@pytest.mark.parametrize("token", ["a\nb", "schlüssel"])
def test_a_token_that_no_header_takes_is_refused(token: str) -> None:
    """By name; the text does not quote it."""
    with pytest.raises(RequestError) as refused:
        BudevalClient(URL, token)
    assert refused.value.param == "token"
    assert token not in str(refused.value)


@pytest.mark.parametrize(
    "url", ["", "localhost:13080", "ftp://x", "http://", "http://user:pass@x", "http://x:y"]
)
def test_a_url_that_is_none_is_refused_unquoted(url: str) -> None:
    """At once, and without a password that may be in it."""
    with pytest.raises(RequestError) as refused:
        BudevalClient(url)
    assert refused.value.param == "url"
    assert "pass@" not in str(refused.value)


def test_a_refusal_keeps_its_code(fake: FakeService) -> None:
    """ErrorResponse becomes ApiError with everything that it says."""
    fake.put(_STATE, refusal(404, "EVALUATION_UNKNOWN", "There is none.", "eval_id"))
    with pytest.raises(ApiError) as refused:
        fake.client().state(EVAL_ID)
    error = refused.value
    assert isinstance(error, BudevalError)
    assert (error.status, error.code, error.message, error.param, error.retryable) == (
        404, "EVALUATION_UNKNOWN", "There is none.", "eval_id", False,
    )  # fmt: skip


@pytest.mark.parametrize("answer", [_AWAY, httpx.ReadTimeout("late"), httpx.RemoteProtocolError("torn")])
def test_nobody_answers(fake: FakeService, answer: httpx.HTTPError) -> None:
    """Said with the URL and with what to do; asked once, nothing is repeated."""
    fake.put("POST /evals/start", answer)
    with pytest.raises(ServiceUnreachableError, match=r"BUDEVAL_URL") as error:
        fake.client().start(_request())
    assert URL in str(error.value)
    assert fake.asked("POST /evals/start") == 1


@pytest.mark.parametrize(
    "answer",
    [httpx.Response(200, text="<html>"), httpx.Response(200, json={}), httpx.Response(403, text="no")],
)
def test_somebody_else_answers(fake: FakeService, answer: httpx.Response) -> None:
    """A page, another form, a proxy's refusal: the URL is not budeval's. Waiting does not help."""
    fake.put(_STATE, answer)
    with pytest.raises(ServiceUnreachableError, match="URL") as error:
        fake.client().wait(EVAL_ID)
    assert not error.value.retryable


def test_not_ready_is_an_answer(fake: FakeService) -> None:
    """503 with the dependencies is what was asked for."""
    body = {"ready": False, "dependencies": [{"name": "broker", "problem": "gone"}]}
    fake.put("GET /readyz", httpx.Response(503, json=body))
    assert fake.client().ready().dependencies[0].problem == "gone"


def test_watch_ends_with_the_end(fake: FakeService) -> None:
    """Each look is given, the last one has the outcome, which comes just after the last word."""
    fake.put(
        _STATE, *map(evaluation, ("PENDING", "RUNNING", "COMPLETED")), evaluation("COMPLETED", "PARTIAL")
    )
    seen = [(state.status.value, state.outcome) for state in fake.client().watch(EVAL_ID)]
    assert seen == [("PENDING", None), ("RUNNING", None), ("COMPLETED", None), ("COMPLETED", Outcome.PARTIAL)]


def test_watch_does_not_wait_for_an_outcome_for_ever(fake: FakeService) -> None:
    """An evaluation that was ended from outside has none."""
    fake.put(_STATE, evaluation("FAILED"))
    assert fake.client().wait(EVAL_ID).outcome is None
    assert fake.asked(_STATE) == 31


def test_watch_survives_a_restart(fake: FakeService) -> None:
    """A service that is away while it is watched is awaited, and the trouble is told once."""
    unavailable = refusal(503, "SIDECAR_UNAVAILABLE", "Dapr does not answer.")
    states = (evaluation("RUNNING"), _AWAY, _AWAY, unavailable, evaluation("COMPLETED", "COMPLETED"))
    fake.put(_STATE, *states)
    troubles: list[BudevalError] = []

    last = [state.status.value for state in fake.client().watch(EVAL_ID, troubles.append)]

    assert last == ["RUNNING", "COMPLETED"]
    assert [type(trouble) for trouble in troubles] == [ServiceUnreachableError]


def test_watch_gives_up(fake: FakeService, monkeypatch: pytest.MonkeyPatch) -> None:
    """Patience has an end."""
    monkeypatch.setattr("budeval.client_connection._PATIENCE_SECONDS", 0.01)
    fake.put(_STATE, evaluation("RUNNING"), _AWAY)
    with pytest.raises(ServiceUnreachableError):
        fake.client().wait(EVAL_ID)


def test_watch_does_not_wait_for_a_service_that_never_answered(fake: FakeService) -> None:
    """A wrong URL is told at once; so is an unknown evaluation, at any time."""
    fake.put(_STATE, _AWAY)
    with pytest.raises(ServiceUnreachableError):
        fake.client().wait(EVAL_ID)
    assert fake.asked(_STATE) == 1
    fake.put(_STATE, evaluation("RUNNING"), refusal(404, "EVALUATION_UNKNOWN", "gone"))
    with pytest.raises(ApiError):
        fake.client().wait(EVAL_ID)


def _breaking(*events: Any) -> httpx.Response:
    def content() -> Iterator[bytes]:
        yield streamed(*events)
        raise httpx.ReadError("the service was restarted")

    return httpx.Response(200, content=content())


def test_follow_gives_each_event_once(fake: FakeService) -> None:
    """Until nothing more will come; the service may be away in between, or the stream break."""
    first, second, third = (announcement(number, "RUNNING") for number in (1, 2, 3))
    fake.put(_EVENTS, {"events": [], "last": 0})
    stream = httpx.Response(200, content=b": ping\n\n" + streamed(second))
    last = httpx.Response(200, content=streamed(third))
    fake.put(_STREAM, _breaking(first), _AWAY, stream, last, httpx.Response(204))

    numbers = [event.number for event in fake.client().follow(EVAL_ID)]

    assert numbers == [1, 2, 3]
    asked = [request.headers["last-event-id"] for request in fake.requests if "stream" in request.url.path]
    assert asked == ["0", "1", "1", "2", "3"]


def test_follow_tells_a_refusal_at_once(fake: FakeService) -> None:
    """Also in the middle."""
    fake.put(_EVENTS, refusal(404, "EVALUATION_UNKNOWN", "none"))
    with pytest.raises(ApiError, match="EVALUATION_UNKNOWN"):
        list(fake.client().follow(EVAL_ID))
    fake.put(_EVENTS, {"events": [], "last": 0})
    fake.put(_STREAM, refusal(404, "EVALUATION_UNKNOWN", "deleted"))
    with pytest.raises(ApiError, match="deleted"):
        list(fake.client().follow(EVAL_ID))


def test_what_json_cannot_say_is_refused_unquoted(fake: FakeService) -> None:
    """YAML knows more values than JSON; none of them reaches the wire or the text."""
    with pytest.raises(RequestError):
        fake.client().start({"decoding": {"temperature": float("nan")}})
    assert fake.requests == []
