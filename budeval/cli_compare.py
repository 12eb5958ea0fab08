"""`budeval compare`: two evaluations side by side, and a gate for pipelines."""

from budeval import cli_output as output
from budeval.domain.comparison import Verdict
from budeval.evals.answers import ComparedDataset, ComparisonReport

PASSED, WORSE, UNDECIDED = 0, 1, 4
"""Exit codes of the gate."""

_NOT_WORSE = {Verdict.BETTER, Verdict.NO_EVIDENCE}


def gate(report: ComparisonReport) -> int:
    """PASSED if every dataset could be compared and none is worse, WORSE if one is, otherwise UNDECIDED.

    A dataset that cannot be compared decides nothing: a gate that let it pass would be open to a broken run.
    """
    if report.verdict is Verdict.WORSE:
        return WORSE
    verdicts = {dataset.verdict for dataset in report.datasets}
    return PASSED if verdicts and verdicts <= _NOT_WORSE else UNDECIDED


def print_comparison(report: ComparisonReport) -> None:
    """A line per dataset, what else differs, and the verdict."""
    columns = ("dataset", "base", "candidate", "difference", "samples", "p", "p (Holm)", "verdict", "")
    output.print_table(columns, [_row(dataset) for dataset in report.datasets])
    for what, (base, candidate) in report.differs.items():
        output.print_line(f"differs: {what}", f"{base} -> {candidate}")
    tested = sum(dataset.p_value is not None for dataset in report.datasets)
    of_all = f"the {tested} of {len(report.datasets)} datasets that were tested"
    output.print_line(
        f"{report.candidate.model} against {report.base.model}: {report.verdict.value.replace('_', ' ')}",
        f"(alpha {report.alpha:g}, two-sided, corrected after Holm for {of_all})",
    )


def _row(dataset: ComparedDataset) -> tuple[object, ...]:
    base, candidate = dataset.base or {}, dataset.candidate or {}
    points = None if dataset.difference is None else f"{100 * dataset.difference:+.2f} %"
    same = base.get("samples") == candidate.get("samples")
    samples = base.get("samples") if same else f"{base.get('samples')} / {candidate.get('samples')}"
    return (
        dataset.dataset,
        _rounded(base.get("score")),
        _rounded(candidate.get("score")),
        points,
        samples,
        _small(dataset.p_value),
        _small(dataset.p_holm),
        dataset.verdict.value.replace("_", " "),
        dataset.reason or "",
    )


def _rounded(score: float | None) -> str:
    return "" if score is None else f"{score:.2f}"


def _small(p_value: float | None) -> str:
    return "" if p_value is None else f"{p_value:.2g}"
