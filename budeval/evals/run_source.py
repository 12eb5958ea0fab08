"""Evaluations in the one list of runs, with what is stored of them as files."""

import io
from collections.abc import Callable
from typing import BinaryIO

from budeval.domain.evaluation import EvaluationBrief, Outcome, workflow_id
from budeval.evals.results_table import results_csv
from budeval.evals.store import EvaluationStore
from budeval.evals.views import EvaluationViews
from budeval.runs.run import Headline, Run, RunFile, RunKind, RunStatus
from budeval.runs.source import Entry, unknown_file
from budeval.runtime.listing import Cursor, listed_at

_PREFIX = workflow_id("")
_STATUSES = {Outcome.FAILED: RunStatus.FAILED, Outcome.CANCELLED: RunStatus.CANCELLED}


class EvaluationRuns:
    """`RunSource` of evaluations. A run's id is that of the evaluation's workflow, `eval-<eval_id>`."""

    kind = RunKind.EVALUATION

    def __init__(self, store: EvaluationStore, views: EvaluationViews) -> None:
        self._store = store
        self._views = views
        self._files: dict[str, tuple[str, Callable[[Run], str | None]]] = {
            "results.json": ("application/json", self._results_json),
            "results.csv": ("text/csv; charset=utf-8", self._results_csv),
            "receipt.json": ("application/json", self._receipt),
        }

    def entries(self, below: Cursor | None, count: int) -> list[Entry]:
        """See `RunSource`."""
        listed = self._store.entries(below, count)
        runs = {
            brief.eval_id: _run(brief) for brief in self._store.briefs([eval_id for eval_id, _ in listed])
        }
        return [Entry(cursor, listed_at(runs.get(eval_id), cursor)) for eval_id, cursor in listed]

    def find(self, run_id: str, tenant: str | None) -> Run | None:
        """See `RunSource`."""
        eval_id = _eval_id(run_id)
        if not run_id.startswith(_PREFIX) or tenant not in {None, self._store.tenant_of(eval_id)}:
            return None
        record = self._store.find(eval_id)
        return _run(record.brief) if record else None

    def files(self, run: Run) -> list[RunFile]:
        """See `RunSource`."""
        texts = {name: text_of(run) for name, (_, text_of) in self._files.items()}
        return [
            RunFile(name=name, media_type=self._files[name][0], bytes=len(text.encode()))
            for name, text in texts.items()
            if text is not None
        ]

    def open(self, run: Run, name: str) -> tuple[str, BinaryIO] | None:
        """See `RunSource`."""
        if name not in self._files:
            raise unknown_file(name, list(self._files))
        media_type, text_of = self._files[name]
        text = text_of(run)
        return None if text is None else (media_type, io.BytesIO(text.encode()))

    def _results_json(self, run: Run) -> str | None:
        return (
            self._views.results(_eval_id(run.run_id)).model_dump_json(indent=2)
            if self._has_results(run)
            else None
        )

    def _results_csv(self, run: Run) -> str | None:
        return results_csv(self._views.results(_eval_id(run.run_id))) if self._has_results(run) else None

    def _has_results(self, run: Run) -> bool:
        return self._store.results(_eval_id(run.run_id)) is not None

    def _receipt(self, run: Run) -> str | None:
        """Before the end it is not whole."""
        return self._views.receipt(_eval_id(run.run_id)).model_dump_json(indent=2) if run.finished else None


def _eval_id(run_id: str) -> str:
    return run_id.removeprefix(_PREFIX)


def _run(brief: EvaluationBrief) -> Run:
    ended = RunStatus.COMPLETED if brief.outcome else RunStatus.RUNNING
    return Run(
        run_id=workflow_id(brief.eval_id),
        kind=RunKind.EVALUATION,
        name=brief.eval_id,
        status=_STATUSES.get(brief.outcome, ended) if brief.outcome else ended,
        outcome=brief.outcome,
        created=brief.created,
        finished=brief.ended,
        headline=None if brief.headline is None else Headline(score=brief.headline, unit="percent"),
        datasets=brief.datasets,
        models=[brief.model],
        labels=brief.labels,
        tenant=brief.tenant,
        href=f"/evals/{brief.eval_id}",
    )
