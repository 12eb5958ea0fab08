"""What callers get."""

from datetime import datetime
from typing import Any

from pydantic import BaseModel, Field

from budeval.domain.cluster import ClusterVerification
from budeval.domain.comparison import Verdict
from budeval.domain.datasets import PushState
from budeval.domain.evaluation import Evaluator, Outcome
from budeval.domain.notification import Announcement, WorkflowStatus
from budeval.domain.orphans import Why
from budeval.domain.receipt import ReceiptItem
from budeval.domain.steps import WorkflowStep
from budeval.runtime.readiness import DependencyHealth


class WorkflowStarted(BaseModel):
    """A workflow was started."""

    object: str = "workflow_metadata"
    workflow_id: str
    workflow_name: str
    steps: list[WorkflowStep]
    status: WorkflowStatus = WorkflowStatus.PENDING
    eta: int | None = Field(None, description="Seconds.")


class WorkflowState(BaseModel):
    """How far a workflow is."""

    object: str = "workflow_state"
    workflow_id: str
    workflow_name: str
    status: WorkflowStatus
    param: dict[str, Any] = Field(
        default_factory=dict, description="As callers of the original service read it."
    )
    verification: ClusterVerification | None = Field(None, description="The outcome, once there is one.")
    error: str | None = Field(None, description="`CODE: message` when the workflow failed.")


class StepState(BaseModel):
    """A step of an evaluation and how far it is; PENDING before it begins."""

    id: str
    title: str
    status: WorkflowStatus
    message: str | None = None


class EvaluationState(BaseModel):
    """How far an evaluation is."""

    object: str = "evaluation"
    eval_id: str
    experiment_id: str
    workflow_id: str
    status: WorkflowStatus
    outcome: Outcome | None = None
    attempt: int = Field(1, description="One more with each retry.")
    engine: str
    model: str
    cluster: str
    namespace: str
    labels: dict[str, str]
    created: str
    ended: str | None = None
    cancelling: bool = Field(default=False, description="A cancellation was asked for and is under way.")
    deleting: bool = Field(
        default=False, description="Its deletion was begun and not completed: ask for it again."
    )
    steps: list[StepState]
    progress_percent: int = Field(description="Over all runs, 0 to 100.")
    eta_minutes: int | None = Field(None, description="Whole minutes that are left; null while unknown.")
    runs: dict[str, dict[str, Any]] = Field(description="By run id: state, samples done and total, reason.")
    completeness: dict[str, Any] | None = Field(
        None,
        description="As in the results: how much of what was asked for is scored; null before there are any.",
    )
    headline: dict[str, Any] | None = Field(None, description="As in the results.")
    error: str | None = Field(None, description="`CODE: message` when it failed.")
    events: int = Field(description="Number of the newest event.")


class Receipt(BaseModel):
    """What was made for an evaluation, and what became of each."""

    object: str = "receipt"
    eval_id: str
    ended: bool = Field(description="The evaluation has ended; before, the receipt is not whole.")
    clean: bool = Field(description="Nothing of what is listed is left but what stays on purpose (`kept`).")
    objects: list[ReceiptItem]


class Deletion(BaseModel):
    """What was deleted with an evaluation."""

    object: str = "deletion"
    eval_id: str
    files_removed: int | None = Field(description="From the claim; null where they were to be kept.")
    objects: list[ReceiptItem] = Field(
        default_factory=list, description="Its receipt at the end, which goes with it."
    )


class Orphan(BaseModel):
    """Something that no evaluation owns."""

    kind: str = Field(description="`Job`, `Pod`, `ConfigMap`, `Secret` or `PrivateDirectory`.")
    name: str
    namespace: str | None = None
    uid: str | None = Field(None, description="Of an object on the cluster.")
    eval_id: str | None = Field(None, description="Of which evaluation it was.")
    run_id: str | None = None
    age_seconds: int = Field(description="Of a Secret: of the Job or ConfigMap by which it was found.")
    why: Why
    reason: str = Field(description="The same for people.")


class OtherInstallation(BaseModel):
    """A service whose objects lie in the same namespace."""

    installation: str = Field(description="`unmarked` for what says none: of an older version, or by hand.")
    objects: int


class OrphanList(BaseModel):
    """What bears the service's mark and no evaluation owns."""

    object: str = "orphans"
    cluster: str
    namespace: str
    installation: str = Field(description="Whose objects were looked at.")
    orphans: list[Orphan]
    others: list[OtherInstallation] = Field(description="Whose objects were not.")


class OrphanRemoval(BaseModel):
    """What became of each orphan."""

    object: str = "orphan_removal"
    cluster: str
    namespace: str
    installation: str
    clean: bool = Field(description="All of them are gone.")
    objects: list[ReceiptItem]


