"""Evaluations that are requested, followed, cancelled, retried and deleted, as a patient caller would."""

import json
import threading
import time
from collections.abc import Callable
from collections.abc import Set as AbstractSet
from concurrent.futures import ThreadPoolExecutor
from random import Random
from typing import Any, TypeVar

import httpx

from dev import apps, console, model
from dev.chaos.pace import AT_ONCE, Pace
from dev.chaos.plan import Fate, PlannedEvaluation
from dev.chaos.verdict import ACCEPTED, CancelAnswer, Ended, Observed, is_fate

Json = dict[str, Any]
T = TypeVar("T")

_BROKER = "http://127.0.0.1:13600/v1.0/publish/pubsub/budeval-requests"
"""By the subscriber's sidecar, as another service would."""
_SECRET = {"name": "DEMO_API_KEY"}
_KEY = "sk-chaos"
_ANSWER_SECONDS = 60.0
_DELETION_SECONDS = 300.0
"""It takes as long as a Job."""
_PATIENCE_SECONDS = 2400.0
_REPEATABLE = {"FAILED", "PARTIAL"}
_RETRIES = 4


class GivenUpError(Exception):
    """A caller's patience has ended."""


class Workload:
    """All evaluations of a plan, `AT_ONCE` at a time.

    Args:
        node_address: of the cluster, where pods reach the model.
        planned: what to evaluate.
        pace: lets them begin.
        observed: is told what was requested, and how it ended.
    """

    def __init__(
        self, node_address: str, planned: list[PlannedEvaluation], pace: Pace, observed: Observed
    ) -> None:
        self._endpoint = model.chat_endpoint(node_address)
        self._planned = planned
        self._pace = pace
        self._observed = observed
        self._hit: set[str] = set()
        self._lock = threading.Lock()
        self._abandoned = threading.Event()
        self._pool = ThreadPoolExecutor(AT_ONCE)
        self._http = httpx.Client(timeout=_ANSWER_SECONDS, trust_env=False)

    def start(self) -> None:
        """Begin in the background, in the calling thread's network namespace."""
        self._ends = [self._pool.submit(self._evaluate, planned) for planned in self._planned]

    def wait(self) -> None:
        """Until every evaluation has ended, or was given up.

        Raises:
            Exception: a mistake of ours.
        """
        for end in self._ends:
            end.result()
        self._pool.shutdown()
        self._http.close()

    def abandon(self) -> None:
        """Begin no more evaluations, follow none. Waits for answers that are under way, 5 minutes at most."""
        self._abandoned.set()
        self._pool.shutdown(cancel_futures=True)
        self._http.close()

    def hit(self, eval_id: str) -> None:
        """Its engine was killed: it may end without all of its scores, and is then to be retried."""
        with self._lock:
            self._hit.add(eval_id)

    def deliver_again(self, random: Random) -> str | None:
        """Send a request that was accepted twice more, at the same time; its id."""
        known = sorted(self._observed.accepted)
        if not known:
            return None
        planned = self._observed.accepted[random.choice(known)]
        try:
            self._request(planned, 2)
        except GivenUpError as error:
            self._observed.refusals.append(f"{planned.eval_id} was requested again: {error}")
        return planned.eval_id

    def _evaluate(self, planned: PlannedEvaluation) -> None:
        self._pace.begin()
        if self._abandoned.is_set():
            return
        eval_id = planned.eval_id
        self._observed.accepted[eval_id] = planned
        try:
            end = self._see_through(planned)
        except GivenUpError as error:
            console.say(f"evaluation {eval_id} was given up: {error}")
            return
        self._observed.ends[eval_id] = end
        console.say(f"{len(self._observed.ends):4} ended: {eval_id} {end.outcome} {end.error or ''}")

    def _see_through(self, planned: PlannedEvaluation) -> Ended:
        """From its request to its end, and through what is asked of it after that."""
        eval_id, end = planned.eval_id, Ended()
        self._request(planned, planned.deliveries)
        self._ask("GET", f"/evals/{eval_id}", awaited={200})
        if planned.fate is Fate.CANCEL:
            self._abandoned.wait(planned.cancel_after)
            self._cancel(planned, end)
        state = self._repeated_where_hit(planned, end, self._followed(eval_id, attempt=1))
        if planned.retry and is_fate(planned.fate, state["outcome"], state["error"]):
            state = self._repeated_on_request(planned, end, state)
        results = self._results(eval_id)
        end.outcome, end.attempt, end.error = state["outcome"], state["attempt"], state["error"]
        end.ratio, end.runs = results["completeness"]["ratio"], len(results["results"])
        if planned.delete:
            end.after_deletion = self._delete(eval_id)
        return end

    def _cancel(self, planned: PlannedEvaluation, end: Ended) -> None:
        path = f"/evals/{planned.eval_id}/cancel"
        # One that comes late must not end a retry: `attempt` says which it means.
        said: set[int | str] = {202, "EVALUATION_ENDED", "ATTEMPT_OVER"}

        def cancel() -> None:
            answer = self._ask("POST", path, {"attempt": 1}, awaited=said)
            end.cancels.append(_cancel_answer(answer))

        _at_once(planned.calls, cancel)

    def _repeated_where_hit(self, planned: PlannedEvaluation, end: Ended, state: Json) -> Json:
        """Its state once an attempt has ended that is whole, or that no fault has hit."""
        for _ in range(_RETRIES):
            if state["outcome"] not in _REPEATABLE or not self._was_hit(planned.eval_id):
                break
            state = self._repeated(planned, end)
        return state

    def _repeated_on_request(self, planned: PlannedEvaluation, end: Ended, state: Json) -> Json:
        """Its state once another attempt has ended, or as it is where there is nothing to repeat."""
        if state["outcome"] == "COMPLETED":
            self._note_whole(planned, end)
            path = f"/evals/{planned.eval_id}/retry"
            self._ask("POST", path, {"api_key": _KEY}, awaited={"NOTHING_TO_RETRY"})
            return state
        # What has hit the attempt that is over is no reason for how the next one ends.
        self._was_hit(planned.eval_id)
        return self._repeated_where_hit(planned, end, self._repeated(planned, end))

    def _repeated(self, planned: PlannedEvaluation, end: Ended) -> Json:
        """Its state once the next attempt has ended."""
        self._note_whole(planned, end)
        end.asked += 1
        attempt = end.asked
        _at_once(planned.calls, lambda: self._retry(planned.eval_id, attempt))
        return self._followed(planned.eval_id, attempt)

    def _note_whole(self, planned: PlannedEvaluation, end: Ended) -> None:
        """Before a retry: which runs it must leave alone."""
        for result in self._results(planned.eval_id)["results"]:
            if result["outcome"] == "COMPLETED":
                end.whole_since.setdefault(result["run_id"], end.asked)

    def _results(self, eval_id: str) -> Json:
        found: Json = self._ask("GET", f"/evals/{eval_id}/results", awaited={200}).json()
        return found

    def _retry(self, eval_id: str, attempt: int) -> None:
        """Ask until that attempt has begun. Not once more: an answer that was lost may have begun it."""

        def begun() -> bool | None:
            state = self._ask("GET", f"/evals/{eval_id}", awaited={200}).json()
            if state["attempt"] >= attempt:
                return True
            body = {"api_key": _KEY, "attempt": attempt - 1}
            answer = self._try("POST", f"/evals/{eval_id}/retry", body, awaited={202})
            return True if answer else None

        self._patiently(begun, f"the begin of its attempt {attempt}")

    def _delete(self, eval_id: str) -> int:
        """Delete it; the status by which the API speaks of it then. 410: an answer was lost."""
        self._ask("DELETE", f"/evals/{eval_id}", awaited={200, 410})
        return self._ask("GET", f"/evals/{eval_id}", awaited={200, 404, 410}).status_code

    def _was_hit(self, eval_id: str) -> bool:
        """Once for each time."""
        with self._lock:
            hit = eval_id in self._hit
            self._hit.discard(eval_id)
            return hit

    def _followed(self, eval_id: str, attempt: int) -> Json:
        """Its state once that attempt has ended."""

        def ended() -> Json | None:
            state: Json = self._ask("GET", f"/evals/{eval_id}", awaited={200}).json()
            return state if state["attempt"] >= attempt and state["ended"] else None

        return self._patiently(ended, f"the end of its attempt {attempt}", pause=2)

    def _request(self, planned: PlannedEvaluation, times: int) -> None:
        """Ask for it so often, at the same time, each until it is taken."""
        send = self._publish if planned.by_message else self._post
        body = self._body(planned)
        _at_once(times, lambda: send(body))

    def _post(self, body: Json) -> None:
        """A request that is made again may come after the evaluation's deletion."""
        secret = {**body["eval_model_info"], "api_key": _KEY}
        request = {**body, "eval_model_info": secret}
        self._ask("POST", "/evals/start", request, awaited={200, "EVALUATION_DELETED"})

    def _publish(self, body: Json) -> None:
        secret = {**body["eval_model_info"], "secret_ref": _SECRET}
        message = json.dumps({**body, "eval_model_info": secret})

        def published() -> bool | None:
            headers = {"Content-Type": "application/json"}
            try:
                answer = self._http.post(_BROKER, content=message, headers=headers)
            except httpx.HTTPError:
                return None
            return answer.is_success or None

        self._patiently(published, "the broker")

    def _body(self, planned: PlannedEvaluation) -> Json:
        return {
            "eval_id": planned.eval_id,
            "experiment_id": planned.eval_id,
            "engine": planned.engine,
            "eval_model_info": {
                "model_name": model.MODEL_NAME,
                "endpoint": self._endpoint,
                "extra_args": {"max_out_len": 24},
            },
            "eval_datasets": [_dataset(planned, number) for number in range(planned.runs)],
        }

    def _ask(
        self, method: str, path: str, body: Json | None = None, *, awaited: AbstractSet[int | str]
    ) -> httpx.Response:
        """`_try` until there is an answer as awaited."""
        return self._patiently(lambda: self._try(method, path, body, awaited=awaited), f"{method} {path}")

    def _try(
        self, method: str, path: str, body: Json | None = None, *, awaited: AbstractSet[int | str]
    ) -> httpx.Response | None:
        """Ask the service once; None where it may answer otherwise later.

        Args:
            method: of HTTP.
            path: of the API.
            body: JSON.
            awaited: statuses, and codes of refusals.

        Raises:
            GivenUpError: it answered what no caller should get, which is noted.
        """
        url = f"http://127.0.0.1:{apps.SERVICE_PORT}{path}"
        patience = _DELETION_SECONDS if method == "DELETE" else _ANSWER_SECONDS
        try:
            answer = self._http.request(method, url, json=body, timeout=patience)
        except httpx.HTTPError:
            return None
        if answer.status_code in awaited or _code_of(answer) in awaited:
            return answer
        # 404: a message may be under way. 409: a former attempt may be saying its last word.
        if answer.status_code not in {404, 409, 429, 502, 503, 504}:
            text = f"{method} {path} answered {answer.status_code} {answer.text[:300]}"
            self._observed.refusals.append(text)
            raise GivenUpError(text)
        return None

    def _patiently(self, look: Callable[[], T | None], what: str, pause: float = 1.0) -> T:
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while time.monotonic() < deadline:
            found = look()
            if found is not None:
                return found
            if self._abandoned.wait(pause):
                raise GivenUpError("the run was broken off")
        raise GivenUpError(f"waited {_PATIENCE_SECONDS:.0f} s for {what}")


