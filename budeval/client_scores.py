"""The calls of scoring; part of `BudevalClient`."""

import time
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any
from urllib.parse import quote

from budeval.client_connection import Connection, Trouble
from budeval.errors import RequestError
from budeval.scoring.answers import MetricList, ScoreDeletion, ScorePage, ScoreState, ScoreValidation

_KEY = "Idempotency-Key"


class ScoreCalls(Connection):
    """Scores RAG samples."""

    def score(self, request: Mapping[str, Any], key: str | None = None) -> ScoreState:
        """Start the scoring of one sample.

        Args:
            request: the document of a `ScoreRequest`.
            key: with it the same request again is the same job, so that asking again is safe.
        """
        return self._score("/scores", request, key)

    def score_many(self, jsonl: str, options: Mapping[str, Any], key: str | None = None) -> ScoreState:
        """Start the scoring of many samples as one run.

        Args:
            jsonl: a sample on each line.
            options: `metrics` and what else a `BatchRequest` has.
            key: as of `score`.
        """
        return self._score("/scores:batch", {**options, "jsonl": jsonl}, key)

    def validate_score(self, request: Mapping[str, Any]) -> ScoreValidation:
        """What would be scored; nothing is started."""
        return self._post("/scores:validate", request, ScoreValidation)

    def score_state(self, job_id: str) -> ScoreState:
        """How far a scoring job is."""
        return self._get(_path(job_id), ScoreState)

    def scores(self, cursor: str | None = None, limit: int = 50, status: str | None = None) -> ScorePage:
        """A page of scoring jobs, newest first; its `cursor` gets the next one."""
        given = {name: value for name, value in (("cursor", cursor), ("status", status)) if value}
        return self._get("/scores", ScorePage, limit=limit, **given)

    def cancel_score(self, job_id: str) -> ScoreState:
        """Ask a scoring job to end. May be repeated."""
        return self._post(f"{_path(job_id)}/cancel", {}, ScoreState)

    def retry_score(self, job_id: str) -> ScoreState:
        """Score once more what has failed."""
        return self._post(f"{_path(job_id)}/retry", {}, ScoreState)

    def delete_score(self, job_id: str) -> ScoreDeletion:
        """Delete a scoring job that has ended, with its run."""
        return self._understood(self._ask("DELETE", _path(job_id)), ScoreDeletion.model_validate_json)

    def score_metrics(self) -> MetricList:
        """The metrics there are, and who judges and embeds."""
        return self._get("/score-metrics", MetricList)

    def watch_score(self, job_id: str, on_trouble: Trouble | None = None) -> Iterator[ScoreState]:
        """A job's state, once a second, until its scores are there or will not come; the last is the end.

        A service that is away after the first answer is awaited for two minutes.
        """
        state = self.score_state(job_id)
        while state.outcome is None:
            yield state
            time.sleep(self.poll_seconds)
            state = self._patiently(partial(self.score_state, job_id), on_trouble)
        yield state

    def _score(self, path: str, document: Mapping[str, Any], key: str | None) -> ScoreState:
        headers = {_KEY: key} if key else {}
        return self._post(path, document, ScoreState, headers=headers)


def _path(job_id: str) -> str:
    if not job_id:
        raise RequestError("The scoring job's id is empty.", param="job_id")
    return f"/scores/{quote(job_id, safe='')}"
