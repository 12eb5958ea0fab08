"""Finding, explaining and writing the advice on a run."""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass

from budeval.domain.score_job import AdviceStatus
from budeval.domain.score_run import ScoreRun
from budeval.domain.scoring import Usage
from budeval.errors import SidecarError
from budeval.scoring.advice.finding import Finding
from budeval.scoring.advice.findings import findings_of
from budeval.scoring.advice.gaps import gaps_of
from budeval.scoring.advice.page import Advice, advice_page
from budeval.scoring.advice.prose import Explained, explained
from budeval.scoring.artifacts import ArtifactStore, write_advice
from budeval.scoring.judge import Judge
from budeval.scoring.ledger import Ledger, MemoryLedger
from budeval.scoring.limiter import Limiter
from budeval.scoring.settings import JudgeSettings

SECONDS = 120.0
"""For a model's words. Nobody waits for them, but they hold a worker."""

_UNASKED = Explained(
    None, "inputs_not_kept: a model would be shown digests, not texts (store_inputs)", Usage()
)

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Writer:
    """A model that puts findings into words."""

    settings: JudgeSettings
    limiter: Limiter


class Adviser:
    """Writes `optimization_advice.md` beside a run that is there."""

    def __init__(self, store: ArtifactStore, writer: Writer | None, seconds: float = SECONDS) -> None:
        """`writer` is None where it is left at the rules; `seconds` are for its words."""
        self._store = store
        self._writer = writer
        self._seconds = seconds

    async def advise(self, run: ScoreRun, ledger: Ledger | None = None) -> AdviceStatus:
        """Write the advice on a run. May be repeated; what fails is a status, and logged.

        Args:
            run: which.
            ledger: of its advice; None for one that nobody repeats.

        Returns:
            SKIPPED where nothing is scored (the page says what is missing, and no model is asked); GENERATED
            with a model's words; RULES_ONLY without (the page says why, where a model is set); FAILED
            where there is no page.

        Raises:
            SidecarError: the ledger could not be written.
        """
        try:
            advice = await self._advice_on(run, ledger or MemoryLedger())
            page = advice_page(run, advice)
            await asyncio.to_thread(write_advice, run.run_id, page, self._store)
        except SidecarError:
            raise
        except Exception:  # noqa: BLE001 - the scores stand, whatever it is
            _log.exception("no advice could be given on run %s", run.run_id)
            return AdviceStatus.FAILED
        return advice.status

    async def _advice_on(self, run: ScoreRun, ledger: Ledger) -> Advice:
        findings, gaps = findings_of(run), gaps_of(run)
        if all(outcome.value is None for sample in run.samples for outcome in sample.outcomes):
            return Advice(AdviceStatus.SKIPPED, findings, gaps)
        if self._writer is None or not findings:
            return Advice(AdviceStatus.RULES_ONLY, findings, gaps)
        if not run.texts_kept:
            return Advice(AdviceStatus.RULES_ONLY, findings, gaps, _UNASKED)
        said = await self._explained(self._writer, run, findings, ledger)
        status = AdviceStatus.GENERATED if said.prose else AdviceStatus.RULES_ONLY
        if said.problem:
            _log.warning("the advice on run %s has no model's words: %s", run.run_id, said.problem)
        return Advice(status, findings, gaps, said, self._writer.settings.model)

    async def _explained(
        self, writer: Writer, run: ScoreRun, findings: Sequence[Finding], ledger: Ledger
    ) -> Explained:
        try:
            async with Judge(writer.settings, writer.limiter) as judge:
                return await explained(run, findings, judge, self._seconds, ledger)
        except SidecarError:
            raise
        except Exception as error:  # noqa: BLE001 - the rules stand, whatever it is
            _log.exception("the writer has failed")
            return Explained(None, f"internal: {type(error).__name__}", Usage())