def _at_once(times: int, call: Callable[[], object]) -> None:
    """Call so often at the same time, and wait for all."""
    with ThreadPoolExecutor(times) as callers:
        for done in [callers.submit(call) for _ in range(times)]:
            done.result()


def _cancel_answer(answer: httpx.Response) -> CancelAnswer:
    """The state in an acceptance was read once the cancellation was noted."""
    refused = _code_of(answer)
    return CancelAnswer(refused) if refused else CancelAnswer(ACCEPTED, answer.json()["events"])


def _code_of(answer: httpx.Response) -> str | None:
    """Of a refusal; None where it is none, or is not the service's."""
    try:
        return str(answer.json()["code"]) if answer.is_error else None
    except ValueError:
        return None


def _dataset(planned: PlannedEvaluation, number: int) -> Json:
    rows = [
        {"question": f"What is {n} + {n + number}?", "answer": str(2 * n + number)}
        for n in range(planned.rows)
    ]
    fails = planned.fate is Fate.FAIL
    source: Json = {"path": f"missing-{planned.eval_id}.jsonl"} if fails else {"inline": _lines(rows)}
    return {
        "dataset_id": f"sums-{number}",
        "run_id": planned.run_ids[number],
        "resources": {"cpu": "100m", "memory": "2Gi"},
        "source": {
            **source,
            "prompt": "Question: {question}\nAnswer:",
            "evaluator": "last_number",
        },
    }


def _lines(rows: list[Json]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)
