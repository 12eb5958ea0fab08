"""The report, made from the data alone."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import median
from string import Template
from typing import Any

from benchmarks.scoring.samples import OF_THE_REFERENCE

Data = dict[str, Any]
_TEMPLATE = Path(__file__).with_name("report.template.md")
_THIRD = 1 / 3
_WAYS = {
    "native": "native, {in_flight} requests in flight",
    "ragas_together": "ragas, {in_flight} requests in flight, all metrics of all samples at once",
    "engine_ragas": "our engine `ragas`, {in_flight} requests in flight",
    "reference_4_jobs": "the reference's shape: metrics in sequence, 4 samples at once",
    "reference_1_job": "the reference's shape: metrics in sequence, one sample after the other",
}
_SPEED_TARGETS = (
    ("reference_1_job", 3.0),
    ("reference_4_jobs", 3.0),
    ("ragas_together", 1.0),
)


def written(data: Data) -> str:
    """Markdown."""
    speed, cost, agreement = data["speed"], data["cost"], data["agreement"]
    return Template(_TEMPLATE.read_text()).substitute(
        targets=_targets(data),
        samples=speed["samples"],
        made_cost=_made(cost),
        context_chars=cost["own_context_chars"],
        costs=_costs(cost["rows"]),
        made_speed=_made(speed),
        metrics=", ".join(speed["metrics"]),
        judges_ms=f"{speed['judges_in_s'] * 1000:.0f}",
        embeds_ms=f"{speed['embeds_in_s'] * 1000:.0f}",
        rounds=len(speed["samples_per_second"]),
        speeds=_speeds(speed),
        made_agreement=_made(agreement),
        judge=agreement["judge"],
        agreement=_agreement(agreement),
    )


def _made(part: Data) -> str:
    """When, on what, and what else whoever reads the numbers must know (`remark`, written by hand)."""
    return f"{part['made']}. {part.get('remark', '')}".rstrip()


def _targets(data: Data) -> str:
    cost = data["cost"]["rows"]
    rows = [*_call_targets(cost), *_token_targets(cost), *_speed_targets(data["speed"])]
    return _table(("target", "measured", "met"), rows)


def _call_targets(cost: Sequence[Data]) -> Iterable[Sequence[str]]:
    plain = [row for row in cost if row["context_chars"] is None]
    more = [row["metric"] for row in plain if row["native"]["calls"] > row["ragas"]["calls"]]
    yield "no more judge calls than ragas, for each metric", f"more for {len(more)} metrics", _yes(not more)


def _token_targets(cost: Sequence[Data]) -> Iterable[Sequence[str]]:
    for chars in dict.fromkeys(row["context_chars"] for row in cost):
        rows = [row for row in cost if row["context_chars"] == chars]
        worst = max(rows, key=_token_ratio)
        of_four = [row for row in rows if row["metric"] in OF_THE_REFERENCE]
        measured = (
            f"at most {_token_ratio(worst):.2f} ({worst['metric']}), all four {_sum_ratio(of_four):.2f}"
        )
        where = f"a third of ragas' prompt tokens, {_contexts(chars)}"
        yield where, measured, _missed_by(_THIRD, _token_ratio(worst), more_is_worse=True)


def _speed_targets(speed: Data) -> Iterable[Sequence[str]]:
    for way, least in _SPEED_TARGETS:
        ratio = _speed_ratio(speed, way)
        text = f"{least:g} times the samples a second of {_WAYS[way].format(**speed)}"
        yield text, f"{ratio:.1f} times", _missed_by(least, ratio, more_is_worse=False)


def _costs(cost: Sequence[Data]) -> str:
    rows = [
        (
            _contexts(row["context_chars"]),
            row["metric"],
            *(str(row[system]["calls"]) for system in ("native", "ragas")),
            *(f"{row[system]['tokens']:,}" for system in ("native", "ragas")),
            f"{_token_ratio(row):.2f}",
            f"{row['native']['chars'] / row['ragas']['chars']:.2f}",
        )
        for row in cost
    ]
    systems = ("native: calls", "ragas: calls", "native: tokens", "ragas: tokens")
    return _table(("contexts", "metric", *systems, "ratio", "of characters"), rows)


def _speeds(speed: Data) -> str:
    rows = [
        (
            text.format(**speed),
            f"{_per_second(speed, way):.2f}",
            f"{_speed_ratio(speed, way):.2f}",
            ", ".join(f"{found[way]:.2f}" for found in speed["samples_per_second"]),
        )
        for way, text in _WAYS.items()
    ]
    return _table(("way", "samples a second", "native to it", "rounds"), rows)


def _agreement(found: Data) -> str:
    rows = [
        (
            row["metric"],
            str(row["both_scored"]),
            str(row["same"]),
            _number(row["mean_difference"]),
            _number(row["rank_correlation"]),
            *(f"{_number(row[engine]['mean'])} ({_ended(row[engine])})" for engine in ("native", "ragas")),
        )
        for row in found["metrics"]
    ]
    compared = ("both have a value", "same", "mean difference", "rank correlation")
    return _table(("metric", *compared, "native: mean", "ragas: mean"), rows)


def _token_ratio(row: Data) -> float:
    return float(row["native"]["tokens"] / row["ragas"]["tokens"])


def _sum_ratio(rows: Sequence[Data]) -> float:
    ours, theirs = (sum(row[system]["tokens"] for row in rows) for system in ("native", "ragas"))
    return float(ours / theirs)


def _per_second(speed: Data, way: str) -> float:
    return float(median(found[way] for found in speed["samples_per_second"]))


def _speed_ratio(speed: Data, way: str) -> float:
    return float(median(found["native"] / found[way] for found in speed["samples_per_second"]))


def _missed_by(target: float, measured: float, *, more_is_worse: bool) -> str:
    met = measured <= target if more_is_worse else measured >= target
    return "yes" if met else f"no, by {abs(measured - target):.2f}"


def _yes(met: bool) -> str:  # noqa: FBT001 - what it tells
    return "yes" if met else "no"


def _contexts(chars: int | None) -> str:
    return "contexts as they are" if chars is None else f"contexts of {chars} characters"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _ended(summary: Data) -> str:
    return ", ".join(f"{count} {reason}" for reason, count in sorted(summary["ended"].items()))


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
