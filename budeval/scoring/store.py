"""What the state store keeps of scoring jobs, and under which keys.

`score-<id>` the record; `score-claim-<id>` which request may become it, see `Claim`;
`score-sample-<id>-<n>` a sample, from 1; `score-invalid-<id>` lines that are none;
`score-outcome-<id>-<n>-<metric>` what a metric says of a sample; `score-ledger-<id>-<n>-<metric>-<repeat>`
what was paid for until then, with 0 and `advice` for the advice; and the list (`budeval.runtime.listing`),
whose keys begin with `score-` too.
Of a job that was deleted a tombstone stays in the place of the record.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from pydantic import BaseModel, ConfigDict

from budeval.domain.score_job import JOB_ID, ScoreRecord, ScoreTombstone, workflow_id
from budeval.domain.score_run import InvalidSample
from budeval.domain.scoring import Maker, MetricOutcome, MetricStatus, Sample
from budeval.errors import RequestError, SidecarError
from budeval.runtime.listing import Listing, readable

_ID = re.compile(JOB_ID)
_PER_READ = 200
_PER_CLAIM = 50
"""Samples that are stored before a claim is renewed: with a slow sidecar they take minutes."""
_CUT_OFF_AFTER = timedelta(minutes=10)
"""Of an unrenewed claim: after this nobody is working at its request any more."""

OF_ADVICE = 0, "advice", 1
"""Where the ledger of the advice is, among those by sample, metric and repeat: no sample has the number."""

Change = Callable[[ScoreRecord], ScoreRecord]


class StoredSample(BaseModel):
    """A sample under its name."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sample_id: str
    sample: Sample
    blanks_left_out: int = 0
    """Entries of its lists that were blank, and are not in it."""


class StoredOutcome(BaseModel):
    """What a metric says of a sample, in which attempt it did, and who made it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    attempt: int
    outcome: MetricOutcome
    maker: Maker | None = None
    """None where nobody could: its engine is not there any more."""

    def stands_in(self, attempt: int) -> bool:
        """Whether it counts in an attempt: what has failed in an earlier one is scored again."""
        return self.attempt == attempt or self.outcome.status is not MetricStatus.FAILED


class Claim(BaseModel):
    """That a request is coming in under an id, and may keep its samples there."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    digest: str
    """Of the request."""
    at: datetime | None = None
    """When it was still being worked at; claims of older versions have no time."""
    forgotten: bool = False
    """It was cut off, and what it keeps is being deleted: nobody may keep anything under it."""

    def is_cut_off(self) -> bool:
        """Whether nobody is working at it any more."""
        return self.forgotten or self.at is None or datetime.now(UTC) - self.at > _CUT_OFF_AFTER


def unknown(job_id: str) -> RequestError:
    """What is asked of a job that is not there, or not there for whoever asks."""
    text = f"There is no scoring job {job_id[:64]!r}."
    return RequestError(text, status=404, code="SCORE_UNKNOWN", param="job_id")


def deleted(job_id: str) -> RequestError:
    """What is asked of a job that is no more."""
    text = f"Scoring job {job_id} was deleted."
    return RequestError(text, status=410, code="SCORE_DELETED", param="job_id")


def running(job_id: str) -> RequestError:
    """What can be done only to a job that has ended."""
    text = f"Scoring job {job_id} has not ended. Wait for its end, or cancel it."
    return RequestError(text, status=409, code="SCORE_RUNNING", param="job_id")


