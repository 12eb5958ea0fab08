"""Whether the differences between two evaluations are more than chance.

Compared is the primary metric of each dataset. Where both evaluations have a verdict on each sample and asked
the same items, the test is paired: McNemar's exact test on the samples on which they disagree (McNemar 1947,
doi:10.1007/BF02295996). Where they asked the same rows in other words, or have no verdicts, two independent
proportions are compared: Fisher's exact test, with Newcombe's interval (Statistics in Medicine 17:873, 1998,
method 10). Other rows, and rows that are not known to be the same, are not compared: a harder sample of a
dataset is no worse model. The p-values of all datasets are
corrected together after Holm (1979, doi:10.2307/4615733). The statistics are scipy's and statsmodels'.
"""

import base64
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

Cell = dict[str, Any]

_SHARE_OF = {"percent": 100.0, "fraction": 1.0}


class Verdict(StrEnum):
    """What a comparison says of a dataset, or of all."""

    BETTER = "better"
    WORSE = "worse"
    NO_EVIDENCE = "no_evidence"
    NOT_COMPARABLE = "not_comparable"


@dataclass(frozen=True)
class Measure:
    """The primary score of a dataset in one evaluation, as far as it can be compared."""

    cell: Cell
    measured_by: str
    """The evaluator of an own dataset, the metric of a stock one."""
    rows: str | None = None
    """Digest of the rows that were asked, whatever the prompt; None where it is not known."""
    binary: bool = False
    """Each sample is right or wrong, and the score is the share of right ones."""

    @property
    def share(self) -> float | None:
        """0 to 1; None where the score is none, or no share."""
        scale = _SHARE_OF.get(self.cell.get("unit") or "")
        score = self.cell.get("score")
        if not scale or score is None or not self.binary or not 0 <= score <= scale:
            return None
        return float(score / scale)

    @property
    def samples(self) -> int:
        """How many were scored, 0 where that is not told."""
        return int(self.cell.get("samples") or 0)

    @property
    def right(self) -> int:
        """How many of the samples."""
        return round((self.share or 0.0) * self.samples)


@dataclass(frozen=True)
class Pairing:
    """One dataset in both evaluations; None where one lacks it."""

    dataset: str
    base: Measure | None
    candidate: Measure | None


@dataclass
class Difference:
    """What is found of a pairing. Shares are 0 to 1; a difference is the candidate's less the base's."""

    dataset: str
    verdict: Verdict = Verdict.NOT_COMPARABLE
    reason: str | None = None
    """Why it cannot be compared."""
    method: str | None = None
    """`mcnemar_exact` where paired, else `fisher_exact`."""
    difference: float | None = None
    interval: list[float] | None = None
    """95 %, of unpaired differences."""
    p_value: float | None = None
    p_holm: float | None = None
    counts: dict[str, int] = field(default_factory=dict)
    """Of paired samples: how many only the base had right, and how many only the candidate."""


def compare(pairings: Sequence[Pairing], alpha: float) -> list[Difference]:
    """Test every dataset, and correct for there being several.

    Args:
        pairings: the datasets.
        alpha: the probability of finding any difference where there is none.
    """
    found = [_tested(pairing) for pairing in pairings]
    tested = [difference for difference in found if difference.p_value is not None]
    for difference, p_holm in zip(tested, _holm([item.p_value or 0.0 for item in tested]), strict=True):
        difference.p_holm = p_holm
        difference.verdict = _verdict(difference.difference or 0.0, p_holm, alpha)
    return found


def overall(differences: Sequence[Difference]) -> Verdict:
    """One verdict for all: a loss is a loss, whatever was gained elsewhere, and what is unknown no gain."""
    verdicts = {difference.verdict for difference in differences}
    for verdict in (Verdict.WORSE, Verdict.NOT_COMPARABLE, Verdict.BETTER, Verdict.NO_EVIDENCE):
        if verdict in verdicts:
            return verdict
    return Verdict.NOT_COMPARABLE


