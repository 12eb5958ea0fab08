"""The service's HTTP API from Python.

    with BudevalClient("http://127.0.0.1:13080") as client:
        started = client.start(request)
        print(client.wait(str(request.eval_id)).outcome)

It needs nothing of the service but its URL. Asking is never repeated behind the caller's back, except while
watching: a service that restarts loses no evaluation, so neither do those who watch.
"""

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from functools import partial
from typing import Any
from urllib.parse import quote

import httpx
from pydantic import TypeAdapter

from budeval.client_connection import ApiError, ServiceUnreachableError, Trouble
from budeval.client_scores import ScoreCalls
from budeval.domain.evaluation import Outcome
from budeval.domain.notification import ENDED, Announcement, WorkflowStatus
from budeval.errors import RequestError
from budeval.evals.answers import (
    ClaimFiles,
    ComparisonReport,
    DatasetList,
    Deletion,
    EngineInfo,
    EvaluationPage,
    EvaluationResults,
    EvaluationState,
    EventPage,
    OrphanList,
    OrphanRemoval,
    PushedPart,
    Readiness,
    Receipt,
    RunLog,
    ValidationReport,
    WorkflowStarted,
    WorkflowState,
)
from budeval.evals.schema import EvaluationRequest

__all__ = ["ApiError", "BudevalClient", "Request", "ServiceUnreachableError", "document_of", "succeeded"]

_VALIDATE_SECONDS = 180.0
"""A validation runs a playbook against the cluster and asks the endpoint."""
_LOOKS_FOR_OUTCOME = 30
"""The last word is announced just before the outcome is kept; so often we look again for the latter."""
_JOB_SECONDS = 400.0
"""A Job may have to wait for its node and its image."""
_NOT_READY = 503
_NO_MORE = 204
_DATA = "data:"

Request = EvaluationRequest | Mapping[str, Any]
"""A request, or its document as it stands in a file; the service checks both."""


