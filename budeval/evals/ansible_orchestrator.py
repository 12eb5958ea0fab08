"""Kubernetes operations in the service's own terms; each is one playbook run."""

import json
import secrets
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from budeval.ansible.runner import Tell
from budeval.config import EngineConfig, StorageConfig
from budeval.domain import frames
from budeval.domain.cluster import ClusterTarget, ClusterVerification
from budeval.domain.datasets import DatasetPlace
from budeval.domain.evaluation import DEPLOYMENTS, Evaluation
from budeval.domain.identifiers import parts_name
from budeval.domain.observation import JobFacts
from budeval.engines import manifests, pod_files
from budeval.engines.base import Engine, JobSpec
from budeval.engines.claim import jobs as claim_jobs
from budeval.errors import ClusterError
from budeval.evals import cluster_answers, receipt_entries
from budeval.evals.clusters import Clusters
from budeval.evals.installation import Installation
from budeval.evals.receipts import Receipts

_EXTRACTION_SECONDS = 300.0
"""As the guide has it: an image may have to be pulled, a node to be found."""
_REMOVAL_SECONDS = 60.0


Check = Callable[[], object]
"""Whether it is still wanted, once a worker is free; what it raises ends it before it begins."""


class RunsPlaybooks(Protocol):
    """What of the playbook runner is used here; tests put a fake in its place."""

    def run(
        self,
        playbook: str,
        data: dict[str, Any],
        kubeconfig: str,
        patience: float = 0,
        tell: Tell | None = None,
    ) -> dict[str, Any]:
        """Run a playbook and return what it published, or raise ClusterError."""


