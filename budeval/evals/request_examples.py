"""Requests as the API's documentation shows them; a test sends each through the validation."""

from pydantic.types import JsonValue

_IDS: dict[str, JsonValue] = {
    "eval_id": "223e4567-e89b-12d3-a456-426614174020",
    "experiment_id": "123e4567-e89b-12d3-a456-426614174000",
}

_ROWS_IN_THE_REQUEST: dict[str, JsonValue] = {
    **_IDS,
    "eval_model_info": {
        "model_name": "smollm2",
        "endpoint": "http://10.88.0.1:8080/v1",
        "api_key": "sk-0123456789",
    },
    "eval_datasets": [
        {
            "dataset_id": "sums",
            "run_id": "sums-1",
            "source": {
                "inline": '{"question": "What is 2 + 3?", "answer": "5"}\n',
                "prompt": "Question: {question}\nAnswer:",
                "evaluator": "last_number",
            },
        },
        {"dataset_id": "demo_gsm8k_chat_gen", "run_id": "gsm8k-1", "limit": 64},
    ],
    "decoding": {"temperature": 0.0, "seed": 7},
}

_ROWS_ON_THE_CLAIM: dict[str, JsonValue] = {
    **_IDS,
    "eval_model_info": {
        "model_name": "qwen",
        "endpoint": "https://models.example.org/v1",
        "secret_ref": {"name": "team-a-models", "key": "openai"},
        "extra_args": {"batch_size": 32, "max_out_len": 512},
    },
    "eval_datasets": [
        {
            "dataset_id": "tickets",
            "run_id": "tickets-1",
            "source": {
                "path": "team-a/tickets.csv",
                "format": "csv",
                "prompt": "{ticket}\nWhich team? Answer with A, B or C.",
                "answer": "team",
                "evaluator": "choice",
            },
            "resources": {"cpu": "1", "memory": "3Gi"},
        }
    ],
    "cluster": "gpu-1",
    "namespace": "team-a",
    "timeouts": {"start": 1800, "run": 7200},
    "labels": {"release": "2026-11"},
}

_AS_THE_ORIGINAL_CALLER_SENDS_IT: dict[str, JsonValue] = {
    **_IDS,
    "eval_model_info": {
        "model_name": "smollm2",
        "endpoint": "http://10.88.0.1:8080/v1",
        "api_key": "sk-0123456789",
        "extra_args": {"query_per_second": 1},
    },
    "eval_datasets": [
        {"dataset_id": "demo_gsm8k_chat_gen", "run_id": "5c6a0f0e-6d2a-4c5f-9f43-5d2f5e5a0a11"}
    ],
    "engine": "opencompass",
    "kubeconfig": "",
    "source_topic": "budeval-notifications",
    "notification_metadata": {
        "name": "bud-internal",
        "subscriber_ids": "7d1c1f6e-2a57-4d0c-9a5e-0a4b8a0a7c55",
        "workflow_id": "9f0f3a5e-4c1b-4f58-8f4e-0d8f4f7f6a21",
    },
}

EXAMPLES: list[JsonValue] = [_ROWS_IN_THE_REQUEST, _ROWS_ON_THE_CLAIM, _AS_THE_ORIGINAL_CALLER_SENDS_IT]
