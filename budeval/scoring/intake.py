"""From a request to a scheduled job, in an order in which nothing is lost whatever is cut off.

Put it on the list, claim its id, keep its samples, create the record, schedule the workflow. Until the record
is there, the request has not happened; from then on the same request again finishes the rest.
"""

import hashlib
import json
import logging
import math
import secrets
from collections.abc import Callable, Iterable, Mapping

from pydantic import ValidationError

from budeval.domain.score_job import SAMPLE_ID, Engine, RequestSummary, ScoreJob, ScoreRecord
from budeval.domain.score_run import InvalidSample
from budeval.domain.scoring import Sample
from budeval.errors import RequestError
from budeval.scoring.contexts import BYTE_ORDER_MARK
from budeval.scoring.engines.base import ScoringEngine
from budeval.scoring.limiter import least_concurrency
from budeval.scoring.metrics import METRICS
from budeval.scoring.requirements import applicable
from budeval.scoring.schema import (
    LEAST_SECONDS,
    MAX_SAMPLE,
    MAX_SECONDS,
    BatchRequest,
    SampleFields,
    SampleLine,
    ScoreRequest,
    ScoringOptions,
)
from budeval.scoring.settings import EndpointSettings, ScoringSettings
from budeval.scoring.store import ScoreStore, StoredSample, now

_SHOWN = 80
_RAW = 2000
_KEYED, _RANDOM = 24, 12
"""Hex digits of a job id. Twelve are what the original has; ids from callers' keys need more to be apart."""

_SECONDS_LEFT_OUT = 300
"""What digests have of a request that names no time: it was the default of all when the first were stored. It
never changes, or requests whose keys are known would be refused."""

_SECONDS_BESIDE = 1.0
"""For a metric of a sample, beside its requests: activity, state, and metrics that compute for so long."""

_log = logging.getLogger(__name__)

Start = Callable[[ScoreRecord], None]
"""Schedules the workflow of a record unless it was scheduled before."""