class AnsibleOrchestrator:
    """The one who speaks to clusters. What it makes for an evaluation stands in the evaluation's receipt."""

    def __init__(  # noqa: PLR0917 - a composition of what main wires
        self,
        runner: RunsPlaybooks,
        clusters: Clusters,
        engines: Mapping[str, Engine],
        storage: StorageConfig,
        images: EngineConfig,
        receipts: Receipts,
        installation: Installation,
    ) -> None:
        self._runner = runner
        self._clusters = clusters
        self._engines = engines
        self._storage = storage
        self._images = images
        self._receipts = receipts
        self._installation = installation

    def verify(
        self,
        target: ClusterTarget,
        claim: str | None = None,
        kubeconfig: str | None = None,
        owner: str | None = None,
        check: Check | None = None,
    ) -> ClusterVerification:
        """Find out whether evaluations can run at the target; a reason why not is an answer, not an error.

        Args:
            target: where.
            claim: the storage claim; None for that of the settings.
            kubeconfig: of a request that is not stored yet.
            owner: the evaluation for which it is done.
            check: of an owner, as of `deploy`.

        Raises:
            ClusterError: only one that is worth another try, as an unreachable API server.
        """
        claim = claim or self._storage.claim
        data = {
            "namespace": target.namespace,
            "claim": claim,
            "probe_job": manifests.probe_job(target.namespace, claim, self._storage),
        }
        try:
            credential = self._clusters.credential(target, kubeconfig)
            found = self._run("verify_cluster_k8s.yml", data, credential, owner=owner, check=check)
        except ClusterError as error:
            if error.retryable:
                raise
            return ClusterVerification(
                target=target, ok=False, code=error.code, message=error.message, claim=claim
            )
        return cluster_answers.verification(target, claim, found)

    def deploy(
        self, evaluation: Evaluation, specs: list[JobSpec], check: Check
    ) -> list[cluster_answers.Deployed]:
        """Make the Jobs of runs. May be repeated: what is there already is left as it is.

        Args:
            evaluation: whose.
            specs: of the Jobs.
            check: is asked just before, maybe a long time after the call; what it raises ends it.

        Raises:
            ClusterError: nothing could be deployed.
        """
        runs = {run.run_id: run for run in evaluation.runs}
        orders = [
            manifests.deployment(evaluation, runs[spec.run_id], spec, self._storage, self._installation.id)
            for spec in specs
        ]
        data = {"namespace": evaluation.target.namespace, "runs": orders}
        credential = self._clusters.credential(evaluation.target)
        playbook, owner = "deploy_eval_jobs_k8s.yml", evaluation.eval_id
        found = self._run(playbook, data, credential, owner=owner, check=check)
        parts = {order["run_id"]: order["parts"] for order in orders}
        self._receipts.note(evaluation.eval_id, receipt_entries.deployed(evaluation, found["runs"], parts))
        return [cluster_answers.deployed(item) for item in found["runs"]]

    def check_jobs_status(
        self,
        target: ClusterTarget,
        eval_ids: list[str],
        settled: list[list[str]],
        owner: str | None = None,
        check: Check | None = None,
    ) -> dict[str, dict[str, JobFacts]]:
        """What the cluster knows of runs: eval_id -> run_id -> facts.

        Args:
            target: where to look.
            eval_ids: of these evaluations.
            settled: [eval_id, run_id] of runs whose logs need not be read any more.
            owner: the evaluation that looks for itself; None where a watcher looks for many.
            check: of an owner, as of `deploy`.

        Raises:
            ClusterError: the cluster could not be asked.
        """
        only = eval_ids[0] if len(eval_ids) == 1 else None
        selector = f"{manifests.selector(only)},{manifests.RUN_LABEL}"
        data = {
            "namespace": target.namespace,
            "selector": selector,
            "evaluations": eval_ids,
            "settled": settled,
        }
        found: dict[str, dict[str, JobFacts]] = {}
        credential = self._clusters.credential(target)
        told = self._run("check_job_status_k8s.yml", data, credential, owner=owner, check=check)
        for item in told["jobs"]:
            facts = JobFacts.model_validate(item)
            found.setdefault(item["eval_id"], {})[facts.run_id] = facts
        return found

    def extract_job_results(
        self, evaluation: Evaluation, run_ids: list[str], check: Check
    ) -> dict[str, dict[str, Any]]:
        """Read the scores of runs from the shared claim, by a Job: run_id -> the extractor's document.

        Args:
            evaluation: whose.
            run_ids: which runs.
            check: as of `deploy`.

        Raises:
            ClusterError: the Job did not run, or its log is not what the extractor printed (LOG_CORRUPT).
        """
        program = self._engines[evaluation.engine].extract_program
        files = {**program, "run_ids.json": json.dumps(run_ids)}
        credential = self._clusters.credential(evaluation.target)
        data = {"run_ids": run_ids}
        found = self._run_program("extract", evaluation, files, credential, data, check)
        if not found["log"]:
            raise cluster_answers.why_no_log(found["pods"], "EXTRACTION_FAILED", _EXTRACTION_SECONDS)
        return frames.decode(found["log"], run_ids)

    def _run_program(
        self,
        purpose: str,
        evaluation: Evaluation,
        files: dict[str, str],
        credential: str,
        more: dict[str, Any] | None = None,
        check: Check | None = None,
    ) -> dict[str, Any]:
        """Run a program of ours at the claim, by the playbook of that purpose; what it published."""
        eval_id, temp_id = evaluation.eval_id, _temp_id(purpose)
        data = {**self._program_input(evaluation, files), **(more or {}), "temp_id": temp_id}

        def begin() -> None:
            if check:
                check()
            # Before it is made: whoever is killed then leaves a name by which it is looked for.
            begun = receipt_entries.program_begun(evaluation, f"{purpose}-results-{temp_id}")
            self._receipts.note(eval_id, begun)

        playbook = f"{purpose}_results_k8s.yml"
        found = self._run(playbook, data, credential, _EXTRACTION_SECONDS, eval_id, begin)
        self._receipts.note(eval_id, receipt_entries.program_removed(evaluation, found["removed"]))
        return found

    def _program_input(self, evaluation: Evaluation, files: dict[str, str]) -> dict[str, Any]:
        """What the playbooks need that run a program of ours at the claim."""
        secret = self._storage.pull_secret
        return {
            "namespace": evaluation.target.namespace,
            "eval_id": evaluation.eval_id,
            "claim": evaluation.claim,
            "image": self._images.extractor,
            "mount_path": self._storage.mount_path,
            "files": pod_files.as_data(files),
            "items": pod_files.as_items(files),
            "arguments": [],
            "labels": manifests.labels(evaluation, self._installation.id),
            "pull_secrets": [{"name": secret}] if secret else [],
            "wait_seconds": int(_EXTRACTION_SECONDS),
        }

    def remove_results(self, evaluation: Evaluation, kubeconfig: str | None = None) -> int:
        """Remove what an evaluation has left on the shared claim, by a Job. May be repeated.

        Args:
            evaluation: which has ended.
            kubeconfig: where it brought its own.

        Returns:
            The number of files.

        Raises:
            ClusterError: the Job did not run, or could not remove them (REMOVAL_FAILED).
        """
        files = pod_files.program("budeval.engines.claim.remove_results")
        credential = self._clusters.credential(evaluation.target, kubeconfig)
        found = self._run_program("remove", evaluation, files, credential)
        if not found["log"]:
            raise cluster_answers.why_no_log(found["pods"], "REMOVAL_FAILED", _EXTRACTION_SECONDS)
        try:
            # Beside it there may be a warning: that a directory stays.
            (told,) = (line for line in found["log"].splitlines() if line.startswith("{"))
            count = int(json.loads(told)["files"])
        except (ValueError, TypeError, LookupError) as error:
            text = f"The files on claim {evaluation.claim} could not be removed: {found['log'][-500:]}"
            raise ClusterError(text, code="REMOVAL_FAILED", retryable=True) from error
        self._receipts.note(evaluation.eval_id, [receipt_entries.tree_removed(evaluation, count)])
        return count

    def push_dataset(self, place: DatasetPlace, order: dict[str, Any], part: bytes) -> dict[str, Any]:
        """Write a part of a file below a tenant's datasets, by a Job. May be repeated.

        Args:
            place: where.
            order: {path, bytes, sha256, offset, replace}, as of `engines.claim.push_dataset`.
            part: gzipped.

        Returns:
            {state, received, reason where it is not in order}.

        Raises:
            ClusterError: the Job did not run (DATASET_JOB_FAILED), or its log is not what it printed.
        """
        return self._run_at_datasets("push", place, claim_jobs.push_program(order, part))

    def list_datasets(self, place: DatasetPlace) -> dict[str, Any]:
        """The files below a tenant's datasets, by a Job.

        Returns:
            {files: [{path, bytes, sha256 or null, modified}], truncated}.

        Raises:
            ClusterError: as of `push_dataset`.
        """
        return self._run_at_datasets("list", place, claim_jobs.list_program())

    def _run_at_datasets(
        self, purpose: str, place: DatasetPlace, program: claim_jobs.Program
    ) -> dict[str, Any]:
        name, patience = f"datasets-{_temp_id(purpose)}", _EXTRACTION_SECONDS
        image = self._images.extractor
        data = claim_jobs.order(
            name, place, program, image, self._storage, int(patience), installation=self._installation.id
        )
        credential = self._clusters.credential(place.target)
        found = self._run("run_at_datasets_k8s.yml", data, credential, patience)
        if not found["log"]:
            raise cluster_answers.why_no_log(found["pods"], "DATASET_JOB_FAILED", _EXTRACTION_SECONDS)
        return frames.decode(found["log"], [purpose])[purpose]

    def cleanup(
        self, evaluation: Evaluation, kubeconfig: str | None = None, check: Check | None = None
    ) -> None:
        """Delete all of an evaluation but its results on the claim; the receipt tells what became of each.

        Args:
            evaluation: whose objects.
            kubeconfig: of one that has ended and brought its own.
            check: as of `deploy`.

        Raises:
            ClusterError: the cluster could not be asked, or something is left (CLEANUP_INCOMPLETE).
        """
        eval_id, namespace = evaluation.eval_id, evaluation.target.namespace
        data = {
            "namespace": namespace,
            "selector": manifests.selector(eval_id),
            "secrets": [
                parts_name(eval_id, run.run_id, deployment)
                for run in evaluation.runs
                for deployment in range(1, DEPLOYMENTS * evaluation.attempt + 1)
            ],
        }
        credential = self._clusters.credential(evaluation.target, kubeconfig)
        done = self._run("cleanup_k8s.yml", data, credential, _REMOVAL_SECONDS, eval_id, check)
        found = receipt_entries.seen(namespace, done["receipt"])
        self._receipts.clean_up(eval_id, found, done["absence"])
        left = [f"{item.kind} {item.name}: {item.reason}" for item in found if not item.settled]
        if left:
            text = f"Some objects could not be removed: {'; '.join(left[:5])}"
            raise ClusterError(text, code="CLEANUP_INCOMPLETE", retryable=True)

    def _run(
        self,
        playbook: str,
        data: dict[str, Any],
        credential: str,
        patience: float = 0,
        owner: str | None = None,
        check: Check | None = None,
    ) -> dict[str, Any]:
        tell = partial(self._begin, owner, check) if owner else None
        return self._runner.run(playbook, data, credential, patience, tell)

    def _begin(self, owner: str, check: Check | None, private: Path) -> None:
        if check:
            check()
        self._receipts.enter_directory(owner, private)


def _temp_id(purpose: str) -> str:
    """Of each try its own, so that none deletes the Job under another: to do it twice harms nobody.

    What a try that was cut off leaves is removed by the cluster after five minutes, or by clean-up.
    """
    return f"{purpose}-{secrets.token_hex(8)}"
