"""How scores are printed for people."""

from budeval import cli_output as output
from budeval.domain.scoring import MetricOutcome
from budeval.scoring.answers import MetricInfo, MetricList, ScorePage, ScoreState, ScoreValidation


def print_state(state: ScoreState) -> None:
    """A job, its scores, and why others are missing."""
    output.print_line(
        f"{state.job_id}: {state.status} ({how_far(state)}), {state.samples} sample(s), {state.engine}"
    )
    if state.error:
        output.print_line(f"error: {state.error}")
    if blanks := state.request_summary.blanks_left_out:
        output.print_note(f"{blanks} blank context(s) or id(s) were left out.")
    if state.kind == "sample":
        _print_metrics_of_one(state)
    elif state.statuses:
        _print_means(state)
    if state.weighted_score is not None:
        coverage = f"{(state.weight_coverage or 0):.0%} of the weight"
        output.print_line(f"weighted score {state.weighted_score:.4f}, on {coverage}")
    if state.run_id:
        output.print_note(
            f"Artifacts: GET /runs/{state.run_id}; advice: {state.advice_status or 'under way'}"
        )


def how_far(state: ScoreState) -> str:
    """How it ended, or where it is and what is done of it."""
    where = state.outcome or state.phase or state.status
    if state.measured is None:
        return where
    of_samples = f", {state.done} of {state.samples} samples" if state.done is not None else ""
    return f"{where}: {state.measured} of {measurable(state)} values{of_samples}"


def measurable(state: ScoreState) -> int:
    """How many metrics of samples were asked for."""
    return state.samples * len(state.request_summary.metrics)


def _print_metrics_of_one(state: ScoreState) -> None:
    rows = [
        (
            item.metric,
            item.status,
            _value(item),
            item.usage.calls + item.usage.embedding_calls,
            item.usage.prompt_tokens + item.usage.completion_tokens,
            _reason(item),
        )
        for item in state.metrics
    ]
    if rows:
        output.print_table(("metric", "status", "value", "calls", "tokens", "reason"), rows)


def _value(item: MetricOutcome) -> str:
    spread = "" if item.stdev is None else f" (s.d. {item.stdev:.4f}, n {len(item.repeats)})"
    return "" if item.value is None else f"{item.value:.4f}{spread}"


def _reason(item: MetricOutcome) -> str:
    if lost := item.repeats_without_value:
        return f"{len(lost)} repeat(s) without a value: {', '.join(dict.fromkeys(lost))}"
    return ": ".join(part for part in (item.reason_code, item.message) if part)


def _print_means(state: ScoreState) -> None:
    rows = [
        (
            metric,
            "" if score is None else f"{score:.4f}",
            ", ".join(f"{count} {status}" for status, count in state.statuses.get(metric, {}).items()),
            state.skipped.get(metric, ""),
        )
        for metric, score in state.scores.items()
    ]
    output.print_table(("metric", "mean", "samples", "reason"), rows)
    if state.invalid:
        output.print_note(f"{state.invalid} line(s) were no sample: invalid.csv tells why.")


def print_page(page: ScorePage) -> None:
    """Jobs, one a line."""
    rows = [
        (
            state.job_id,
            state.status,
            state.outcome or "",
            "" if state.weighted_score is None else f"{state.weighted_score:.4f}",
            state.created_at[:19],
            state.request_summary.question,
        )
        for state in page.scores
    ]
    output.print_table(("job", "status", "outcome", "weighted", "created", "question"), rows)
    if page.cursor:
        output.print_note("There are more: --limit tells how many are listed.")


def print_validation(found: ScoreValidation) -> None:
    """What would be scored, and what not."""
    rows = [(name, "would be scored", "") for name in found.effective]
    rows += [(name, "skipped", reason) for name, reason in found.skipped.items()]
    output.print_table(("metric", "", "reason"), rows)
    output.print_line(f"at most {found.judge_calls} calls of judge {found.judge_model or '(none)'}")


def print_metrics(found: MetricList) -> None:
    """The metrics there are."""
    rows = [
        (item.name, ", ".join(item.needs), _calls(item), ", ".join(item.engines), item.description)
        for item in found.metrics
    ]
    output.print_table(("metric", "needs", "judge calls", "engines", "what it is"), rows)
    output.print_line(f"judges: {', '.join(found.judges) or 'none'}")
    output.print_line(f"embedders: {', '.join(found.embedders) or 'none'}")


def _calls(metric: MetricInfo) -> str:
    """Of each engine, in their order."""
    return ", ".join("1 a context" if calls is None else str(calls) for calls in metric.judge_calls.values())