class ScoreIntake:
    """Takes requests in."""

    def __init__(
        self,
        settings: ScoringSettings,
        store: ScoreStore,
        engines: Mapping[Engine, ScoringEngine],
        start: Start,
    ) -> None:
        self._settings = settings
        self._store = store
        self._engines = engines
        self._start = start
        self._at_once = least_concurrency([*settings.judges, *settings.embedders])

    def accept(self, request: ScoreRequest, tenant: str, key: str | None = None) -> ScoreRecord:
        """Start the scoring of one sample, or answer what the same request with the same key has started.

        Args:
            request: what to score.
            tenant: whose job it is.
            key: the caller's Idempotency-Key.

        Raises:
            RequestError: something in it cannot be; SCORE_CONFLICT (409): another request had this key;
                QUEUE_FULL (429).
            SidecarError: it could not be stored or started; with a key the same again is safe.
        """
        samples = [_stored(SAMPLE_ID, request)]
        job = self.check(request).model_copy(update={"tenant": tenant, "job_id": _job_id(tenant, key)})
        return self._accept(job, samples, [], _digest_of(request, tenant))

    def accept_many(self, request: BatchRequest, tenant: str, key: str | None = None) -> ScoreRecord:
        """Start the scoring of many samples as one run. As `accept`.

        Raises:
            RequestError: no line is a sample, or there are too many.
        """
        samples, invalid = read_lines(request.jsonl, self._settings.max_samples, quotes=request.store_inputs)
        resolved = self._resolved(request, [stored.sample for stored in samples])
        more = {"kind": "samples", "samples": len(samples), "tenant": tenant}
        job = resolved.model_copy(update={**more, "job_id": _job_id(tenant, key)})
        return self._accept(job, samples, invalid, _digest_of(request, tenant))

    def check(self, request: ScoreRequest) -> ScoreJob:
        """The job that a request asks for, all names resolved; starts nothing.

        Raises:
            RequestError: names the field.
        """
        if request.chars > MAX_SAMPLE:
            text = f"All texts together have {request.chars} characters; {MAX_SAMPLE} are the most."
            raise RequestError(text, status=413, code="REQUEST_TOO_LARGE")
        return self._resolved(request, [request.sample])

    def skipped(self, job: ScoreJob, sample: Sample) -> dict[str, str]:
        """Metrics that a sample cannot be scored by, with the reason code."""
        there = {"has_judge": job.judge is not None, "has_embedder": job.embedder is not None}
        return applicable(job.metrics, sample, **there)[1]

    def judge_calls(self, job: ScoreJob, sample: Sample) -> int:
        """Requests to the judge for a sample at most, where nothing has to be repeated."""
        engine = self._engines[job.engine]
        effective = self._effective(job, sample)
        return job.repeats * sum(engine.judge_calls(name, len(sample.contexts)) for name in effective)

    def _effective(self, job: ScoreJob, sample: Sample) -> list[str]:
        skipped = self.skipped(job, sample)
        return [name for name in job.metrics if name not in skipped]

    def _resolved(self, request: ScoringOptions, samples: list[Sample]) -> ScoreJob:
        engine = self._engine(request)
        settings = self._settings
        job = ScoreJob(
            job_id="0" * _RANDOM,
            engine=engine,
            metrics=tuple(request.metrics),
            weights=request.weights,
            judge=_alias(request.judge_model, settings.judges, "judge_model"),
            embedder=_alias(request.embedding_model, settings.embedders, "embedding_model"),
            repeats=request.repeats,
            timeout_s=request.timeout_s or LEAST_SECONDS,
            advise=request.advise,
            store_inputs=request.store_inputs,
            labels=request.labels,
        )
        self._require_something(job, samples, allow_empty=request.allow_empty)
        if request.timeout_s is None:
            job = job.model_copy(update={"timeout_s": self._time_for(job, samples)})
        return job

    def _time_for(self, job: ScoreJob, samples: list[Sample]) -> int:
        """Seconds in which all requests are done that keep their endpoints' own limits."""
        of_judge = self._seconds_each(self._settings.judge(job.judge))
        of_embedder = self._seconds_each(self._settings.embedder(job.embedder))
        seconds = 0.0
        for sample in samples:
            effective = self._effective(job, sample)
            embedding = [METRICS[name] for name in effective if METRICS[name].needs_embedder]
            embedded = sum(job.repeats if metric.needs_judge else 1 for metric in embedding)
            seconds += len(effective) * _SECONDS_BESIDE
            seconds += self.judge_calls(job, sample) * of_judge + embedded * of_embedder
        return min(max(math.ceil(seconds), LEAST_SECONDS), MAX_SECONDS)

    def _seconds_each(self, endpoint: EndpointSettings | None) -> float:
        """For one of many requests that take all the time they may, as many at once as its address takes."""
        return endpoint.timeout / self._at_once[endpoint.base_url] if endpoint else 0.0

    def _require_something(self, job: ScoreJob, samples: list[Sample], *, allow_empty: bool) -> None:
        skips = [self.skipped(job, sample) for sample in samples]
        if allow_empty or any(len(skipped) < len(job.metrics) for skipped in skips):
            return
        reasons = ", ".join(f"{metric} ({code})" for metric, code in skips[0].items())
        text = f"No metric can be scored: {reasons}. Give what is missing, or allow_empty."
        raise RequestError(text, status=422, code="NOTHING_TO_SCORE", param="metrics")

    def _engine(self, request: ScoringOptions) -> Engine:
        engine = self._engines.get(request.engine)
        if engine is None:
            text = f"The engine {request.engine} is not installed here (BUDEVAL_SCORING_RAGAS_PYTHON)."
            raise RequestError(text, status=422, code="ENGINE_UNKNOWN", param="engine")
        missing = [name for name in request.metrics if name not in engine.metrics]
        if missing:
            there = ", ".join(engine.metrics)
            text = f"The engine {request.engine} has no metric {missing[0]}. It has: {there}."
            raise RequestError(text, status=422, param="metrics")
        return request.engine

    def _accept(
        self, job: ScoreJob, samples: list[StoredSample], invalid: list[InvalidSample], digest: str
    ) -> ScoreRecord:
        try:
            existing = self._store.find(job.job_id)
        except RequestError as error:
            error.status = 409  # it was deleted, and what it was is not known any more
            raise
        if existing is None:
            existing = self._create(job, samples, invalid, digest)
        _require_same(existing.digest, digest)
        self._start(existing)
        _log.info("accepted job_id=%s samples=%d metrics=%d", job.job_id, job.samples, len(job.metrics))
        return existing

    def _create(
        self, job: ScoreJob, samples: list[StoredSample], invalid: list[InvalidSample], digest: str
    ) -> ScoreRecord:
        self.require_room(job.job_id)
        created = now()
        # Before the record: what is listed without one is passed over, one without a list is lost.
        self._store.activate(job.job_id)
        self._store.add_to_index(job.job_id, created[:10])
        # Two requests with one key may come at once: samples must be those of the one that gets the record.
        _require_same(self._store.claim(job.job_id, digest), digest)
        self._store.save_samples(job.job_id, digest, samples, invalid)
        summary = _summary(job, samples)
        record = self._store.create(ScoreRecord(job=job, digest=digest, summary=summary, created=created))
        # Again: the reconciler may have taken an earlier try of it from those that have not ended.
        self._store.activate(job.job_id)
        return record

    def require_room(self, job_id: str) -> None:
        """For one more; a request that was cut off has its place already.

        Raises:
            RequestError: QUEUE_FULL (429).
        """
        limit = self._settings.max_active_jobs
        if len(set(self._store.active()) - {job_id}) >= limit:
            text = (
                f"{limit} scoring jobs have not ended: no more are taken (BUDEVAL_SCORING_MAX_ACTIVE_JOBS)."
            )
            raise RequestError(f"{text} Try again when some have.", status=429, code="QUEUE_FULL")


def _require_same(known: str, digest: str) -> None:
    if known != digest:
        text = "This Idempotency-Key was used for another request. Take another key."
        raise RequestError(text, status=409, code="SCORE_CONFLICT", param="Idempotency-Key")


