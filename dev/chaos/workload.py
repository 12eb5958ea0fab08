"""Evaluations that are requested, followed, cancelled and retried, as a patient caller would."""

import json
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from random import Random
from typing import Any, TypeVar

import httpx

from dev import apps, console, model
from dev.chaos.pace import AT_ONCE, Pace
from dev.chaos.plan import Fate, PlannedEvaluation
from dev.chaos.verdict import Ended, Observed

Json = dict[str, Any]
T = TypeVar("T")

_BROKER = "http://127.0.0.1:13600/v1.0/publish/pubsub/budeval-requests"
"""By the subscriber's sidecar, as another service would."""
_SECRET = {"name": "DEMO_API_KEY"}
_KEY = "sk-chaos"
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
        self._http = httpx.Client(timeout=60, trust_env=False)

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
        """Begin no more evaluations, follow none. Waits for answers that are under way, a minute at most."""
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
            self._request(planned, planned.deliveries)
            self._ask("GET", f"/evals/{eval_id}", awaited={200})
            if planned.fate is Fate.CANCEL:
                self._abandoned.wait(planned.cancel_after)
                self._ask("POST", f"/evals/{eval_id}/cancel", {}, awaited={202, 409})
            state = self._followed(eval_id, attempt=1)
            for attempt in range(2, _RETRIES + 2):
                if state["outcome"] not in _REPEATABLE or not self._was_hit(eval_id):
                    break
                self._ask("POST", f"/evals/{eval_id}/retry", {"api_key": _KEY}, awaited={200, 202})
                state = self._followed(eval_id, attempt)
            results = self._ask("GET", f"/evals/{eval_id}/results", awaited={200}).json()
        except GivenUpError as error:
            console.say(f"evaluation {eval_id} was given up: {error}")
            return
        self._observed.ends[eval_id] = Ended(
            outcome=state["outcome"],
            attempt=state["attempt"],
            ratio=results["completeness"]["ratio"],
            runs=len(results["results"]),
            error=state["error"],
        )
        console.say(
            f"{len(self._observed.ends):4} ended: {eval_id} {state['outcome']} {state['error'] or ''}"
        )

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
        with ThreadPoolExecutor(times) as callers:
            for call in [callers.submit(send, body) for _ in range(times)]:
                call.result()

    def _post(self, body: Json) -> None:
        secret = {**body["eval_model_info"], "api_key": _KEY}
        self._ask("POST", "/evals/start", {**body, "eval_model_info": secret}, awaited={200})

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

    def _ask(self, method: str, path: str, body: Json | None = None, *, awaited: set[int]) -> httpx.Response:
        """Ask the service until it answers as awaited; what no caller should get is noted."""

        def answered() -> httpx.Response | None:
            url = f"http://127.0.0.1:{apps.SERVICE_PORT}{path}"
            try:
                answer = self._http.request(method, url, json=body)
            except httpx.HTTPError:
                return None
            if answer.status_code in awaited:
                return answer
            # 404: a message may be under way. 409: a former attempt may be saying its last word.
            if answer.status_code not in {404, 409, 429, 502, 503, 504}:
                text = f"{method} {path} answered {answer.status_code} {answer.text[:300]}"
                self._observed.refusals.append(text)
                raise GivenUpError(text)
            return None

        return self._patiently(answered, f"{method} {path}")

    def _patiently(self, look: Callable[[], T | None], what: str, pause: float = 1.0) -> T:
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while time.monotonic() < deadline:
            found = look()
            if found is not None:
                return found
            if self._abandoned.wait(pause):
                raise GivenUpError("the run was broken off")
        raise GivenUpError(f"waited {_PATIENCE_SECONDS:.0f} s for {what}")


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
