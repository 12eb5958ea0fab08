"""Asking a model for embeddings: all texts of a metric in one request, and vectors that can be compared."""

import math
from collections.abc import Sequence
from typing import Any, Self

from budeval.domain.scoring import Usage
from budeval.scoring.bill import Bill
from budeval.scoring.endpoint import Endpoint, tokens
from budeval.scoring.failures import JudgeError, ReplyUnusableError
from budeval.scoring.limiter import Limiter
from budeval.scoring.settings import EmbedderSettings

Vector = tuple[float, ...]


class Embedder:
    """An embedder; a context manager, for the event loop that opens it."""

    def __init__(self, settings: EmbedderSettings, limiter: Limiter) -> None:
        self._settings = settings
        self._endpoint = Endpoint(settings, "embedder", limiter)

    @property
    def model(self) -> str:
        """What the endpoint calls the model."""
        return self._settings.model

    async def __aenter__(self) -> Self:
        await self._endpoint.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._endpoint.__aexit__()

    async def embed(self, texts: Sequence[str], bill: Bill | None = None) -> tuple[list[Vector], Usage]:
        """A vector of length 1 for each text, all of one dimension, and what they cost.

        Args:
            texts: what to embed.
            bill: an empty one, for who wants to know what was spent until a cancellation.

        Raises:
            JudgeError: with what was spent; embedding_zero_norm where a vector has no direction.
        """
        self._endpoint.check_length(sum(len(text) for text in texts))
        bill = bill or Bill()
        body = {"model": self._settings.model, "input": list(texts), "encoding_format": "float"}
        try:
            document = await self._endpoint.post("/embeddings", body, bill)
            bill.add(Usage(prompt_tokens=tokens(document)[0]))
            return [_unit(vector) for vector in self._vectors(document, len(texts))], bill.usage
        except JudgeError as error:
            error.usage = bill.usage
            raise

    def _vectors(self, document: dict[str, Any], count: int) -> list[Vector]:
        """In the order of the texts."""
        try:
            by_index = {item["index"]: item["embedding"] for item in document["data"]}
            if len(document["data"]) != count or by_index.keys() != set(range(count)):
                self._endpoint.unusable(f"has not one embedding for each of {count} texts")
            vectors = [_numbers(by_index[index]) for index in range(count)]
        except (KeyError, TypeError, ValueError, OverflowError):
            self._endpoint.unusable("has no embeddings", document)
        if not all(math.isfinite(number) for vector in vectors for number in vector):
            self._endpoint.unusable("has numbers that are not finite")
        if len({len(vector) for vector in vectors}) != 1:
            self._endpoint.unusable("has embeddings of different dimensions")
        return vectors


def _numbers(said: object) -> Vector:
    """Raises TypeError for whatever is no list of numbers: a text of digits, or truth values, would pass."""
    if not isinstance(said, list) or not all(type(number) in {int, float} for number in said):
        raise TypeError("no list of numbers")
    return tuple(map(float, said))


def _unit(vector: Vector) -> Vector:
    """The vector of length 1 in the same direction."""
    # Divided by its largest number first: squares of very large or small ones would not be finite or not 0.
    largest = max((abs(number) for number in vector), default=0.0)
    if not largest:
        raise ReplyUnusableError("an embedding is zero, so it has no direction", "embedding_zero_norm")
    scaled = [number / largest for number in vector]
    length = math.hypot(*scaled)
    return tuple(number / length for number in scaled)
