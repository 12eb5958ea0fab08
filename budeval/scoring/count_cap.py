"""Beyond a number jobs that have ended are deleted, so that a busy day fills neither state nor artifacts."""

import logging
from collections import Counter
from collections.abc import Callable, Iterator

from budeval.domain.score_job import ScoreRecord
from budeval.errors import RequestError, SidecarError
from budeval.runtime.logs import about
from budeval.scoring.store import ScoreStore

_PER_READ = 200

_log = logging.getLogger(__name__)


class CountCap:
    """Sweeps the list of jobs, the newest first. Retention takes their days from the list."""

    def __init__(self, store: ScoreStore, delete: Callable[[str], None], most: int) -> None:
        """`delete` deletes a job; of each tenant's that have ended the newest `most` stay."""
        self._store = store
        self._delete = delete
        self._most = most

    def sweep(self) -> None:
        """Delete what is too many, by the time of creation. May be repeated.

        Raises:
            SidecarError: state store or workflow engine did not answer; the next sweep goes on.
        """
        found: Counter[str] = Counter()
        for record in self._ended():
            found[record.job.tenant] += 1
            if found[record.job.tenant] > self._most:
                self._try(record.job.job_id)

    def _ended(self) -> Iterator[ScoreRecord]:
        cursor = None
        seen: set[str] = set()  # tries of one request before midnight and after have put it on two days
        while True:
            listed, cursor = self._store.newest(cursor, _PER_READ)
            job_ids = [job_id for job_id in dict.fromkeys(listed) if job_id not in seen]
            seen.update(job_ids)
            yield from (record for record in self._store.load_all(job_ids) if record.ended)
            if cursor is None:
                return

    def _try(self, job_id: str) -> None:
        """One that cannot be deleted must not keep those behind it from being so."""
        with about(job_id=job_id):
            try:
                self._delete(job_id)
            except SidecarError:
                raise  # there the next one would fail, too
            except RequestError as error:  # its workflow has a last turn to go, or it is taken up again
                _log.info("it stays until the next sweep: %s", error)
            except Exception:  # noqa: BLE001 - see above; the next sweep tries again
                _log.exception("it could not be deleted")
            else:
                _log.info("deleted: it was one too many")
