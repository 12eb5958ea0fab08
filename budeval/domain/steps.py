"""The steps of an evaluation with the guide's ids, titles and descriptions; the names of its other events."""

from pydantic import BaseModel


class WorkflowStep(BaseModel):
    """A step that notifications will name in `payload.event`."""

    id: str
    title: str
    description: str


VERIFY = "verify_cluster_connection"
PREPARE = "preparing_eval_engine"
DEPLOY = "deploy_eval_job"
MONITOR = "monitor_eval_job_progress"
EXTRACT = "extract_results"

STATUS_EVENT = "evaluate_model_status"
ETA_EVENT = "eta"
RESULTS_EVENT = "results"

EVALUATION_STEPS = [
    WorkflowStep(
        id=VERIFY,
        title="Verifying Cluster Connection",
        description="Verify if the cluster is reachable",
    ),
    WorkflowStep(id=PREPARE, title="Preparing Eval Engine", description="Warming up eval engine"),
    WorkflowStep(
        id=DEPLOY,
        title="Deploying Evaluation Jobs",
        description="Deploy the evaluation job to the cluster",
    ),
    WorkflowStep(
        id=MONITOR,
        title="Monitoring Evaluation Job Progress",
        description="Monitor the progress of the evaluation job",
    ),
    WorkflowStep(
        id=EXTRACT,
        title="Extracting Results",
        description="Extract and parse evaluation results",
    ),
]

TITLES = {step.id: step.title for step in EVALUATION_STEPS}