class BudevalClient(ScoreCalls):
    """Talks to one service. Not for several threads at once."""

    # Each method below raises ApiError where the service refuses, ServiceUnreachableError where none answers.

    def start(self, request: Request) -> WorkflowStarted:
        """Start an evaluation. The same request again is safe: it starts only once."""
        return self._post("/evals/start", document_of(request), WorkflowStarted)

    def validate(self, request: Request) -> ValidationReport:
        """Check a request, its cluster and its endpoint; nothing is started."""
        limit = max(self._timeout, _VALIDATE_SECONDS)
        return self._post("/evals:validate", document_of(request), ValidationReport, timeout=limit)

    def state(self, eval_id: str) -> EvaluationState:
        """How far an evaluation is."""
        return self._get(_path(eval_id), EvaluationState)

    def results(self, eval_id: str) -> EvaluationResults:
        """The results of every run; ApiError RESULTS_NOT_READY while there are none."""
        return self._get(f"{_path(eval_id)}/results", EvaluationResults)

    def cancel(self, eval_id: str, *, extract: bool = False, attempt: int | None = None) -> EvaluationState:
        """Ask an evaluation to end. May be repeated.

        Args:
            eval_id: which.
            extract: read the scores that are there.
            attempt: the one that is meant: a repetition that comes late does nothing to the next one.
        """
        body = {"extract": extract} if attempt is None else {"extract": extract, "attempt": attempt}
        return self._post(f"{_path(eval_id)}/cancel", body, EvaluationState)

    def retry(
        self, eval_id: str, api_key: str | None = None, kubeconfig: str | None = None, **more: Any
    ) -> EvaluationState:
        """Begin another attempt with the runs that have no whole result.

        Args:
            eval_id: of an evaluation that has ended.
            api_key: of the model's endpoint; the last one was destroyed.
            kubeconfig: where the evaluation brought its own.
            more: `secret_ref` instead of `api_key`; `attempt`, the one that shall be repeated.
        """
        given = {"api_key": api_key, "kubeconfig": kubeconfig, **more}
        body = {name: value for name, value in given.items() if value is not None}
        return self._post(f"{_path(eval_id)}/retry", body, EvaluationState)

    def delete(self, eval_id: str, kubeconfig: str | None = None, *, keep_files: bool = False) -> Deletion:
        """Delete an evaluation that has ended, with its files on the claim. Repeat it where it fails.

        Args:
            eval_id: which.
            kubeconfig: where it brought its own.
            keep_files: leave the cluster alone, which may be gone.
        """
        body: dict[str, Any] = {"keep_files": keep_files} | ({"kubeconfig": kubeconfig} if kubeconfig else {})
        answer = self._ask("DELETE", _path(eval_id), json=body, timeout=max(self._timeout, _JOB_SECONDS))
        return self._understood(answer, Deletion.model_validate_json)

    def receipt(self, eval_id: str) -> Receipt:
        """What became of an evaluation's objects on the cluster."""
        return self._get(f"{_path(eval_id)}/receipt", Receipt)

    def compare(self, base: str, candidate: str, alpha: float = 0.05) -> ComparisonReport:
        """Whether a candidate is better or worse than a base by more than chance."""
        return self._get("/compare", ComparisonReport, base=base, candidate=candidate, alpha=alpha)

    def events(self, eval_id: str, after: int = 0) -> EventPage:
        """What was announced after a number."""
        return self._get(f"{_path(eval_id)}/events", EventPage, after=after)

    def log(self, eval_id: str, run_id: str) -> RunLog:
        """The end of a run's log."""
        return self._get(f"{_path(eval_id)}/logs", RunLog, run_id=run_id)

    def evaluations(self, cursor: str | None = None, limit: int = 50, **wanted: str | None) -> EvaluationPage:
        """A page of evaluations, newest first; its `cursor` gets the next one.

        Args:
            cursor: of the page before.
            limit: at most so many.
            wanted: `status`, `since` and `until` (ISO 8601) where only some are.
        """
        given = {name: value for name, value in {"cursor": cursor, **wanted}.items() if value}
        return self._get("/evals", EvaluationPage, limit=limit, **given)

    def engines(self) -> list[EngineInfo]:
        """The engines of the service."""
        answer = self._ask("GET", "/engines")
        return self._understood(answer, TypeAdapter(list[EngineInfo]).validate_json)

    def datasets(self, engine: str = "opencompass", contains: str = "") -> DatasetList:
        """An engine's stock datasets whose names contain a text."""
        return self._get(f"/engines/{quote(engine, safe='')}/datasets", DatasetList, contains=contains)

    def push_part(self, part: Mapping[str, Any]) -> PushedPart:
        """Write a part of a file to the claim, a `DatasetPart`; `client_data.push_file` does all parts."""
        limit = max(self._timeout, _JOB_SECONDS)
        return self._post("/data/parts", part, PushedPart, timeout=limit)

    def claim_files(
        self, cluster: str | None = None, namespace: str | None = None, claim: str | None = None
    ) -> ClaimFiles:
        """The files on the claim that requests may name as `source.path`."""
        named = _given(cluster=cluster, namespace=namespace, claim=claim)
        answer = self._ask("GET", "/data", params=named, timeout=max(self._timeout, _JOB_SECONDS))
        return self._understood(answer, ClaimFiles.model_validate_json)

    def orphans(
        self, cluster: str | None = None, namespace: str | None = None, installation: str | None = None
    ) -> OrphanList:
        """What no evaluation owns. For administrators.

        Args:
            cluster: configured; the service's default if left out.
            namespace: the service's if left out.
            installation: another service, whose objects are looked at instead.
        """
        named = _given(cluster=cluster, namespace=namespace, installation=installation)
        answer = self._ask("GET", "/receipts/orphans", params=named, timeout=max(self._timeout, _JOB_SECONDS))
        return self._understood(answer, OrphanList.model_validate_json)

    def remove_orphans(
        self, cluster: str | None = None, namespace: str | None = None, installation: str | None = None
    ) -> OrphanRemoval:
        """Remove what no evaluation owns at that moment; arguments as of `orphans`."""
        named = _given(cluster=cluster, namespace=namespace, installation=installation)
        limit = max(self._timeout, _JOB_SECONDS)
        return self._post("/receipts/orphans:remove", named, OrphanRemoval, timeout=limit)

    def ready(self) -> Readiness:
        """Whether the service can take work. That it cannot is an answer too, no error."""
        answer = self._ask("GET", "/readyz", accept=_NOT_READY)
        return self._understood(answer, Readiness.model_validate_json)

    def version(self) -> str:
        """The service's version."""
        answer = self._ask("GET", "/openapi.json")
        return self._understood(answer, lambda content: str(json.loads(content)["info"]["version"]))

    def verify_cluster(self, cluster: str | None = None, namespace: str | None = None) -> WorkflowStarted:
        """Start to verify a cluster, the default one if none is named; `workflow` tells the outcome."""
        named = _given(cluster=cluster, namespace=namespace)
        return self._post("/clusters:verify", named, WorkflowStarted)

    def workflow(self, workflow_id: str) -> WorkflowState:
        """How far a workflow is."""
        return self._get(f"/workflow/{quote(workflow_id, safe='')}/status", WorkflowState)

    def watch(self, eval_id: str, on_trouble: Trouble | None = None) -> Iterator[EvaluationState]:
        """The evaluation's state, once a second, until it has ended; the last one is the end.

        A service that is away after the first answer is awaited for two minutes.

        Raises:
            ApiError: there is no such evaluation.
            ServiceUnreachableError: not reached at first, or away for too long.
        """
        state = self.state(eval_id)
        looks = 0
        while not _ended(state, looks):
            yield state
            looks += state.status in ENDED
            time.sleep(self.poll_seconds)
            state = self._patiently(partial(self.state, eval_id), on_trouble)
        yield state

    def wait(self, eval_id: str) -> EvaluationState:
        """The evaluation's state when it has ended; raises as `watch` does."""
        *_, last = self.watch(eval_id)
        return last

    def follow(
        self, eval_id: str, after: int = 0, on_trouble: Trouble | None = None
    ) -> Iterator[Announcement]:
        """What is announced after a number, as it comes until the last word. Raises as `watch`.

        A stream that breaks is opened again after the last event that came.
        """
        self.events(eval_id, after)  # a wrong id or URL is told at once
        while True:
            stream = self._patiently(partial(self._open_stream, eval_id, after), on_trouble)
            with closing(stream):
                if stream.status_code == _NO_MORE:
                    return
                try:
                    for event in _events_of(stream.iter_lines()):
                        after = event.number
                        yield event
                except httpx.TransportError:
                    time.sleep(self.poll_seconds)

    def _open_stream(self, eval_id: str, after: int) -> httpx.Response:
        path, headers = f"{_path(eval_id)}/events/stream", {"last-event-id": str(after)}
        request = self._http.build_request("GET", f"{self._url}{path}", headers=headers)
        try:
            answer = self._http.send(request, stream=True)
            if not answer.is_success:
                answer.read()
        except httpx.HTTPError as error:
            raise self._unreached(error) from error
        if not answer.is_success:
            raise self._refusal(answer)
        return answer


