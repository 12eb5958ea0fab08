"""The documents of a run for programs: what was asked for, what came out, and what it rests on."""

import hashlib
from collections.abc import Mapping
from typing import Any

import yaml

from budeval.domain.bounded_mean import CONFIDENCE, INTERVAL_METHOD, Mean
from budeval.domain.score_run import ScoredSample, ScoreRun
from budeval.domain.score_summary import MetricSummary, RunSummary
from budeval.domain.scoring import MetricOutcome
from budeval.scoring.artifacts.encoding import json_document, json_line, utf8
from budeval.scoring.artifacts.names import Artifact

SCHEMA = 1
"""Of our own documents; changes when a field changes its meaning."""
_MODE = "offline"
"""The original scoring manager's word for samples that come with their answers."""
_OUTCOME_FIELDS = set(MetricOutcome.model_fields) - {"metric", "evidence"}
"""The metric is their key, and evidence.json has the evidence."""


def scenario(run: ScoreRun, *, advised: bool) -> bytes:
    """The original's fields, then ours. Paths are those below the directory of all runs."""
    document = {
        "scenario_name": run.scenario_name,
        "mode": _MODE,
        "dataset": {"path": _dataset_path(run), "format": "jsonl"},
        "judge_model": run.judge_model,
        "embedding_model": run.embedding_model,
        "metrics": list(run.metrics),
        "output_dir": ".",
        "runtime": {},
        "app_adapter": None,
        "source_path": None,
        "optimization_advisor": advised,
        "weights": dict(run.weights),
        "engine": run.engine,
        "engine_version": run.engine_version,
        "metric_versions": dict(run.metric_versions),
    }
    return utf8(yaml.safe_dump(document, sort_keys=False, allow_unicode=True))


def dataset(run: ScoreRun) -> bytes:
    """The samples, a line each, with the original's names of their fields."""
    return utf8("".join(json_line(_dataset_row(sample)) for sample in run.samples))


def scores(run: ScoreRun, summary: RunSummary) -> bytes:
    """Every outcome of every sample, and what they say together."""
    document = {
        "schema_version": SCHEMA,
        "run_id": run.run_id,
        "engine": run.engine,
        "engine_version": run.engine_version,
        "metrics": list(run.metrics),
        "metric_versions": run.metric_versions,
        "weights": run.weights,
        "interval": {"confidence": CONFIDENCE, "method": INTERVAL_METHOD},
        "summary": {item.metric: _metric(item) for item in summary.metrics},
        "weighted_score": _mean(summary.weighted),
        "weight_coverage": summary.weight_coverage,
        "samples": [_scored(sample) for sample in run.samples],
        "invalid": [line.model_dump(mode="json") for line in run.invalid],
    }
    return json_document(document)


def evidence(run: ScoreRun) -> bytes:
    """Statements, contexts and questions with the judge's verdicts, metric by metric."""
    samples = [
        {
            "sample_id": sample.sample_id,
            "evidence": {outcome.metric: outcome.evidence for outcome in sample.outcomes if outcome.evidence},
        }
        for sample in run.samples
    ]
    return json_document({"schema_version": SCHEMA, "run_id": run.run_id, "samples": samples})


def metadata(run: ScoreRun, summary: RunSummary, files: Mapping[Artifact, bytes]) -> bytes:
    """The original's fields, then ours. `files` are the others that were made before."""
    document = {
        "run_id": run.run_id,
        "scenario_name": run.scenario_name,
        "mode": _MODE,
        "judge_model": run.judge_model,
        "embedding_model": run.embedding_model,
        "started_at": run.started_at.isoformat(),
        "finished_at": run.finished_at.isoformat(),
        "dataset": _dataset_path(run),
        "valid_samples": len(run.samples),
        "invalid_samples": len(run.invalid),
        "schema_version": SCHEMA,
        "blanks_left_out": sum(sample.blanks_left_out for sample in run.samples),
        "engine": run.engine,
        "engine_version": run.engine_version,
        "metrics": list(run.metrics),
        "metric_versions": run.metric_versions,
        "made_by": {metric: [maker.model_dump() for maker in made] for metric, made in run.makers.items()},
        "weights": run.weights,
        "means": {item.metric: item.mean.value if item.mean else None for item in summary.metrics},
        "weighted_score": round(summary.weighted.value, 4) if summary.weighted else None,
        "weight_coverage": summary.weight_coverage,
        "usage": summary.usage.model_dump(),
        "latency_ms": summary.latency_ms,
        "digests": {name: hashlib.sha256(content).hexdigest() for name, content in files.items()},
    }
    return json_document(document)


def _dataset_path(run: ScoreRun) -> str:
    return f"{run.run_id}/{Artifact.DATASET}"


def _dataset_row(sample: ScoredSample) -> dict[str, Any]:
    texts = sample.sample.model_dump(mode="json")
    texts["answer"] = texts["answer"] or ""
    texts["ground_truth"] = texts["ground_truth"] or ""
    return {"sample_id": sample.sample_id, **texts}


def _metric(item: MetricSummary) -> dict[str, Any]:
    return {"statuses": item.statuses, "mean": _mean(item.mean)}


def _mean(mean: Mean | None) -> dict[str, Any] | None:
    if mean is None:
        return None
    return {"value": mean.value, "samples": mean.samples, "stderr": mean.stderr, "interval": mean.interval}


def _scored(sample: ScoredSample) -> dict[str, Any]:
    return {
        "sample_id": sample.sample_id,
        "blanks_left_out": sample.blanks_left_out,
        "weighted_score": sample.weighted_score,
        "weight_coverage": sample.weight_coverage,
        "latency_ms": sample.latency_ms,
        "outcomes": {outcome.metric: _outcome(outcome) for outcome in sample.outcomes},
    }


def _outcome(outcome: MetricOutcome) -> dict[str, Any]:
    return outcome.model_dump(mode="json", include=_OUTCOME_FIELDS)
