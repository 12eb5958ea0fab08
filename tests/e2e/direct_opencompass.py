"""OpenCompass by hand: runs in a pod, on the demo's rows, with nothing of budeval in between.

Its configuration is written as OpenCompass' documents show it; prints one line of JSON, dataset -> score.
"""

import json
import pathlib
import subprocess
import sys

HERE = pathlib.Path(__file__).parent
OUT = pathlib.Path("/scratch/out")

CONFIG = """
from opencompass.datasets import CustomDataset, Gsm8kEvaluator, gsm8k_postprocess
from opencompass.datasets.ruler.ruler_qa import RulerQaEvaluator
from opencompass.models import OpenAISDK
from opencompass.openicl.icl_inferencer import GenInferencer
from opencompass.openicl.icl_prompt_template import PromptTemplate
from opencompass.openicl.icl_retriever import ZeroRetriever

def dataset(name, evaluation):
    return dict(
        abbr=name, type=CustomDataset, path='/cfg/' + name + '.jsonl', local_mode=True,
        reader_cfg=dict(input_columns=['question'], output_column='answer'),
        infer_cfg=dict(
            prompt_template=dict(type=PromptTemplate, template=dict(
                round=[dict(role='HUMAN', prompt='Question: {question}\\nAnswer:')])),
            retriever=dict(type=ZeroRetriever), inferencer=dict(type=GenInferencer)),
        eval_cfg=dict(evaluation, pred_role='BOT'))

contains = dict(evaluator=dict(type=RulerQaEvaluator))
number = dict(evaluator=dict(type=Gsm8kEvaluator), pred_postprocessor=dict(type=gsm8k_postprocess))
datasets = [dataset('capitals', contains), dataset('reading', contains), dataset('sums', number)]
models = [dict(
    abbr='direct', type=OpenAISDK, path='MODEL', key='ENV', openai_api_base='ENDPOINT',
    tokenizer_path='/opt/tokenizer', query_per_second=10, batch_size=4, max_out_len=48, max_seq_len=8192,
    temperature=0.0, retry=3, meta_template=dict(round=[
        dict(role='HUMAN', api_role='HUMAN'), dict(role='BOT', api_role='BOT', generate=True)]))]
del dataset
"""


def main(model: str, endpoint: str) -> None:
    """Run it and print the scores."""
    config = pathlib.Path("/scratch/direct.py")
    config.write_text(CONFIG.replace("MODEL", model).replace("ENDPOINT", endpoint))
    command = [sys.executable, "-m", "opencompass.cli.main", str(config), "-w", str(OUT)]
    subprocess.run(command, cwd="/scratch", check=True)
    scores = {}
    for path in OUT.glob("*/results/direct/*.json"):
        result = json.loads(path.read_text())
        scores[path.stem] = result.get("accuracy", result.get("score"))
    print("DIRECT " + json.dumps(scores))  # noqa: T201 - what the test reads


if __name__ == "__main__":
    main(*sys.argv[1:])
