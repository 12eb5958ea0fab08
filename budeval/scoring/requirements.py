"""Which metrics a sample can be scored by."""

from collections.abc import Iterable

from budeval.domain.invisible import is_invisible
from budeval.domain.scoring import Sample
from budeval.scoring.metrics import METRICS, Metric, Need


def applicable(
    metrics: Iterable[str], sample: Sample, *, has_judge: bool, has_embedder: bool
) -> tuple[list[str], dict[str, str]]:
    """The metrics that can be scored, in the order asked for, and why each of the others cannot.

    Returns:
        Names, and name -> reason code: `missing_<what>` of the sample (a blank text is none), `no_judge` or
        `no_embedder`.

    Raises:
        KeyError: there is no such metric.
    """
    effective, skipped = [], {}
    for name in metrics:
        lack = lacking(METRICS[name], sample, has_judge=has_judge, has_embedder=has_embedder)
        if lack:
            skipped[name] = lack
        else:
            effective.append(name)
    return effective, skipped


def lacking(metric: Metric, sample: Sample, *, has_judge: bool, has_embedder: bool) -> str | None:
    """Why a metric cannot be scored; None where it can."""
    there = _parts(sample)
    for need in metric.needs:
        if need not in there:
            return f"missing_{need}"
    if metric.needs_judge and not has_judge:
        return "no_judge"
    if metric.needs_embedder and not has_embedder:
        return "no_embedder"
    return None


def without_blanks(sample: Sample) -> Sample:
    """The sample without lists' blank entries, which would be paid for and count as retrieved."""
    lists = ("contexts", "reference_contexts", "context_ids", "reference_context_ids")
    kept = {name: tuple(text for text in getattr(sample, name) if not is_blank(text)) for name in lists}
    return sample.model_copy(update=kept)


def _parts(sample: Sample) -> set[Need]:
    full = without_blanks(sample)
    there = {
        Need.QUESTION: not is_blank(full.question),
        Need.ANSWER: not is_blank(full.answer),
        Need.GROUND_TRUTH: not is_blank(full.ground_truth),
        Need.CONTEXTS: bool(full.contexts),
        Need.REFERENCE_CONTEXTS: bool(full.reference_contexts),
        Need.IDS: bool(full.context_ids and full.reference_context_ids),
    }
    return {need for need, is_there in there.items() if is_there}


def is_blank(text: str | None) -> bool:
    """Whether nothing is to be seen."""
    return all(map(is_invisible, text or ""))