def read_lines(text: str, limit: int, *, quotes: bool) -> tuple[list[StoredSample], list[InvalidSample]]:
    """The samples in JSON Lines, and the lines that are none, with the reason.

    Args:
        text: the lines.
        limit: how many there may be.
        quotes: whether a reason may name a key that no sample has; else it names fields of samples only.

    Raises:
        RequestError: no line is a sample; there are more than `limit`; two have the same id.
    """
    samples: list[StoredSample] = []
    invalid: list[InvalidSample] = []
    text = text.removeprefix(BYTE_ORDER_MARK)
    lines = [(number, line) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
    if len(lines) > limit:
        text = f"{len(lines)} lines are more than {limit} (BUDEVAL_SCORING_MAX_SAMPLES). Divide them."
        raise RequestError(text, status=413, code="REQUEST_TOO_LARGE", param="jsonl")
    for number, line in lines:
        found = _read_line(number, line, quotes=quotes)
        if isinstance(found, StoredSample):
            samples.append(found)
        else:
            invalid.append(found)
    if not samples:
        first = f" The first: {invalid[0].error}" if invalid else ""
        raise RequestError(f"No line is a sample.{first}", status=422, param="jsonl")
    _require_distinct(stored.sample_id for stored in samples)
    return samples, invalid


def _read_line(number: int, line: str, *, quotes: bool) -> StoredSample | InvalidSample:
    name = f"line-{number}"
    try:
        parsed = SampleLine.model_validate_json(line)
    except ValidationError as error:
        return InvalidSample(
            sample_id=name, error=_first_problem(error, quotes=quotes), raw=_printable(line[:_RAW])
        )
    wrong = _wrong_as_a_whole(line, parsed)
    if wrong:
        return InvalidSample(sample_id=name, error=f"line: {wrong}", raw=line[:_RAW])
    return _stored(parsed.id or name, parsed)


def _first_problem(error: ValidationError, *, quotes: bool) -> str:
    problem = error.errors(include_url=False, include_input=False)[0]
    where = [str(part) for part in problem["loc"]]
    if where and where[0] not in SampleLine.model_fields and not quotes:
        return f"line: a key is none of {', '.join(SampleLine.model_fields)}"
    return f"{'.'.join(where) or 'line'}: {problem['msg']}"


def _wrong_as_a_whole(line: str, parsed: SampleLine) -> str | None:
    # Whichever of two values were taken, somebody may have meant the other.
    keys = [key for key, _ in json.loads(line, object_pairs_hook=list)]
    twice = next((key for key in keys if keys.count(key) > 1), None)
    if twice:
        return f"the key {twice!r} is there twice"
    if parsed.chars > MAX_SAMPLE:
        return f"all texts together have more than {MAX_SAMPLE} characters"
    return None


def _stored(sample_id: str, sent: SampleFields) -> StoredSample:
    return StoredSample(sample_id=sample_id, sample=sent.sample, blanks_left_out=sent.blanks)


def _printable(text: str) -> str:
    """Whatever it was: it is stored and written to tables."""
    return text.encode(errors="replace").decode()


def _require_distinct(ids: Iterable[str]) -> None:
    seen: set[str] = set()
    for sample_id in ids:
        if sample_id in seen:
            text = f"The id {sample_id!r} is there twice; each sample needs its own."
            raise RequestError(text, status=422, param="jsonl")
        seen.add(sample_id)


def _alias(named: str | None, endpoints: tuple[EndpointSettings, ...], param: str) -> str | None:
    aliases = [endpoint.alias for endpoint in endpoints]
    if named is None:
        return aliases[0] if aliases else None
    if named not in aliases:
        known = f"There are: {', '.join(aliases)}." if aliases else "There is none."
        text = f"The settings have no endpoint {named!r}. {known}"
        raise RequestError(text, status=422, code="ENDPOINT_UNKNOWN", param=param)
    return named


def _job_id(tenant: str, key: str | None) -> str:
    if key is None:
        return secrets.token_hex(_RANDOM // 2)
    return hashlib.sha256(f"{tenant}\n{key}".encode()).hexdigest()[:_KEYED]


def _digest_of(request: ScoreRequest | BatchRequest, tenant: str) -> str:
    """SHA-256 of the canonical request; another tenant's is another one."""
    timeout_s = request.timeout_s or _SECONDS_LEFT_OUT
    document = {**request.model_dump(mode="json"), "timeout_s": timeout_s, "tenant": tenant}
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()


def _summary(job: ScoreJob, samples: list[StoredSample]) -> RequestSummary:
    shown, sample = _SHOWN if job.store_inputs else 0, samples[0].sample
    return RequestSummary(
        question=sample.question[:shown],
        answer=(sample.answer or "")[:shown],
        metrics=job.metrics,
        judge_model=job.judge or "",
        embedding_model=job.embedder or "",
        has_contexts=bool(sample.contexts),
        has_ground_truth=bool(sample.ground_truth),
        blanks_left_out=sum(stored.blanks_left_out for stored in samples),
    )