def unpacked(verdicts: dict[str, Any]) -> list[bool]:
    """The verdicts on samples as the extractor packs them: the first sample in the highest bit."""
    octets = base64.b64decode(verdicts["bits"])
    bits = [bool(octet >> (7 - place) & 1) for octet in octets for place in range(8)]
    return bits[: verdicts["count"]]


def _verdict(difference: float, p_value: float, alpha: float) -> Verdict:
    if p_value >= alpha or difference == 0:
        return Verdict.NO_EVIDENCE
    return Verdict.BETTER if difference > 0 else Verdict.WORSE


def _tested(pairing: Pairing) -> Difference:
    base, candidate = pairing.base, pairing.candidate
    result = Difference(dataset=pairing.dataset)
    result.reason = _why_not(base, candidate)
    if result.reason or base is None or candidate is None:
        return result
    result.difference = (candidate.share or 0.0) - (base.share or 0.0)
    if _same_items(base, candidate):
        _test_paired(result, base, candidate)
    else:
        _test_unpaired(result, base, candidate)
    return result


def _why_not(base: Measure | None, candidate: Measure | None) -> str | None:
    """Why two measures cannot be compared; None where they can."""
    if base is None or candidate is None:
        return f"only the {'candidate' if base is None else 'base'} has this dataset"
    for name, measure in (("base", base), ("candidate", candidate)):
        if measure.cell.get("score") is None:
            return f"the {name} has no score: {measure.cell.get('reason')}"
        if "doubt" in measure.cell:
            return f"the {name}'s score is doubtful: {measure.cell['doubt']}"
        if measure.share is None or not measure.samples:
            return f"the {name}'s score is no share of right samples"
    if base.measured_by != candidate.measured_by:
        return f"measured by {base.measured_by} and by {candidate.measured_by}"
    return _other_samples(base, candidate)


def _other_samples(base: Measure, candidate: Measure) -> str | None:
    """Why two scores are not of the same samples; None where they are."""
    if _same_items(base, candidate):
        return None
    if base.samples != candidate.samples:
        return f"the number of samples differs: {base.samples} and {candidate.samples}"
    if base.rows is None or candidate.rows is None:
        return "the samples are others, or not known to be the same"
    return None if base.rows == candidate.rows else "the rows are others"


def _same_items(base: Measure, candidate: Measure) -> bool:
    """Whether both have a verdict on each of the same samples."""
    ours, theirs = base.cell.get("verdicts"), candidate.cell.get("verdicts")
    if not ours or not theirs:
        return False
    return bool((ours["items"], ours["count"]) == (theirs["items"], theirs["count"]))


def _test_paired(result: Difference, base: Measure, candidate: Measure) -> None:
    from statsmodels.stats.contingency_tables import mcnemar  # noqa: PLC0415 - seconds to import

    pairs = list(zip(*(unpacked(measure.cell["verdicts"]) for measure in (base, candidate)), strict=True))
    only_base = sum(one and not other for one, other in pairs)
    only_candidate = sum(other and not one for one, other in pairs)
    result.method = "mcnemar_exact"
    result.counts = {"only_base": only_base, "only_candidate": only_candidate}
    table = [[0, only_base], [only_candidate, 0]]
    result.p_value = float(mcnemar(table, exact=True).pvalue) if only_base + only_candidate else 1.0


def _test_unpaired(result: Difference, base: Measure, candidate: Measure) -> None:
    from scipy.stats import fisher_exact  # noqa: PLC0415 - seconds to import
    from statsmodels.stats.proportion import confint_proportions_2indep  # noqa: PLC0415 - seconds to import

    counts = (candidate.right, candidate.samples, base.right, base.samples)
    result.method = "fisher_exact"
    low, high = confint_proportions_2indep(*counts, compare="diff", method="newcomb")
    result.interval = [float(low), float(high)]
    table = [[right, samples - right] for right, samples in (counts[:2], counts[2:])]
    result.p_value = float(fisher_exact(table).pvalue)


def _holm(p_values: list[float]) -> list[float]:
    if not p_values:
        return []
    from statsmodels.stats.multitest import multipletests  # noqa: PLC0415 - seconds to import

    return [float(value) for value in multipletests(p_values, method="holm")[1]]