class EvaluationSummary(BaseModel):
    """One line of the list."""

    eval_id: str
    status: WorkflowStatus
    outcome: Outcome | None = None
    attempt: int = 1
    tenant: str = "default"
    model: str
    runs: int
    created: str
    ended: str | None = None
    labels: dict[str, str]


class EvaluationPage(BaseModel):
    """Evaluations, newest first."""

    object: str = "evaluations"
    evaluations: list[EvaluationSummary]
    cursor: str | None = Field(
        None,
        description="For the next page, also where a filter left this one short; null at the end.",
    )


class EvaluationResults(BaseModel):
    """The guide's result format, and ours beside it."""

    success: bool = Field(description="True only if every run is a success.")
    results: list[dict[str, Any]]
    outcome: Outcome
    eval_id: str
    completeness: dict[str, Any] = Field(
        description="Of the cells that were asked for: how many are in which state, and the ratio of scored."
    )
    headline: dict[str, Any] | None = Field(
        description="One score for all, with the rule by which it was made; null unless all cells are scored."
    )


class ComparedEvaluation(BaseModel):
    """One of two evaluations that are compared."""

    eval_id: str
    model: str
    engine: str
    created: str
    outcome: Outcome
    completeness: dict[str, Any]
    headline: dict[str, Any] | None


class ComparedDataset(BaseModel):
    """One dataset in both."""

    dataset: str
    verdict: Verdict = Field(description="Of the candidate, with the p-value corrected for all datasets.")
    reason: str | None = Field(description="Why it cannot be compared.")
    base: dict[str, Any] | None = Field(description="Its primary score, with samples and interval.")
    candidate: dict[str, Any] | None
    difference: float | None = Field(description="The candidate's share of right samples less the base's.")
    interval: list[float] | None = Field(description="95 %, of the difference, where samples are unpaired.")
    method: str | None = Field(description="`mcnemar_exact` on the same items, else `fisher_exact`.")
    p_value: float | None
    p_holm: float | None = Field(description="Corrected after Holm for all datasets together.")
    only_base: int | None = Field(description="Paired samples that only the base had right.")
    only_candidate: int | None


class ComparisonReport(BaseModel):
    """Whether a candidate is better or worse than a base by more than chance."""

    object: str = "comparison"
    base: ComparedEvaluation
    candidate: ComparedEvaluation
    alpha: float
    verdict: Verdict = Field(description="`worse` if any dataset is, else `better` if any is.")
    verdicts: dict[str, int] = Field(description="How many datasets have which verdict.")
    datasets: list[ComparedDataset]
    differs: dict[str, list[Any]] = Field(
        description="What else differs between the two: image, version, decoding, endpoint, rows, prompt."
    )


class EventPage(BaseModel):
    """What was announced, in order."""

    events: list[Announcement]
    last: int = Field(description="Number of the newest one here; ask again with `after` set to it.")


class RunLog(BaseModel):
    """The end of a run's log as it was last seen; 64 KiB at most."""

    eval_id: str
    run_id: str
    log: str


class ValidationReport(BaseModel):
    """What was checked; nothing was started."""

    ok: bool
    checks: list["Check"]


class Check(BaseModel):
    """One thing that was checked."""

    name: str
    ok: bool
    code: str | None = None
    message: str


class EngineInfo(BaseModel):
    """An engine and what it can be asked for."""

    name: str
    image: str
    evaluators: list[Evaluator] = list(Evaluator)
    stock_datasets: int


class DatasetList(BaseModel):
    """The stock datasets of an engine; their data must be on the claim."""

    engine: str
    datasets: list[str]


class PushedPart(BaseModel):
    """What became of a file of which a part was pushed."""

    object: str = "dataset_part"
    path: str
    state: PushState
    received: int = Field(description="Bytes of the file that are there: where the next part must begin.")
    bytes: int = Field(description="Of the whole file.")
    sha256: str


class ClaimFile(BaseModel):
    """A file on the claim."""

    path: str = Field(description="What requests give as `source.path`.")
    bytes: int
    sha256: str | None = Field(description="Null where there was no time to read it, or no right.")
    modified: datetime


class ClaimFiles(BaseModel):
    """The files below the tenant's datasets on the claim."""

    object: str = "dataset_files"
    cluster: str
    namespace: str
    claim: str
    files: list[ClaimFile]
    truncated: bool = Field(description="There are more.")


class Readiness(BaseModel):
    """Whether the service can take work, dependency by dependency."""

    ready: bool
    dependencies: list[DependencyHealth]
