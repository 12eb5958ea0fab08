"""`summary.md`: the run on one page, for people."""

from collections.abc import Sequence

from budeval.domain.bounded_mean import Mean
from budeval.domain.markdown import code, escaped, fenced, one_line
from budeval.domain.score_run import ScoredSample, ScoreRun
from budeval.domain.score_summary import MetricSummary, RunSummary
from budeval.domain.scoring import Maker, MetricStatus
from budeval.scoring.artifacts.encoding import utf8
from budeval.scoring.artifacts.names import Artifact
from budeval.scoring.artifacts.tables import errors_of

_ROWS = 1000
"""Of the table; the page would not open any more. The CSV has them all."""
_LONGEST_CELL = 300
_NONE = "n/a"


def summary_page(run: ScoreRun, summary: RunSummary) -> bytes:
    """Header, means and scores in the original's order."""
    parts = [_header(run), "## Metric Means", _means(run, summary), "## Per-sample Scores", _table(run)]
    return utf8("\n\n".join(parts) + "\n")


def _header(run: ScoreRun) -> str:
    facts = {
        "run_id": run.run_id,
        "mode": "offline",
        "total_samples": str(len(run.samples) + len(run.invalid)),
        "valid_samples": str(len(run.samples)),
        "invalid_samples": str(len(run.invalid)),
        "judge_model": run.judge_model or _NONE,
        "embedding_model": run.embedding_model or _NONE,
        "engine": f"{run.engine} {run.engine_version}",
    }
    bullets = "\n".join(f"- {name}: {code(value)}" for name, value in facts.items())
    return f"# {escaped(run.scenario_name)}\n\n{bullets}"


def _means(run: ScoreRun, summary: RunSummary) -> str:
    lines = [
        f"- {escaped(item.metric)}: {_shown(item.mean)}{_unscored(item)}{_mixed(run.makers[item.metric])}"
        for item in summary.metrics
    ]
    coverage = f", {summary.weight_coverage:.0%} of the weight" if summary.weighted else ""
    lines.append(f"- weighted score: {_shown(summary.weighted)}{coverage}")
    note = "Intervals are for the mean at 95 % (hedged capital), for samples that are drawn independently."
    many = any(item.mean and item.mean.interval for item in summary.metrics)
    return "\n".join(lines) + (f"\n\n{note}" if many else "")


def _shown(mean: Mean | None) -> str:
    if mean is None:
        return f"`{_NONE}`"
    if mean.stderr is None or mean.interval is None:
        return f"`{mean.value:.4f}`"
    low, high = mean.interval
    return f"`{mean.value:.4f}` (n {mean.samples}, s.e. {mean.stderr:.4f}, {low:.4f} to {high:.4f})"


def _unscored(item: MetricSummary) -> str:
    """How many samples ended without a value, and how."""
    others = {status: count for status, count in item.statuses.items() if status is not MetricStatus.SCORED}
    return "".join(f", {count} {status}" for status, count in others.items())


def _mixed(makers: Sequence[Maker]) -> str:
    """That values which cannot be compared are together in a mean."""
    return f", by {len(makers)} versions or models ({Artifact.METADATA})" if len(makers) > 1 else ""


def _table(run: ScoreRun) -> str:
    if not run.samples:
        return "No valid samples were scored."
    rows = [["sample_id", *run.metrics, "error"]]
    rows += [_row(run.metrics, sample) for sample in run.samples[:_ROWS]]
    left = len(run.samples) - _ROWS
    more = f"\n\n{left} more samples are in {Artifact.SCORES_CSV}." if left > 0 else ""
    return fenced("\n".join(_aligned(rows))) + more


def _row(metrics: Sequence[str], sample: ScoredSample) -> list[str]:
    outcomes = {outcome.metric: outcome for outcome in sample.outcomes}
    cells = []
    for metric in metrics:
        value = outcomes[metric].value
        cells.append(outcomes[metric].status if value is None else f"{value:.4f}")
    return [one_line(sample.sample_id, _LONGEST_CELL), *cells, one_line(errors_of(sample), _LONGEST_CELL)]


def _aligned(rows: list[list[str]]) -> list[str]:
    widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))]
    lines = [
        " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    return [lines[0], "-|-".join("-" * width for width in widths), *lines[1:]]