def document_of(request: Request) -> dict[str, Any]:
    """The request as it is sent: its secrets in clear, so it is for the wire only."""
    if not isinstance(request, EvaluationRequest):
        return dict(request)
    document = request.model_dump(mode="json", exclude_unset=True)
    if request.eval_model_info.api_key:
        document["eval_model_info"]["api_key"] = request.eval_model_info.api_key.get_secret_value()
    if request.kubeconfig:
        document["kubeconfig"] = request.kubeconfig.get_secret_value()
    return document


def _events_of(lines: Iterator[str]) -> Iterator[Announcement]:
    """The events of a stream of the service, which writes the data of each on one line."""
    for line in lines:
        if line.startswith(_DATA):
            yield Announcement.model_validate_json(line.removeprefix(_DATA))


def succeeded(outcome: Outcome | None) -> bool:
    """Every run has its scores."""
    return outcome is Outcome.COMPLETED


def _ended(state: EvaluationState, looks: int) -> bool:
    if state.status not in ENDED:
        return False
    return (
        state.outcome is not None or state.status is WorkflowStatus.TERMINATED or looks >= _LOOKS_FOR_OUTCOME
    )


def _given(**names: str | None) -> dict[str, str]:
    """Those that are given."""
    return {name: value for name, value in names.items() if value}


def _path(eval_id: str) -> str:
    if not eval_id:
        raise RequestError("The evaluation's id is empty.", param="eval_id")
    return f"/evals/{quote(eval_id, safe='')}"
