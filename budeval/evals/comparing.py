"""Two evaluations side by side: which differences are more than chance, and what else differs."""

from collections import Counter
from dataclasses import dataclass
from typing import Any

from budeval.domain.cells import requested
from budeval.domain.comparison import Cell, Difference, Measure, Pairing, Verdict, compare, overall
from budeval.domain.evaluation import EvaluationRecord, Evaluator, Run
from budeval.domain.results import Result, evaluation_outcome, totals
from budeval.errors import RequestError
from budeval.evals.answers import ComparedDataset, ComparedEvaluation, ComparisonReport
from budeval.evals.store import EvaluationStore

_SHOWN_OF_RUN = (
    "engine",
    "engine_version",
    "evaluators_sha256",
    "image",
    "image_id",
    "model",
    "endpoint",
    "endpoint_models",
    "decoding",
)
_SAME_EVERYWHERE = {Evaluator.EXACT, Evaluator.CONTAINS}
"""What engines read replies for in the same way; numbers and options each finds by rules of its own."""
_SHOWN_OF_SOURCE = ("digest", "path", "answer", "evaluator", "limit", "prompt_sha256")


@dataclass(frozen=True)
class _Ended:
    """An evaluation that has results."""

    record: EvaluationRecord
    results: list[Result]


class Comparisons:
    """Compares evaluations of this service."""

    def __init__(self, store: EvaluationStore) -> None:
        self._store = store

    def report(self, base: str, candidate: str, alpha: float) -> ComparisonReport:
        """How a candidate does against a base, dataset by dataset.

        Args:
            base: id of the evaluation that is the measure.
            candidate: id of the one that is judged.
            alpha: the probability of finding any difference where there is none, over all datasets.

        Raises:
            RequestError: EVALUATION_UNKNOWN, or RESULTS_NOT_READY (409), naming which of the two.
        """
        ours, theirs = self._ended(base, "base"), self._ended(candidate, "candidate")
        measures, others = _measures(ours), _measures(theirs)
        names = list(dict.fromkeys([*measures, *others]))
        pairings = [Pairing(_called(name), measures.get(name), others.get(name)) for name in names]
        found = compare(pairings, alpha)
        compared = [_shown(one, pairing) for one, pairing in zip(found, pairings, strict=True)]
        verdicts = Counter(one.verdict for one in found)
        return ComparisonReport(
            base=_evaluation(ours),
            candidate=_evaluation(theirs),
            alpha=alpha,
            verdict=overall(found),
            verdicts={verdict.value: verdicts[verdict] for verdict in Verdict},
            datasets=compared,
            differs=_differs(_facts(ours), _facts(theirs)),
        )

    def _ended(self, eval_id: str, param: str) -> _Ended:
        try:
            return _Ended(self._store.load(eval_id), self._store.load_results(eval_id))
        except RequestError as error:
            error.param = param
            raise


_Name = tuple[str, str, int]
"""Dataset as submitted; the engine's name where it is one of several parts; which of several such."""


def _measures(ended: _Ended) -> dict[_Name, Measure]:
    """The primary cell of every dataset, by a name that two evaluations have in common."""
    runs = {run.run_id: run for run in ended.record.evaluation.runs}
    measures: dict[_Name, Measure] = {}
    for result in ended.results:
        run = runs[result["run_id"]]
        cells = _primary(result.get("cells", []))
        for part, cell in cells.items():
            name = (run.dataset_id, part if len(cells) > 1 else "", 0)
            while name in measures:  # one dataset in several runs
                name = (*name[:2], name[2] + 1)
            measures[name] = _measure(cell, run, result.get("provenance", {}))
    return measures


def _primary(cells: list[Cell]) -> dict[str, Cell]:
    """Engine's name of a dataset -> its primary cell, or the one that tells why there is none."""
    found: dict[str, Cell] = {}
    for cell in requested(cells):
        part = " ".join(str(cell[key]) for key in ("dataset", "judge", "profile") if cell.get(key))
        if cell.get("primary") or (part not in found and cell["state"] != "scored"):
            found[part] = cell
    return found


