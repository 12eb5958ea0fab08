"""lm-eval as an engine: https://github.com/EleutherAI/lm-evaluation-harness, release 0.4.13."""

from budeval.engines.container import ContainerEngine


class LmEval(ContainerEngine):
    """Own datasets only: the tasks that lm-eval ships load their data from a hub, which pods cannot reach."""

    name = "lm-eval"
    program = (
        "budeval.engines.lm_eval.run_in_pod",
        "budeval.engines.lm_eval.evaluators",
        "budeval.engines.lm_eval.texts",
    )
    extractor = (
        "budeval.engines.lm_eval.extract_results",
        "budeval.engines.lm_eval.evaluators",
        "budeval.engines.opencompass.extract_results",
    )
