"""The local model answers like any OpenAI-compatible endpoint."""

import math

import httpx
import pytest

from dev import model
from dev.stack import Stack

pytestmark = pytest.mark.e2e


def _endpoint(stack: Stack, port: int) -> str:
    stack.up()
    return f"http://{stack.clusters[0].node_address}:{port}/v1"


def test_chat_is_a_real_model_and_repeatable(stack: Stack) -> None:
    """At temperature 0 the same question gets the same answer, in words, with its tokens counted."""
    body = {
        "model": model.MODEL_NAME,
        "messages": [{"role": "user", "content": "Question: What is the capital of France? Answer:"}],
        "temperature": 0,
        "max_tokens": 40,
    }
    url = f"{_endpoint(stack, model.CHAT_PORT)}/chat/completions"

    answers = [httpx.post(url, json=body, timeout=120).raise_for_status().json() for _ in range(2)]

    first, second = (answer["choices"][0]["message"]["content"] for answer in answers)
    assert "Paris" in first
    assert first == second
    assert answers[0]["usage"]["completion_tokens"] > 0


def test_embeddings_tell_near_from_far(stack: Stack) -> None:
    """Sentences that differ in a word lie closer together than sentences about different things."""
    texts = [
        "The cat sat on the mat.",
        "The cat sat on the rug.",
        "Interest rates rose by two percent.",
    ]
    url = f"{_endpoint(stack, model.EMBEDDINGS_PORT)}/embeddings"

    answer = httpx.post(url, json={"model": model.MODEL_NAME, "input": texts}, timeout=120).json()

    same, near, far = (item["embedding"] for item in answer["data"])
    assert _cosine(same, near) > _cosine(same, far)


def test_an_embedding_is_that_of_its_text_alone(stack: Stack) -> None:
    """Whatever other texts are in the request."""
    texts = [
        "It was completed in March 1889. It was built for the World's Fair.",
        "It was completed in 1889.",
    ]
    url = f"{_endpoint(stack, model.EMBEDDINGS_PORT)}/embeddings"

    def embedded(*asked: str) -> list[list[float]]:
        answer = httpx.post(url, json={"model": model.MODEL_NAME, "input": asked}, timeout=120).json()
        return [item["embedding"] for item in sorted(answer["data"], key=lambda item: int(item["index"]))]

    together, alone = embedded(*texts), [embedded(text)[0] for text in texts]

    assert [_cosine(*pair) for pair in zip(together, alone, strict=True)] == pytest.approx([1, 1], abs=1e-3)


def _cosine(left: list[float], right: list[float]) -> float:
    product = sum(a * b for a, b in zip(left, right, strict=True))
    return product / (math.hypot(*left) * math.hypot(*right))