def _measure(cell: Cell, run: Run, provenance: dict[str, Any]) -> Measure:
    """Of stock datasets the rows are known by the items alone: their digests are with the verdicts."""
    if run.own is None:
        return Measure(cell=cell, measured_by=cell["metric"], binary="interval" in cell)
    read = [item for item in provenance.get("datasets") or [] if item["dataset"] == cell["dataset"]]
    # Where not every row was scored, it is not known which were.
    whole = [item.get("rows_sha256") for item in read if item.get("rows") == cell.get("samples")]
    # All evaluators of own datasets judge each sample right or wrong.
    by = _measured_by(run.own.evaluator, provenance)
    return Measure(cell=cell, measured_by=by, rows=whole[0] if whole else None, binary=True)


def _measured_by(evaluator: Evaluator, provenance: dict[str, Any]) -> str:
    """What two scores have in common that were measured alike."""
    if evaluator in _SAME_EVERYWHERE:
        return evaluator.value
    rules = provenance.get("evaluators_sha256")  # our own, which change with this service
    return f"{provenance.get('engine')}'s {evaluator.value}" + (f" ({rules[:8]})" if rules else "")


def _called(name: _Name) -> str:
    dataset, part, number = name
    return dataset + (f" {part}" if part else "") + (f" ({number + 1})" if number else "")


def _shown(found: Difference, pairing: Pairing) -> ComparedDataset:
    return ComparedDataset(
        dataset=found.dataset,
        verdict=found.verdict,
        reason=found.reason,
        base=_score(pairing.base),
        candidate=_score(pairing.candidate),
        difference=found.difference,
        interval=found.interval,
        method=found.method,
        p_value=found.p_value,
        p_holm=found.p_holm,
        only_base=found.counts.get("only_base"),
        only_candidate=found.counts.get("only_candidate"),
    )


def _score(measure: Measure | None) -> dict[str, Any] | None:
    keys = ("metric", "score", "unit", "samples", "interval", "version", "state", "reason")
    return {key: measure.cell[key] for key in keys if key in measure.cell} if measure else None


def _evaluation(ended: _Ended) -> ComparedEvaluation:
    evaluation = ended.record.evaluation
    return ComparedEvaluation(
        eval_id=evaluation.eval_id,
        model=evaluation.model.name,
        engine=evaluation.engine,
        created=ended.record.created,
        outcome=evaluation_outcome(ended.results),
        **totals(ended.results),
    )


def _facts(ended: _Ended) -> dict[str, Any]:
    """Where the scores come from: of all runs together, and of each dataset."""
    facts: dict[str, Any] = {}
    for result in ended.results:
        provenance = result.get("provenance", {})
        for key in _SHOWN_OF_RUN:
            values = facts.setdefault(key, [])
            if provenance.get(key) not in values:
                values.append(provenance.get(key))
        cells = _primary(result.get("cells", [])).values()
        found = {
            "prompt_version": [cell.get("version") for cell in cells],
            "items": [cell.get("verdicts", cell).get("items") for cell in cells],
            "rows_sha256": [item.get("rows_sha256") for item in provenance.get("datasets") or []],
        }
        for key, values in found.items():
            facts[f"{result['dataset_id']}.{key}"] = sorted(filter(None, values))
        for key in _SHOWN_OF_SOURCE:
            facts[f"{result['dataset_id']}.{key}"] = provenance.get("source", {}).get(key)
    return {
        key: value[0] if isinstance(value, list) and len(value) == 1 else value
        for key, value in facts.items()
    }


def _differs(base: dict[str, Any], candidate: dict[str, Any]) -> dict[str, list[Any]]:
    """Fact -> its two values, where both evaluations have it and they differ."""
    return {
        key: [value, candidate[key]]
        for key, value in base.items()
        if key in candidate and candidate[key] != value
    }