def now() -> str:
    """UTC, ISO 8601, to a millisecond: many jobs take less than a second."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


class ScoreStore(Listing):
    """Scoring jobs in the state store, through the sidecar. Nothing queries, so any Dapr store serves."""

    _prefix = "score-"

    def create(self, record: ScoreRecord) -> ScoreRecord:
        """Store a record unless there is one; returns the one that is there now.

        Raises:
            RequestError: SCORE_DELETED (410): there was one.
        """
        key = workflow_id(record.job.job_id)
        return _record(self._sidecar.save_state_first(key, record.model_dump(mode="json")))

    def claim(self, job_id: str, digest: str) -> str:
        """The digest of the one request whose samples may be kept under an id: the first that asked.

        Raises:
            SidecarError: it was cut off before, and what it has kept is just being deleted.
        """

        def claimed(stored: Any) -> Any:
            claim = _claim(stored) if stored else Claim(digest=digest)
            if claim.forgotten:
                raise _removed(job_id)
            return _renewed(claim) if claim.digest == digest else stored

        return _claim(self._sidecar.update_state(_claim_key(job_id), claimed)).digest

    def _renew_claim(self, job_id: str, digest: str) -> None:
        """Whoever took too long finds that what he has kept is gone."""

        def renewed(stored: Any) -> Any:
            claim = _claim(stored) if stored else None
            if claim is None or claim.forgotten or claim.digest != digest:
                raise _removed(job_id)
            return _renewed(claim)

        self._sidecar.update_state(_claim_key(job_id), renewed)

    def _is_open(self, item_id: str) -> bool:
        stored = self._stored(item_id)
        return bool(stored) and not _is_tombstone(stored) and not stored.get("ended")

    def find(self, job_id: str) -> ScoreRecord | None:
        """The record of a job, None where there is none.

        Raises:
            RequestError: SCORE_DELETED (410): there was one.
        """
        stored = self._stored(job_id)
        return _record(stored) if stored else None

    def load(self, job_id: str) -> ScoreRecord:
        """The record of a job.

        Raises:
            RequestError: SCORE_UNKNOWN, SCORE_DELETED.
        """
        record = self.find(job_id)
        if record is None:
            raise unknown(job_id)
        return record

    def load_all(self, job_ids: list[str]) -> list[ScoreRecord]:
        """The records of jobs that are there, and can be read, in their order."""
        keys = [workflow_id(job_id) for job_id in job_ids]
        found = zip(keys, self._sidecar.get_states(keys), strict=True)
        records = [
            readable(ScoreRecord, value, key) for key, value in found if value and not _is_tombstone(value)
        ]
        return [record for record in records if record]

    def is_there(self, job_id: str) -> bool:
        """Whether it has a record, be it one that cannot be read."""
        stored = self._stored(job_id)
        return stored is not None and not _is_tombstone(stored)

    def tenant_of(self, job_id: str) -> str | None:
        """Whose job it is, or was before it was deleted; None where there is none."""
        stored = self._stored(job_id)
        if stored is None:
            return None
        return str(stored["tenant"] if _is_tombstone(stored) else stored["job"]["tenant"])

    def update(self, job_id: str, change: Change) -> ScoreRecord:
        """Change a record; the change may be made again where somebody else wrote in between.

        Raises:
            RequestError: SCORE_UNKNOWN, SCORE_DELETED; whatever `change` raises.
        """

        def changed(stored: Any) -> Any:
            if stored is None:
                raise unknown(job_id)
            return change(_record(stored)).model_dump(mode="json")

        return _record(self._sidecar.update_state(workflow_id(job_id), changed))

    def save_samples(
        self, job_id: str, digest: str, samples: Sequence[StoredSample], invalid: Iterable[InvalidSample]
    ) -> None:
        """Keep what a claimed job is to score, each sample under a number from 1 on. May be repeated.

        Raises:
            SidecarError: also where it took so long that its claim was taken for cut off.
        """
        lines = [line.model_dump(mode="json") for line in invalid]
        if lines:
            self._sidecar.save_state(f"score-invalid-{job_id}", lines)
        for before in range(0, len(samples), _PER_CLAIM):
            page = dict(enumerate(samples[before : before + _PER_CLAIM], before + 1))
            for number, sample in page.items():
                self._sidecar.save_state(_sample_key(job_id, number), sample.model_dump(mode="json"))
            try:
                self._renew_claim(job_id, digest)
            except _ClaimLostError:
                self._forget_samples(job_id, page)
                raise

    def _forget_samples(self, job_id: str, numbers: Iterable[int]) -> None:
        for number in numbers:
            self._sidecar.delete_state(_sample_key(job_id, number))

    def samples(self, job_id: str, numbers: Iterable[int]) -> list[StoredSample]:
        """Samples by their numbers.

        Raises:
            LookupError: one is not there (any more).
        """
        keys = [_sample_key(job_id, number) for number in numbers]
        found = [value for page in _pages(keys) for value in self._sidecar.get_states(page)]
        if None in found:
            raise LookupError(f"{keys[found.index(None)]} is not there")
        return [StoredSample.model_validate(value) for value in found]

    def invalid(self, job_id: str) -> list[InvalidSample]:
        """The lines that are no sample."""
        stored = self._sidecar.get_state(f"score-invalid-{job_id}") or []
        return [InvalidSample.model_validate(line) for line in stored]

    def outcome(self, job_id: str, number: int, metric: str) -> StoredOutcome | None:
        """What a metric has said of a sample."""
        stored = self._sidecar.get_state(_outcome_key(job_id, number, metric))
        return StoredOutcome.model_validate(stored) if stored else None

    def outcomes(
        self, job_id: str, numbers: Iterable[int], metrics: Iterable[str]
    ) -> dict[tuple[int, str], StoredOutcome]:
        """What is there, by sample and metric."""
        places = [(number, metric) for number in numbers for metric in metrics]
        keys = [_outcome_key(job_id, number, metric) for number, metric in places]
        found = [value for page in _pages(keys) for value in self._sidecar.get_states(page)]
        pairs = zip(places, found, strict=True)
        return {place: StoredOutcome.model_validate(value) for place, value in pairs if value}

    def keep_outcome(self, job_id: str, number: int, fresh: StoredOutcome) -> StoredOutcome:
        """Keep an outcome unless one is there that stands; returns the one that is there now."""

        def kept(stored: Any) -> Any:
            if stored and StoredOutcome.model_validate(stored).stands_in(fresh.attempt):
                return stored
            return fresh.model_dump(mode="json")

        key = _outcome_key(job_id, number, fresh.outcome.metric)
        return StoredOutcome.model_validate(self._sidecar.update_state(key, kept))

    def ledger(self, job_id: str, number: int, metric: str, repeat: int) -> dict[str, Any]:
        """What was paid for so far, as it was stored."""
        stored: dict[str, Any] = self._sidecar.get_state(_ledger_key(job_id, number, metric, repeat)) or {}
        return stored

    def save_ledger(self, job_id: str, number: int, metric: str, repeat: int, ledger: dict[str, Any]) -> None:
        """Keep it; whoever scores a metric of a sample does so alone."""
        self._sidecar.save_state(_ledger_key(job_id, number, metric, repeat), ledger)

    def forget_ledgers(self, job_id: str, number: int, metric: str, repeats: int) -> None:
        """Nobody asks the same again. May be repeated."""
        for repeat in range(1, repeats + 1):
            self._sidecar.delete_state(_ledger_key(job_id, number, metric, repeat))

    def forget_advice_ledger(self, job_id: str) -> None:
        """Its advice is there. May be repeated."""
        self._sidecar.delete_state(_ledger_key(job_id, *OF_ADVICE))

    def forget_texts(self, record: ScoreRecord) -> None:
        """Delete the texts of a job, and what quotes them. May be repeated."""
        job = record.job
        for number in range(1, job.samples + 1):
            for metric in job.metrics:
                self.forget_ledgers(job.job_id, number, metric, job.repeats)
                self._sidecar.delete_state(_outcome_key(job.job_id, number, metric))
            self._sidecar.delete_state(_sample_key(job.job_id, number))
        self.forget_advice_ledger(job.job_id)
        self._sidecar.delete_state(f"score-invalid-{job.job_id}")

    def forget_unrecorded(self, job_id: str) -> bool:
        """Delete the samples of a request that never got its record, once it is cut off. May be repeated.

        Returns:
            False where it is still coming in, and nothing was deleted.
        """

        def forgotten(stored: Any) -> Any:
            # Noted in the claim itself: who renews it from here on is told that all is gone.
            claim = _claim(stored) if stored else Claim(digest="")
            update = {"forgotten": claim.is_cut_off()}
            return claim.model_copy(update=update).model_dump(mode="json")

        if self._sidecar.get_state(_claim_key(job_id)) is None:  # so nothing is kept (any more)
            return True
        if not _claim(self._sidecar.update_state(_claim_key(job_id), forgotten)).forgotten:
            return False
        last = 0
        while self._sidecar.get_state(_sample_key(job_id, last + 1)) is not None:
            last += 1
        # The first one last, or a repetition would find none.
        self._forget_samples(job_id, range(last, 0, -1))
        self._sidecar.delete_state(f"score-invalid-{job_id}")
        self._sidecar.delete_state(_claim_key(job_id))
        return True

    def begin_deletion(self, job_id: str) -> ScoreRecord:
        """Note in the record of a job that has ended that it shall be deleted: nobody retries it.

        Raises:
            RequestError: SCORE_RUNNING (409); SCORE_UNKNOWN, SCORE_DELETED.
        """

        def begun(record: ScoreRecord) -> ScoreRecord:
            if record.ended is None:
                raise running(job_id)
            return record.model_copy(update={"deletion": record.deletion or now()})

        return self.update(job_id, begun)

    def bury(self, record: ScoreRecord) -> None:
        """Forget all of a job that has ended; last its record, which becomes a tombstone. May be repeated."""
        job = record.job
        self.forget_texts(record)
        self._sidecar.delete_state(_claim_key(job.job_id))
        self._sidecar.forget_announcements(job.subject)
        tombstone = ScoreTombstone(job_id=job.job_id, tenant=job.tenant, deleted=now())
        self._sidecar.save_state(workflow_id(job.job_id), tombstone.model_dump(mode="json"))

    def _stored(self, job_id: str) -> Any:
        """The store is not asked for whatever somebody puts into a path."""
        return self._sidecar.get_state(workflow_id(job_id)) if _ID.fullmatch(job_id) else None


def _record(stored: Any) -> ScoreRecord:
    """A record as it is stored. Raises SCORE_DELETED for a tombstone."""
    if _is_tombstone(stored):
        raise deleted(stored["job_id"])
    return ScoreRecord.model_validate(stored)


def _is_tombstone(stored: Any) -> bool:
    return "job" not in stored


def _claim(stored: Any) -> Claim:
    """A claim as it is stored; older versions stored the digest alone."""
    return Claim(digest=stored) if isinstance(stored, str) else Claim.model_validate(stored)


def _renewed(claim: Claim) -> dict[str, Any]:
    return claim.model_copy(update={"at": datetime.now(UTC)}).model_dump(mode="json")


class _ClaimLostError(SidecarError):
    """Nothing may be kept under a claim any more."""


def _removed(job_id: str) -> _ClaimLostError:
    text = f"What was kept of scoring job {job_id} is removed, as its request was cut off or took too long."
    return _ClaimLostError(f"{text} Send it again in a minute.")


def _claim_key(job_id: str) -> str:
    return f"score-claim-{job_id}"


def _sample_key(job_id: str, number: int) -> str:
    return f"score-sample-{job_id}-{number}"


def _outcome_key(job_id: str, number: int, metric: str) -> str:
    return f"score-outcome-{job_id}-{number}-{metric}"


def _ledger_key(job_id: str, number: int, metric: str, repeat: int) -> str:
    return f"score-ledger-{job_id}-{number}-{metric}-{repeat}"


def _pages(keys: list[str]) -> list[list[str]]:
    """So that no answer of the sidecar grows beyond what it may send."""
    return [keys[at : at + _PER_READ] for at in range(0, len(keys), _PER_READ)]
